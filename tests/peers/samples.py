"""What is sent: pydicom's own test files, and what they lack. Each has a SOP Instance UID of its own."""

from __future__ import annotations

import hashlib
import struct
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Final

from pydicom import Dataset, FileDataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_file_meta_info
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

TRAILING_PADDING: Final = 0xFFFCFFFC

SHIPPED: Final = {
    "explicit": "CT_small.dcm",  # has private elements and Data Set Trailing Padding
    "implicit": "MR_small_implicit.dcm",
    "big-endian": "MR_small_bigendian.dcm",
    "deflated": "image_dfl.dcm",
    "jpeg-baseline": "SC_rgb_jpeg_dcmtk.dcm",
    "jpeg-extended": "JPGExtended.dcm",
    "jpeg-lossless": "SC_rgb_jpeg_gdcm.dcm",
    "jpeg-2000": "JPEG2000.dcm",
    "jpeg-2000-lossless": "MR_small_jp2klossless.dcm",
    "jpeg-ls": "MR_small_jpeg_ls_lossless.dcm",
    "jpeg-ls-near": "JPEGLSNearLossless_16.dcm",
    "rle": "MR_small_RLE.dcm",
    "rle-multi-frame": "SC_rgb_rle_2frame.dcm",
    "jpeg-multi-frame": "examples_ybr_color.dcm",
    "odd-pixels": "SC_rgb_small_odd.dcm",
    "segmentation": "liver_1frame.dcm",
    "overlay": "examples_overlay.dcm",
    "report": "test-SR.dcm",
    "waveform": "waveform_ecg.dcm",
}
WITHOUT_STUDY: Final = frozenset({"jpeg-ls-near", "empty"})
"""Those without a Study Instance UID."""

MADE: Final[dict[str, Callable[[str], bytes]]] = {}
"""The makers of what pydicom does not ship, by name: UID in, file out."""


def made(maker: Callable[[str], bytes]) -> Callable[[str], bytes]:
    """Put a maker among the samples."""
    MADE[maker.__name__.replace("_", "-")] = maker
    return maker


def names() -> list[str]:
    """All samples."""
    return [*SHIPPED, *MADE]


class Samples:
    """The samples as files, made when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> Path:
        path = self._folder / f"{name}.dcm"
        if not path.exists():
            number = names().index(name)
            path.write_bytes(MADE[name](f"2.25.{7000 + number}") if name in MADE else _shipped(name, number))
        return path


def _shipped(name: str, number: int) -> bytes:
    path = get_testdata_file(SHIPPED[name], download=False)
    assert isinstance(path, str), f"pydicom does not ship {SHIPPED[name]} any more"
    content = Path(path).read_bytes()
    # Several of them are the same instance: the end of the UID makes them different, and every length stays.
    uid = str(read_file_meta_info(path).MediaStorageSOPInstanceUID)
    unique = uid[:-2] + str(number + 10)
    if name != "deflated":
        return content.replace(uid.encode(), unique.encode())
    start = dataset_offset(Path(path))
    inflated = zlib.decompress(content[start:], -zlib.MAX_WBITS).replace(uid.encode(), unique.encode())
    return content[:start].replace(uid.encode(), unique.encode()) + deflate(inflated)


def deflate(data: bytes) -> bytes:
    """As PS3.5 A.5 has it: no zlib header, and an even length."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = compressor.compress(data) + compressor.flush()
    return deflated + b"\0" * (len(deflated) % 2)


def dataset_offset(path: Path) -> int:
    """Where the data set of a file begins: preamble, prefix, group length, and as much as that says."""
    return 144 + int(read_file_meta_info(path).FileMetaInformationGroupLength)


def dataset_bytes(path: Path) -> bytes:
    """The encoded data set of a file."""
    return path.read_bytes()[dataset_offset(path) :]


def transfer_syntax(path: Path) -> str:
    """The transfer syntax that a file says it is in."""
    return str(read_file_meta_info(path).TransferSyntaxUID)


