"""The events of an archive: rows that are written in the transaction of what they tell about.

1. Their numbers grow, and none is used twice.
2. The last `MAXIMUM_EVENTS` are kept, for `KEPT` seconds at most.
3. In PostgreSQL an event of another process may be committed after one with a higher number. A reader that follows
   events waits `_GAP` seconds for a number that is missing, so it misses none but those of a longer transaction.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from itertools import takewhile
from typing import Any, Final

from sqlalchemy import JSON, Connection, Double, Text, bindparam, delete, func, insert, select

from dimse.node.index import Index
from dimse.node.schema import event, job, subscription
from dimse.node.statements import Statement

MAXIMUM_EVENTS: Final = 100_000
"""Events that are kept."""

KEPT: Final = 90 * 24 * 3600.0
"""Seconds that events are kept."""

PACE: Final = 1.0
"""Seconds between two looks of a reader that follows events, which other processes may write."""

_GAP: Final = 2.0
"""Seconds that a missing number is waited for."""

_CHUNK: Final = 1000
"""Events that one transaction forgets."""


class EventKind(Enum):
    """What an event tells."""

    STUDY_CREATED = "study-created"
    STUDY_SETTLED = "study-settled"
    """Nothing more is expected of a study; `detail` has the reason and the evidence."""
    STUDY_DELETED = "study-deleted"
    CONFLICT = "conflict"
    """An instance names another patient than the study that it belongs to."""
    DUPLICATE = "duplicate"
    """An instance was stored before, with other content; `detail` says what was done."""
    MISSING = "missing"
    """The file of an instance is missing or damaged; `detail` says what found that."""
    JOB_FAILED = "job-failed"
    """Work for later was given up; `detail` says which, and why."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event."""

    id: int
    at: float
    """Seconds since 1970, UTC."""
    kind: EventKind
    study_uid: str | None
    series_uid: str | None
    instance_uid: str | None
    detail: Mapping[str, Any]
    """More, without data of patients."""


_INSERT: Final = Statement(
    insert(event).returning(event.c.id), ("at", "kind", "study_uid", "series_uid", "instance_uid", "detail")
)
_TELL: Final = Statement(
    insert(job).from_select(
        ["kind", "payload", "queue", "event_id", "not_before"],
        select(
            subscription.c.job_kind,
            bindparam("payload", type_=JSON()),
            subscription.c.queue,
            bindparam("number", type_=job.c.event_id.type),
            bindparam("at", type_=Double()),
        ).where(subscription.c.event_kind == bindparam("kind", type_=Text())),
    )
)


def record(
    connection: Connection,
    kind: EventKind,
    *,
    study_uid: str | None = None,
    series_uid: str | None = None,
    instance_uid: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write an event, and the jobs of those that want to be told of it, in the transaction of `connection`."""
    now = time.time()
    about = {"study_uid": study_uid, "series_uid": series_uid, "instance_uid": instance_uid}
    rows = _INSERT.rows(connection, at=now, kind=kind.value, detail=json.dumps(dict(detail or {})), **about)
    _TELL.run(connection, [{"kind": kind.value, "number": rows[0][0], "at": now, "payload": "{}"}])


def since(connection: Connection, last: int, most: int = 500) -> Sequence[Event]:
    """The events after number `last`, oldest first, at most `most`."""
    rows = connection.execute(select(event).where(event.c.id > last).order_by(event.c.id).limit(most))
    return [_event(row) for row in rows]


def by_id(connection: Connection, number: int) -> Event | None:
    """The event with a number; None if it is no longer kept."""
    row = connection.execute(select(event).where(event.c.id == number)).first()
    return None if row is None else _event(row)


def before_latest(connection: Connection, most: int) -> int:
    """The number after which there are `most` events, or fewer."""
    numbers = select(event.c.id).order_by(event.c.id.desc()).offset(most).limit(1)
    return connection.scalar(numbers) or 0


async def follow(index: Index, last: int) -> AsyncGenerator[Event, None]:
    """The events after number `last`, also those that are yet to come; it ends when it is closed.

    Raises `sqlalchemy.exc.SQLAlchemyError` if the index cannot be read.
    """
    while True:
        position = last
        for each in in_order(await index.read(partial(since, last=last)), last, time.time()):
            last = each.id
            yield each
        if last == position:
            await asyncio.sleep(PACE)


def in_order(events: Sequence[Event], last: int, now: float) -> Iterator[Event]:
    """The events up to a number that is missing, and that may still come."""
    for each in events:
        if each.id != last + 1 and abs(now - each.at) < _GAP:
            return
        last = each.id
        yield each


def forget(connection: Connection, now: float) -> bool:
    """Delete some of the events that are not kept any longer, oldest first. Returns whether there may be more.

    Jobs that tell of them are deleted too.
    """
    newest = connection.scalar(select(func.max(event.c.id))) or 0
    rows = connection.execute(select(event.c.id, event.c.at).order_by(event.c.id).limit(_CHUNK)).all()
    old = list(takewhile(lambda row: row.id <= newest - MAXIMUM_EVENTS or row.at < now - KEPT, rows))
    if old:
        connection.execute(delete(event).where(event.c.id <= old[-1].id))
    return len(old) == _CHUNK


def as_json(each: Event) -> dict[str, Any]:
    """An event as webhooks and `dimse node events --json` have it."""
    return {
        "event": each.kind.value,
        "id": each.id,
        "at": datetime.fromtimestamp(each.at, UTC).isoformat(timespec="milliseconds"),
        "study_instance_uid": each.study_uid,
        "series_instance_uid": each.series_uid,
        "sop_instance_uid": each.instance_uid,
        "detail": dict(each.detail),
    }


def _event(row: Any) -> Event:
    return Event(row.id, row.at, EventKind(row.kind), row.study_uid, row.series_uid, row.instance_uid, row.detail)
