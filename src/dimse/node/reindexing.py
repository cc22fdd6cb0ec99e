"""Builds the index of an archive anew, from its files.

1. The new index is built beside the one before, and takes its place when it is complete. Nobody else may use the
   archive meanwhile.
2. What the files do not tell comes from the index before, if that can be read: when and from where an instance came,
   what was settled, which files elsewhere were adopted; and events, jobs, commitments, steps and what was set aside.
   That of a newer dimse is refused, as it is whole. One in a file that is damaged is kept under another name.
3. Without it, a study counts as settled: nobody wants to be told of all of them again.
4. No file is moved or deleted: the index has the places where they are.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Table, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from dimse.errors import DatasetError, DimseError
from dimse.node.arrival import Arrival, OnDuplicate, Outcome
from dimse.node.batches import MAXIMUM_BATCH
from dimse.node.data_folder import alone, has_index, index_url
from dimse.node.index import Index, insert_missing
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
)
from dimse.node.migrating import NewerVersion
from dimse.node.new_index import new_index
from dimse.node.options import NodeOptions
from dimse.node.places import is_ours, usual_path
from dimse.node.placing import place
from dimse.node.readers import CHUNK, Read, Readers, Result, Task, work
from dimse.node.schema import event, job, metadata, set_aside, source, study
from dimse.node.shared_texts import SharedTexts

SOURCE: Final = "reindex"
"""Where instances come from of which no index says it, and why their studies are settled."""

_REBUILT: Final = frozenset(
    ("study", "series", "request", "instance", "name_word", "uid", "source", "storage", "set_aside")
)
"""The tables that are made of the files; the other ones are copied."""

_PAGE: Final = 500
"""Rows that are copied at a time."""

NO_INDEX: Final = "there is none"
"""Why an index that is missing cannot be read."""

_TIMES: Final = ("created_at", "changed_at", "settled_at", "settled_because", "source")
"""What the files do not tell of a study."""

_STUDIES: Final = (
    select(study.c.id, study.c.uid.label("its_uid"), *(study.c[name] for name in _TIMES))
    .order_by(study.c.id)
    .limit(_PAGE)
)
_UPDATE: Final = (
    update(study).where(study.c.uid == bindparam("its_uid")).values({name: bindparam(name) for name in _TIMES})
)


@dataclass(frozen=True, slots=True)
class Indexed:
    """What became of a file."""

    path: str
    """Relative to the data folder, or absolute for a file that was adopted where it is."""
    outcome: Outcome | None = None
    """None if it is not in the index."""
    size: int = 0
    error: Exception | None = None
    """Why it is not in the index, or what is wrong with it there."""


class _File(NamedTuple):
    """A file to put into the index, and what the index before had of it."""

    path: str
    known: Stored | None


class Reindexing:
    """Builds the index of an archive anew. All of it blocks."""

    def __init__(self, options: NodeOptions) -> None:
        self.total: int | None = None
        """Instances of the index before; None if that is not known."""
        self.problem: str | None = None
        """Why the index before cannot be read, without data of patients; None if it can."""
        self._options = options
        self._data = options.data
        self._new = new_index(options.data, options.index)
        self._before: Index | None = None
        self._texts = SharedTexts()

    def results(self) -> Generator[Indexed, None, None]:
        """What became of each file. The new index is in its place when the iteration has ended.

        Raises `OSError` if a node or another command uses the archive, the index cannot be written, or there are no
        files at all of what the index before has; `NewerVersion` if a newer dimse has made that; and
        `sqlalchemy.exc.SQLAlchemyError` for a database that cannot be used.
        """
        with alone(self._data):
            self._open_before()
            index = self._new.open()
            try:
                with Readers() as readers:
                    yield from self._index_all(index, readers)
                self._carry_over(index)
            finally:
                index.close()
                self._close_before()
            self._new.take_place(keeps=self.problem not in (None, NO_INDEX))

    # The index before

    def _open_before(self) -> None:
        if self._options.index is None and not has_index(self._data):
            self.problem = NO_INDEX
            return
        try:
            self._before = Index(self._options.index or index_url(self._data))
            with self._before.reading() as connection:
                self.total = total(connection)
                check_mounted(connection, self._data)
        except FileNotFoundError:
            self._close_before()
            raise
        except NewerVersion as error:
            if self._options.index is not None:
                raise
            away = f"move {self._data / 'index.sqlite'} away, to do without what it has"
            raise NewerVersion(f"{error}; or {away}") from None
        except (DimseError, SQLAlchemyError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Do without the index before, as its file is damaged. Raises the error if it is in PostgreSQL."""
        if self._options.index is not None:  # the server was lost, or is busy: all is there the next time
            raise error
        self.problem = " ".join(str(getattr(error, "orig", error)).split())
        self._close_before()

    def _close_before(self) -> None:
        if self._before is not None:
            self._before.close()
            self._before = None

    def _known(self, study_uid: str) -> dict[str, Stored]:
        """The instances of a study in the index before, by their files."""
        if self._before is None:
            return {}
        try:
            with self._before.reading() as connection:
                return {each.path: each for each in instances(connection, study_uid)}
        except SQLAlchemyError as error:
            self._give_up(error)
            return {}

    # The files

    def _files(self) -> Iterator[_File]:
        """The files of all instances, study by study; first those that the index before has."""
        leaving = self._leaving()
        for page in study_folders(self._data):
            for study_uid in page:
                known = self._known(study_uid)
                elsewhere = [path for path in known if Path(path).is_absolute()]
                here = [path for path in files(self._data, study_uid) if path not in leaving]
                for path in sorted([*here, *elsewhere], key=lambda path: (path not in known, path)):
                    yield _File(path, known.get(path))
        for row in self._studies_before():
            if not (self._data / "studies" / row).is_dir():
                for path, known_one in self._known(row).items():
                    if Path(path).is_absolute():
                        yield _File(path, known_one)

    def _leaving(self) -> frozenset[str]:
        """The files that are to be deleted."""
        try:
            if self._before is not None:
                with self._before.reading() as connection:
                    return paths_to_delete(connection)
        except SQLAlchemyError as error:
            self._give_up(error)
        return frozenset()

    def _studies_before(self) -> Iterator[str]:
        try:
            if self._before is not None:
                for row in studies(self._before):
                    yield row.uid
        except SQLAlchemyError as error:
            self._give_up(error)

    def _index_all(self, index: Index, readers: Readers) -> Iterator[Indexed]:
        batch: list[tuple[_File, Read]] = []
        for file, result in self._read(readers):
            if isinstance(result, Read):
                batch.append((file, result))
            else:
                yield Indexed(file.path, error=result)
            if len(batch) == MAXIMUM_BATCH:
                yield from self._place(index, batch)
                batch = []
        yield from self._place(index, batch)

    def _read(self, readers: Readers) -> Iterator[tuple[_File, Result]]:
        found = self._files()
        chunks = iter(lambda: list(islice(found, CHUNK)), [])
        asked = ((chunk, [Task(str(self._data / file.path), None) for file in chunk]) for chunk in chunks)
        for chunk, results in readers.results(asked):
            yield from zip(chunk, results, strict=True)

    def _place(self, index: Index, batch: Sequence[tuple[_File, Read]]) -> Iterator[Indexed]:
        arrivals = [_arrival(file, read) for file, read in batch]
        with index.writing() as connection:
            placed = place(connection, arrivals, OnDuplicate.KEEP, self._texts)
            for (file, _), each in zip(batch, placed, strict=True):
                if each.outcome is Outcome.SET_ASIDE and each.path is not None:  # it is not moved there
                    which = set_aside.c.path == each.path
                    connection.execute(update(set_aside).where(which).values(path=file.path))
        for (file, read), each in zip(batch, placed, strict=True):
            yield Indexed(file.path, each.outcome, read.size, _damage(file, read))

    # What is not in the files

    def _carry_over(self, index: Index) -> None:
        if self._before is not None:
            try:
                with self._before.reading() as connection:
                    check_mounted(connection, self._data)  # to the end
                self._copy(self._before, index)
            except SQLAlchemyError as error:
                self._give_up(error)
        with index.writing() as connection:
            if self._before is None:
                settled = {"settled_at": time.time(), "settled_because": SOURCE}
                connection.execute(update(study).where(study.c.settled_at.is_(None)).values(settled))
            self._set_aside(connection)

    def _copy(self, before: Index, index: Index) -> None:
        with before.reading() as old, index.writing() as new:
            for table in (job, event):
                new.execute(delete(table))
            for table in metadata.sorted_tables:
                if table.name not in _REBUILT:
                    _copy_table(old, new, table)
            names = {row.id: row.name for row in old.execute(select(source))}
            numbers = self._texts.numbers(new, source, names.values())
            for row in old.execute(select(set_aside)).mappings():
                if not is_ours(row["path"]) or (self._data / row["path"]).exists():
                    new.execute(insert_missing(new, set_aside), _renumbered(dict(row), names, numbers))
            last = 0
            while page := old.execute(_STUDIES.where(study.c.id > last)).mappings().all():
                new.execute(_UPDATE, [_renumbered(dict(row), names, numbers) for row in page])
                last = page[-1]["id"]

    def _set_aside(self, connection: Connection) -> None:
        """Note files that were set aside, if the index before has not told of them, and that no job is to delete."""
        known = paths_to_delete(connection).union(connection.scalars(select(set_aside.c.path)))
        missing = [path for path in files_set_aside(self._data) if path not in known]
        for path in missing:
            (result,) = work([Task(str(self._data / path), None)])
            if isinstance(result, Read):
                study_uid, series_uid, uid, _ = result.uids
                row: dict[str, Any] = {"study_uid": study_uid, "series_uid": series_uid, "uid": uid}
                row |= {"digest": result.digest, "bytes": result.size}
                row |= {"path": path, "received_at": result.changed_at}
                connection.execute(insert_missing(connection, set_aside), row)


