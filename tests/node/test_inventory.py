"""What the index has and what the folder has, study by study."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.node.rows import member, put

from dimse.node import inventory
from dimse.node.index import Index
from dimse.node.removing import remove_study


def test_studies_are_read_in_pages(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "PAGE", 2)
    put(index, tmp_path, *(member(f"1.{number}", "1", 1) for number in range(5)))
    assert [row.uid for row in inventory.studies(index)] == [f"1.{number}" for number in range(5)]
    pages = list(inventory.study_folders(tmp_path))
    assert [len(page) for page in pages] == [2, 2, 1]
    assert sorted(uid for page in pages for uid in page) == [f"1.{number}" for number in range(5)]


def test_a_study_has_instances_and_files(index: Index, tmp_path: Path) -> None:
    first, second = put(index, tmp_path, member("1.2", "1", 1), member("1.2", "2", 1))
    put(index, tmp_path, member("1.3", "1", 1))
    (first.parent / "notes.txt").write_text("no instance")
    with index.reading() as connection:
        rows = inventory.instances(connection, "1.2")
        assert inventory.is_stored(connection, "1.2", "1.2.1", "1.2.1.1")
        assert not inventory.is_stored(connection, "1.2", "1.2.1", "1.2.2.1")
        assert inventory.unknown(connection, ["1.4", "1.2"]) == ["1.4"]
    found = {row.path: row.size for row in rows}
    assert found == {path.relative_to(tmp_path).as_posix(): path.stat().st_size for path in (first, second)}
    assert inventory.files(tmp_path, "1.2") == found


def test_a_folder_that_is_missing_has_nothing(index: Index, tmp_path: Path) -> None:
    assert list(inventory.study_folders(tmp_path)) == []
    assert inventory.files(tmp_path, "1.2") == {}


def test_files_that_a_job_is_to_delete(index: Index, tmp_path: Path) -> None:
    put(index, tmp_path, member("1.2", "1", 1))
    with index.writing() as connection:
        remove_study(connection, "1.2")
        assert inventory.paths_to_delete(connection) == {"studies/1.2/1.2.1/1.2.1.1.dcm"}
        assert inventory.total(connection) == 0
