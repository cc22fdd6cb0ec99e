"""Puts files into an archive: copies of them, or the files where they are.

1. A copy goes the way of an instance that is received: to `incoming/`, to the disk, into the index, to its place. A
   file is said to be stored only then.
2. Many files are read and copied by other processes, while the batch before is put into the index.
3. The same file again is no failure: an import that was interrupted is run again.
4. A disk that is full ends the import: each file after that would fail too.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from io import FileIO
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Final, NamedTuple, Self

from sqlalchemy.exc import SQLAlchemyError

from dimse.dataset import folders
from dimse.dataset.discover import Found, NotSent, files, sources
from dimse.dataset.part10 import encode_file_meta
from dimse.dataset.sources import DatasetSource, FileSource
from dimse.errors import DatasetError
from dimse.node.arrival import Outcome
from dimse.node.batches import MAXIMUM_BATCH, Batches, InDoubt
from dimse.node.deleting import delete
from dimse.node.examining import PIECE, has_content, write_all
from dimse.node.forcing import force
from dimse.node.incoming import IncomingFolder
from dimse.node.index import Index
from dimse.node.naming import link_or_copy
from dimse.node.options import NodeOptions
from dimse.node.placing import stored_path
from dimse.node.readers import CHUNK, Read, Readers, Result, Task, work

SOURCE: Final = "import"
"""Where the index says that imported instances come from."""

_FATAL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a file."""

    name: str
    """Its path; that of a member of a zip archive is behind an exclamation mark."""
    outcome: Outcome | None = None
    """None if it is not stored."""
    size: int = 0
    uid: str | None = None
    error: Exception | None = None
    is_skipped: bool = False
    """Whether it is no instance, and was merely found in a folder."""


class _Read(NamedTuple):
    """A file that was read, and its copy if it has one."""

    name: str
    path: str
    content: Read


@dataclass(slots=True)
class _Chunk:
    """Files that are read together."""

    files: list[tuple[Found, str | None]] = field(default_factory=list)
    """The files, and where to copy them to."""
    told: list[Imported] = field(default_factory=list)
    """What became of others, which are not read."""

    def tasks(self) -> list[Task]:
        return [Task(found.path, copy) for found, copy in self.files]


