"""From the values of pixels to what is displayed: Modality LUT, VOI LUT or window, colors (PS3.3 C.11, C.7.6.3)."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.tag import Tag

if TYPE_CHECKING:
    import numpy as np

    Pixels: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

Window: TypeAlias = "tuple[float, float, str]"
"""Center, width, and the VOI LUT Function."""

_STEEP: Final = 80
"""The exponent beyond which a sigmoid is black or white, and before which it overflows."""
_MOST_TERMS: Final = 1000
"""Of the ratio of a pixel's height to its width."""

_IMAGE_GROUP: Final = 0x0028
_IMAGER_SPACING: Final = 0x00181164
_OF_A_FRAME: Final = ("PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence")


def attributes_of_frame(dataset: Dataset, frame: int) -> Dataset:
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


def windowed(pixels: Pixels, attributes: Dataset, window: Window | None = None) -> Pixels:
    """Grayscale values from 0 (black) to 1, through the first VOI LUT or window of the image, or through `window`.

    Without either, the values fill the range.
    """
    import numpy as np

    values = apply_modality_lut(pixels, attributes)
    if window is None and attributes.get("VOILUTSequence"):
        shown = _voi_lut(values, attributes.VOILUTSequence[0])
    else:
        values = values.astype(np.float32)
        window = window or _window(attributes)
        shown = _full_range(values, pixels, attributes) if window is None else _in_window(values, *window)
    inverted: Pixels = 1 - shown if attributes.get("PhotometricInterpretation") == "MONOCHROME1" else shown
    return inverted


def first_window(pixels: Pixels, attributes: Dataset) -> Window:
    """The window that `windowed` uses without another one, or the one that comes nearest to it."""
    if attributes.get("VOILUTSequence"):
        entries, first, _ = _descriptor(attributes.VOILUTSequence[0])
        return first + entries / 2, float(entries), "LINEAR"
    if (window := _window(attributes)) is not None:
        return window
    low, high = _range(apply_modality_lut(pixels, attributes), pixels, attributes)
    return (low + high) / 2, max(high - low, 1.0), "LINEAR_EXACT"


def _voi_lut(values: Pixels, item: Dataset) -> Pixels:
    import numpy as np

    entries, first, bits = _descriptor(item)
    data = item.LUTData
    if isinstance(data, bytes):
        table = np.frombuffer(data, np.uint8 if len(data) < 2 * entries else "<u2")
    else:
        table = np.asarray(data)
    index = np.clip(values.astype(np.int64) - first, 0, len(table) - 1)
    shown: Pixels = np.clip(table[index].astype(np.float32) / (2**bits - 1), 0, 1)
    return shown


def _descriptor(item: Dataset) -> tuple[int, int, int]:
    """Entries, first value and bits of a LUT (PS3.3 C.11.1.1), of which 65536 entries are encoded as 0."""
    entries, first, bits = (int(each) for each in item.LUTDescriptor)
    return entries or 65536, first, bits


def _window(attributes: Dataset) -> Window | None:
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

    low, high = _range(values, stored, attributes)
    if low == high:
        return np.zeros(values.shape, np.float32)
    filled: Pixels = np.clip((values - low) / (high - low), 0, 1)
    return filled


def _range(values: Pixels, stored: Pixels, attributes: Dataset) -> tuple[float, float]:
    import numpy as np

    padding = attributes.get("PixelPaddingValue")
    counted = values if padding is None else values[stored != int(padding)]
    if counted.dtype.kind == "f":
        counted = counted[np.isfinite(counted)]
    return (float(counted.min()), float(counted.max())) if counted.size else (0.0, 0.0)


def in_color(pixels: Pixels, attributes: Dataset) -> Pixels:
    """RGB values from 0 to 1."""
    import numpy as np

    if attributes.get("PhotometricInterpretation") == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, attributes)
        bits = 8 * pixels.dtype.itemsize
    else:
        bits = int(attributes.BitsStored)
    shown: Pixels = np.clip(pixels[..., :3].astype(np.float32) / (2**bits - 1), 0, 1)
    return shown


def aspect_of(attributes: Dataset) -> tuple[int, int]:
    """The height of a pixel, to its width: of its spacing, or as the image says it."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        value = attributes.get(keyword)
        if value is not None and not isinstance(value, str) and len(value) == 2 and min(map(float, value)) > 0:
            ratio = Fraction(float(value[0]) / float(value[1])).limit_denominator(_MOST_TERMS)
            return (ratio.numerator, ratio.denominator) if ratio else (1, 1)
    return (1, 1)


def _first(value: Any) -> float | None:
    """The first of the numbers; None without one, and for one that is not finite."""
    if value is None or value == "":
        return None
    first = float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)
    return first if math.isfinite(first) else None
