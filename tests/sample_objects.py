"""Objects to send, and the UIDs that many tests have to say."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dimse.dataset.codec import encode

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


def instance(uid: str = "1.2.3.4", *, pixels: int = 1000, sop_class: str = CT) -> Dataset:
    """A CT instance with `pixels` bytes of pixel data; without any if 0."""
    dataset = Dataset()
    dataset.SOPClassUID = UID(sop_class)
    dataset.SOPInstanceUID = UID(uid)
    dataset.StudyInstanceUID = UID("1.2.3.1")
    dataset.SeriesInstanceUID = UID("1.2.3.2")
    dataset.PatientName = "SECRET^NAME"
    dataset.PatientID = "SECRETID"
    dataset.Rows = dataset.Columns = 16 if pixels >= 512 else 1
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.PixelRepresentation = 0
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    if pixels:
        dataset.PixelData = pixel_bytes(pixels)
        dataset["PixelData"].VR = "OW"
    return dataset


def pixel_bytes(length: int) -> bytes:
    return (bytes(range(251)) * (length // 251 + 1))[:length]


def encoded(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    return encode(dataset, syntax)


def save(dataset: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    """A Part 10 file of it."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(
        path,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=True,
    )
    return path


def dataset_bytes(path: Path) -> bytes:
    """What follows the File Meta Information, as it is in the file."""
    from dimse.dataset.part10 import read_file_meta

    whole = path.read_bytes()
    return whole[read_file_meta(BytesIO(whole)).length :]


def read(path: Path) -> FileDataset:
    return dcmread(path)
