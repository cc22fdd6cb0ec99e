"""Where the images of a film are, by its Image Display Format (PS3.3 C.13.3), and how large films are."""

from __future__ import annotations

import re
from typing import Final, Self

from dimse.records import record

MAX_IMAGES: Final = 100
"""Images of a film that a layout may have: its lines of images, and the images of a line, are bounded by it too."""

_FORM: Final = re.compile(r"(STANDARD|ROW|COL)\\(\d{1,3}(?:,\d{1,3})*)")
_SHORT: Final = re.compile(r"(\d{1,3})x(\d{1,3})", re.IGNORECASE)
_INCHES: Final = re.compile(r"(\d{1,2})(?:_(\d))?INX(\d{1,2})(?:_(\d))?IN")
_CENTIMETERS: Final = re.compile(r"(\d{1,2})CMX(\d{1,2})CM")

_PAPER: Final = {"A4": (210.0, 297.0), "A3": (297.0, 420.0)}
_INCH: Final = 25.4
DEFAULT_SIZE: Final = "14INX17IN"

_AUTOMATIC: Final = ((1, 1), (1, 2), (2, 2), (2, 3), (3, 3), (3, 4), (3, 5), (4, 5), (4, 6), (5, 6))
"""Columns and rows that are chosen by the number of images: those that printers commonly have."""


@record()
class FilmPlace:
    """The place of an image, in parts of the film's width and height from its upper left corner."""

    left: float
    top: float
    width: float
    height: float


@record()
class FilmLayout:
    """The layout of a film: an Image Display Format (2010,0010).

    `kind` is STANDARD (`counts` are columns and rows), ROW (the number of images in each row) or COL (the number in
    each column). Images are counted from left to right and then down; those of COL down and then to the right.

    >>> str(FilmLayout.parse("3x4")), FilmLayout.parse("3x4").images
    ('STANDARD\\\\3,4', 12)
    """

    kind: str
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.kind not in ("STANDARD", "ROW", "COL"):
            raise ValueError(f"a layout must be STANDARD, ROW or COL, not {self.kind!r}")
        if self.kind == "STANDARD" and len(self.counts) != 2:
            raise ValueError("the layout STANDARD must have two numbers: of columns and of rows")
        if not self.counts or len(self.counts) > MAX_IMAGES or not all(1 <= each <= MAX_IMAGES for each in self.counts):
            raise ValueError(f"the numbers of a layout must be 1 to {MAX_IMAGES}")
        if self.images > MAX_IMAGES:
            raise ValueError(f"a layout must have at most {MAX_IMAGES} images, not {self.images}")

    @classmethod
    def parse(cls, text: str | FilmLayout) -> Self:
        """The layout of `3x4` (columns and rows), or of a value of Image Display Format. Raises `ValueError`."""
        if isinstance(text, FilmLayout):
            return cls(text.kind, text.counts)
        text = text.strip()
        if short := _SHORT.fullmatch(text):
            return cls("STANDARD", (int(short[1]), int(short[2])))
        found = _FORM.fullmatch(text.upper())
        if found is None:
            raise ValueError(
                f"a layout must be COLUMNSxROWS, such as 3x4, or STANDARD\\3,4, ROW\\2,3 or COL\\1,2, not {text!r}"
            )
        return cls(found[1], tuple(map(int, found[2].split(","))))

    @classmethod
    def of(cls, images: int) -> Self:
        """The smallest common layout with a place for each image; the largest one if none has that many."""
        fits = (each for each in _AUTOMATIC if each[0] * each[1] >= images)
        return cls("STANDARD", next(fits, _AUTOMATIC[-1]))

    @property
    def images(self) -> int:
        """How many images a film has."""
        return self.counts[0] * self.counts[1] if self.kind == "STANDARD" else sum(self.counts)

    @property
    def places(self) -> list[FilmPlace]:
        """The places, in the order of the Image Box Position (2020,0010)."""
        lines = [self.counts[0]] * self.counts[1] if self.kind == "STANDARD" else list(self.counts)
        found = []
        for line, count in enumerate(lines):
            for number in range(count):
                along, across = (number / count, 1 / count), (line / len(lines), 1 / len(lines))
                (left, width), (top, height) = (across, along) if self.kind == "COL" else (along, across)
                found.append(FilmPlace(left, top, width, height))
        return found

    def __str__(self) -> str:
        """As DICOM has it."""
        return f"{self.kind}\\{','.join(map(str, self.counts))}"


def film_size(size_id: str) -> tuple[float, float]:
    """The width and height in mm of a Film Size ID (2010,0050) in portrait. Raises `ValueError`.

    >>> film_size("24CMX30CM")
    (240.0, 300.0)
    """
    size_id = size_id.strip().upper()
    if size_id in _PAPER:
        return _PAPER[size_id]
    if found := _CENTIMETERS.fullmatch(size_id):
        size = (int(found[1]) * 10.0, int(found[2]) * 10.0)
    elif found := _INCHES.fullmatch(size_id):
        width, tenth, height, tenths = (int(each or 0) for each in found.groups())
        size = ((width + tenth / 10) * _INCH, (height + tenths / 10) * _INCH)
    else:
        size = (0.0, 0.0)
    if min(size) <= 0:
        raise ValueError(f"a film size must be such as 14INX17IN, 24CMX30CM or A4, not {size_id!r}")
    return size
