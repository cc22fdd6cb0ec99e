"""What becomes of an arrival that is stored already.

1. With the same content it changes nothing. With other content, `OnDuplicate` decides.
2. A file is never overwritten: a new one gets a place of its own, and a job deletes the old one. It waits, as those who
   retrieve the instance may have been given the old place.
3. If the file of the one that is stored is missing or short, the new one replaces it, whatever `OnDuplicate` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, update

from dimse.node.arrival import Arrival, OnDuplicate, Outcome, Placed
from dimse.node.events import EventKind, record
from dimse.node.index import insert_missing
from dimse.node.parents import SeriesRow
from dimse.node.places import is_ours, replacing_path, set_aside_path, usual_path
from dimse.node.removing import defer_deletion
from dimse.node.schema import instance, set_aside

REPLACED_STAYS: Final = 600.0
"""Seconds that the file of an instance is kept which was replaced by another one."""


class StoredRow(NamedTuple):
    """What the index has of an instance that is there already."""

    uid: str
    id: int
    digest: bytes
    path: str | None
    size: int


def place_duplicate(
    connection: Connection,
    arrival: Arrival,
    old: StoredRow,
    its_series: SeriesRow,
    columns: Mapping[str, Any],
    on_duplicate: OnDuplicate,
    *,
    data: Path | None,
) -> Placed:
    """Decide about `arrival`, whose instance has the row `old`; `columns` are those of `arrival`.

    With the data folder `data` it is looked whether the old file is there.
    """
    if old.digest == arrival.digest:
        return Placed(arrival, Outcome.SAME, None)
    if data is not None and _is_lost(arrival, old, data):
        return _replace(connection, arrival, old, its_series, columns, because="its file was missing or short")
    match on_duplicate:
        case OnDuplicate.KEEP:
            return _set_aside(connection, arrival, columns["source"])
        case OnDuplicate.REPLACE:
            return _replace(connection, arrival, old, its_series, columns)
        case OnDuplicate.REJECT:
            return Placed(arrival, Outcome.REJECTED, None)


def _set_aside(connection: Connection, arrival: Arrival, source: int) -> Placed:
    about = arrival.description
    path = arrival.path if arrival.is_in_place else set_aside_path(about.uid)
    row = {
        "study_uid": about.study_uid,
        "series_uid": about.series_uid,
        "uid": about.uid,
        "digest": arrival.digest,
        "bytes": arrival.size,
        "path": path,
        "received_at": arrival.received_at,
        "source": source,
    }
    if connection.execute(insert_missing(connection, set_aside).returning(set_aside.c.id), row).first() is None:
        return Placed(arrival, Outcome.SET_ASIDE, None)  # it was set aside before
    _record(connection, arrival, Outcome.SET_ASIDE)
    return Placed(arrival, Outcome.SET_ASIDE, path)


def _replace(
    connection: Connection,
    arrival: Arrival,
    old: StoredRow,
    its_series: SeriesRow,
    columns: Mapping[str, Any],
    **detail: str,
) -> Placed:
    about = arrival.description
    path = arrival.path
    if not arrival.is_in_place:
        path = replacing_path(about.study_uid, about.series_uid, about.uid)
    connection.execute(update(instance).where(instance.c.id == old.id).values({**columns, "path": path}))
    its_series.replace()
    defer_deletion(connection, [_stored_path(arrival, old)], delay=REPLACED_STAYS)
    _record(connection, arrival, Outcome.REPLACED, **detail)
    return Placed(arrival, Outcome.REPLACED, path)


def _stored_path(arrival: Arrival, old: StoredRow) -> str:
    about = arrival.description
    return old.path or usual_path(about.study_uid, about.series_uid, about.uid)


def _is_lost(arrival: Arrival, old: StoredRow, data: Path) -> bool:
    """Whether a file of ours is missing or short: one that was adopted in place may be on a disk that is away."""
    path = _stored_path(arrival, old)
    try:
        return is_ours(path) and (data / path).stat().st_size < old.size
    except FileNotFoundError:
        return True


def _record(connection: Connection, arrival: Arrival, outcome: Outcome, **detail: str) -> None:
    about = arrival.description
    record(
        connection,
        EventKind.DUPLICATE,
        study_uid=about.study_uid,
        series_uid=about.series_uid,
        instance_uid=about.uid,
        detail={"outcome": outcome.value, "source": arrival.source, **detail},
    )
