"""The transfer syntax of encapsulated pixel data shows in its first fragment."""

from __future__ import annotations

from io import BytesIO
from struct import pack

import pytest
from pydicom import dcmread
from tests.dataset.sample_sources import path_of

from dimse.dataset.codestreams import shown_syntax
from dimse.dataset.encoding import PIXEL_DATA, item_header
from dimse.uids import RLE_LOSSLESS


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


def segment(marker: int, parameters: bytes = b"") -> bytes:
    return bytes([0xFF, marker]) + (len(parameters) + 2).to_bytes(2, "big") + parameters


def scan(parameter: int) -> bytes:
    """A Start of Scan of one component, with the predictor or the maximum error after it."""
    return segment(0xDA, bytes([1, 7, 7, parameter, 0, 0]))


def coding_style(wavelet: int) -> bytes:
    return segment(0x52, bytes(9) + bytes([wavelet]))


JPEG, JPEG_2000 = b"\xff\xd8", b"\xff\x4f"
SIZE, CAPABILITIES = segment(0x51, bytes(36)), segment(0x50, bytes(4))


@pytest.mark.parametrize(
    ("codestream", "tail"),
    [
        (JPEG + segment(0xE0) + segment(0xC0), "50"),
        (JPEG + segment(0xE0) + b"\xff\xff" + segment(0xC1), "51"),
        (JPEG + segment(0xC2), "55"),
        (JPEG + segment(0xC3) + scan(2), "57"),
        (JPEG + segment(0xC3) + scan(1), "70"),
        (JPEG + segment(0xF7) + scan(0), "80"),
        (JPEG + segment(0xF7) + scan(3), "81"),
        (JPEG_2000 + SIZE + coding_style(1), "90"),
        (JPEG_2000 + SIZE + coding_style(0), "91"),
        (JPEG_2000 + SIZE + CAPABILITIES + coding_style(1), "201"),
        (JPEG_2000 + SIZE + CAPABILITIES + coding_style(0), "203"),
        (b"\xff\x0a", "112"),
    ],
)
def test_the_syntax_of_each_process(codestream: bytes, tail: str) -> None:
    value = item_header(4) + bytes(4) + item_header(len(codestream)) + codestream
    assert shown_syntax(value) == f"1.2.840.10008.1.2.4.{tail}"


@pytest.mark.parametrize(
    "codestream",
    [
        JPEG + segment(0xE0),
        JPEG + segment(0xC3) + scan(1)[:-1],
        JPEG + scan(1) + segment(0xC0),
        JPEG_2000 + SIZE + segment(0x90) + coding_style(1),
    ],
    ids=["no frame", "an incomplete scan", "a frame after a scan", "a style after a tile"],
)
def test_a_codestream_that_does_not_show_its_process(codestream: bytes) -> None:
    assert shown_syntax(item_header(0) + item_header(len(codestream)) + codestream) is None


@pytest.mark.parametrize(
    ("header", "syntax"),
    [
        (pack("<16L", 1, 64, *[0] * 14), RLE_LOSSLESS),
        (pack("<16L", 15, 64, *[0] * 14), RLE_LOSSLESS),
        (pack("<16L", 16, 64, *[0] * 14), None),
        (pack("<16L", 0, 64, *[0] * 14), None),
        (pack("<16L", 1, 65, *[0] * 14), None),
        (pack("<15L", 1, 64, *[0] * 13), None),
    ],
)
def test_a_header_of_rle(header: bytes, syntax: str | None) -> None:
    assert shown_syntax(item_header(0) + item_header(len(header)) + header) == syntax


@pytest.mark.parametrize(
    "value",
    [b"", item_header(0), item_header(0) + item_header(4) + b"none", bytes(100), bytes(16) + JPEG + segment(0xC0)],
)
def test_other_data_shows_none(value: bytes) -> None:
    assert shown_syntax(value) is None


def test_the_beginning_is_enough() -> None:
    dataset = dcmread(path_of("JPEG2000.dcm"))
    beginning = BytesIO(dataset[PIXEL_DATA].value).read(1024)
    assert shown_syntax(beginning) == dataset.file_meta.TransferSyntaxUID
