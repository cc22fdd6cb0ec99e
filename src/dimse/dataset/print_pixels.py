"""The pixels of an image as a printer gets them: windowed, of 8 or 12 bits, or RGB (PS3.3 C.13.5)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from os import PathLike
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.tag import Tag

from dimse.dataset.codec import PYDICOM_ERRORS, pydicom_failed
from dimse.errors import DatasetError
from dimse.records import record

if TYPE_CHECKING:
    import numpy as np

    Pixels: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

MAX_PRINTED_PIXELS: Final = 64 * 1024 * 1024
"""Pixels of an image that is printed: four times those of the largest mammograms."""

_LUMINANCE: Final = (0.299, 0.587, 0.114)
_STEEP: Final = 80
"""The exponent beyond which a sigmoid is black or white, and before which it overflows."""
_MOST_TERMS: Final = 1000
"""Of the ratio of a pixel's height to its width."""


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
        attributes = _attributes(dataset, source.frame)
        shown = _in_color(pixels, attributes) if source.is_color else _windowed(pixels, attributes)
        data = _planes(shown) if color else _gray(shown, bits)
        depth = 8 if color else bits
        return PrintPixels(int(shown.shape[0]), int(shown.shape[1]), color, depth, data, _aspect(attributes))


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


_IMAGE_GROUP: Final = 0x0028
_IMAGER_SPACING: Final = 0x00181164
_OF_A_FRAME: Final = ("PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence")


def _attributes(dataset: Dataset, frame: int) -> Dataset:
    """The attributes of a frame, those of functional groups among them (PS3.3 C.7.6.16)."""
    flat = Dataset()
    of_image = (tag for tag in map(Tag, dataset.keys()) if tag.group == _IMAGE_GROUP or tag == _IMAGER_SPACING)
    for tag in of_image:
        flat.add(dataset[tag])
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    groups = [*(dataset.get("SharedFunctionalGroupsSequence") or []), *per_frame[frame : frame + 1]]
    for group in groups:
        for keyword in _OF_A_FRAME:
            for item in (group.get(keyword) or [])[:1]:
                flat.update(dict(item.items()))
    return flat


def _windowed(pixels: Pixels, attributes: Dataset) -> Pixels:
    """Grayscale values from 0 (black) to 1."""
    import numpy as np

    values = apply_modality_lut(pixels, attributes)
    if attributes.get("VOILUTSequence"):
        shown = _voi_lut(values, attributes.VOILUTSequence[0])
    else:
        values = values.astype(np.float32)
        window = _window(attributes)
        shown = _full_range(values, pixels, attributes) if window is None else _in_window(values, *window)
    inverted: Pixels = 1 - shown if attributes.get("PhotometricInterpretation") == "MONOCHROME1" else shown
    return inverted


def _voi_lut(values: Pixels, item: Dataset) -> Pixels:
    import numpy as np

    entries, first, bits = (int(each) for each in item.LUTDescriptor)
    data = item.LUTData
    if isinstance(data, bytes):
        table = np.frombuffer(data, np.uint8 if len(data) < 2 * (entries or 65536) else "<u2")
    else:
        table = np.asarray(data)
    index = np.clip(values.astype(np.int64) - first, 0, len(table) - 1)
    shown: Pixels = np.clip(table[index].astype(np.float32) / (2**bits - 1), 0, 1)
    return shown


def _window(attributes: Dataset) -> tuple[float, float, str] | None:
    """Center, width and function of the first window."""
    center, width = (_first(attributes.get(keyword)) for keyword in ("WindowCenter", "WindowWidth"))
    function = str(attributes.get("VOILUTFunction") or "LINEAR")
    least = 1 if function == "LINEAR" else 0
    if center is None or width is None or width < least or (width == 0 and function != "LINEAR"):
        return None
    return center, width, function


def _in_window(values: Pixels, center: float, width: float, function: str) -> Pixels:
    """The functions of PS3.3 C.11.2.1.2, from 0 to 1."""
    import numpy as np

    if function == "SIGMOID":
        shown: Pixels = 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -_STEEP, _STEEP)))
        return shown
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width == 0:
        above: Pixels = (values > center).astype(np.float32)
        return above
    clipped: Pixels = np.clip((values - center) / width + 0.5, 0, 1)
    return clipped


def _full_range(values: Pixels, stored: Pixels, attributes: Dataset) -> Pixels:
    """The range from the least value to the greatest, without those that pad the image."""
    import numpy as np

    padding = attributes.get("PixelPaddingValue")
    counted = values if padding is None else values[stored != int(padding)]
    if counted.size == 0 or counted.min() == counted.max():
        return np.zeros(values.shape, np.float32)
    low, high = float(counted.min()), float(counted.max())
    filled: Pixels = np.clip((values - low) / (high - low), 0, 1)
    return filled


def _in_color(pixels: Pixels, attributes: Dataset) -> Pixels:
    """RGB values from 0 to 1."""
    import numpy as np

    if attributes.get("PhotometricInterpretation") == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, attributes)
        bits = 8 * pixels.dtype.itemsize
    else:
        bits = int(attributes.BitsStored)
    shown: Pixels = np.clip(pixels[..., :3].astype(np.float32) / (2**bits - 1), 0, 1)
    return shown


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


def _aspect(attributes: Dataset) -> tuple[int, int]:
    """The height of a pixel, to its width: of its spacing, or as the image says it."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        value = attributes.get(keyword)
        if value is not None and not isinstance(value, str) and len(value) == 2 and min(map(float, value)) > 0:
            ratio = Fraction(float(value[0]) / float(value[1])).limit_denominator(_MOST_TERMS)
            return (ratio.numerator, ratio.denominator) if ratio else (1, 1)
    return (1, 1)


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)


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