def sop_instance_uid(path: Path) -> str:
    """The SOP Instance UID of a file."""
    return str(read_file_meta_info(path).MediaStorageSOPInstanceUID)


def elements(path: Path) -> Dataset:
    """The data set of a file, without elements that are not content: retired group lengths (PS3.5 7.2) and trailing
    padding (PS3.10 7.2). Programs that re-encode drop them or make their own."""
    dataset = Dataset(dcmread(path))
    for tag in [tag for tag in dataset.keys() if tag.element == 0 or tag == TRAILING_PADDING]:  # noqa: SIM118
        del dataset[tag]
    if UID(transfer_syntax(path)).is_encapsulated and "PixelData" in dataset:
        dataset["PixelData"].VR = "OB"  # PS3.5 A.4: some of pydicom's files have OW, and DCMTK puts it right
    return dataset


def differences(received: Path, sent: Path) -> list[str]:
    """The elements in which two files differ; none if the data sets are equal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom thinks of its own files' values
        one, other = elements(received), elements(sent)
        if one == other:
            return []
        found = [
            f"received {one.get(tag)}, sent {other.get(tag)}"
            for tag in sorted(one.keys() | other.keys())
            if one.get(tag) != other.get(tag)
        ]
    return found or ["the data sets are not equal"]


# Made ones


def _file(dataset: Dataset, uid: str, syntax: str = ExplicitVRLittleEndian, sop_class: str = CTImageStorage) -> bytes:
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, uid
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax  # type: ignore[assignment]
    dataset.file_meta = meta
    buffer = BytesIO()
    FileDataset(buffer, dataset, file_meta=meta, preamble=bytes(128)).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _raw_file(elements: bytes, uid: str) -> bytes:
    """A file around bytes that pydicom would not write."""
    empty = _file(Dataset(), uid)
    length = struct.unpack_from("<L", empty, 140)[0]
    return empty[: 144 + length] + elements


def _study() -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.StudyDate = "20240229"
    dataset.Modality = "CT"
    dataset.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    dataset.PatientID = "P-1"
    dataset.StudyInstanceUID = "2.25.6001"
    dataset.SeriesInstanceUID = "2.25.6002"
    return dataset


def _with_pixels(dataset: Dataset, rows: int, columns: int, *, frames: int = 1) -> Dataset:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    if frames > 1:
        dataset.NumberOfFrames = frames
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    pattern = struct.pack("<256H", *(value * 257 for value in range(256)))
    size = rows * columns * frames * 2
    dataset.add_new(0x7FE00010, "OW", (pattern * (size // len(pattern) + 1))[:size])
    return dataset


def big(uid: str, *, megabytes: int) -> bytes:
    """A multi-frame object of about this many MB."""
    dataset = _with_pixels(_study(), 512, 512, frames=2 * megabytes)
    return _file(dataset, uid, sop_class=EnhancedCTImageStorage)


def write_huge(path: Path, uid: str, *, study: str, megabytes: int) -> None:
    """A multi-frame object of about this many MB that is never whole in memory; no two MB of it are the same."""
    dataset = _with_pixels(_study(), 512, 512)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, uid
    dataset.NumberOfFrames = 2 * megabytes
    del dataset.PixelData
    with path.open("wb") as file:
        file.write(_file(dataset, uid, sop_class=EnhancedCTImageStorage))
        file.write(struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, megabytes << 20))
        for number in range(megabytes):
            file.write(struct.pack("<L", number) * (1 << 18))


def dataset_digest(path: Path) -> str:
    """A hash of the encoded data set of a file."""
    with path.open("rb") as file:
        file.seek(dataset_offset(path))
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_class(sop_class: str, uid: str) -> bytes:
    """A small deflated object of a SOP class."""
    return _file(_study(), uid, DeflatedExplicitVRLittleEndian, sop_class)


@made
def large(uid: str) -> bytes:
    """Larger than every PDU limit, and not a multiple of one."""
    return _file(_with_pixels(_study(), 511, 513, frames=8), uid, ImplicitVRLittleEndian, EnhancedCTImageStorage)


@made
def icon(uid: str) -> bytes:
    """An icon's nested Pixel Data comes first, and an element follows the outer one."""
    item = _with_pixels(Dataset(), 16, 16)
    dataset = _with_pixels(_study(), 64, 64)
    dataset.IconImageSequence = Sequence([item])
    dataset.add_new(TRAILING_PADDING, "OB", bytes(10))
    return _file(dataset, uid)


