"""Pixel data cut into frames while it arrives (PS3.5 8.1, A.4; PS3.3 C.7.6.6.1.1)."""

from __future__ import annotations

from enum import Enum
from struct import Struct
from typing import TYPE_CHECKING, Final, Protocol

from dimse.dataset.encoding import PIXEL_DATA, PLAIN_SIZE, fragment_length, tag_name
from dimse.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_FRAME: Final = 512 * 1024 * 1024
"""A larger frame is not held in memory."""


class FrameSplitter(Protocol):
    """Cuts the value of Pixel Data into frames."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes. Yields the frames that they complete."""

    def finish(self) -> None:
        """Declare the value complete. Raises `DatasetError` if the number of frames is not the expected one."""


class NativeFrames:
    """Cuts native pixel data into frames of equal length in bytes."""

    def __init__(self, frames: int, length: int) -> None:
        if not 0 < length <= MAX_FRAME:
            raise DatasetError(f"a frame must have 1 to {MAX_FRAME} bytes, not {length}")
        self._left, self._length = frames, length
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._data += data
        while self._left and len(self._data) >= self._length:
            yield bytes(self._data[: self._length])
            del self._data[: self._length]
            self._left -= 1
        if not self._left:
            self._data.clear()

    def finish(self) -> None:
        if self._left:
            raise DatasetError(f"truncated: {self._left} frames of {tag_name(PIXEL_DATA)} missing")


class _Place(Enum):
    """How far encapsulated pixel data has been followed: an item is entered by its header."""

    START = "start"
    OFFSET_TABLE = "offset table"
    FRAGMENT = "fragment"
    END = "end"


_FOLLOWING: Final = {
    _Place.START: _Place.OFFSET_TABLE,
    _Place.OFFSET_TABLE: _Place.FRAGMENT,
    _Place.FRAGMENT: _Place.FRAGMENT,
}
"""The place after the header of another item. The delimiter leads to the end from each of them."""


class JoinedFragments:
    """Joins fragments to frames: by the extended offset table, else by the basic one, else one fragment per frame."""

    def __init__(self, frames: int, offsets: Sequence[int]) -> None:
        self._frames = frames
        self._offsets = frozenset(offsets)
        self._header = bytearray()
        self._current = bytearray()
        self._left = 0
        """Bytes of the current item that are still to arrive."""
        self._given = 0
        self._offset = 0
        """Offset of the next item, counted from the first one after the offset table."""
        self._place = _Place.START

    def feed(self, data: bytes) -> Iterator[bytes]:
        position = 0
        while position < len(data) and self._place is not _Place.END:
            end = position + (self._left or PLAIN_SIZE - len(self._header))
            piece = data[position:end]
            position += len(piece)
            if self._left:
                self._current += piece
                self._left -= len(piece)
                continue
            self._header += piece
            if len(self._header) == PLAIN_SIZE:
                if (frame := self._begin_item()) is not None:
                    self._given += 1
                    yield frame
                self._header.clear()

    def _begin_item(self) -> bytes | None:
        """Act on a complete header of an item or delimiter. Returns the frame that it ends, if any."""
        fragment = fragment_length(self._header)
        place, length, frame = self._place, fragment or 0, None
        if place is _Place.OFFSET_TABLE:
            self._take_table()
        elif place is _Place.FRAGMENT and (fragment is None or self._is_start()):
            frame = bytes(self._current)
            self._current.clear()
        if place is not _Place.START:
            self._offset += PLAIN_SIZE + length
        self._place = _FOLLOWING[place] if fragment is not None else _Place.END
        if len(self._current) + length > MAX_FRAME:
            raise DatasetError(f"a frame of more than {MAX_FRAME} bytes")
        self._left = length
        return frame

    def _take_table(self) -> None:
        if not self._offsets:
            table, length = bytes(self._current), len(self._current) // 4
            self._offsets = frozenset(Struct(f"<{length}L").unpack_from(table))
        if len(self._offsets) != self._frames:
            self._offsets = frozenset()
        self._current.clear()

    def _is_start(self) -> bool:
        return self._offset in self._offsets if self._offsets else self._frames > 1

    def finish(self) -> None:
        if self._given != self._frames:
            raise DatasetError(
                f"{tag_name(PIXEL_DATA)} has {self._given} fragments for {self._frames} frames, and no offset table"
            )
