"""A new index takes the place of the one before when it is complete, and not before."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select
from tests.node.rows import member, put

from dimse.node.index import Index
from dimse.node.new_index import new_index
from dimse.node.schema import study


def studies_of(index: Index) -> list[str]:
    with index.reading() as connection:
        return list(connection.scalars(select(study.c.uid)))


def test_it_takes_the_place_of_the_one_before(index_url: str, tmp_path: Path) -> None:
    before = Index(index_url)
    put(before, tmp_path, member("1.2", "1", 1))
    url = None if before.is_sqlite else index_url
    for uid in ("1.3", "1.4"):
        new = new_index(tmp_path, url)
        opened = new.open()
        assert studies_of(opened) == []
        put(opened, tmp_path, member(uid, "1", 1))
        opened.close()
        if uid == "1.3":
            assert studies_of(before) == ["1.2"]
            before.close()
        new.take_place()
        after = Index(index_url)
        assert studies_of(after) == [uid]
        put(after, tmp_path, member("1.9", "1", 1))
        after.close()
    assert {path.name for path in tmp_path.iterdir()} <= {"index.sqlite", "studies"}


def test_what_a_crash_has_left_is_thrown_away(index_url: str, tmp_path: Path) -> None:
    before = Index(index_url)
    new = new_index(tmp_path, None if before.is_sqlite else index_url)
    before.close()
    opened = new.open()
    put(opened, tmp_path, member("1.2", "1", 1))
    opened.close()
    opened = new.open()
    assert studies_of(opened) == []
    opened.close()
    new.take_place()


def test_what_is_in_its_log_is_not_lost(tmp_path: Path) -> None:
    """As after a close that could not write the log back, which SQLite does not tell."""
    new = new_index(tmp_path, None)
    opened = new.open()
    with closing(sqlite3.connect(tmp_path / "index.new.sqlite")) as other:
        other.execute("SELECT * FROM study").fetchall()
        put(opened, tmp_path, member("1.2", "1", 1))
        opened.close()
        assert (tmp_path / "index.new.sqlite-wal").stat().st_size
        new.take_place()
    after = Index.at(tmp_path / "index.sqlite")
    assert studies_of(after) == ["1.2"]
    after.close()


def test_one_that_cannot_be_completed_takes_no_place(tmp_path: Path) -> None:
    Index.at(tmp_path / "index.sqlite").close()
    new = new_index(tmp_path, None)
    new.open().close()
    (tmp_path / "index.new.sqlite").write_bytes(b"SQLite format 3" + bytes(1000))
    with pytest.raises(OSError, match="cannot be completed"):
        new.take_place()
    after = Index.at(tmp_path / "index.sqlite")
    assert studies_of(after) == []
    after.close()
