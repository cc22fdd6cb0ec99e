"""What a file shows: the frames of its image, of 8 bits, gray or RGB, windowed; and its elements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_description
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.pixels.utils import pixel_array

from dimse.dataset.codec import PYDICOM_ERRORS, pydicom_failed
from dimse.dataset.texts import TEXT_VRS, Texts, character_sets_of, vr_of
from dimse.dataset.windowing import Window, aspect_of, attributes_of_frame, first_window, in_color, windowed
from dimse.errors import DatasetError
from dimse.records import record
from dimse.uids import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, name_of

if TYPE_CHECKING:
    from dimse.dataset.windowing import Pixels

MAX_DISPLAYED_PIXELS: Final = 64 * 1024 * 1024
"""Pixels of a frame that is displayed: four times those of the largest mammograms."""


MAX_TEXT: Final = 1024
"""Characters of a value in a tree of tags."""
MAX_ELEMENTS: Final = 10_000
"""Elements and items of a tree of tags."""

Json = dict[str, Any]


@record()
class Displayed:
    """A frame as it is displayed."""

    pixels: Pixels
    """Of 8 bits: (rows, columns), or (rows, columns, 3)."""
    window: Window | None
    """The window it was displayed with, or the one nearest to its VOI LUT; None of an image in color."""
    aspect: tuple[int, int]
    """The height of a pixel, to its width."""


def header_of(path: Path) -> Dataset:
    """The attributes of an image before its pixel data. Blocks. Raises `DatasetError` if it is none, or too large."""
    with _said():
        header = dcmread(path, stop_before_pixels=True)
        if "Rows" not in header or "Columns" not in header:
            raise DatasetError(f"{name_of(str(header.get('SOPClassUID') or '')) or 'the object'} has no image")
        if int(header.Rows) * int(header.Columns) > MAX_DISPLAYED_PIXELS:
            raise DatasetError(f"a frame has more than {MAX_DISPLAYED_PIXELS} pixels")
        return header


def displayed(path: Path, header: Dataset, frame: int, center_width: tuple[float, float] | None = None) -> Displayed:
    """Frame number `frame`, from 0, in the given window or its own first one. Reads that frame alone.

    Needs numpy, and for compressed images what pydicom decompresses them with. Blocks. Raises `DatasetError`.
    """
    with _said():
        frames = int(header.get("NumberOfFrames") or 1)
        if not 0 <= frame < frames:
            raise DatasetError(f"there is no frame {frame + 1}: the image has {frames}")
        pixels = _frame(path, header, frame)
        attributes = attributes_of_frame(header, frame)
        window = None
        if pixels.ndim == 3 or attributes.get("PhotometricInterpretation") == "PALETTE COLOR":
            shown = _eight_bits(in_color(pixels, attributes))
        elif pixels.dtype.kind in "iu" and pixels.dtype.itemsize <= 2:
            shown, window = _in_gray_by_value(pixels, attributes, center_width)
        else:
            shown, window = _in_gray(pixels, attributes, center_width)
        return Displayed(shown, window, aspect_of(attributes))


def _in_gray(pixels: Pixels, attributes: Dataset, center_width: tuple[float, float] | None) -> tuple[Pixels, Window]:
    own = first_window(pixels, attributes)
    window = own if center_width is None else _given(center_width, own[2])
    return _eight_bits(windowed(pixels, attributes, None if center_width is None else window)), window


def _in_gray_by_value(
    pixels: Pixels, attributes: Dataset, center_width: tuple[float, float] | None
) -> tuple[Pixels, Window]:
    """The same for pixels of at most 16 bits: each value is looked at once, which takes a third of the time."""
    import numpy as np

    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)  # its values are of one byte order
    low = pixels.min()
    unsigned = np.dtype(f"u{pixels.dtype.itemsize}")
    places: Pixels = pixels.view(unsigned) - low.view(unsigned)  # without a sign the difference fits
    is_there = np.zeros(int(places.max()) + 1, bool)
    is_there[places] = True
    values = (np.flatnonzero(is_there) + int(low)).astype(pixels.dtype)
    table = np.zeros(len(is_there), np.uint8)
    table[is_there], window = _in_gray(values, attributes, center_width)
    return table[places], window


def _eight_bits(shown: Pixels) -> Pixels:
    import numpy as np

    rounded: Pixels = np.rint(shown * 255).astype(np.uint8)
    return rounded


def _frame(path: Path, header: Dataset, frame: int) -> Pixels:
    """The values of a frame. pydicom reads it alone from a file, unless that is deflated, which it has to be told."""
    is_deflated = header.file_meta.get("TransferSyntaxUID") == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
    pixels: Pixels = pixel_array(dcmread(path) if is_deflated else path, index=frame)
    return pixels


def _given(center_width: tuple[float, float], function: str) -> Window:
    """A given window with the function of the image's own, which for a width below 1 cannot be LINEAR (C.11.2.1.2)."""
    center, width = center_width
    return center, width, "LINEAR_EXACT" if function == "LINEAR" and width < 1 else function


