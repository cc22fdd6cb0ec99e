"""Stores again what was stored before, and whose file is not there any more.

1. A sender that has heard Success does not send again. So one whose instance the index has, but whose file is missing
   or short, must not hear it for nothing: the file that it has sent takes the place of the other one.
2. So it is with one that was set aside before.
3. A file that was adopted where it is, is not ours: the row then gets a new place.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Row, select, update

from dimse.node.arrival import Arrival, Outcome, Placed
from dimse.node.keys import uid_hash
from dimse.node.places import is_ours, place, replacing_path, set_aside_path, usual_path
from dimse.node.schema import instance, series, set_aside, study

logger = logging.getLogger("dimse.storage")

_Key = tuple[str, str, str]
"""The UIDs of study, series and instance."""

_ROWS: Final = select(
    study.c.id.label("study_id"),
    study.c.uid.label("study_uid"),
    series.c.id.label("series_id"),
    series.c.uid.label("series_uid"),
    instance.c.id,
    instance.c.uid,
    instance.c.path,
    instance.c.bytes,
).select_from(study.join(series).join(instance))


def mend(connection: Connection, placed: Sequence[Placed], data: Path) -> list[Placed]:
    """What becomes of arrivals that were placed in the transaction of `connection`: files that are missing get a place.

    `data` is the data folder.
    """
    return _mend_aside(connection, _mend_stored(connection, placed, data), data)


def _mend_stored(connection: Connection, placed: Sequence[Placed], data: Path) -> Sequence[Placed]:
    known = {_key(each.arrival) for each in placed if each.path is not None}
    same = {_key(each.arrival) for each in placed if each.outcome is Outcome.SAME} - known
    if not same:
        return placed
    hashes = {uid_hash(uid) for *_, uid in same}
    rows = connection.execute(_ROWS.where(instance.c.uid_hash.in_(hashes))).all()
    broken = {(row.study_uid, row.series_uid, row.uid): row for row in rows if not _is_whole(row, data)}
    mended = []
    for each in placed:
        row = broken.pop(_key(each.arrival), None) if each.outcome is Outcome.SAME else None
        mended.append(each if row is None else replace(each, path=_stored_again(connection, each.arrival, row)))
    return mended


def _mend_aside(connection: Connection, placed: Sequence[Placed], data: Path) -> list[Placed]:
    aside = [each for each in placed if each.outcome is Outcome.SET_ASIDE]
    known = {(*_key(each.arrival), each.arrival.digest) for each in aside if each.path is not None}
    mended = []
    for each in placed:
        key = (*_key(each.arrival), each.arrival.digest)
        if each.outcome is Outcome.SET_ASIDE and each.path is None and key not in known:
            known.add(key)
            each = replace(each, path=_set_aside_again(connection, each.arrival, data))
        mended.append(each)
    return mended


def _key(arrival: Arrival) -> _Key:
    about = arrival.description
    return about.study_uid, about.series_uid, about.uid


def _is_whole(row: Row[*tuple[Any, ...]], data: Path) -> bool:
    size: int = row.bytes
    return _length(place(data, row.study_uid, row.series_uid, row.uid, row.path)) == size


def _stored_again(connection: Connection, arrival: Arrival, row: Row[*tuple[Any, ...]]) -> str:
    """Write into the index where the file of an arrival belongs, and its size."""
    path: str | None = row.path
    if arrival.is_in_place:
        path = arrival.path
    elif path is not None and not is_ours(path):
        path = replacing_path(row.study_uid, row.series_uid, row.uid)
    found = {"path": path, "bytes": arrival.size, "offset": arrival.offset}
    connection.execute(update(instance).where(instance.c.id == row.id).values(found))
    for table, number in ((series, row.series_id), (study, row.study_id)):
        more = table.c.bytes + (arrival.size - row.bytes)
        connection.execute(update(table).where(table.c.id == number).values(bytes=more))
    logger.warning("an instance of study %s is stored again: its file was missing or short", row.study_uid)
    return path or usual_path(row.study_uid, row.series_uid, row.uid)


def _set_aside_again(connection: Connection, arrival: Arrival, data: Path) -> str | None:
    """Write into the index where the file of an arrival belongs that was set aside before; None if it is there."""
    study_uid, series_uid, uid = _key(arrival)
    its_row = (
        (set_aside.c.study_uid == study_uid)
        & (set_aside.c.series_uid == series_uid)
        & (set_aside.c.uid == uid)
        & (set_aside.c.digest == arrival.digest)
    )
    row = connection.execute(select(set_aside.c.path, set_aside.c.bytes).where(its_row)).one()
    if _length(data / row.path) == row.bytes:
        return None
    path = arrival.path if arrival.is_in_place else set_aside_path(uid)
    connection.execute(update(set_aside).where(its_row).values(path=path, bytes=arrival.size))
    logger.warning("an instance of study %s is set aside again: its file was missing or short", study_uid)
    return path


def _length(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