class Importer:
    """Puts files into an archive, inside its block. All of it blocks.

    `in_place` leaves the files where they are: the index then has their absolute paths. `source` is where the index
    says that they come from. Raises `OSError` if the data folder cannot be written.
    """

    def __init__(self, index: Index, options: NodeOptions, *, in_place: bool = False, source: str = SOURCE) -> None:
        self._index = index
        self._options = options
        self._in_place = in_place
        self._source = source
        self._data = options.data.resolve()
        self._copies: set[str] = set()
        """Files in `incoming/` that are not stored yet."""
        self._open = ExitStack()

    def __enter__(self) -> Self:
        storage = self._options.storage
        with ExitStack() as opened:
            self._incoming = IncomingFolder(self._options.data, storage.minimum_free)
            opened.callback(self._incoming.close)
            opened.callback(self._discard)
            self._batches = Batches(
                self._index,
                self._options.data,
                self._incoming,
                on_duplicate=storage.on_duplicate,
                fsync=storage.fsync,
            )
            self._readers = opened.enter_context(Readers())
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    def _discard(self) -> None:
        for copy in self._copies:
            folders.remove(copy)

    def run(self, paths: Iterable[str | os.PathLike[str]]) -> Iterator[Imported]:
        """What became of each file at and below `paths`. Raises `OSError` if nothing more can be stored."""
        batch: list[_Read] = []
        for each in self._read(self._chunks(paths)):
            if isinstance(each, _Read):
                batch.append(each)
            else:
                yield each
            if len(batch) == MAXIMUM_BATCH:
                yield from self._store(batch)
                batch = []
        yield from self._store(batch)

    def take(self, paths: Sequence[Path]) -> Iterator[Imported]:
        """Move files into the archive, at most `MAXIMUM_BATCH`. They are in the file system of the data folder."""
        batch: list[_Read] = []
        for path in paths:
            copy = self._new_copy()
            path.rename(copy)
            (result,) = work([Task(copy, None)])
            if isinstance(result, Read):
                batch.append(_Read(str(path), copy, result))
            else:
                yield _failed(str(path), result)
        yield from self._store(batch)

    def adopt(self, path: str) -> Imported:
        """Put a file that is in the data folder already into the index, and into its place; `path` is relative to it.

        It loses the name that it had, unless the index has an instance there by now.
        """
        file, copy = self._data / path, self._new_copy()
        link_or_copy(file, copy)
        (result,) = work([Task(copy, None)])
        if not isinstance(result, Read):
            return _failed(path, result)
        (imported,) = self._store([_Read(path, copy, result)])
        if imported.outcome in (None, Outcome.REJECTED):
            return imported
        arrival = result.arrival(copy, self._source, is_in_place=False, received_at=0)
        with self._index.reading() as connection:
            place = stored_path(connection, arrival)
        if place is None or not has_content(self._data / place, file, result.digest):
            return _failed(path, DatasetError("is in the index with a file that is damaged; both stay"))
        if place == path:
            return imported
        with self._index.writing() as connection:
            problem = delete(connection, self._data, [PurePosixPath(path)]).problem
        return imported if problem is None else _failed(path, problem)

    # Reading

    def _chunks(self, paths: Iterable[str | os.PathLike[str]]) -> Iterator[_Chunk]:
        chunk = _Chunk()
        for found in files(paths):
            if isinstance(found, NotSent):
                chunk.told.append(_not_read(found))
            elif _is_below(_folder_of(found.path), self._data):
                chunk.told.append(_failed(found.path, DatasetError("is in the data folder of the archive")))
            else:
                chunk.files.append((found, None if self._in_place else self._new_copy()))
            if len(chunk.files) + len(chunk.told) == CHUNK:
                yield chunk
                chunk = _Chunk()
        yield chunk

    def _new_copy(self) -> str:
        """A new file in `incoming/`."""
        copy = self._incoming.new_path()
        self._copies.add(copy)
        return copy

    def _read(self, chunks: Iterator[_Chunk]) -> Iterator[_Read | Imported]:
        """Read the files; a few of them here, as other processes take longer to begin than to read them."""
        first = list(islice(chunks, MAXIMUM_BATCH // CHUNK))
        asked = ((chunk, chunk.tasks()) for chunk in chain(first, chunks))
        if len(first) < MAXIMUM_BATCH // CHUNK:
            done: Iterator[tuple[_Chunk, list[Result]]] = ((chunk, work(tasks)) for chunk, tasks in asked)
        else:
            done = self._readers.results(asked)
        for chunk, results in done:
            yield from chunk.told
            yield from self._results(chunk, results)

    def _results(self, chunk: _Chunk, results: list[Result]) -> Iterator[_Read | Imported]:
        for (found, copy), result in zip(chunk.files, results, strict=True):
            if isinstance(result, Read):
                path = copy or str(_resolved(_folder_of(found.path)) / Path(found.path).name)
                yield _Read(found.path, path, result)
                continue
            if copy is not None:
                self._copies.discard(copy)
            if isinstance(result, DatasetError):
                yield from self._look_inside(found, result)
            else:
                yield _failed(found.path, result)

    def _look_inside(self, found: Found, error: DatasetError) -> Iterator[_Read | Imported]:
        """What is no instance may be a zip archive or a DICOMDIR, or else is not imported for the reason `error`."""
        for source in sources(found):
            if isinstance(source, NotSent):
                yield _not_read(source)
            elif isinstance(source, FileSource) and source.path == found.path:
                yield Imported(source.path, error=error)
            elif isinstance(source, FileSource):
                copy = None if self._in_place else self._new_copy()
                chunk = _Chunk([(Found(source.path, named=True), copy)])
                yield from self._results(chunk, work(chunk.tasks()))
            elif self._in_place:
                why = "is in a zip archive, so it cannot be imported in place"
                yield Imported(source.name, error=DatasetError(why))
            else:
                yield self._unpack(source)

    def _unpack(self, source: DatasetSource) -> _Read | Imported:
        path = self._new_copy()
        try:
            asyncio.run(_write(source, path))
        except (DatasetError, OSError) as error:
            return _failed(source.name, error)
        (result,) = work([Task(path, None)])
        return _Read(source.name, path, result) if isinstance(result, Read) else _failed(source.name, result)

    # Storing

    def _store(self, batch: Sequence[_Read]) -> Iterator[Imported]:
        if not self._in_place and batch:
            self._incoming.check_room()
            if self._options.storage.fsync:
                force([each.path for each in batch])
        now = time.time()
        arrivals = [
            each.content.arrival(each.path, self._source, is_in_place=self._in_place, received_at=now) for each in batch
        ]
        results = self._batches.place(arrivals)
        self._copies.difference_update(each.path for each in batch)
        for each, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                yield _failed(each.name, result)
            else:
                yield Imported(each.name, result.outcome, each.content.size, each.content.uids[2])


@lru_cache(maxsize=8)
def _resolved(folder: str) -> Path:
    """A folder without symbolic links; for many files, one after another."""
    return Path(folder).resolve()


@lru_cache(maxsize=8)
def _is_below(folder: str, other: Path) -> bool:
    return Path(folder).resolve().is_relative_to(other)


def _folder_of(path: str) -> str:
    return os.path.dirname(path)  # noqa: PTH120 - for each file


def _not_read(source: NotSent) -> Imported:
    return _failed(source.name, source.error, is_skipped=source.skipped)


def _failed(name: str, error: Exception, *, is_skipped: bool = False) -> Imported:
    """Raises the error if each file after this one would meet it too."""
    if isinstance(error, SQLAlchemyError | InDoubt) or getattr(error, "errno", None) in _FATAL:
        raise error
    return Imported(name, error=error, is_skipped=is_skipped)


async def _write(source: DatasetSource, path: str) -> None:
    """Write a member of a zip archive into a new file."""
    meta = encode_file_meta(
        sop_class_uid=source.sop_class_uid,
        sop_instance_uid=source.sop_instance_uid,
        transfer_syntax_uid=source.transfer_syntax_uid,
    )
    buffer, reader = memoryview(bytearray(PIECE)), source.open()
    try:
        with FileIO(path, "x") as file:
            write_all(file, meta)
            while count := await reader.read_into(buffer):
                write_all(file, buffer[:count])
    finally:
        reader.close()
