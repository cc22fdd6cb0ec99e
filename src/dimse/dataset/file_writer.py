"""Writing received files without blocking the event loop."""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from typing import BinaryIO, Final, NamedTuple

from dimse.dataset import folders
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

    `names` are possible names below the folder `root`, in order of preference: a name that another instance or file
    has is skipped. With `replaces`, a stored instance with the same UID but other content is replaced.

    The `OSError`s that it raises have no name that a peer sent: only the `root`, or a single name, the caller's.
    """

    def __init__(
        self,
        root: str,
        names: Sequence[str],
        header: bytes,
        disk: Disk,
        instance: Instance,
        *,
        fsync: bool,
        replaces: bool,
    ) -> None:
        self._root, self._names, self._header = root, names, header
        self._disk, self._fsync = disk, fsync
        self._instance, self._replaces = instance, replaces
        self._file: Part10File | None = None
        self._size = 0
        self._name = names[0]
        self._made: list[str] = []
        """The root and the folders above it, as far as they were missing."""
        self.stored: Stored | None = None
        """Set by the last `write`."""

    @property
    def path(self) -> str:
        """The file; final after the last `write`."""
        return os.path.join(self._root, self._name)

    async def write(self, buffers: list[memoryview], *, is_last: bool) -> None:
        """Append; with `is_last` also name the file. Raises `FileExistsError` if other files have all of its names."""
        try:
            await self._write_somewhere(buffers, is_last)
        except OSError as error:
            if error.errno is None:
                raise
            shown = self.path if len(self._names) == 1 else self._root
            raise OSError(error.errno, error.strerror, shown) from None

    async def _write_somewhere(self, buffers: list[memoryview], is_last: bool) -> None:
        if not folders.is_prepared(self._root):
            await in_worker(self._prepare)
        if self._fsync:
            self._size += sum(map(len, buffers))
        if self._size > _MAX_UNTHREADED_SYNC and is_last:
            await in_worker(self._write, buffers, is_last)
        else:
            pace = self._disk.syncing if is_last and self._fsync else self._disk.writing
            await pace.run(self._write, buffers, is_last)
        if is_last and self.stored is None:
            await in_worker(self._find_name)

    def _prepare(self) -> None:
        self._made += folders.prepare(self._root)

    def _write(self, buffers: list[memoryview], is_last: bool) -> None:
        file = self._file = self._file or self._create()
        file.write(buffers)
        if is_last and file.commit(self._name):
            self.stored = Stored.NEW

    def _create(self) -> Part10File:
        for _ in range(folders.ATTEMPTS):
            with suppress(FileNotFoundError):
                return Part10File(self._root, self._header, fsync=self._fsync)
            folders.forget(self._root)  # it was removed
            self._prepare()
        return Part10File(self._root, self._header, fsync=self._fsync)

    def _find_name(self) -> None:
        """Find a name after the first one was taken, or the same instance under one of them."""
        assert self._file is not None  # noqa: S101 - it was finished
        for name in self._names:
            self._name = name
            self.stored = self._take(self._file)
            if self.stored is not None:
                return
        raise FileExistsError(errno.EEXIST, "another file has this name")

    def _take(self, file: Part10File) -> Stored | None:
        """Give the file the name `path`; None if another instance or another file has it."""
        for _ in range(folders.ATTEMPTS):  # the file of that name may be removed while it is read
            if file.take(self._name):
                return Stored.NEW
            with suppress(FileNotFoundError):
                return self._compare(file)
        return None

    def _compare(self, file: Part10File) -> Stored | None:
        """What to do about the file that has the name; None if it is not this instance."""
        *parents, name = self._name.split(os.sep)
        folder = folders.Folder(self._root, parents)
        try:
            descriptor = folder.open(name)
            if descriptor is None:
                return None
            with os.fdopen(descriptor, "rb") as there:
                stored = self._stored_again(file, there)
                if self._fsync and stored in (Stored.SAME, Stored.KEPT):
                    _sync(there)
                    folder.sync()
        finally:
            folder.close()
        if stored is Stored.REPLACED:
            file.take(self._name, replace=True)
        elif stored is not None:
            file.discard()
        return stored

    def _stored_again(self, file: Part10File, there: BinaryIO) -> Stored | None:
        folders.wait_for_lock(there.fileno())
        if os.fstat(there.fileno()).st_nlink == 0:
            raise FileNotFoundError
        try:
            meta = read_file_meta(there)
        except DatasetError:
            return None
        if meta.sop_instance_uid != self._instance.uid:
            return None
        there.seek(meta.length)
        if meta.transfer_syntax_uid == self._instance.transfer_syntax_uid and file.is_same_as(there):
            return Stored.SAME
        return Stored.REPLACED if self._replaces else Stored.KEPT

    async def discard(self) -> None:
        """Remove the file unless it was finished, and the folders that were made for it."""
        if self._file is not None or self._made:
            await in_worker(self._discard)

    def _discard(self) -> None:
        if self._file is not None:
            self._file.discard()
        folders.remove_empty(self._root, self._made)


def _sync(file: BinaryIO) -> None:
    if os.name != "nt":  # where it must be open for writing
        os.fsync(file.fileno())
