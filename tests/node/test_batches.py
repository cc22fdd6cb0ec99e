"""Batches of arrivals: all or nothing for the index, and each for itself."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import PoolProxiedConnection, text
from sqlalchemy.event import listen
from sqlalchemy.exc import OperationalError
from tests.node.ingesting import aside, files_of, stored
from tests.sample_objects import instance, save

from dimse.dataset import folders
from dimse.node import batches as module
from dimse.node.arrival import Arrival, OnDuplicate, Outcome, Placed
from dimse.node.batches import Batches, InDoubt
from dimse.node.examining import examine
from dimse.node.incoming import IncomingFolder
from dimse.node.index import Index


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[IncomingFolder]:
    made = IncomingFolder(tmp_path / "archive")
    yield made
    made.close()


@pytest.fixture
def batches(index: Index, folder: IncomingFolder, tmp_path: Path) -> Batches:
    return Batches(index, tmp_path / "archive", folder, on_duplicate=OnDuplicate.KEEP, fsync=False)


def arrival_of(folder: IncomingFolder, tmp_path: Path, uid: str, pixels: int = 400, study: str = "1.2.3.1") -> Arrival:
    sent = instance(uid, pixels=pixels)
    sent.StudyInstanceUID = study
    return examine(save(sent, tmp_path / "sent.dcm"), "test", copy=folder.new_path())


def outcomes(results: list[Placed | Exception]) -> list[object]:
    return [result.outcome if isinstance(result, Placed) else result for result in results]


def test_each_arrival_has_its_outcome(index: Index, batches: Batches, folder: IncomingFolder, tmp_path: Path) -> None:
    arrivals = [arrival_of(folder, tmp_path, *each) for each in (("1.1",), ("1.2",), ("1.1",), ("1.1", 500))]
    assert outcomes(batches.place(arrivals)) == [Outcome.NEW, Outcome.NEW, Outcome.SAME, Outcome.SET_ASIDE]
    assert files_of(tmp_path / "archive")[1:] == sorted(stored(index))
    assert batches.place([]) == []


def test_a_file_that_is_adopted_in_place_stays(index: Index, batches: Batches, tmp_path: Path) -> None:
    file = save(instance("1.1"), tmp_path / "sent.dcm")
    assert outcomes(batches.place([examine(file, "test")])) == [Outcome.NEW]
    assert outcomes(batches.place([examine(file, "test")])) == [Outcome.SAME]
    assert file.exists()
    assert files_of(tmp_path / "archive") == []


def test_a_commit_that_is_said_to_fail_but_has_not_failed(
    index: Index, batches: Batches, folder: IncomingFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a server that is gone before it has answered."""
    _fail_after_commit(index, monkeypatch)
    assert outcomes(batches.place([arrival_of(folder, tmp_path, "1.1")])) == [Outcome.NEW]
    assert files_of(tmp_path / "archive") == list(stored(index))


