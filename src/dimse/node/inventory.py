"""What the index of an archive has, and what its folder has, study by study.

Files are named as in the index: relative to the data folder, or absolute if they were adopted where they are.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, Table, func, select

from dimse.node import deleting
from dimse.node.index import Index
from dimse.node.places import usual_path
from dimse.node.schema import instance, job, series, source, study

PAGE: Final = 200
"""Rows, or names of folders, that are read at a time."""


class Stored(NamedTuple):
    """An instance in the index."""

    id: int
    series_uid: str
    uid: str
    path: str
    size: int
    """Length of its file."""
    offset: int
    """Where the data set begins in it."""
    digest: bytes
    received_at: float
    source: str | None
    """Where it came from."""


def studies(index: Index) -> Iterator[Row[Any]]:
    """The rows of all studies, as `rows_of` has them."""
    return rows_of(index, study)


def rows_of(index: Index, table: Table) -> Iterator[Row[Any]]:
    """All rows of a table, in short reads; those that are added meanwhile too."""
    last, number = 0, table.c.id
    while True:
        with index.reading() as connection:
            page = connection.execute(select(table).where(number > last).order_by(number).limit(PAGE)).all()
        yield from page
        if len(page) < PAGE:
            return
        last = page[-1].id


def instances(connection: Connection, study_uid: str) -> list[Stored]:
    """The instances of a study."""
    found = connection.execute(
        select(
            instance.c.id,
            series.c.uid,
            instance.c.uid,
            instance.c.path,
            instance.c.bytes,
            instance.c.offset,
            instance.c.digest,
            instance.c.received_at,
            source.c.name,
        )
        .select_from(study.join(series).join(instance).outerjoin(source, instance.c.source == source.c.id))
        .where(study.c.uid == study_uid)
    )
    return [Stored(*row[:3], row[3] or usual_path(study_uid, row[1], row[2]), *row[4:]) for row in found]


def study_folders(data: Path) -> Iterator[list[str]]:
    """The Study Instance UIDs that have a folder, in pages."""
    page: list[str] = []
    try:
        entries = os.scandir(data / "studies")
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                page.append(entry.name)
            if len(page) == PAGE:
                yield page
                page = []
    if page:
        yield page


def files(data: Path, study_uid: str) -> dict[str, int]:
    """The files of a study's folder, with their lengths."""
    return dict(_files(data / "studies" / study_uid, f"studies/{study_uid}"))


def files_set_aside(data: Path) -> dict[str, int]:
    """The files that were set aside, with their lengths."""
    return dict(_files(data / "set-aside", "set-aside"))


def _files(folder: Path, name: str) -> Iterator[tuple[str, int]]:
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(folder / entry.name, f"{name}/{entry.name}")
            elif entry.name.endswith(".dcm"):
                yield f"{name}/{entry.name}", entry.stat(follow_symlinks=False).st_size


def unknown(connection: Connection, study_uids: Sequence[str]) -> list[str]:
    """Those of some studies that the index does not have."""
    known = set(connection.scalars(select(study.c.uid).where(study.c.uid.in_(study_uids))))
    return [uid for uid in study_uids if uid not in known]


def is_stored(connection: Connection, study_uid: str, series_uid: str, uid: str) -> bool:
    """Whether the index has an instance."""
    which = (study.c.uid == study_uid, series.c.uid == series_uid, instance.c.uid == uid)
    found = select(instance.c.id).select_from(instance.join(series).join(study)).where(*which)
    return connection.execute(found).first() is not None


def total(connection: Connection) -> int:
    """The number of instances, by the counters of the studies."""
    return int(connection.scalar(select(func.coalesce(func.sum(study.c.instance_count), 0))) or 0)


def check_mounted(connection: Connection, data: Path) -> None:
    """Raise `FileNotFoundError` if the index has instances, but there are no files at all."""
    has_files = select(instance.c.id).where(instance.c.path.is_(None)).limit(1)
    if connection.execute(has_files).first() is not None and next(study_folders(data), None) is None:
        why = "has no files of the archive; is its disk mounted?"
        raise FileNotFoundError(errno.ENOENT, why, str(data / "studies"))


def paths_to_delete(connection: Connection) -> frozenset[str]:
    """The files that jobs are going to delete."""
    waiting = connection.scalars(select(job.c.payload).where(job.c.kind == deleting.KIND))
    return frozenset(path for payload in waiting for path in payload["paths"])