@made
def icon_undefined_length(uid: str) -> bytes:
    """The same with sequence and item of undefined length."""
    item = _with_pixels(Dataset(), 16, 16)
    item.is_undefined_length_sequence_item = True
    dataset = _with_pixels(_study(), 64, 64)
    dataset.IconImageSequence = Sequence([item])
    dataset["IconImageSequence"].is_undefined_length = True
    return _file(dataset, uid, ImplicitVRLittleEndian)


@made
def private(uid: str) -> bytes:
    """Private elements of many VRs, one long, one in a nested private sequence; an unknown VR too."""
    dataset = _with_pixels(_study(), 8, 8)
    block = dataset.private_block(0x0011, "DIMSE TESTS", create=True)
    block.add_new(0x01, "LO", "one\\two\\three")
    block.add_new(0x02, "DS", ["1.5", "-2", "3e2"])
    block.add_new(0x03, "OB", bytes(range(256)) * 300)
    block.add_new(0x04, "FD", 3.25)
    block.add_new(0x05, "UN", b"\x01\x02\x03\x04")
    item = Dataset()
    item.private_block(0x0013, "DIMSE NESTED", create=True).add_new(0x01, "SH", "inside")
    block.add_new(0x06, "SQ", Sequence([item]))
    return _file(dataset, uid)


@made
def odd_text(uid: str) -> bytes:
    """Values of an odd length, which are padded as PS3.5 6.2 says: text, UID, bytes."""
    dataset = _with_pixels(_study(), 3, 3)
    dataset.PatientID = "odd"
    dataset.StudyInstanceUID = "2.25.600"
    dataset.add_new(0x00420011, "OB", b"\x01\x02\x03")  # Encapsulated Document
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset["PixelData"].value = bytes(range(9)) + b"\0"
    dataset["PixelData"].VR = "OB"
    return _file(dataset, uid)


@made
def deflated_image(uid: str) -> bytes:
    """A deflated data set that inflates to several PDUs."""
    return _file(_with_pixels(_study(), 256, 256), uid, DeflatedExplicitVRLittleEndian, SecondaryCaptureImageStorage)


@made
def bare(uid: str) -> bytes:
    """What an archive files an instance by, and nothing else; some of it without a value."""
    dataset = Dataset()
    dataset.PatientID = dataset.PatientName = dataset.StudyDate = None
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.6003", "2.25.6004"
    return _file(dataset, uid)


@made
def empty(uid: str) -> bytes:
    """Only what must be there: its class and its instance."""
    return _file(Dataset(), uid)


def odd_lengths(uid: str, *, count: int) -> bytes:
    """Not legal: `count` values whose length field is odd."""

    def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
        return struct.pack("<HH2sH", group, number, vr, len(value)) + value

    padded = uid.encode() + b"\0" * (len(uid) % 2)
    odd = [(0x0010, 0x0010, b"PN", b"Doe^Joe"), (0x0010, 0x0020, b"LO", b"odd")][:count]
    return _raw_file(
        element(0x0008, 0x0016, b"UI", CTImageStorage.encode() + b"\0" * (len(CTImageStorage) % 2))
        + element(0x0008, 0x0018, b"UI", padded)
        + b"".join(element(*each) for each in odd)
        + element(0x0020, 0x000D, b"UI", b"2.25.6001\0")
        + element(0x0020, 0x000E, b"UI", b"2.25.6002\0"),
        uid,
    )
