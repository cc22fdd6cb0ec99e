"""Big endian that becomes little endian while it passes."""

from __future__ import annotations

from io import BytesIO
from typing import cast

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.sequence import Sequence
from tests.dataset.sample_sources import sent

from dimse.dataset.byteorder import Swapper
from dimse.dataset.codec import decode, encode
from dimse.dataset.sources import FileSource, MemorySource
from dimse.dataset.transcode import reencode
from dimse.errors import DatasetError
from dimse.uids import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

BIG = cast("str", get_testdata_file("MR_small_bigendian.dcm", download=False))
LITTLE = cast("str", get_testdata_file("MR_small.dcm", download=False))


def swapped(data: bytes, step: int) -> bytes:
    swapper = Swapper()
    pieces = [swapper.feed(data[start : start + step]) for start in range(0, len(data), step)]
    swapper.finish()
    return b"".join(pieces)


def of_many_vrs() -> Dataset:
    dataset = Dataset()
    dataset.PatientName, dataset.StudyDate, dataset.InstanceNumber = "Doe^J", "20240101", 7
    dataset.Rows, dataset.SmallestImagePixelValue = 513, -2
    dataset["SmallestImagePixelValue"].VR = "SS"
    dataset.SimpleFrameList, dataset.FrameIncrementPointer = [1, 70000], 0x00181063
    dataset.ReferencePixelX0 = -70000
    dataset.RecommendedDisplayFrameRateInFloat, dataset.ExposureTimeInms = 1.5, 2.25
    dataset.add_new(0x00720081, "OV", bytes(range(16)))
    dataset.add_new(0x00660016, "OF", bytes(range(8)))
    dataset.add_new(0x00091010, "OD", bytes(range(8)))
    dataset.add_new(0x00091011, "OL", bytes(range(8)))
    dataset.add_new(0x00091012, "UN", bytes(range(6)))
    dataset.add_new(0x00091013, "OB", bytes(range(6)))
    item = Dataset()
    item.Columns, item.PatientComments = 258, "inside"
    item.ReferencedImageSequence = Sequence([Dataset(), Dataset()])
    item.ReferencedImageSequence[1].ReferencedFrameNumber = 3
    item.is_undefined_length_sequence_item = True
    dataset.IconImageSequence = Sequence([item, Dataset()])
    dataset["IconImageSequence"].is_undefined_length = True
    dataset.PixelData = bytes(range(10))
    dataset["PixelData"].VR = "OW"
    dataset.add_new(0xFFFCFFFC, "OB", bytes(4))
    return dataset


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 1 << 20])
def test_each_vr(step: int) -> None:
    dataset = of_many_vrs()
    data = encode(dataset, EXPLICIT_VR_BIG_ENDIAN)
    little = decode(swapped(data, step), EXPLICIT_VR_LITTLE_ENDIAN)
    wanted = read_dataset(BytesIO(data), False, False)
    for tag, unit in ((0x7FE00010, 2), (0x00660016, 4), (0x00091011, 4), (0x00091010, 8), (0x00720081, 8)):
        value = wanted[tag].value
        wanted[tag].value = b"".join(value[i : i + unit][::-1] for i in range(0, len(value), unit))
    assert little == wanted


def big(data: bytes) -> MemorySource:
    return MemorySource(
        [data], sop_class_uid="1.2", sop_instance_uid="1.2.3", transfer_syntax_uid=EXPLICIT_VR_BIG_ENDIAN
    )


@pytest.mark.parametrize("syntax", [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])
async def test_an_image_has_the_same_pixels(syntax: str) -> None:
    source = FileSource(BIG)
    little = decode(await sent(await reencode(source, syntax)), syntax)
    original = dcmread(LITTLE)
    assert little.PixelData == original.PixelData
    assert (little.Rows, little.SliceThickness) == (original.Rows, original.SliceThickness)
    if syntax == EXPLICIT_VR_LITTLE_ENDIAN:
        assert (await reencode(source, syntax)).length == source.length


@pytest.mark.parametrize("syntax", [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])
@pytest.mark.parametrize("pixels", [b"", b"\1\2\3\4"])
@pytest.mark.parametrize("surplus", [b"\xff\xfe\xe0\x0d\0\0\0\0", bytes(2), bytes(8), bytes(515)])
async def test_what_is_behind_the_last_element_goes(surplus: bytes, pixels: bytes, syntax: str) -> None:
    dataset = of_many_vrs()
    del dataset.DataSetTrailingPadding, dataset.PixelData
    if pixels:
        dataset.PixelData = pixels
        dataset["PixelData"].VR = "OW"
    data = encode(dataset, EXPLICIT_VR_BIG_ENDIAN)
    assert await sent(await reencode(big(data + surplus), syntax)) == await sent(await reencode(big(data), syntax))


@pytest.mark.parametrize("missing", [1, 4, 1000])
async def test_what_is_cut_short_is_found(missing: int) -> None:
    data = encode(of_many_vrs(), EXPLICIT_VR_BIG_ENDIAN)
    with pytest.raises(DatasetError, match="truncated in an element"):
        swapped(data[: -min(missing, 13)], 100)
    image = encode(dcmread(BIG), EXPLICIT_VR_BIG_ENDIAN)
    with pytest.raises(DatasetError, match=r"1\.2\.3: .*truncated in an element"):
        await sent(await reencode(big(image[:-missing]), EXPLICIT_VR_LITTLE_ENDIAN))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x7f\xe0\x00\x10OW\0\0\xff\xff\xff\xff", "undefined length"),
        (b"\x00\x09\x10\x10UN\0\0\xff\xff\xff\xff", "undefined length"),
        (b"\x00\x09\x10\x10\1\2\0\0\0\0\0\0", "invalid value representation"),
    ],
)
def test_what_is_no_native_big_endian(data: bytes, words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        swapped(data, 100)
