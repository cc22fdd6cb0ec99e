"""Dates as people write them."""

from __future__ import annotations

from datetime import date

import pytest

from dimse import Query, QueryRetrieveLevel
from dimse.services.query_words import date_value

TODAY = date(2024, 3, 1)


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("2024-01-31", "20240131"),
        ("2024-02", "20240201-20240229"),
        ("2023", "20230101-20231231"),
        ("2024-01..2024-06", "20240101-20240630"),
        ("2023..2024-06-15", "20230101-20240615"),
        ("2024-01..", "20240101-"),
        ("..2023", "-20231231"),
        ("20240101..20240102", "20240101-20240102"),
        (">=2024", "20240101-"),
        ("> 2024-06", "20240701-"),
        ("<=2024-06", "-20240630"),
        ("<2024", "-20231231"),
        (">20040101", "20040102-"),
        ("today", "20240301"),
        ("Yesterday", "20240229"),
        ("-7d", "20240223-"),
        ("-2w", "20240216-"),
        ("-7d..yesterday", "20240223-20240229"),
        ("20240131", "20240131"),
        ("20240101-20240630", "20240101-20240630"),
        ("-20240630", "-20240630"),
        ("", ""),
        ("2024-13", "2024-13"),
        ("2024-02-30", "2024-02-30"),
        (">tomorrow", ">tomorrow"),
        ("..", ".."),
        ("2024-01..x", "2024-01..x"),
        ("<0001", "<0001"),
    ],
)
def test_words(words: str, value: str) -> None:
    assert date_value(words, TODAY) == value


def test_a_range_must_not_end_before_it_begins() -> None:
    with pytest.raises(ValueError, match="ends before it begins"):
        date_value("2024-06..2024-01", TODAY)


def test_they_are_the_text_of_keys() -> None:
    query = Query.parse(QueryRetrieveLevel.STUDY, ["StudyDate=2024-02", "StudyID=2024-02"])
    assert query.find_identifier().StudyDate == "20240201-20240229"
    assert query.find_identifier().StudyID == "2024-02"
    with pytest.raises(ValueError, match="StudyDate: the range ends before"):
        Query.parse(QueryRetrieveLevel.STUDY, ["StudyDate=2024..2023"])
