"""The Command Set codec (PS3.7 6.3.1, Annex E): group 0000, always Implicit VR Little Endian.

A Command Set is a mapping of element number (the second half of the tag) to value: `int` for US, `str` for UI, AE and
LO, a tuple of tags for AT.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from dimse.errors import RemoteProtocolError

CommandValue = int | str | tuple[int, ...]

_ELEMENT = struct.Struct("<HHI")
_GROUP_LENGTH = struct.Struct("<HHII")

COMMAND_FIELD: Final = 0x0100
COMMAND_DATA_SET_TYPE: Final = 0x0800
NO_DATA_SET: Final = 0x0101
"""The value of Command Data Set Type that announces no data set (PS3.7 E.1); every other value announces one."""

DATA_SET_FOLLOWS: Final = 0x0001

VALUE_REPRESENTATIONS: Final = {
    0x0002: "UI",  # Affected SOP Class UID
    0x0003: "UI",  # Requested SOP Class UID
    0x0100: "US",  # Command Field
    0x0110: "US",  # Message ID
    0x0120: "US",  # Message ID Being Responded To
    0x0600: "AE",  # Move Destination
    0x0700: "US",  # Priority
    0x0800: "US",  # Command Data Set Type
    0x0900: "US",  # Status
    0x0901: "AT",  # Offending Element
    0x0902: "LO",  # Error Comment
    0x0903: "US",  # Error ID
    0x1000: "UI",  # Affected SOP Instance UID
    0x1001: "UI",  # Requested SOP Instance UID
    0x1002: "US",  # Event Type ID
    0x1005: "AT",  # Attribute Identifier List
    0x1008: "US",  # Action Type ID
    0x1020: "US",  # Number of Remaining Sub-operations
    0x1021: "US",  # Number of Completed Sub-operations
    0x1022: "US",  # Number of Failed Sub-operations
    0x1023: "US",  # Number of Warning Sub-operations
    0x1030: "AE",  # Move Originator Application Entity Title
    0x1031: "US",  # Move Originator Message ID
}
"""Element number -> VR, for the elements of PS3.7 E.1. Other elements are skipped when decoding."""

_US_ELEMENT = struct.Struct("<HHIH")
_PADDING: Final = {"UI": b"\0", "AE": b" ", "LO": b" "}


def _encode_at(value: CommandValue) -> bytes:
    if not isinstance(value, tuple):
        raise TypeError(f"the value of an AT element must be a tuple of tags, not {type(value).__name__}")
    return b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in value)


def _encode_text(value: CommandValue, padding: bytes) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"the value of a text element must be a str, not {type(value).__name__}")
    data = value.encode("latin-1")
    return data + padding if len(data) % 2 else data


def encode(elements: Mapping[int, CommandValue]) -> bytes:
    """The Command Set, in ascending order and with its group length (PS3.7 6.3.1)."""
    parts = []
    for element in sorted(elements):
        value, representation = elements[element], VALUE_REPRESENTATIONS[element]
        if representation == "US":
            if not isinstance(value, int):
                raise TypeError(f"the value of a US element must be an int, not {type(value).__name__}")
            parts.append(_US_ELEMENT.pack(0, element, 2, value))
            continue
        data = _encode_at(value) if representation == "AT" else _encode_text(value, _PADDING[representation])
        parts.append(_ELEMENT.pack(0, element, len(data)))
        parts.append(data)
    body = b"".join(parts)
    return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body


def _decode_at(element: int, data: bytes) -> tuple[int, ...]:
    if len(data) % 4:
        raise RemoteProtocolError(f"command element (0000,{element:04X}) must be a list of tags", reason=6)
    halves = struct.unpack(f"<{len(data) // 2}H", data)
    return tuple(group << 16 | number for group, number in zip(halves[::2], halves[1::2], strict=True))


def decode(data: bytes) -> dict[int, CommandValue]:
    """The elements of a Command Set that have a value. The group length is not used; of two equal ones the last is."""
    return read(data)[0]


def read(data: bytes) -> tuple[dict[int, CommandValue], bool]:
    """The elements of a Command Set as `decode` has them, and whether they are in ascending order, each once."""
    elements: dict[int, CommandValue] = {}
    last, is_ascending = -1, True
    position, size, unpack, representations = 0, len(data), _ELEMENT.unpack_from, VALUE_REPRESENTATIONS
    while position < size:
        if size - position < _ELEMENT.size:
            raise RemoteProtocolError("the command set ends inside an element header", reason=6)
        group, element, length = unpack(data, position)
        if group != 0:
            break  # some archives put the identifier of a final response here; it is ignored
        if element <= last:
            is_ascending = False
        last = element
        value = position + _ELEMENT.size
        position = value + length
        if position > size:
            raise RemoteProtocolError(f"command element (0000,{element:04X}) exceeds the command set", reason=6)
        representation = representations.get(element)
        if representation is None or not length:
            continue
        if representation == "US":
            if length >= 2:
                elements[element] = data[value] | data[value + 1] << 8
        elif representation == "AT":
            elements[element] = _decode_at(element, data[value:position])
        else:
            elements[element] = data[value:position].decode("latin-1").strip("\0 ")
    return elements, is_ascending


def has_valid_group_length(data: bytes) -> bool:
    """Whether the Command Set starts with its correct group length, which some devices leave out."""
    return len(data) >= 12 and data[:12] == _GROUP_LENGTH.pack(0, 0, 4, len(data) - 12)
