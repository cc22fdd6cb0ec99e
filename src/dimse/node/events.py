"""The events of an archive: rows that are written in the transaction of what they tell about."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from sqlalchemy import JSON, Connection, Double, Text, bindparam, insert, literal, select

from dimse.node.schema import event, job, subscription


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
    """`dimse node verify` found no file, or a damaged one."""
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


_INSERT: Final = insert(event).returning(event.c.id)
_TELL: Final = insert(job).from_select(
    ["kind", "payload", "queue", "event_id", "not_before"],
    select(
        subscription.c.job_kind,
        literal({}, JSON()),
        subscription.c.queue,
        bindparam("told_event", type_=job.c.event_id.type),
        bindparam("told_at", type_=Double()),
    ).where(subscription.c.event_kind == bindparam("told_kind", type_=Text())),
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
    row = {
        "at": now,
        "kind": kind.value,
        "study_uid": study_uid,
        "series_uid": series_uid,
        "instance_uid": instance_uid,
        "detail": dict(detail or {}),
    }
    number = connection.execute(_INSERT, row).scalar_one()
    connection.execute(_TELL, {"told_kind": kind.value, "told_event": number, "told_at": now})


def since(connection: Connection, last: int, most: int = 500) -> Sequence[Event]:
    """The events after number `last`, oldest first, at most `most`."""
    rows = connection.execute(select(event).where(event.c.id > last).order_by(event.c.id).limit(most))
    return [
        Event(row.id, row.at, EventKind(row.kind), row.study_uid, row.series_uid, row.instance_uid, row.detail)
        for row in rows
    ]
