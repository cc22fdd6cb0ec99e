"""Sources without bulk data: pydicom agrees on what is left, in every transfer syntax and form of lengths."""

from __future__ import annotations

import copy
from io import BytesIO
from pathlib import Path
from struct import pack
from typing import BinaryIO

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from tests.dataset.sample_sources import memory, path_of, sent
from tests.sample_objects import encoded, instance, save

from dimse.dataset.bulkless import WithoutBulkData
from dimse.dataset.codec import decode
from dimse.dataset.located import Located, LocatedSource
from dimse.dataset.sources import FileSource, StreamSource
from dimse.errors import DatasetError

EXPLICIT = str(ExplicitVRLittleEndian)


def everything() -> Dataset:
    """An object with all that is left out, and much that is not."""
    dataset = instance(pixels=0)
    dataset.PatientName = "Anon^Bulk"
    dataset.PixelDataProviderURL = "http://pixels.example/1"
    dataset.EncapsulatedDocument = b"%PDF"
    dataset.add_new(0x50000010, "US", 1)
    dataset.add_new(0x50003000, "OW", b"curve " * 2)
    dataset.add_new(0x501E200C, "OW", b"sounds")
    dataset.add_new(0x60000010, "US", 8)
    dataset.add_new(0x60003000, "OW", b"over")
    dataset.add_new(0x60FE3000, "OW", b"over")
    dataset.add_new(0x56000020, "OF", pack("<2f", 1, 2))
    dataset.add_new(0x7FE00008, "OF", pack("<2f", 1, 2))
    dataset.add_new(0x7FE00009, "OD", pack("<2d", 1, 2))
    dataset.add_new(0xFFFCFFFC, "OB", b"padding ")
    icon = Dataset()
    icon.Rows, icon.PixelData = 2, b"icon"
    icon["PixelData"].VR = "OW"
    icon.WaveformData = b"keep"
    icon["WaveformData"].VR = "OW"
    dataset.IconImageSequence = [icon]
    channel = Dataset()
    channel.ChannelLabel = "I"
    channel.WaveformData = b"nested"
    channel["WaveformData"].VR = "OW"
    groups = []
    for number in (1, 2):
        group = Dataset()
        group.NumberOfWaveformChannels = number
        group.ChannelDefinitionSequence = [copy.deepcopy(channel)]
        group.WaveformBitsAllocated = 16
        group.WaveformData = b"beats " * 1000
        group["WaveformData"].VR = "OW"
        groups.append(group)
    dataset.WaveformSequence = groups
    return dataset


LEFT_OUT = (
    *(0x00287FE0, 0x00420011, 0x50003000, 0x501E200C, 0x56000020, 0x60003000, 0x60FE3000),
    *(0x7FE00001, 0x7FE00002, 0x7FE00008, 0x7FE00009, 0x7FE00010),
)


def without(dataset: Dataset) -> Dataset:
    """What must be left, by pydicom."""
    left = copy.deepcopy(dataset)
    for tag in LEFT_OUT:
        if tag in left:
            del left[tag]
    for group in left.get("WaveformSequence", ()):
        del group.WaveformData
    return left


