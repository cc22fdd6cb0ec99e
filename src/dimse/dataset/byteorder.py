"""Explicit VR Big Endian (PS3.5 A.3) as Explicit VR Little Endian, while it passes.

Both have the same lengths, so that nothing is held but a header or the part of a value that has come: the elements of
items are walked like all others.
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
from dimse.dataset.sources import DatasetSource, PiecesReader, Reader
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
"""By VR: bytes of what stands in the order of its transfer syntax (PS3.5 7.3). All others are bytes or text."""
_ARRAYS: Final = {2: "H", 4: "I", 8: "Q"}


class LittleEndianSource(DatasetSource):
    """A big-endian data set, swapped as it is read."""

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
        try:
            while count := await reader.read_into(buffer):
                yield swapper.feed(buffer[:count])
            swapper.finish()
        except DatasetError as error:
            raise DatasetError(f"{self.name}: cannot be put into little endian: {error}") from None


class Swapper:
    """Takes a big-endian data set in pieces, and gives it back in little endian."""

    def __init__(self) -> None:
        self._held = b""
        """The beginning of a header, or of a number."""
        self._left = 0
        """Bytes of the present value that are still to come, ..."""
        self._unit = 1
        """... in numbers of this many bytes."""

    def feed(self, data: Buffer) -> bytes:
        """The swapped bytes of what has come so far. Raises `DatasetError` where it is not a native data set."""
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
        """The data set has ended. Raises `DatasetError` if that was in the middle of an element."""
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
        """Pass the header on, and go into the value. Gives back `position` where it is not whole."""
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
