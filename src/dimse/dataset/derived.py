"""Sources in another encoding: the metadata is held in memory, the bulk data is streamed."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from dimse.dataset.encoding import Buffer, tag_name
from dimse.dataset.scanner import MAX_METADATA, ElementScanner
from dimse.dataset.sources import DatasetSource, PiecesReader, Reader, named
from dimse.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

STEP: Final = 64 * 1024


class Derived(DatasetSource):
    """A source derived from another."""

    def __init__(self, source: DatasetSource, transfer_syntax_uid: str, length: int | None) -> None:
        self.sop_class_uid = source.sop_class_uid
        self.sop_instance_uid = source.sop_instance_uid
        self.transfer_syntax_uid = transfer_syntax_uid
        self.length = length
        self.repeatable = source.repeatable
        self.name = source.name
        self._source = source

    def identity(self) -> tuple[str, int, int] | None:
        """That of the source."""
        return self._source.identity()


class Metadata:
    """The scanned metadata, and the part of the bulk data that was read with it."""

    def __init__(self, scanner: ElementScanner) -> None:
        self.scanner, self.bulk = scanner, scanner.bulk
        metadata, self.consumed = scanner.metadata, len(scanner.metadata)
        if self.bulk is None:
            self.encoded, self.header, self.value_start = bytes(metadata[: scanner.surplus]), b"", b""
        else:
            header, value = self.bulk.header_offset, self.bulk.value_offset
            self.encoded, self.header = bytes(metadata[:header]), bytes(metadata[header:value])
            self.value_start = bytes(metadata[value:])


async def read_metadata(source: DatasetSource, reader: Reader, wanted: Sequence[int] = ()) -> Metadata:
    """Read up to the bulk data. Raises `DatasetError`, with the name of the source."""
    scanner = ElementScanner(source.transfer_syntax_uid, wanted=wanted)
    buffer = bytearray(STEP)
    with named(source.name):
        while scanner.bulk is None and (count := await reader.read_into(memoryview(buffer))):
            scanner.feed(memoryview(buffer)[:count])
            await asyncio.sleep(0)  # a file never waits, and may have millions of elements
        scanner.finish()
    return Metadata(scanner)


class Rest:
    """The bytes after the header of the bulk data: those read with the metadata, then those of a reader."""

    def __init__(self, name: str, metadata: Metadata, reader: Reader, to_skip: int) -> None:
        self._name, self._reader = name, reader
        self._piece = memoryview(metadata.value_start)
        self._to_skip = to_skip
        self._buffer = memoryview(bytearray(STEP))

    async def piece(self, most: int = STEP) -> memoryview:
        """The next bytes, at most `most`; empty at the end. They are valid until the next call."""
        while self._to_skip:
            skipped = await self._reader.read_into(self._buffer[: min(STEP, self._to_skip)])
            if not skipped:
                raise DatasetError(f"{self._name}: was truncated while being read")
            self._to_skip -= skipped
        if not self._piece:
            self._piece = self._buffer[: await self._reader.read_into(self._buffer)]
        piece, self._piece = self._piece[:most], self._piece[most:]
        return piece

    async def pieces(self, length: int) -> AsyncIterator[memoryview]:
        """The next `length` bytes. Raises `DatasetError` if there are fewer."""
        while length:
            piece = await self.piece(length)
            if not piece:
                raise DatasetError(f"{self._name}: truncated: {length} bytes missing")
            length -= len(piece)
            yield piece

    async def everything(self) -> bytes:
        """All remaining bytes: the elements after the bulk data, which are few."""
        data = bytearray()
        while piece := await self.piece():
            data += piece
            if len(data) > MAX_METADATA:
                raise DatasetError(f"{self._name}: more than {MAX_METADATA} bytes after the bulk data")
        return bytes(data)


class Continued(Derived):
    """Goes on with `source` behind its metadata, which were read when this was made."""

    def __init__(self, source: DatasetSource, transfer_syntax_uid: str, length: int | None, metadata: Metadata) -> None:
        super().__init__(source, transfer_syntax_uid, length)
        self._consumed = metadata.consumed
        self._kept: Reader | None = None

    def settle(self, reader: Reader) -> None:
        """Close the reader of the metadata, or keep it for the first pass if the source can be read only once."""
        if self._source.repeatable:
            reader.close()
        else:
            self._kept = reader

    def _begin(self) -> tuple[Reader, int]:
        """A reader for a pass, and the number of bytes to skip."""
        reader, self._kept = self._kept, None
        return (self._source.open(), self._consumed) if reader is None else (reader, 0)


class Following(Continued):
    """Re-encodes the metadata of `source` at once, and the rest while it is read."""

    def __init__(self, source: DatasetSource, transfer_syntax_uid: str, metadata: Metadata) -> None:
        super().__init__(source, transfer_syntax_uid, None, metadata)
        self._metadata = metadata

    def open(self) -> Reader:
        """Begin a pass."""
        reader, to_skip = self._begin()
        return PiecesReader(self._pieces(Rest(self.name, self._metadata, reader, to_skip)), reader.close)

    @abstractmethod
    def _pieces(self, rest: Rest) -> AsyncIterator[Buffer]:
        """The whole re-encoded data set; `rest` is the source after the header of its bulk data."""


def elements_behind(data: bytes, transfer_syntax_uid: str) -> tuple[bytes, bool]:
    """The elements after the bulk data, without surplus, and whether they are in Implicit VR."""
    scanner = ElementScanner(transfer_syntax_uid, wanted=())
    scanner.feed(data)
    scanner.finish()
    if scanner.bulk is not None:
        raise DatasetError(f"{tag_name(scanner.bulk.tag)} follows other bulk data")
    return data[: scanner.surplus], scanner.implicit
