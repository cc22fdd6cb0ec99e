"""What pydicom decodes from the bytes we send is the data set we were given."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import AsyncIterator, Iterable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement
from pydicom.encaps import generate_frames
from pydicom.filereader import read_dataset
from tests.dataset.sample_sources import sent

from dimse.dataset.encoding import MAX_LENGTH
from dimse.dataset.pydicom_source import (
    EncapsulatedFrames,
    NativePixels,
    PixelSource,
    encoded_pieces,
    from_dataset,
)
from dimse.errors import DatasetError
from dimse.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

JPEG = "1.2.840.10008.1.2.4.50"

TRAILING_TEXT = ("Jörg", "Jörg ".encode())
"""A private element has no VR in Implicit VR."""


def decoded(data: bytes, syntax: str) -> Dataset:
    return read_dataset(BytesIO(data), syntax == IMPLICIT_VR_LITTLE_ENDIAN, syntax != EXPLICIT_VR_BIG_ENDIAN)


def shipped(name: str) -> Dataset:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return dcmread(path)


def image(**more: Any) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.SOPInstanceUID = "1.2.3"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = "Müller^Jörg"
    dataset.Rows, dataset.Columns, dataset.BitsAllocated = 2, 3, 8
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


def with_trailing(dataset: Dataset) -> Dataset:
    # What stands behind the pixel data: padding, and here text, whose character set stands before.
    dataset.add_new(0x7FE10010, "LO", "PRIVATE")
    dataset.add_new(0x7FE11001, "LO", "Jörg")
    dataset.DataSetTrailingPadding = b"\0\0"
    return dataset


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm"])
@pytest.mark.parametrize("target", [None, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])
async def test_native_files(name: str, target: str | None) -> None:
    dataset = shipped(name)
    if name == "MR_small_bigendian.dcm" and target is not None:
        with pytest.raises(DatasetError, match="other byte order"):
            from_dataset(dataset, target)
        return
    source = from_dataset(dataset, target)
    assert source.transfer_syntax_uid == (target or dataset.file_meta.TransferSyntaxUID)
    assert source.sop_instance_uid == dataset.SOPInstanceUID
    result = decoded(await sent(source), source.transfer_syntax_uid)
    assert result == shipped(name)
    assert "TransferSyntaxUID" not in result


@pytest.mark.parametrize("name", ["JPEG2000.dcm", "SC_rgb_rle_2frame.dcm"])
async def test_encapsulated_files(name: str) -> None:
    dataset = shipped(name)
    source = from_dataset(dataset)
    assert source.transfer_syntax_uid == dataset.file_meta.TransferSyntaxUID
    assert decoded(await sent(source), source.transfer_syntax_uid) == dataset
    for other in (EXPLICIT_VR_LITTLE_ENDIAN, JPEG):
        with pytest.raises(DatasetError, match="cannot be sent as"):
            from_dataset(dataset, other)
    del dataset.file_meta
    with pytest.raises(DatasetError, match="encapsulated pixel data cannot be sent as"):
        from_dataset(dataset)


@pytest.mark.parametrize(
    "target", [IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN]
)
async def test_a_data_set_made_by_hand(target: str) -> None:
    dataset = with_trailing(image(PixelData=b"12345"))
    dataset["PixelData"].VR = "OW"
    dataset.PixelData = b"123456"
    data = await sent(from_dataset(dataset, target))
    if target == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        data = zlib.decompress(data, -15)
    result = decoded(data, target)
    assert result.PatientName == "Müller^Jörg"
    assert result.PixelData == b"123456"
    assert result[0x7FE11001].value in TRAILING_TEXT


async def test_odd_pixel_data_is_padded() -> None:
    dataset = image(PixelData=b"12345")
    assert from_dataset(dataset).transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN
    assert decoded(await sent(from_dataset(dataset)), EXPLICIT_VR_LITTLE_ENDIAN).PixelData == b"12345\0"


@pytest.mark.filterwarnings("ignore:Expected explicit VR, but found implicit VR")  # by pydicom
async def test_implicit_vr_under_a_compressed_syntax() -> None:
    dataset = shipped("SC_rgb_jpeg.dcm")
    source = from_dataset(dataset)
    assert source.transfer_syntax_uid == JPEG
    assert decoded(await sent(source), JPEG) == shipped("SC_rgb_jpeg.dcm")


def test_pixel_data_is_not_copied() -> None:
    pixels = bytes(1000)
    pieces = encoded_pieces(image(PixelData=pixels), EXPLICIT_VR_LITTLE_ENDIAN, name="it")
    assert any(piece.obj is pixels for piece in pieces if isinstance(piece, memoryview))


async def test_text_behind_the_pixel_data_of_a_file_keeps_its_character_set() -> None:
    data = await sent(from_dataset(with_trailing(image(PixelData=b"12"))))
    read = decoded(data, EXPLICIT_VR_LITTLE_ENDIAN)
    again = decoded(await sent(from_dataset(read, IMPLICIT_VR_LITTLE_ENDIAN)), IMPLICIT_VR_LITTLE_ENDIAN)
    assert again[0x7FE11001].value in TRAILING_TEXT
    assert again.PatientName == "Müller^Jörg"


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID"])
def test_what_must_be_there(keyword: str) -> None:
    dataset = image()
    delattr(dataset, keyword)
    with pytest.raises(DatasetError, match=f"has no {keyword[:3]}"):
        from_dataset(dataset)


def test_native_pixels_are_not_labeled_as_compressed() -> None:
    with pytest.raises(DatasetError, match="not encapsulated"):
        from_dataset(image(PixelData=b"12"), JPEG)


def test_errors_hold_no_values() -> None:
    dataset = image()
    dataset.add(DataElement(0x00280002, "US", "SECRET", validation_mode=0))
    with pytest.raises(DatasetError, match=r"cannot be encoded in .* at \(0028,0002\)") as caught:
        from_dataset(dataset)
    assert "SECRET" not in str(caught.value)


async def given(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


class Again:
    """An async iterable that can be gone through more than once."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return given(*self.pieces)


