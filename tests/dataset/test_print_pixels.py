"""Pixels as a printer gets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_windowing
from tests.print_samples import image, printed

from dimse.dataset.print_pixels import frames_of, print_pixels
from dimse.errors import DatasetError


def shown(dataset: Dataset, **how: Any) -> list[int]:
    pixels = printed(dataset, **how)
    return [int(each) for each in np.frombuffer(pixels.data, "u1" if pixels.bits == 8 else "<u2")]


@settings(max_examples=40)
@given(
    center=st.integers(-500, 3000),
    width=st.integers(2, 3000),
    slope=st.sampled_from([1, 2, 0.5]),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_a_window_is_that_of_the_standard(center: int, width: int, slope: float, function: str) -> None:
    dataset = image(
        [list(range(0, 4096, 64))],
        bits=12,
        WindowCenter=center,
        WindowWidth=width,
        VOILUTFunction=function,
        RescaleSlope=slope,
        RescaleIntercept=-1024,
    )
    values = np.arange(0, 4096, 64) * float(slope) - 1024
    with np.errstate(over="ignore"):
        theirs = apply_windowing(values, dataset)  # from the least to the greatest value that is possible
    low, high = -1024, 4095 * slope - 1024
    expected = (theirs - low) / (high - low) * 4095
    assert np.abs(np.asarray(shown(dataset, bits=12)) - expected).max() <= 1


def test_without_a_window_the_values_fill_the_range() -> None:
    assert shown(image([[10, 20, 30]])) == [0, 128, 255]
    assert shown(image([[10, 20, 30, 5000]], PixelPaddingValue=5000)) == [0, 128, 255, 255]
    assert shown(image([[7, 7]])) == [0, 0]
    assert shown(image([[-10, 0, 10]], signed=True)) == [0, 128, 255]
    assert shown(image([[10, 20, 30]], WindowCenter="", WindowWidth="")) == [0, 128, 255]


def test_the_first_window_counts_and_monochrome1_is_inverted() -> None:
    dataset = image([[0, 255]], bits=8, WindowCenter=[128, 5], WindowWidth=[256, 3])
    assert shown(dataset) == [0, 255]
    dataset.PhotometricInterpretation = "MONOCHROME1"
    assert shown(dataset) == [255, 0]
    assert printed(dataset).attributes().PhotometricInterpretation == "MONOCHROME2"


def test_a_voi_lut_goes_before_the_window() -> None:
    item = Dataset()
    item.LUTDescriptor = [4, 2, 8]
    item.add_new("LUTData", "OW", np.array([0, 64, 128, 255], "<u2").tobytes())
    dataset = image([[0, 2, 3, 4, 5, 9]], WindowCenter=1, WindowWidth=1)
    dataset.VOILUTSequence = [item]
    assert shown(dataset) == [0, 0, 64, 128, 255, 255]


def test_twelve_bits_have_two_bytes() -> None:
    pixels = printed(image([[0, 1, 2]]), bits=12)
    assert (pixels.bits, len(pixels.data)) == (12, 6)
    item = pixels.attributes()
    assert (item.BitsAllocated, item.BitsStored, item.HighBit, item["PixelData"].VR) == (16, 12, 11, "OW")
    assert len(printed(image([[0, 1, 2]])).attributes().PixelData) == 4, "padded to an even length"


def test_color_is_sent_plane_by_plane_and_gray_by_its_luminance() -> None:
    dataset = image([[[255, 0, 0], [1, 2, 3]]], bits=8, PhotometricInterpretation="RGB")
    assert shown(dataset, color=True) == [255, 1, 0, 2, 0, 3]
    assert printed(dataset, color=True).attributes().PlanarConfiguration == 1
    assert shown(dataset) == [76, 2]
    assert shown(image([[0, 255]], bits=8, WindowCenter=128, WindowWidth=256), color=True) == [0, 255] * 3


def test_a_palette_is_applied() -> None:
    path = get_testdata_file("examples_palette.dcm")
    (frame,) = frames_of(str(path), "palette")
    assert frame.is_color
    pixels = print_pixels(frame, bits=8, color=True)
    planes = np.frombuffer(pixels.data, "u1").reshape(3, pixels.rows, pixels.columns)
    assert planes.std() > 20
    assert not np.array_equal(planes[0], planes[2])


def test_each_frame_is_an_image_with_its_own_window() -> None:
    window, shared = Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth, window.VOILUTFunction = 20, 20, "LINEAR_EXACT"
    group = Dataset()
    group.FrameVOILUTSequence = [window]
    measures = Dataset()
    measures.PixelSpacing = ["2", "1"]
    shared.PixelMeasuresSequence = [measures]
    dataset = image([[[10, 30]], [[10, 30]]])
    dataset.PerFrameFunctionalGroupsSequence = [group, Dataset()]
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames = frames_of(dataset, "enhanced")
    assert [each.name for each in frames] == ["enhanced, frame 1", "enhanced, frame 2"]
    assert shown(dataset, frame=0) == [0, 255]
    assert printed(dataset, frame=1).aspect == (2, 1)


@pytest.mark.parametrize(
    ("keyword", "value", "aspect"),
    [
        ("PixelSpacing", ["0.5", "0.25"], (2, 1)),
        ("ImagerPixelSpacing", ["0.3", "0.3"], (1, 1)),
        ("PixelAspectRatio", ["4", "3"], (4, 3)),
        ("PixelAspectRatio", ["0", "0"], (1, 1)),
    ],
)
def test_pixels_that_are_not_square(keyword: str, value: list[str], aspect: tuple[int, int]) -> None:
    dataset = image([[1]])
    setattr(dataset, keyword, value)
    pixels = printed(dataset)
    assert pixels.aspect == aspect
    assert ("PixelAspectRatio" in pixels.attributes()) == (aspect != (1, 1))


def test_what_cannot_be_printed_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="report: not an image"):
        frames_of(Dataset(), "report")
    huge = Dataset()
    huge.Rows = huge.Columns = 60000
    with pytest.raises(DatasetError, match="too many to print"):
        frames_of(huge, "huge")
    (tmp_path / "text").write_bytes(b"text" * 100)
    with pytest.raises(DatasetError, match="text: not a DICOM file"):
        frames_of(tmp_path / "text", "text")
    with pytest.raises(FileNotFoundError):
        frames_of(tmp_path / "none", "none")
    cut = image([[1, 2, 3]])
    cut.PixelData = b"ab"
    with pytest.raises(DatasetError, match="it: cannot be printed") as raised:
        printed(cut)
    assert raised.value.__suppress_context__
