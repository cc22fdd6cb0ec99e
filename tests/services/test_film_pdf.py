"""PDF files of films."""

from __future__ import annotations

import re
from zlib import decompress

import numpy as np
import pytest
from PIL import Image

from dimse.services.film_pdf import pdf_of

NOISE = np.random.default_rng(1)


@pytest.mark.parametrize(
    ("mode", "space", "shape"), [("L", b"DeviceGray", (30, 20)), ("RGB", b"DeviceRGB", (30, 20, 3))]
)
def test_every_pixel_is_as_it_was(mode: str, space: bytes, shape: tuple[int, ...]) -> None:
    picture = Image.fromarray(NOISE.integers(0, 256, shape, np.uint8))
    picture.info["dpi"] = (10, 10)
    data = pdf_of(picture)
    image = re.search(rb"/Width 20 /Height 30 /ColorSpace /(\w+) .*?/Length (\d+) >>\nstream\n", data)
    assert image is not None
    stream = data[image.end() : image.end() + int(image[2])]
    assert (picture.mode, image[1]) == (mode, space)
    assert decompress(stream) == picture.tobytes()
    assert b"/MediaBox [0 0 144.00 216.00]" in data


def test_the_table_has_the_place_of_each_object() -> None:
    picture = Image.new("L", (2, 3))
    picture.info["dpi"] = (72, 72)
    data = pdf_of(picture)
    assert data.startswith(b"%PDF-1.4\n")
    assert data.endswith(b"%%EOF\n")
    place = int(data.split(b"startxref\n")[1].split(b"\n")[0])
    assert data[place:].startswith(b"xref\n0 6\n0000000000 65535 f \n")
    places = [int(line[:10]) for line in data[place:].splitlines()[3:8]]
    for number, each in enumerate(places, 1):
        assert data[each:].startswith(b"%d 0 obj\n" % number)
    assert [len(line) for line in data[place:].splitlines(keepends=True)[2:8]] == [20] * 6
