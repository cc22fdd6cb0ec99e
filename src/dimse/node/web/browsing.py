"""What the page shows of the index, as objects for JSON. Reads only; each function is one short piece of work.

1. Studies are listed newest first: by date, then by when they were stored; those without a date come last. A page of
   them begins after a study of the page before (a keyset), so that the last page is as quick as the first.
2. A page looks through the newest `LOOK` studies first, in the order of the index of dates: a key that many have fills
   it there. Otherwise all that match are sorted: those that the index of a key has, or that a scan of the table finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, or_, select

from dimse.node.attributes import parse as attributes_of
from dimse.node.events import since
from dimse.node.jobs import queues
from dimse.node.schema import event, instance, name_word, series, study, uid
from dimse.node.terms import texts, with_word
from dimse.services.matching_rules import name_words
from dimse.uids import name_of

PAGE: Final = 50
"""Studies of a page of the list."""
LOOK: Final = 2000
"""Studies that are looked through before others are searched for."""
MAX_SHOWN: Final = 10_000
"""Series of a study, and instances of a series, that are shown."""

Json = dict[str, Any]

_PATIENT_NAME: Final = 0x00100010


@dataclass(frozen=True, slots=True)
class Wanted:
    """The studies that are searched for. An empty text matches all."""

    name: str = ""
    """Words that parts of the patient's name begin with, as in fuzzy matching."""
    patient_id: str = ""
    """May have wild cards, as the accession number may."""
    accession: str = ""
    first_date: int | None = None
    last_date: int | None = None
    modality: str = ""
    description: str = ""
    """A part of it."""


def studies(
    connection: Connection, wanted: Wanted, after: Sequence[int | None] | None = None
) -> tuple[list[Json], Any]:
    """A page of studies, and where the next one begins: None if there is none.

    `after` is where it begins, as given with the page before.
    """
    found: list[Row[Any]] = []
    last_date, last_id = after or (None, None)
    if after is None or last_date is not None:
        found += _dated(connection, wanted, last_date, last_id)
        last_id = None
    if len(found) <= PAGE and not _of_dates(wanted):
        undated = select(study).where(study.c.date.is_(None), *_of_keys(wanted)).order_by(study.c.id.desc())
        if last_id is not None:
            undated = undated.where(study.c.id < last_id)
        found += connection.execute(undated.limit(PAGE + 1 - len(found))).all()
    page = found[:PAGE]
    return [_study(row) for row in page], [page[-1].date, page[-1].id] if len(found) > PAGE else None


def _dated(connection: Connection, wanted: Wanted, last_date: int | None, last_id: int | None) -> Sequence[Row[Any]]:
    """The studies with a date of a page, and one more if there is another page."""
    order = (study.c.date.desc(), study.c.id.desc())
    newest = select(study.c.id).where(*_behind(study.c.date, last_date, last_id), *_of_dates(wanted)).order_by(*order)
    some = newest.limit(LOOK).subquery()
    looked = select(study).join(some, some.c.id == study.c.id).where(*_of_keys(wanted, drive=False)).order_by(*order)
    found = connection.execute(looked.limit(PAGE + 1)).all()
    keys = _of_keys(wanted)
    if len(found) > PAGE or not keys:
        return found
    date = study.c.date + 0  # an expression, lest the index of dates drives it
    query = select(study).where(*_behind(date, last_date, last_id), *_of_dates(wanted), *keys)
    return connection.execute(query.order_by(date.desc(), study.c.id.desc()).limit(PAGE + 1)).all()


def _behind(date: ColumnElement[Any], last_date: int | None, last_id: int | None) -> list[ColumnElement[bool]]:
    """What comes after the last study of a page, in the order of `date`."""
    if last_date is None:
        return [date.is_not(None)]
    return [date <= last_date, or_(date < last_date, and_(date == last_date, study.c.id < last_id))]


def _of_dates(wanted: Wanted) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.first_date is not None:
        conditions.append(study.c.date >= wanted.first_date)
    if wanted.last_date is not None:
        conditions.append(study.c.date <= wanted.last_date)
    return conditions


def _of_keys(wanted: Wanted, *, drive: bool = True) -> list[ColumnElement[bool]]:
    """What a study must be. With `drive`, words are looked up in their index, else for each study."""
    conditions: list[ColumnElement[bool]] = []
    for word in name_words(wanted.name):
        begin_so = with_word(word)
        its_own = begin_so.where(name_word.c.study_id == study.c.id).exists()
        conditions.append(study.c.id.in_(begin_so) if drive else its_own)
    for column, text in ((study.c.patient_id, wanted.patient_id), (study.c.accession_number, wanted.accession)):
        if text:
            conditions.append(texts(column, [text]))
    if wanted.modality:
        conditions.append(study.c.modalities.contains(f"\\{wanted.modality}\\", autoescape=True))
    if wanted.description:
        conditions.append(study.c.description.icontains(wanted.description, autoescape=True))
    return conditions


