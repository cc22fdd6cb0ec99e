"""The rules of the tables."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import PrimaryKeyConstraint, UniqueConstraint
from tests.node.arrivals import Said, arrival, put

from dimse.node.index import Index
from dimse.node.schema import metadata, study

_UNIQUE = (PrimaryKeyConstraint, UniqueConstraint)


def test_what_is_removed_with_a_row_is_found_by_an_index() -> None:
    for table in metadata.sorted_tables:
        indexed = {next(iter(index.columns)).name for index in table.indexes}
        indexed |= {
            next(iter(each.columns)).name for each in table.constraints if isinstance(each, _UNIQUE) and each.columns
        }
        for key in table.foreign_keys:
            if key.ondelete == "CASCADE":
                assert key.parent.name in indexed, key.parent


def test_an_index_of_studies_is_an_order_for_pages() -> None:
    for index in study.indexes:
        if "settled_at" not in str(index.dialect_options["sqlite"]["where"]):
            assert [*index.columns][-1] is study.c.id, index.name


def test_an_instance_takes_little_of_the_index(sqlite_index: Index, tmp_path: Path) -> None:
    uid = "1.2.840.113619.2.55.3.604688119.971.1234567890.".ljust(56, "7")
    said = [Said(f"{uid}.1", f"{uid}.1.{n // 200}", f"{uid}.{n:07}") for n in range(3000)]
    assert len(said[0].uid) == 64
    put(sqlite_index, *map(arrival, said))
    sqlite_index.close()
    assert (tmp_path / "index.sqlite").stat().st_size / len(said) < 400
