"""What becomes of an arrival that is stored already.

With the same content it changes nothing. With other content, `OnDuplicate` decides. A file is never overwritten: a new
one gets a place of its own, and a job deletes the old one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, update

from dimse.node.arrival import Arrival, OnDuplicate, Outcome, Placed
from dimse.node.events import EventKind, record
from dimse.node.index import insert_missing
from dimse.node.parents import SeriesRow
from dimse.node.places import replacing_path, set_aside_path, usual_path
from dimse.node.removing import defer_deletion
from dimse.node.schema import instance, set_aside


class StoredRow(NamedTuple):
    """What the index has of an instance that is there already."""

    uid: str
    id: int
    digest: bytes
    path: str | None


def place_duplicate(
    connection: Connection,
    arrival: Arrival,
    old: StoredRow,
    its_series: SeriesRow,
    columns: Mapping[str, Any],
    on_duplicate: OnDuplicate,
) -> Placed:
    """Decide about `arrival`, whose instance has the row `old`; `columns` are those of `arrival`."""
    if old.digest == arrival.digest:
        return Placed(arrival, Outcome.SAME, None)
    match on_duplicate:
        case OnDuplicate.KEEP:
            return _set_aside(connection, arrival, columns["source"])
        case OnDuplicate.REPLACE:
            return _replace(connection, arrival, old, its_series, columns)
        case OnDuplicate.REJECT:
            return Placed(arrival, Outcome.REJECTED, None)


def _set_aside(connection: Connection, arrival: Arrival, source: int) -> Placed:
    about = arrival.description
    path = arrival.path if arrival.is_in_place else Path(set_aside_path(about.uid))
    row = {
        "study_uid": about.study_uid,
        "series_uid": about.series_uid,
        "uid": about.uid,
        "digest": arrival.digest,
        "bytes": arrival.size,
        "path": str(path),
        "received_at": arrival.received_at,
        "source": source,
    }
    if connection.execute(insert_missing(connection, set_aside).returning(set_aside.c.id), row).first() is None:
        return Placed(arrival, Outcome.SET_ASIDE, None)  # it was set aside before
    _record(connection, arrival, Outcome.SET_ASIDE)
    return Placed(arrival, Outcome.SET_ASIDE, path)


def _replace(
    connection: Connection, arrival: Arrival, old: StoredRow, its_series: SeriesRow, columns: Mapping[str, Any]
) -> Placed:
    about = arrival.description
    path = arrival.path
    if not arrival.is_in_place:
        path = Path(replacing_path(about.study_uid, about.series_uid, about.uid))
    connection.execute(update(instance).where(instance.c.id == old.id).values({**columns, "path": str(path)}))
    its_series.replace()
    defer_deletion(connection, [old.path or usual_path(about.study_uid, about.series_uid, about.uid)])
    _record(connection, arrival, Outcome.REPLACED)
    return Placed(arrival, Outcome.REPLACED, path)


def _record(connection: Connection, arrival: Arrival, outcome: Outcome) -> None:
    about = arrival.description
    record(
        connection,
        EventKind.DUPLICATE,
        study_uid=about.study_uid,
        series_uid=about.series_uid,
        instance_uid=about.uid,
        detail={"outcome": outcome.value, "source": arrival.source},
    )
