"""The messages of a scripted peer are those of the standard."""

from __future__ import annotations

import pytest
from tests.sample_objects import CT, EXPLICIT, IMPLICIT, MR, VERIFICATION

from dimse import Status
from dimse.messages.message import C_CANCEL_RQ, C_ECHO_RSP, C_FIND_RQ, C_FIND_RSP, Message, decode_message
from dimse.testing import Received, associate_request, echo_request, message_pdvs, response, store_request, wire
from dimse.upper_layer.pdu import P_DATA_TF, PDV


def read(pdvs: list[PDV]) -> Message:
    return decode_message(b"".join(pdv.fragment for pdv in pdvs if pdv.is_command))


def test_the_contexts_of_a_request_have_odd_ids() -> None:
    assert [
        (context.presentation_context_id, context.abstract_syntax, context.transfer_syntaxes)
        for context in associate_request((CT, [EXPLICIT]), (MR, [IMPLICIT, EXPLICIT])).presentation_contexts
    ] == [(1, CT, (EXPLICIT,)), (3, MR, (IMPLICIT, EXPLICIT))]
    assert [context.abstract_syntax for context in associate_request().presentation_contexts] == [VERIFICATION, CT]


def test_a_message_is_cut_into_fragments() -> None:
    pdvs = message_pdvs(store_request(), b"12345", context=3, size=100)
    assert read(pdvs) == store_request()
    assert [(pdv.presentation_context_id, pdv.is_last, pdv.fragment) for pdv in pdvs if not pdv.is_command] == [
        (3, True, b"12345")
    ]
    assert max(len(pdv.fragment) for pdv in pdvs) <= 100
    assert sum(pdv.is_last for pdv in pdvs) == 2


def test_a_response_is_to_its_request() -> None:
    (pdv,) = response(Received(5, echo_request(7), None, ()), 0x0122)
    assert pdv.presentation_context_id == 5
    answer = read([pdv])
    assert isinstance(answer, C_ECHO_RSP)
    assert (answer.message_id_being_responded_to, answer.status) == (7, 0x0122)


def test_a_response_may_have_an_identifier_and_other_fields() -> None:
    request = C_FIND_RQ(message_id=1, affected_sop_class_uid="1.2", dataset_follows=True)
    pdvs = response(Received(1, request, b"", ()), Status.PENDING, b"identifier", error_comment="none")
    answer = read(pdvs)
    assert isinstance(answer, C_FIND_RSP)
    assert (answer.dataset_follows, answer.error_comment) == (True, "none")
    assert pdvs[-1].fragment == b"identifier"


def test_a_cancel_has_no_response() -> None:
    with pytest.raises(TypeError, match="C-CANCEL-RQ has no response"):
        response(Received(1, C_CANCEL_RQ(message_id_being_responded_to=1), None, ()))


def test_the_wire_has_a_pdu_for_each_pdv() -> None:
    one, other = message_pdvs(echo_request(1)), message_pdvs(echo_request(2))
    assert wire(one, other) == b"".join(P_DATA_TF((pdv,)).encode() for pdv in (*one, *other))