def _damage(file: _File, read: Read) -> DatasetError | None:
    if file.known is None or file.known.digest == read.digest:
        return None
    return DatasetError("is in the index, but its content is not the one that was stored")


def _arrival(file: _File, read: Read) -> Arrival:
    """The arrival of a file that stays where it is. Its path is in the index if it is not the usual one."""
    known, is_usual = file.known, file.path == usual_path(*read.uids[:3])
    from_where = SOURCE if known is None or known.source is None else known.source
    received_at = read.changed_at if known is None else known.received_at
    return read.arrival(file.path, from_where, is_in_place=not is_usual, received_at=received_at)


def _copy_table(old: Connection, new: Connection, table: Table) -> None:
    """Copy a table, with the numbers of its rows."""
    with old.execution_options(yield_per=_PAGE).execute(select(table)) as found:
        for rows in found.mappings().partitions():
            new.execute(insert(table), [dict(row) for row in rows])
    if new.dialect.name == "postgresql" and "id" in table.c:
        last = select(func.max(table.c.id)).scalar_subquery()
        new.execute(select(func.setval(func.pg_get_serial_sequence(table.name, "id"), last)))


def _renumbered(row: Mapping[str, Any], names: Mapping[int, str], numbers: Mapping[str, int]) -> dict[str, Any]:
    """A row with the number that its source has in the new index."""
    found = {name: value for name, value in row.items() if name != "id"}
    found["source"] = None if row["source"] is None else numbers[names[row["source"]]]
    return found
