"""Copies an archive into a folder from which a node can serve, while the archive works.

1. First the index, as it is at one moment, then the files that it names: each instance that was stored before has its
   file. Only when all of them are durable does the new index take the place of the one of the backup before.
2. The index of a backup is a SQLite file, also that of an archive whose index is in PostgreSQL.
3. A file that is there, with the same length and time, is not copied again. Files are copied, never linked: a fault of
   a disk, or a program that changes a file, must not reach both.
4. A copy is compared with the digest in the index. A damaged file, or one that cannot be read, replaces nothing; it is
   told each time.
5. An instance whose file was adopted where it is has its file in the backup, at the usual place.
6. An instance that is deleted while the backup is made is not in it.
7. Files that the archive has no longer are moved to `removed/`: they may be what the backup is wanted for. So is one
   that gets other content. There, too, none is overwritten.
8. The folder has a mark. Without it, an archive there is not a backup, and is not replaced: neither its index, which
   may be in PostgreSQL, nor its files.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import closing, suppress
from enum import Enum
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from dimse.dataset.folders import sync_path
from dimse.node.arrival import new_digest
from dimse.node.data_folder import served
from dimse.node.examining import data_set_begins, write_all
from dimse.node.forcing import force
from dimse.node.index import Index
from dimse.node.inventory import (
    Stored,
    files,
    files_set_aside,
    instances,
    is_stored,
    rows_of,
    studies,
    study_folders,
    total,
)
from dimse.node.new_index import write_log_back
from dimse.node.opening import open_file
from dimse.node.places import usual_path
from dimse.node.removing import remove_lost
from dimse.node.schema import instance, metadata, set_aside
from dimse.node.verifying import digest

_MARK: Final = "backup"
"""The file by which the folder of a backup is known; it names the data folder."""

_INDEX: Final = "index.sqlite"
_NEW: Final = "index.new.sqlite"
_COPYING: Final = "copying"
_REMOVED: Final = "removed"
_BATCH: Final = 256
"""Files that are forced to the disk together."""

_READ: Final = 1024 * 1024
_RECENT: Final = 5
"""Seconds since an instance was received for which its file may still be on its way to its place."""

_PAUSE: Final = 0.1
"""Seconds between two looks for it."""

_ROWS: Final = 5000
"""Rows of PostgreSQL that are copied at a time."""


_AT_USUAL_PLACE: Final = update(instance).where(instance.c.id == bindparam("adopted")).values(path=None)


class Outcome(Enum):
    """What became of a file."""

    COPIED = "copied"
    SAME = "same"
    """The backup has it already."""
    DAMAGED = "damaged"
    """Its content is not the one that was stored, or cannot be read; if the backup has a file, that stays."""
    MISSING = "missing"
    """The archive has lost it."""
    REMOVED = "removed"
    """The archive has it no longer."""


class Step(NamedTuple):
    """What became of a file."""

    outcome: Outcome
    path: str
    """As the archive names it."""
    size: int


class _File(NamedTuple):
    """A file to copy."""

    path: str
    target: str
    size: int
    offset: int | None
    """Where its data set begins; None if the index does not have it."""
    digest: bytes
    received_at: float


class _Copied(NamedTuple):
    """A copy that has no name yet."""

    temporary: Path
    file: _File
    is_whole: bool


class Backup:
    """A backup of the archive with this index and data folder into the folder `target`.

    All of it blocks. Raises `ValueError` if one of the folders is in the other one, or `target` is an archive, and
    `OSError`.
    """

    def __init__(self, index: Index, data: Path, target: Path) -> None:
        self._data, self._target = data.resolve(), target.resolve()
        if self._data.is_relative_to(self._target) or self._target.is_relative_to(self._data):
            raise ValueError(f"{target} must be outside of the data folder, and not above it")
        is_archive = any((self._target / name).exists() for name in (_INDEX, "studies"))
        if is_archive and not (self._target / _MARK).exists():
            raise ValueError(f"{target} must not be an archive that is not a backup, as that would be replaced")
        self._index = index
        self._waiting: list[_Copied] = []
        self._numbers = 0
        self.total = 0
        """Instances in the index that is copied, once it is."""

    def steps(self) -> Generator[Step, None, None]:
        """Make it, file by file. It is complete when the iteration has ended."""
        with served(self._target):
            (self._target / _MARK).write_text(f"{self._data}\n", encoding="utf-8")
            shutil.rmtree(self._target / _COPYING, ignore_errors=True)
            (self._target / _COPYING).mkdir()
            self._copy_index()
            copy = Index.at(self._target / _NEW)
            try:
                yield from self._copy_files(copy)
            finally:
                copy.close()
            self._take_index()
            (self._target / _COPYING).rmdir()
            yield from self._remove()

    # The index

    def _copy_index(self) -> None:
        new = self._target / _NEW
        for name in (_NEW, f"{_NEW}-wal", f"{_NEW}-shm"):
            (self._target / name).unlink(missing_ok=True)
        if self._index.is_sqlite:
            _vacuum(self._index, new)
            return
        copy = Index.at(new)
        try:
            with self._index.reading() as source, copy.writing() as target:
                _copy_tables(source, target)
        finally:
            copy.close()

    def _take_index(self) -> None:
        new, old = self._target / _NEW, self._target / _INDEX
        write_log_back(new)
        force([new])
        if old.exists():
            write_log_back(old)  # its log must not be taken for that of the new one
        new.replace(old)
        sync_path(str(self._target))

    # The files

    def _copy_files(self, copy: Index) -> Iterator[Step]:
        with copy.reading() as connection:
            self.total = total(connection) + (connection.scalar(select(func.count()).select_from(set_aside)) or 0)
        for row in studies(copy):
            with copy.reading() as connection:
                rows = instances(connection, row.uid)
            yield from self._copy_study(copy, row.uid, rows)
        for row in rows_of(copy, set_aside):
            target = row.path
            if Path(row.path).is_absolute():
                target = f"set-aside/{row.uid}-{row.digest.hex()}.dcm"
                with copy.writing() as connection:
                    connection.execute(update(set_aside).where(set_aside.c.id == row.id).values(path=target))
            for step in self._copy(_File(row.path, target, row.bytes, None, row.digest, row.received_at)):
                if step.outcome is Outcome.MISSING and not self._has_aside(row):
                    with copy.writing() as connection:
                        connection.execute(delete(set_aside).where(set_aside.c.id == row.id))
                else:
                    yield step
        yield from self._finish()

    def _copy_study(self, copy: Index, study_uid: str, rows: list[Stored]) -> Iterator[Step]:
        adopted, gone = [], []
        for row in rows:
            target = row.path
            if Path(row.path).is_absolute():
                target = usual_path(study_uid, row.series_uid, row.uid)
                adopted.append({"adopted": row.id})
            for step in self._copy(_File(row.path, target, row.size, row.offset, row.digest, row.received_at)):
                if step.outcome is Outcome.MISSING and not self._has(study_uid, row):
                    gone.append((row.series_uid, row.uid))
                else:
                    yield step
        if adopted or gone:
            with copy.writing() as connection:
                if adopted:
                    connection.execute(_AT_USUAL_PLACE, adopted)
                remove_lost(connection, study_uid, gone)

    def _has(self, study_uid: str, row: Stored) -> bool:
        """Whether the archive still has an instance."""
        with self._index.reading() as connection:
            return is_stored(connection, study_uid, row.series_uid, row.uid)

    def _has_aside(self, row: Row[Any]) -> bool:
        """The same of one that was set aside."""
        its = (set_aside.c.study_uid, set_aside.c.series_uid, set_aside.c.uid, set_aside.c.digest)
        which = [column == getattr(row, column.name) for column in its]
        with self._index.reading() as connection:
            return connection.scalar(select(set_aside.c.id).where(*which)) is not None

    def _copy(self, file: _File) -> Iterator[Step]:
        """Copy a file, unless it is there; it gets its name with the other ones of its batch."""
        source, target = self._data / file.path, self._target / file.target
        self._numbers += 1
        temporary = self._target / _COPYING / str(self._numbers)
        try:
            found = _when_there(source, file.received_at)
            if _is_same(target, found):
                yield Step(Outcome.SAME, file.path, file.size)
                return
            is_whole = _copy_content(source, temporary, file)
        except FileNotFoundError:
            temporary.unlink(missing_ok=True)
            yield Step(Outcome.MISSING, file.path, file.size)
            return
        except _Unreadable:
            yield Step(Outcome.DAMAGED, file.path, file.size)
            return
        if is_whole:
            os.utime(temporary, ns=(found.st_atime_ns, found.st_mtime_ns))
        else:  # without the time of the file, it is not taken for the same by the next backup
            yield Step(Outcome.DAMAGED, file.path, file.size)
            if target.exists() or not temporary.stat().st_size:
                temporary.unlink()
                return
        self._waiting.append(_Copied(temporary, file, is_whole))
        if len(self._waiting) == _BATCH:
            yield from self._finish()

    def _finish(self) -> Iterator[Step]:
        """Give the files of a batch their names, when they are durable."""
        force([each.temporary for each in self._waiting])
        for each in self._waiting:
            target = self._target / each.file.target
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists() and not _has_content(target, each.file):
                yield self._put_away(each.file.target)
            each.temporary.replace(target)
            if each.is_whole:
                yield Step(Outcome.COPIED, each.file.path, each.file.size)
        self._waiting.clear()

    def _remove(self) -> Iterator[Step]:
        """Move away what the index of the backup does not name."""
        index = Index.at(self._target / _INDEX)
        try:
            for page in study_folders(self._target):
                for study_uid in page:
                    with index.reading() as connection:
                        named = {row.path for row in instances(connection, study_uid)}
                    yield from self._move_away(files(self._target, study_uid), named)
            with index.reading() as connection:
                named = set(connection.scalars(select(set_aside.c.path)))
            yield from self._move_away(files_set_aside(self._target), named)
        finally:
            index.close()

    def _move_away(self, found: Iterable[str], named: Collection[str]) -> Iterator[Step]:
        for path in found:
            if path not in named:
                yield self._put_away(path)

    def _put_away(self, path: str) -> Step:
        """Move a file of the backup to `removed/`."""
        file, target = self._target / path, self._target / _REMOVED / path
        if target.exists():
            target = target.with_name(f"{target.stem}-{secrets.token_hex(8)}{target.suffix}")
        target.parent.mkdir(parents=True, exist_ok=True)
        size = file.stat().st_size
        file.replace(target)
        return Step(Outcome.REMOVED, path, size)


def _when_there(path: Path, received_at: float) -> os.stat_result:
    """The file; one that was received just now may be on its way to its place.

    Raises `FileNotFoundError`, and `_Unreadable` for any other `OSError`.
    """
    while True:
        try:
            return path.stat()
        except FileNotFoundError:
            if time.time() >= received_at + _RECENT:
                raise
        except OSError as error:
            raise _Unreadable from error
        time.sleep(_PAUSE)


def _is_same(path: Path, other: os.stat_result) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return (found.st_size, found.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


class _Unreadable(Exception):
    """A file of the archive cannot be read."""


def _pieces(path: Path) -> Iterator[bytes]:
    """The content of a file. Raises `FileNotFoundError`, and `_Unreadable` for any other `OSError`."""
    try:
        with open_file(path) as file:
            while piece := file.read(_READ):
                yield piece
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _Unreadable from error


def _copy_content(source: Path, target: Path, file: _File) -> bool:
    """Copy a file, as far as it can be read. Returns whether it is the one that was stored.

    Raises `FileNotFoundError` if it is not there, and `OSError` if the copy cannot be written.
    """
    hashed, size, offset = new_digest(), 0, file.offset
    with target.open("xb", buffering=0) as writing, suppress(_Unreadable):
        for piece in _pieces(source):
            if offset is None:
                offset = data_set_begins(piece)
            hashed.update(memoryview(piece)[max(0, offset - size) :])
            write_all(writing, piece)
            size += len(piece)
    return size == file.size and hashed.digest() == file.digest


def _has_content(path: Path, file: _File) -> bool:
    """Whether a file of the backup is the one that was stored, but for its time."""
    with suppress(OSError):
        return file.offset is not None and digest(path, file.offset) == file.digest
    return False


def _vacuum(index: Index, new: Path) -> None:
    """Copy an index in SQLite, as it is at this moment, into a new file. Raises `OSError`."""
    try:
        with closing(index.engine.raw_connection()) as connection:
            connection.cursor().execute("VACUUM INTO ?", (str(new),))
    except sqlite3.Error as error:
        raise OSError(errno.EIO, f"the index cannot be copied: {error}", str(new)) from None


def _copy_tables(source: Connection, target: Connection) -> None:
    for table in metadata.sorted_tables:
        with source.execution_options(yield_per=_ROWS).execute(select(table)) as found:
            for rows in found.mappings().partitions():
                target.execute(insert(table), [dict(row) for row in rows])
