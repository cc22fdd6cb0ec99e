"""`dimse.find` with Orthanc, which limits its answers, and with dcmqrscp: level by level, relationally, whole."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from pydicom import Dataset

import dimse
from dimse import IncompleteAnswer, Query, QueryRetrieveModel, Status
from tests.sample_objects import instance

from .archive import NAMES, TREE, TREE_SERIES, Archive
from .processes import Orthanc

LIMIT = 5
TREE_QUERY = Query.series(PatientID="TREE", StudyDate="20240229", Modality="CT").returning("PatientName")


async def series_of(archive: Archive, *, relational: bool = False) -> list[tuple[str, str, str]]:
    found = dimse.find(archive.address, TREE_QUERY.negotiating(relational=relational))
    return [(match.StudyInstanceUID, match.SeriesInstanceUID, match.PatientName) async for match in found]


async def test_series_level_by_level(archive: Archive) -> None:
    assert await series_of(archive) == [(TREE, "2.25.51100", "Tree^Family")]


async def test_series_relationally(archive: Archive) -> None:
    assert await series_of(archive, relational=True) == [(TREE, "2.25.51100", "Tree^Family")]


async def test_instances_from_the_patient_down(archive: Archive) -> None:
    query = Query.instances(model=QueryRetrieveModel.PATIENT_ROOT, PatientName="Tree*")
    found = [match.SOPInstanceUID async for match in dimse.find(archive.address, query)]
    assert len(found) == sum(count for _, count in TREE_SERIES.values())


async def test_several_queries(archive: Archive) -> None:
    queries = [Query.studies(PatientID=f"NAME-{name}") for name in NAMES]
    found = [match.StudyInstanceUID async for match in dimse.find(archive.address, [*queries, *queries])]
    assert len(found) == len(NAMES)


def study(number: int) -> Dataset:
    """Forty studies of many days, then some of one day, and some without a date."""
    dataset = instance(f"2.25.54{number:03}.1.1")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"2.25.54{number:03}", f"2.25.54{number:03}.1"
    dataset.PatientID, dataset.PatientName = f"{number:03}", f"Doe^{number}"
    dataset.Modality = "CT"
    dataset.StudyDate = "" if number >= 60 else "20230101" if number >= 40 else f"2024{1 + number % 12:02}15"
    dataset.StudyTime = "" if number >= 60 else f"12{number:02}00"
    return dataset


STUDIES = 70


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """An Orthanc that limits its answers."""
    folder = tmp_path_factory.mktemp("limited")
    options = {"LimitFindResults": LIMIT, "LimitFindInstances": LIMIT, "DicomAlwaysAllowFind": True}
    with Orthanc(folder / "archive", **options) as orthanc:
        more = [instance(f"2.25.54000.1.{number}") for number in range(2, 2 + LIMIT)]
        for each in more:
            each.StudyInstanceUID, each.SeriesInstanceUID = "2.25.54000", "2.25.54000.1"
            each.PatientID, each.StudyDate, each.StudyTime = "000", "20240115", "120000"
        asyncio.run(dimse.send(orthanc.address, [*map(study, range(STUDIES)), *more]))
        yield orthanc


async def test_orthanc_tells_that_it_cut_its_answer(limited: Orthanc) -> None:
    with pytest.raises(IncompleteAnswer, match=f"cut its answer after {LIMIT} matches: 0xFE00") as caught:
        async for _ in dimse.find(limited.address, Query.studies()):
            pass
    assert caught.value.status == Status.CANCEL


@pytest.mark.parametrize("query", [Query.studies(), Query.patients(), Query.series(Modality="CT")], ids=repr)
async def test_everything_from_an_orthanc_with_limits(limited: Orthanc, query: Query) -> None:
    found = [match[query.unique_keys[-1]].value async for match in dimse.find(limited.address, query, complete=True)]
    assert len(found) == len(set(found)) == STUDIES


async def test_the_instances_of_a_series_cannot_be_divided(limited: Orthanc) -> None:
    query = Query.instances(StudyInstanceUID="2.25.54000", SeriesInstanceUID="2.25.54000.1")
    finding = dimse.find(limited.address, query, complete=True, raise_failures=False)
    assert len([match async for match in finding]) == LIMIT
    assert [type(failure) for failure in finding.failures] == [IncompleteAnswer]
