"""A server that stores what it receives, and peers that send to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from sqlalchemy import select
from tests.services.test_store_scp import files_under

import dimse
from dimse import CStoreSCU, RetryPolicy, Server, ServerOptions, Status, StatusError
from dimse.node.events import EventKind
from dimse.node.index import Index
from dimse.node.ingest import Ingest
from dimse.node.options import NodeOptions, StorageOptions
from dimse.node.schema import event, instance, series, set_aside, study


@dataclass
class Archive:
    """What stores, and what it has stored."""

    ingest: Ingest
    index: Index
    data: Path
    server: Server

    @property
    def address(self) -> str:
        """Its address for peers."""
        return f"ARCHIVE@127.0.0.1:{self.server.port}"

    @property
    def files(self) -> list[str]:
        """All files of instances, by their paths in the data folder."""
        return files_of(self.data)

    async def send(self, *datasets: Dataset) -> list[Status]:
        """Send instances on one association; the statuses."""
        async with dimse.connect(self.address, contexts=_contexts(datasets)) as association:
            return [await status_of(association, each) for each in datasets]

    async def send_at_once(self, *datasets: Dataset) -> list[Status]:
        """Send each instance on an association of its own, all at the same time; the statuses."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.send(each)) for each in datasets]
        return [status for task in tasks for status in task.result()]


def _contexts(datasets: Sequence[Dataset]) -> list[tuple[str, list[str]]]:
    return [(uid, [ExplicitVRLittleEndian]) for uid in sorted({str(each.SOPClassUID) for each in datasets})]


async def status_of(association: dimse.Association, dataset: Dataset) -> Status:
    """The status by which one instance is answered."""
    try:
        return (await CStoreSCU(association, retry=RetryPolicy(retries=0)).send(dataset)).status
    except StatusError as error:
        return error.status.with_comment(error.comment)


def files_of(data: Path) -> list[str]:
    """All files of instances in a data folder; those that wait for one in `incoming/` are empty."""
    return [name for name in files_under(data) if name.endswith(".dcm") and (data / name).stat().st_size]


@asynccontextmanager
async def storing(index: Index, data: Path, **options: Any) -> AsyncIterator[Archive]:
    """A server that stores in `data`, with `options` of `StorageOptions`."""
    made = NodeOptions(data=data, storage=StorageOptions(**{"fsync": False, "minimum_free": 0, **options}))
    async with Ingest(index, made) as ingest:
        server = Server(
            "ARCHIVE",
            port=0,
            options=ServerOptions(
                maximum_connections_per_second=None,
                maximum_associations_per_host=None,
                maximum_associations_per_title=None,
            ),
        )
        server.on_c_store(ingest.store)
        async with server:
            yield Archive(ingest, index, data, server)


def stored(index: Index) -> dict[str, tuple[int, bytes]]:
    """The length and digest of each instance in the index, by its usual place."""
    rows = select(study.c.uid, series.c.uid, instance.c.uid, instance.c.bytes, instance.c.digest)
    with index.reading() as connection:
        found = connection.execute(rows.select_from(study.join(series).join(instance))).all()
    return {f"studies/{row[0]}/{row[1]}/{row[2]}.dcm": (row[3], row[4]) for row in found}


def aside(index: Index) -> dict[str, bytes]:
    """The digests of what was set aside, by its place."""
    with index.reading() as connection:
        return {row.path: row.digest for row in connection.execute(select(set_aside))}


def events_of(index: Index) -> list[EventKind]:
    """The kinds of all events, oldest first."""
    with index.reading() as connection:
        return [EventKind(kind) for kind in connection.execute(select(event.c.kind).order_by(event.c.id)).scalars()]
