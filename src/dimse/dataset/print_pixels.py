"""The pixels of an image as a printer gets them: windowed, of 8 or 12 bits, or RGB (PS3.3 C.13.5)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import TYPE_CHECKING, Final

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from dimse.dataset.codec import PYDICOM_ERRORS, pydicom_failed
from dimse.dataset.windowing import aspect_of, attributes_of_frame, in_color, windowed
from dimse.errors import DatasetError
from dimse.records import record

if TYPE_CHECKING:
    from dimse.dataset.windowing import Pixels

MAX_PRINTED_PIXELS: Final = 64 * 1024 * 1024
"""Pixels of an image that is printed: four times those of the largest mammograms."""

_LUMINANCE: Final = (0.299, 0.587, 0.114)


@record()
class ImageSource:
    """An image to print: a file, or a data set; and the frame of it, counted from 0."""

    image: str | PathLike[str] | Dataset
    frame: int
    name: str
    is_color: bool


@record()
class PrintPixels:
    """An image as a printer gets it: MONOCHROME2, or RGB with its planes one after the other."""

    rows: int
    columns: int
    is_color: bool
    bits: int
    """Bits Stored of a value; those of 12 have two bytes."""
    data: bytes
    aspect: tuple[int, int]
    """The height of a pixel, to its width."""

    def attributes(self) -> Dataset:
        """The item of the Basic Grayscale or Color Image Sequence."""
        item = Dataset()
        item.SamplesPerPixel = 3 if self.is_color else 1
        item.PhotometricInterpretation = "RGB" if self.is_color else "MONOCHROME2"
        if self.is_color:
            item.PlanarConfiguration = 1
        item.Rows, item.Columns = self.rows, self.columns
        if self.aspect[0] != self.aspect[1]:
            item.PixelAspectRatio = list(map(str, self.aspect))
        item.BitsAllocated = 8 if self.bits == 8 else 16
        item.BitsStored, item.HighBit, item.PixelRepresentation = self.bits, self.bits - 1, 0
        item.add_new("PixelData", "OB" if self.bits == 8 else "OW", self.data + bytes(len(self.data) % 2))
        return item


def frames_of(image: str | PathLike[str] | Dataset, name: str) -> list[ImageSource]:
    """The frames of an image, each to be printed as one. Reads the header of a file. Raises `DatasetError`."""
    with _named(name):
        header = image if isinstance(image, Dataset) else dcmread(image, stop_before_pixels=True)
        if "Rows" not in header or "Columns" not in header:
            raise DatasetError(f"{name}: not an image")
        if int(header.Rows) * int(header.Columns) > MAX_PRINTED_PIXELS:
            raise DatasetError(f"{name}: has more than {MAX_PRINTED_PIXELS} pixels, too many to print")
        frames = int(header.get("NumberOfFrames") or 1)
        is_color = not str(header.get("PhotometricInterpretation") or "").startswith("MONOCHROME")
    named = [name] if frames == 1 else [f"{name}, frame {number}" for number in range(1, frames + 1)]
    return [ImageSource(image, frame, each, is_color) for frame, each in enumerate(named)]


def print_pixels(source: ImageSource, *, bits: int, color: bool) -> PrintPixels:
    """The pixels of an image for a color or a grayscale printer.

    Grayscale images have their Modality LUT or rescale, and their VOI LUT or window applied, the first if there are
    several; without one, their values fill the range. Needs numpy, and for compressed images what pydicom decompresses
    them with. Blocks. Raises `DatasetError`.
    """
    with _named(source.name):
        dataset = source.image if isinstance(source.image, Dataset) else dcmread(source.image)
        pixels = _frame(dataset, source.frame)
        attributes = attributes_of_frame(dataset, source.frame)
        shown = in_color(pixels, attributes) if source.is_color else windowed(pixels, attributes)
        data = _planes(shown) if color else _gray(shown, bits)
        depth = 8 if color else bits
        return PrintPixels(int(shown.shape[0]), int(shown.shape[1]), color, depth, data, aspect_of(attributes))


def _frame(dataset: Dataset, frame: int) -> Pixels:
    from pydicom.pixels.utils import pixel_array

    # A data set is decoded with its own syntax, whether it was read from a file or made; it may have no File Meta.
    if getattr(dataset, "file_meta", None) is None or "TransferSyntaxUID" not in dataset.file_meta:
        dataset = _with_syntax(dataset)
    pixels: Pixels = pixel_array(dataset, index=frame)
    return pixels


def _with_syntax(dataset: Dataset) -> Dataset:
    """The data set, which is not compressed, as one of a file: pydicom asks for its transfer syntax."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    whole = Dataset()
    whole.update(dict(dataset.items()))
    whole.file_meta = FileMetaDataset()
    whole.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return whole


def _gray(shown: Pixels, bits: int) -> bytes:
    import numpy as np

    gray = shown if shown.ndim == 2 else shown @ np.asarray(_LUMINANCE, np.float32)
    values: Pixels = np.rint(gray * (2**bits - 1)).astype(np.uint8 if bits == 8 else "<u2")
    return values.tobytes()


def _planes(shown: Pixels) -> bytes:
    import numpy as np

    values = np.rint(shown * 255).astype(np.uint8)
    planes = np.stack([values] * 3) if values.ndim == 2 else values.transpose(2, 0, 1)
    return np.ascontiguousarray(planes).tobytes()


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Prefix errors with the image that cannot be printed."""
    try:
        yield
    except FileNotFoundError:
        raise
    except InvalidDicomError:
        raise DatasetError(f"{name}: not a DICOM file") from None
    except (RuntimeError, ImportError) as error:
        # Keep this message: it names the missing plugins and contains no values.
        raise DatasetError(f"{name}: cannot be printed: {' '.join(str(error).split())}") from None
    except PYDICOM_ERRORS as error:
        raise pydicom_failed(f"{name}: cannot be printed", error) from None
