"""The database of the index, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import OperationalError

from dimse.node.events import EventKind, record, since
from dimse.node.index import UNAVAILABLE, Index, try_to_write
from dimse.node.schema import event


def _record(connection: Connection) -> None:
    record(connection, EventKind.STUDY_CREATED, study_uid="1.2.3", detail={"why": "a test"})


async def test_what_is_written_is_read(index: Index) -> None:
    await index.write(_record)
    (found,) = await index.read(lambda connection: since(connection, 0))
    assert (found.kind, found.study_uid, found.detail) == (EventKind.STUDY_CREATED, "1.2.3", {"why": "a test"})


async def test_of_work_that_raises_nothing_is_kept(index: Index) -> None:
    def work(connection: Connection) -> None:
        _record(connection)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await index.write(work)
    assert await index.read(lambda connection: connection.execute(select(event)).all()) == []


async def test_after_a_commit_that_fails_others_can_write(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise OperationalError("COMMIT", None, Exception("disk I/O error"))

    with monkeypatch.context() as patch:
        patch.setattr(index.engine.dialect, "do_commit", fail)
        with pytest.raises(OperationalError):
            await index.write(_record)
    other = Index(index.engine.url.render_as_string(hide_password=False))
    await other.write(_record)
    await index.write(_record)
    assert len(await other.read(lambda connection: since(connection, 0))) == 2
    other.close()


async def test_what_is_read_in_a_block_is_of_one_moment(index: Index) -> None:
    with index.reading() as connection:
        assert since(connection, 0) == []
        await index.write(_record)
        assert since(connection, 0) == []
    with index.reading() as connection:
        assert len(since(connection, 0)) == 1


async def test_work_that_has_begun_goes_on_without_its_caller(index: Index) -> None:
    await _cancel(index)


def test_the_same_on_uvloop(index: Index) -> None:
    uvloop = pytest.importorskip("uvloop")  # there is none for Windows
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_cancel(index))


async def _cancel(index: Index) -> None:
    """Cancel a caller whose work has begun, and one whose work waits."""
    begun, may_end = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work(connection: Connection) -> None:
        _record(connection)
        loop.call_soon_threadsafe(begun.set)
        may_end.wait()

    tasks = [asyncio.ensure_future(index.write(work)), asyncio.ensure_future(index.write(_record))]
    await begun.wait()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)
    may_end.set()
    await index.write(_record)
    assert len(await index.read(lambda connection: since(connection, 0))) == 2
    assert await index.read(lambda connection: connection.execute(select(1)).scalar()) == 1


TEN_MILLION = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 10000000) SELECT max(x) FROM n"
A_MINUTE = "DO $$ BEGIN RAISE NOTICE 'begun'; PERFORM pg_sleep(60); END $$"
"""What takes long, and tells when it has begun."""


async def test_a_statement_whose_caller_is_cancelled_ends(index: Index) -> None:
    """A reader is free for others at once, and its connection is as good as before."""
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    ends: asyncio.Queue[str] = asyncio.Queue()

    def say_begun(*_: object) -> None:
        loop.call_soon_threadsafe(begun.set)

    def work(connection: Connection) -> None:
        raw: Any = connection.connection.driver_connection
        if index.is_sqlite:
            raw.set_progress_handler(say_begun, 100_000)
        else:
            raw.add_notice_handler(say_begun)
        how = "at its end"
        try:
            connection.execute(text(TEN_MILLION if index.is_sqlite else A_MINUTE))
        except OperationalError as error:
            how = str(error.orig)
        finally:
            if index.is_sqlite:
                raw.set_progress_handler(None, 0)
            else:
                raw.remove_notice_handler(say_begun)
            connection.rollback()
            loop.call_soon_threadsafe(ends.put_nowait, how)
        assert connection.scalar(select(1)) == 1

    task = asyncio.ensure_future(index.read(work))
    await begun.wait()
    task.cancel()
    assert "interrupted" in (how := await ends.get()) or "user request" in how
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await index.read(lambda connection: connection.scalar(select(1))) == 1


async def test_a_statement_that_cannot_be_ended_is_left(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The server takes no other connection, for example."""
    index, begun, may_end = Index(postgresql_url), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def fail(_: object, *, timeout: float) -> None:
        may_end.set()
        raise psycopg.OperationalError("connection failed")

    def work(connection: Connection) -> None:
        loop.call_soon_threadsafe(begun.set)
        may_end.wait()
        connection.scalar(select(1))

    monkeypatch.setattr(psycopg.Connection, "cancel_safe", fail)
    task = asyncio.ensure_future(index.read(work))
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    await asyncio.to_thread(index.close)
    assert "goes on" in caplog.text


