"""Draws a printed film as a picture. Importing this module imports numpy and Pillow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from unicodedata import combining, normalize

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dimse.services.film_layout import DEFAULT_SIZE, FilmPlace, film_size
from dimse.services.film_options import FilmOrientation, Magnification

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dimse.dataset.pydicom_names import Dataset
    from dimse.services.film_layout import FilmLayout
    from dimse.services.print_image import FilmImage

MAX_CANVAS: Final = 128 * 1024 * 1024
"""Pixels of a picture; a film of 14 by 17 inches has fewer at 700 dpi. Larger films are drawn with fewer dpi."""

_MILLIMETERS: Final = 25.4
_GAP: Final = 1.0
"""Millimeters of the film around each place."""
_LINE: Final = 6.0
"""Millimeters of the height of a line of annotation."""
_BLACK, _WHITE = 0, 255

_ENLARGED: Final = {
    Magnification.REPLICATE: Image.Resampling.NEAREST,
    Magnification.BILINEAR: Image.Resampling.BILINEAR,
    Magnification.CUBIC: Image.Resampling.BICUBIC,
}

_Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def render(
    layout: FilmLayout,
    images: Sequence[FilmImage],
    attributes: Dataset,
    annotations: Sequence[str],
    dpi: int,
    font: str | None = None,
) -> Image.Image:
    """A film as a picture, of `dpi` pixels per inch or, if it would be too large, of fewer.

    `attributes` are those of its film box. `font` is the file of the font of annotations. Raises `OSError`.
    """
    if dpi < 1:
        raise ValueError(f"dpi must be at least 1, not {dpi}")
    width, height = film_size(attributes.get("FilmSizeID") or DEFAULT_SIZE)
    if attributes.get("FilmOrientation") == FilmOrientation.LANDSCAPE:
        width, height = height, width
    scale = min(dpi / _MILLIMETERS, (MAX_CANVAS / (width * height)) ** 0.5)
    border = _gray(attributes.get("BorderDensity"))
    mode = "RGB" if any(each.is_color for each in images) else "L"
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    sheet = Image.new(mode, size, _ink(mode, border))
    sheet.info["dpi"] = (scale * _MILLIMETERS,) * 2
    line = round(_LINE * scale)
    places = [_box(each, (sheet.width, sheet.height - line * len(annotations)), scale) for each in layout.places]
    ink = _ink(mode, _BLACK if border > _WHITE // 2 else _WHITE)
    _draw_images(sheet, places, images, attributes, scale, ink)
    _draw_annotations(sheet, annotations, line, ink, font)
    return sheet


_Ink = int | tuple[int, ...]


def _ink(mode: str, gray: int) -> _Ink:
    """A gray in the mode of a picture."""
    return (gray,) * 3 if mode == "RGB" else gray


_Box = tuple[int, int, int, int]
"""Left, top, right and bottom."""


def _draw_images(
    sheet: Image.Image,
    places: Sequence[_Box],
    images: Sequence[FilmImage],
    attributes: Dataset,
    scale: float,
    ink: _Ink,
) -> None:
    """Draw each image in its place, and the empty places. `ink` is the color of lines."""
    draw = ImageDraw.Draw(sheet)
    empty = _gray(attributes.get("EmptyImageDensity"))
    by_position = {each.position: each for each in images}
    for position, box in enumerate(places, 1):
        if (image := by_position.get(position)) is None:
            draw.rectangle(box, _ink(sheet.mode, empty))
            continue
        drawn = _drawn(image, attributes, (box[2] - box[0], box[3] - box[1]), scale)
        left = box[0] + (box[2] - box[0] - drawn.width) // 2
        top = box[1] + (box[3] - box[1] - drawn.height) // 2
        sheet.paste(drawn, (left, top))
        if attributes.get("Trim") == "YES":
            around = (left - 1, top - 1, left + drawn.width, top + drawn.height)
            draw.rectangle(around, outline=ink)


def _box(place: FilmPlace, size: tuple[int, int], scale: float) -> _Box:
    """The place in pixels, without the gap around it."""
    gap = round(_GAP * scale)
    left, top = round(place.left * size[0]), round(place.top * size[1])
    right, bottom = round((place.left + place.width) * size[0]), round((place.top + place.height) * size[1])
    return left + gap, top + gap, max(left + gap + 1, right - gap), max(top + gap + 1, bottom - gap)


def _drawn(image: FilmImage, film: Dataset, room: tuple[int, int], scale: float) -> Image.Image:
    """The image, in the size that it has on the film."""
    picture = Image.fromarray(_shown(image))
    kind = image.attributes.get("MagnificationType") or film.get("MagnificationType")
    tall, wide = _aspect(image.image)
    fits = min(room[0] / (picture.width * wide), room[1] / (picture.height * tall))
    wanted = image.attributes.get("RequestedImageSize")
    if wanted:
        fits = min(fits, float(wanted) * scale / (picture.width * wide))
    elif kind == Magnification.NONE:
        fits = min(fits, 1 / max(wide, tall))
    size = (max(1, round(picture.width * wide * fits)), max(1, round(picture.height * tall * fits)))
    if size == picture.size:
        return picture
    is_smaller = size[0] < picture.width or size[1] < picture.height
    enlarging = _ENLARGED.get(Magnification(kind), Image.Resampling.BICUBIC) if kind in _KINDS else _DEFAULT
    return picture.resize(size, Image.Resampling.LANCZOS if is_smaller else enlarging)


_KINDS: Final = tuple(Magnification)
_DEFAULT: Final = Image.Resampling.BICUBIC


def _shown(image: FilmImage) -> _Pixels:
    """The image in 8 bits, after its Presentation LUT and polarity."""
    values, lut = image.pixels, image.presentation_lut
    most = 2 ** int(image.image.BitsStored) - 1
    values = np.minimum(values, most)
    if lut is not None and lut.get("PresentationLUTSequence"):
        shown = _looked_up(values, lut.PresentationLUTSequence[0])
    else:
        shown = values if most == _WHITE else np.rint(values * (_WHITE / most))
    inverted = (image.image.PhotometricInterpretation == "MONOCHROME1") != (
        image.attributes.get("Polarity") == "REVERSE"
    )
    gray: _Pixels = np.ascontiguousarray(shown, np.uint8)
    return _WHITE - gray if inverted else gray


def _looked_up(values: np.ndarray[Any, np.dtype[Any]], item: Dataset) -> np.ndarray[Any, np.dtype[Any]]:
    """The values of the table of a Presentation LUT, in 8 bits."""
    _, first, bits = (int(each) for each in item.LUTDescriptor)
    data = item.LUTData
    table = np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.asarray(data)
    found = table[np.clip(values.astype(np.int64) - first, 0, len(table) - 1)]
    shown: np.ndarray[Any, np.dtype[Any]] = np.clip(np.rint(found * (_WHITE / (2**bits - 1))), 0, _WHITE)
    return shown


def _aspect(item: Dataset) -> tuple[float, float]:
    """The height and width of a pixel, the smaller being 1."""
    ratio = item.get("PixelAspectRatio")
    if ratio is None or isinstance(ratio, str) or len(ratio) != 2 or min(map(int, ratio)) < 1:
        return 1.0, 1.0
    tall, wide = (float(each) for each in ratio)
    return tall / min(tall, wide), wide / min(tall, wide)


def _gray(density: str | None) -> int:
    """The gray of a density: BLACK, WHITE, or hundredths of OD."""
    if density == "WHITE":
        return _WHITE
    if density and str(density).isdecimal():
        return round(_WHITE * 10 ** (-int(density) / 100))
    return _BLACK


def _draw_annotations(sheet: Image.Image, texts: Sequence[str], line: int, ink: _Ink, path: str | None) -> None:
    """Draw the texts of annotation boxes at the lower end of the film, one below the other."""
    draw = ImageDraw.Draw(sheet)
    size = max(1, round(line * 0.6))
    font = ImageFont.load_default(size) if path is None else ImageFont.truetype(path, size)
    for number, text in enumerate(texts):
        top = sheet.height - line * (len(texts) - number) + round(line * 0.1)
        draw.text((round(line / 6), top), _simple(text) if path is None else text, ink, font)


def _simple(text: str) -> str:
    """The text without accents, for which Pillow's own font has no glyphs."""
    return "".join(each for each in normalize("NFKD", text) if not combining(each))
