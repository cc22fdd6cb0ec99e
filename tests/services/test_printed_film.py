"""Films that are saved."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.print_samples import film, gray, image

from dimse.services.film_options import FilmOrientation


def test_the_pixels_of_an_image_are_those_that_came() -> None:
    values = np.arange(12).reshape(3, 4) * 20
    shown = film({2: image(values, bits=8, WindowCenter=128, WindowWidth=256)}).images[0]
    assert (shown.position, shown.is_color) == (2, False)
    assert np.array_equal(shown.pixels, values)
    colors = np.arange(24).reshape(2, 4, 3) * 10
    in_color = film({1: image(colors, bits=8, PhotometricInterpretation="RGB")}, color=True).images[0]
    assert in_color.is_color
    assert np.array_equal(in_color.pixels, colors)
    in_color.image.PlanarConfiguration = 0
    in_color.image.PixelData = colors.astype("u1").tobytes()
    assert np.array_equal(in_color.pixels, colors)


def test_what_a_film_says_of_itself() -> None:
    printed = film({1: gray(1)}, FilmOrientation="LANDSCAPE")
    assert (printed.copies, printed.orientation, printed.size) == (1, FilmOrientation.LANDSCAPE, 64)
    printed.session.NumberOfCopies = 3
    assert (printed.copies, film({}).orientation) == (3, FilmOrientation.PORTRAIT)


async def test_png_has_the_pixels_and_the_resolution(tmp_path: Path) -> None:
    printed = film({1: gray(77)}, "1x1")
    await printed.save_png(tmp_path / "film.png", dpi=30)
    with Image.open(tmp_path / "film.png") as saved:
        assert saved.size == (420, 510)
        assert saved.info["dpi"][0] == pytest.approx(30, abs=0.1)
        assert saved.tobytes() == printed.picture(30).tobytes()


async def test_pdf_is_a_page_of_the_size_of_the_film(tmp_path: Path) -> None:
    await film({1: gray(77)}, "1x1", FilmSizeID="14INX17IN").save_pdf(tmp_path / "film.pdf", dpi=30)
    data = (tmp_path / "film.pdf").read_bytes()
    media = re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", data)
    assert media is not None
    assert [float(each) for each in media.groups()] == pytest.approx([14 * 72, 17 * 72], abs=2)


async def test_a_file_is_replaced_and_a_failure_leaves_none(tmp_path: Path) -> None:
    (tmp_path / "film.png").write_text("old")
    await film({}).save_png(tmp_path / "film.png", dpi=10)
    assert (tmp_path / "film.png").read_bytes().startswith(b"\x89PNG")
    broken = film({1: gray(1)})
    broken.images[0].image.PixelData = b""
    with pytest.raises(ValueError, match="buffer"):
        await broken.save_png(tmp_path / "broken.png")
    with pytest.raises(FileNotFoundError):
        await film({}).save_png(tmp_path / "missing" / "film.png", dpi=10)
    assert names_in(tmp_path) == ["film.png"]


def names_in(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]
