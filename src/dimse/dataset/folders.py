"""The folders of received files: made and swept once, and opened without following symbolic links.

A root is the folder that a program names, and may itself be a symbolic link. Received files are written into it under
temporary names, and linked from there into folders below it, whose names may come from a peer. Rules:

- A process that writes a temporary file holds its lock (flock). A sweep removes the files whose lock is free, so
  those of dead processes, in whatever container they ran.
- A folder that is made for a file which then gets no name there is removed again if it is empty. A store that was
  about to use it finds that it is missing, and begins anew at the root.
- A folder is durable when this process has forced it and all above it to the disk, up to the root. Until then each
  store does so, as the one that made it may still be about to.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_locks: ModuleType | None = None
"""None on Windows, where an open file cannot be removed."""
with suppress(ImportError):
    import fcntl

    _locks = fcntl

logger = logging.getLogger("dimse.storage")

MAX_REMEMBERED: Final = 10_000
"""Roots, and folders below them, that a process remembers as prepared or durable. Then it begins anew."""

ATTEMPTS: Final = 10
"""How often a folder is opened that other stores remove at the same time."""

TEMPORARY_PREFIX: Final = ".dimse-"

TEMPORARY_NAME: Final = re.compile(r"\.dimse-[0-9a-f]{16}-[0-9a-f]+-[0-9a-f]+\.part")
"""The name of a file that is being received."""

_HAS_DESCRIPTORS: Final = os.open in os.supports_dir_fd
_FOLDER: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_FILE: Final = _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Opens no link, and does not wait for the writer of a pipe."""

_prepared: Final[set[str]] = set()
_preparing: Final = threading.Lock()
_durable: Final[set[str]] = set()


def is_prepared(root: str) -> bool:
    """Whether this process has prepared a root."""
    return root in _prepared


def forget(root: str) -> None:
    """A root was removed."""
    _prepared.discard(root)


def prepare(root: str) -> list[str]:
    """Make a root if it is missing, durably, and sweep it; once per process. Returns the folders that were made.

    It blocks for as long as it takes to list the root, but not what is below.
    """
    with _preparing:
        if root in _prepared:
            return []
        made = _make(root)
        count = _sweep(root)
        if count:
            files = "file" if count == 1 else "files"
            logger.warning("removed %d unfinished %s of ended receivers", count, files)
        _remember(_prepared, root)
        return made


def remove_empty(root: str, made: Sequence[str]) -> None:
    """Remove the folders that `prepare` made, if they are empty."""
    with suppress(OSError):
        for folder in reversed(made):
            os.rmdir(folder)
            forget(root)


def _make(root: str) -> list[str]:
    missing: list[str] = []
    folder = root
    while folder and not os.path.isdir(folder) and not os.path.lexists(folder):
        missing.append(folder)
        folder = os.path.dirname(folder.rstrip(os.sep))
    made: list[str] = []
    try:
        for folder in reversed(missing):
            with suppress(FileExistsError):
                os.mkdir(folder)
                made.append(folder)
                sync_path(os.path.dirname(folder.rstrip(os.sep)) or ".")
    except OSError:
        remove_empty(root, made)
        raise
    return made


def _remember(names: set[str], name: str) -> None:
    if len(names) >= MAX_REMEMBERED:
        names.clear()
    names.add(name)


def _sweep(root: str) -> int:
    """Remove the temporary files of dead processes. Returns their number."""
    count = 0
    with suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            if TEMPORARY_NAME.fullmatch(entry.name) and _remove_unlocked(entry.path):
                count += 1
    return count