def tags_of(path: Path) -> tuple[list[Json], bool]:
    """The elements of a file but for its pixel data, for a tree, and whether there are more than `MAX_ELEMENTS`.

    Each is `tag`, `name`, `vr`, `value` and `items`. A value is at most `MAX_TEXT` characters. Blocks. Raises
    `DatasetError`.
    """
    with _said():
        dataset = dcmread(path, stop_before_pixels=True)
        tree = _Tree()
        return [*tree.of(dataset.file_meta, ()), *tree.of(dataset, ())], tree.is_cut


class _Tree:
    """Makes a tree of tags."""

    def __init__(self) -> None:
        self._left = MAX_ELEMENTS
        self.is_cut = False

    def of(self, dataset: Dataset, outer: Sequence[str]) -> list[Json]:
        """The elements of a data set, of which `outer` are the character sets of the one that contains it."""
        character_sets = character_sets_of(dataset, outer)
        texts = Texts()
        return [self._element(dataset, tag, texts, character_sets) for tag in sorted(dataset.keys()) if self._takes()]

    def _takes(self) -> bool:
        """Whether there is room for one more element or item."""
        self._left -= 1
        self.is_cut = self._left < 0
        return not self.is_cut

    def _element(self, dataset: Dataset, tag: int, texts: Texts, character_sets: Sequence[str]) -> Json:
        made: Json = {"tag": f"({tag >> 16:04X},{tag & 0xFFFF:04X})", "name": _name(tag), "vr": "", "value": ""}
        try:
            made["vr"] = vr = vr_of(dataset, tag)
            if vr == "SQ":
                items = dataset[tag].value or ()
                made["value"] = f"{len(items)} item{'' if len(items) == 1 else 's'}"
                made["items"] = [self.of(item, character_sets) for item in items if self._takes()]
            else:
                made["value"] = _value(dataset, tag, vr, texts, character_sets)
        except PYDICOM_ERRORS as error:
            made["value"] = f"not valid: {type(error).__name__}"
        return made


def _value(dataset: Dataset, tag: int, vr: str, texts: Texts, character_sets: Sequence[str]) -> str:
    raw = dataset.get_item(tag).value
    if vr in TEXT_VRS:
        return "\\".join(texts.of(dataset, tag, character_sets))[:MAX_TEXT]
    if isinstance(raw, bytes) and len(raw) > MAX_TEXT:
        return f"{len(raw)} bytes"
    return _plain(dataset[tag].value)[:MAX_TEXT]


def _name(tag: int) -> str:
    try:
        return dictionary_description(tag)
    except KeyError:
        return "Private" if tag >> 16 & 1 else "Unknown"


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex(" ")
    return "\\".join(map(str, value)) if isinstance(value, list | MultiValue) else str(value)


@contextmanager
def _said() -> Iterator[None]:
    """Say why an image cannot be displayed, without its values."""
    try:
        yield
    except FileNotFoundError:
        raise DatasetError("its file is missing") from None
    except InvalidDicomError:
        raise DatasetError("its file is not a DICOM file") from None
    except (RuntimeError, ImportError) as error:
        # Keep this message: it names the missing plugins and contains no values.
        raise DatasetError(" ".join(str(error).split())) from None
    except MemoryError:
        raise DatasetError("it needs too much memory") from None
    except PYDICOM_ERRORS as error:
        raise pydicom_failed("it is not valid", error) from None
