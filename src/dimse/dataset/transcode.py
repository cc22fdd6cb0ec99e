"""Conversion of a source to the accepted transfer syntax (PS3.5 10, A), while it is sent."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from pydicom.datadict import dictionary_has_tag, dictionary_VR

from dimse.dataset.byteorder import LittleEndianSource
from dimse.dataset.derived import STEP, Derived, Following, Metadata, Rest, elements_behind, read_metadata
from dimse.dataset.encapsulation import Encapsulated, fragment_lengths
from dimse.dataset.encoding import LITTLE, OFFSET_TABLES, PIXEL_DATA, Buffer, Encoding, Inflater, tag_name
from dimse.dataset.reencoding import rewrite
from dimse.dataset.scanner import MAX_METADATA, BulkHeader
from dimse.dataset.sources import DatasetSource, PiecesReader, Reader, named
from dimse.dataset.threads import beside_the_loop
from dimse.errors import DatasetError
from dimse.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    NATIVE_LITTLE_ENDIAN,
    name_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_SMALL: Final = 32 * 1024
"""Bytes of metadata that are re-encoded on the event loop."""

_BULK_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UC", "UN", "UR", "UT"})
"""VRs with a 32-bit length whose values have the same bytes in Explicit and Implicit VR Little Endian."""


async def reencode(source: DatasetSource, transfer_syntax_uid: str) -> DatasetSource:
    """Convert a native data set to Explicit, Implicit or Deflated Explicit VR Little Endian (PS3.5 A.1, A.2, A.5).

    The source may also be in Explicit VR Big Endian (PS3.5 A.3): then numbers and words of pixel data are swapped.

    Metadata and the elements after the bulk data are held in memory, each at most 16 MiB; the bulk data is streamed.
    Values are not changed. The result has a length if the source has one and no element follows the bulk data. A
    `source` that can be read only once stays open until the result's reader is closed. Raises `DatasetError`.
    """
    from_native = source.transfer_syntax_uid in (*NATIVE_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN)
    if not from_native or transfer_syntax_uid not in NATIVE_LITTLE_ENDIAN:
        raise DatasetError(
            f"{source.name}: cannot be converted from {name_of(source.transfer_syntax_uid)}"
            f" to {name_of(transfer_syntax_uid)} without changing its pixel data"
        )
    if source.transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN:
        source = LittleEndianSource(source)
    if transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        return Deflated(await reencode(source, EXPLICIT_VR_LITTLE_ENDIAN))
    if source.transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        source = Inflated(source)
        if transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN:
            return source
    return await _follow(source, transfer_syntax_uid)


async def mend(source: DatasetSource) -> DatasetSource:
    """Correct a data set that may not be sent unchanged, within its transfer syntax.

    Fragments of a message have even lengths (PS3.8 9.3.1): a deflated data set is padded (PS3.5 A.5), and so are values
    and fragments of pixel data (PS3.5 7.1.1, A.4). Implicit VR is converted if the transfer syntax has Explicit VR.
    Raises `DatasetError`, also for a big endian data set of odd length.
    """
    if source.transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        return _Padded(source)
    if source.transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN:
        raise DatasetError(f"{source.name}: the data set has an odd length, which cannot be sent (PS3.8 9.3.1)")
    return await _follow(source, source.transfer_syntax_uid)


async def _follow(source: DatasetSource, transfer_syntax_uid: str) -> DatasetSource:
    """Re-encode the metadata now; the rest is converted while it is read.

    The metadata decides which conversion it is, and often the length of the result, so it must be read here. A source
    that can be read only once hands the open reader over to the result.
    """
    reader = source.open()
    try:
        metadata = await read_metadata(source, reader, OFFSET_TABLES)
        result: Following
        if metadata.bulk is not None and metadata.bulk.length is None and Encoding.of(transfer_syntax_uid).encapsulated:
            lengths = None
            if source.repeatable and source.length is not None:
                with named(source.name):
                    lengths = await fragment_lengths(Rest(source.name, metadata, reader, 0))
            result = await _made(metadata, lambda: Encapsulated(source, metadata, lengths))
        else:
            result = await _made(metadata, lambda: _Reencoded(source, transfer_syntax_uid, metadata))
    except BaseException:
        reader.close()
        raise
    result.settle(reader)
    return result


async def _made(metadata: Metadata, make: Callable[[], Following]) -> Following:
    """The result of `make`, which re-encodes the metadata: in a thread if they may have many elements."""
    return make() if len(metadata.encoded) <= _SMALL else await beside_the_loop(make)


class _Padded(Derived):
    """A source with one more zero byte."""

    def __init__(self, source: DatasetSource) -> None:
        super().__init__(source, source.transfer_syntax_uid, None if source.length is None else source.length + 1)

    def open(self) -> Reader:
        """Begin a pass."""
        reader = self._source.open()
        return PiecesReader(self._pieces(reader), reader.close)

    async def _pieces(self, reader: Reader) -> AsyncIterator[Buffer]:
        buffer = memoryview(bytearray(STEP))
        while count := await reader.read_into(buffer):
            yield buffer[:count]
        yield b"\0"


class Deflated(Derived):
    """A source in Explicit VR Little Endian, deflated while it is read (PS3.5 A.5)."""

    def __init__(self, source: DatasetSource) -> None:
        super().__init__(source, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, None)

    def open(self) -> Reader:
        """Begin a pass."""
        reader = self._source.open()
        return PiecesReader(self._pieces(reader), reader.close)

    async def _pieces(self, reader: Reader) -> AsyncIterator[Buffer]:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        buffer, total = memoryview(bytearray(STEP)), 0
        while count := await reader.read_into(buffer):
            piece = deflater.compress(buffer[:count])
            total += len(piece)
            yield piece
        end = deflater.flush()
        yield end + bytes((total + len(end)) % 2)


class Inflated(Derived):
    """A deflated source, inflated while it is read."""

    def __init__(self, source: DatasetSource) -> None:
        super().__init__(source, EXPLICIT_VR_LITTLE_ENDIAN, None)

    def open(self) -> Reader:
        """Begin a pass."""
        reader = self._source.open()
        return PiecesReader(self._pieces(reader), reader.close)

    async def _pieces(self, reader: Reader) -> AsyncIterator[Buffer]:
        inflater, buffer = Inflater(), memoryview(bytearray(STEP))
        with named(self.name):
            while not inflater.ended:
                count = await reader.read_into(buffer)
                for piece in inflater.pieces(buffer[:count]):
                    yield piece
                if not count and not inflater.ended:
                    raise DatasetError("the deflated data set is truncated")


class _Reencoded(Following):
    """Converts between Explicit and Implicit VR Little Endian, or pads values of odd length."""

    def __init__(self, source: DatasetSource, transfer_syntax_uid: str, metadata: Metadata) -> None:
        super().__init__(source, transfer_syntax_uid, metadata)
        bulk = metadata.bulk
        self._bulk_length = 0
        self._prefix = self._rewritten(metadata.encoded, implicit=metadata.scanner.implicit)
        if bulk is not None:
            self._prefix += self._bulk_header(bulk)
            self._bulk_length = bulk.length or 0
        if source.length is not None:
            end = bulk.value_offset + self._bulk_length if bulk else source.length
            if end > source.length:
                raise DatasetError(f"{self.name}: truncated: {end - source.length} bytes missing")
            if end == source.length:
                self.length = len(self._prefix) + self._bulk_length + self._bulk_length % 2

    async def _pieces(self, rest: Rest) -> AsyncIterator[Buffer]:
        yield self._prefix
        async for piece in rest.pieces(self._bulk_length):
            yield piece
        yield bytes(self._bulk_length % 2)
        with named(self.name):
            encoded, implicit = elements_behind(await rest.everything(), self._source.transfer_syntax_uid)
        yield self._rewritten(encoded, implicit=implicit)

    def _rewritten(self, encoded: bytes, *, implicit: bool) -> bytes:
        with named(self.name):
            to_implicit = self.transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN
            return rewrite(encoded, implicit=implicit, to_implicit=to_implicit, name=self.name)

    def _bulk_header(self, bulk: BulkHeader) -> bytes:
        vr = bulk.vr
        if vr is None and dictionary_has_tag(bulk.tag):
            # Pixel Data is OB or OW, and OW in Implicit VR (PS3.5 A.1); the dictionary has the VR of the other two.
            vr = "OW" if bulk.tag == PIXEL_DATA else dictionary_VR(bulk.tag)
        if bulk.length is None or vr not in _BULK_VRS:
            raise DatasetError(
                f"{self.name}: {tag_name(bulk.tag)} cannot be converted to {name_of(self.transfer_syntax_uid)}:"
                f" it is not pixel data, and the metadata exceeds {MAX_METADATA} bytes with it"
            )
        length = bulk.length + bulk.length % 2
        if self.transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN:
            return LITTLE.plain.pack(bulk.tag >> 16, bulk.tag & 0xFFFF, length)
        return LITTLE.long.pack(bulk.tag >> 16, bulk.tag & 0xFFFF, vr.encode("ascii"), length)
