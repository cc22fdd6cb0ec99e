"""Films as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFont
from pydicom.dataset import Dataset
from tests.print_samples import film, gray, image

from dimse.services import film_rendering
from dimse.services.printed_film import PrintedFilm

DPI = 20
"""A film of 14 by 17 inches has 280 by 340 pixels."""


def render(film: PrintedFilm, dpi: int) -> Image.Image:
    """Drawn by way of the method that users call."""
    return film.picture(dpi)


def at(picture: Image.Image, x: float, y: float) -> Any:
    """The pixel at these parts of the width and height."""
    return picture.getpixel((int(x * picture.width), int(y * picture.height)))


def box(**attributes: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def extent(picture: Image.Image, value: int = 255) -> tuple[int, int]:
    """Width and height of what has this value."""
    found = np.asarray(picture) == value
    return int(found.any(axis=0).sum()), int(found.any(axis=1).sum())


def test_each_image_is_in_its_place() -> None:
    values = {number: gray(20 * number) for number in range(1, 12) if number != 5}
    picture = render(film(values, "3x4", EmptyImageDensity="WHITE"), DPI)
    assert (picture.size, picture.mode) == ((280, 340), "L")
    for number in range(1, 13):
        x, y = ((number - 1) % 3 + 0.5) / 3, ((number - 1) // 3 + 0.5) / 4
        assert at(picture, x, y) == (20 * number if number in values else 255), number


def test_the_size_and_the_orientation_of_the_film() -> None:
    portrait = render(film({1: gray(200)}, "1x2", FilmSizeID="24CMX30CM"), 25)
    landscape = render(film({1: gray(200)}, "1x2", FilmSizeID="24CMX30CM", FilmOrientation="LANDSCAPE"), 25)
    assert portrait.size == (236, 295)
    assert landscape.size == (295, 236)
    assert (at(landscape, 0.5, 0.25), at(landscape, 0.5, 0.75)) == (200, 0)


def test_an_image_keeps_its_proportions() -> None:
    wide = extent(render(film({1: gray(255, 10, 40)}, "1x1"), DPI))
    assert wide[0] / wide[1] == pytest.approx(4, rel=0.03)
    assert wide[0] > 270
    tall = extent(render(film({1: gray(255, 10, 10, PixelAspectRatio=["3", "1"])}, "1x1"), DPI))
    assert tall[1] / tall[0] == pytest.approx(3, rel=0.03)


def test_the_size_that_is_asked_for() -> None:
    boxes = {1: box(RequestedImageSize="127")}
    assert extent(render(film({1: gray(255)}, "1x1", boxes=boxes), DPI)) == (100, 100)
    boxes = {1: box(RequestedImageSize="999")}
    assert extent(render(film({1: gray(255)}, "1x1", boxes=boxes), DPI))[0] <= 280
    assert extent(render(film({1: gray(255)}, "1x1", MagnificationType="NONE"), DPI)) == (8, 8)


def test_replicated_pixels_are_squares() -> None:
    checkered = image([[0, 255], [255, 0]], bits=8, WindowCenter=128, WindowWidth=256)
    assert set(render(film({1: checkered}, "1x1", MagnificationType="REPLICATE"), DPI).tobytes()) == {0, 255}
    assert len(set(render(film({1: checkered}, "1x1", MagnificationType="BILINEAR"), DPI).tobytes())) > 50


def test_polarity_and_photometric_interpretation() -> None:
    assert at(render(film({1: gray(40)}, "1x1", boxes={1: box(Polarity="REVERSE")}), DPI), 0.5, 0.5) == 215
    inverse = film({1: gray(40)}, "1x1")
    inverse.images[0].image.PhotometricInterpretation = "MONOCHROME1"
    assert at(render(inverse, DPI), 0.5, 0.5) == 215


def test_twelve_bits_and_a_presentation_lut() -> None:
    assert at(render(film({1: gray(40)}, "1x1", bits=12), DPI), 0.5, 0.5) == 40
    item = Dataset()
    item.LUTDescriptor = [256, 0, 8]
    item.add_new("LUTData", "OW", np.arange(255, -1, -1).astype("<u2").tobytes())
    lut = Dataset()
    lut.PresentationLUTSequence = [item]
    assert at(render(film({1: gray(40)}, "1x1", luts={1: lut}), DPI), 0.5, 0.5) == 215


@pytest.mark.parametrize(("density", "value"), [(None, 0), ("BLACK", 0), ("WHITE", 255), ("30", 128), ("300", 0)])
def test_densities(density: str | None, value: int) -> None:
    empty = film({}, "2x2")
    if density is not None:
        empty.attributes.BorderDensity = empty.attributes.EmptyImageDensity = density
    picture = render(empty, DPI)
    assert picture.getpixel((0, 0)) == value
    assert at(picture, 0.25, 0.25) == value


def test_trim_is_a_line_around_the_image() -> None:
    picture = render(film({1: gray(40, 10, 10)}, "1x1", Trim="YES"), DPI)
    assert extent(picture)[0] == pytest.approx(280, abs=4)
    assert extent(render(film({1: gray(40)}, "1x1"), DPI)) == (0, 0)


def test_trim_is_seen_on_a_white_film() -> None:
    picture = render(film({1: gray(255, 10, 10)}, "1x1", Trim="YES", BorderDensity="WHITE"), DPI)
    assert extent(picture, 0)[0] == pytest.approx(280, abs=4)


def test_color_films() -> None:
    red = image(np.full((4, 4, 3), (255, 0, 0)), bits=8, PhotometricInterpretation="RGB")
    boxes = {2: box(Polarity="NORMAL")}
    picture = render(film({1: red, 2: gray(50)}, "1x2", boxes=boxes, color=True, Trim="YES"), DPI)
    assert (picture.mode, at(picture, 0.5, 0.25), at(picture, 0.5, 0.75)) == ("RGB", (255, 0, 0), (50, 50, 50))


def test_annotations_are_written_below_the_images() -> None:
    with_text = np.asarray(render(film({1: gray(0)}, "1x1", annotations=("Müller", "two")), 50))
    assert with_text[-20:].max() > 200
    assert np.asarray(render(film({1: gray(0)}, "1x1"), 50)).max() == 0
    on_white = render(film({}, "1x1", annotations=("text",), BorderDensity="WHITE", EmptyImageDensity="WHITE"), 50)
    assert np.asarray(on_white).min() < 50


def test_the_font_of_annotations(tmp_path: Path) -> None:
    path = tmp_path / "font.ttf"
    path.write_bytes(ImageFont.load_default(10).font_bytes)  # type: ignore[union-attr]
    plain, accented = (film({}, "1x1", annotations=(text,)) for text in ("Muller", "Müller"))
    assert accented.picture(50).tobytes() == plain.picture(50).tobytes()  # Pillow's own font has no accents
    assert accented.picture(50, font=str(path)).tobytes() != plain.picture(50, font=path).tobytes()
    with pytest.raises(OSError, match="cannot open"):
        plain.picture(50, font="missing.ttf")


def test_a_film_that_is_too_large_has_fewer_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film_rendering, "MAX_CANVAS", 10_000)
    picture = render(film({}, FilmSizeID="99INX99IN"), 600)
    assert picture.width * picture.height <= 10_200
    assert picture.info["dpi"][0] < 2


@pytest.mark.parametrize("dpi", [0, -1])
def test_dpi_must_be_positive(dpi: int) -> None:
    empty: PrintedFilm = film({})
    with pytest.raises(ValueError, match="dpi"):
        empty.picture(dpi)
