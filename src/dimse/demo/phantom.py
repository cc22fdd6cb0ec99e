"""A generated CT study of a head, made of ellipsoids, slice by slice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

from dimse import uids

SIZE: Final = 512
_INTERCEPT: Final = -1024
_CSF, _GRAY, _WHITE, _AIR = 8, 38, 27, -1000

Slice = np.ndarray[Any, np.dtype[np.float32]]


class Ellipsoid(NamedTuple):
    """Its position and size are in half widths of the image, its value is in Hounsfield units."""

    value: float
    center: tuple[float, float, float]
    radii: tuple[float, float, float]
    angle: float = 0.0


_HEAD: Final = (
    Ellipsoid(40, (0, 0.02, -0.06), (0.70, 0.86, 0.98)),  # skin and muscle
    Ellipsoid(-90, (0, 0.02, -0.06), (0.685, 0.845, 0.965)),  # fat
    Ellipsoid(1100, (0, 0.02, 0), (0.655, 0.81, 0.88)),  # skull, outer table
    Ellipsoid(600, (0, 0.02, 0), (0.635, 0.79, 0.86)),  # diploe
    Ellipsoid(1200, (0, 0.02, 0), (0.61, 0.765, 0.835)),  # inner table
    Ellipsoid(_CSF, (0, 0.02, 0), (0.585, 0.74, 0.81)),
)
_BRAIN: Final = Ellipsoid(_GRAY, (0, 0.02, 0), (0.565, 0.72, 0.79))
_INSIDE: Final = (
    Ellipsoid(_CSF, (0.10, -0.10, 0.14), (0.055, 0.24, 0.20), 0.30),  # lateral ventricles, frontal horns
    Ellipsoid(_CSF, (-0.10, -0.10, 0.14), (0.055, 0.24, 0.20), -0.30),
    Ellipsoid(_CSF, (0.17, 0.25, 0.10), (0.06, 0.19, 0.16), -0.40),  # their occipital horns
    Ellipsoid(_CSF, (-0.17, 0.25, 0.10), (0.06, 0.19, 0.16), 0.40),
    Ellipsoid(_CSF, (0, 0.05, -0.02), (0.018, 0.12, 0.10)),  # third ventricle
    Ellipsoid(_CSF, (0, 0.34, -0.38), (0.06, 0.05, 0.10)),  # fourth
    Ellipsoid(46, (0.16, 0.04, 0.02), (0.06, 0.12, 0.12), 0.35),  # thalami
    Ellipsoid(46, (-0.16, 0.04, 0.02), (0.06, 0.12, 0.12), -0.35),
    Ellipsoid(110, (0, 0.17, 0.02), (0.022, 0.022, 0.03)),  # pineal calcification
    Ellipsoid(72, (0.31, -0.22, 0.20), (0.13, 0.10, 0.13), 0.6),  # a hemorrhage: something to find
    Ellipsoid(60, (0.31, -0.22, 0.20), (0.07, 0.05, 0.08), 0.6),
)
_BASE: Final = (
    Ellipsoid(900, (0.30, 0.10, -0.62), (0.26, 0.09, 0.13), -0.6),  # petrous bones
    Ellipsoid(900, (-0.30, 0.10, -0.62), (0.26, 0.09, 0.13), 0.6),
    Ellipsoid(-700, (0.42, 0.20, -0.66), (0.09, 0.07, 0.10)),  # mastoid air
    Ellipsoid(-700, (-0.42, 0.20, -0.66), (0.09, 0.07, 0.10)),
    Ellipsoid(900, (0.25, -0.50, -0.66), (0.20, 0.27, 0.15), 0.25),  # orbits: bone, fat, eye, lens
    Ellipsoid(900, (-0.25, -0.50, -0.66), (0.20, 0.27, 0.15), -0.25),
    Ellipsoid(-80, (0.25, -0.52, -0.66), (0.18, 0.26, 0.14), 0.25),
    Ellipsoid(-80, (-0.25, -0.52, -0.66), (0.18, 0.26, 0.14), -0.25),
    Ellipsoid(15, (0.27, -0.62, -0.66), (0.125, 0.135, 0.12)),
    Ellipsoid(15, (-0.27, -0.62, -0.66), (0.125, 0.135, 0.12)),
    Ellipsoid(90, (0.28, -0.72, -0.66), (0.055, 0.022, 0.05)),
    Ellipsoid(90, (-0.28, -0.72, -0.66), (0.055, 0.022, 0.05)),
    Ellipsoid(_AIR, (0.045, -0.50, -0.70), (0.035, 0.17, 0.16)),  # ethmoid sinuses
    Ellipsoid(_AIR, (-0.045, -0.50, -0.70), (0.035, 0.17, 0.16)),
)


class Grid:
    """Data that all slices share: coordinates, the angles of the brain's folds, noise."""

    def __init__(self, size: int) -> None:
        self.axis = np.linspace(-1, 1, size, dtype=np.float32)
        x, y = self.axis[np.newaxis, :], self.axis[:, np.newaxis]
        angle = np.arctan2(y, x)
        self.waves = {count: (np.sin(count * angle), np.cos(count * angle)) for count in (11, 19, 23)}
        self.fissure = np.abs(x + 0.006 * np.sin(30 * y)) < 0.008
        self.noise = np.random.default_rng(1895).normal(0, 3, (2 * size, size)).astype(np.float32)

    def wave(self, count: int, phase: float) -> Slice:
        """`count` sine waves around the center, shifted by `phase`."""
        sine, cosine = self.waves[count]
        shifted: Slice = sine * np.float32(np.cos(phase)) + cosine * np.float32(np.sin(phase))
        return shifted


