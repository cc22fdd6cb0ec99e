"""What the page shows of the index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydicom import Dataset
from sqlalchemy import insert

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


def test_a_page_of_the_list_is_a_range_of_the_index_of_dates(sqlite_index: Index) -> None:
    """However many studies there are, no page looks at more than it shows."""
    from sqlalchemy import event

    with sqlite_index.writing() as connection:
        connection.execute(insert(study), list(rows(500)))
    statements: list[tuple[str, Any]] = []
    listen = lambda _, __, statement, parameters, ___, ____: statements.append((statement, parameters))  # noqa: E731
    event.listen(sqlite_index.engine, "before_cursor_execute", listen)
    _, after = all_pages(sqlite_index, Wanted())[0], None
    event.remove(sqlite_index.engine, "before_cursor_execute", listen)
    assert after is None
    assert len(statements) > 3
    with sqlite_index.reading() as connection:
        for statement, parameters in statements:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            steps = [row[-1] for row in plan]
            assert not any("TEMP B-TREE" in step or step.startswith("SCAN study\n") for step in steps), steps
            assert all("study_date" in step for step in steps), steps
