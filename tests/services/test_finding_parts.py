"""Dividing a query: the parts have everything together, and each is smaller."""

from __future__ import annotations

import pytest

from dimse import Query
from dimse.services.finding_parts import parts_of

DAYS = [{"StudyDate": "20240101"}, {"StudyDate": "20240301"}]


def texts(query: Query, keyword: str, known: list[dict[str, str]]) -> list[str]:
    parts = parts_of(query, known)
    assert parts is not None
    assert parts.key == keyword
    return [str(part.find_identifier()[keyword].value) for part in parts.queries]


@pytest.mark.parametrize(
    ("dates", "known", "parts"),
    [
        (None, DAYS, ["-20240229", "20240301-"]),
        ("20240101-20240301", DAYS, ["20240101-20240229", "20240301-20240301"]),
        ("20240101-", DAYS[:1], ["20240101-20240101", "20240102-"]),
        ("-20240105", DAYS[:1], ["-20231231", "20240101-20240105"]),
        (None, [], ["-20000101", "20000102-"]),
        ("20240101-20240104", [], ["20240101-20240102", "20240103-20240104"]),
    ],
)
def test_dates_are_halved(dates: str | None, known: list[dict[str, str]], parts: list[str]) -> None:
    assert texts(Query.studies(StudyDate=dates), "StudyDate", known) == parts


def test_a_day_is_divided_by_time_and_then_by_patient() -> None:
    day = Query.studies(StudyDate="20240101-20240101")
    known = [{**DAYS[0], "StudyTime": time, "PatientID": "AB1"} for time in ("080000.5", "1000")]
    assert texts(day, "StudyTime", known) == ["-095959.999999", "100000-"]
    moment = day.where(StudyTime="100000-100000.999999")
    assert {"A*", "B*", "1*"} < set(texts(moment, "PatientID", known))
    prefixes = texts(moment.patient_id("AB*"), "PatientID", known)
    assert prefixes[0] == "AB"
    assert "AB1*" in prefixes


def test_a_key_that_a_known_match_lacks_is_no_use() -> None:
    known = [{**DAYS[0], "StudyTime": "", "PatientID": "1"}, {"StudyDate": "", "StudyTime": "", "PatientID": "2"}]
    parts = parts_of(Query.studies(), known)
    assert parts is not None
    assert parts.key == "PatientID"


@pytest.mark.parametrize(
    "query",
    [
        Query.studies(StudyDate="20240101", StudyTime="10", PatientID="1", PatientName="A"),
        Query.studies(StudyDate="20240101", StudyTime="10", PatientID="*1", PatientName="A?"),
        Query.instances(StudyInstanceUID="1.2", SeriesInstanceUID="1.3"),
        Query.series(StudyInstanceUID="1.2", Modality="CT"),
    ],
    ids=repr,
)
def test_what_cannot_be_divided(query: Query) -> None:
    assert parts_of(query, []) is None


def test_values_that_are_no_dates_divide_nothing() -> None:
    known = [{"StudyDate": "unknown", "StudyTime": "noon", "PatientID": "Ä", "PatientName": "Ä"}]
    assert parts_of(Query.studies(), known) is None


def test_parts_of_other_case_are_asked_once() -> None:
    known = [{"PatientID": "ID1"}, {"PatientID": "ID2"}]
    assert texts(Query.patients(PatientID="id*"), "PatientID", known) == []
    assert texts(Query.patients(PatientID="ID*"), "PatientID", known) != []


def test_apart_wants_a_known_match_in_two_parts() -> None:
    same = [DAYS[0] | {"StudyTime": "10", "PatientID": "1", "PatientName": "A"}] * 2
    assert parts_of(Query.studies(), same, apart=True) is None
    parts = parts_of(Query.studies(), [*same, {**same[0], "PatientID": "2"}], apart=True)
    assert parts is not None
    assert parts.key == "PatientID"
