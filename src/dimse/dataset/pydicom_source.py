"""pydicom data sets as sources, with their own pixel data or with separate pixels (PS3.5 8, A.4).

The pixel data is not copied: the metadata, the pixel data and the elements after it are separate pieces.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dimse.dataset.codec import encode, encode_elements
from dimse.dataset.encoding import (
    DEFLATED_SYNTAXES,
    ITEM_TAG,
    LITTLE,
    MAX_LENGTH,
    PIXEL_DATA,
    SEQUENCE_END_HEADER,
    UNDEFINED_LENGTH,
    Buffer,
    Encoding,
    item_header,
    tag_name,
)
from dimse.dataset.misfits import may_be_misread
from dimse.dataset.reencoding import encode_as_read, rewrite
from dimse.dataset.sources import DatasetSource, MemorySource, PiecesSource
from dimse.errors import DatasetError
from dimse.uids import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    LITTLE_ENDIAN,
    name_of,
)

if TYPE_CHECKING:
    from pydicom import Dataset

_EMPTY_OFFSET_TABLE: Final = item_header(0)


@dataclass(frozen=True, slots=True)
class NativePixels:
    """Uncompressed pixel data (PS3.5 8.1.1), little endian: buffers of `length` bytes in total.

    A plain iterable is iterated on the event loop and must not block; an asynchronous one may wait.
    """

    buffers: Iterable[Buffer] | AsyncIterable[Buffer]
    length: int

    def __post_init__(self) -> None:
        if not 0 <= self.length <= MAX_LENGTH:
            raise DatasetError(f"length must be 0 to {MAX_LENGTH} bytes of pixel data, not {self.length}")


@dataclass(frozen=True, slots=True)
class EncapsulatedFrames:
    """Compressed pixel data (PS3.5 A.4): one buffer per frame, each of which becomes one fragment."""

    frames: Iterable[Buffer] | AsyncIterable[Buffer]


class PixelSource(PiecesSource):
    """A data set without pixel data, and separate pixels, which are read while they are sent.

    `transfer_syntax_uid` defaults to that of `dataset.file_meta`, and for native pixels to Explicit VR Little Endian.
    Attributes that describe the pixels (Rows, Photometric Interpretation ...) must match them. The source is repeatable
    if the iterable is.
    """

    def __init__(
        self,
        dataset: Dataset,
        pixels: NativePixels | EncapsulatedFrames,
        transfer_syntax_uid: str | None = None,
    ) -> None:
        native = isinstance(pixels, NativePixels)
        syntax = transfer_syntax_uid or _labeled(dataset) or (EXPLICIT_VR_LITTLE_ENDIAN if native else "")
        if not (syntax in LITTLE_ENDIAN if native else _takes_frames(syntax)):
            kind = "native pixels" if native else "encapsulated frames"
            raise DatasetError(f"{kind} cannot be sent in {name_of(syntax) or 'no transfer syntax'}")
        sop_class_uid, sop_instance_uid = _sop_uids(dataset)
        before, after = _encode_around_pixel_data(dataset, syntax, sop_instance_uid)
        self._pixels = pixels
        if isinstance(pixels, NativePixels):
            padded = pixels.length + pixels.length % 2
            self._before, self._after = before + pixel_data_header(syntax, padded), after
            length = len(self._before) + padded + len(after)
        else:
            self._before = before + pixel_data_header(syntax, UNDEFINED_LENGTH) + _EMPTY_OFFSET_TABLE
            self._after, length = SEQUENCE_END_HEADER + after, None
        super().__init__(
            self._all,
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=syntax,
            length=length,
            repeatable=_is_repeatable(pixels.buffers if isinstance(pixels, NativePixels) else pixels.frames),
            name=sop_instance_uid,
        )

    async def _all(self) -> AsyncIterator[Buffer]:
        yield self._before
        async for piece in self._value(self._pixels):
            yield piece
        yield self._after

    def _value(self, pixels: NativePixels | EncapsulatedFrames) -> AsyncIterator[Buffer]:
        return self._native(pixels) if isinstance(pixels, NativePixels) else self._fragments(pixels)

    async def _native(self, pixels: NativePixels) -> AsyncIterator[Buffer]:
        given = 0
        async for buffer in _iterate(pixels.buffers):
            given += memoryview(buffer).nbytes
            if given > pixels.length:
                raise DatasetError(f"{self.name}: the pixels have more bytes than their `length` {pixels.length}")
            yield buffer
        if given != pixels.length:
            raise DatasetError(f"{self.name}: the pixels have {given} bytes, but their `length` is {pixels.length}")
        yield bytes(given % 2)

    async def _fragments(self, pixels: EncapsulatedFrames) -> AsyncIterator[Buffer]:
        async for frame in _iterate(pixels.frames):
            length = memoryview(frame).nbytes
            if length > MAX_LENGTH:
                raise DatasetError(f"{self.name}: a frame of {length} bytes is too long for a fragment")
            yield item_header(length + length % 2)
            yield frame
            yield bytes(length % 2)


def from_dataset(dataset: Dataset, transfer_syntax_uid: str | None = None) -> DatasetSource:
    """Encode a pydicom data set, to send it from memory.

    `transfer_syntax_uid` defaults to that of `dataset.file_meta`, else to the encoding in which the data set was read,
    else to Explicit VR Little Endian. Pixel data is not converted: compress or decompress it beforehand. It is not
    copied either, so `dataset` must not change until it is sent. Raises `DatasetError`.
    """
    sop_class_uid, sop_instance_uid = _sop_uids(dataset)
    syntax = transfer_syntax_uid or _labeled(dataset) or _read_in(dataset)
    _refuse_other_pixel_encoding(dataset, syntax)
    return MemorySource(
        encoded_pieces(dataset, syntax, name=sop_instance_uid),
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=syntax,
    )


def encoded_pieces(dataset: Dataset, syntax: str, *, name: str) -> list[Buffer]:
    """Encode all but the pixel data, which becomes a view. `name` is the source's name in warnings."""
    value = dataset[PIXEL_DATA].value if PIXEL_DATA in dataset else None
    if not isinstance(value, bytes | bytearray) or syntax in DEFLATED_SYNTAXES | {EXPLICIT_VR_BIG_ENDIAN}:
        # Without groups 0000 and 0002, which are not part of a data set (PS3.5 7.1).
        return [_encode(dataset[0x00030000:], syntax, name)]
    before, after = _encode_around_pixel_data(dataset, syntax, name)
    view = memoryview(value)
    if not Encoding.of(syntax).encapsulated:
        padding = len(view) % 2
        return [before + pixel_data_header(syntax, len(view) + padding), view, bytes(padding) + after]
    if bytes(view[:4]) != ITEM_TAG:
        raise DatasetError(f"{tag_name(PIXEL_DATA)} is not encapsulated, as {name_of(syntax)} requires")
    return [before + pixel_data_header(syntax, UNDEFINED_LENGTH), view, SEQUENCE_END_HEADER + after]


