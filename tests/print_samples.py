"""Images to print."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from dimse.dataset.print_pixels import PrintPixels, frames_of, print_pixels
from dimse.services.film_layout import FilmLayout
from dimse.services.print_image import FilmImage
from dimse.services.printed_film import PrintedFilm
from tests.sample_objects import CT


def image(values: Any, *, bits: int = 16, signed: bool = False, **attributes: Any) -> Dataset:
    """A grayscale or RGB image of these values, which are rows of a frame, or several frames."""
    array = np.asarray(values)
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(CT), UID("1.2.3.4")
    is_color = attributes.get("PhotometricInterpretation") == "RGB"
    dataset.SamplesPerPixel = 3 if is_color else 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    if is_color:
        dataset.PlanarConfiguration = 0
    frames = array.ndim - 2 - is_color
    if frames:
        dataset.NumberOfFrames = array.shape[0]
    dataset.Rows, dataset.Columns = array.shape[frames : frames + 2]
    dataset.BitsAllocated = 8 if bits <= 8 else 16
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, int(signed)
    kind = f"<{'i' if signed else 'u'}{dataset.BitsAllocated // 8}"
    dataset.PixelData = (data := array.astype(kind).tobytes()) + bytes(len(data) % 2)
    dataset["PixelData"].VR = "OW"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def printed(dataset: Dataset, *, frame: int = 0, bits: int = 8, color: bool = False) -> PrintPixels:
    return print_pixels(frames_of(dataset, "it")[frame], bits=bits, color=color)


def film(
    images: dict[int, Dataset],
    layout: str = "2x2",
    *,
    annotations: tuple[str, ...] = (),
    boxes: dict[int, Dataset] | None = None,
    luts: dict[int, Dataset] | None = None,
    color: bool = False,
    bits: int = 8,
    **attributes: Any,
) -> PrintedFilm:
    """A film with these images at their positions."""
    box = Dataset()
    for keyword, value in attributes.items():
        setattr(box, keyword, value)
    shown = [
        FilmImage(
            at,
            (boxes or {}).get(at, Dataset()),
            printed(each, bits=bits, color=color).attributes(),
            (luts or {}).get(at),
        )
        for at, each in images.items()
    ]
    return PrintedFilm(
        sop_instance_uid="1.2.9",
        job_uid="1.2.10",
        calling_ae_title="CT1",
        layout=FilmLayout.parse(layout),
        images=tuple(shown),
        annotations=annotations,
        session=Dataset(),
        attributes=box,
    )


def gray(value: int, rows: int = 8, columns: int = 8, **attributes: Any) -> Dataset:
    """An image of one value of 0 to 255, which is printed as it is."""
    return image(np.full((rows, columns), value), bits=8, WindowCenter=128, WindowWidth=256, **attributes)
