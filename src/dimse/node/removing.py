"""Removes studies and instances from an archive, and the files that no row names any more.

1. Rows go in one transaction, and with them, as a job, goes the order to delete the files. So a file is deleted only
   after its row is gone for good.
2. Files that are not ours stay: those that were adopted in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from sqlalchemy import Connection, delete, select

from dimse.node import deleting, jobs
from dimse.node.events import EventKind, record
from dimse.node.places import is_ours, usual_path
from dimse.node.recount import correct, recount
from dimse.node.schema import instance, series, set_aside, study

FILES_OF_A_JOB: Final = 5000
"""Paths that one job has."""


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
    connection.execute(delete(study).where(study.c.id == row.id))  # and, by their keys, the rows below it
    connection.execute(delete(set_aside).where(set_aside.c.study_uid == study_uid))
    detail = {"series": row.series_count, "instances": row.instance_count}
    record(connection, EventKind.STUDY_DELETED, study_uid=study_uid, detail=detail)
    defer_deletion(connection, paths)
    return paths


def remove_instance(connection: Connection, study_uid: str, series_uid: str, uid: str) -> bool:
    """Remove an instance, and its series and study if they have no other. Returns whether it was there."""
    found = connection.execute(
        select(study.c.id.label("study_id"), series.c.id.label("series_id"), instance.c.id, instance.c.path)
        .select_from(study.join(series).join(instance))
        .where(study.c.uid == study_uid, series.c.uid == series_uid, instance.c.uid == uid)
        .with_for_update(of=study)
    ).first()
    if found is None:
        return False
    connection.execute(delete(instance).where(instance.c.id == found.id))
    for table, id_, below in (
        (series, found.series_id, instance.c.series_id),
        (study, found.study_id, series.c.study_id),
    ):
        empty = ~select(below).where(below == id_).exists()
        if connection.execute(delete(table).where(table.c.id == id_, empty)).rowcount and table is study:
            record(connection, EventKind.STUDY_DELETED, study_uid=study_uid, detail={"series": 1, "instances": 1})
    correct(connection, recount(connection, study_uid))
    defer_deletion(connection, [found.path or usual_path(study_uid, series_uid, uid)])
    return True


def defer_deletion(connection: Connection, paths: Iterable[str]) -> None:
    """Note that files are to be deleted once the transaction is committed; those that are not ours are left out."""
    ours = (path for path in paths if is_ours(path))
    while chunk := list(islice(ours, FILES_OF_A_JOB)):
        jobs.defer(connection, deleting.KIND, {"paths": chunk})


def _paths(connection: Connection, study_uid: str) -> Iterator[str]:
    """The places that the rows of a study name."""
    for series_uid, uid, path in connection.execute(
        select(series.c.uid, instance.c.uid, instance.c.path)
        .select_from(study.join(series).join(instance))
        .where(study.c.uid == study_uid)
    ):
        yield path or usual_path(study_uid, series_uid, uid)
    yield from connection.execute(select(set_aside.c.path).where(set_aside.c.study_uid == study_uid)).scalars()