def hounsfield(grid: Grid, z: float) -> Slice:
    """The slice at height `z`, from -1 to 1."""
    size = len(grid.axis)
    image = np.full((size, size), _AIR, np.float32)
    for ellipsoid in _HEAD:
        _paint(image, grid, ellipsoid, z)
    _paint_brain(image, grid, z)
    for ellipsoid in (*_INSIDE, *_BASE):
        _paint(image, grid, ellipsoid, z)
    first = int((z + 1) * 7919) % size
    image += grid.noise[first : first + size]
    return image


def _paint(image: Slice, grid: Grid, ellipsoid: Ellipsoid, z: float) -> None:
    """Paint the section of the ellipsoid at `z`. Only pixels in the square around it are examined."""
    (cx, cy, cz), (rx, ry, rz) = ellipsoid.center, ellipsoid.radii
    height = 1 - ((z - cz) / rz) ** 4  # blunter than an ellipsoid, like a head
    if height <= 0:
        return
    reach = max(rx, ry) * height**0.5
    left, right = np.searchsorted(grid.axis, (cx - reach, cx + reach))
    top, bottom = np.searchsorted(grid.axis, (cy - reach, cy + reach))
    x, y = grid.axis[np.newaxis, left:right] - np.float32(cx), grid.axis[top:bottom, np.newaxis] - np.float32(cy)
    cosine, sine = np.float32(np.cos(ellipsoid.angle)), np.float32(np.sin(ellipsoid.angle))
    across, along = x * cosine + y * sine, y * cosine - x * sine
    inside = (across / np.float32(rx)) ** 2 + (along / np.float32(ry)) ** 2 < np.float32(height)
    image[top:bottom, left:right][inside] = ellipsoid.value


def _paint_brain(image: Slice, grid: Grid, z: float) -> None:
    """Paint gray matter with its folds, white matter, and the fissure between the hemispheres."""
    (_, cy, cz), (rx, ry, rz) = _BRAIN.center, _BRAIN.radii
    height = 1 - ((z - cz) / rz) ** 4  # blunter than an ellipsoid, like a head
    if height <= 0:
        return
    across, along = (grid.axis / np.float32(rx)) ** 2, ((grid.axis - np.float32(cy)) / np.float32(ry)) ** 2
    radius = np.sqrt((across[np.newaxis, :] + along[:, np.newaxis]) / np.float32(height))
    inside = radius < 1
    image[inside] = _GRAY
    folds = 0.06 * grid.wave(11, 9 * z) + 0.05 * grid.wave(23, -14 * z)
    image[radius < 0.78 + folds] = _WHITE
    sulci = grid.wave(19, 5 * np.sin(7 * z)) > 0.955
    image[inside & (radius > 0.78) & sulci] = _CSF
    image[inside & grid.fissure & (radius > 0.45)] = _CSF


def write_study(folder: Path, slices: int, size: int = SIZE) -> Iterator[Path]:
    """Write the study, one file per slice, and yield each path."""
    folder.mkdir(parents=True)
    grid, dataset = Grid(size), _study(size)
    for number in range(1, slices + 1):
        z = -0.84 + 1.72 * (number - 0.5) / slices
        stored = np.clip(hounsfield(grid, z) - _INTERCEPT, 0, 4095).astype("<u2")
        dataset.SOPInstanceUID = instance = generate_uid(None)
        dataset.file_meta.MediaStorageSOPInstanceUID = instance
        dataset.InstanceNumber = number
        dataset.SliceLocation = f"{z * 100:.2f}"
        dataset.ImagePositionPatient = [-120, -120, f"{z * 100:.2f}"]
        dataset.PixelData = stored.tobytes()
        path = folder / f"slice-{number:03d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        yield path


def _study(size: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = UID(uids.IMPLEMENTATION_CLASS_UID)
    dataset.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
    dataset.Modality, dataset.Manufacturer = "CT", "dimse demo"
    dataset.PatientName, dataset.PatientID = "Phantom^Head", "PHANTOM"
    dataset.StudyDescription, dataset.SeriesDescription = "dimse demo", "Head phantom"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(None), generate_uid(None)
    dataset.FrameOfReferenceUID = generate_uid(None)
    dataset.StudyID, dataset.SeriesNumber = "1", 1
    dataset.PixelSpacing, dataset.SliceThickness = [240 / size, 240 / size], "1"
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.Rows = dataset.Columns = size
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = _INTERCEPT, 1, "HU"
    dataset.WindowCenter, dataset.WindowWidth = 36, 90
    return dataset
