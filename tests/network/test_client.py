"""A requestor against peers that behave in any way they like."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.sample_objects import CT, EXPLICIT, IMPLICIT, VERIFICATION, dataset_bytes, instance, save

from dimse import (
    AssociationAborted,
    AssociationRejected,
    AssociationTimeout,
    CEchoSCU,
    ClientOptions,
    ConnectionLost,
    CStoreSCU,
    DatasetError,
    DimseError,
    LocalProtocolError,
    PresentationContextError,
    RemoteProtocolError,
    Status,
    StatusError,
    Strictness,
    Timeouts,
    connect,
    retrieval_contexts,
)
from dimse.messages import command_set
from dimse.messages.message import C_CANCEL_RQ, C_ECHO_RQ, C_ECHO_RSP, C_FIND_RQ, C_STORE_RQ, C_STORE_RSP
from dimse.network.association import exchange_of
from dimse.network.invoking import invoke
from dimse.testing import INFORMATION, ScriptedPeer, listening, message_pdvs, response
from dimse.uids import STUDY_ROOT_FIND, STUDY_ROOT_MOVE
from dimse.upper_layer.items import AsynchronousOperationsWindow as Window
from dimse.upper_layer.items import ContextResult, PresentationContextAC, RoleSelection, UserInformation
from dimse.upper_layer.pdu import (
    A_ABORT,
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RJ,
    A_ASSOCIATE_RQ,
    A_RELEASE_RP,
    A_RELEASE_RQ,
    P_DATA_TF,
    PDU_HEADER,
    PDV,
)

CONTEXTS: Sequence[tuple[str, Sequence[str]]] = ((VERIFICATION, [IMPLICIT]), (CT, [EXPLICIT]))
LENIENT = ClientOptions(strictness=Strictness.LENIENT)
IMPATIENT = ClientOptions(timeouts=Timeouts(connect=0.3, association=0.3, store=0.3))


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dimse.network.exchange.ABORT_GRACE", 0.2)


def echo_response(message: object, status: int = 0) -> C_ECHO_RSP:
    assert isinstance(message, C_ECHO_RQ)
    return C_ECHO_RSP(
        message_id_being_responded_to=message.message_id, status=Status(status), affected_sop_class_uid=VERIFICATION
    )


def store_response(message: object, status: int = 0) -> C_STORE_RSP:
    assert isinstance(message, C_STORE_RQ)
    return C_STORE_RSP(
        message_id_being_responded_to=message.message_id,
        status=Status(status),
        affected_sop_class_uid=message.affected_sop_class_uid,
        affected_sop_instance_uid=message.affected_sop_instance_uid,
    )


async def good(peer: ScriptedPeer) -> None:
    """Answers one request with Success, then the release."""
    await peer.accept()
    received = await peer.receive_message()
    response = store_response if isinstance(received.message, C_STORE_RQ) else echo_response
    await peer.send(message_pdvs(response(received.message), context=received.presentation_context_id))
    await peer.answer_release()
    await peer.closed()


# Opening


async def test_the_request_says_who_and_what() -> None:
    asked: list[A_ASSOCIATE_RQ] = []

    async def script(peer: ScriptedPeer) -> None:
        asked.append(await peer.accept())
        await peer.answer_release()

    async with listening(script) as address:
        options = ClientOptions(calling_ae_title="FROM_OPTIONS", maximum_length=32768)
        async with connect(address, contexts=CONTEXTS, calling_ae_title="ME", options=options) as association:
            assert [context.abstract_syntax for context in association.contexts.values()] == [VERIFICATION, CT]
            assert exchange_of(association).agreement.maximum_length_to_send == 16384
            assert (association.calling_ae_title, association.called_ae_title) == ("ME", "ARCHIVE")
        assert not association.is_open
    (request,) = asked
    assert (request.called_ae_title, request.calling_ae_title) == ("ARCHIVE", "ME")
    assert request.user_information.maximum_length == 32768
    assert [context.presentation_context_id for context in request.presentation_contexts] == [1, 3]


async def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(ConnectionLost, match=rf"cannot connect to ARCHIVE@127\.0\.0\.1:{port}: .*refused"):
            async with connect(f"ARCHIVE@127.0.0.1:{port}", contexts=CONTEXTS):
                pass


async def test_a_host_that_is_none() -> None:
    with pytest.raises(ConnectionLost, match=r"cannot connect to ARCHIVE@no-such-host\.invalid:104"):
        async with connect("ARCHIVE@no-such-host.invalid:104", contexts=CONTEXTS):
            pass


async def test_closed_without_an_answer() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.expect(A_ASSOCIATE_RQ)

    async with listening(script) as address:
        with pytest.raises(ConnectionLost, match=r"closed the connection without an answer|lost"):
            async with connect(address, contexts=CONTEXTS):
                pass


async def test_an_http_server() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.expect(A_ASSOCIATE_RQ)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        await peer.closed()

    async with listening(script) as address:
        with pytest.raises(
            RemoteProtocolError,
            match=r"^ARCHIVE@.* speaks HTTP, not DICOM \(unrecognized PDU type 'H'\)$",
        ):
            async with connect(address, contexts=CONTEXTS):
                pass


@pytest.mark.parametrize(
    ("rejection", "words"),
    [
        (A_ASSOCIATE_RJ(1, 1, 1), "rejected the association: it gives no reason$"),
        (A_ASSOCIATE_RJ(1, 1, 2), "it does not know the application context of DICOM"),
        (A_ASSOCIATE_RJ(1, 1, 3), "it does not know the calling AE title 'DIMSE'; register it there, or use another"),
        (A_ASSOCIATE_RJ(1, 1, 7), "^ARCHIVE@.* it does not know the called AE title 'ARCHIVE'; check the title$"),
        (A_ASSOCIATE_RJ(1, 2, 2), "it does not support the protocol version"),
        (A_ASSOCIATE_RJ(2, 3, 1), "temporary congestion; try again later"),
        (A_ASSOCIATE_RJ(2, 3, 2), "local limit exceeded; try again later"),
        (A_ASSOCIATE_RJ(9, 8, 7), "rejected the association: result 9, source 8, reason 7"),
    ],
)
async def test_rejected(rejection: A_ASSOCIATE_RJ, words: str) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.expect(A_ASSOCIATE_RQ)
        await peer.send(rejection)
        await peer.closed()

    async with listening(script) as address:
        with pytest.raises(AssociationRejected, match=words) as caught:
            async with connect(address, contexts=CONTEXTS):
                pass
    error = caught.value
    assert (error.result, error.source, error.reason) == (rejection.result, rejection.source, rejection.reason)
    assert error.transient == (rejection.result == 2)


@pytest.mark.parametrize(
    ("source", "reason", "words"),
    [(0, 0, "^ARCHIVE@.* aborted the association during A-ASSOCIATE$"), (2, 1, "unrecognized PDU")],
)
async def test_aborted_instead_of_an_answer(source: int, reason: int, words: str) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.expect(A_ASSOCIATE_RQ)
        await peer.send(A_ABORT(source, reason))
        await peer.closed()

    async with listening(script) as address:
        with pytest.raises(AssociationAborted, match=words) as caught:
            async with connect(address, contexts=CONTEXTS):
                pass
    assert (caught.value.source, caught.value.reason) == (source, reason)


async def test_no_answer() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.expect(A_ASSOCIATE_RQ)
        await peer.expect_abort(0, 0)

    async with listening(script) as address:
        with pytest.raises(AssociationTimeout, match=r"A-ASSOCIATE-RQ.*Timeouts.association") as caught:
            async with connect(address, contexts=CONTEXTS, options=IMPATIENT):
                pass
    assert isinstance(caught.value, TimeoutError)
    assert (caught.value.timer, caught.value.seconds) == ("association", 0.3)


async def test_an_answer_that_trickles_in_is_none() -> None:
    """The timeout is for the whole answer, not for each byte of it."""

    async def script(peer: ScriptedPeer) -> None:
        await peer.expect(A_ASSOCIATE_RQ)
        await peer.send(PDU_HEADER.pack(A_ASSOCIATE_AC.pdu_type, 100_000))
        aborted = asyncio.create_task(peer.expect_abort(0, 0))
        while not aborted.done():
            await peer.send(b"\0")
            await asyncio.sleep(0)
        await aborted

    async with listening(script) as address:
        with pytest.raises(AssociationTimeout, match=r"Timeouts\.association"):
            async with connect(address, contexts=CONTEXTS, options=IMPATIENT):
                pass


async def test_a_transfer_syntax_is_not_a_sequence_of_them() -> None:
    with pytest.raises(TypeError, match="sequence of transfer syntaxes"):
        async with connect("ARCHIVE@127.0.0.1:104", contexts=[(VERIFICATION, IMPLICIT)]):
            pass


async def test_a_cancelled_connect_aborts() -> None:
    asked = asyncio.Event()

    async def script(peer: ScriptedPeer) -> None:
        await peer.expect(A_ASSOCIATE_RQ)
        asked.set()
        await peer.expect_abort(0, 0)

    async def open_it(address: str) -> None:
        async with connect(address, contexts=CONTEXTS):
            pass

    async with listening(script) as address:
        task = asyncio.create_task(open_it(address))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# Answers that break the standard


def answer_to(asked: A_ASSOCIATE_RQ, *contexts: PresentationContextAC, **information: object) -> A_ASSOCIATE_AC:
    values: dict[str, object] = {"maximum_length": 16384, "implementation_class_uid": "1.2.3", **information}
    return A_ASSOCIATE_AC(
        asked.called_ae_title,
        asked.calling_ae_title,
        UserInformation(**values),  # type: ignore[arg-type]
        presentation_contexts=contexts
        or (PresentationContextAC(1, 0, IMPLICIT), PresentationContextAC(3, 0, EXPLICIT)),
    )


ACCEPTED = PresentationContextAC(1, 0, IMPLICIT)
REFUSED = PresentationContextAC(3, ContextResult.NO_REASON, "")
BAD_ANSWERS: list[tuple[tuple[PresentationContextAC, ...], dict[str, object]]] = [
    ((ACCEPTED, REFUSED, PresentationContextAC(5, 0, IMPLICIT)), {}),  # one not proposed
    ((ACCEPTED, PresentationContextAC(3, 0, "1.2.840.10008.1.2.4.50")), {}),  # a syntax not proposed
]
ODD_ANSWERS = [
    ((ACCEPTED,), {}, "contexts without an answer"),
    ((PresentationContextAC(1, 0, IMPLICIT + "\0"), REFUSED), {}, "UIDs are padded"),
    ((ACCEPTED, REFUSED), {"implementation_class_uid": None}, "class UID is missing"),
    ((ACCEPTED, REFUSED), {"implementation_class_uid": ""}, "class UID is missing"),
    ((ACCEPTED, REFUSED), {"implementation_version_name": "SEVENTEEN_LETTERS"}, "more than 16 characters"),
    ((ACCEPTED, REFUSED), {"asynchronous_operations_window": Window(0, 0)}, "the operations window exceeds"),
    ((ACCEPTED, REFUSED), {"role_selections": (RoleSelection(CT, True, True),)}, "roles that were not proposed"),
]


@pytest.mark.parametrize(("contexts", "information"), BAD_ANSWERS)
async def test_a_bad_answer_strictly(
    contexts: tuple[PresentationContextAC, ...], information: dict[str, object]
) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.send(answer_to(await peer.expect(A_ASSOCIATE_RQ), *contexts, **information))
        await peer.expect_abort(2, 6)

    async with listening(script) as address:
        with pytest.raises(RemoteProtocolError):
            async with connect(address, contexts=CONTEXTS):
                pass


@pytest.mark.parametrize(("contexts", "information"), BAD_ANSWERS)
async def test_a_bad_answer_leniently(
    contexts: tuple[PresentationContextAC, ...], information: dict[str, object]
) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.send(answer_to(await peer.expect(A_ASSOCIATE_RQ), *contexts, **information))
        received = await peer.receive_message()
        await peer.send(message_pdvs(echo_response(received.message)))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS, options=LENIENT) as association:
        assert (await CEchoSCU(association).echo()).status == 0x0000
        with pytest.raises(PresentationContextError):
            association.context_for(CT)


@pytest.mark.parametrize("options", [ClientOptions(), LENIENT], ids=["strict", "lenient"])
@pytest.mark.parametrize(("contexts", "information", "told"), ODD_ANSWERS)
async def test_an_answer_with_one_safe_reading_is_told_of(
    contexts: tuple[PresentationContextAC, ...],
    information: dict[str, object],
    told: str,
    options: ClientOptions,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.send(answer_to(await peer.expect(A_ASSOCIATE_RQ), *contexts, **information))
        await peer.answer_echo()
        await peer.answer_release()

    caplog.set_level("INFO")
    async with listening(script) as address, connect(address, contexts=CONTEXTS, options=options) as association:
        await CEchoSCU(association).echo()
        with pytest.raises(PresentationContextError):
            association.context_for(CT)
    (record,) = (record for record in caplog.records if "A-ASSOCIATE-AC" in record.getMessage())
    assert told in record.getMessage()
    assert record.levelname == "INFO"


@pytest.mark.parametrize(
    ("contexts", "size", "proposed"),
    [
        (None, 16, None),  # for anything
        ([(VERIFICATION, [IMPLICIT])], 16, None),
        ([(STUDY_ROOT_FIND, [IMPLICIT]), (STUDY_ROOT_MOVE, [IMPLICIT])], 16, None),
        (retrieval_contexts([CT]), 16, None),  # to receive
        ([(VERIFICATION, [IMPLICIT]), (CT, [IMPLICIT])], 16, Window(16, 1)),
        ([*retrieval_contexts([CT]), (CT, [IMPLICIT])], 3, Window(3, 1)),
        ([(CT, [IMPLICIT])], 1, None),
    ],
)
async def test_a_window_is_proposed_to_who_is_sent_objects(
    contexts: list[tuple[str, list[str]]] | None, size: int, proposed: Window | None
) -> None:
    async def script(peer: ScriptedPeer) -> None:
        asked = await peer.accept()
        assert asked.user_information.asynchronous_operations_window == proposed
        await peer.answer_release()

    options = ClientOptions(operations_window=size)
    async with listening(script) as address, connect(address, contexts=contexts, options=options):
        pass


@pytest.mark.parametrize("options", [ClientOptions(), LENIENT], ids=["strict", "lenient"])
async def test_a_maximum_length_without_room_for_data(options: ClientOptions) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.send(answer_to(await peer.expect(A_ASSOCIATE_RQ), maximum_length=7))
        await peer.expect_abort(2, 6)

    async with listening(script) as address:
        with pytest.raises(RemoteProtocolError, match="at least 8, not 7"):
            async with connect(address, contexts=CONTEXTS, options=options):
                pass


@pytest.mark.parametrize(
    ("announced", "used"), [(None, 16384), (0, 65536), (8, 8), (101, 101), (16384, 16384), (2**32 - 1, 65536)]
)
async def test_the_peers_maximum_length_is_obeyed(announced: int | None, used: int, tmp_path: Path) -> None:
    path = save(instance(pixels=0), tmp_path / "a.dcm")
    fragments: list[int] = []

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept(information=UserInformation(announced, "1.2.3"))
        received = await peer.receive_message()
        assert received.data == dataset_bytes(path)
        fragments.extend(received.fragments)
        await peer.send(message_pdvs(store_response(received.message), context=3))
        await peer.answer_release()

    options = ClientOptions(maximum_length_to_send=65536)
    async with listening(script) as address, connect(address, contexts=CONTEXTS, options=options) as association:
        assert exchange_of(association).agreement.maximum_length_to_send == used
        assert (await CStoreSCU(association).send(path)).status == 0x0000
    assert all(length % 2 == 0 and length <= used - 6 for length in fragments)


# Operations


@pytest.mark.parametrize("options", [ClientOptions(), LENIENT], ids=["strict", "lenient"])
async def test_an_answer_to_what_nobody_asked(options: ClientOptions) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        received = await peer.receive_message()
        assert isinstance(received.message, C_ECHO_RQ)
        other = C_ECHO_RSP(message_id_being_responded_to=received.message.message_id + 1, status=Status.SUCCESS)
        await peer.send(message_pdvs(other))
        await peer.expect_abort(2, 5)

    async with listening(script) as address:
        with pytest.raises(RemoteProtocolError, match="does not await it"):
            async with connect(address, contexts=CONTEXTS, options=options) as association:
                await CEchoSCU(association).echo()


async def test_an_answer_of_another_type() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        received = await peer.receive_message()
        assert isinstance(received.message, C_ECHO_RQ)
        other = C_STORE_RSP(message_id_being_responded_to=received.message.message_id, status=Status.SUCCESS)
        await peer.send(message_pdvs(other))
        await peer.expect_abort(2, 5)

    async with listening(script) as address:
        with pytest.raises(RemoteProtocolError, match="C-STORE-RSP"):
            async with connect(address, contexts=CONTEXTS) as association:
                await CEchoSCU(association).echo()


DATA = b"\x08\0\x05\0CS\0\0"


@pytest.mark.parametrize("options", [ClientOptions(), LENIENT], ids=["strict", "lenient"])
@pytest.mark.parametrize(
    ("announced", "data", "told"),
    [
        (True, DATA, "announces a data set, which is dropped"),
        (True, b"", "announces a data set, which is dropped"),
        (True, None, "a message announces a data set that does not follow"),
        (False, DATA, "a data set follows a final response that does not announce it"),
    ],
    ids=["as announced", "an empty one", "none though announced", "one that is not announced"],
)
async def test_a_data_set_that_a_response_needs_not(
    announced: bool, data: bytes | None, told: str, options: ClientOptions, caplog: pytest.LogCaptureFixture
) -> None:
    """Two contexts: a data set that does not follow ends with the next response, also on another context."""

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        for _ in range(4):
            received = await peer.receive_message()
            await peer.send(response(received, 0, data, dataset_follows=announced))
        await peer.answer_release()

    caplog.set_level("INFO")
    contexts = [(VERIFICATION, [IMPLICIT]), (VERIFICATION, [EXPLICIT])]
    async with listening(script) as address, connect(address, contexts=contexts, options=options) as association:
        usable = list(association.contexts.values())
        for number in range(4):
            answer = await invoke(
                exchange_of(association),
                usable[number % 2],
                lambda number: C_ECHO_RQ(message_id=number, affected_sop_class_uid=VERIFICATION),
                C_ECHO_RSP,
                doing="C-ECHO",
            )
            assert answer.status == 0x0000
    assert sum(told in record.getMessage() for record in caplog.records) == 1
    assert not [record for record in caplog.records if record.levelname != "INFO"]


OTHER = "1.2.840.10008.5.1.4.1.1.4"
MALFORMED_RESPONSES = {
    "another Affected SOP Class UID": {"affected_sop_class_uid": OTHER},
    "another Affected SOP Instance UID": {"affected_sop_instance_uid": "1.2.3.5"},
    "Command Data Set Type (0000,0800) is missing": {},
}


async def answers_badly(peer: ScriptedPeer, fields: dict[str, str]) -> None:
    await peer.accept()
    received = await peer.receive_message()
    (pdv,) = response(received, 0, None, **fields)
    if not fields:
        elements = command_set.decode(pdv.fragment)
        del elements[command_set.COMMAND_DATA_SET_TYPE]
        pdv = replace(pdv, fragment=command_set.encode(elements))
    await peer.send(pdv)


@pytest.mark.parametrize("why", MALFORMED_RESPONSES)
async def test_a_malformed_response_strictly(why: str, tmp_path: Path) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await answers_badly(peer, MALFORMED_RESPONSES[why])
        await peer.expect_abort(2, 6)

    path = save(instance("1.2.3.4"), tmp_path / "a.dcm")
    async with listening(script) as address:
        with pytest.raises(RemoteProtocolError, match=re.escape(why)):
            async with connect(address, contexts=CONTEXTS) as association:
                await CStoreSCU(association).send(path)


@pytest.mark.parametrize("why", MALFORMED_RESPONSES)
async def test_a_malformed_response_leniently(why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await answers_badly(peer, MALFORMED_RESPONSES[why])
        await peer.answer_release()

    path = save(instance("1.2.3.4"), tmp_path / "a.dcm")
    async with listening(script) as address, connect(address, contexts=CONTEXTS, options=LENIENT) as association:
        assert (await CStoreSCU(association).send(path)).status == 0x0000
    assert [record.levelname for record in caplog.records if why in record.getMessage()] == ["WARNING"]


async def test_a_final_status_that_the_service_does_not_have_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.send(response(await peer.receive_message(), 0xB123))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        assert (await CEchoSCU(association).echo()).status == 0xB123
    assert "C-ECHO ended with 0xB123" in caplog.text


async def test_a_cancel_to_a_requestor_is_for_nothing() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        received = await peer.receive_message()
        await peer.send(message_pdvs(C_CANCEL_RQ(message_id_being_responded_to=1), context=3), response(received))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        await CEchoSCU(association).echo()


async def test_a_request_to_a_requestor_without_scp_role() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.receive_message()
        await peer.send(message_pdvs(C_ECHO_RQ(message_id=1, affected_sop_class_uid=VERIFICATION)))
        await peer.expect_abort(2, 5)

    async with listening(script) as address:
        with pytest.raises(RemoteProtocolError, match="C-ECHO-RQ"):
            async with connect(address, contexts=CONTEXTS) as association:
                await CEchoSCU(association).echo()


async def test_a_message_on_a_context_never_accepted() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        received = await peer.receive_message()
        await peer.send(message_pdvs(echo_response(received.message), context=99))
        await peer.expect_abort(2, 5)

    async with listening(script) as address:
        with pytest.raises(RemoteProtocolError, match="context 99, which was not accepted"):
            async with connect(address, contexts=CONTEXTS) as association:
                await CEchoSCU(association).echo()


async def test_odd_fragments_are_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        for _ in range(2):
            received = await peer.receive_message()
            await peer.send(message_pdvs(echo_response(received.message), size=33))
        await peer.answer_release()

    caplog.set_level("INFO")
    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        for _ in range(2):
            await CEchoSCU(association).echo()
    assert sum("fragments of an odd length" in record.getMessage() for record in caplog.records) == 1


async def test_a_failure_status_is_an_error_with_the_peers_words() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        received = await peer.receive_message()
        assert isinstance(received.message, C_ECHO_RQ)
        response = C_ECHO_RSP(
            message_id_being_responded_to=received.message.message_id,
            status=Status(0x0122),
            error_comment="not on Sundays",
        )
        await peer.send(message_pdvs(response))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        with pytest.raises(StatusError, match=r"C-ECHO: 0x0122 .*not on Sundays") as caught:
            await CEchoSCU(association).echo()
        assert caught.value.status == 0x0122


async def test_no_answer_to_a_c_echo() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.receive_message()
        await peer.expect_abort(0, 0)

    async with listening(script) as address:
        with pytest.raises(AssociationTimeout, match=r"C-ECHO.*Timeouts.store"):
            async with connect(address, contexts=CONTEXTS, options=IMPATIENT) as association:
                await CEchoSCU(association).echo()


async def test_a_promised_data_set_that_never_comes() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        received = await peer.receive_message()
        assert isinstance(received.message, C_ECHO_RQ)
        await peer.send(message_pdvs(C_FIND_RQ(message_id=1, affected_sop_class_uid=CT))[0])
        await peer.expect_abort(2, 5)

    async with listening(script) as address:
        with pytest.raises(RemoteProtocolError):
            async with connect(address, contexts=CONTEXTS) as association:
                await CEchoSCU(association).echo()


async def test_message_ids_differ_and_wrap() -> None:
    async with listening(good) as address, connect(address, contexts=CONTEXTS) as association:
        outstanding = exchange_of(association).outstanding
        first, second = outstanding.new_message_id(), outstanding.new_message_id()
        assert first != second
        ids = {outstanding.new_message_id() for _ in range(0xFFFF)}
        assert (min(ids), max(ids), len(ids)) == (1, 0xFFFF, 0xFFFF)
        await CEchoSCU(association).echo()


# The end


async def test_an_exception_of_the_caller_aborts() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.expect_abort(0, 0)

    async with listening(script) as address:
        with pytest.raises(ZeroDivisionError):
            async with connect(address, contexts=CONTEXTS):
                _ = 1 / 0


async def test_released_means_released() -> None:
    async with listening(good) as address:
        async with connect(address, contexts=CONTEXTS) as association:
            await CEchoSCU(association).echo()
        with pytest.raises(LocalProtocolError, match="released"):
            await CEchoSCU(association).echo()
        await association.release()  # does nothing
        association.abort()
        assert association.error is None


async def test_no_answer_to_the_release() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.expect(A_RELEASE_RQ)
        await peer.expect_abort(0, 0)

    async with listening(script) as address:
        with pytest.raises(AssociationTimeout, match="A-RELEASE-RQ"):
            async with connect(address, contexts=CONTEXTS, options=IMPATIENT):
                pass


@pytest.mark.parametrize("end", ["abort", "close", "reset", "release"])
async def test_a_peer_that_ends_the_association_as_it_likes(end: str, caplog: pytest.LogCaptureFixture) -> None:
    """No operation is outstanding: it is logged, and not an error."""

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.answer_echo()
        await peer.expect(A_RELEASE_RQ)
        if end == "abort":
            await peer.send(A_ABORT(0, 0))
        elif end == "release":
            await peer.send(A_RELEASE_RQ())
            await peer.expect(A_RELEASE_RP)
        elif end == "reset":
            peer.reset()

    caplog.set_level("INFO", "dimse.network")
    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        await CEchoSCU(association).echo()
    assert not association.is_open
    assert "in place of an A-RELEASE-RP" in caplog.text
    assert all(record.levelname == "INFO" for record in caplog.records)


async def test_a_release_collision() -> None:
    """PS3.8 7.2.2.7: the requestor of the association answers first, then it waits for its own answer."""

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.expect(A_RELEASE_RQ)
        await peer.send(A_RELEASE_RQ())
        await peer.expect(A_RELEASE_RP)
        await peer.send(A_RELEASE_RP())
        await peer.closed()

    async with listening(script) as address:
        async with connect(address, contexts=CONTEXTS) as association:
            pass
        assert association.error is None


async def test_data_may_arrive_after_the_release_was_asked_for() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.expect(A_RELEASE_RQ)
        await peer.send(P_DATA_TF((PDV(1, True, False, b"\0\0\0\0"),)), A_RELEASE_RP())

    async with listening(script) as address:
        async with connect(address, contexts=CONTEXTS) as association:
            pass
        assert association.error is None


async def test_the_peer_releases() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.receive_message()
        await peer.release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        with pytest.raises(DimseError, match="released"):
            await CEchoSCU(association).echo()
        assert not association.is_open


async def test_a_peer_that_does_not_close_after_its_answer_is_cut_off() -> None:
    done = asyncio.Event()

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.answer_release()
        await done.wait()

    async with listening(script) as address:
        async with connect(address, contexts=CONTEXTS):
            pass
        done.set()


@pytest.mark.parametrize("how", ["abort", "close", "reset"])
async def test_the_end_in_the_middle_of_an_operation(how: str) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.receive_message()
        if how == "abort":
            await peer.send(A_ABORT(0, 0))
            await peer.closed()
        elif how == "reset":
            peer.reset()

    expected = AssociationAborted if how == "abort" else ConnectionLost
    async with listening(script) as address:
        with pytest.raises(expected):
            async with connect(address, contexts=CONTEXTS) as association:
                await CEchoSCU(association).echo()
        assert isinstance(association.error, expected)
        with pytest.raises(expected):
            await CEchoSCU(association).echo()


async def test_an_abort_in_the_middle_of_a_message_of_ours(tmp_path: Path) -> None:
    path = save(instance(pixels=20_000_000), tmp_path / "a.dcm")

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.expect(P_DATA_TF)
        await peer.send(A_ABORT(0, 0))
        await peer.closed()

    async with listening(script) as address:
        with pytest.raises(AssociationAborted):
            async with connect(address, contexts=CONTEXTS) as association:
                await CStoreSCU(association).send(path)


# C-STORE and time


async def test_a_peer_that_stops_reading(tmp_path: Path) -> None:
    path = save(instance(pixels=50_000_000), tmp_path / "a.dcm")
    gave_up = asyncio.Event()

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.expect(P_DATA_TF)
        await gave_up.wait()

    async with listening(script) as address:
        with pytest.raises(AssociationTimeout, match=r"C-STORE of .*a\.dcm.*Timeouts.store") as caught:
            async with connect(address, contexts=CONTEXTS, options=IMPATIENT) as association:
                await CStoreSCU(association).send(path)
        assert caught.value.timer == "store"
        assert association.error is caught.value
        assert exchange_of(association).connection.bytes_sent < 50_000_000
        gave_up.set()


async def test_a_peer_that_is_slow_and_healthy_is_waited_for(tmp_path: Path) -> None:
    """Each step takes less than the store timeout; all of them together take longer than it."""
    path = save(instance(pixels=1_500_000), tmp_path / "a.dcm")
    timeout = 0.4

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept(information=UserInformation(65536, "1.2.3"))
        received = await peer.receive_message(pause=timeout / 10)
        assert len(received.fragments) > 20
        assert received.data == dataset_bytes(path)
        await peer.send(message_pdvs(store_response(received.message), context=3))
        await peer.answer_release()

    options = ClientOptions(timeouts=Timeouts(store=timeout))
    async with (
        listening(script, receive_buffer=64 * 1024) as address,
        connect(address, contexts=CONTEXTS, options=options) as association,
    ):
        response = await CStoreSCU(association).send(path)
        assert response.status == 0x0000


async def test_a_peer_that_never_answers(tmp_path: Path) -> None:
    path = save(instance(), tmp_path / "a.dcm")

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.receive_message()
        await peer.expect_abort(0, 0)

    async with listening(script) as address:
        with pytest.raises(AssociationTimeout, match=r"Timeouts\.store"):
            async with connect(address, contexts=CONTEXTS, options=IMPATIENT) as association:
                await CStoreSCU(association).send(path)


@pytest.mark.parametrize("moment", ["sending", "waiting"])
async def test_a_cancelled_c_store_aborts(moment: str, tmp_path: Path) -> None:
    path = save(instance(pixels=50_000_000 if moment == "sending" else 100), tmp_path / "a.dcm")
    now = asyncio.Event()

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await (peer.expect(P_DATA_TF) if moment == "sending" else peer.receive_message())
        now.set()
        await (peer.closed() if moment == "sending" else peer.expect_abort(0, 0))

    async with listening(script) as address, asyncio.timeout(10), connect(address, contexts=CONTEXTS) as association:
        task = asyncio.create_task(CStoreSCU(association).send(path))
        await now.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not association.is_open
        with pytest.raises(AssociationAborted, match="by this side"):
            await CEchoSCU(association).echo()


async def test_a_c_store_cancelled_when_its_response_has_come_leaves_the_association_in_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(instance(), tmp_path / "a.dcm")

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        for _ in range(2):
            received = await peer.receive_message()
            await peer.send(message_pdvs(store_response(received.message), context=received.presentation_context_id))
        await peer.answer_release()
        await peer.closed()

    async with listening(script) as address, asyncio.timeout(10), connect(address, contexts=CONTEXTS) as association:
        task = asyncio.create_task(CStoreSCU(association).send(path))
        # In the very turn of the loop that takes the response.
        monkeypatch.setattr(exchange_of(association), "note_response", lambda _: task.cancel())
        with pytest.raises(asyncio.CancelledError):
            await task
        monkeypatch.undo()
        assert (await CStoreSCU(association).send(path)).status == Status.SUCCESS


async def test_a_file_that_never_began_leaves_the_association_usable(tmp_path: Path) -> None:
    whole = save(instance(), tmp_path / "a.dcm")
    short = tmp_path / "short.dcm"
    short.write_bytes(whole.read_bytes())
    async with listening(good) as address, connect(address, contexts=CONTEXTS) as association:
        scu = CStoreSCU(association)
        with pytest.raises(DatasetError):
            await scu.send(__file__)
        with pytest.raises(FileNotFoundError):
            await scu.send(tmp_path / "none.dcm")
        with pytest.raises(PresentationContextError, match="was not proposed"):
            await scu.send(save(instance(sop_class="1.2.840.10008.5.1.4.1.1.7"), tmp_path / "sc.dcm"))
        assert (await scu.send(whole)).status == 0x0000


async def test_one_operation_at_a_time_goes_out(tmp_path: Path) -> None:
    """Two tasks on one association: no asynchronous operations window was negotiated, so they take turns."""
    paths = [save(instance(f"1.2.{i}", pixels=100_000), tmp_path / f"{i}.dcm") for i in range(2)]

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        for path in paths:
            received = await peer.receive_message()
            assert received.data == dataset_bytes(path)
            await peer.send(message_pdvs(store_response(received.message, 0xB000), context=3))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        responses = await asyncio.gather(*(CStoreSCU(association).send(path) for path in paths))
        assert [response.affected_sop_instance_uid for response in responses] == ["1.2.0", "1.2.1"]


async def test_logs_say_which_pdus_and_no_values(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with listening(good) as address, connect(address, contexts=CONTEXTS) as association:
        await CStoreSCU(association).send(save(instance(), tmp_path / "a.dcm"))
    text = caplog.text
    for line in ("> A-ASSOCIATE-RQ", "< A-ASSOCIATE-AC", "> P-DATA-TF", "> C-STORE-RQ", "> A-RELEASE-RQ"):
        assert line in text
    assert "SECRET" not in text


def test_information_is_what_the_peer_sends() -> None:
    assert UserInformation.decode(INFORMATION.encode()[4:]) == INFORMATION
