"""The database of the index, on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, select

from dimse.node.events import EventKind, record, since
from dimse.node.index import Index
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


async def test_what_is_there_is_found_again(index_url: str) -> None:
    for _ in range(2):
        index = Index(index_url)
        await index.write(_record)
        index.close()
    index = Index(index_url)
    assert len(await index.read(lambda connection: since(connection, 0))) == 2
    index.close()
