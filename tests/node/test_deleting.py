"""Deleting the files of what the index no longer has."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, text
from sqlalchemy.event import listen

from dimse.node import deleting
from dimse.node.deleting import KIND, FileDeletion
from dimse.node.index import Index
from dimse.node.jobs import MAXIMUM_PAUSE, Jobs, defer
from dimse.node.places import place
from dimse.node.schema import event, instance, job, series, storage, study, uid


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def file(data: Path, path: str) -> Path:
    found = data / path
    found.parent.mkdir(parents=True, exist_ok=True)
    found.write_bytes(b"DICM")
    return found


def files(data: Path) -> list[Path]:
    return [path for path in data.rglob("*") if path.is_file()]


async def delete(index: Index, data: Path, *paths: str) -> None:
    await index.write(lambda c: defer(c, KIND, {"paths": list(paths)}))
    runner = Jobs(index, {KIND: FileDeletion(index, data)})
    while await runner.start_due() == 0:
        await runner.until_idle()
    assert await index.read(lambda c: c.execute(job.select()).all()) == []


async def failures(index: Index) -> list[str]:
    return await index.read(lambda c: [row.detail["problem"] for row in c.execute(event.select())])


async def test_files_and_the_folders_that_become_empty(index: Index, data: Path) -> None:
    gone = [file(data, f"studies/1/2/{number}.dcm") for number in range(3)]
    stays = file(data, "studies/1/3/1.dcm")
    aside = file(data, "set-aside/1.dcm")
    paths = [path.relative_to(data).as_posix() for path in [*gone, aside]]
    for _ in range(2):  # a job may run twice
        await delete(index, data, *paths)
        assert files(data) == [stays]
    assert not gone[0].parent.exists()
    assert (data / "set-aside").is_dir()
    assert await failures(index) == []


async def test_files_that_take_long_are_deleted_in_several_transactions(
    sqlite_index: Index, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deleting, "LONGEST", 0)
    begun: list[object] = []
    listen(sqlite_index.engine, "commit", begun.append)
    for number in range(3):
        file(data, f"studies/1/2/{number}.dcm")
    await delete(sqlite_index, data, *(f"studies/1/2/{number}.dcm" for number in range(3)))
    assert files(data) == []
    assert not (data / "studies" / "1").exists()
    assert len(begun) == 5, "one for each, and those of the row of the job"


@pytest.mark.parametrize("path", ["../outside.dcm", "studies/../../outside.dcm", "/etc/hostname", "."])
async def test_nothing_is_deleted_for_a_path_out_of_the_data_folder(index: Index, data: Path, path: str) -> None:
    outside, inside = file(data, "../outside.dcm"), file(data, "studies/1/2/3.dcm")
    await delete(index, data, "studies/1/2/3.dcm", path)
    assert outside.exists()
    assert inside.exists()
    assert await failures(index) == [f"{path} is not in the data folder"]


async def test_a_file_that_cannot_be_deleted_keeps_no_other_one_and_is_tried_until_it_can(
    index: Index, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deleting, "AT_ONCE", 1)
    stuck = data / "studies" / "1" / "2" / "1.dcm"
    (stuck / "inside").mkdir(parents=True)
    other, now = file(data, "studies/1/2/2.dcm"), time.time()
    paths = ["studies/1/2/1.dcm", "studies/1/2/2.dcm"]
    await index.write(lambda c: defer(c, KIND, {"paths": paths}, not_before=1))
    runner = Jobs(index, {KIND: FileDeletion(index, data)}, clock=lambda: now)
    for _ in range(50):
        while await runner.start_due() == 0:
            await runner.until_idle()
        assert not other.exists()
        now += MAXIMUM_PAUSE
    (stuck / "inside").rmdir()
    stuck.rmdir()
    file(data, paths[0])
    while await runner.start_due() == 0:
        await runner.until_idle()
    assert files(data) == []
    assert await failures(index) == []
    assert await index.read(lambda c: c.execute(job.select()).all()) == []


async def test_what_was_stored_again_stays(index: Index, data: Path) -> None:
    await index.write(_store)
    stored, other = place(data, "1", "2", "3"), place(data, "1", "2", "4")
    for path in (stored, other):
        file(data, path.relative_to(data).as_posix())
    await delete(index, data, *(path.relative_to(data).as_posix() for path in (stored, other)))
    assert stored.exists()
    assert not other.exists()


async def test_what_another_process_is_storing_stays(index: Index, index_url: str, data: Path) -> None:
    other = Index(index_url)
    path = place(data, "1", "2", "3")
    file(data, path.relative_to(data).as_posix())
    with other.writing() as connection:
        _store(connection)
        deleting = asyncio.create_task(delete(index, data, path.relative_to(data).as_posix()))
        if not index.is_sqlite:
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            while not deleting.done() and not await index.read(lambda c: c.execute(waiting).scalar()):
                pass
    await deleting
    assert path.exists()
    other.close()


def _store(connection: Connection) -> None:
    """An instance 3 of series 2 of study 1."""
    connection.execute(insert(uid).values(id=1, uid="1.2"))
    connection.execute(insert(storage).values(id=1, url="."))
    row = {"uid": "1", "created_at": 0, "changed_at": 0, "key_version": 1, "attributes": b""}
    connection.execute(insert(study).values(id=1, **row))
    connection.execute(insert(series).values(id=1, study_id=1, uid="2", attributes=b""))
    numbers = {"uid_hash": 0, "sop_class": 1, "transfer_syntax": 1, "bytes": 4, "offset": 0, "storage": 1}
    connection.execute(insert(instance).values(series_id=1, uid="3", digest=b"", received_at=0, **numbers))


async def test_the_thumbnails_of_a_study_go_with_its_last_file(index: Index, data: Path) -> None:
    for path in (
        "studies/1/2/1.dcm",
        "studies/1/2/2.dcm",
        "studies/3/4/5.dcm",
        "thumbnails/1/a.jpg",
        "thumbnails/3/a.jpg",
    ):
        file(data, path)
    await delete(index, data, "studies/1/2/1.dcm", "studies/3/4/5.dcm")
    assert {path.parent.name for path in files(data)} == {"2", "1"}  # of study 1: its series, and its thumbnails
    await delete(index, data, "studies/1/2/2.dcm")
    assert files(data) == []
