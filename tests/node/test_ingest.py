"""Receiving instances: what Success means, and what is left when there is none."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import AbstractAsyncContextManager
from hashlib import sha256
from pathlib import Path

import pytest
from pydicom import dcmread
from sqlalchemy.exc import OperationalError
from tests.node.ingesting import Archive, aside, events_of, files_of, status_of, stored, storing
from tests.node.instances import dataset
from tests.peers.processes import until
from tests.sample_objects import CT, EXPLICIT, encoded, instance
from tests.services.test_store_scp import peer_of

import dimse
from dimse import Association, Status
from dimse.dataset.part10 import read_file_meta
from dimse.messages.message import C_STORE_RQ
from dimse.node import batches
from dimse.node import index as index_module
from dimse.node.arrival import OnDuplicate
from dimse.node.events import EventKind
from dimse.node.index import Index
from dimse.testing.wire import message_pdvs

PLACE = "studies/1.2.3.1/1.2.3.2/1.2.3.4.dcm"


def connected(archive: Archive) -> AbstractAsyncContextManager[Association]:
    return dimse.connect(archive.address, contexts=[(CT, [EXPLICIT])])


def digest_of(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(read_file_meta(file).length)
        return sha256(file.read()).digest()


def digest_of_dataset(pixels: int) -> bytes:
    return sha256(encoded(instance("1.2.3.4", pixels=pixels))).digest()


async def test_success_means_in_the_index_and_in_its_place(index: Index, tmp_path: Path) -> None:
    sent = [instance("1.2.3.4"), instance("1.2.3.5", pixels=6_000_000), instance("1.2.3.6", pixels=0)]
    async with storing(index, tmp_path, fsync=True) as archive:
        assert await archive.send(*sent) == [Status.SUCCESS] * 3
        assert archive.files == sorted(stored(index))
    for place, (size, digest) in stored(index).items():
        assert (tmp_path / place).stat().st_size == size
        assert digest_of(tmp_path / place) == digest
    assert dcmread(tmp_path / PLACE).PatientID == "SECRETID"
    assert list((tmp_path / "incoming").iterdir()) == [], "its own folder is gone with it"


# Duplicates


async def test_the_same_instance_again_changes_nothing(index: Index, tmp_path: Path) -> None:
    async with storing(index, tmp_path) as archive:
        assert await archive.send(instance(), instance()) == [Status.SUCCESS] * 2
        assert await archive.send(instance()) == [Status.SUCCESS]
        assert archive.files == [PLACE]
    assert list(stored(index)) == [PLACE]
    assert events_of(index) == [EventKind.STUDY_CREATED]


@pytest.mark.parametrize("is_told", [False, True])
async def test_other_content_is_set_aside(index: Index, tmp_path: Path, is_told: bool) -> None:
    async with storing(index, tmp_path, answer_duplicate=is_told) as archive:
        statuses = await archive.send(instance("1.2.3.4", pixels=400), instance("1.2.3.4", pixels=500))
        assert statuses == [Status.SUCCESS, Status.DUPLICATE_SOP_INSTANCE if is_told else Status.SUCCESS]
    assert stored(index)[PLACE][1] == digest_of(tmp_path / PLACE) == digest_of_dataset(400)
    assert [digest_of(tmp_path / path) for path in aside(index)] == [digest_of_dataset(500)]
    assert events_of(index) == [EventKind.STUDY_CREATED, EventKind.DUPLICATE]


async def test_other_content_is_rejected(index: Index, tmp_path: Path) -> None:
    async with storing(index, tmp_path, on_duplicate=OnDuplicate.REJECT) as archive:
        statuses = await archive.send(instance("1.2.3.4", pixels=400), instance("1.2.3.4", pixels=500))
        assert statuses == [Status.SUCCESS, Status.DUPLICATE_SOP_INSTANCE]
        assert archive.files == [PLACE]
    assert digest_of(tmp_path / PLACE) == digest_of_dataset(400)


async def test_other_content_replaces_and_the_old_file_stays_for_its_readers(index: Index, tmp_path: Path) -> None:
    async with storing(index, tmp_path, on_duplicate=OnDuplicate.REPLACE) as archive:
        statuses = await archive.send(instance("1.2.3.4", pixels=400), instance("1.2.3.4", pixels=500))
        assert statuses == [Status.SUCCESS] * 2
        assert sorted(digest_of(tmp_path / file) for file in archive.files) == sorted(
            map(digest_of_dataset, (400, 500))
        )
    assert stored(index)[PLACE][1] == digest_of_dataset(500)


async def test_64_senders_of_one_instance_with_two_contents_leave_one_survivor(index: Index, tmp_path: Path) -> None:
    sent = [instance("1.2.3.4", pixels=400 + 100 * (number % 2)) for number in range(64)]
    async with storing(index, tmp_path) as archive:
        assert await archive.send_at_once(*sent) == [Status.SUCCESS] * 64
        assert len(archive.files) == 2
    survivor, other = stored(index)[PLACE][1], next(iter(aside(index)))
    assert digest_of(tmp_path / PLACE) == survivor
    assert {survivor, digest_of(tmp_path / other)} == {digest_of_dataset(400), digest_of_dataset(500)}


async def test_64_senders_of_a_study_leave_right_counters(index: Index, tmp_path: Path) -> None:
    async with storing(index, tmp_path) as archive:
        statuses = await archive.send_at_once(*(instance(f"1.2.3.{number}") for number in range(64)))
        assert statuses == [Status.SUCCESS] * 64
        assert archive.files == sorted(stored(index))
        assert len(archive.files) == 64


# What is not stored


@pytest.mark.parametrize("missing", ["StudyInstanceUID", "SeriesInstanceUID"])
async def test_an_instance_of_no_study_is_refused(index: Index, tmp_path: Path, missing: str) -> None:
    sent = instance()
    delattr(sent, missing)
    async with storing(index, tmp_path) as archive:
        statuses = await archive.send(sent, instance("1.2.3.5"))
        assert statuses == [Status.DATASET_DOES_NOT_MATCH, Status.SUCCESS]
        assert statuses[0].comment is not None
        assert "is missing" in statuses[0].comment
        assert len(archive.files) == 1


async def test_a_uid_that_would_be_read_as_an_option_is_refused(index: Index, tmp_path: Path) -> None:
    sent = instance()
    sent.update(dataset(StudyInstanceUID="-rf"))
    async with storing(index, tmp_path) as archive:
        assert await archive.send(sent) == [Status.DATASET_DOES_NOT_MATCH]
        assert archive.files == []


async def test_a_sender_that_is_lost_in_the_middle_leaves_nothing(sqlite_index: Index, tmp_path: Path) -> None:
    data = encoded(instance(pixels=300_000))
    async with storing(sqlite_index, tmp_path) as archive:
        async with peer_of(archive.server) as peer:
            *beginning, _ = message_pdvs(_request("1.2.3.4"), data)
            await peer.send(beginning)
            await until(lambda: bool(archive.files))
            assert archive.ingest.arriving == {"1.2.3.1": 1}
        await archive.server.stop()
        assert archive.files == []
        assert archive.ingest.arriving == {}
    assert stored(sqlite_index) == {}


def _request(uid: str) -> C_STORE_RQ:
    return C_STORE_RQ(message_id=1, affected_sop_class_uid=CT, affected_sop_instance_uid=uid)


async def test_a_sender_that_is_lost_while_its_instance_waits_has_stored_it(
    sqlite_index: Index, tmp_path: Path
) -> None:
    writer = threading.Event()
    async with storing(sqlite_index, tmp_path) as archive:
        blocked = asyncio.ensure_future(sqlite_index.in_writer(writer.wait))
        async with peer_of(archive.server) as peer:
            await peer.send(message_pdvs(_request("1.2.3.4"), encoded(instance())))
            await until(lambda: archive.files != [])
        stopped = asyncio.ensure_future(archive.server.stop())
        writer.set()
        await asyncio.gather(blocked, stopped)
    assert files_of(tmp_path) == list(stored(sqlite_index)) == [PLACE]


async def test_too_little_room_is_out_of_resources_until_there_is_room(
    sqlite_index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with storing(sqlite_index, tmp_path, minimum_free=2**60) as archive, connected(archive) as association:
        status = await status_of(association, instance())
        assert (status, status.comment) == (Status.OUT_OF_RESOURCES, "the disk is nearly full")
        assert await archive.ingest.check() == archive.ingest.problem == "the disk is nearly full"
        assert archive.files == []
        monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 2**61}))
        assert await archive.ingest.check() is None, "it recovers by itself"
        assert await status_of(association, instance()) == Status.SUCCESS


async def test_a_locked_index_is_out_of_resources_until_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "BUSY", 0.01)
    index = Index.at(tmp_path / "index.sqlite")
    other = sqlite3.connect(tmp_path / "index.sqlite", isolation_level=None)
    async with storing(index, tmp_path) as archive, connected(archive) as association:
        other.execute("BEGIN IMMEDIATE")
        status = await status_of(association, instance())
        assert (status, status.comment) == (Status.OUT_OF_RESOURCES, "the index cannot be written")
        assert await archive.ingest.check() == "the index cannot be written: database is locked"
        assert archive.files == []
        other.execute("ROLLBACK")
        assert await archive.ingest.check() is None
        assert await status_of(association, instance()) == Status.SUCCESS
        assert archive.files == list(stored(index)) == [PLACE]
    other.close()
    index.close()


async def test_an_index_that_fails_in_the_middle_leaves_nothing(index: Index, tmp_path: Path) -> None:
    """Its connection is lost, or a table is; the association lives, and the next instance is stored."""
    async with storing(index, tmp_path) as archive, connected(archive) as association:
        await index.write(lambda each: each.exec_driver_sql("ALTER TABLE instance RENAME TO gone"))
        status = await status_of(association, instance())
        assert (status, status.comment) == (Status.OUT_OF_RESOURCES, "the index cannot be written")
        assert archive.files == []
        await index.write(lambda each: each.exec_driver_sql("ALTER TABLE gone RENAME TO instance"))
        assert await status_of(association, instance()) == Status.SUCCESS
        assert archive.ingest.problem is None
        assert archive.files == list(stored(index)) == [PLACE]


async def test_a_commit_of_which_nothing_is_known_is_out_of_resources(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a server that is lost at the commit; the files of the batch stay for the next start."""

    def lost(*_: object) -> None:
        raise OperationalError("COMMIT", None, Exception("the server is gone"))

    writer = threading.Event()
    async with storing(index, tmp_path) as archive:
        blocked = asyncio.ensure_future(index.in_writer(writer.wait))
        sending = asyncio.ensure_future(archive.send_at_once(*(instance(f"1.2.3.{number}") for number in range(3))))
        await until(lambda: len(archive.files) == 3)
        with monkeypatch.context() as patch:
            patch.setattr(index.engine.dialect, "do_commit", lost)
            patch.setattr(batches, "stored_path", lost)
            writer.set()
            await blocked
            statuses = await sending
        assert statuses == [Status.OUT_OF_RESOURCES] * 3
        assert statuses[0].comment == "the index cannot be written"
        assert len([name for name in archive.files if name.startswith("incoming/")]) == 3
    async with storing(index, tmp_path) as archive:
        assert archive.files == sorted(stored(index))
        assert len(archive.files) == 3


async def test_one_instance_that_fails_fails_alone(
    sqlite_index: Index, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its folder cannot be made; others of its batch are stored."""
    (tmp_path / "studies" / "1.2.3.99").parent.mkdir()
    (tmp_path / "studies" / "1.2.3.99").write_bytes(b"in the way")
    wrong = instance("1.2.3.5")
    wrong.StudyInstanceUID = "1.2.3.99"
    writer = threading.Event()
    async with storing(sqlite_index, tmp_path) as archive:
        blocked = asyncio.ensure_future(sqlite_index.in_writer(writer.wait))
        sending = asyncio.ensure_future(archive.send_at_once(instance("1.2.3.4"), wrong, instance("1.2.3.6")))
        await until(lambda: len(archive.files) == 3)
        writer.set()
        await blocked
        statuses = await sending
        assert statuses == [Status.SUCCESS, Status.OUT_OF_RESOURCES, Status.SUCCESS]
        assert statuses[1].comment is not None
        assert "studies" not in statuses[1].comment
        assert f"is not stored: {tmp_path / 'studies' / '1.2.3.99'}" in caplog.text
        assert archive.files == sorted(stored(sqlite_index))
        assert len(archive.files) == 2
