"""From the values of pixels to gray and color."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

from dimse.dataset.windowing import attributes_of_frame, first_window, windowed

RAMP = np.arange(0, 100, dtype=np.uint16).reshape(10, 10)


def attributes(**elements: Any) -> Dataset:
    made = Dataset()
    made.PhotometricInterpretation = "MONOCHROME2"
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def table(entries: int = 4) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [entries, 10, 8])
    item.add_new("LUTData", "US", [0, 51, 102, 255])
    return item


def test_a_given_window_takes_the_place_of_the_images_own() -> None:
    own = attributes(WindowCenter=50, WindowWidth=10)
    assert (windowed(RAMP, own)[0, 0], windowed(RAMP, own)[9, 9]) == (0, 1)
    wide = windowed(RAMP, own, (50, 1000, "LINEAR"))
    assert 0.4 < wide.min() < wide.max() < 0.6
    lut = attributes(VOILUTSequence=[table()])
    assert windowed(RAMP, lut)[1, 1] == pytest.approx(0.2)
    assert windowed(RAMP, lut, (50, 1000, "LINEAR")).tolist() == wide.tolist()


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (attributes(WindowCenter=[50, 5], WindowWidth=[10, 1], VOILUTFunction="SIGMOID"), (50, 10, "SIGMOID")),
        (attributes(VOILUTSequence=[table()], WindowCenter=50, WindowWidth=10), (12, 4, "LINEAR")),
        (attributes(VOILUTSequence=[table(0)]), (10 + 2**15, 2**16, "LINEAR")),  # 0 are 65536 entries (C.11.1.1)
        (attributes(RescaleSlope=2, RescaleIntercept=-100), (-1, 198, "LINEAR_EXACT")),
        (attributes(PixelPaddingValue=99), (49, 98, "LINEAR_EXACT")),
    ],
)
def test_the_first_window_is_that_in_which_an_image_is_shown(own: Dataset, expected: tuple[float, float, str]) -> None:
    assert first_window(RAMP, own) == expected
    if "VOILUTSequence" not in own and "PixelPaddingValue" not in own:
        assert np.allclose(windowed(RAMP, own), windowed(RAMP, own, expected))


def test_monochrome1_is_inverted_in_any_window() -> None:
    inverted = attributes(PhotometricInterpretation="MONOCHROME1")
    assert np.allclose(windowed(RAMP, inverted), 1 - windowed(RAMP, attributes()))
    window = (50.0, 20.0, "LINEAR")
    assert np.allclose(windowed(RAMP, inverted, window), 1 - windowed(RAMP, attributes(), window))


def test_an_image_of_one_value_has_a_window_all_the_same() -> None:
    flat = np.full((2, 2), 7, np.uint16)
    assert first_window(flat, attributes()) == (7, 1, "LINEAR_EXACT")
    assert windowed(flat, attributes()).max() == 0


def test_the_functional_groups_of_a_frame_win_over_shared_ones() -> None:
    def group(center: int) -> Dataset:
        return attributes(FrameVOILUTSequence=[attributes(WindowCenter=center, WindowWidth=10)])

    enhanced = attributes(
        SharedFunctionalGroupsSequence=[group(1)], PerFrameFunctionalGroupsSequence=[group(2), group(3)]
    )
    assert [attributes_of_frame(enhanced, frame).WindowCenter for frame in (0, 1, 2)] == [2, 3, 1]
