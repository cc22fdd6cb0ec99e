"""Images and presentation LUTs from SCUs, which may be malformed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from tests.print_samples import gray, printed

from dimse import StatusError
from dimse.services.print_image import received_image, received_lut

SEQUENCE = "BasicGrayscaleImageSequence"


def box(**changes: Any) -> Dataset:
    item = printed(gray(40, 3, 5)).attributes()
    for keyword, value in changes.items():
        if value is None:
            del item[keyword]
        else:
            setattr(item, keyword, value)
    dataset = Dataset()
    dataset.BasicGrayscaleImageSequence = [item]
    return dataset


def test_an_image_is_kept_with_its_pixels() -> None:
    image = received_image(box(PixelAspectRatio=["2", "1"], PatientName="SECRET"), SEQUENCE)
    assert image is not None
    assert (image.Rows, image.Columns, len(image.PixelData), list(image.PixelAspectRatio)) == (3, 5, 16, [2, 1])
    assert "PatientName" not in image
    empty = Dataset()
    empty.BasicGrayscaleImageSequence = []
    assert received_image(empty, SEQUENCE) is None


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        *(({keyword: None}, 0x0120) for keyword in ("Rows", "SamplesPerPixel", "BitsStored", "PixelData")),
        *(({"Rows": value}, 0x0106) for value in (0, 4, 65535)),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, 0x0106),
        ({"PhotometricInterpretation": "RGB"}, 0x0106),
        ({"SamplesPerPixel": 2}, 0x0106),
        ({"BitsAllocated": 32}, 0x0106),
        ({"BitsAllocated": 16}, 0x0106),
        ({"BitsStored": 12}, 0x0106),
        ({"BitsStored": 4}, 0x0106),
        ({"PixelRepresentation": 1}, 0x0106),
        ({"PixelData": b"ab"}, 0x0106),
    ],
)
def test_a_malformed_image_is_refused(changes: dict[str, Any], status: int) -> None:
    with pytest.raises(StatusError) as raised:
        received_image(box(**changes), SEQUENCE)
    assert raised.value.status == status


def lut(descriptor: Any, data: Any) -> Dataset:
    item, dataset = Dataset(), Dataset()
    item.LUTDescriptor = descriptor
    item.add_new("LUTData", "OW" if isinstance(data, bytes) else "US", data)
    dataset.PresentationLUTSequence = [item]
    return dataset


def test_luts_are_kept_in_one_form() -> None:
    for data in (bytes([0, 0, 255, 0]), [0, 255]):
        item = received_lut(lut([2, 0, 8], data)).PresentationLUTSequence[0]
        assert (list(item.LUTDescriptor), item.LUTData) == ([2, 0, 8], bytes([0, 0, 255, 0]))
    shape = Dataset()
    shape.PresentationLUTShape = "LIN OD"
    assert received_lut(shape).PresentationLUTShape == "LIN OD"


@pytest.mark.parametrize(
    ("given_lut", "status"),
    [
        (Dataset(), 0x0120),
        (lut([3, 0, 8], bytes(4)), 0x0106),
        (lut([2, 0, 20], bytes(4)), 0x0106),
        (lut([2, 0], bytes(4)), 0x0106),
        (lut([0, 0, 12], bytes(4)), 0x0106),
    ],
)
def test_a_malformed_lut_is_refused(given_lut: Dataset, status: int) -> None:
    with pytest.raises(StatusError) as raised:
        received_lut(given_lut)
    assert raised.value.status == status


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.sampled_from(["Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PlanarConfiguration"]),
        st.integers(0, 65535),
    )
)
def test_what_is_kept_can_be_drawn(changes: dict[str, int]) -> None:
    try:
        image = received_image(box(**changes), SEQUENCE)
    except StatusError:
        return
    assert image is not None
    size = image.Rows * image.Columns * image.SamplesPerPixel * image.BitsAllocated // 8
    assert 0 < size <= len(image.PixelData)
