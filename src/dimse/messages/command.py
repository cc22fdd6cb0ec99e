"""The Command Set codec (PS3.7 6.3.1, Annex E): group 0000, always Implicit VR Little Endian.

A command set is a mapping of element number (the tag's second half) to value: `int` for US and UL, `str`
for UI, AE and LO, a tuple of tags for AT.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final

from dimse.errors import RemoteProtocolError

CommandValue = int | str | tuple[int, ...]

_ELEMENT = struct.Struct("<HHI")
_UNSIGNED_SHORT = struct.Struct("<H")
_GROUP_LENGTH = struct.Struct("<HHII")

COMMAND_FIELD: Final = 0x0100
COMMAND_DATA_SET_TYPE: Final = 0x0800
NO_DATA_SET: Final = 0x0101
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
"""Element number -> VR, for the elements of PS3.7 E.1; all others are skipped when decoding."""


def _encode_us(value: CommandValue) -> bytes:
    if not isinstance(value, int):
        raise TypeError(f"US takes an int, not {type(value).__name__}")
    return _UNSIGNED_SHORT.pack(value)


def _text(value: CommandValue) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"a text element takes a str, not {type(value).__name__}")
    return value.encode("latin-1")


def _encode_ui(value: CommandValue) -> bytes:
    data = _text(value)
    return data + b"\0" if len(data) % 2 else data


def _encode_padded(value: CommandValue) -> bytes:
    data = _text(value)
    return data + b" " if len(data) % 2 else data


def _encode_at(value: CommandValue) -> bytes:
    if not isinstance(value, tuple):
        raise TypeError(f"AT takes a tuple of tags, not {type(value).__name__}")
    return b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in value)


_ENCODERS: Final[dict[str, Callable[[CommandValue], bytes]]] = {
    "US": _encode_us,
    "UI": _encode_ui,
    "AE": _encode_padded,
    "LO": _encode_padded,
    "AT": _encode_at,
}


def encode(elements: Mapping[int, CommandValue]) -> bytes:
    """The command set, ascending and with its group length (PS3.7 6.3.1)."""
    parts = []
    for element in sorted(elements):
        data = _ENCODERS[VALUE_REPRESENTATIONS[element]](elements[element])
        parts.append(_ELEMENT.pack(0, element, len(data)))
        parts.append(data)
    body = b"".join(parts)
    return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body


def _decode_value(element: int, representation: str, data: bytes) -> CommandValue | None:
    if representation == "US":
        if len(data) < 2:
            return None
        return int(_UNSIGNED_SHORT.unpack_from(data)[0])
    if representation == "AT":
        if len(data) % 4:
            raise RemoteProtocolError(f"command element (0000,{element:04X}) is not a list of tags", reason=6)
        halves = struct.unpack(f"<{len(data) // 2}H", data)
        return tuple(group << 16 | number for group, number in zip(halves[::2], halves[1::2], strict=True))
    return data.decode("latin-1").strip("\0 ")


def decode(data: bytes) -> dict[int, CommandValue]:
    """The elements of a command set that have a value. The group length is not needed to read it."""
    elements: dict[int, CommandValue] = {}
    position = 0
    while position < len(data):
        if len(data) - position < _ELEMENT.size:
            raise RemoteProtocolError("the command set ends inside an element header", reason=6)
        group, element, length = _ELEMENT.unpack_from(data, position)
        position += _ELEMENT.size
        if group != 0:
            break  # some archives put the identifier of a final response here; it does not count
        if length > len(data) - position:
            raise RemoteProtocolError(f"command element (0000,{element:04X}) leaves the command set", reason=6)
        representation = VALUE_REPRESENTATIONS.get(element)
        if representation is not None and length:
            value = _decode_value(element, representation, data[position : position + length])
            if value is not None:
                elements[element] = value
        position += length
    return elements


def has_right_group_length(data: bytes) -> bool:
    """Whether the command set starts with its group length and that is true; some devices leave it out."""
    return len(data) >= 12 and data[:12] == _GROUP_LENGTH.pack(0, 0, 4, len(data) - 12)
