"""Files of instances on their way: each process has a folder in `incoming/`, and holds its lock.

1. A file is written here, and has another name only when the index is about to have it. So all that a crash left
   undone is in here.
2. The lock (flock) of a folder is free when its process has ended: a node that begins takes such folders over.
3. The folder of an ended process that had nothing left undone is removed by that process.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from itertools import count
from pathlib import Path
from typing import Final

from dimse.dataset import folders
from dimse.dataset.file_writer import Disk
from dimse.dataset.part10_file import write_all
from dimse.dataset.threads import in_worker
from dimse.node.arrival import new_digest

_LOCK: Final = "lock"
_SUFFIX: Final = ".dcm"
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
PREPARED: Final = 64
"""Empty files that are made at a time."""

_LOOK_AGAIN: Final = 0.1
"""Seconds after which the room on the disk is looked at again."""

_CHECKED: Final = 16 * 1024 * 1024
"""Bytes of an instance after which the room on the disk is looked at again."""
_TRIED: Final = 64 * 1024
"""Bytes that are written to find out whether a disk works."""


class _Names(Enum):
    """Which names in a folder may not have been forced to the disk."""

    NONE = "none"
    SOME = "those of files that were made since"
    UNKNOWN = "others make files, so that nobody knows"


class IncomingFolder:
    """The folder of this process in `incoming/` of the data folder `data`; it is made.

    `minimum_free` are the bytes that stay free on its file system. Raises `OSError`.
    """

    def __init__(self, data: Path, minimum_free: int = 0) -> None:
        self._minimum_free = minimum_free
        self._next_look = 0.0
        self._numbers = count()
        self.path, self._lock = _new_folder(data / "incoming")
        self._path = str(self.path)
        self._prepared: list[tuple[str, int]] = []
        self._unforced = _Names.NONE
        for folder in (self.path.parent, data):
            folders.sync_path(str(folder))

    def new_path(self) -> str:
        """The path of a file that is not there yet, for a caller that makes it."""
        self._unforced = _Names.UNKNOWN
        return self._new_path()

    def _new_path(self) -> str:
        return f"{self._path}{os.sep}{next(self._numbers):x}{_SUFFIX}"

    def open_new(self) -> tuple[str, int]:
        """The path and the descriptor of an empty file: a prepared one, if there is one. Raises `OSError`."""
        self.check_room()
        try:
            return self._prepared.pop()
        except IndexError:
            return self._create()

    def _create(self) -> tuple[str, int]:
        path = self._new_path()
        descriptor = os.open(path, _CREATE, 0o666)
        if self._unforced is _Names.NONE:  # only now: `sync` in another thread may just have begun
            self._unforced = _Names.SOME
        return path, descriptor

    @property
    def is_short_of_names(self) -> bool:
        """Whether it is time to `prepare`."""
        return len(self._prepared) < PREPARED // 4

    def prepare(self) -> None:
        """Make some empty files, in any thread: then their names are forced to the disk together."""
        with suppress(OSError):  # `open_new` raises it again
            while len(self._prepared) < PREPARED:
                self._prepared.append(self._create())

    def check_room(self) -> None:
        """Raise `OSError` (ENOSPC) if less than `minimum_free` bytes are free, or were just now."""
        if self._minimum_free and time.monotonic() >= self._next_look:
            if shutil.disk_usage(self._path).free < self._minimum_free:
                raise OSError(errno.ENOSPC, "the disk is nearly full", str(self.path.parent))
            self._next_look = time.monotonic() + _LOOK_AGAIN

    def try_to_write(self) -> None:
        """Write a file, force it to the disk and remove it. Raises `OSError`."""
        self.check_room()
        path, descriptor = self._create()
        try:
            write_all(descriptor, [memoryview(bytes(_TRIED))])
            os.fsync(descriptor)
        finally:
            folders.close(descriptor)
            folders.remove(path)

    def sync(self) -> None:
        """Force the names in it to the disk."""
        if self._unforced is _Names.NONE:
            return
        if self._unforced is _Names.SOME:
            self._unforced = _Names.NONE
        try:
            folders.sync_path(self._path)
        except OSError:
            self._unforced = _Names.UNKNOWN
            raise

    def close(self) -> None:
        """Give it up, and remove it if nothing is left in it."""
        for path, descriptor in self._prepared:
            folders.close(descriptor)
            folders.remove(path)
        _give_up(self.path, self._lock)


def _new_folder(incoming: Path) -> tuple[Path, int]:
    """A new folder, and its lock. Another node that begins may take it over before it is locked."""
    for _ in range(folders.ATTEMPTS):
        folder = incoming / secrets.token_hex(8)
        folder.mkdir(parents=True)
        lock = _take_over(folder)
        if lock is not None:
            return folder, lock
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(incoming))


@contextmanager
def abandoned(data: Path) -> Iterator[list[Path]]:
    """The files that ended processes left in `incoming/`. In the block no other process takes them over.

    Their names are forced to the disk. Empty files, which have no instance, are removed; and at the end their folders,
    as far as they are empty.
    """
    locks: list[tuple[Path, int]] = []
    try:
        for folder in sorted(each for each in (data / "incoming").glob("*") if each.is_dir()):
            lock = _take_over(folder)
            if lock is not None:
                locks.append((folder, lock))
        files = [file for folder, _ in locks for file in sorted(folder.glob(f"*{_SUFFIX}"))]
        for file in files:
            if not file.stat().st_size:
                file.unlink()
        for folder in {file.parent for file in files}:  # before the index has what is in it
            folders.sync_path(str(folder))
        yield [file for file in files if file.exists()]
    finally:
        for folder, lock in locks:
            _give_up(folder, lock)


def _take_over(folder: Path) -> int | None:
    """The lock of a folder, as an open file; None if a process has it."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:  # the folder was given up
        return None
    if folders.lock(lock) and os.fstat(lock).st_nlink > 0:
        return lock
    os.close(lock)
    return None


