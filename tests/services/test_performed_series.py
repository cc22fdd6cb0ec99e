"""The items of Performed Series Sequence, from data sets and from files."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset
from tests.sample_objects import CT, instance, save

from dimse import DatasetError, PerformedSeries

ROOT = "1.2.840.10008.5.1.4.1.1"
SR = "1.2.840.10008.5.1.4.1.1.88.11"


def made(uid: str, series: str = "1.2.3.2", sop_class: str = CT, **values: object) -> Dataset:
    dataset = instance(uid, pixels=0, sop_class=sop_class)
    dataset.SeriesInstanceUID = series
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


OBJECTS = [
    made("1.1", SpecificCharacterSet="ISO_IR 100", SeriesDescription="Schädel", OperatorsName=["A^B", "Ö^D"]),
    made("1.2"),
    made("1.3", "1.2.9", SR, Modality="SR"),
]


def check(series: PerformedSeries) -> None:
    first, second = series.items()
    assert len(series) == 3
    assert (first.SeriesInstanceUID, first.SeriesDescription, first.ProtocolName) == ("1.2.3.2", "Schädel", "Schädel")
    assert [str(name) for name in first.OperatorsName] == ["A^B", "Ö^D"]
    assert [each.ReferencedSOPInstanceUID for each in first.ReferencedImageSequence] == ["1.1", "1.2"]
    assert {each.ReferencedSOPClassUID for each in first.ReferencedImageSequence} == {CT}
    assert (second.ProtocolName, list(second.ReferencedImageSequence)) == ("SR", [])
    (report,) = second.ReferencedNonImageCompositeSOPInstanceSequence
    assert (report.ReferencedSOPClassUID, report.ReferencedSOPInstanceUID) == (SR, "1.3")
    assert second["RetrieveAETitle"].is_empty


def test_data_sets_become_series() -> None:
    series = PerformedSeries()
    series.add(*OBJECTS, OBJECTS[0])
    check(series)


def test_an_image_need_not_be_called_so() -> None:
    """Enhanced US Volume is an image, MR Spectroscopy is not (PS3.3 Table A.1-1)."""
    series = PerformedSeries()
    series.add(made("1.1", sop_class=f"{ROOT}.6.2"), made("1.2", sop_class=f"{ROOT}.4.2"))
    (item,) = series.items()
    assert [each.ReferencedSOPInstanceUID for each in item.ReferencedImageSequence] == ["1.1"]
    assert [each.ReferencedSOPInstanceUID for each in item.ReferencedNonImageCompositeSOPInstanceSequence] == ["1.2"]


async def test_files_become_series(tmp_path: Path) -> None:
    """What is no DICOM in the folder is skipped."""
    for number, each in enumerate(OBJECTS):
        save(each, tmp_path / f"{number}.dcm")
    (tmp_path / "readme.txt").write_text("no DICOM")
    series = PerformedSeries()
    await series.add_files(tmp_path)
    check(series)


async def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    series = PerformedSeries()
    with pytest.raises(OSError, match="missing"):
        await series.add_files([tmp_path / "missing.dcm"])
    with pytest.raises(DatasetError, match="no Series Instance UID"):
        series.add(Dataset())


def test_a_step_without_instances_has_one_series() -> None:
    series = PerformedSeries()
    (item,) = series.items()
    assert item.SeriesInstanceUID == series.items()[0].SeriesInstanceUID
    assert item.ProtocolName
    assert not item.ReferencedImageSequence
