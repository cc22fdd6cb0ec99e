"""Putting a data set into the accepted transfer syntax (PS3.5 10, A), as it is sent."""

from __future__ import annotations

import zlib
from struct import Struct
from typing import TYPE_CHECKING, Final

from pydicom.datadict import dictionary_has_tag, dictionary_VR

from dimse.dataset.byteorder import LittleEndianSource
from dimse.dataset.elements import (
    MAX_METADATA,
    PIXEL_DATA,
    Buffer,
    BulkHeader,
    ElementScanner,
    tag_name,
)
from dimse.dataset.rewriting import rewrite
from dimse.dataset.sources import DatasetSource, PiecesReader, Reader, named
from dimse.errors import DatasetError
from dimse.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    LITTLE_ENDIAN,
    NATIVE_LITTLE_ENDIAN,
    name_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_STEP: Final = 64 * 1024
_EXPLICIT: Final = Struct("<HH2sxxL")
_IMPLICIT: Final = Struct("<HHL")
_BULK_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UC", "UN", "UR", "UT"})
"""VRs with a 32-bit length whose values are the same bytes in Explicit and in Implicit VR Little Endian."""


async def reencode(source: DatasetSource, transfer_syntax_uid: str) -> DatasetSource:
    """Put a native data set into Explicit, Implicit or Deflated Explicit VR Little Endian (PS3.5 A.1, A.2, A.5).

    Also one in Explicit VR Big Endian (PS3.5 A.3), whose numbers and words of pixel data are swapped.

    Metadata and what follows the bulk data are held in memory, each at most 16 MiB; the bulk data passes as it
    comes. Values stay as they are. The result has a length if the source has one and no element follows the bulk
    data. A `source` that can be read only once is open from now on, until the result's reader is closed. Raises
    `DatasetError`.
    """
    from_native = source.transfer_syntax_uid in (*NATIVE_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN)
    if not from_native or transfer_syntax_uid not in NATIVE_LITTLE_ENDIAN:
        raise DatasetError(
            f"{source.name}: cannot be put from {name_of(source.transfer_syntax_uid)}"
            f" into {name_of(transfer_syntax_uid)} without touching its pixels"
        )
    if source.transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN:
        source = LittleEndianSource(source)
        if transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN:
            return source
    if transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        return _Deflated(await reencode(source, EXPLICIT_VR_LITTLE_ENDIAN))
    if source.transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        source = _Inflated(source)
        if transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN:
            return source
    reader = source.open()
    try:
        result = _Reencoded(source, transfer_syntax_uid, await _read_metadata(source, reader))
    except BaseException:
        reader.close()
        raise
    if source.repeatable:
        reader.close()
    else:
        result.keep(reader)
    return result


async def even(source: DatasetSource) -> DatasetSource:
    """Make a data set of odd length one that can be sent: fragments are even (PS3.8 9.3.1).

    A deflated one gets its padding byte (PS3.5 A.5); in a native one, values of odd length do. Raises
    `DatasetError` for a compressed or a big-endian one.
    """
    if source.transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        return _Padded(source)
    if source.transfer_syntax_uid not in LITTLE_ENDIAN:
        raise DatasetError(f"{source.name}: has an odd length, which cannot be sent (PS3.8 9.3.1)")
    return await reencode(source, source.transfer_syntax_uid)


class _Derived(DatasetSource):
    """Another source in another encoding."""

    def __init__(self, source: DatasetSource, transfer_syntax_uid: str, length: int | None) -> None:
        self.sop_class_uid = source.sop_class_uid
        self.sop_instance_uid = source.sop_instance_uid
        self.transfer_syntax_uid = transfer_syntax_uid
        self.length = length
        self.repeatable = source.repeatable
        self.name = source.name
        self._source = source


class _Padded(_Derived):
    """One zero byte longer."""

    def __init__(self, source: DatasetSource) -> None:
        super().__init__(source, source.transfer_syntax_uid, None if source.length is None else source.length + 1)

    def open(self) -> Reader:
        """Begin a pass."""
        reader = self._source.open()
        return PiecesReader(self._pieces(reader), reader.close)

    async def _pieces(self, reader: Reader) -> AsyncIterator[Buffer]:
        buffer = memoryview(bytearray(_STEP))
        while count := await reader.read_into(buffer):
            yield buffer[:count]
        yield b"\0"


class _Deflated(_Derived):
    """A data set in Explicit VR Little Endian, deflated as it is read (PS3.5 A.5)."""

    def __init__(self, source: DatasetSource) -> None:
        super().__init__(source, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, None)

    def open(self) -> Reader:
        """Begin a pass."""
        reader = self._source.open()
        return PiecesReader(self._pieces(reader), reader.close)

    async def _pieces(self, reader: Reader) -> AsyncIterator[Buffer]:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        buffer, total = memoryview(bytearray(_STEP)), 0
        while count := await reader.read_into(buffer):
            piece = deflater.compress(buffer[:count])
            total += len(piece)
            yield piece
        end = deflater.flush()
        yield end + bytes((total + len(end)) % 2)


class _Inflated(_Derived):
    """A deflated data set, inflated as it is read."""

    def __init__(self, source: DatasetSource) -> None:
        super().__init__(source, EXPLICIT_VR_LITTLE_ENDIAN, None)

    def open(self) -> Reader:
        """Begin a pass."""
        reader = self._source.open()
        return PiecesReader(self._pieces(reader), reader.close)

    async def _pieces(self, reader: Reader) -> AsyncIterator[Buffer]:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        buffer = memoryview(bytearray(_STEP))
        data = b""
        while not inflater.eof:
            if not data:
                data = bytes(buffer[: await reader.read_into(buffer)])
            at_end = not data
            try:
                # In steps: a bomb stays small, and what is left inside the inflater comes with the next one.
                piece = inflater.decompress(data, _STEP)
            except zlib.error:
                raise DatasetError(f"{self.name}: not deflated data") from None
            data = inflater.unconsumed_tail
            if at_end and not piece and not inflater.eof:
                raise DatasetError(f"{self.name}: the deflated data set is cut short")
            yield piece


