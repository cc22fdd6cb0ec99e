"""The transfer syntax of encapsulated pixel data shows in its first fragment."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import dcmread
from tests.dataset.sample_sources import path_of

from dimse.dataset.codestreams import shown_syntax
from dimse.dataset.encoding import PIXEL_DATA, item_header


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_jpeg_dcmtk.dcm",
        "JPEG-lossy.dcm",
        "JPEG2000.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_RLE.dcm",
    ],
)
def test_the_syntax_of_real_images(name: str) -> None:
    dataset = dcmread(path_of(name))
    assert shown_syntax(dataset[PIXEL_DATA].value) == dataset.file_meta.TransferSyntaxUID


@pytest.mark.parametrize("value", [b"", item_header(0), item_header(0) + item_header(4) + b"none", bytes(100)])
def test_other_data_shows_none(value: bytes) -> None:
    assert shown_syntax(value) is None


def test_the_beginning_is_enough() -> None:
    dataset = dcmread(path_of("JPEG2000.dcm"))
    beginning = BytesIO(dataset[PIXEL_DATA].value).read(1024)
    assert shown_syntax(beginning) == dataset.file_meta.TransferSyntaxUID