def _around_pixel_data(dataset: Dataset) -> tuple[Dataset, Dataset]:
    return dataset[0x00030000:PIXEL_DATA], dataset[PIXEL_DATA + 1 :]


def _encode_around_pixel_data(dataset: Dataset, syntax: str, name: str) -> tuple[bytes, bytes]:
    """The elements before and after (7FE0,0010), encoded."""
    before, after = _around_pixel_data(dataset)
    return _encode(before, syntax, name), _encode(after, syntax, name, dataset.get("SpecificCharacterSet"))


def _encode(dataset: Dataset, syntax: str, name: str, character_set: str | list[str] | None = None) -> bytes:
    """Encode. Elements that a receiver would misread in Implicit VR are omitted with a warning, or raise an error."""
    if syntax in DEFLATED_SYNTAXES:
        return encode(dataset, syntax)
    if syntax != EXPLICIT_VR_BIG_ENDIAN and _is_mislabeled(dataset):
        return encode_as_read(dataset, implicit=syntax == IMPLICIT_VR_LITTLE_ENDIAN, name=name)
    if syntax != IMPLICIT_VR_LITTLE_ENDIAN or not may_be_misread(dataset):
        return encode_elements(dataset, syntax, character_set)
    explicit = encode_elements(dataset, EXPLICIT_VR_LITTLE_ENDIAN, character_set)
    return rewrite(explicit, implicit=False, to_implicit=True, name=name)


