"""Thumbnails that are kept."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dimse.node.web import thumbnails
from dimse.node.web.thumbnails import Thumbnails, remove_thumbnails


def test_what_was_put_is_got_until_its_study_is_removed(tmp_path: Path) -> None:
    kept = Thumbnails(tmp_path)
    assert kept.get("1.2", "a.jpg") is None
    kept.put("1.2", "a.jpg", b"picture")
    kept.put("1.3", "a.jpg", b"other")
    assert kept.get("1.2", "a.jpg") == b"picture"
    remove_thumbnails(tmp_path, "1.2")
    assert (kept.get("1.2", "a.jpg"), kept.get("1.3", "a.jpg")) == (None, b"other")
    remove_thumbnails(tmp_path, "1.2")


def test_the_oldest_studies_go_when_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "MAX_FOLDERS", 3)
    kept = Thumbnails(tmp_path)
    for number in range(5):
        kept.put(f"1.{number}", "a.jpg", b"picture")
        os.utime(tmp_path / "thumbnails" / f"1.{number}", (number, number))
    assert sorted(path.name for path in (tmp_path / "thumbnails").iterdir()) == ["1.2", "1.3", "1.4"]


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "thumbnails").write_text("a file in its place")
    kept = Thumbnails(tmp_path)
    with pytest.raises(NotADirectoryError):
        (tmp_path / "thumbnails" / "x").mkdir()
    kept.put("1.2", "a.jpg", b"picture")
    assert kept.get("1.2", "a.jpg") is None


def test_no_partial_picture_is_left(tmp_path: Path) -> None:
    Thumbnails(tmp_path).put("1.2", "a.jpg", b"picture")
    assert [path.name for path in (tmp_path / "thumbnails" / "1.2").iterdir()] == ["a.jpg"]


def test_no_partial_picture_is_left_where_it_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "thumbnails" / "1.2" / "a.jpg").mkdir(parents=True)
    Thumbnails(tmp_path).put("1.2", "a.jpg", b"picture")
    assert [path.name for path in (tmp_path / "thumbnails" / "1.2").iterdir()] == ["a.jpg"]


def test_a_picture_that_is_put_twice_at_once_is_whole(tmp_path: Path) -> None:
    kept = Thumbnails(tmp_path)
    pictures = [bytes([number]) * 500_000 for number in range(8)]

    def put(picture: bytes) -> bytes | None:
        kept.put("1.2", "a.jpg", picture)
        return kept.get("1.2", "a.jpg")

    with ThreadPoolExecutor(len(pictures)) as threads:
        assert set(threads.map(put, pictures * 4)) <= {*pictures}
    assert [path.name for path in (tmp_path / "thumbnails" / "1.2").iterdir()] == ["a.jpg"]
