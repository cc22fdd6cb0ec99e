"""What a crash left undone is done by the next start: kill -9 at each step of storing an instance."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from tests.node.ingesting import files_of, stored, storing
from tests.sample_objects import instance, save

from dimse.node import index as index_module
from dimse.node import recovering, schema
from dimse.node.arrival import Arrival, OnDuplicate
from dimse.node.batches import Batches
from dimse.node.examining import examine
from dimse.node.incoming import IncomingFolder
from dimse.node.index import Index
from dimse.node.places import place as place_of
from dimse.node.placing import place
from dimse.node.recovering import recover
from dimse.node.removing import remove_study
from dimse.node.shared_texts import SharedTexts

PLACE = "studies/1.2.3.1/1.2.3.2/1.2.3.4.dcm"

KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from dimse.node import batches, incoming, naming
from dimse.node.index import Index
from tests.node.ingesting import storing
from tests.sample_objects import instance

def kill(*_, **named):
    os.kill(os.getpid(), signal.SIGKILL)

def after(owner, name):
    real = getattr(owner, name)
    def call(*arguments, **named):
        real(*arguments, **named)
        kill()
    setattr(owner, name, call)

step, url, data = sys.argv[1:]
if step == "half of the file":
    after(incoming.IncomingFile, "_write")
elif step == "the file":
    batches.place = kill
elif step == "its name, before the commit":
    after(naming.Names, "give")
elif step == "the commit":
    naming.Names.keep = kill

async def main():
    index = Index(url)
    async with storing(index, Path(data), fsync=True) as archive:
        await archive.send(instance("1.2.3.4", pixels=2_000_000))

asyncio.run(main())
"""


def kill_after(step: str, url: str, data: Path) -> None:
    command = [sys.executable, "-c", KILLED, step, url, str(data)]
    ended = subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # noqa: S603
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("step", "is_left"),
    [
        ("half of the file", False),
        ("the file", True),
        ("its name, before the commit", True),
        ("the commit", True),
    ],
)
async def test_a_kill(index_url: str, tmp_path: Path, step: str, is_left: bool) -> None:
    kill_after(step, index_url, tmp_path)
    index = Index(index_url)
    async with storing(index, tmp_path) as archive:
        assert archive.files == list(stored(index)) == [PLACE] * is_left
        assert await archive.send(instance("1.2.3.4", pixels=2_000_000)) == [0]
        assert archive.files == list(stored(index)) == [PLACE]
    assert list((tmp_path / "incoming").iterdir()) == []
    index.close()


async def test_a_name_that_a_power_cut_took_is_given_again(index: Index, tmp_path: Path) -> None:
    async with storing(index, tmp_path) as archive:
        await archive.send(instance("1.2.3.4"))
    lost = IncomingFolder(tmp_path)
    (tmp_path / PLACE).rename(lost.new_path())
    lost.close()
    async with storing(index, tmp_path) as archive:
        assert archive.files == list(stored(index)) == [PLACE]


async def test_the_files_of_a_process_that_lives_are_left_alone(index: Index, tmp_path: Path) -> None:
    importing = IncomingFolder(tmp_path)
    file = tmp_path / importing.new_path()
    file.write_bytes(b"half of")
    async with storing(index, tmp_path):
        assert file.exists()
    file.unlink()
    importing.close()


async def test_more_than_a_batch_that_are_left_are_all_stored(
    sqlite_index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovering, "MAXIMUM_BATCH", 5)
    async with storing(sqlite_index, tmp_path / "from") as archive:
        await archive.send(*(instance(f"1.2.3.{number}", pixels=0) for number in range(12)))
    left = IncomingFolder(tmp_path / "to")
    for name in files_of(tmp_path / "from"):
        (tmp_path / "from" / name).rename(left.new_path())
    left.close()
    index = Index.at(tmp_path / "to" / "index.sqlite")
    async with storing(index, tmp_path / "to") as archive:
        assert archive.files == sorted(stored(index))
        assert len(archive.files) == 12
    index.close()


async def test_what_is_left_stays_if_the_index_is_not_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_after("the file", f"sqlite:///{tmp_path / 'index.sqlite'}", tmp_path)
    monkeypatch.setattr(index_module, "BUSY", 0.01)
    index = Index.at(tmp_path / "index.sqlite")
    other = sqlite3.connect(tmp_path / "index.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError, match="locked"):
        async with storing(index, tmp_path):
            pass
    other.close()
    async with storing(index, tmp_path) as archive:
        assert archive.files == list(stored(index)) == [PLACE]
    index.close()


def arrive(data: Path, folder: str, rows: int) -> Arrival:
    """A file in a folder of `incoming/`, of one instance with other content."""
    path = data / "incoming" / folder / "1.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = instance()
    dataset.Rows = rows
    save(dataset, path)
    return replace(examine(path, "CT1"), is_in_place=False)


def test_a_file_that_was_to_be_deleted_is_not_taken_for_one_sent_later(sqlite_index: Index, tmp_path: Path) -> None:
    folder = IncomingFolder(tmp_path)
    batches = Batches(sqlite_index, tmp_path, folder, on_duplicate=OnDuplicate.KEEP, fsync=False)
    batches.place([arrive(tmp_path, "a", 1)])
    about = arrive(tmp_path, "b", 2).description
    with sqlite_index.writing() as connection:
        remove_study(connection, about.study_uid)
    # The power fails after the commit, and the names of files are as they were before
    later = arrive(tmp_path, "b", 2)
    with sqlite_index.writing() as connection:
        place(connection, [later], OnDuplicate.KEEP, SharedTexts())
    recover(sqlite_index, tmp_path, batches)
    assert examine(place_of(tmp_path, about.study_uid, about.series_uid, about.uid), "").digest == later.digest
    folder.close()


def test_the_place_of_a_file_that_is_not_ours_is_not_taken(sqlite_index: Index, tmp_path: Path) -> None:
    data = tmp_path / "data"
    folder = IncomingFolder(data)
    batches = Batches(sqlite_index, data, folder, on_duplicate=OnDuplicate.KEEP, fsync=False)
    (tmp_path / "foreign").mkdir()
    foreign = save(instance(), tmp_path / "foreign" / "1.dcm")
    batches.place([examine(foreign, "import")])
    (data / "incoming" / "a").mkdir()
    foreign.rename(data / "incoming" / "a" / "1.dcm")
    recover(sqlite_index, data, batches)
    with sqlite_index.reading() as connection:
        path = connection.execute(select(schema.instance.c.path)).scalar_one()
    assert files_of(data) == [path]
    folder.close()