def _is_mislabeled(dataset: Dataset) -> bool:
    """Whether it was read in Implicit VR under an Explicit VR syntax: pydicom cannot encode it again."""
    if dataset.original_encoding != (False, True):
        return False
    return any(dataset.get_item(tag).VR is None for tag in dataset.keys())  # noqa: SIM118 it yields elements


def pixel_data_header(syntax: str, length: int) -> bytes:
    """The header of (7FE0,0010): OW if native, which is legal for any depth (PS3.5 A.1, A.2), OB if encapsulated."""
    if syntax == IMPLICIT_VR_LITTLE_ENDIAN:
        return LITTLE.plain.pack(0x7FE0, 0x0010, length)
    return LITTLE.long.pack(0x7FE0, 0x0010, b"OB" if length == UNDEFINED_LENGTH else b"OW", length)


def _refuse_other_pixel_encoding(dataset: Dataset, syntax: str) -> None:
    """Raise `DatasetError` if the data set would be labeled with a transfer syntax that its values are not in."""
    labeled = _labeled(dataset)
    compressed = Encoding.of(labeled or syntax).encapsulated or Encoding.of(syntax).encapsulated
    if labeled and labeled != syntax and PIXEL_DATA in dataset and compressed:
        raise DatasetError(f"pixel data in {name_of(labeled)} cannot be sent as {name_of(syntax)}")
    if PIXEL_DATA in dataset and dataset[PIXEL_DATA].is_undefined_length and not Encoding.of(syntax).encapsulated:
        raise DatasetError(f"encapsulated pixel data cannot be sent as {name_of(syntax)}")
    little_endian = dataset.original_encoding[1]
    if little_endian is not None and little_endian != (syntax != EXPLICIT_VR_BIG_ENDIAN):
        # pydicom does not swap the bytes of OW and similar VRs.
        raise DatasetError(f"a data set read in the other byte order cannot be sent as {name_of(syntax)}")


def _labeled(dataset: Dataset) -> str | None:
    file_meta = getattr(dataset, "file_meta", None)
    return str(file_meta.get("TransferSyntaxUID", "")) or None if file_meta is not None else None


def _read_in(dataset: Dataset) -> str:
    implicit, little_endian = dataset.original_encoding
    if little_endian is False:
        return EXPLICIT_VR_BIG_ENDIAN
    return IMPLICIT_VR_LITTLE_ENDIAN if implicit else EXPLICIT_VR_LITTLE_ENDIAN


def _sop_uids(dataset: Dataset) -> tuple[str, str]:
    for keyword, name in (("SOPClassUID", "SOP Class UID"), ("SOPInstanceUID", "SOP Instance UID")):
        if not dataset.get(keyword):
            raise DatasetError(f"the data set has no {name}")
    return str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)


def _takes_frames(syntax: str) -> bool:
    return bool(syntax) and Encoding.of(syntax).encapsulated and not Encoding.of(syntax).deflated


def _is_repeatable(buffers: Iterable[Buffer] | AsyncIterable[Buffer]) -> bool:
    return not isinstance(buffers, Iterator | AsyncIterator)


async def _iterate(buffers: Iterable[Buffer] | AsyncIterable[Buffer]) -> AsyncIterator[Buffer]:
    if isinstance(buffers, AsyncIterable):
        async for buffer in buffers:
            yield buffer
    else:
        for buffer in buffers:
            yield buffer