def written(dataset: Dataset, syntax: str = EXPLICIT, *, undefined: bool = False) -> bytes:
    """The whole file."""
    dataset = copy.deepcopy(dataset)
    for element in dataset.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = undefined
            for item in element.value:
                item.is_undefined_length_sequence_item = undefined
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    file = BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize(
    "syntax", [EXPLICIT, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
async def test_what_is_left(syntax: str, undefined: bool) -> None:
    file = written(everything(), syntax, undefined=undefined)
    whole = dcmread(BytesIO(file))
    source = WithoutBulkData(StreamSource(BytesIO(file)))
    left = decode(await sent(source), source.transfer_syntax_uid)
    assert left == without(whole)
    assert left.IconImageSequence[0].WaveformData == b"keep"
    assert left.WaveformSequence[1].ChannelDefinitionSequence[0].WaveformData == b"nested"
    assert await sent(source, 3) == await sent(source, 100_000)


@pytest.mark.parametrize(
    "name", ["waveform_ecg.dcm", "CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "liver_1frame.dcm", "reportsi.dcm"]
)
async def test_files(name: str) -> None:
    source = WithoutBulkData(FileSource(path_of(name)))
    assert decode(await sent(source), source.transfer_syntax_uid) == without(dcmread(path_of(name)))


async def test_the_form_of_mislabeled_data_sets_is_kept() -> None:
    data = encoded(everything(), str(ImplicitVRLittleEndian))
    source = WithoutBulkData(memory(data, EXPLICIT))
    assert decode(await sent(source), ImplicitVRLittleEndian) == without(decode(data, ImplicitVRLittleEndian))


class Watched(BytesIO):
    """Notes how far it was read."""

    furthest = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.furthest = max(self.furthest, self.tell())
        return data


async def test_pixel_data_at_the_end_is_not_read() -> None:
    whole = instance(pixels=1_000_000)
    data = encoded(whole)
    stream = Watched(data)
    located = Located(instance().SOPClassUID, instance().SOPInstanceUID, EXPLICIT, len(data), lambda: stream)
    assert await sent(WithoutBulkData(LocatedSource(located))) == encoded(without(whole))
    assert stream.furthest < 100_000


def bytes_read() -> int:
    """By this process, so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.parametrize("is_located", [False, True])
async def test_pixel_data_of_files_is_skipped(tmp_path: Path, is_located: bool) -> None:
    dataset = instance(pixels=1_000_000)
    dataset.add_new(0xFFFCFFFC, "OB", b"padding ")
    file = FileSource(save(dataset, tmp_path / "ct.dcm"))

    def open_it() -> BinaryIO:
        stream = Path(file.path).open("rb")  # noqa: SIM115 - the source closes it
        stream.seek(file.offset)
        return stream

    located = Located(file.sop_class_uid, file.sop_instance_uid, EXPLICIT, file.length, open_it)
    source = LocatedSource(located) if is_located else file
    before = bytes_read()
    left = await sent(WithoutBulkData(source))
    assert bytes_read() - before < 200_000
    assert left == encoded(without(dataset))


@pytest.mark.parametrize("pixels", ["1000", "fragments", "waveforms"])
async def test_truncated_data_sets_are_noticed(pixels: str) -> None:
    data = encoded(instance())[:-10]
    if pixels == "fragments":
        data = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\x10\0\0\0" + bytes(16)
    elif pixels == "waveforms":
        waveforms = Dataset()
        waveforms.WaveformSequence = everything().WaveformSequence
        data = encoded(waveforms)[:-4]
    with pytest.raises(DatasetError, match=r"1\.2\.3: .*truncated"):
        await sent(WithoutBulkData(memory(data, EXPLICIT)))


@pytest.mark.parametrize(
    "data",
    [
        pack("<HH2sxxL", 0x5400, 0x0100, b"SQ", 8) + pack("<HH2sH", 8, 0x16, b"UI", 0),
        pack("<HH2sxxL", 0x5400, 0x0100, b"SQ", 0xFFFFFFFF) + pack("<HHL", 0xFFFE, 0xE00D, 0),
        pack("<HH2sxxL", 0x5400, 0x0100, b"SQ", 18)
        + pack("<HHLHH2sH", 0xFFFE, 0xE000, 10, 8, 0x16, b"UI", 4)
        + b"1.20",
        pack("<HH2sxxL", 0x7FE0, 0x0010, b"OB", 0xFFFFFFFF) + pack("<HHL", 0x0008, 0x0018, 0),
        pack("<HH2sxxLHHL", 8, 0x1140, b"SQ", 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF) * 200,
    ],
)
async def test_what_cannot_be_followed_is_refused(data: bytes) -> None:
    with pytest.raises(DatasetError):
        await sent(WithoutBulkData(memory(data, EXPLICIT)))
