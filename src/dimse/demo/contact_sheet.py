"""A contact sheet: windowed tiles, each with its modality and transfer syntax."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array

from dimse import uids

TILE: Final = 156
COLUMNS: Final = 9
_GAP, _CAPTION, _TITLE = 8, 36, 40
_BACKGROUND, _INK, _FAINT = (16, 18, 22), (226, 230, 236), (138, 146, 158)

_SHORT: Final = (
    ("Explicit VR Little Endian", "Explicit LE"),
    ("Implicit VR Little Endian", "Implicit LE"),
    ("Explicit VR Big Endian", "Explicit BE"),
    ("Deflated", "Deflated"),
    ("JPEG Baseline", "JPEG baseline"),
    ("JPEG Extended", "JPEG extended"),
    ("JPEG 2000 Image Compression (Lossless", "JPEG 2000 lossless"),
    ("JPEG 2000", "JPEG 2000"),
    ("RLE", "RLE lossless"),
)


def write_contact_sheet(files: Sequence[Path], path: Path, title: str) -> int:
    """Draw the images of `files` in a grid, in their order. Returns how many could be drawn."""
    tiles = [tile for tile in map(_tile, files) if tile is not None]
    rows = -(-len(tiles) // COLUMNS)
    cell = TILE + _GAP
    sheet = Image.new("RGB", (COLUMNS * cell + _GAP, _TITLE + rows * (cell + _CAPTION) + _GAP), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP + 2, 11), title, _INK, _font(17))
    for index, (image, lines) in enumerate(tiles):
        x, y = _GAP + index % COLUMNS * cell, _TITLE + index // COLUMNS * (cell + _CAPTION)
        draw.rectangle((x, y, x + TILE - 1, y + TILE - 1), (0, 0, 0))
        sheet.paste(image, (x + (TILE - image.width) // 2, y + (TILE - image.height) // 2))
        draw.text((x + 2, y + TILE + 3), lines[0], _INK, _font(12))
        draw.text((x + 2, y + TILE + 18), lines[1], _FAINT, _font(11))
    sheet.save(path)
    return len(tiles)


def transfer_syntax_name(uid: str) -> str:
    """The name of a transfer syntax, short enough for a column."""
    name = uids.name_of(uid)
    return next((short for long, short in _SHORT if name.startswith(long)), name)


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _tile(path: Path) -> tuple[Image.Image, tuple[str, str]] | None:
    dataset = dcmread(path)
    if "PixelData" not in dataset:
        return None
    try:
        image = Image.fromarray(_picture(dataset))
    except (RuntimeError, ValueError, NotImplementedError, AttributeError):
        return None  # not an image, or without a decoder in pydicom
    scale = TILE / max(image.size)
    shape = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(shape, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)
    frames = int(dataset.get("NumberOfFrames") or 1)
    size = f"{dataset.Columns}x{dataset.Rows}" + (f", {frames} frames" if frames > 1 else "")
    syntax = transfer_syntax_name(dataset.file_meta.TransferSyntaxUID)
    return small, (f"{dataset.get('Modality') or '-'}  {size}", syntax)


def _picture(dataset: Dataset) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The middle frame in 8 bits, gray or RGB."""
    frames = int(dataset.get("NumberOfFrames") or 1)
    values = pixel_array(dataset, index=frames // 2)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
    if values.ndim == 3:
        return values.astype(np.uint8) if values.dtype == np.uint8 else (values >> 8).astype(np.uint8)
    shown = apply_modality_lut(values, dataset).astype(np.float64)
    low, high = _window(dataset, shown)
    if high <= low:
        low, high = float(shown.min()), float(shown.max()) or 1.0
    gray = np.clip((shown - low) / (high - low or 1), 0, 1)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        gray = 1 - gray
    return (gray * 255).astype(np.uint8)


def _window(dataset: Dataset, shown: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float]:
    """The lower and upper bound of the data set's window, or of one that fits its values."""
    if dataset.get("WindowWidth") and dataset.get("WindowCenter"):
        center, width = _first(dataset.WindowCenter), _first(dataset.WindowWidth)
        return center - width / 2, center + width / 2
    low, high = np.percentile(shown, (1, 99.5))
    return float(low), float(high)


def _first(value: Any) -> float:
    return float(value[0] if hasattr(value, "__len__") else value)
