"""The fragments of encapsulated pixel data (PS3.5 A.4)."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from struct import Struct
from typing import TYPE_CHECKING

from dimse.dataset.derived import Following, Metadata, Rest, elements_behind
from dimse.dataset.encoding import (
    OFFSET_TABLES,
    PIXEL_DATA,
    PLAIN_SIZE,
    SEQUENCE_END_HEADER,
    UNDEFINED_LENGTH,
    Buffer,
    fragment_length,
    item_header,
    tag_name,
)
from dimse.dataset.pydicom_source import pixel_data_header
from dimse.dataset.reencoding import rewrite
from dimse.dataset.scanner import MAX_METADATA
from dimse.dataset.sources import DatasetSource, named
from dimse.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


async def fragment_lengths(rest: Rest) -> list[int]:
    """The lengths of the Basic Offset Table and of all fragments."""
    lengths: list[int] = []
    while (length := await _next_length(rest)) is not None:
        lengths.append(length)
        async for _ in rest.pieces(length):
            pass
    return lengths


async def _next_length(rest: Rest) -> int | None:
    """The length of the next fragment; None at the delimiter, or at the end of a data set without one."""
    header = bytes(await rest.piece(PLAIN_SIZE))
    if not header:
        return None
    async for piece in rest.pieces(PLAIN_SIZE - len(header)):
        header += piece
    return fragment_length(header)


class Encapsulated(Following):
    """Compressed data corrected to Explicit VR and even lengths of all values and fragments.

    `lengths` are those of the offset table and the fragments, None if the source can be read only once. Padding a
    fragment before the last moves the following ones: the Basic Offset Table is adjusted, the extended one removed.
    """

    def __init__(self, source: DatasetSource, metadata: Metadata, lengths: Sequence[int] | None) -> None:
        super().__init__(source, source.transfer_syntax_uid, metadata)
        starts = accumulate((8 + length for length in (lengths or [0])[1:]), initial=0)
        self._odd = [start for start, length in zip(starts, (lengths or [0])[1:], strict=False) if length % 2]
        self._may_move = lengths is not None
        scanner, encoded, header = metadata.scanner, metadata.encoded, metadata.header
        self._has_extended = scanner.find(OFFSET_TABLES[0]) is not None
        without = OFFSET_TABLES if self._has_extended and len(self._odd) > 1 else ()
        if scanner.is_mislabeled or len(encoded) % 2 or without:
            encoded = rewrite(encoded, implicit=scanner.implicit, to_implicit=False, name=self.name, without=without)
            header = pixel_data_header(self.transfer_syntax_uid, UNDEFINED_LENGTH)
        self._prefix = encoded + header

    async def _pieces(self, rest: Rest) -> AsyncIterator[Buffer]:
        yield self._prefix
        with named(self.name):
            table = await self._offset_table(rest)
            yield table
            has_tables, odd_before = self._has_extended or len(table) > PLAIN_SIZE, False
            while (length := await _next_length(rest)) is not None:
                if odd_before and has_tables and not self._may_move:
                    raise DatasetError(
                        "a fragment before the last has an odd length, and the source can be read only once"
                    )
                odd_before = length % 2 == 1
                yield item_header(length + length % 2)
                async for piece in rest.pieces(length):
                    yield piece
                yield bytes(length % 2)
            yield SEQUENCE_END_HEADER
            yield self._behind(await rest.everything())

    async def _offset_table(self, rest: Rest) -> bytes:
        """The Basic Offset Table with its header, adjusted by the padding before each frame."""
        length = await _next_length(rest)
        if length is None or length > MAX_METADATA:
            raise DatasetError(f"{tag_name(PIXEL_DATA)} has no Basic Offset Table")
        table = bytearray()
        async for piece in rest.pieces(length):
            table += piece
        layout = Struct(f"<{length // 4}L")
        moved = (offset + bisect_left(self._odd, offset) for offset in layout.unpack_from(table))
        adjusted = layout.pack(*moved)
        return item_header(len(adjusted)) + adjusted

    def _behind(self, data: bytes) -> bytes:
        """The elements after the pixel data, in Explicit VR and with even lengths."""
        if not self._metadata.scanner.is_mislabeled and len(data) % 2 == 0:
            return data
        encoded, implicit = elements_behind(data, self.transfer_syntax_uid)
        return rewrite(encoded, implicit=implicit, to_implicit=False, name=self.name)
