"""Removes studies from an archive, and the files that no row names any more; and rows whose files are lost.

1. The rows of a study go in one transaction, and with them, as a job, goes the order to delete the files. So a file is
   deleted only after its row is gone for good.
2. Files that are not ours stay: those that were adopted in place.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Final

from sqlalchemy import Connection, bindparam, delete, select, update

from dimse.node import deleting, jobs
from dimse.node.events import EventKind, record
from dimse.node.places import is_ours, usual_path
from dimse.node.recount import correct, recount
from dimse.node.schema import instance, job, series, set_aside, study

FILES_OF_A_JOB: Final = 5000
"""Paths that one job has."""

InstanceKey = tuple[str, str]
"""The UIDs of a series and an instance."""


def remove_study(connection: Connection, study_uid: str) -> list[str]:
    """Remove a study, and what was set aside of it. Leaves an event.

    Returns the paths of its files, of which a job deletes those that are ours; none if there is no such study.
    """
    row = connection.execute(
        select(study.c.id, study.c.series_count, study.c.instance_count)
        .where(study.c.uid == study_uid)
        .with_for_update()
    ).first()
    if row is None:
        return []
    paths = sorted(_paths(connection, study_uid))
    _hasten(connection, study_uid)
    connection.execute(delete(study).where(study.c.id == row.id))  # and, by their keys, the rows below it
    connection.execute(delete(set_aside).where(set_aside.c.study_uid == study_uid))
    detail = {"series": row.series_count, "instances": row.instance_count}
    record(connection, EventKind.STUDY_DELETED, study_uid=study_uid, detail=detail)
    defer_deletion(connection, paths)
    return paths


def remove_lost(connection: Connection, study_uid: str, lost: Collection[InstanceKey]) -> int:
    """Remove the rows of instances of a study whose files are lost; and those of series and study that have no others.

    Returns how many there were. No file is deleted, also not what was set aside of the study.
    """
    number = lock_study(connection, study_uid)
    if number is None:
        return 0
    below = select(series.c.uid, instance.c.uid, instance.c.id).join_from(series, instance)
    rows = connection.execute(below.where(series.c.study_id == number)).all()
    gone = [{"gone": row[2]} for row in rows if (row[0], row[1]) in lost]
    if gone:
        connection.execute(delete(instance).where(instance.c.id == bindparam("gone")), gone)
        empty = ~select(instance.c.id).where(instance.c.series_id == series.c.id).exists()
        connection.execute(delete(series).where(series.c.study_id == number, empty))
        if len(gone) == len(rows):
            connection.execute(delete(study).where(study.c.id == number))
            detail = {"series": len({row[0] for row in rows}), "instances": len(rows)}
            record(connection, EventKind.STUDY_DELETED, study_uid=study_uid, detail=detail)
        correct(connection, recount(connection, study_uid))
    return len(gone)


def lock_study(connection: Connection, study_uid: str) -> int | None:
    """The number of a study's row; what is below it belongs to the transaction then. None if there is no such study."""
    return connection.scalar(select(study.c.id).where(study.c.uid == study_uid).with_for_update())


def defer_deletion(connection: Connection, paths: Iterable[str], *, delay: float = 0) -> None:
    """Note that files are to be deleted `delay` seconds after the transaction; those that are not ours are left out."""
    ours = (path for path in paths if is_ours(path))
    while chunk := list(islice(ours, FILES_OF_A_JOB)):
        jobs.defer(connection, deleting.KIND, {"paths": chunk}, not_before=time.time() + delay)


def _hasten(connection: Connection, study_uid: str) -> None:
    """Have those files of a study deleted at once that wait for it, as they were replaced."""
    waiting = select(job.c.id, job.c.payload).where(job.c.kind == deleting.KIND, job.c.not_before > time.time())
    folder = f"studies/{study_uid}/"
    for number, payload in connection.execute(waiting).all():
        if any(path.startswith(folder) for path in payload["paths"]):
            connection.execute(update(job).where(job.c.id == number).values(not_before=time.time()))


def _paths(connection: Connection, study_uid: str) -> Iterator[str]:
    """The places that the rows of a study name."""
    for series_uid, uid, path in connection.execute(
        select(series.c.uid, instance.c.uid, instance.c.path)
        .select_from(study.join(series).join(instance))
        .where(study.c.uid == study_uid)
    ):
        yield path or usual_path(study_uid, series_uid, uid)
    yield from connection.execute(select(set_aside.c.path).where(set_aside.c.study_uid == study_uid)).scalars()
