"""Messages to fragments and back (PS3.7 6.3, PS3.8 Annex E).

A command is joined before it is passed on; a data set never is: its parts go on as they come.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from dimse.errors import RemoteProtocolError
from dimse.messages import command
from dimse.messages.primitives import Message, decode_message
from dimse.upper_layer.machine import Fragment, Machine

MAXIMUM_COMMAND_LENGTH: Final = 64 * 1024
"""The longest command set there can be is an N-GET-RQ that lists attributes; this holds 16 000 of them."""


_SHORT: Final = 512
"""Commands up to this length are remembered: the Pending responses of one query are all the same."""


def _decode(data: bytes) -> tuple[Message, bool]:
    return decode_message(data), command.has_right_group_length(data)


_decoded: Final = lru_cache(maxsize=8)(_decode)


def fragment_size(maximum_length: int) -> int:
    """The longest fragment for a peer with this maximum length: less the PDV header, and even (PS3.8 9.3.1)."""
    return (maximum_length - 6) & ~1


def cut(data: bytes, size: int) -> Iterator[tuple[bytes, bool]]:
    """(fragment, is last) of a whole command set or data set; an empty one has one empty fragment."""
    for start in range(0, max(len(data), 1), size):
        yield data[start : start + size], start + size >= len(data)


def in_pdus(machine: Machine, presentation_context_id: int, command_set: bytes, data: bytes | None, size: int) -> bytes:
    """A message that is in memory, as P-DATA-TF PDUs with a fragment of at most `size` bytes each."""
    parts: list[bytes] = []
    for whole, is_command in ((command_set, True), (data, False)):
        if whole is not None:
            for fragment, is_last in cut(whole, size):
                parts.append(
                    machine.p_data(
                        presentation_context_id, is_command=is_command, is_last=is_last, length=len(fragment)
                    )
                )
                parts.append(fragment)
    return b"".join(parts)


class CommandReceived(NamedTuple):
    """A whole command; where its `dataset_follows`, the data come next as `DataReceived`."""

    presentation_context_id: int
    message: Message
    has_right_group_length: bool


class DataReceived(NamedTuple):
    """The next part of the data set that belongs to the last command."""

    data: "memoryview"  # noqa: UP037 - as in `Fragment`
    is_last: bool


def _unexpected(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(message, source=2, reason=5)


class MessageReader:
    """Puts received fragments together. Messages come one after the other, never mixed (PS3.8 Annex E.1)."""

    def __init__(self) -> None:
        self._command = bytearray()
        self._context: int | None = None
        self._in_dataset = False

    @property
    def in_message(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._context is not None

    def receive(self, fragment: Fragment) -> CommandReceived | DataReceived | None:
        """Take the next fragment. What cannot be read safely is answered with A-ABORT (2, 5)."""
        identifier, is_command, is_last, data = fragment
        if self._context is not None and identifier != self._context:
            raise _unexpected(f"a fragment on context {identifier} inside a message on context {self._context}")
        if is_command:
            return self._receive_command(identifier, is_last, data)
        if not self._in_dataset:
            raise _unexpected("data before the end of its command, or where the command said there is none")
        if is_last:
            self._context, self._in_dataset = None, False
        return DataReceived(data, is_last)

    def _receive_command(self, identifier: int, is_last: bool, data: memoryview) -> CommandReceived | None:
        if self._in_dataset:
            raise _unexpected("a command inside a data set")
        if len(self._command) + len(data) > MAXIMUM_COMMAND_LENGTH:
            raise _unexpected(f"a command set of more than {MAXIMUM_COMMAND_LENGTH} bytes")
        self._context = identifier
        self._command += data
        if not is_last:
            return None
        whole = bytes(self._command)
        self._command.clear()
        message, has_right_group_length = (_decoded if len(whole) <= _SHORT else _decode)(whole)
        if message.dataset_follows:
            self._in_dataset = True
        else:
            self._context = None
        return CommandReceived(identifier, message, has_right_group_length)
