"""Forgetting what is kept for a time."""

from __future__ import annotations

import time
from functools import partial

from sqlalchemy import Connection, insert, select, update

from dimse.node import events, procedure_steps
from dimse.node.events import EventKind, record, since
from dimse.node.forgetting import KIND, PAUSE, Forgetting, defer_forgetting
from dimse.node.index import Index
from dimse.node.jobs import Jobs
from dimse.node.schema import event, job, procedure_step


def _keep(connection: Connection, uid: str, at: float) -> None:
    """An event and a procedure step."""
    record(connection, EventKind.STUDY_CREATED, study_uid=uid)
    connection.execute(update(event).where(event.c.study_uid == uid).values(at=at))
    connection.execute(insert(procedure_step).values(uid=uid, status="COMPLETED", dataset=b"", bytes=0, changed_at=at))


async def test_what_is_old_is_forgotten_now_and_each_hour(index: Index) -> None:
    now = time.time()
    long_ago = now - max(events.KEPT, procedure_steps.KEPT) - 1
    await index.write(partial(_keep, uid="old", at=long_ago))
    await index.write(partial(_keep, uid="new", at=now))
    runner = Jobs(index, {KIND: Forgetting(index)}, clock=lambda: now + 1)
    for _ in range(2):
        await index.write(defer_forgetting)  # at each start
    while await runner.start_due() == 0:
        await runner.until_idle()
    assert [each.id for each in await index.read(lambda c: since(c, 0))] == [2]
    assert await index.read(lambda c: c.scalars(select(procedure_step.c.uid)).all()) == ["new"]
    ((due,),) = await index.read(lambda c: c.execute(select(job.c.not_before)).all())
    assert now + PAUSE - 1 < due < time.time() + PAUSE + 1
