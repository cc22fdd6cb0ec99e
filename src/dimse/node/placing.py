"""Puts arrivals into the index: what one transaction does with a batch of them.

1. An instance is known by its SOP Instance UID in its series, and a series by its UID in its study: one SOP Instance
   UID in two series is two instances.
2. Two arrivals of one instance in a batch are one after another, as in two batches.
3. A study has changed when an instance of it was added or replaced: it is not settled any more. What was there already
   with the same content, and what was set aside or refused, changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, bindparam, insert, select

from dimse.node.arrival import Arrival, OnDuplicate, Outcome, Placed
from dimse.node.duplicates import StoredRow, place_duplicate
from dimse.node.keys import uid_hash
from dimse.node.parents import Parents, SeriesKey, SeriesRow
from dimse.node.places import usual_path
from dimse.node.schema import instance, series, set_aside, source, storage, study, uid
from dimse.node.shared_texts import SharedTexts
from dimse.node.statements import Statement

FOLDER: Final = "folder:"
"""The URL of the data folder in the table `storage`."""

_Numbered = tuple[int, Arrival]
"""An arrival with its place in the batch."""

_STORED: Final = select(instance.c.uid, instance.c.id, instance.c.digest, instance.c.path, instance.c.bytes).where(
    instance.c.series_id == bindparam("series")
)
_FIND_ONE: Final = Statement(_STORED.where(instance.c.uid == bindparam("uid")))
_FIND_MANY: Final = _STORED.where(instance.c.uid.in_(bindparam("uids", expanding=True)))
_INSERT: Final = Statement(insert(instance), [column.name for column in instance.c if not column.primary_key])


def place(
    connection: Connection,
    arrivals: Sequence[Arrival],
    on_duplicate: OnDuplicate,
    cache: SharedTexts,
    *,
    data: Path | None = None,
) -> list[Placed]:
    """Put arrivals into the index, in the transaction of `connection`, which is one of a writer.

    `cache` is for all batches of one thread. With the data folder `data`, an instance whose file is missing or short is
    replaced by other content. Returns what became of each arrival, in their order.
    """
    placed: dict[int, Placed] = {}
    for batch in _batches(arrivals):
        placed.update(_place(connection, batch, on_duplicate, cache, data))
        data = None  # those of the next batch were looked at, or have no file in its place before the commit
    return [placed[number] for number in range(len(arrivals))]


def stored_path(connection: Connection, arrival: Arrival) -> str | None:
    """Where the file of `arrival` belongs, if the index has it with this content: as an instance, or set aside.

    For a start after a crash between the transaction and the move of the file to its place.
    """
    about = arrival.description
    row = connection.execute(
        select(instance.c.path)
        .select_from(study.join(series).join(instance))
        .where(study.c.uid == about.study_uid, series.c.uid == about.series_uid, instance.c.uid == about.uid)
        .where(instance.c.digest == arrival.digest)
    ).first()
    if row is not None:
        return row.path or usual_path(about.study_uid, about.series_uid, about.uid)
    return connection.execute(
        select(set_aside.c.path)
        .where(set_aside.c.study_uid == about.study_uid, set_aside.c.series_uid == about.series_uid)
        .where(set_aside.c.uid == about.uid, set_aside.c.digest == arrival.digest)
    ).scalar()


def _batches(arrivals: Sequence[Arrival]) -> Iterator[Mapping[SeriesKey, Sequence[_Numbered]]]:
    """The arrivals by series. Those of one instance come in batches one after another."""
    rest: list[_Numbered] = list(enumerate(arrivals))
    while rest:
        seen: set[tuple[str, str, str]] = set()
        batch: defaultdict[SeriesKey, list[_Numbered]] = defaultdict(list)
        later = []
        for item in rest:
            about = item[1].description
            key = (about.study_uid, about.series_uid, about.uid)
            if key in seen:
                later.append(item)
            else:
                seen.add(key)
                batch[key[:2]].append(item)
        yield batch
        rest = later


def _place(
    connection: Connection,
    batch: Mapping[SeriesKey, Sequence[_Numbered]],
    on_duplicate: OnDuplicate,
    cache: SharedTexts,
    data: Path | None,
) -> dict[int, Placed]:
    """Put arrivals of different instances into the index."""
    numbers = _Numbers(connection, [arrival for items in batch.values() for _, arrival in items], cache)
    parents = Parents(connection, {key: items[0][1] for key, items in batch.items()}, numbers.sources)
    placed = {}
    rows = []
    for key, items in batch.items():
        its_series = parents.series[key]
        stored = _stored(connection, its_series, items)
        for number, arrival in items:
            its_series.hear(arrival)
            columns = numbers.columns(arrival)
            old = stored.get(arrival.description.uid)
            if old is not None:
                placed[number] = place_duplicate(connection, arrival, old, its_series, columns, on_duplicate, data=data)
            else:
                rows.append(_new_row(its_series, arrival, columns))
                placed[number] = Placed(arrival, Outcome.NEW, _usual_place(arrival))
    if rows:
        _INSERT.run(connection, rows)
    parents.tell_conflicts()
    parents.count()
    return placed


class _Numbers:
    """The numbers of the texts that the arrivals of a batch have in common."""

    def __init__(self, connection: Connection, arrivals: Sequence[Arrival], cache: SharedTexts) -> None:
        uids = {each for one in arrivals for each in (one.description.sop_class_uid, one.transfer_syntax_uid)}
        self._uids = cache.numbers(connection, uid, uids)
        self.sources = cache.numbers(connection, source, {arrival.source for arrival in arrivals})
        self._folder = cache.numbers(connection, storage, (FOLDER,))[FOLDER]

    def columns(self, arrival: Arrival) -> dict[str, Any]:
        """The columns of an instance, but for those that say which one it is and where."""
        return {
            **arrival.description.instance(),
            "sop_class": self._uids[arrival.description.sop_class_uid],
            "transfer_syntax": self._uids[arrival.transfer_syntax_uid],
            "bytes": arrival.size,
            "offset": arrival.offset,
            "digest": arrival.digest,
            "storage": self._folder,
            "received_at": arrival.received_at,
            "source": self.sources[arrival.source],
        }


def _stored(connection: Connection, its_series: SeriesRow, items: Sequence[_Numbered]) -> dict[str, StoredRow]:
    """The instances of a series that are in the index already, by their UIDs."""
    if len(items) == 1:
        rows = _FIND_ONE.rows(connection, series=its_series.id, uid=items[0][1].description.uid)
    else:
        wanted = {"series": its_series.id, "uids": [arrival.description.uid for _, arrival in items]}
        rows = [tuple(row) for row in connection.execute(_FIND_MANY, wanted)]
    return {row[0]: StoredRow(*row) for row in rows}


def _new_row(its_series: SeriesRow, arrival: Arrival, columns: dict[str, Any]) -> dict[str, Any]:
    """The row of a new instance, which is counted."""
    about = arrival.description
    its_series.add(about.sop_class_uid, arrival.size)
    columns["series_id"] = its_series.id
    columns["uid"] = about.uid
    columns["uid_hash"] = uid_hash(about.uid)
    columns["path"] = arrival.path if arrival.is_in_place else None
    return columns


def _usual_place(arrival: Arrival) -> str:
    if arrival.is_in_place:
        return arrival.path
    about = arrival.description
    return usual_path(about.study_uid, about.series_uid, about.uid)