def study_with_series(connection: Connection, study_uid: str) -> Json | None:
    """A study and its series, in the order of their numbers; None if it is not there."""
    row = connection.execute(select(study).where(study.c.uid == study_uid)).first()
    if row is None:
        return None
    query = select(series).where(series.c.study_id == row.id).order_by(series.c.number, series.c.id).limit(MAX_SHOWN)
    return {**_study(row), "series": [_series(each) for each in connection.execute(query)]}


def instances(connection: Connection, study_uid: str, series_uid: str) -> list[Json]:
    """The instances of a series, in the order of their numbers; empty if it is not there."""
    query = _instances(study_uid, series_uid).order_by(instance.c.number, instance.c.id).limit(MAX_SHOWN)
    return [
        {
            "uid": row.uid,
            "number": row.number,
            "frames": row.frames or 1,
            "is_image": bool(row.rows and row.columns),
            "kind": name_of(row.sop_class_uid),
            "bytes": row.bytes,
        }
        for row in connection.execute(query)
    ]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an instance is stored."""

    uid: str
    path: str | None
    """As its row has it."""
    digest: bytes
    frames: int


def place_of(connection: Connection, study_uid: str, series_uid: str, instance_uid: str) -> Place | None:
    """Where an instance is stored; None if it is not there."""
    return _place(connection, _instances(study_uid, series_uid).where(instance.c.uid == instance_uid))


def middle_of(connection: Connection, study_uid: str, series_uid: str) -> Place | None:
    """Where the image in the middle of a series is stored; None if it has none."""
    images = _instances(study_uid, series_uid).where(instance.c.rows > 0, instance.c.columns > 0)
    ids = connection.execute(images.with_only_columns(instance.c.id).order_by(instance.c.number)).scalars().all()
    if not ids:
        return None
    return _place(connection, _instances(study_uid, series_uid).where(instance.c.id == ids[len(ids) // 2]))


def _instances(study_uid: str, series_uid: str) -> Select[Any]:
    joined = instance.join(series, series.c.id == instance.c.series_id).join(study, study.c.id == series.c.study_id)
    return (
        select(instance, uid.c.uid.label("sop_class_uid"))
        .select_from(joined.join(uid, uid.c.id == instance.c.sop_class))
        .where(study.c.uid == study_uid, series.c.uid == series_uid)
    )


def _place(connection: Connection, query: Select[Any]) -> Place | None:
    row = connection.execute(query).first()
    return None if row is None else Place(row.uid, row.path, row.digest, row.frames or 1)


def events(connection: Connection, after: int | None, most: int) -> list[Json]:
    """The events after number `after`, or the latest ones; oldest first."""
    if after is None:
        numbers = select(event.c.id).order_by(event.c.id.desc()).offset(most).limit(1)
        after = connection.execute(numbers).scalar() or 0
    return [
        {"id": each.id, "at": each.at, "kind": each.kind.value, "study": each.study_uid, "detail": dict(each.detail)}
        for each in since(connection, after, most)
    ]


def failing(connection: Connection) -> list[Json]:
    """The queues of jobs of which one has failed and is tried again."""
    return [
        {"queue": each.queue, "waiting": each.waiting, "attempts": each.attempts, "problem": each.problem}
        for each in queues(connection)
        if each.problem is not None
    ]


def _study(row: Row[Any]) -> Json:
    return {
        "uid": row.uid,
        "name": _text(row.attributes, _PATIENT_NAME),
        "patient_id": row.patient_id,
        "birth_date": row.birth_date,
        "sex": row.sex,
        "date": row.date,
        "time": row.time,
        "accession": row.accession_number,
        "description": row.description,
        "modalities": [each for each in row.modalities.split("\\") if each],
        "series_count": row.series_count,
        "instance_count": row.instance_count,
        "bytes": row.bytes,
        "settled_at": row.settled_at,
        "settled_because": row.settled_because,
    }


def _series(row: Row[Any]) -> Json:
    return {
        "uid": row.uid,
        "modality": row.modality,
        "number": row.number,
        "description": row.description,
        "body_part": row.body_part,
        "instance_count": row.instance_count,
        "bytes": row.bytes,
    }


def _text(attributes: bytes, tag: int) -> str:
    """The text of one of the attributes that are kept."""
    _, value = attributes_of(attributes).get(tag, ("", b""))
    return value.decode("utf-8", "replace").rstrip(" \0")
