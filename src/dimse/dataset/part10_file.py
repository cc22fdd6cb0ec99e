"""Part 10 files, written under a temporary name and given their name when complete (PS3.10 7)."""

from __future__ import annotations

import errno
import os
import secrets
from itertools import count
from typing import TYPE_CHECKING, Final

from dimse.dataset.folders import ATTEMPTS, TEMPORARY_PREFIX, Folder, close, lock, remove

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

_MAX_BUFFERS: Final = 1024
"""IOV_MAX of Linux, macOS and the BSDs. POSIX would allow 16, but no current system has it."""

_PROCESS: Final = secrets.token_hex(8)
_NUMBERS: Final = count()
"""Temporary names are made of `_PROCESS`, the process ID and such a number: a fork shares the other two."""

_COMPARED: Final = 1024 * 1024
NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""Errors of `os.link` on file systems without hard links."""

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


class Part10File:
    """A DICOM file under construction in the folder `root`. Only `commit` gives it its final name, there or below.

    `header` is the preamble and File Meta Information. With `fsync`, a committed file survives a power failure.
    `discard` removes the file. All methods block.
    """

    def __init__(self, root: str, header: bytes, *, fsync: bool = True) -> None:
        self._root = root
        self._fsync = fsync
        self._header = [memoryview(header)]
        self._header_length = len(header)
        self._temporary = ""
        self._path = ""
        self._descriptor: int | None = None
        self._create()

    def _create(self) -> None:
        for _ in range(ATTEMPTS):
            # In the root, as it is there, and can be swept without a search. A rename is atomic within a file system.
            self._temporary = f"{TEMPORARY_PREFIX}{_PROCESS}-{os.getpid():x}-{next(_NUMBERS):x}.part"
            # A str, as each operation on a Path costs as much as writing a small file.
            self._path = f"{self._root}{os.sep}{self._temporary}"
            self._descriptor = os.open(self._path, _CREATE, 0o666)
            if _is_ours(self._descriptor):
                return
            self.discard()
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def write(self, buffers: Sequence[memoryview]) -> None:
        """Append the buffers. After an `OSError` only `discard` is allowed."""
        if self._descriptor is None:
            raise ValueError("already committed or discarded")
        buffers = [*self._header, *buffers]
        self._header = []
        for start in range(0, len(buffers), _MAX_BUFFERS):
            write_all(self._descriptor, buffers[start : start + _MAX_BUFFERS])

    def commit(self, name: str) -> bool:
        """Give the file its final name, a path below the root. Returns True when it is durably stored.

        Returns False if the name is taken: then use `take`, `is_same_as` or `discard`.
        """
        if self._descriptor is None:
            raise ValueError("already committed or discarded")
        try:
            if self._header:
                self.write([])
            if self._fsync:
                os.fsync(self._descriptor)
            if os.name == "nt":  # an open file cannot be renamed
                self._close()
            return self.take(name)
        except BaseException:
            self.discard()
            raise

    def take(self, name: str, *, replace: bool = False) -> bool:
        """Give the finished file this name. Returns False if it is taken and not to be replaced."""
        for _ in range(ATTEMPTS - 1):
            try:
                return self._take(name, replace)
            except FileNotFoundError:  # a store that failed has removed a folder that it had made
                continue
        return self._take(name, replace)

    def _take(self, path: str, replace: bool) -> bool:
        *folders, name = path.split(os.sep)
        folder = Folder(self._root, folders)
        is_new = False
        try:
            if replace:
                folder.rename(self._temporary, name, replace=True)
            elif _name(folder, self._temporary, name):
                is_new = True
            else:
                return False
            if self._fsync:
                folder.sync()
            self._close()  # only now: a store that waits for the lock finds the file durable
        except BaseException:
            if is_new:
                folder.unlink(name)
            folder.remove_if_empty()
            raise
        finally:
            folder.close()
        return True

    def is_same_as(self, file: IO[bytes]) -> bool:
        """Whether the content after the header equals `file` from its current position on."""
        with open(self._path, "rb") as own:
            own.seek(self._header_length)
            while piece := own.read(_COMPARED):
                if piece != file.read(len(piece)):
                    return False
            return not file.read(1)

    def discard(self) -> None:
        """Remove the file. Does nothing after a commit, or if called again."""
        if self._temporary:
            remove(self._path)
            self._temporary = ""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            close(descriptor)

    def _close(self) -> None:
        """Close it, and learn of errors that the file system had kept until then."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


def _is_ours(descriptor: int) -> bool:
    """Whether a new file is locked, and no sweep has removed it before it was."""
    try:
        return lock(descriptor) and os.fstat(descriptor).st_nlink > 0
    except OSError:
        return True


def _name(folder: Folder, temporary: str, name: str) -> bool:
    """Give a file its name unless that is taken; atomically if the file system has hard links."""
    try:
        if os.name == "nt":
            folder.rename(temporary, name, replace=False)
            return True
        folder.link(temporary, name)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if folder.has(name):
            return False
        folder.rename(temporary, name, replace=False)
        return True
    folder.unlink_temporary(temporary)
    return True


def _write_together(descriptor: int, buffers: Sequence[memoryview]) -> None:
    written = os.writev(descriptor, buffers)  # type: ignore[attr-defined, unused-ignore]  # not on Windows
    if written == sum(map(len, buffers)):
        return
    remaining = list(buffers)
    while remaining:
        done = 0
        while done < len(remaining) and written >= len(remaining[done]):
            written -= len(remaining[done])
            done += 1
        del remaining[:done]
        if remaining:
            remaining[0] = remaining[0][written:]
            written = os.writev(descriptor, remaining)  # type: ignore[attr-defined, unused-ignore]  # as above


def _write_each(descriptor: int, buffers: Sequence[memoryview]) -> None:
    for buffer in buffers:
        remaining = buffer
        while remaining:
            remaining = remaining[os.write(descriptor, remaining) :]


write_all: Final = _write_together if hasattr(os, "writev") else _write_each
