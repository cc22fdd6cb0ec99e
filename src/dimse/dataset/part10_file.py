"""Part 10 files, written under a temporary name and renamed when complete (PS3.10 7)."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike
    from typing import IO

_MAX_BUFFERS: Final = 1024
"""IOV_MAX of Linux, macOS and the BSDs. POSIX would allow 16, but no current system has it."""

_PROCESS: Final = secrets.token_hex(8)
_NUMBERS: Final = count()
"""Temporary names are made of `_PROCESS`, the process ID and such a number: a fork shares the other two."""


_COMPARED: Final = 1024 * 1024
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
"""Errors of `os.link` on file systems without hard links."""


class Part10File:
    """A DICOM file under construction. Only `commit` gives it its final name; `discard` removes it. All methods block.

    `header` is the preamble and File Meta Information. With `fsync`, a committed file survives a power failure.
    """

    def __init__(self, path: str | PathLike[str], header: bytes, *, fsync: bool = True) -> None:
        # A str, as each operation on a Path costs as much as writing a small file.
        self.path = os.fspath(path)
        folder = os.path.dirname(self.path) or "."
        self._fsync = fsync
        # In the same folder, as a rename is atomic only within a file system.
        self._temporary = f"{folder}{os.sep}.{_PROCESS}-{os.getpid():x}-{next(_NUMBERS):x}.part"
        self._changed_folders = [folder] if fsync else []
        self._header = [memoryview(header)]
        self._header_length = len(header)
        self._descriptor: int | None = None
        try:
            self._descriptor = _create(self._temporary)
        except FileNotFoundError:
            self._changed_folders += _make_folders(folder)
            self._descriptor = _create(self._temporary)

    def write(self, buffers: Sequence[memoryview]) -> None:
        """Append the buffers. After an `OSError` only `discard` is allowed."""
        if self._descriptor is None:
            raise ValueError(f"{self.path}: already committed or discarded")
        buffers = [*self._header, *buffers]
        self._header = []
        for start in range(0, len(buffers), _MAX_BUFFERS):
            _write_all(self._descriptor, buffers[start : start + _MAX_BUFFERS])

    def commit(self) -> bool:
        """Give the file its final name. Returns True when it is durably stored.

        Returns False if the name is taken: then use `take`, `is_same_as` or `discard`.
        """
        if self._descriptor is None:
            raise ValueError(f"{self.path}: already committed or discarded")
        try:
            if self._header:
                self.write([])
            if self._fsync:
                os.fsync(self._descriptor)
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)
            return self.take(self.path)
        except OSError:
            self.discard()
            raise

    def take(self, path: str, *, replace: bool = False) -> bool:
        """Give the finished file this name in the same folder. Returns False if it is taken and not to be replaced."""
        if replace:
            os.replace(self._temporary, path)
        elif not _name(self._temporary, path):
            return False
        self.path = path
        self._sync_folders()
        return True

    def is_same_as(self, file: IO[bytes]) -> bool:
        """Whether the content after the header equals `file` from its current position on."""
        with open(self._temporary, "rb") as own:
            own.seek(self._header_length)
            while piece := own.read(_COMPARED):
                if piece != file.read(len(piece)):
                    return False
            return not file.read(1)

    def _sync_folders(self) -> None:
        if self._fsync:
            for folder in self._changed_folders:
                _fsync_folder(folder)

    def discard(self) -> None:
        """Remove the file. Does nothing after a commit, or if called again."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)
        with suppress(FileNotFoundError):
            os.unlink(self._temporary)


def _create(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)


def _name(temporary: str, path: str) -> bool:
    """Rename a file unless the name is taken; atomically if the file system has hard links."""
    try:
        if os.name == "nt":
            os.rename(temporary, path)  # does not replace on Windows
            return True
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            return False
        os.replace(temporary, path)
        return True
    os.unlink(temporary)
    return True


def _make_folders(name: str) -> list[str]:
    """Create a folder and its parents. Returns the folders that got a new entry."""
    folder = Path(name)
    missing = [folder, *folder.parents]
    missing = missing[: next((i for i, each in enumerate(missing) if each.exists()), len(missing))]
    folder.mkdir(parents=True, exist_ok=True)
    return [str(each.parent) for each in missing]


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


_write_all: Final = _write_together if hasattr(os, "writev") else _write_each


def _fsync_folder(folder: str) -> None:
    """Make the rename durable. Windows cannot open a folder, and does not need to."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems do not support it
            raise
    finally:
        os.close(descriptor)
