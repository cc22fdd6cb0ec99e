"""Searching one archive: level by level, relationally, and whole where it limits its answers."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.services.limited_archive import LimitedArchive, study

import dimse
from dimse import IncompleteAnswer, Query, QueryFeatures, QueryRetrieveModel, Status, StatusError

MANY = [
    *(study(number, f"2024{1 + number % 12:02}{1 + number % 28:02}") for number in range(1, 40)),
    *(study(number, "20230101", f"1200{number % 60:02}") for number in range(40, 60)),
]
UNDATED = [study(number, "", "") for number in range(60, 75)]


async def found(archive: LimitedArchive, query: Query, **options: Any) -> list[Dataset]:
    async with archive:
        return [match async for match in dimse.find(archive.address, query, **options)]


async def collect(archive: LimitedArchive, query: Query, matches: list[Dataset]) -> None:
    async for match in dimse.find(archive.address, query):
        matches.append(match)  # noqa: PERF401 - it may end with an error


def uids(matches: list[Dataset], keyword: str = "StudyInstanceUID") -> list[str]:
    return sorted(match[keyword].value for match in matches)


# Level by level


async def test_series_of_all_studies() -> None:
    archive = LimitedArchive([study(1, series=3), study(2, series=2), study(3, series=3)])
    matches = await found(archive, Query.series(Modality="CT", PatientID="ID00*"))
    assert uids(matches, "SeriesInstanceUID") == ["1.1.1", "1.1.3", "1.2.1", "1.3.1", "1.3.3"]
    assert archive.levels == ["STUDY", "SERIES", "SERIES", "SERIES"]
    assert "Modality" not in archive.asked[0]
    assert "PatientID" not in archive.asked[1]


async def test_matches_have_the_attributes_above_them() -> None:
    archive = LimitedArchive([study(1), study(2)])
    query = Query.instances(StudyDate="20240101").returning("PatientName", "Modality")
    matches = await found(archive, query)
    assert [(match.StudyInstanceUID, match.PatientName, match.Modality, match.StudyDate) for match in matches] == [
        ("1.1", "Doe^ID001", "CT", "20240101"),
        ("1.2", "Doe^ID002", "CT", "20240101"),
    ]


async def test_patient_root_begins_with_the_patients() -> None:
    archive = LimitedArchive([study(1), study(2)])
    matches = await found(archive, Query.studies(model=QueryRetrieveModel.PATIENT_ROOT, PatientName="Doe^ID002"))
    assert uids(matches) == ["1.2"]
    assert archive.levels == ["PATIENT", "STUDY"]


async def test_a_query_with_uids_is_one_query() -> None:
    archive = LimitedArchive([study(1)])
    await found(archive, Query.series(StudyInstanceUID="1.1"))
    assert archive.levels == ["SERIES"]


async def test_relational() -> None:
    archive = LimitedArchive([study(1, series=2), study(2)])
    matches = await found(archive, Query.series(PatientID="ID001", Modality="MR").negotiating(relational=True))
    assert [(match.StudyInstanceUID, match.SeriesInstanceUID) for match in matches] == [("1.1", "1.1.2")]
    assert archive.levels == ["SERIES"]


async def test_matches_that_contradict_an_ignored_key_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    archive = LimitedArchive([study(1), study(2, "20240202")], ignores="StudyDate")
    with caplog.at_level(logging.WARNING, "dimse"):
        assert uids(await found(archive, Query.studies(StudyDate="20240202"))) == ["1.2"]
    assert "it ignores the key StudyDate" in caplog.text


# Whole


async def test_a_cut_answer_is_told() -> None:
    archive = LimitedArchive(MANY, limit=10)
    matches: list[Dataset] = []
    async with archive:
        with pytest.raises(IncompleteAnswer, match=r"cut its answer after 10 matches: 0xA700 .*\(too many\)") as caught:
            await collect(archive, Query.studies(), matches)
    assert len(matches) == 10
    assert caught.value.status == Status.OUT_OF_RESOURCES


@pytest.mark.parametrize("status", [Status.OUT_OF_RESOURCES, Status(0xB001), Status.SUCCESS])
@pytest.mark.parametrize("limit", [3, 10])
async def test_a_cut_answer_is_completed(status: Status, limit: int) -> None:
    archive = LimitedArchive(MANY, limit=limit, status=status)
    matches = await found(archive, Query.studies(), complete=True)
    assert uids(matches) == sorted(f"1.{number}" for number in range(1, 60))


async def test_an_archive_that_sends_nothing_where_there_is_too_much() -> None:
    archive = LimitedArchive(MANY, limit=10, status=Status.OUT_OF_RESOURCES, sends_some=False)
    assert len(uids(await found(archive, Query.studies(), complete=True))) == 59


async def test_studies_without_a_date_are_found_by_patient() -> None:
    """The fake archive has them in every range, as an unknown date matches; those of other archives are in none."""
    archive = LimitedArchive([*UNDATED, *MANY], limit=10)
    matches = await found(archive, Query.studies(), complete=True)
    assert len(uids(matches)) == len(set(uids(matches))) == 74


async def test_series_are_whole_too() -> None:
    archive = LimitedArchive(MANY, limit=10)
    assert len(await found(archive, Query.series(Modality="CT", PatientName="Doe*"), complete=True)) == 59


async def test_what_no_key_divides_is_told() -> None:
    archive = LimitedArchive([study(1, instances=20)], limit=10)
    query = Query.instances(StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1")
    async with archive:
        finding = dimse.find(archive.address, query, complete=True, raise_failures=False)
        assert len([match async for match in finding]) == 10
    (failure,) = finding.failures
    assert isinstance(failure, IncompleteAnswer)
    assert failure.text.startswith("10 matches, but not all: the archive cut 1 of its answers")


async def test_an_archive_that_ignores_the_key_to_divide_by_is_not_asked_for_ever() -> None:
    archive = LimitedArchive(MANY, limit=10, ignores="StudyDate")
    async with archive:
        finding = dimse.find(archive.address, Query.studies(), complete=True, raise_failures=False)
        assert [match async for match in finding]
    assert isinstance(finding.failures[0], IncompleteAnswer)
    assert len(archive.asked) < 20


async def test_a_whole_answer_is_checked_once() -> None:
    archive = LimitedArchive([study(number, f"2024010{number}", series=2) for number in range(1, 6)])
    matches = await found(archive, Query.series(PatientID="*"), complete=True)
    assert len(matches) == 10
    assert archive.levels.count("STUDY") == 3, "the query, and its two parts, which have nothing more"
    series = archive.levels.count("SERIES")
    assert series == 5 + 37, "one for each study; those of the first study are checked"


async def test_a_refusal_is_not_a_cut() -> None:
    archive = LimitedArchive(MANY, limit=10, status=Status.CANNOT_UNDERSTAND)
    with pytest.raises(StatusError, match="0xC000"):
        await found(archive, Query.studies(), complete=True)
    assert len(archive.asked) == 1


# What is negotiated


async def test_what_is_not_agreed_on_is_told_and_asked_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    archive = LimitedArchive([study(1, series=2), study(2)])
    query = Query.series(PatientID="ID001").negotiating(relational=True, fuzzy_names=True)
    with caplog.at_level(logging.INFO, "dimse.query_retrieve"):
        assert len(await found(archive, query)) == 2
        assert len(await found(archive, Query.studies(PatientID=["ID001", "ID002"]))) == 2
    told = [(each.levelno, each.getMessage()) for each in caplog.records if "agree" in each.message]
    text = f"{archive.address}: it did not agree to these features of C-FIND: %s; it is asked all the same"
    assert told == [(logging.WARNING, text % "relational, fuzzy names"), (logging.INFO, text % "multiple values")]


async def test_what_is_agreed_on_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    archive = LimitedArchive([study(1)], features=QueryFeatures(relational=True, timezone=True))
    with caplog.at_level(logging.WARNING, "dimse"):
        assert len(await found(archive, Query.series().negotiating(relational=True))) == 1
    assert archive.agreed == [QueryFeatures(relational=True)]
    assert caplog.text == ""


async def test_keys_that_an_archive_does_not_support_are_told(caplog: pytest.LogCaptureFixture) -> None:
    archive = LimitedArchive([study(1)], unsupported_keys=True)
    with caplog.at_level(logging.WARNING, "dimse"):
        assert len(await found(archive, Query.studies())) == 1
    assert "it does not support all of the keys (0xFF01)" in caplog.text
