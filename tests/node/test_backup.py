"""A backup is an archive: with all that was stored before, and with nothing that only seems to be there."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select
from tests.node.archives import put_in, save_all, stored
from tests.node.rows import member

from dimse.node import backup as module
from dimse.node.backup import Backup, Outcome, Step
from dimse.node.data_folder import served
from dimse.node.index import Index
from dimse.node.node import Node
from dimse.node.options import NodeOptions
from dimse.node.removing import remove_study
from dimse.node.schema import event, set_aside
from dimse.node.verifying import Verifier


@pytest.fixture
def options(index: Index, tmp_path: Path) -> NodeOptions:
    """An archive with two studies, and one instance that was set aside."""
    options = NodeOptions(data=tmp_path / "data")
    made = [member(study, "1", number) for study in ("1.2", "1.3") for number in (1, 2)]
    put_in(index, options, *save_all(tmp_path / "a", made))
    put_in(index, options, *save_all(tmp_path / "b", [member("1.2", "1", 1, Rows=7)]))
    return options


def back_up(index: Index, options: NodeOptions, target: Path) -> list[Step]:
    return list(Backup(index, options.data, target).steps())


def counts(steps: list[Step]) -> dict[Outcome, int]:
    return dict(Counter(step.outcome for step in steps))


def content(target: Path) -> dict[str, bytes]:
    """What a backup has; it must be right, and nothing but the backup may be in its folder."""
    found = Index.at(target / "index.sqlite")
    try:
        assert not any(Verifier(found, target, digests=True).findings())
        assert {each.name for each in target.iterdir()} <= {
            *("index.sqlite", "index.sqlite-wal", "index.sqlite-shm", "node.lock", "studies", "set-aside", "removed"),
            "incoming",  # of a node that served from it
            "backup",
        }
        return stored(found, target)
    finally:
        found.close()


def test_all_of_it_is_copied(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    target = tmp_path / "target"
    assert counts(back_up(index, options, target)) == {Outcome.COPIED: 5}
    assert content(target) == stored(index, options.data)
    copy = Index.at(target / "index.sqlite")
    with copy.reading() as theirs, index.reading() as ours:
        for table in (event, set_aside):
            assert theirs.execute(select(table)).all() == ours.execute(select(table)).all()
    copy.close()
    one = target / "studies" / "1.2" / "1.2.1" / "1.2.1.1.dcm"
    assert not one.samefile(options.data / one.relative_to(target))


async def test_a_node_serves_from_it(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    back_up(index, options, tmp_path / "target")
    async with Node(NodeOptions(data=tmp_path / "target", port=0)) as node:
        assert len(stored(node.index, tmp_path / "target")) == 4
    assert len(content(tmp_path / "target")) == 4


def test_what_is_there_is_not_copied_again(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    target = tmp_path / "target"
    back_up(index, options, target)
    put_in(index, options, *save_all(tmp_path / "c", [member("1.2", "2", 1)]))
    os.utime(target / "studies" / "1.3" / "1.3.1" / "1.3.1.1.dcm")  # it was touched: it may be another
    assert counts(back_up(index, options, target)) == {Outcome.SAME: 4, Outcome.COPIED: 2}
    assert content(target) == stored(index, options.data)


def test_what_is_stored_meanwhile_is_in_the_next_one(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    target = tmp_path / "target"
    before = stored(index, options.data)
    steps = Backup(index, options.data, target).steps()
    first = next(steps)
    put_in(index, options, *save_all(tmp_path / "c", [member("1.2", "2", 1)]))
    assert first.outcome is Outcome.COPIED
    assert counts([first, *steps]) == {Outcome.COPIED: 5}
    assert content(target) == before


def test_what_is_deleted_meanwhile_is_not_in_it(
    index: Index, options: NodeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH", 1)
    monkeypatch.setattr(module, "_RECENT", 0)
    steps = Backup(index, options.data, tmp_path / "target").steps()
    first = next(steps)
    with index.writing() as connection:
        for path in remove_study(connection, "1.3"):
            (options.data / path).unlink()
    assert counts([first, *steps]) == {Outcome.COPIED: 3}
    assert set(content(tmp_path / "target")) == {"1.2.1.1", "1.2.1.2"}


def test_what_is_deleted_later_is_moved_away(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    target = tmp_path / "target"
    back_up(index, options, target)
    with index.writing() as connection:
        remove_study(connection, "1.2")
    assert counts(back_up(index, options, target)) == {Outcome.SAME: 2, Outcome.REMOVED: 3}
    assert set(content(target)) == {"1.3.1.1", "1.3.1.2"}
    assert len([*(target / "removed").rglob("*.dcm")]) == 3


def test_files_that_were_adopted_where_they_are(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    paths = save_all(tmp_path / "c", [member("1.2", "2", 1), member("1.2", "1", 2, Rows=9)])
    put_in(index, options, *paths, in_place=True)
    back_up(index, options, tmp_path / "target")
    for path in paths:
        path.unlink()
    assert set(content(tmp_path / "target")) == {"1.2.1.1", "1.2.1.2", "1.2.2.1", "1.3.1.1", "1.3.1.2"}
    assert len([*(tmp_path / "target" / "set-aside").iterdir()]) == 2


def test_what_is_lost_or_damaged_is_told_and_replaces_nothing(
    index: Index, options: NodeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RECENT", 0)
    target, before = tmp_path / "target", stored(index, options.data)
    back_up(index, options, target)
    lost, damaged = (options.data / "studies" / "1.3" / "1.3.1" / f"1.3.1.{number}.dcm" for number in (1, 2))
    lost.unlink()
    damaged.write_bytes(before["1.3.1.2"][:-1] + b"?")
    assert counts(back_up(index, options, target)) == {Outcome.SAME: 3, Outcome.MISSING: 1, Outcome.DAMAGED: 1}
    assert content(target) == before
    assert counts(back_up(index, options, tmp_path / "other"))[Outcome.DAMAGED] == 1
    copy = tmp_path / "other" / "studies" / "1.3" / "1.3.1" / "1.3.1.2.dcm"
    assert copy.read_bytes() == damaged.read_bytes()  # better than nothing
    assert counts(back_up(index, options, tmp_path / "other"))[Outcome.DAMAGED] == 1, "it is told each time"


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: path.symlink_to(path)])
def test_a_file_that_cannot_be_read_keeps_no_other_one(
    make: Callable[[Path], None], index: Index, options: NodeOptions, tmp_path: Path
) -> None:
    unreadable = options.data / "studies" / "1.2" / "1.2.1" / "1.2.1.1.dcm"
    unreadable.unlink()
    make(unreadable)
    for outcome in (Outcome.COPIED, Outcome.SAME):
        assert counts(back_up(index, options, tmp_path / "target")) == {outcome: 4, Outcome.DAMAGED: 1}


def test_a_file_that_is_gone_when_it_is_opened(
    index: Index, options: NodeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its study is deleted just then."""
    look = module._when_there

    def delete(path: Path, received_at: float) -> os.stat_result:
        found = look(path, received_at)
        if path.name == "1.3.1.2.dcm":
            with index.writing() as connection:
                remove_study(connection, "1.3")
            path.unlink()
        return found

    monkeypatch.setattr(module, "_when_there", delete)
    assert counts(back_up(index, options, tmp_path / "target")) == {Outcome.COPIED: 4}


