"""Batches of arrivals: all or nothing for the index, and each for itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError
from tests.node.ingesting import files_of, stored
from tests.sample_objects import instance, save

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


def arrival_of(folder: IncomingFolder, tmp_path: Path, uid: str, pixels: int = 400) -> Arrival:
    return examine(save(instance(uid, pixels=pixels), tmp_path / "sent.dcm"), "test", copy=folder.new_path())


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


def _gone(*_: object) -> None:
    raise OperationalError("SELECT", None, Exception("the server is gone"))


def _fail_after_commit(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def commit(connection: object) -> None:
        connection.commit()  # type: ignore[attr-defined]
        _gone()

    monkeypatch.setattr(index.engine.dialect, "do_commit", commit)
