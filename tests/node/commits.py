"""Waiting for what a node writes into its index."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, event, select

from dimse.node.events import Event, EventKind, since
from dimse.node.index import Index
from dimse.node.schema import job
from dimse.node.webhooks import COMMAND, WEBHOOK

T = TypeVar("T")


async def until(index: Index, look: Callable[[Connection], T]) -> T:
    """What `look` finds when it finds something: now, or after a transaction of this process."""
    loop, committing = asyncio.get_running_loop(), asyncio.Event()

    def note(_: Connection) -> None:
        loop.call_soon_threadsafe(committing.set)

    def read() -> T:
        with index.reading() as connection:
            return look(connection)

    event.listen(index.engine, "commit", note)
    try:
        while True:
            committing.clear()
            found = await index.in_writer(read)  # where the transaction is then over
            if found:
                return found
            await committing.wait()
    finally:
        event.remove(index.engine, "commit", note)


def settled(connection: Connection) -> list[Event]:
    """The events of studies that were settled."""
    return [each for each in since(connection, 0) if each.kind is EventKind.STUDY_SETTLED]


def all_told(connection: Connection) -> bool:
    """Whether webhooks and commands have been told of all events."""
    return connection.execute(select(job.c.id).where(job.c.kind.in_((WEBHOOK, COMMAND)))).first() is None