def test_a_commit_of_which_nothing_is_known_leaves_the_file_for_the_next_start(
    index: Index, batches: Batches, folder: IncomingFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fail_after_commit(index, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(module, "stored_path", _gone)
        (result,) = batches.place([arrival_of(folder, tmp_path, "1.1")])
    assert isinstance(result, InDoubt)
    left, place = files_of(tmp_path / "archive")
    assert left.startswith("incoming/")
    assert [place] == list(stored(index))
    (tmp_path / "archive" / left).unlink()


def test_names_that_are_not_on_the_disk_are_of_no_stored_instance(
    index: Index, folder: IncomingFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = Batches(index, tmp_path / "archive", folder, on_duplicate=OnDuplicate.KEEP, fsync=True)
    arrivals = [arrival_of(folder, tmp_path, uid) for uid in ("1.1", "1.2")]
    with monkeypatch.context() as patch:
        patch.setattr(folders, "sync_path", _broken)
        results = batches.place(arrivals)
    assert [type(each) for each in results] == [OSError, OSError]
    assert files_of(tmp_path / "archive") == list(stored(index)) == []


def test_what_was_there_before_does_not_tell_that_others_are_committed(
    index: Index, batches: Batches, folder: IncomingFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches.place([arrival_of(folder, tmp_path, "1.1")])
    (place,) = files_of(tmp_path / "archive")
    (tmp_path / "archive" / place).unlink()
    arrivals = [arrival_of(folder, tmp_path, uid) for uid in ("1.1", "1.2")]
    with monkeypatch.context() as patch:
        patch.setattr(index.engine.dialect, "do_commit", _gone)
        results = batches.place(arrivals)
    assert [type(each) for each in results] == [OperationalError, OperationalError]
    assert list(stored(index)) == [place]


def test_one_that_was_set_aside_again_does_not_tell_so_either(
    index: Index, batches: Batches, folder: IncomingFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches.place([arrival_of(folder, tmp_path, "1.1"), arrival_of(folder, tmp_path, "1.1", 500)])
    (path,) = aside(index)
    (tmp_path / "archive" / path).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(index.engine.dialect, "do_commit", _gone)
        (result,) = batches.place([arrival_of(folder, tmp_path, "1.1", 500)])
    assert isinstance(result, OperationalError)
    assert files_of(tmp_path / "archive") == list(stored(index))
    batches.place([arrival_of(folder, tmp_path, "1.1", 500)])
    assert files_of(tmp_path / "archive") == sorted([*aside(index), *stored(index)])


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_batch_that_is_ended_for_another_transaction_is_tried_again(
    index: Index, index_url: str, batches: Batches, folder: IncomingFolder, tmp_path: Path
) -> None:
    """The batch locks its studies in order, and another transaction does not: a deadlock, which the batch loses."""
    arrivals = [arrival_of(folder, tmp_path, f"1.{number}", study=f"1.{number}") for number in range(3)]
    batches.place(arrivals)
    again = [arrival_of(folder, tmp_path, f"2.{number}", study=f"1.{number}") for number in range(3)]
    listen(index.engine, "checkout", _look_for_deadlocks_soon)
    lock = text("SELECT id FROM study WHERE uid = :uid FOR UPDATE")
    first, second = Index(index_url), Index(index_url)
    with ThreadPoolExecutor(2) as threads, first.writing() as one:
        one.execute(text("SET LOCAL deadlock_timeout = '1min'"))
        one.execute(lock, {"uid": "1.2"})
        with second.writing() as two:
            two.execute(lock, {"uid": "1.1"})
            placing = threads.submit(batches.place, again)  # it has 1.0, and waits for 1.1
            _until_waiting(first, 1)
            other = threads.submit(one.execute, lock, {"uid": "1.0"})
            _until_waiting(second, 2)
        other.result()  # the batch has 1.1, waits for 1.2, and is ended
    assert outcomes(placing.result()) == [Outcome.NEW] * 3
    assert files_of(tmp_path / "archive") == sorted(stored(index))
    first.close()
    second.close()


def _look_for_deadlocks_soon(connection: Any, *_: object) -> None:
    connection.execute("SET deadlock_timeout = '1ms'")
    connection.commit()


def _until_waiting(index: Index, count: int) -> None:
    """Wait until so many transactions wait for others."""
    waiting = 0
    while waiting != count:
        with index.reading() as connection:
            waiting = connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted"))


def test_the_names_are_undone_while_nobody_else_can_write(
    index: Index, batches: Batches, folder: IncomingFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrivals = [arrival_of(folder, tmp_path, uid) for uid in ("1.1", "1.2")]
    left, rollback = [], index.engine.dialect.do_rollback

    def roll_back(connection: PoolProxiedConnection) -> None:
        left.append([name for name in files_of(tmp_path / "archive") if not name.startswith("incoming/")])
        rollback(connection)

    monkeypatch.setattr(index.engine.dialect, "do_rollback", roll_back)
    Path(arrivals[1].path).unlink()
    results = batches.place(arrivals)
    assert [type(each) for each in results] == [Placed, FileNotFoundError]
    assert left
    assert not any(left[:1])


def _broken(_: str) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def _gone(*_: object) -> None:
    raise OperationalError("SELECT", None, Exception("the server is gone"))


def _fail_after_commit(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def commit(connection: object) -> None:
        connection.commit()  # type: ignore[attr-defined]
        _gone()

    monkeypatch.setattr(index.engine.dialect, "do_commit", commit)