class _Metadata:
    """What comes before the bulk data: scanned, and the bytes of the value that came with it."""

    def __init__(self, scanner: ElementScanner) -> None:
        end = scanner.bulk.header_offset if scanner.bulk else len(scanner.metadata)
        self.bulk = scanner.bulk
        self.encoded = bytes(scanner.metadata[:end])
        self.consumed = len(scanner.metadata)
        self.value_start = bytes(scanner.metadata[scanner.bulk.value_offset :]) if scanner.bulk else b""


async def _read_metadata(source: DatasetSource, reader: Reader) -> _Metadata:
    scanner = ElementScanner(source.transfer_syntax_uid, wanted=())
    buffer = bytearray(_STEP)
    while scanner.bulk is None and (count := await reader.read_into(memoryview(buffer))):
        with named(source.name):
            scanner.feed(memoryview(buffer)[:count])
    with named(source.name):
        scanner.finish()
    return _Metadata(scanner)


class _Reencoded(_Derived):
    """Explicit VR Little Endian as Implicit, the other way round, or again with even lengths."""

    def __init__(self, source: DatasetSource, transfer_syntax_uid: str, metadata: _Metadata) -> None:
        super().__init__(source, transfer_syntax_uid, None)
        bulk = metadata.bulk
        self._bulk_length = 0
        self._metadata = metadata
        self._prefix = self._rewritten(metadata.encoded)
        if bulk is not None:
            self._prefix += self._bulk_header(bulk)
            self._bulk_length = bulk.length or 0
        if source.length is not None:
            end = bulk.value_offset + self._bulk_length if bulk else source.length
            if end > source.length:
                raise DatasetError(f"{self.name}: ends {end - source.length} bytes too early")
            if end == source.length:
                self.length = len(self._prefix) + self._bulk_length + self._bulk_length % 2
        self._kept: Reader | None = None

    def keep(self, reader: Reader) -> None:
        """The source is read only once: go on with the reader that the metadata came from."""
        self._kept = reader

    def open(self) -> Reader:
        """Begin a pass."""
        if self._kept is not None:
            reader, self._kept = self._kept, None
            return PiecesReader(self._pieces(reader, 0), reader.close)
        reader = self._source.open()
        return PiecesReader(self._pieces(reader, self._metadata.consumed), reader.close)

    async def _pieces(self, reader: Reader, known: int) -> AsyncIterator[Buffer]:
        """The prefix, the value from `reader`, of which the first `known` bytes were seen before, and the rest."""
        yield self._prefix
        buffer = memoryview(bytearray(_STEP))
        while known:
            count = await reader.read_into(buffer[: min(_STEP, known)])
            if not count:
                raise DatasetError(f"{self.name}: has become shorter while it was read")
            known -= count
        missing = self._bulk_length
        piece = memoryview(self._metadata.value_start)
        while missing:
            if not piece:
                raise DatasetError(f"{self.name}: ends {missing} bytes too early")
            yield piece[:missing]
            if len(piece) >= missing:
                piece = piece[missing:]
                break
            missing -= len(piece)
            piece = buffer[: await reader.read_into(buffer)]
        yield bytes(self._bulk_length % 2)
        trailing = await self._trailing(reader, bytes(piece))
        if trailing:
            yield self._rewritten(trailing)

    async def _trailing(self, reader: Reader, start: bytes) -> bytes:
        """The elements behind the bulk data."""
        scanner = ElementScanner(self._source.transfer_syntax_uid, wanted=())
        buffer = memoryview(bytearray(_STEP))
        try:
            scanner.feed(start)
            while scanner.bulk is None and (count := await reader.read_into(buffer)):
                scanner.feed(buffer[:count])
            scanner.finish()
        except DatasetError as error:
            raise DatasetError(f"{self.name}: {error}") from None
        if scanner.bulk is not None:
            raise DatasetError(f"{self.name}: {tag_name(scanner.bulk.tag)} follows other bulk data")
        return bytes(scanner.metadata)

    def _rewritten(self, encoded: bytes) -> bytes:
        try:
            return rewrite(
                encoded,
                implicit=self._source.transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN,
                to_implicit=self.transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN,
                name=self.name,
            )
        except DatasetError as error:
            raise DatasetError(f"{self.name}: {error}") from None

    def _bulk_header(self, bulk: BulkHeader) -> bytes:
        vr = bulk.vr
        if vr is None and dictionary_has_tag(bulk.tag):
            # Pixel Data has two, of which Implicit VR uses OW (PS3.5 A.1); the dictionary says OF and OD itself.
            vr = "OW" if bulk.tag == PIXEL_DATA else dictionary_VR(bulk.tag)
        if bulk.length is None or vr not in _BULK_VRS:
            raise DatasetError(
                f"{self.name}: {tag_name(bulk.tag)} cannot be put into {name_of(self.transfer_syntax_uid)}:"
                f" not pixel data, and more than {MAX_METADATA} bytes of metadata with it"
            )
        length = bulk.length + bulk.length % 2
        if self.transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN:
            return _IMPLICIT.pack(bulk.tag >> 16, bulk.tag & 0xFFFF, length)
        return _EXPLICIT.pack(bulk.tag >> 16, bulk.tag & 0xFFFF, vr.encode("ascii"), length)
