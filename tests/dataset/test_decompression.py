"""Decompressed is what pydicom makes of it, and only a frame of it is in memory at a time."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import RLELossless
from tests.dataset.sample_sources import memory, path_of, sent
from tests.sample_objects import instance, save

from dimse.dataset.codec import decode
from dimse.dataset.decompression import can_decompress, decompress
from dimse.dataset.sources import FileSource
from dimse.errors import DatasetError
from dimse.uids import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

RLE = str(RLELossless)
FILES = [
    *("SC_rgb_rle.dcm", "MR_small_RLE.dcm", "SC_rgb_rle_2frame.dcm", "rtdose_rle.dcm", "SC_rgb_jpeg_dcmtk.dcm"),
    *("SC_rgb_dcmtk_+eb+cy+np.dcm", "examples_jpeg2k.dcm", "SC_rgb_small_odd_jpeg.dcm", "SC_rgb_jpeg.dcm"),
]
"""RLE, JPEG in YBR with and without subsampling, and JPEG 2000."""


def frame(number: int, side: int) -> bytes:
    return np.full((side, side), number, "<u2").tobytes()


def compressed(count: int, side: int = 16, *, extended: bool = False) -> Dataset:
    """Frames in RLE, each in one value of its own."""
    options: dict[str, Any] = {
        "rows": side,
        "columns": side,
        "bits_allocated": 16,
        "bits_stored": 16,
        "samples_per_pixel": 1,
    }
    options |= {"number_of_frames": 1, "pixel_representation": 0}
    encoder = get_encoder(RLELossless)
    frames = [
        encoder.encode(frame(number, side), photometric_interpretation="MONOCHROME2", **options)
        for number in range(count)
    ]
    dataset = instance(pixels=0)
    dataset.Rows = dataset.Columns = side
    dataset.NumberOfFrames = count
    if extended:
        dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = encapsulate_extended(
            frames
        )
    else:
        dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


@pytest.mark.filterwarnings("ignore:Expected explicit VR, but found implicit VR")  # SC_rgb_jpeg.dcm
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("target", [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])
async def test_decompress(name: str, target: str) -> None:
    source = FileSource(path_of(name))
    expected = dcmread(path_of(name))
    expected.decompress(generate_instance_uid=False)
    result = await decompress(source, target)
    assert result.transfer_syntax_uid == target
    assert result.sop_instance_uid == source.sop_instance_uid
    read = decode(await sent(result), target)
    assert read.PixelData == expected.PixelData
    assert read.SOPInstanceUID == expected.SOPInstanceUID
    assert [element.tag for element in read] == [element.tag for element in expected]


async def test_decompress_what_is_not_compressed() -> None:
    result = await decompress(FileSource(path_of("MR_small_implicit.dcm")))
    assert decode(await sent(result), EXPLICIT_VR_LITTLE_ENDIAN) == dcmread(path_of("MR_small_implicit.dcm"))


async def test_no_plugin_for_it() -> None:
    with pytest.raises(DatasetError, match=r"JPEGLSNearLossless_08\.dcm: cannot be decompressed.*plugin"):
        await decompress(FileSource(path_of("JPEGLSNearLossless_08.dcm")))


async def test_compressed_and_broken() -> None:
    data = await sent(FileSource(path_of("SC_rgb_rle.dcm")))
    for broken in (data[:-200], data[:-8], data[:-20] + bytes(20), data[:100]):
        with pytest.raises(DatasetError, match="cannot be decompressed"):
            await decompress(memory(broken, "1.2.840.10008.1.2.5"))
    with pytest.raises(DatasetError, match="into Explicit VR Big Endian"):
        await decompress(memory(data, "1.2.840.10008.1.2.5"), EXPLICIT_VR_BIG_ENDIAN)


async def test_again_is_the_same() -> None:
    """The first pass goes on from the frame that showed what they are; another begins anew."""
    source = await decompress(FileSource(path_of("SC_rgb_rle_2frame.dcm")))
    assert await sent(source) == await sent(source)


@pytest.mark.parametrize("extended", [False, True])
async def test_offset_tables_are_of_fragments(tmp_path: Path, extended: bool) -> None:
    path = save(compressed(3, extended=extended), tmp_path / "a.dcm", RLE)
    read = decode(await sent(await decompress(FileSource(path))), EXPLICIT_VR_LITTLE_ENDIAN)
    assert read.PixelData == frame(0, 16) + frame(1, 16) + frame(2, 16)
    assert "ExtendedOffsetTable" not in read
    assert "ExtendedOffsetTableLengths" not in read


async def test_a_frame_at_a_time(tmp_path: Path) -> None:
    path = save(compressed(40, 256), tmp_path / "a.dcm", RLE)
    of_one = len(frame(0, 256))
    source = await decompress(FileSource(path))  # what is loaded for it is loaded now
    buffer = memoryview(bytearray(16 * 1024))
    tracemalloc.start()
    try:
        source = await decompress(FileSource(path))
        reader, total = source.open(), 0
        while count := await reader.read_into(buffer):
            total += count
        reader.close()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == source.length
    assert total > 40 * of_one
    assert peak < 8 * of_one


async def test_a_later_frame_that_is_broken(tmp_path: Path) -> None:
    path = save(compressed(3), tmp_path / "a.dcm", RLE)
    data = await sent(FileSource(path))
    last = data.rindex(b"\xfe\xff\0\xe0") + 8
    source = await decompress(memory(data[:last] + b"\xff" * 4 + data[last + 4 :], RLE))
    with pytest.raises(DatasetError, match=r"1\.2\.3: cannot be decompressed from RLE Lossless"):
        await sent(source)


async def test_elements_behind_the_pixel_data(tmp_path: Path) -> None:
    dataset = compressed(1)
    dataset.add_new(0xFFFCFFFC, "OB", b"padding!")
    data = await sent(await decompress(FileSource(save(dataset, tmp_path / "a.dcm", RLE)), IMPLICIT_VR_LITTLE_ENDIAN))
    assert decode(data, IMPLICIT_VR_LITTLE_ENDIAN)[0xFFFCFFFC].value == b"padding!"


async def test_without_pixel_data(tmp_path: Path) -> None:
    """A report that a device labels as its images."""
    path = save(instance(pixels=0), tmp_path / "a.dcm")
    data = await sent(FileSource(path))
    assert await sent(await decompress(memory(data, RLE))) == data


async def test_native_pixel_data_under_a_compressed_syntax(tmp_path: Path) -> None:
    data = await sent(FileSource(save(instance(), tmp_path / "a.dcm")))
    with pytest.raises(DatasetError, match=r"\(7FE0,0010\) is not encapsulated"):
        await decompress(memory(data, RLE))


@pytest.mark.parametrize(
    ("syntax", "expected"),
    [(RLE, True), ("1.2.840.10008.1.2.4.50", True), ("1.2.840.10008.1.2.4.80", False), ("1.2.840.113619.5.2", False)],
)
def test_what_can_be_decompressed(syntax: str, expected: bool) -> None:
    assert can_decompress(syntax) is expected
