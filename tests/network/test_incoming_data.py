"""Receivers of a data set: joined up to a limit, or dropped."""

from __future__ import annotations

import pytest

from dimse.errors import AssociationError, RemoteProtocolError
from dimse.network.incoming_data import Collect, Discard


def collecting(maximum: int = 8) -> tuple[Collect, list[bytes | None]]:
    done: list[bytes | None] = []
    return Collect(maximum, done.append), done


def test_fragments_are_joined_at_the_last_one() -> None:
    receiver, done = collecting()
    receiver.receive(memoryview(b"abc"), is_last=False)
    assert done == []
    receiver.receive(memoryview(b"de"), is_last=True)
    assert done == [b"abcde"]


def test_the_fragments_are_copied() -> None:
    """The receive buffer is used again before the last one is there."""
    receiver, done = collecting()
    buffer = bytearray(b"abc")
    receiver.receive(memoryview(buffer), is_last=False)
    buffer[:] = b"xyz"
    receiver.receive(memoryview(b""), is_last=True)
    assert done == [b"abc"]


def test_more_than_the_maximum_breaks_the_protocol() -> None:
    receiver, done = collecting(maximum=4)
    receiver.receive(memoryview(b"abcd"), is_last=False)
    with pytest.raises(RemoteProtocolError, match="more than 4 bytes"):
        receiver.receive(memoryview(b"e"), is_last=True)
    assert done == []


def test_a_data_set_that_fails_ends_once() -> None:
    receiver, done = collecting()
    receiver.receive(memoryview(b"abc"), is_last=False)
    receiver.failed(AssociationError("gone"))
    receiver.receive(memoryview(b"de"), is_last=True)
    assert done == [None]


def test_it_is_given_up_only_before_it_begins() -> None:
    begun, done = collecting()
    begun.receive(memoryview(b"a"), is_last=False)
    begun.give_up_unless_begun()
    assert done == []
    never, done = collecting()
    never.give_up_unless_begun()
    assert done == [None]


def test_a_discarded_data_set_may_have_any_size() -> None:
    receiver = Discard()
    for _ in range(3):
        receiver.receive(memoryview(bytes(1 << 20)), is_last=False)
    receiver.buffer_used()
    receiver.failed(AssociationError("gone"))
