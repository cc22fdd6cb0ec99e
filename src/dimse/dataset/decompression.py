"""Decompression of pixel data frame by frame, while it is sent (PS3.5 A.4)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

from pydicom.encaps import generate_frames
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import UID

from dimse.dataset.codec import PYDICOM_ERRORS, pydicom_failed
from dimse.dataset.derived import STEP
from dimse.dataset.encoding import (
    LONG_SIZE,
    MAX_LENGTH,
    OFFSET_TABLES,
    PIXEL_DATA,
    PLAIN_SIZE,
    UNDEFINED_LENGTH,
    Buffer,
    Encoding,
    end_of_fragments,
    tag_name,
)
from dimse.dataset.pydicom_source import pixel_data_header
from dimse.dataset.reencoding import encode_as_read, rewrite
from dimse.dataset.sources import DatasetSource, PiecesSource
from dimse.dataset.structure import Limits, check_structure
from dimse.dataset.threads import in_thread
from dimse.dataset.transcode import reencode
from dimse.errors import DatasetError
from dimse.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, LITTLE_ENDIAN, name_of

if TYPE_CHECKING:
    from pydicom import Dataset

_Frame: TypeAlias = "tuple[memoryview, dict[str, Any]]"
"""The bytes of a frame, and their properties according to pydicom."""


async def decompress(source: DatasetSource, transfer_syntax_uid: str = EXPLICIT_VR_LITTLE_ENDIAN) -> DatasetSource:
    """Decompress the pixel data (PS3.5 A.4) with the installed plugins of pydicom. The SOP Instance UID is kept.

    Holds the compressed object and one decompressed frame in memory. The first frame is decompressed at once. RLE needs
    numpy, the other syntaxes a plugin. A source that is not compressed is re-encoded. Raises `DatasetError` with the
    reason; reading the result raises it too if a later frame cannot be decompressed.
    """
    if not Encoding.of(source.transfer_syntax_uid).encapsulated:
        return await reencode(source, transfer_syntax_uid)
    if transfer_syntax_uid not in LITTLE_ENDIAN:
        raise DatasetError(f"{source.name}: cannot be decompressed into {name_of(transfer_syntax_uid)}")
    data = await _read_all(source)
    return await in_thread(lambda: _decompress(source, data, transfer_syntax_uid))


def can_decompress(transfer_syntax_uid: str, *, installed: bool = True) -> bool:
    """Whether pydicom can decompress this transfer syntax, with the `installed` plugins or with any."""
    try:
        return get_decoder(UID(transfer_syntax_uid)).is_available or not installed
    except NotImplementedError:
        return False


def _decompress(source: DatasetSource, data: bytes, transfer_syntax_uid: str) -> DatasetSource:
    with _named(source):
        structure = check_structure(data, source.transfer_syntax_uid, Limits(), (PIXEL_DATA,))
        value, value_end = structure.values.get(PIXEL_DATA, (structure.end, structure.end))
        start = value - (PLAIN_SIZE if structure.implicit else LONG_SIZE) if PIXEL_DATA in structure.values else value
        dataset = read_dataset(BytesIO(data[:start]), structure.implicit, True)
        if "PixelDataProviderURL" in dataset:
            raise DatasetError("its pixel data is at a URL (PS3.5 A.6)")
        if start == value:
            return _Decompressed(source, transfer_syntax_uid, dataset, b"", None)
        if value_end - value != UNDEFINED_LENGTH:
            raise DatasetError(f"{tag_name(PIXEL_DATA)} is not encapsulated (PS3.5 A.4)")
        after = rewrite(
            data[end_of_fragments(data, value) : structure.end],
            implicit=structure.implicit,
            to_implicit=transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN,
            name=source.name,
        )
        return _Decompressed(source, transfer_syntax_uid, dataset, after, _Frames(source, dataset, data, value))


class _Frames:
    """The frames of encapsulated pixel data, decompressed one at a time. Can be iterated repeatedly."""

    def __init__(self, source: DatasetSource, dataset: Dataset, data: bytes, start: int) -> None:
        self._source, self._data, self._start = source, data, start
        self._decoder = get_decoder(UID(source.transfer_syntax_uid))
        self._options = as_pixel_options(dataset, pixel_keyword="PixelData")
        frames = self._decode()
        first, self._properties = next(frames)
        self._begun: Iterator[_Frame] | None = chain([(first, self._properties)], frames)
        # JPEG pixel data may have more frames than the data set says.
        self.number = sum(1 for _ in self._encoded())
        self._length = first.nbytes
        self.length = self._length * self.number
        if self.length > MAX_LENGTH:
            raise DatasetError(f"decompressed pixel data has {self.length} bytes, more than {MAX_LENGTH}")

    def describe(self, dataset: Dataset) -> None:
        """Set the attributes that describe the decompressed frames, as pydicom does."""
        for tag in OFFSET_TABLES:
            dataset.pop(tag, None)
        dataset.PhotometricInterpretation = self._properties["photometric_interpretation"]
        if "planar_configuration" in self._properties:
            dataset.PlanarConfiguration = self._properties["planar_configuration"]
        if "NumberOfFrames" in dataset or self.number > 1:
            dataset.NumberOfFrames = self.number

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        frames, self._begun = self._begun or self._decode(), None
        given = 0
        while (frame := await in_thread(lambda: self._next(frames))) is not None:
            given += frame.nbytes
            yield frame
        if given != self.length:
            raise DatasetError(
                f"{self._source.name}: the frames have {given} bytes instead of the expected {self.length}"
            )

    def _next(self, frames: Iterator[_Frame]) -> memoryview | None:
        with _named(self._source):
            frame, properties = next(frames, (None, self._properties))
            if frame is not None and (frame.nbytes != self._length or properties != self._properties):
                raise DatasetError("its frames differ in size or format")
        return frame

    def _decode(self) -> Iterator[_Frame]:
        for array, properties in self._decoder.iter_array(self._file(), **self._options):
            yield array.reshape(-1).data.cast("B"), properties

    def _encoded(self) -> Iterator[bytes]:
        offsets, number = self._options.get("extended_offsets"), self._options["number_of_frames"]
        return generate_frames(self._file(), number_of_frames=number, extended_offsets=offsets)

    def _file(self) -> BytesIO:
        file = BytesIO(self._data)  # copies no bytes
        file.seek(self._start)
        return file


class _Decompressed(PiecesSource):
    """A data set with decompressed pixel data."""

    def __init__(
        self, source: DatasetSource, transfer_syntax_uid: str, dataset: Dataset, after: bytes, frames: _Frames | None
    ) -> None:
        header = b""
        if frames is not None:
            frames.describe(dataset)
            header = pixel_data_header(transfer_syntax_uid, frames.length + frames.length % 2)
        implicit = transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN
        self._before = encode_as_read(dataset, implicit=implicit, name=source.name) + header
        self._frames, length = frames, 0 if frames is None else frames.length
        self._after = bytes(length % 2) + after
        super().__init__(
            self._all,
            sop_class_uid=source.sop_class_uid,
            sop_instance_uid=source.sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            length=len(self._before) + length + len(self._after),
            repeatable=True,
            name=source.name,
        )

    async def _all(self) -> AsyncIterator[Buffer]:
        yield self._before
        if self._frames is not None:
            async for frame in self._frames:
                yield frame
        yield self._after


@contextmanager
def _named(source: DatasetSource) -> Iterator[None]:
    """Prefix errors with the source that could not be decompressed."""
    doing = f"{source.name}: cannot be decompressed from {name_of(source.transfer_syntax_uid)}"
    try:
        yield
    except (RuntimeError, ImportError) as error:
        # Keep this message: it names the missing plugins and contains no values.
        raise DatasetError(f"{doing}: {' '.join(str(error).split())}") from None
    except PYDICOM_ERRORS as error:
        raise pydicom_failed(doing, error) from None
    except DatasetError as error:
        raise DatasetError(f"{doing}: {error}") from None


async def _read_all(source: DatasetSource) -> bytes:
    reader, data, buffer = source.open(), BytesIO(), memoryview(bytearray(STEP))
    try:
        while count := await reader.read_into(buffer):
            data.write(buffer[:count])
    finally:
        reader.close()
    return data.getvalue()  # copies no bytes
