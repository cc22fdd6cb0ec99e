"""What the two processes of the soak share: their instances, and what a process holds."""

from __future__ import annotations

import asyncio
from typing import Final

import psutil
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

STUDY: Final = "1.2.826.0.1.3680043.10.511.1"
SERIES: Final = STUDY + ".1"
SIZES: Final = (500, 3_000, 3_000, 30_000, 30_000, 500_000)
"""Bytes of pixel data of the instances of the series."""


def instances() -> list[Dataset]:
    """A small series with instances of many sizes."""
    return [_instance(number, size) for number, size in enumerate(SIZES, start=1)]


def _instance(number: int, size: int) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = f"{SERIES}.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, SERIES
    dataset.PatientID = "SOAK"
    dataset.Rows, dataset.Columns = size // 500, 250
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.PixelRepresentation, dataset.SamplesPerPixel = 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = bytes(size)
    dataset["PixelData"].VR = "OW"
    return dataset


def describe() -> dict[str, int]:
    """What this process holds: resident bytes, descriptors, threads, and the tasks of this event loop."""
    process = psutil.Process()
    return {
        "memory": process.memory_info().rss,
        "descriptors": process.num_fds(),
        "threads": process.num_threads(),
        "tasks": len(asyncio.all_tasks()),
    }