async def test_another_process_that_writes_too_long(index_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dimse.node.index.BUSY", 0.1)
    index, other = Index(index_url), Index(index_url)
    with other.writing() as connection:
        if not other.is_sqlite:
            connection.execute(text("LOCK TABLE event"))
        with pytest.raises(OperationalError, match="lock"):
            await index.write(_record)
    await index.write(_record)
    index.close()
    other.close()


async def test_a_server_that_was_restarted(postgresql_url: str) -> None:
    """The connections of before are gone, both those that wait and those in a transaction."""
    index = Index(postgresql_url)
    me = text("SELECT pg_backend_pid()")
    pids = [await run(lambda connection: connection.execute(me).scalar()) for run in (index.read, index.write)]

    def end_itself(connection: Connection) -> None:
        _record(connection)
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with psycopg.connect(postgresql_url) as connection:
        for pid in pids:
            connection.execute("SELECT pg_terminate_backend(%s)", [pid])
    assert await index.read(lambda connection: connection.execute(me).scalar()) not in pids
    with pytest.raises(OperationalError):
        await index.write(end_itself)
    await index.write(_record)
    assert len(await index.read(lambda connection: since(connection, 0))) == 1
    index.close()


async def test_an_index_that_is_closed(index: Index) -> None:
    index.close()
    for use in (index.read, index.write):
        with pytest.raises(RuntimeError, match="the index is closed"):
            await use(_record)
    for block in (index.reading, index.writing):
        with pytest.raises(RuntimeError, match="the index is closed"), block():
            pass


async def test_what_is_there_is_found_again(index_url: str) -> None:
    for _ in range(2):
        index = Index(index_url)
        await index.write(_record)
        index.close()
    index = Index(index_url)
    assert len(await index.read(lambda connection: since(connection, 0))) == 2
    index.close()


@pytest.mark.parametrize("fsync", [True, False])
def test_a_commit_waits_for_the_disk_if_it_is_to(index_url: str, fsync: bool) -> None:
    index = Index(index_url, fsync=fsync)
    for block in (index.reading(), index.writing()):
        with block as connection:
            how = connection.exec_driver_sql("PRAGMA synchronous" if index.is_sqlite else "SHOW synchronous_commit")
            assert how.scalar_one() in ((2, "on") if fsync else (1, "off"))
    index.close()


async def test_nothing_is_committed_to_a_file_that_was_removed_or_replaced(tmp_path: Path) -> None:
    """The system keeps a file that is open, so that it could be written as before, for nobody."""
    path = tmp_path / "index.sqlite"
    index = Index.at(path)
    for has_another in (False, True):
        kept = path.rename(tmp_path / "kept.sqlite")
        if has_another:
            path.write_bytes(b"")
        with pytest.raises(OperationalError, match="removed or replaced"):
            await index.write(_record)
        with pytest.raises(OperationalError, match="removed or replaced"), index.writing() as connection:
            _record(connection)
        kept.replace(path)
    assert await index.read(lambda connection: since(connection, 0)) == []
    await index.write(_record)
    index.close()


async def test_a_database_that_only_reads_cannot_be_written(postgresql_url: str) -> None:
    index = Index(postgresql_url)
    await index.write(try_to_write)
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute("ALTER ROLE postgres SET default_transaction_read_only = on")
        try:
            index.engine.dispose()
            with pytest.raises(UNAVAILABLE, match="read-only"):
                await index.write(try_to_write)
        finally:
            connection.execute("ALTER ROLE postgres RESET default_transaction_read_only")
    index.engine.dispose()
    await index.write(try_to_write)
    index.close()
