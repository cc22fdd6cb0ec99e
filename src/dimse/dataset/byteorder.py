"""Explicit VR Big Endian (PS3.5 A.3) converted to Explicit VR Little Endian while it streams.

Lengths are the same in both, so only an incomplete header or number is held. Elements of items are converted like
those of the top level.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

from dimse.dataset.encoding import (
    BIG,
    ITEM_GROUP,
    LITTLE,
    LONG_SIZE,
    PLAIN_SIZE,
    SHORT_VRS,
    UNDEFINED_LENGTH,
    Buffer,
    tag_name,
)
from dimse.dataset.sources import DatasetSource, PiecesReader, Reader, named
from dimse.errors import DatasetError
from dimse.uids import EXPLICIT_VR_LITTLE_ENDIAN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_STEP: Final = 64 * 1024

_UNITS: Final = {
    **dict.fromkeys((b"AT", b"OW", b"SS", b"US"), 2),
    **dict.fromkeys((b"FL", b"OF", b"OL", b"SL", b"UL"), 4),
    **dict.fromkeys((b"FD", b"OD", b"OV", b"SV", b"UV"), 8),
}
"""By VR: the size of its numbers, which depend on the byte order (PS3.5 7.3). Other VRs have bytes or text."""
_ARRAYS: Final = {2: "H", 4: "I", 8: "Q"}


class LittleEndianSource(DatasetSource):
    """A big endian data set, converted to little endian while it is read."""

    def __init__(self, source: DatasetSource) -> None:
        self.sop_class_uid = source.sop_class_uid
        self.sop_instance_uid = source.sop_instance_uid
        self.transfer_syntax_uid = EXPLICIT_VR_LITTLE_ENDIAN
        self.length = source.length
        self.repeatable = source.repeatable
        self.name = source.name
        self._source = source

    def open(self) -> Reader:
        """Begin a pass."""
        reader = self._source.open()
        return PiecesReader(self._pieces(reader), reader.close)

    async def _pieces(self, reader: Reader) -> AsyncIterator[Buffer]:
        swapper, buffer = Swapper(), memoryview(bytearray(_STEP))
        with named(f"{self.name}: cannot be converted to little endian"):
            while count := await reader.read_into(buffer):
                yield swapper.feed(buffer[:count])
            swapper.finish()


class Swapper:
    """Converts a big endian data set, fed in pieces, to little endian."""

    def __init__(self) -> None:
        self._held = b""
        """The bytes of an incomplete header or number."""
        self._left = 0
        """Bytes of the current value that are still to arrive."""
        self._unit = 1
        """The size of the numbers in the current value."""

    def feed(self, data: Buffer) -> bytes:
        """Take the next bytes; return those that can be converted now. Raises `DatasetError` if they are not native."""
        data = self._held + bytes(data)
        swapped, position = bytearray(), 0
        while position < len(data):
            before = position
            position = self._value(data, position, swapped) if self._left else self._header(data, position, swapped)
            if position == before:
                break
        self._held = data[position:]
        return bytes(swapped)

    def finish(self) -> None:
        """Declare the data set complete. Raises `DatasetError` if it is truncated."""
        # One zero may be the first byte of a tag.
        if self._left or any(self._held) or len(self._held) == 1:
            raise DatasetError("truncated in an element")

    def _value(self, data: bytes, position: int, swapped: bytearray) -> int:
        count = min(self._left, len(data) - position)
        if count < self._left:
            count -= count % self._unit
        swapped += _swapped(data[position : position + count], self._unit)
        self._left -= count
        return position + count

    def _header(self, data: bytes, position: int, swapped: bytearray) -> int:
        """Convert the header and enter the value. Returns `position` unchanged if the header is incomplete."""
        if position + PLAIN_SIZE > len(data):
            return position
        group, element, vr, length = BIG.short.unpack_from(data, position)
        if group == ITEM_GROUP or not any(data[position : position + PLAIN_SIZE]):  # zeros are surplus
            swapped += LITTLE.plain.pack(*BIG.plain.unpack_from(data, position))
            return position + PLAIN_SIZE
        if vr in SHORT_VRS:
            swapped += LITTLE.short.pack(group, element, vr, length)
            self._left, self._unit = length, _UNITS.get(vr, 1)
            return position + PLAIN_SIZE
        if position + LONG_SIZE > len(data):
            return position
        group, element, vr, length = BIG.long.unpack_from(data, position)
        if not (vr.isalpha() and vr.isupper()):
            raise DatasetError(f"invalid value representation at {tag_name(group << 16 | element)}")
        swapped += LITTLE.long.pack(group, element, vr, length)
        if vr != b"SQ":
            if length == UNDEFINED_LENGTH:
                raise DatasetError(f"{tag_name(group << 16 | element)} has an undefined length but is not a sequence")
            self._left, self._unit = length, _UNITS.get(vr, 1)
        return position + LONG_SIZE


def _swapped(value: bytes, unit: int) -> bytes:
    if unit == 1:
        return value
    whole = len(value) - len(value) % unit
    numbers = array(_ARRAYS[unit], value[:whole])
    numbers.byteswap()
    return numbers.tobytes() + value[whole:]
