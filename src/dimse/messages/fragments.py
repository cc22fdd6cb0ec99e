"""Messages to fragments and back (PS3.7 6.3, PS3.8 Annex E).

A command is joined before it is passed on; a data set never is: its parts go on as they come.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from dimse.messages import command_set
from dimse.messages.message import Message, Response, message_of
from dimse.status import StatusCategory
from dimse.upper_layer.deviations import out_of_step
from dimse.upper_layer.machine import Fragment, Machine

MAXIMUM_COMMAND_LENGTH: Final = 64 * 1024
"""The longest command set there can be is an N-GET-RQ that lists attributes; this holds 16 000 of them."""


_SHORT: Final = 512
"""Commands up to this length are remembered: the Pending responses of one query are all the same."""


class Flaw(StrEnum):
    """What is malformed in a command that can be read nevertheless."""

    DATA_SET_TYPE = "Command Data Set Type (0000,0800) is missing"
    GROUP_LENGTH = "the command group length is missing or wrong"


def _decode(data: bytes) -> tuple[Message, Flaw | None]:
    elements = command_set.decode(data)
    if command_set.COMMAND_DATA_SET_TYPE not in elements:
        return message_of(elements), Flaw.DATA_SET_TYPE
    return message_of(elements), None if command_set.has_valid_group_length(data) else Flaw.GROUP_LENGTH


_decoded: Final = lru_cache(maxsize=8)(_decode)


def fragment_size(maximum_length: int) -> int:
    """The longest fragment for a peer with this maximum length: less the PDV header, and even (PS3.8 9.3.1)."""
    return (maximum_length - 6) & ~1


def cut(data: bytes, size: int) -> Iterator[tuple[bytes, bool]]:
    """(fragment, is last) of a whole command set or data set; an empty one has one empty fragment."""
    for start in range(0, max(len(data), 1), size):
        yield data[start : start + size], start + size >= len(data)


def encode_p_data(machine: Machine, context_id: int, command_set: bytes, data: bytes | None, size: int) -> bytes:
    """A message that is in memory, as P-DATA-TF PDUs with a fragment of at most `size` bytes each."""
    parts: list[bytes] = []
    for whole, is_command in ((command_set, True), (data, False)):
        if whole is not None:
            for fragment, is_last in cut(whole, size):
                parts.append(machine.p_data(context_id, is_command=is_command, is_last=is_last, length=len(fragment)))
                parts.append(fragment)
    return b"".join(parts)


class CommandReceived(NamedTuple):
    """A whole command; where its `dataset_follows`, the data come next as `DataReceived`."""

    presentation_context_id: int
    message: Message
    flaw: Flaw | None


class DataReceived(NamedTuple):
    """The next part of the data set that belongs to the last command, whether that has announced it or not."""

    data: "memoryview"  # noqa: UP037 - as in `Fragment`
    is_last: bool


class _State(Enum):
    """Where in a message the reader is."""

    IDLE = "before a command"
    ENDED = "after a final response without a data set; one may come nevertheless"
    COMMAND = "in a command"
    ANNOUNCED = "after a command that needs no data set and announces one; it may not come"
    DATA = "in a data set, or before one that has to come"


class MessageReader:
    """Puts received fragments together. Messages come one after the other, never mixed (PS3.8 Annex E.1).

    What a response, a C-CANCEL or a C-ECHO says of its data set need not be true: nothing depends on that, as the next
    message begins with a command. With other requests something does: what follows would be taken for what it is not.
    """

    def __init__(self) -> None:
        self._command = bytearray()
        self._context_id = 0
        self._state = _State.IDLE

    @property
    def in_message(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._state is not _State.IDLE and self._state is not _State.ENDED

    def receive(self, fragment: Fragment) -> CommandReceived | DataReceived | None:
        """Take the next fragment. What cannot be read safely is answered with A-ABORT (2, 5)."""
        context_id, is_command, is_last, data = fragment
        if is_command:
            return self._receive_command(context_id, is_last, data)
        if self._state is _State.IDLE or self._state is _State.COMMAND:
            raise out_of_step("data before the end of its command, or where the command announced none")
        if context_id != self._context_id:
            raise out_of_step(f"a fragment on context {context_id} inside a message on context {self._context_id}")
        self._state = _State.IDLE if is_last else _State.DATA
        return DataReceived(data, is_last)

    def _receive_command(self, context_id: int, is_last: bool, data: memoryview) -> CommandReceived | None:
        if self._state is _State.DATA:
            raise out_of_step("a command inside a data set")
        if self._state is _State.COMMAND and context_id != self._context_id:
            raise out_of_step(f"a fragment on context {context_id} inside a message on context {self._context_id}")
        if len(self._command) + len(data) > MAXIMUM_COMMAND_LENGTH:
            raise out_of_step(f"a command set of more than {MAXIMUM_COMMAND_LENGTH} bytes")
        self._context_id, self._state = context_id, _State.COMMAND
        self._command += data
        if not is_last:
            return None
        whole = bytes(self._command)
        self._command.clear()
        message, flaw = (_decoded if len(whole) <= _SHORT else _decode)(whole)
        self._state = _after(message)
        return CommandReceived(context_id, message, flaw)


def _after(message: Message) -> _State:
    """Where the reader is after this command."""
    if message.dataset_follows:
        return _State.DATA if message.needs_dataset else _State.ANNOUNCED
    is_final = isinstance(message, Response) and message.status.category is not StatusCategory.PENDING
    return _State.ENDED if is_final else _State.IDLE