def _give_up(folder: Path, lock: int) -> None:
    """Close its lock, and remove it if it is empty: one that is not is taken over by the next node."""
    if not any(file.suffix == _SUFFIX for file in folder.iterdir()):
        with suppress(OSError):
            (folder / _LOCK).unlink()
            folder.rmdir()
    os.close(lock)


class IncomingFile:
    """A file that is written while its instance arrives: `head`, the File Meta Information, and then the data set.

    Nothing is made on the disk before the first write. `close` or `discard` ends it.
    """

    def __init__(self, folder: IncomingFolder, head: bytes, disk: Disk) -> None:
        self.path = ""
        """Its path, after the first write."""
        self.offset: Final = len(head)
        """Where the data set begins."""
        self.size = 0
        self._head = head
        self._folder = folder
        self._disk = disk
        self._digest = new_digest()
        self._descriptor: int | None = None
        self._next_check = _CHECKED

    @property
    def digest(self) -> bytes:
        """That of the data set, as far as it was written."""
        return self._digest.digest()

    async def write(self, data: bytes) -> None:
        """Append bytes of the data set: on the event loop while that is quick, else in a thread. Raises `OSError`."""
        await self._disk.writing.run(self._write, data)

    def _write(self, data: bytes) -> None:
        if self._descriptor is None:
            self.path, self._descriptor = self._folder.open_new()
            write_all(self._descriptor, [memoryview(self._head), memoryview(data)])
            self.size = self.offset
        else:
            write_all(self._descriptor, [memoryview(data)])
        self.size += len(data)
        self._digest.update(data)
        if self.size >= self._next_check:
            self._folder.check_room()
            self._next_check = self.size + _CHECKED

    def force(self) -> None:
        """Force its content to the disk. Raises `OSError`."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close it, and learn of errors that the file system had kept until then."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    async def discard(self) -> None:
        """Remove it."""
        if self._descriptor is not None:
            await in_worker(self.remove)

    def remove(self) -> None:
        """Remove it; blocks."""
        with suppress(OSError):
            self.close()
        folders.remove(self.path)
