"""Every message of PS3.7, to bytes and back."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimse.errors import RemoteProtocolError
from dimse.messages import command_set
from dimse.messages.message import (
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_ECHO_RSP,
    C_FIND_RQ,
    C_MOVE_RSP,
    C_STORE_RQ,
    MESSAGES,
    Message,
    Priority,
    Request,
    Response,
    decode_message,
)
from dimse.status import Status

# Typed from PS3.7 Table 9.3-12 and PS3.5 Annex A.1, element by element.
ECHO_RQ = bytes.fromhex(
    "0000 0000 04000000 38000000"
    "0000 0200 12000000 312e322e3834302e31303030382e312e3100"
    "0000 0001 02000000 3000"
    "0000 1001 02000000 0100"
    "0000 0008 02000000 0101"
)
# Typed from PS3.7 Table 9.3-1.
STORE_RQ = bytes.fromhex(
    "0000 0000 04000000 70000000"
    "0000 0200 1a000000 312e322e3834302e31303030382e352e312e342e312e312e3200"
    "0000 0001 02000000 0100"
    "0000 1001 02000000 0700"
    "0000 0007 02000000 0000"
    "0000 0008 02000000 0100"
    "0000 0010 06000000 312e322e3300"
    "0000 3010 06000000 4d4f56455220"
    "0000 3110 02000000 0500"
)

_US = st.integers(0, 0xFFFF)
_TEXT = st.text(st.sampled_from("ABCdef019_-"), min_size=1, max_size=16)
_UID = st.text(st.sampled_from("0123456789."), min_size=1, max_size=64)
_TAGS = st.lists(st.integers(0, 0xFFFFFFFF), min_size=1, max_size=4).map(tuple)
_STRATEGIES = {"UI": _UID, "US": _US, "AE": _TEXT, "LO": _TEXT, "AT": _TAGS}


def messages_of(kind: type[Message]) -> st.SearchStrategy[Message]:
    """Any message of this kind, its optional fields there or not."""
    values: dict[str, st.SearchStrategy[object]] = {"dataset_follows": st.booleans()}
    elements = dict(kind.layout)
    for field in fields(kind):
        if field.name not in elements:
            continue
        strategy: st.SearchStrategy[object] = _STRATEGIES[command_set.VALUE_REPRESENTATIONS[elements[field.name]]]
        if field.name == "status":
            strategy = _US.map(Status)
        values[field.name] = st.none() | strategy if field.default is None else strategy
    return st.builds(kind, **values)


def test_all_messages_are_there() -> None:
    assert len(MESSAGES) == 23  # eleven requests with their responses, and C-CANCEL-RQ
    for field, kind in MESSAGES.items():
        assert kind.command_field == field
        if issubclass(kind, Response):
            assert field & 0x8000
            assert kind.__name__.replace("_RSP", "_RQ") == MESSAGES[field & 0x7FFF].__name__
        else:
            assert not field & 0x8000
            assert issubclass(kind, Request) or kind is C_CANCEL_RQ


@pytest.mark.parametrize("kind", MESSAGES.values(), ids=lambda kind: kind.__name__)
def test_every_field_has_an_element(kind: type[Message]) -> None:
    assert {field.name for field in fields(kind)} == {"dataset_follows", *dict(kind.layout)}


@given(st.one_of([messages_of(kind) for kind in MESSAGES.values()]))
def test_round_trip(message: Message) -> None:
    encoded = message.encode()
    assert len(encoded) % 2 == 0
    assert command_set.has_valid_group_length(encoded)
    assert decode_message(encoded) == message


def test_c_echo_rq_as_the_standard_has_it() -> None:
    message = C_ECHO_RQ(message_id=1, affected_sop_class_uid="1.2.840.10008.1.1")
    assert message.encode() == ECHO_RQ
    assert decode_message(ECHO_RQ) == message
    assert message.name == "C-ECHO-RQ"


def test_c_store_rq_as_the_standard_has_it() -> None:
    message = C_STORE_RQ(
        message_id=7,
        affected_sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        affected_sop_instance_uid="1.2.3",
        priority=Priority.MEDIUM,
        move_originator_application_entity_title="MOVER",
        move_originator_message_id=5,
    )
    assert message.encode() == STORE_RQ
    assert decode_message(STORE_RQ) == message


@pytest.mark.parametrize("value", [0x0000, 0x0001, 0x0102, 0x1234, 0xFEFE, 0xFFFF])
def test_any_data_set_type_but_0101_means_that_a_data_set_follows(value: int) -> None:
    encoded = STORE_RQ.replace(bytes.fromhex("0000 0008 02000000 0100"), struct.pack("<HHIH", 0, 0x0800, 2, value))
    assert decode_message(encoded).dataset_follows


def test_absent_counters_are_not_zero() -> None:
    final = C_MOVE_RSP(message_id_being_responded_to=1, status=Status.SUCCESS, number_of_completed_suboperations=0)
    decoded = decode_message(final.encode())
    assert isinstance(decoded, C_MOVE_RSP)
    assert decoded.number_of_remaining_suboperations is None
    assert decoded.number_of_completed_suboperations == 0


def test_status_is_a_status() -> None:
    encoded = C_ECHO_RSP(message_id_being_responded_to=1, status=Status(0xA701), error_comment="busy").encode()
    decoded = decode_message(encoded)
    assert isinstance(decoded, C_ECHO_RSP)
    assert decoded.status.is_out_of_resources
    assert decoded.error_comment == "busy"


@pytest.mark.parametrize("field", [0x0000, 0x0002, 0x0FFE, 0x8FFF, 0xFFFF, None])
def test_what_is_no_message(field: int | None) -> None:
    with pytest.raises(RemoteProtocolError, match="is not a DIMSE message"):
        decode_message(command_set.encode({0x0110: 1} if field is None else {0x0100: field, 0x0110: 1}))


def test_a_mandatory_element_that_is_missing_is_named() -> None:
    with pytest.raises(RemoteProtocolError, match=r"C-STORE-RQ lacks the mandatory \(0000,0002\)$"):
        decode_message(command_set.encode({0x0100: 0x0001, 0x0110: 1, 0x1000: "1.2", 0x0800: 1}))


@pytest.mark.parametrize("whole", [ECHO_RQ, STORE_RQ, C_FIND_RQ(message_id=1, affected_sop_class_uid="1.2").encode()])
def test_truncated_at_every_byte(whole: bytes) -> None:
    """Invariant: a part of a command set is a message with fewer elements, or RemoteProtocolError."""
    ends = []
    for end in range(len(whole)):
        try:
            decode_message(whole[:end])
        except RemoteProtocolError:
            continue
        ends.append(end)
    for end in ends:  # only between two elements, the mandatory ones being there
        assert struct.unpack_from("<HH", whole, end) > (0, 0x0110)


@given(st.binary(max_size=300))
def test_random_bytes(data: bytes) -> None:
    """Invariant: bytes are a message, or RemoteProtocolError."""
    with suppress(RemoteProtocolError):
        decode_message(data)


@given(st.sampled_from([ECHO_RQ, STORE_RQ]), st.integers(0, 200), st.binary(min_size=1, max_size=8))
def test_damaged_messages(whole: bytes, position: int, damage: bytes) -> None:
    position %= len(whole)
    with suppress(RemoteProtocolError):
        decode_message(whole[:position] + damage + whole[position + len(damage) :])
