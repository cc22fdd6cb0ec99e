"""Matches that contradict a key, because an archive ignored it."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset

from dimse import Query, QueryFeatures
from dimse.services.finding_keys import KeyCheck


def check(match: dict[str, Any], **keys: Any) -> tuple[str | None, set[str]]:
    dataset = Dataset()
    for keyword, value in match.items():
        setattr(dataset, keyword, value)
    keys_check = KeyCheck(Query.studies(**keys).find_identifier(), except_for=frozenset())
    return keys_check.ignored(dataset), keys_check.unknown(dataset)


@pytest.mark.parametrize(
    ("match", "keys", "ignored"),
    [
        ({"StudyDescription": "Thorax"}, {"StudyDescription": "Head*"}, "StudyDescription"),
        ({"StudyDescription": "head, neck"}, {"StudyDescription": "Head*"}, None),
        ({"StudyDescription": ""}, {"StudyDescription": "Head*"}, None),
        ({"StudyDate": "20240102"}, {"StudyDate": "20240101-20240131"}, None),
        ({"StudyDate": "20240202"}, {"StudyDate": "20240101-20240131"}, "StudyDate"),
        ({"ModalitiesInStudy": ["CT", "SR"]}, {"ModalitiesInStudy": "SR"}, None),
        ({"ModalitiesInStudy": ["CT", "SR"]}, {"ModalitiesInStudy": "MR"}, "ModalitiesInStudy"),
        ({"StudyInstanceUID": "1.3"}, {"StudyInstanceUID": ["1.2", "1.3"]}, None),
        ({"StudyInstanceUID": "1.4"}, {"StudyInstanceUID": ["1.2", "1.3"]}, "StudyInstanceUID"),
        ({"PatientName": "Meier^Jan"}, {"PatientName": "Mayer*"}, None),
    ],
)
def test_contradictions(match: dict[str, Any], keys: dict[str, Any], ignored: str | None) -> None:
    assert check(match, **keys)[0] == ignored


@pytest.mark.parametrize(
    ("codes", "ignored"),
    [
        ([], None),
        ([""], None),
        (["p1"], None),
        (["P2", "P1"], None),
        (["P2"], "ProcedureCodeSequence.CodeValue"),
    ],
)
def test_keys_in_sequences(codes: list[str], ignored: str | None) -> None:
    items = []
    for code in codes:
        items.append(Dataset())
        items[-1].CodeValue = code
    keys = {"ProcedureCodeSequence": {"CodeValue": "P1"}}
    assert check({"ProcedureCodeSequence": items}, **keys) == (ignored, set())
    assert check({}, **keys) == (None, {"ProcedureCodeSequence.CodeValue"})


def test_keys_that_are_not_returned() -> None:
    assert check({"StudyDate": "20240101"}, StudyDate="20240101", StudyDescription="X") == (None, {"StudyDescription"})


def test_what_was_agreed_on_is_no_contradiction() -> None:
    """Times that are matched in pairs, or in another time zone; an empty value; the view, which is of the request."""
    query = Query.studies(StudyDate="20240101-20240102", StudyTime="1800-0600", StudyDescription='""')
    match = Dataset()
    match.StudyDate, match.StudyTime, match.StudyDescription = "20240101", "200000", ""
    for agreed in (QueryFeatures(combined_date_time=True), QueryFeatures(timezone=True)):
        checked = KeyCheck(query.find_identifier(), except_for=frozenset(), agreed=agreed)
        assert (checked.ignored(match), checked.unknown(match)) == (None, set())
        match.StudyDate = "20240103"
        is_ignored = checked.ignored(match) is not None
        assert is_ignored is agreed.combined_date_time, "no time of day is between two days that its day is not between"
        match.StudyDate = "20240101"
    view = KeyCheck(Query.studies(QueryRetrieveView="CLASSIC").find_identifier(), except_for=frozenset())
    assert view.unknown(match) == set()
