"""The rows of the studies and series of a batch of arrivals: they are found or made, and at the end counted up.

1. Studies are locked first, in the order of their UIDs; what is below a study belongs to the transaction then. So
   several processes may add to one study, and what was read stays true.
2. The first instance of a study or series decides its attributes. What later ones say is in their files alone.
3. An instance may name another patient than its study. One event for each series tells so: more would be one for each
   instance.
4. Of the numbers of instances that are announced, the greatest counts: a device may count up while it sends.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, insert, null, select, text, update

from dimse.node.arrival import Arrival
from dimse.node.events import EventKind, record
from dimse.node.index import insert_missing
from dimse.node.keys import KEY_VERSION, Claims
from dimse.node.recount import correct, listed, recount
from dimse.node.schema import CONFLICTS, event, name_word, request, series, study
from dimse.node.statements import Statement

SeriesKey = tuple[str, str]
"""The UIDs of a study and a series."""

_FIND_STUDY: Final = Statement(
    select(
        *(study.c.uid, study.c.id, study.c.patient_id, study.c.issuer),
        *(study.c.announced, study.c.modalities, study.c.sop_classes),
    )
    .where(study.c.uid == bindparam("uid"))
    .with_for_update(key_share=True)
)
_FIND_SERIES: Final = Statement(
    select(series.c.id).where(series.c.study_id == bindparam("study"), series.c.uid == bindparam("uid"))
)
_UPDATE_SERIES: Final = Statement(
    update(series)
    .where(series.c.id == bindparam("series"))
    .values(
        instance_count=series.c.instance_count + bindparam("new_instances"),
        bytes=series.c.bytes + bindparam("new_bytes"),
    )
)
_UPDATE_STUDY: Final = Statement(
    update(study)
    .where(study.c.id == bindparam("study"))
    .values(
        series_count=study.c.series_count + bindparam("new_series"),
        instance_count=study.c.instance_count + bindparam("new_instances"),
        bytes=study.c.bytes + bindparam("new_bytes"),
        modalities=bindparam("all_modalities"),
        sop_classes=bindparam("all_sop_classes"),
        announced=bindparam("greatest_announced"),
        changed_at=bindparam("at"),
        settled_at=null(),
        settled_because=null(),
    )
)


@dataclass(slots=True)
class StudyRow:
    """A study whose row is locked, and what the batch adds to it."""

    uid: str
    id: int
    patient_id: str | None
    issuer: str | None
    announced: int | None
    modalities: str
    sop_classes: str
    new_series: int = 0
    new_instances: int = 0
    new_bytes: int = 0
    replaced_instances: int = 0

    def is_of_another(self, claims: Claims) -> bool:
        """Whether an instance names another patient. An unknown one is no other."""
        known = (self.patient_id, claims.patient_id), (self.issuer, claims.issuer)
        return any(None not in pair and pair[0] != pair[1] for pair in known)


@dataclass(slots=True)
class SeriesRow:
    """A series, and what the batch adds to it."""

    id: int
    study: StudyRow
    new_instances: int = 0
    new_bytes: int = 0
    conflicting: Arrival | None = None
    """The first one that names another patient than the study."""

    def hear(self, arrival: Arrival) -> None:
        """Note what an instance says of the study."""
        claims, its_study = arrival.description.claims(), self.study
        if claims.announced is not None:
            its_study.announced = max(claims.announced, its_study.announced or 0)
        if self.conflicting is None and its_study.is_of_another(claims):
            self.conflicting = arrival

    def add(self, sop_class_uid: str, size: int) -> None:
        """Count a new instance."""
        self.new_instances += 1
        self.new_bytes += size
        if f"\\{sop_class_uid}\\" not in self.study.sop_classes:
            self.study.sop_classes = listed((self.study.sop_classes, sop_class_uid))

    def replace(self) -> None:
        """Note that an instance is replaced: its study is recounted."""
        self.study.replaced_instances += 1


class Parents:
    """The studies and series of a batch. `first` is the first arrival of each series."""

    def __init__(self, connection: Connection, first: Mapping[SeriesKey, Arrival], sources: Mapping[str, int]) -> None:
        self._connection = connection
        self._sources = sources
        self._at = time.time()
        self._studies: Final[dict[str, StudyRow]] = {}
        self.series: Final[dict[SeriesKey, SeriesRow]] = {}
        self._find_studies(first)
        self._find_series(first)

    def _find_studies(self, first: Mapping[SeriesKey, Arrival]) -> None:
        arrivals: dict[str, Arrival] = {}
        for (study_uid, _), arrival in first.items():
            arrivals.setdefault(study_uid, arrival)
        self._lock(arrivals)
        if len(self._studies) < len(arrivals):
            self._make_studies({uid: arrivals[uid] for uid in sorted(arrivals.keys() - self._studies.keys())})
            self._lock(arrivals.keys() - self._studies.keys())  # those that another process has made meanwhile

    def _lock(self, study_uids: Iterable[str]) -> None:
        for uid in sorted(study_uids):
            for row in _FIND_STUDY.rows(self._connection, uid=uid):
                self._studies[uid] = StudyRow(*row)

    def _make_studies(self, new: Mapping[str, Arrival]) -> None:
        rows = {uid: self._study_row(uid, arrival) for uid, arrival in new.items()}
        statement = insert_missing(self._connection, study).returning(study.c.uid, study.c.id)
        words = []
        for uid, id_ in self._connection.execute(statement, list(rows.values())).all():
            self._studies[uid] = StudyRow(uid, id_, *new[uid].description.claims(), "", "")
            words += [{"study_id": id_, "word": word} for word in new[uid].description.name_words()]
            record(self._connection, EventKind.STUDY_CREATED, study_uid=uid, detail={"source": new[uid].source})
        if words:
            self._connection.execute(insert(name_word), words)

    def _study_row(self, uid: str, arrival: Arrival) -> dict[str, Any]:
        columns, attributes = arrival.description.study()
        return {
            **columns,
            "uid": uid,
            "created_at": self._at,
            "changed_at": self._at,
            "source": self._sources[arrival.source],
            "key_version": KEY_VERSION,
            "attributes": attributes,
        }

    def _find_series(self, first: Mapping[SeriesKey, Arrival]) -> None:
        requests: list[dict[str, Any]] = []
        for (study_uid, uid), arrival in first.items():
            its_study = self._studies[study_uid]
            found = _FIND_SERIES.rows(self._connection, study=its_study.id, uid=uid)
            if found:
                self.series[study_uid, uid] = SeriesRow(found[0][0], its_study)
            else:
                id_ = self._make_series((study_uid, uid), arrival)
                requests += [{"series_id": id_, **each} for each in arrival.description.requests()]
        if requests:
            self._connection.execute(insert(request), requests)

    def _make_series(self, key: SeriesKey, arrival: Arrival) -> int:
        its_study = self._studies[key[0]]
        columns, attributes = arrival.description.series()
        row = {**columns, "study_id": its_study.id, "uid": key[1], "attributes": attributes}
        id_: int = self._connection.execute(insert(series).returning(series.c.id), row).scalar_one()
        self.series[key] = SeriesRow(id_, its_study)
        its_study.new_series += 1
        its_study.modalities = listed((its_study.modalities, columns["modality"] or ""))
        return id_

    def tell_conflicts(self) -> None:
        """Record the series with an instance that names another patient than the study, each once."""
        for (study_uid, uid), each in self.series.items():
            if each.conflicting is not None and not _is_told(self._connection, study_uid, uid):
                detail = {"source": each.conflicting.source}
                record(self._connection, EventKind.CONFLICT, study_uid=study_uid, series_uid=uid, detail=detail)

    def count(self) -> None:
        """Store what was added, in the series and studies that have changed."""
        changed_series = [each for each in self.series.values() if each.new_instances or each.study.replaced_instances]
        if not changed_series:
            return
        for each in changed_series:
            each.study.new_instances += each.new_instances
            each.study.new_bytes += each.new_bytes
        _UPDATE_SERIES.run(
            self._connection,
            [
                {"series": each.id, "new_instances": each.new_instances, "new_bytes": each.new_bytes}
                for each in changed_series
            ],
        )
        changed = {each.study.id: each.study for each in changed_series}.values()
        _UPDATE_STUDY.run(self._connection, [self._changes(each) for each in changed])
        for each_study in changed:
            if each_study.replaced_instances:  # by longer ones, or those of another SOP class
                correct(self._connection, recount(self._connection, each_study.uid))

    def _changes(self, changed: StudyRow) -> dict[str, Any]:
        return {
            "study": changed.id,
            "new_series": changed.new_series,
            "new_instances": changed.new_instances,
            "new_bytes": changed.new_bytes,
            "all_modalities": changed.modalities,
            "all_sop_classes": changed.sop_classes,
            "greatest_announced": changed.announced,
            "at": self._at,
        }


def _is_told(connection: Connection, study_uid: str, series_uid: str) -> bool:
    its = (event.c.study_uid == study_uid, event.c.series_uid == series_uid)
    return connection.execute(select(event.c.id).where(text(CONFLICTS), *its).limit(1)).first() is not None
