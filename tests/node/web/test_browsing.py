"""What the page shows of the index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydicom import Dataset
from sqlalchemy import event, insert

from dimse.dataset.codec import encode
from dimse.node.index import Index
from dimse.node.schema import study
from dimse.node.web import browsing
from dimse.node.web.browsing import PAGE, Wanted
from dimse.uids import EXPLICIT_VR_LITTLE_ENDIAN


def rows(number: int) -> Iterator[dict[str, Any]]:
    """Studies, several on a day, every tenth without a date."""
    attributes = Dataset()
    attributes.PatientName = "Doe^Jane"
    encoded = encode(attributes, EXPLICIT_VR_LITTLE_ENDIAN)
    for each in range(number):
        yield {
            "uid": f"1.2.{each}",
            "patient_id": f"P{each % 7}",
            "date": None if each % 10 == 9 else 20260101 + each % 5,
            "modalities": "\\CT\\" if each % 2 else "\\MR\\SR\\",
            "description": None if each % 3 else "Head 100%_neuro",
            "created_at": 0,
            "changed_at": 0,
            "key_version": 1,
            "attributes": encoded,
        }


@pytest.fixture
def filled(index: Index) -> Index:
    with index.writing() as connection:
        connection.execute(insert(study), list(rows(230)))
    return index


def all_pages(index: Index, wanted: Wanted) -> list[list[dict[str, Any]]]:
    pages, after = [], None
    with index.reading() as connection:
        while True:
            page, after = browsing.studies(connection, wanted, after)
            pages.append(page)
            if after is None:
                return pages


def expected(**wanted: Any) -> list[str]:
    """The UIDs of matching studies, newest first, without a date last: as a naive reader of `rows` finds them."""
    matches = [
        (each["date"] or 0, number, each["uid"])
        for number, each in enumerate(rows(230))
        if wanted.get("patient_id") in (None, each["patient_id"])
        and (wanted.get("modality") is None or f"\\{wanted['modality']}\\" in each["modalities"])
        and (wanted.get("first_date") is None or (each["date"] or 0) >= wanted["first_date"])
        and wanted.get("description", "").lower() in (each["description"] or "").lower()
    ]
    return [uid for *_, uid in sorted(matches, reverse=True)]


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"patient_id": "P3"},
        {"modality": "SR"},
        {"modality": "S"},
        {"first_date": 20260104},
        {"description": "100%_NEURO"},
        {"description": "%"},
        {"patient_id": "P3", "modality": "CT", "first_date": 20260102},
        {"patient_id": "nobody"},
    ],
    ids=str,
)
def test_the_pages_together_are_all_matches_newest_first(filled: Index, wanted: dict[str, Any]) -> None:
    pages = all_pages(filled, Wanted(**wanted))
    assert [each["uid"] for page in pages for each in page] == expected(**wanted)
    assert all(len(page) == PAGE for page in pages[:-1])


@pytest.mark.parametrize(
    "wanted", [{}, {"patient_id": "P3"}, {"modality": "SR"}, {"patient_id": "P3", "modality": "CT"}], ids=str
)
def test_what_is_not_among_the_newest_is_found_all_the_same(
    filled: Index, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsing, "LOOK", 70)
    assert [each["uid"] for page in all_pages(filled, Wanted(**wanted)) for each in page] == expected(**wanted)


def plans_of(index: Index, wanted: Wanted) -> list[list[str]]:
    """How SQLite executes each statement for a page."""
    statements: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, ___: Any, ____: Any) -> None:
        if statement.startswith("SELECT"):
            statements.append((statement, parameters))

    event.listen(index.engine, "before_cursor_execute", note)
    with index.reading() as connection:
        browsing.studies(connection, wanted)
    event.remove(index.engine, "before_cursor_execute", note)
    with index.reading() as connection:
        plans = [connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {each}", given).all() for each, given in statements]
    return [[row[-1] for row in plan] for plan in plans]


def test_a_rare_key_without_an_index_is_looked_for_in_the_order_of_the_table(sqlite_index: Index) -> None:
    """In the order of dates, each row would be somewhere else on the disk."""
    _, by_value, _ = plans_of(sqlite_index, Wanted(modality="XX"))
    assert by_value == ["SCAN study", "USE TEMP B-TREE FOR ORDER BY"]


@pytest.mark.parametrize(
    ("wanted", "driving"),
    [
        ({}, "study_date (date=?"),
        ({"patient_id": "P3"}, "study_patient (patient_id=?)"),
        ({"patient_id": "P3*"}, "study_patient (patient_id>? AND patient_id<?)"),
        ({"accession": "A1"}, "study_accession (accession_number=?)"),
        ({"name": "doe"}, "name_word_word (word>? AND word<?)"),
    ],
    ids=str,
)
def test_a_page_reads_a_range_of_an_index(sqlite_index: Index, wanted: dict[str, Any], driving: str) -> None:
    """However many studies there are."""
    looked, *others = plans_of(sqlite_index, Wanted(**wanted))
    assert any("SEARCH study USING COVERING INDEX study_date (date>?)" in step for step in looked)
    assert len(others) == (2 if wanted else 1)
    for steps in others:
        assert any(driving in step for step in steps) or any("study_date (date=?" in step for step in steps[:1]), steps
    for steps in (looked, *others):
        assert not any(step.startswith(("SCAN study", "SCAN name_word")) for step in steps), steps
