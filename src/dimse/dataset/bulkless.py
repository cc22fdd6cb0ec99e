"""Sources without their bulk data, for Composite Instance Retrieve Without Bulk Data (PS3.4 Annex Z).

The data set is followed element by element while it is read; what is left out is skipped, in files without reading it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from dimse.dataset.derived import STEP, Derived
from dimse.dataset.encoding import (
    ITEM,
    ITEM_END,
    ITEM_GROUP,
    LONG_SIZE,
    OFFSET_TABLES,
    PIXEL_DATA_TAGS,
    PLAIN_SIZE,
    SEQUENCE_END,
    SHORT_VRS,
    UNDEFINED_LENGTH,
    VRS,
    Buffer,
    Encoding,
    fragment_length,
    tag_name,
)
from dimse.dataset.scanner import MAX_SEQUENCE_DEPTH, SURPLUS_TAGS
from dimse.dataset.sources import DatasetSource, PiecesReader, Reader, named
from dimse.errors import DatasetError
from dimse.uids import EXPLICIT_VR_LITTLE_ENDIAN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_BULK_DATA: Final = frozenset(
    # Pixel Data Provider URL, Spectroscopy Data, Encapsulated Document; offset tables say nothing without pixel data
    {*PIXEL_DATA_TAGS, *OFFSET_TABLES, 0x00287FE0, 0x56000020, 0x00420011}
    # Overlay Data, Curve Data and Audio Sample Data, in the repeating groups 60xx and 50xx (PS3.5 7.6)
    | {group << 16 | 0x3000 for group in (*range(0x6000, 0x6100, 2), *range(0x5000, 0x5100, 2))}
    | {group << 16 | 0x200C for group in range(0x5000, 0x5100, 2)}
)
"""What is left out at the top level (PS3.4 Table Z.1-1)."""

_WAVEFORM_SEQUENCE: Final = 0x54000100
_WAVEFORM_DATA: Final = 0x54001010
"""Left out of the items of the Waveform Sequence (PS3.4 Z.1.3)."""


class WithoutBulkData(Derived):
    """A source without its bulk data. Its length is unknown, as nothing is read before it is sent.

    What had a compressed transfer syntax, or was deflated, is in Explicit VR Little Endian, as its elements are
    (PS3.5 A.4, A.5). Reading raises `DatasetError` for a data set that is truncated or cannot be followed.
    """

    def __init__(self, source: DatasetSource) -> None:
        if Encoding.of(source.transfer_syntax_uid).deflated:
            from dimse.dataset.transcode import Inflated  # imports pydicom

            source = Inflated(source)
        is_encapsulated = Encoding.of(source.transfer_syntax_uid).encapsulated
        super().__init__(source, EXPLICIT_VR_LITTLE_ENDIAN if is_encapsulated else source.transfer_syntax_uid, None)
        self.is_mislabeled = source.is_mislabeled

    def open(self) -> Reader:
        """Begin a pass."""
        reader = self._source.open()
        elements = _Elements(_Ahead(reader, self._source.length), Encoding.of(self.transfer_syntax_uid))
        return PiecesReader(self._pieces(elements), reader.close)

    async def _pieces(self, elements: _Elements) -> AsyncIterator[Buffer]:
        with named(self.name):
            async for piece in elements.kept():
                yield piece


class _Ahead:
    """A pass over a data set, and what of it has been read ahead."""

    def __init__(self, reader: Reader, length: int | None) -> None:
        self._reader, self._length = reader, length
        self._data = memoryview(b"")
        self.position = 0
        """That of the next byte."""

    async def peek(self, size: int) -> memoryview:
        """The next bytes, without taking them: fewer than `size` at the end only."""
        held = len(self._data)
        if held < size and self.position + held != self._length:
            buffer = memoryview(bytearray(STEP))
            buffer[:held] = self._data
            self._data = buffer[: held + await self._reader.read_into(buffer[held:])]
        return self._data[:size]

    def take(self, size: int) -> memoryview:
        """Take bytes that were read ahead, as many as there are."""
        taken, self._data = self._data[:size], self._data[size:]
        self.position += len(taken)
        return taken

    async def pieces(self, length: int) -> AsyncIterator[memoryview]:
        """Take the next `length` bytes. Raises `DatasetError` if there are fewer."""
        while length:
            await self.peek(1)
            piece = self.take(length)
            if not piece:
                raise DatasetError(f"truncated: {length} bytes missing")
            length -= len(piece)
            yield piece

    async def skip(self, length: int) -> None:
        """Leave out the next `length` bytes. Raises `DatasetError` if there are fewer."""
        end = self.position + length
        length -= len(self.take(length))
        if length and end != self._length:  # what is last is not read
            length -= await self._reader.skip(length)
            if length:
                raise DatasetError(f"truncated: {length} bytes missing")
        self.position = end


class _Level(NamedTuple):
    """What was entered: a sequence, one of its items, or encapsulated pixel data."""

    is_item: bool
    is_implicit: bool
    is_shortened: bool
    """Whether it is the Waveform Sequence, or one of its items."""
    end: int | None
    """Where it ends; None if a delimiter says so."""


class _Elements:
    """Follows the elements of one data set."""

    # Entered are the Waveform Sequence and its items, which get undefined lengths because they become shorter, and, to
    # find their ends, sequences and items of undefined length. All other values are copied, or left out, as a whole.

    def __init__(self, ahead: _Ahead, encoding: Encoding) -> None:
        self._ahead, self._headers = ahead, encoding.headers
        self._levels = [_Level(is_item=True, is_implicit=encoding.implicit, is_shortened=False, end=None)]
        """The first is the data set itself."""

    async def kept(self) -> AsyncIterator[Buffer]:
        """What is not left out, in pieces. Raises `DatasetError`."""
        self._detect_form(await self._ahead.peek(PLAIN_SIZE))
        while True:
            while (end := self._levels[-1].end) is not None and end <= self._ahead.position:
                if end < self._ahead.position:
                    raise DatasetError("an element is longer than its item")
                yield self._delimiter(self._levels.pop())
            header = await self._ahead.peek(LONG_SIZE)
            if len(header) < PLAIN_SIZE:
                break
            group, element, length = self._headers.plain.unpack_from(header)
            tag = group << 16 | element
            if len(self._levels) == 1 and tag in SURPLUS_TAGS:
                return
            if group == ITEM_GROUP:
                sent, to_copy = await self._item_or_delimiter(tag, length)
            else:
                sent, to_copy = await self._element(tag, header)
            yield sent
            async for piece in self._ahead.pieces(to_copy):
                yield piece
        if len(self._levels) > 1 or any(header):
            raise DatasetError("truncated in an element")

    async def _element(self, tag: int, header: memoryview) -> tuple[bytes, int]:
        """Enter the element, copy it or leave it out. Returns its header, and how much of its value to copy."""
        level = self._levels[-1]
        if not level.is_item:
            raise DatasetError(f"expected an item, not {tag_name(tag)}")
        size, vr, length = self._lengths(header, is_implicit=level.is_implicit)
        is_top = len(self._levels) == 1
        start = bytes(self._ahead.take(size))
        is_bulk = tag in _BULK_DATA or tag & 0xFFFF == 0  # a group length (PS3.5 7.2) would be wrong
        if (is_top and is_bulk) or (level.is_shortened and tag == _WAVEFORM_DATA):
            await self._leave_out(length)
            return b"", 0
        is_shortened = is_top and tag == _WAVEFORM_SEQUENCE
        if length != UNDEFINED_LENGTH and not is_shortened:
            return start, length
        # UN of undefined length contains Implicit VR Little Endian (PS3.5 6.2.2 note 2)
        self._enter(length, is_item=False, is_implicit=level.is_implicit or vr == b"UN", is_shortened=is_shortened)
        return start[:-4] + self._headers.length_32.pack(UNDEFINED_LENGTH), 0

    async def _item_or_delimiter(self, tag: int, length: int) -> tuple[bytes, int]:
        """The same for an item, a fragment of encapsulated pixel data, or a delimiter."""
        level = self._levels[-1]
        start = bytes(self._ahead.take(PLAIN_SIZE))
        if tag == ITEM and not level.is_item:
            if length != UNDEFINED_LENGTH and not level.is_shortened:
                return start, length
            self._enter(length, is_item=True, is_implicit=level.is_implicit, is_shortened=level.is_shortened)
            self._detect_form(await self._ahead.peek(PLAIN_SIZE))
            return start[:-4] + self._headers.length_32.pack(UNDEFINED_LENGTH), 0
        if level.end is not None or tag != (ITEM_END if level.is_item else SEQUENCE_END):
            raise DatasetError(f"unexpected item or delimiter {tag_name(tag)}")
        self._levels.pop()
        return start, 0

    def _enter(self, length: int, *, is_item: bool, is_implicit: bool, is_shortened: bool) -> None:
        if len(self._levels) > 2 * MAX_SEQUENCE_DEPTH:
            raise DatasetError(f"sequences nested deeper than {MAX_SEQUENCE_DEPTH}")
        end = None if length == UNDEFINED_LENGTH else self._ahead.position + length
        self._levels.append(_Level(is_item=is_item, is_implicit=is_implicit, is_shortened=is_shortened, end=end))

    def _detect_form(self, header: memoryview) -> None:
        """Note the VR form of a data set or item, whatever the transfer syntax says, by its first element."""
        level = self._levels[-1]
        if len(header) == PLAIN_SIZE and self._headers.plain.unpack(header)[0] != ITEM_GROUP:
            self._levels[-1] = level._replace(is_implicit=bytes(header[4:6]) not in VRS)

    def _lengths(self, header: memoryview, *, is_implicit: bool) -> tuple[int, bytes | None, int]:
        """The size of the header of an element, its VR, and the length of its value."""
        if is_implicit:
            return PLAIN_SIZE, None, self._headers.length_32.unpack_from(header, 4)[0]
        vr = bytes(header[4:6])
        if vr in SHORT_VRS:
            return PLAIN_SIZE, vr, self._headers.length_16.unpack_from(header, 6)[0]
        if len(header) < LONG_SIZE:
            raise DatasetError("truncated in the header of an element")
        return LONG_SIZE, vr, self._headers.length_32.unpack_from(header, PLAIN_SIZE)[0]

    async def _leave_out(self, length: int) -> None:
        """Skip a value, or the fragments of encapsulated pixel data."""
        if length != UNDEFINED_LENGTH:
            await self._ahead.skip(length)
            return
        fragment: int | None = 0
        while fragment is not None:
            await self._ahead.skip(fragment)
            header = await self._ahead.peek(PLAIN_SIZE)
            if len(header) < PLAIN_SIZE:
                raise DatasetError("truncated between fragments")
            self._ahead.take(PLAIN_SIZE)
            fragment = fragment_length(header)

    def _delimiter(self, level: _Level) -> bytes:
        """The delimiter of a sequence or item that had a defined length."""
        tag = ITEM_END if level.is_item else SEQUENCE_END
        return self._headers.plain.pack(tag >> 16, tag & 0xFFFF, 0)