@pytest.mark.parametrize("syntax", [None, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])
@pytest.mark.parametrize(
    ("buffers", "repeatable"),
    [
        ([b"123", b"", b"45"], True),
        (iter([b"12345"]), False),
        (given(b"1", b"2345"), False),
        (Again(b"123", b"45"), True),
        ([np.frombuffer(b"12345", np.uint8).data], True),
    ],
)
async def test_native_pixels(buffers: Any, repeatable: bool, syntax: str | None) -> None:
    if not repeatable:
        buffers = iter([b"12345"]) if isinstance(buffers, Iterable) else given(b"1", b"2345")
    source = PixelSource(with_trailing(image()), NativePixels(buffers, 5), syntax)
    assert source.repeatable is repeatable
    assert source.transfer_syntax_uid == syntax or syntax is None
    for _ in range(1 + repeatable):
        data = await sent(source)
        assert len(data) == source.length
        result = decoded(data, source.transfer_syntax_uid)
        assert result.PixelData == b"12345\0"
        assert result.PatientName == "Müller^Jörg"
        assert list(result.keys()) == sorted(result.keys())
        assert result.DataSetTrailingPadding == b"\0\0"
    if not repeatable:
        with pytest.raises(DatasetError, match="only once"):
            source.open()


@pytest.mark.parametrize("promised", [4, 6])
async def test_pixels_that_are_not_as_many_as_promised(promised: int) -> None:
    with pytest.raises(DatasetError, match=f"`length`.* {promised}"):
        await sent(PixelSource(image(), NativePixels([b"123", b"45"], promised)))


async def test_pixels_without_end() -> None:
    with pytest.raises(DatasetError, match="more bytes than their `length` 1000"):
        await sent(PixelSource(image(), NativePixels(itertools.repeat(b"x" * 300), 1000)))


@pytest.mark.parametrize("frames", [[b"abc", b"defg"], Again(b"abc", b"defg")])
async def test_encapsulated_frames(frames: Any) -> None:
    source = PixelSource(with_trailing(image()), EncapsulatedFrames(frames), JPEG)
    assert source.length is None
    result = decoded(await sent(source), JPEG)
    assert list(generate_frames(result.PixelData, number_of_frames=2)) == [b"abc\0", b"defg"]
    assert result.PixelData.startswith(b"\xfe\xff\x00\xe0\0\0\0\0")
    assert result["PixelData"].is_undefined_length
    assert result[0x7FE11001].value == "Jörg"


@pytest.mark.parametrize("syntax", [JPEG, EXPLICIT_VR_BIG_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN])
def test_native_pixels_go_out_in_little_endian_only(syntax: str) -> None:
    with pytest.raises(DatasetError, match="native pixels cannot be sent"):
        PixelSource(image(), NativePixels([], 0), syntax)


@pytest.mark.parametrize(
    "syntax",
    [
        None,
        EXPLICIT_VR_BIG_ENDIAN,
        EXPLICIT_VR_LITTLE_ENDIAN,
        DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        "1.2.840.10008.1.2.4.95",
    ],
)
def test_frames_go_out_in_a_compressed_syntax_only(syntax: str | None) -> None:
    with pytest.raises(DatasetError, match="encapsulated frames cannot be sent"):
        PixelSource(image(), EncapsulatedFrames([]), syntax)


def test_more_than_a_length_field_can_say() -> None:
    with pytest.raises(DatasetError, match="must be 0 to 4294967294"):
        NativePixels([], MAX_LENGTH + 1)
