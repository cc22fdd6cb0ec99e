"""Compares the index of an archive with its files.

1. A study is compared at a time, so memory does not grow with the archive.
2. What is found is looked at again, since a node may be at work: rows are removed before the files of them. A file gets
   its name before its row is committed, so one without a row is looked at while nobody else writes. One that a job is
   to delete is no finding.
3. Nothing is changed here; see `repairing`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, select

from dimse.node.arrival import new_digest
from dimse.node.index import Index, exclude_writers
from dimse.node.inventory import (
    Stored,
    check_mounted,
    files,
    files_set_aside,
    instances,
    paths_to_delete,
    studies,
    study_folders,
    total,
    unknown,
)
from dimse.node.opening import open_file
from dimse.node.recount import recount
from dimse.node.schema import instance, set_aside

_LOOKS: Final = 3
"""How often something is found before it is believed."""

_READ: Final = 1024 * 1024
_THREADS: Final = 4


class Fault(Enum):
    """How index and files disagree."""

    NO_FILE = "no file"
    """An instance in the index has no file."""
    WRONG_LENGTH = "wrong length"
    """The file of an instance has another length than when it was stored."""
    OTHER_CONTENT = "other content"
    """The data set of an instance is not the one that was stored."""
    UNREADABLE = "unreadable"
    """The file of an instance cannot be read."""
    NO_ROW = "not in the index"
    """A file among those of the instances, or of those that were set aside, is not in the index."""
    COUNTERS = "wrong counters"
    """The counters of a study or of its series are not those of a recount."""
    NOT_SET_ASIDE = "no file set aside"
    """An instance that was set aside has no file."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A disagreement."""

    fault: Fault
    study_uid: str
    """Empty for a file that was set aside, and is not in the index."""
    series_uid: str = ""
    uid: str = ""
    path: str = ""
    """The file: relative to the data folder, or absolute for one that was adopted where it is."""

    @property
    def is_loss(self) -> bool:
        """Whether an instance is missing or damaged, which no repair brings back."""
        return self.fault not in (Fault.NO_ROW, Fault.COUNTERS)

    @property
    def is_mendable(self) -> bool:
        """Whether a repair can make the index agree with the files: a damaged file, and its row, stay as they are."""
        return self.fault not in (Fault.WRONG_LENGTH, Fault.OTHER_CONTENT, Fault.UNREADABLE)