def test_what_was_set_aside_and_is_deleted_meanwhile_is_not_in_it(
    index: Index, options: NodeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH", 1)
    monkeypatch.setattr(module, "_RECENT", 0)
    steps = Backup(index, options.data, tmp_path / "target").steps()
    first = [next(steps) for _ in range(4)]
    with index.writing() as connection:
        for path in remove_study(connection, "1.2"):
            (options.data / path).unlink()
    assert counts([*first, *steps]) == {Outcome.COPIED: 4}
    assert len(content(tmp_path / "target")) == 4


def test_other_content_in_the_same_place_moves_the_former_away(
    index: Index, options: NodeOptions, tmp_path: Path
) -> None:
    """A study is deleted, and sent again with other content, twice: nothing of the backup is overwritten."""
    target = tmp_path / "target"
    contents = set[bytes]()
    for rows in (None, 8, 9):
        if rows is not None:
            with index.writing() as connection:
                for path in remove_study(connection, "1.3"):
                    (options.data / path).unlink()
            put_in(index, options, *save_all(tmp_path / "c", [member("1.3", "1", 1, Rows=rows)]))
        back_up(index, options, target)
        contents.add((options.data / "studies" / "1.3" / "1.3.1" / "1.3.1.1.dcm").read_bytes())
    assert content(target) == stored(index, options.data)
    assert contents <= {path.read_bytes() for path in target.rglob("1.3.1.1*.dcm")}
    assert len(contents) == 3


def test_what_was_moved_away_before_is_not_overwritten(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    target = tmp_path / "target"
    contents = []
    for rows in (8, 9):
        put_in(index, options, *save_all(tmp_path / "c", [member("1.9", "1", 1, Rows=rows)]))
        contents.append((options.data / "studies" / "1.9" / "1.9.1" / "1.9.1.1.dcm").read_bytes())
        back_up(index, options, target)
        with index.writing() as connection:
            for path in remove_study(connection, "1.9"):
                (options.data / path).unlink()
        back_up(index, options, target)
    assert sorted(path.read_bytes() for path in (target / "removed").rglob("*.dcm")) == sorted(contents)


def test_a_damaged_index_is_told(tmp_path: Path, sqlite_index: Index) -> None:
    options = NodeOptions(data=tmp_path / "data")
    put_in(sqlite_index, options, *save_all(tmp_path / "a", [member("1.2", "1", number) for number in range(50)]))
    sqlite_index.close()
    with sqlite3.connect(tmp_path / "index.sqlite") as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'instance'").fetchone()
    connection.close()
    with (tmp_path / "index.sqlite").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"x" * 4096)
    damaged = Index.at(tmp_path / "index.sqlite")
    with pytest.raises(OSError, match="the index cannot be copied: database disk image is malformed"):
        back_up(damaged, options, tmp_path / "target")
    damaged.close()


def test_an_interrupted_backup_leaves_the_one_before(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    target, before = tmp_path / "target", stored(index, options.data)
    back_up(index, options, target)
    put_in(index, options, *save_all(tmp_path / "c", [member("1.2", "2", 1)]))
    steps = Backup(index, options.data, target).steps()
    next(steps)
    steps.close()
    found = Index.at(target / "index.sqlite")
    assert stored(found, target) == before
    found.close()
    back_up(index, options, target)
    assert content(target) == stored(index, options.data)


def test_the_log_of_the_index_before_is_not_taken_for_that_of_the_new_one(
    index: Index, options: NodeOptions, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    back_up(index, options, target)
    with sqlite3.connect(target / "index.sqlite") as held:  # as a node leaves it that is killed
        held.execute("PRAGMA wal_autocheckpoint=0")
        held.execute("DELETE FROM instance")
        held.commit()
        content_of_log = (target / "index.sqlite-wal").read_bytes()
    held.close()
    (target / "index.sqlite-wal").write_bytes(content_of_log)
    back_up(index, options, target)
    assert content(target) == stored(index, options.data)


def test_a_folder_that_cannot_be_used(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    for target in (options.data, options.data / "x", options.data.parent):
        with pytest.raises(ValueError, match="must be outside of the data folder"):
            Backup(index, options.data, target)
    Index.at(tmp_path / "other" / "index.sqlite").close()
    (tmp_path / "with an index elsewhere" / "studies").mkdir(parents=True)
    for name in ("other", "with an index elsewhere"):
        with pytest.raises(ValueError, match="must not be an archive that is not a backup"):
            Backup(index, options.data, tmp_path / name)
    with served(tmp_path / "target"), pytest.raises(OSError, match="another node serves"):
        back_up(index, options, tmp_path / "target")
