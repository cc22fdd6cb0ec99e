"""The objects that are sent: `python workloads.py FOLDER SCALE` makes them, each set in a folder of its own.

With keys after that it makes those of `GROWN` and `SENT_TOGETHER` instead.

It runs as a process of its own, so that pydicom's memory is not counted to the processes that are measured.
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, replace
from pathlib import Path

MIB = 1024 * 1024


@dataclass(frozen=True)
class Workload:
    """`count` objects of `frames` frames of `rows` x `columns` pixels of 16 bits."""

    key: str
    title: str
    count: int
    frames: int
    rows: int
    columns: int


FULL = (
    Workload("a", "(a) one 1 GiB multi-frame", 1, 512, 1024, 1024),
    Workload("b", "(b) 200 CT of 512 KiB", 200, 1, 512, 512),
    Workload("c", "(c) 2000 objects of 3 KB", 2000, 1, 32, 32),
)
QUICK = (
    Workload("a", "(a) one 64 MiB multi-frame", 1, 32, 1024, 1024),
    Workload("b", "(b) 40 CT of 512 KiB", 40, 1, 512, 512),
    Workload("c", "(c) 200 objects of 3 KB", 200, 1, 32, 32),
)
ONE_MEGABYTE = Workload("1mb", "one object of 1 MB", 1, 1, 512, 1024)
"""To compare its memory with that of (a)."""

SCALES = {"full": (*FULL, ONE_MEGABYTE), "quick": (*QUICK, ONE_MEGABYTE)}


def _grown(large: Workload, small: Workload) -> tuple[Workload, ...]:
    four = min(4 * large.frames, 2047)  # the length of pixel data is below 4 GiB
    return (
        replace(large, key="a-quarter", frames=large.frames // 4),
        replace(large, key="a-four", frames=four),
        replace(small, key="c-four", count=4 * small.count),
    )


GROWN = {"full": _grown(FULL[0], FULL[2]), "quick": _grown(QUICK[0], QUICK[2])}
"""Made on demand: sent by `growth.py` in addition to those of `SCALES`."""

SENT_TOGETHER = {
    scale: tuple(Workload(key, f"{count} CT of 512 KiB", count, 1, 512, 512) for key in "defg")
    for scale, count in (("full", 100), ("quick", 20))
}
"""Made on demand: sent to an archive by four senders at the same time."""


def root_of(workload: Workload) -> str:
    """What all UIDs of `workload` begin with: its study is `.1`, its series `.2`, its instances `.3.1` and on."""
    return f"1.2.826.0.1.3680043.8.498.1.{ord(workload.key[0])}"


def matches(workload: Workload) -> list[dict[str, str]]:
    """What a C-FIND at IMAGE level finds of `workload`, by keyword, as it is on the wire."""
    root = root_of(workload)
    return [
        {
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
            "SOPInstanceUID": f"{root}.3.{number + 1}",
            "StudyInstanceUID": f"{root}.1",
            "SeriesInstanceUID": f"{root}.2",
            "InstanceNumber": f"{number + 1}",
            "ImagePositionPatient": f"0.0\\0.0\\{number}.0",
            "ImageOrientationPatient": "1.0\\0.0\\0.0\\0.0\\1.0\\0.0",
        }
        for number in range(workload.count)
    ]


def make(workload: Workload, folder: Path) -> None:
    """Write the objects of `workload` into `folder`. A multi-frame object is never whole in memory."""
    from pydicom.uid import CTImageStorage, MultiFrameGrayscaleWordSecondaryCaptureImageStorage

    folder.mkdir()
    noise = random.Random(1).randbytes(workload.rows * workload.columns * 2)  # noqa: S311 - no secret
    single = workload.frames == 1
    sop_class = CTImageStorage if single else MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    size = len(noise) * workload.frames
    for number in range(workload.count):
        path = folder / f"{number:04}.dcm"
        _write_header(path, workload, sop_class, number)
        with path.open("ab") as file:
            file.write(b"\xe0\x7f\x10\x00OW\0\0" + size.to_bytes(4, "little"))
            for frame in range(workload.frames):
                # Each frame begins with its number, so that none can stand for another.
                file.write((number * workload.frames + frame).to_bytes(8, "little") + noise[8:])


def _write_header(path: Path, workload: Workload, sop_class: str, number: int) -> None:
    """Everything before the pixel data, in Explicit VR Little Endian."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    root = root_of(workload)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"{root}.3.{number + 1}")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{root}.1", f"{root}.2"
    dataset.Modality = "CT" if workload.frames == 1 else "OT"
    dataset.PatientName, dataset.PatientID = "Bench^Mark", "BENCHMARK"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20250101", "120000", "1"
    dataset.ReferringPhysicianName, dataset.AccessionNumber = "", "1"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number + 1
    if workload.frames > 1:
        dataset.NumberOfFrames = workload.frames
    else:
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness = [0.5, 0.5], 1
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.KVP = -1024, 1, 120
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = workload.rows, workload.columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.save_as(path, enforce_file_format=True)


if __name__ == "__main__":
    keys = sys.argv[3:]
    others = (*GROWN[sys.argv[2]], *SENT_TOGETHER[sys.argv[2]])
    for each in [other for other in others if other.key in keys] if keys else SCALES[sys.argv[2]]:
        make(each, Path(sys.argv[1]) / each.key)
