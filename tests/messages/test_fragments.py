"""Messages to fragments and back: any cut, any size; what is out of step ends the association."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimse.errors import RemoteProtocolError
from dimse.messages import command_set
from dimse.messages.fragments import (
    MAXIMUM_COMMAND_LENGTH,
    CommandReceived,
    DataReceived,
    Flaw,
    MessageReader,
    cut,
    fragment_size,
)
from dimse.messages.message import C_CANCEL_RQ, C_ECHO_RQ, C_FIND_RSP, C_STORE_RQ, N_GET_RQ, Message
from dimse.status import Status
from dimse.upper_layer.machine import Fragment

ECHO = C_ECHO_RQ(message_id=1, affected_sop_class_uid="1.2.840.10008.1.1")
STORE = C_STORE_RQ(message_id=2, affected_sop_class_uid="1.2.840.10008.5.1.4.1.1.2", affected_sop_instance_uid="1.2.3")


def fragment(data: bytes, *, command: bool = False, last: bool = False, context: int = 1) -> Fragment:
    return Fragment(context, command, last, memoryview(data))


def command_fragments(data: bytes, size: int) -> Iterable[Fragment]:
    return (fragment(part, command=True, last=last) for part, last in cut(data, size))


def feed(reader: MessageReader, fragments: Iterable[Fragment]) -> list[CommandReceived | DataReceived]:
    received = (reader.receive(one) for one in fragments)
    return [one for one in received if one is not None]


def test_fragment_size_leaves_room_for_the_pdv_header_and_is_even() -> None:
    # PS3.8 9.3.1: the maximum length counts the PDV header; PS3.8 Annex F: fragments are even
    assert fragment_size(16384) == 16378
    assert fragment_size(16385) == 16378
    assert fragment_size(16383) == 16376
    assert fragment_size(8) == 2


@given(st.binary(max_size=100), st.integers(1, 60))
def test_cut(data: bytes, half: int) -> None:
    """Invariant: the parts are the whole, all but the last are full, exactly the last says so."""
    parts = list(cut(data, 2 * half))
    assert b"".join(part for part, _ in parts) == data
    assert [last for _, last in parts] == [False] * (len(parts) - 1) + [True]
    assert all(len(part) == 2 * half for part, _ in parts[:-1])
    if len(data) % 2 == 0:
        assert all(len(part) % 2 == 0 for part, _ in parts)


def test_an_empty_data_set_is_one_empty_fragment() -> None:
    assert list(cut(b"", 10)) == [(b"", True)]


def test_cut_and_join_at_every_size() -> None:
    encoded = STORE.encode()
    for size in range(1, len(encoded) + 2):
        reader = MessageReader()
        (received,) = feed(reader, command_fragments(encoded, size))
        assert received == CommandReceived(1, STORE, None)
        assert reader.in_message
        parts = [reader.receive(fragment(part, last=last)) for part, last in cut(b"0123456789", size)]
        assert b"".join(part.data for part in parts if isinstance(part, DataReceived)) == b"0123456789"
        assert [part.is_last for part in parts if isinstance(part, DataReceived)][-1]
        assert not reader.in_message


def test_empty_fragments_and_an_empty_last_one() -> None:
    reader, encoded = MessageReader(), STORE.encode()
    assert reader.receive(fragment(b"", command=True)) is None
    assert reader.in_message
    assert reader.receive(fragment(encoded, command=True)) is None
    assert isinstance(reader.receive(fragment(b"", command=True, last=True)), CommandReceived)
    assert reader.receive(fragment(b"")) == DataReceived(memoryview(b""), False)
    assert reader.receive(fragment(b"ab")) == DataReceived(memoryview(b"ab"), False)
    assert reader.receive(fragment(b"", last=True)) == DataReceived(memoryview(b""), True)
    assert not reader.in_message


def test_messages_without_data_follow_each_other() -> None:
    reader = MessageReader()
    received = feed(reader, [fragment(ECHO.encode(), command=True, last=True, context=c) for c in (1, 3, 255)])
    assert received == [CommandReceived(c, ECHO, None) for c in (1, 3, 255)]


def test_data_is_not_copied() -> None:
    reader = MessageReader()
    reader.receive(fragment(STORE.encode(), command=True, last=True))
    view = memoryview(bytearray(10))
    received = reader.receive(Fragment(1, False, True, view))
    assert isinstance(received, DataReceived)
    assert received.data is view


@pytest.mark.parametrize(
    ("before", "then"),
    [
        ([], fragment(b"ab")),  # data before any command
        ([fragment(STORE.encode()[:10], command=True)], fragment(b"ab")),  # before the end of its command
        ([fragment(ECHO.encode(), command=True, last=True)], fragment(b"ab", last=True)),  # 0101 said none
        ([fragment(STORE.encode(), command=True, last=True)], fragment(b"ab", context=3)),
        ([fragment(STORE.encode()[:10], command=True)], fragment(b"ab", command=True, context=3)),
        (
            [fragment(STORE.encode(), command=True, last=True), fragment(b"ab")],
            fragment(ECHO.encode(), command=True, last=True),
        ),
        (
            [fragment(STORE.encode(), command=True, last=True), fragment(b"ab", last=True)],
            fragment(b"cd", last=True),
        ),
    ],
)
def test_out_of_step(before: list[Fragment], then: Fragment) -> None:
    reader = MessageReader()
    feed(reader, before)
    with pytest.raises(RemoteProtocolError) as caught:
        reader.receive(then)
    assert (caught.value.source, caught.value.reason) == (2, 5)


def test_a_command_may_have_64_kib_and_no_more() -> None:
    tags = tuple(range((MAXIMUM_COMMAND_LENGTH - 200) // 4))
    large = N_GET_RQ(
        message_id=1, requested_sop_class_uid="1.2", requested_sop_instance_uid="1.3", attribute_identifier_list=tags
    )
    assert len(feed(MessageReader(), command_fragments(large.encode(), 1000))) == 1
    reader = MessageReader()
    reader.receive(fragment(bytes(MAXIMUM_COMMAND_LENGTH), command=True))
    with pytest.raises(RemoteProtocolError, match="65536") as caught:
        reader.receive(fragment(b"ab", command=True))
    assert (caught.value.source, caught.value.reason) == (2, 5)


def test_a_wrong_group_length_is_noted() -> None:
    encoded = bytearray(ECHO.encode())
    encoded[8] += 1
    (received,) = feed(MessageReader(), command_fragments(bytes(encoded), 20))
    assert received == CommandReceived(1, ECHO, Flaw.GROUP_LENGTH)


def test_elements_out_of_order_or_doubled_are_noted() -> None:
    encoded = ECHO.encode()
    body = encoded[12:]
    doubled = encoded[:8] + (len(body) * 2).to_bytes(4, "little") + body * 2
    first = body[: 8 + body[4]]
    moved = encoded[:12] + body[len(first) :] + first
    for wrong in (doubled, moved):
        (received,) = feed(MessageReader(), command_fragments(wrong, 20))
        assert received == CommandReceived(1, ECHO, Flaw.ORDER)


# What a message says of its data set, and what comes


def told(message: Message, *, context: int = 1) -> Fragment:
    return fragment(message.encode(), command=True, last=True, context=context)


def response(status: int, *, follows: bool) -> C_FIND_RSP:
    return C_FIND_RSP(message_id_being_responded_to=1, status=Status(status), dataset_follows=follows)


CANCEL = C_CANCEL_RQ(message_id_being_responded_to=1, dataset_follows=True)


@pytest.mark.parametrize(
    "announcing", [response(0, follows=True), response(0xC000, follows=True), response(0xFF00, follows=True), CANCEL]
)
@pytest.mark.parametrize("context", [1, 3])
def test_a_command_may_come_where_nothing_of_a_data_set_has(announcing: Message, context: int) -> None:
    reader = MessageReader()
    received = feed(reader, [told(announcing), told(ECHO, context=context)])
    assert received == [CommandReceived(1, announcing, None), CommandReceived(context, ECHO, None)]
    assert not reader.in_message
    feed(reader, [told(announcing), fragment(b"ab")])
    with pytest.raises(RemoteProtocolError, match="a command fragment inside a data set"):
        reader.receive(told(ECHO, context=context))


def test_a_final_response_may_have_a_data_set_that_it_does_not_announce() -> None:
    reader = MessageReader()
    for parts in ([fragment(b"ab", last=True)], [fragment(b"ab"), fragment(b"cd", last=True)], []):
        received = feed(reader, [told(response(0, follows=False)), *parts])
        assert received[1:] == [DataReceived(part.data, part.is_last) for part in parts]
        assert not reader.in_message
    with pytest.raises(RemoteProtocolError, match="context 3 inside a message on context 1"):
        reader.receive(fragment(b"ab", context=3))


def test_a_pending_response_has_no_data_set_that_it_does_not_announce() -> None:
    with pytest.raises(RemoteProtocolError, match="one that announced no data set"):
        feed(MessageReader(), [told(response(0xFF00, follows=False)), fragment(b"ab")])


@pytest.mark.parametrize(
    ("message", "follows"),
    [(ECHO, False), (STORE, True), (response(0, follows=True), False), (response(0xFF00, follows=False), True)],
)
def test_without_data_set_type_it_is_what_messages_of_its_kind_have(message: Message, follows: bool) -> None:
    elements = command_set.decode(message.encode())
    del elements[command_set.COMMAND_DATA_SET_TYPE]
    without = command_set.encode(elements)
    (received,) = feed(MessageReader(), [fragment(without, command=True, last=True)])
    assert received == CommandReceived(1, replace(message, dataset_follows=follows), Flaw.DATA_SET_TYPE)
