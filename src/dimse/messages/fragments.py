"""Messages to fragments and back (PS3.7 6.3, PS3.8 Annex E).

The fragments of a command are joined. Those of a data set never are: each is passed on as it arrives.
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
"""The most bytes of a Command Set: the longest possible is an N-GET-RQ that lists attributes, here up to 16 000."""

_SHORT: Final = 512
"""Commands up to this length are cached when decoded: the Pending responses of one query are all the same."""


class Flaw(StrEnum):
    """A flaw of a command that can be read nevertheless."""

    DATA_SET_TYPE = "Command Data Set Type (0000,0800) is missing"
    GROUP_LENGTH = "the command group length is missing or wrong"
    ORDER = "the command elements are not in ascending order, each once"


def _decode(data: bytes) -> tuple[Message, Flaw | None]:
    elements, is_ascending = command_set.read(data)
    flaw = None
    if command_set.COMMAND_DATA_SET_TYPE not in elements:
        flaw = Flaw.DATA_SET_TYPE
    elif not command_set.has_valid_group_length(data):
        flaw = Flaw.GROUP_LENGTH
    elif not is_ascending:
        flaw = Flaw.ORDER
    return message_of(elements), flaw


_decoded: Final = lru_cache(maxsize=8)(_decode)


def fragment_size(maximum_length: int) -> int:
    """The longest fragment in a P-DATA-TF of `maximum_length`: without the PDV header, and even (PS3.8 9.3.1)."""
    return (maximum_length - 6) & ~1


def cut(data: bytes, size: int) -> Iterator[tuple[bytes, bool]]:
    """The (fragment, is last) pairs of a complete command or data set. An empty one has one empty fragment."""
    for start in range(0, max(len(data), 1), size):
        yield data[start : start + size], start + size >= len(data)


def encode_p_data(machine: Machine, context_id: int, command_set: bytes, data: bytes | None, size: int) -> bytes:
    """Encode a complete message as P-DATA-TF PDUs with one fragment of at most `size` bytes each."""
    parts: list[bytes] = []
    for whole, is_command in ((command_set, True), (data, False)):
        if whole is not None:
            for fragment, is_last in cut(whole, size):
                parts.append(machine.p_data(context_id, is_command=is_command, is_last=is_last, length=len(fragment)))
                parts.append(fragment)
    return b"".join(parts)


class CommandReceived(NamedTuple):
    """A complete command. If its `dataset_follows`, the data set comes next as `DataReceived`."""

    presentation_context_id: int
    message: Message
    flaw: Flaw | None


class DataReceived(NamedTuple):
    """The next part of the data set after the last command, whether or not that announced one."""

    data: "memoryview"  # noqa: UP037 - as in `Fragment`
    is_last: bool


class _State(Enum):
    """The position of the reader in a message."""

    IDLE = "before a command"
    ENDED = "after a final response that announces no data set, or a request without that it announced; one may follow"
    COMMAND = "in a command"
    ANNOUNCED = "after a command that announces a data set without needing one; it may be missing"
    DATA = "in a data set, or before one that must follow"


class MessageReader:
    """Reassembles messages from fragments. Messages never interleave (PS3.8 Annex E.1).

    A response, a C-CANCEL, a C-ECHO or a DIMSE-N request may announce a data set wrongly, since the next message begins
    with a command in any case. A request that cannot do without must be right, or its data set would be taken for that
    of another message.
    """

    def __init__(self) -> None:
        self._command = bytearray()
        self._context_id = 0
        self._state = _State.IDLE

    @property
    def in_message(self) -> bool:
        """Whether a message is incomplete."""
        return self._state is not _State.IDLE and self._state is not _State.ENDED

    def receive(self, fragment: Fragment) -> CommandReceived | DataReceived | None:
        """Take the next fragment. One that is out of step raises `RemoteProtocolError`, for an A-ABORT (2, 5)."""
        context_id, is_command, is_last, data = fragment
        if is_command:
            return self._receive_command(context_id, is_last, data)
        if self._state is _State.IDLE or self._state is _State.COMMAND:
            raise out_of_step("a data set fragment inside a command, or after one that announced no data set")
        if context_id != self._context_id:
            raise out_of_step(f"a fragment on context {context_id} inside a message on context {self._context_id}")
        self._state = _State.IDLE if is_last else _State.DATA
        return DataReceived(data, is_last)

    def end_without_dataset(self) -> None:
        """End the message, if its announced data set has not begun."""
        if self._state is _State.ANNOUNCED:
            self._state = _State.ENDED

    def _receive_command(self, context_id: int, is_last: bool, data: memoryview) -> CommandReceived | None:
        if self._state is _State.DATA:
            raise out_of_step("a command fragment inside a data set")
        if self._state is _State.COMMAND and context_id != self._context_id:
            raise out_of_step(f"a fragment on context {context_id} inside a message on context {self._context_id}")
        if len(self._command) + len(data) > MAXIMUM_COMMAND_LENGTH:
            raise out_of_step(f"a command set must have at most {MAXIMUM_COMMAND_LENGTH} bytes")
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
    """The position after a command."""
    if message.dataset_follows:
        is_needed = message.needs_dataset and not message.dataset_may_be_missing
        return _State.DATA if is_needed else _State.ANNOUNCED
    is_final = isinstance(message, Response) and message.status.category is not StatusCategory.PENDING
    return _State.ENDED if is_final else _State.IDLE
