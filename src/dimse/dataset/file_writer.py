"""Writing received files without blocking the event loop."""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

from dimse.dataset.part10 import read_file_meta
from dimse.dataset.part10_file import Part10File
from dimse.dataset.threads import in_worker
from dimse.errors import DatasetError

_MAX_BLOCKING: Final = 0.001
"""Seconds that a disk access may block the event loop. Waking a thread and waiting for it takes a tenth of that."""

_MAX_UNTHREADED_SYNC: Final = 1024 * 1024
"""Bytes. A larger file is always fsynced in a thread."""


class _Pace:
    """Runs one kind of disk access on the event loop while it takes less than `_MAX_BLOCKING`, else in a thread.

    When a disk slows down, the event loop is blocked once.
    """

    def __init__(self) -> None:
        self._seconds = math.inf
        """Those that the last access took."""

    async def run(self, function: Callable[..., None], *arguments: object) -> None:
        if self._seconds < _MAX_BLOCKING:
            self._timed(function, *arguments)
        else:
            await in_worker(self._timed, function, *arguments)

    def _timed(self, function: Callable[..., None], *arguments: object) -> None:
        start = time.perf_counter()
        function(*arguments)
        self._seconds = time.perf_counter() - start


class Disk:
    """Decides where file operations run, by how long the last one of the same kind took."""

    def __init__(self) -> None:
        self.writing = _Pace()
        """The pace of writes to the page cache."""
        self.syncing = _Pace()
        """The pace of creating, writing and fsyncing a small file in one call."""


class Instance(NamedTuple):
    """The SOP instance in a file."""

    uid: str
    transfer_syntax_uid: str


class Stored(Enum):
    """How a received instance was stored."""

    NEW = "new"
    """It is a new file."""
    SAME = "same"
    """It was already stored with the same content; nothing was changed."""
    KEPT = "kept"
    """It was already stored with other content, which was kept."""
    REPLACED = "replaced"
    """It was already stored with other content, which it replaced."""


class FileWriter:
    """Writes a received instance to a file; one that arrives complete is created, written and named in one call.

    `paths` are possible names in one folder, in order of preference: a name that another instance or file has is
    skipped. With `replaces`, a stored instance with the same UID but other content is replaced.
    """

    def __init__(
        self, paths: Sequence[str], header: bytes, disk: Disk, instance: Instance, *, fsync: bool, replaces: bool
    ) -> None:
        self._paths, self._header, self._disk, self._fsync = paths, header, disk, fsync
        self._instance, self._replaces = instance, replaces
        self._file: Part10File | None = None
        self._size = 0
        self.path = paths[0]
        self.stored: Stored | None = None
        """Set by the last `write`."""

    async def write(self, buffers: list[memoryview], *, is_last: bool) -> None:
        """Append; with `is_last` also name the file. Raises `FileExistsError` if other files have all of its names."""
        if self._fsync:
            self._size += sum(map(len, buffers))
        if self._size > _MAX_UNTHREADED_SYNC and is_last:
            await in_worker(self._write, buffers, is_last)
        else:
            pace = self._disk.syncing if is_last and self._fsync else self._disk.writing
            await pace.run(self._write, buffers, is_last)
        if is_last and self.stored is None:
            await in_worker(self._find_name)

    def _write(self, buffers: list[memoryview], is_last: bool) -> None:
        if self._file is None:
            self._file = Part10File(self.path, self._header, fsync=self._fsync)
        self._file.write(buffers)
        if is_last and self._file.commit():
            self.stored = Stored.NEW

    def _find_name(self) -> None:
        """Find a name after the first one was taken, or the same instance under one of them."""
        assert self._file is not None  # noqa: S101 - it was finished
        for path in self._paths:
            self.path = path
            self.stored = self._take(self._file)
            if self.stored is not None:
                return
        raise FileExistsError(errno.EEXIST, "another file has this name", self.path)

    def _take(self, file: Part10File) -> Stored | None:
        """Give the file the name `path`; None if another instance or another file has it."""
        for _ in range(2):  # the file of that name may be removed while it is read; then the name is free
            if file.take(self.path):
                return Stored.NEW
            with suppress(FileNotFoundError):
                return self._stored_again(file) if _instance_of(self.path) == self._instance.uid else None
        return None

    def _stored_again(self, file: Part10File) -> Stored:
        with Path(self.path).open("rb") as there:
            meta = read_file_meta(there)
            there.seek(meta.length)
            is_same = meta.transfer_syntax_uid == self._instance.transfer_syntax_uid and file.is_same_as(there)
        if self._replaces and not is_same:
            file.take(self.path, replace=True)
            return Stored.REPLACED
        file.discard()
        return Stored.SAME if is_same else Stored.KEPT

    async def discard(self) -> None:
        """Remove the file unless it was finished."""
        if self._file is not None:
            await in_worker(self._file.discard)


def _instance_of(path: str) -> str | None:
    """The SOP Instance UID of a file; None if it is not an instance. Raises `FileNotFoundError`."""
    try:
        with Path(path).open("rb") as file:
            return read_file_meta(file).sop_instance_uid
    except DatasetError:
        return None
