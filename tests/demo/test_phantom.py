"""The CT study that the demo generates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels.utils import pixel_array

from dimse.demo.phantom import Grid, hounsfield, write_study


def test_slices_are_one_series_of_ct_images_from_bottom_to_top(tmp_path: Path) -> None:
    paths = list(write_study(tmp_path / "study", 4, size=32))
    slices = [pydicom.dcmread(path) for path in paths]
    assert [each.InstanceNumber for each in slices] == [1, 2, 3, 4]
    assert len({each.SOPInstanceUID for each in slices}) == 4
    assert len({(each.StudyInstanceUID, each.SeriesInstanceUID) for each in slices}) == 1
    heights = [each.ImagePositionPatient[2] for each in slices]
    assert heights == sorted(heights)
    assert {pixel_array(path).shape for path in paths} == {(32, 32)}


def test_a_head_is_bone_around_brain_in_air() -> None:
    image = hounsfield(Grid(128), 0.3)
    assert image[0, 0] < -900
    assert image.max() > 1000
    assert abs(float(np.median(image[60:68, 88:96]))) < 100