def _remove_unlocked(path: str) -> bool:
    if _locks is None:
        with suppress(OSError):
            os.unlink(path)
            return True
        return False
    try:
        descriptor = os.open(path, os.O_RDWR | _FILE)
    except OSError:
        return False
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and lock(descriptor):
            os.unlink(path)
            return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def lock(descriptor: int) -> bool:
    """Take the lock of an open file, until it is closed. Returns False if another has it.

    Raises `OSError` if the file system has no locks: then it is not swept.
    """
    if _locks is not None:
        try:
            _locks.flock(descriptor, _locks.LOCK_EX | _locks.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def share_lock(descriptor: int) -> bool:
    """Take the lock of an open file together with others that do so, until it is closed.

    Returns False if another has it alone. Raises `OSError` if the file system has no locks.
    """
    if _locks is not None:
        try:
            _locks.flock(descriptor, _locks.LOCK_SH | _locks.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def wait_for_lock(descriptor: int) -> None:
    """Wait until the writer of a file has answered for it: it is durable, or has lost its name again."""
    if _locks is not None:
        with suppress(OSError):
            _locks.flock(descriptor, _locks.LOCK_SH)


class Folder:
    """An open folder below a root. Its methods take names of files in it. All methods block.

    Missing folders are made. Raises `OSError`, with ELOOP if one of them is a symbolic link.
    """

    def __init__(self, root: str, parts: Sequence[str]) -> None:
        self._root = root
        self._parts = parts
        self._path = os.sep.join([root, *parts]) if parts else root
        self._descriptors: list[int] = []
        """Those of the root and of each folder below it."""
        self._made: list[int] = []
        """Which of `parts` were made."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._open()
                break
            except BaseException as error:
                self.remove_if_empty()
                self.close()
                if attempt == ATTEMPTS or not isinstance(error, FileNotFoundError):
                    raise

    def _open(self) -> None:
        if not _HAS_DESCRIPTORS:
            self._resolve()
            return
        self._descriptors.append(os.open(self._root, _FOLDER))
        for i, part in enumerate(self._parts):
            folder = self._descriptors[i]
            try:
                descriptor = os.open(part, _FOLDER | _NO_FOLLOW, dir_fd=folder)
            except FileNotFoundError:
                self._make(i)
                descriptor = os.open(part, _FOLDER | _NO_FOLLOW, dir_fd=folder)
            except OSError as error:
                if error.errno in (errno.ENOTDIR, errno.ELOOP) and self._is_link(i):
                    raise _is_a_link()  # noqa: B904 - a compiled module has no `from`
                raise
            self._descriptors.append(descriptor)

    def _is_link(self, i: int) -> bool:
        return stat.S_ISLNK(os.stat(self._parts[i], dir_fd=self._descriptors[i], follow_symlinks=False).st_mode)

    def _resolve(self) -> None:
        """Where folders have no descriptors, paths are resolved and checked."""
        real = os.path.realpath(self._root)
        for i, part in enumerate(self._parts):
            self._make(i)
            real = os.path.join(real, part)
            if os.path.normcase(os.path.realpath(self._to(i))) != os.path.normcase(real):
                raise _is_a_link()

    def _make(self, i: int) -> None:
        try:
            os.mkdir(self._to(i), dir_fd=self._descriptors[i] if self._descriptors else None)
        except FileExistsError:
            return
        self._made.append(i)
        _durable.discard(os.sep.join([self._root, *self._parts[: i + 1]]))

    def _to(self, i: int) -> str:
        """The name of a folder in the one above it, or its path where folders have no descriptors."""
        return self._parts[i] if self._descriptors else os.sep.join([self._root, *self._parts[: i + 1]])

    @property
    def _descriptor(self) -> int | None:
        return self._descriptors[-1] if self._descriptors else None

    @property
    def _root_descriptor(self) -> int | None:
        return self._descriptors[0] if self._descriptors else None

    def _at(self, name: str) -> str:
        return name if self._descriptors else os.path.join(self._path, name)

    def _at_root(self, name: str) -> str:
        return name if self._descriptors else os.path.join(self._root, name)

    def link(self, temporary: str, name: str) -> None:
        """Give a file in the root another name, here. Raises `FileExistsError` if it is taken."""
        os.link(self._at_root(temporary), self._at(name), src_dir_fd=self._root_descriptor, dst_dir_fd=self._descriptor)

    def rename(self, temporary: str, name: str, *, replace: bool) -> None:
        """Move a file from the root to here. Without `replace` it raises `FileExistsError` if the name is taken."""
        source, target = self._at_root(temporary), self._at(name)
        if replace:
            os.replace(source, target, src_dir_fd=self._root_descriptor, dst_dir_fd=self._descriptor)
            return
        if os.name != "nt" and self.has(name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        os.rename(source, target, src_dir_fd=self._root_descriptor, dst_dir_fd=self._descriptor)

    def has(self, name: str) -> bool:
        """Whether a name is taken."""
        try:
            os.stat(self._at(name), dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def open(self, name: str) -> int | None:
        """Open a file for reading; None if the name is not that of a file. Raises `FileNotFoundError`."""
        try:
            descriptor = os.open(self._at(name), os.O_RDONLY | _FILE, dir_fd=self._descriptor)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO):
                return None
            raise
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        return None

    def unlink(self, name: str) -> None:
        """Remove a file, as `remove` does."""
        remove(self._at(name), self._descriptor)

    def unlink_temporary(self, name: str) -> None:
        """Remove a file in the root, as `remove` does."""
        remove(self._at_root(name), self._root_descriptor)

    def sync(self) -> None:
        """Make the names in it durable, and its own."""
        if self._path in _durable and self._descriptors:
            sync(self._descriptors[-1])
            return
        for descriptor in reversed(self._descriptors):
            sync(descriptor)
        _remember(_durable, self._path)

    def remove_if_empty(self) -> None:
        """Remove the folders that were made, as far as they are empty."""
        with suppress(OSError):
            while self._made:
                i = self._made.pop()
                os.rmdir(self._to(i), dir_fd=self._descriptors[i] if self._descriptors else None)

    def close(self) -> None:
        """Close it."""
        while self._descriptors:
            close(self._descriptors.pop())


def _is_a_link() -> OSError:
    return OSError(errno.ELOOP, "a folder below it is a symbolic link")


def close(descriptor: int) -> None:
    """Close a descriptor from which nothing was written."""
    with suppress(OSError):
        os.close(descriptor)


def remove(path: str, folder: int | None = None) -> None:
    """Remove a file, if it is there and can be removed. What cannot be removed is left to the next sweep."""
    for _ in range(2):
        try:
            os.unlink(path, dir_fd=folder)
        except FileNotFoundError:
            return
        except OSError:
            continue
        return


def sync(descriptor: int) -> None:
    """Force a folder to the disk, if its file system can do that."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def sync_path(folder: str) -> None:
    """Force the folder at a path to the disk, as `sync` does."""
    if not _HAS_DESCRIPTORS:  # Windows cannot open a folder, and does not need to
        return
    descriptor = os.open(folder, _FOLDER)
    try:
        sync(descriptor)
    finally:
        close(descriptor)
