"""Images and presentation LUTs that a print server receives, checked before anything is drawn of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dimse.dataset.codec import PYDICOM_ERRORS
from dimse.dataset.pydicom_names import Dataset
from dimse.errors import StatusError
from dimse.status import Status

if TYPE_CHECKING:
    import numpy as np

_NUMBERS: Final = ("SamplesPerPixel", "Rows", "Columns", "BitsAllocated", "BitsStored")
MAX_LUT_ENTRIES: Final = 65536
"""Entries of a Presentation LUT: those of 16 bits."""

_SHAPES: Final = ("IDENTITY", "LIN OD")


@dataclass(frozen=True, eq=False)
class FilmImage:
    """An image of a film (PS3.3 C.13.5)."""

    position: int
    """Its place on the film, from 1, in the order of the layout."""
    attributes: Dataset
    """The attributes of its image box, without the image."""
    image: Dataset
    """The image as it was received: the item of the Basic Grayscale or Color Image Sequence."""

    presentation_lut: Dataset | None = None
    """The attributes of its Presentation LUT, or of that of the film."""

    @property
    def is_color(self) -> bool:
        """Whether it is RGB."""
        return int(self.image.SamplesPerPixel) == 3

    @property
    def pixels(self) -> np.ndarray[Any, np.dtype[Any]]:
        """The values as they were received: an array of rows and columns, and of RGB if it is in color. Needs numpy."""
        import numpy as np

        item = self.image
        rows, columns, samples = int(item.Rows), int(item.Columns), int(item.SamplesPerPixel)
        kind = np.uint8 if int(item.BitsAllocated) == 8 else np.dtype("<u2")
        values = np.frombuffer(item.PixelData, kind, rows * columns * samples)
        if samples == 1:
            return values.reshape(rows, columns)
        if int(item.get("PlanarConfiguration") or 0) == 1:
            return values.reshape(samples, rows, columns).transpose(1, 2, 0)
        return values.reshape(rows, columns, samples)


def received_image(given: Dataset, keyword: str) -> Dataset | None:
    """The image in a Basic Grayscale or Color Image Sequence; None if that has no item. Raises `StatusError`."""
    try:
        items = list(given[keyword].value or [])
        return _image(items[0]) if items else None
    except PYDICOM_ERRORS:
        raise StatusError(Status.INVALID_ATTRIBUTE_VALUE, f"{keyword} cannot be read") from None


def _image(item: Dataset) -> Dataset:
    """What is known of an image, with its pixels."""
    image = Dataset()
    for keyword in (*_NUMBERS, "PhotometricInterpretation", "PixelData"):
        if item.get(keyword) in (None, ""):
            raise StatusError(Status.MISSING_ATTRIBUTE, f"{keyword} of the image is missing")
    for keyword in _NUMBERS:
        setattr(image, keyword, int(item[keyword].value))
    image.PhotometricInterpretation = str(item.PhotometricInterpretation)
    image.PixelRepresentation = 0
    image.PlanarConfiguration = int(item.get("PlanarConfiguration") or 0)
    _check_form(image, int(item.get("PixelRepresentation") or 0))
    length = image.Rows * image.Columns * image.SamplesPerPixel * image.BitsAllocated // 8
    if len(item.PixelData) < length:
        raise StatusError(
            Status.INVALID_ATTRIBUTE_VALUE, f"PixelData must have {length} bytes, not {len(item.PixelData)}"
        )
    image.add_new("PixelData", "OW", bytes(item.PixelData))
    ratio = item.get("PixelAspectRatio")
    if ratio is not None and not isinstance(ratio, str) and len(ratio) == 2 and min(map(int, ratio)) >= 1:
        image.PixelAspectRatio = [min(int(each), 1000) for each in ratio]
    return image


def _check_form(image: Dataset, representation: int) -> None:
    kinds = {1: ("MONOCHROME1", "MONOCHROME2"), 3: ("RGB",)}
    allocated, stored = image.BitsAllocated, image.BitsStored
    if image.PhotometricInterpretation not in kinds.get(image.SamplesPerPixel, ()):
        raise StatusError(Status.INVALID_ATTRIBUTE_VALUE, "the image must be MONOCHROME1, MONOCHROME2 or RGB")
    if allocated not in ((8, 16) if image.SamplesPerPixel == 1 else (8,)) or not 8 <= stored <= allocated:
        raise StatusError(
            Status.INVALID_ATTRIBUTE_VALUE, "BitsAllocated must be 8, or 16 of grayscale, and BitsStored fit into it"
        )
    if representation != 0 or min(image.Rows, image.Columns) < 1:
        raise StatusError(Status.INVALID_ATTRIBUTE_VALUE, "the image must have pixels, which must be unsigned")


def received_lut(given: Dataset) -> Dataset:
    """A Presentation LUT as it is kept: its shape, or its table. Raises `StatusError`."""
    try:
        return _lut(given)
    except PYDICOM_ERRORS:
        raise StatusError(Status.INVALID_ATTRIBUTE_VALUE, "the presentation LUT cannot be read") from None


def _lut(given: Dataset) -> Dataset:
    lut = Dataset()
    if given.get("PresentationLUTShape"):
        lut.PresentationLUTShape = str(given.PresentationLUTShape)
        if lut.PresentationLUTShape not in _SHAPES:
            raise StatusError(Status.INVALID_ATTRIBUTE_VALUE, f"PresentationLUTShape must be {' or '.join(_SHAPES)}")
        return lut
    items = given.get("PresentationLUTSequence")
    if not items:
        raise StatusError(Status.MISSING_ATTRIBUTE, "PresentationLUTShape is missing")
    entries, first, bits = (int(each) for each in items[0].LUTDescriptor)
    data = items[0].LUTData
    count = len(data) // 2 if isinstance(data, bytes) else len(data)
    entries = entries or MAX_LUT_ENTRIES
    if not 0 <= first <= 0xFFFF or not 8 <= bits <= 16 or not 1 <= entries <= count <= MAX_LUT_ENTRIES:
        raise StatusError(Status.INVALID_ATTRIBUTE_VALUE, "LUTDescriptor does not fit LUTData")
    item = Dataset()
    item.LUTDescriptor = [entries % MAX_LUT_ENTRIES, first, bits]
    item.add_new("LUTData", "OW", bytes(data) if isinstance(data, bytes) else _words(data))
    lut.PresentationLUTSequence = [item]
    return lut


def _words(values: Iterable[int]) -> bytes:
    """Values of 16 bits in their bytes."""
    return b"".join(int(each).to_bytes(2, "little") for each in values)
