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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Final

from dimse.dataset import folders
from dimse.dataset.file_writer import Disk
from dimse.dataset.part10_file import write_all
from dimse.dataset.threads import in_worker

DIGEST_SIZE: Final = 16
"""Bytes of the blake2b digest of a data set."""

_LOCK: Final = "lock"
_SUFFIX: Final = ".dcm"
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_CHECKED: Final = 16 * 1024 * 1024
"""Bytes of an instance after which the room on the disk is looked at again."""
_TRIED: Final = 64 * 1024
"""Bytes that are written to find out whether a disk works."""


class IncomingFolder:
    """The folder of this process in `incoming/` of the data folder `data`; it is made.

    `minimum_free` are the bytes that stay free on its file system. Raises `OSError`.
    """

    def __init__(self, data: Path, minimum_free: int = 0) -> None:
        self._minimum_free = minimum_free
        self._numbers = count()
        self.path, self._lock = _new_folder(data / "incoming")
        folders.sync_path(str(self.path.parent))

    def new_path(self) -> Path:
        """The path of a file that is not there yet."""
        return self.path / f"{next(self._numbers):x}{_SUFFIX}"

    def check_room(self) -> None:
        """Raise `OSError` (ENOSPC) if less than `minimum_free` bytes are free."""
        if self._minimum_free and shutil.disk_usage(self.path).free < self._minimum_free:
            raise OSError(errno.ENOSPC, "the disk is nearly full", str(self.path.parent))

    def try_to_write(self) -> None:
        """Write a file, force it to the disk and remove it. Raises `OSError`."""
        self.check_room()
        path = self.new_path()
        try:
            with path.open("xb") as file:
                file.write(bytes(_TRIED))
                file.flush()
                os.fsync(file.fileno())
        finally:
            path.unlink(missing_ok=True)

    def sync(self) -> None:
        """Force the names in it to the disk."""
        folders.sync_path(str(self.path))

    def close(self) -> None:
        """Give it up, and remove it if nothing is left in it."""
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

    Their folders are removed at its end, as far as they are empty.
    """
    locks: list[tuple[Path, int]] = []
    try:
        for folder in sorted(each for each in (data / "incoming").glob("*") if each.is_dir()):
            lock = _take_over(folder)
            if lock is not None:
                locks.append((folder, lock))
        yield [file for folder, _ in locks for file in sorted(folder.glob(f"*{_SUFFIX}"))]
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
        self.path: Final = folder.new_path()
        self.offset: Final = len(head)
        """Where the data set begins."""
        self.size = 0
        self._head = head
        self._folder = folder
        self._disk = disk
        self._digest = blake2b(digest_size=DIGEST_SIZE)
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
            self._folder.check_room()
            self._descriptor = os.open(self.path, _CREATE, 0o666)
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
        folders.remove(str(self.path))