class Verifier:
    """Compares the index with the files in the data folder; with `digests`, also their content.

    All of it blocks. Raises `sqlalchemy.exc.SQLAlchemyError` if the index cannot be read, and `FileNotFoundError` if
    there are instances but no files at all, as where a disk is not mounted.
    """

    def __init__(self, index: Index, data: Path, *, digests: bool = False) -> None:
        self.instances = 0
        """Instances that were compared."""
        self.bytes = 0
        """Bytes of their files."""
        self.total = 0
        """Instances in the index when the comparison began."""
        self._index = index
        self._data = data
        self._digests = digests
        self._threads = ThreadPoolExecutor(_THREADS, "dimse-verify")

    def findings(self) -> Iterator[list[Finding]]:
        """What is found, study by study; nothing for a study that is as it should be."""
        self._begin()
        with self._threads:
            for row in studies(self._index):
                yield self._confirmed(partial(self._study, row.uid))
                self.instances += row.instance_count
                self.bytes += row.bytes
            for page in study_folders(self._data):
                yield self._confirmed(partial(self._without_rows, page))
            yield self._confirmed(self._set_aside_without_rows)
            for _, found in groupby(self._confirmed(self._set_aside), key=attrgetter("study_uid")):
                yield list(found)

    def _begin(self) -> None:
        with self._index.reading() as connection:
            self.total = total(connection)
            check_mounted(connection, self._data)

    def _confirmed(self, look: Callable[[], list[Finding]]) -> list[Finding]:
        found = look()
        for _ in range(_LOOKS - 1):
            if not found:
                break
            again = set(look())
            found = [each for each in found if each in again]
        return self._without_new(found)

    def _without_new(self, found: list[Finding]) -> list[Finding]:
        """What was found, but for files whose rows are committed by now."""
        paths = defaultdict[str, set[str]](set)
        for each in found:
            if each.fault is Fault.NO_ROW:
                paths[each.study_uid].add(each.path)
        if not paths:
            return found
        with self._index.writing() as connection:
            exclude_writers(connection, set_aside if "" in paths else instance)  # both at once could deadlock
            for study_uid, its_paths in paths.items():
                its_paths.difference_update(_paths(connection, study_uid))
        return [each for each in found if each.fault is not Fault.NO_ROW or each.path in paths[each.study_uid]]

    def _study(self, study_uid: str) -> list[Finding]:
        there = files(self._data, study_uid)
        with self._index.reading() as connection:
            rows = instances(connection, study_uid)
            differences = recount(connection, study_uid)
            found = self._strays(connection, {study_uid: there.keys() - {each.path for each in rows}})
        found += self._damaged(study_uid, rows, there)
        if differences:
            found.append(Finding(Fault.COUNTERS, study_uid))
        return found

    def _damaged(self, study_uid: str, rows: Sequence[Stored], there: dict[str, int]) -> Iterator[Finding]:
        lengths = (there.get(each.path) or _length(self._data / each.path) for each in rows)
        faults: list[Fault | None] = [_wrong(each.size, length) for each, length in zip(rows, lengths, strict=True)]
        if self._digests:
            faults = list(self._threads.map(self._content, rows, faults))
        for each, fault in zip(rows, faults, strict=True):
            if fault is not None:
                yield Finding(fault, study_uid, each.series_uid, each.uid, each.path)

    def _content(self, stored: Stored, fault: Fault | None) -> Fault | None:
        if fault is not None:
            return fault
        try:
            return None if digest(self._data / stored.path, stored.offset) == stored.digest else Fault.OTHER_CONTENT
        except OSError:
            return Fault.UNREADABLE

    def _without_rows(self, study_uids: Sequence[str]) -> list[Finding]:
        with self._index.reading() as connection:
            paths = {uid: files(self._data, uid) for uid in unknown(connection, study_uids)}
            return self._strays(connection, paths)

    def _set_aside_without_rows(self) -> list[Finding]:
        there = files_set_aside(self._data)
        with self._index.reading() as connection:
            return self._strays(connection, {"": there.keys() - _paths(connection, "")})

    @staticmethod
    def _strays(connection: Connection, paths: Mapping[str, Collection[str]]) -> list[Finding]:
        """The files of studies that have no rows, but for those that are to be deleted."""
        leaving = paths_to_delete(connection) if any(paths.values()) else frozenset()
        return [
            Finding(Fault.NO_ROW, study_uid, path=path)
            for study_uid, its_paths in paths.items()
            for path in sorted(its_paths)
            if path not in leaving
        ]

    def _set_aside(self) -> list[Finding]:
        with self._index.reading() as connection:
            return [
                Finding(Fault.NOT_SET_ASIDE, row.study_uid, row.series_uid, row.uid, row.path)
                for row in connection.execute(select(set_aside).order_by(set_aside.c.study_uid))
                if _length(self._data / row.path) != row.bytes
            ]


def _paths(connection: Connection, study_uid: str) -> set[str]:
    """The files of a study that are in the index; for no study, those that were set aside."""
    if study_uid:
        return {each.path for each in instances(connection, study_uid)}
    return set(connection.scalars(select(set_aside.c.path)))


def _wrong(expected: int, length: int | None) -> Fault | None:
    if length is None:
        return Fault.NO_FILE
    return None if length == expected else Fault.WRONG_LENGTH


def _length(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def digest(path: Path, offset: int) -> bytes:
    """The digest of the data set that begins at `offset` in a file. Raises `OSError`."""
    hashed = new_digest()
    with open_file(path) as file:
        file.seek(offset)
        while piece := file.read(_READ):
            hashed.update(piece)
    return hashed.digest()
