"""Forces many files to the disk at once.

On Linux, `syncfs` forces a whole file system: for 512 small files it takes a tenth of the time of as many `fsync`.
It also writes what other programs have not forced yet, so it is for commands that write a lot, not for the node.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final


def _syncfs() -> Callable[[int], int] | None:
    """None where the system has no `syncfs`, or one that reports no errors: those of Linux before 5.8."""
    if sys.platform != "linux":
        return None
    major, minor = os.uname().release.split(".")[:2]
    if (int(major), int(minor)) < (5, 8):
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)


_SYNCFS: Final = _syncfs()


def force(files: Sequence[str | os.PathLike[str]]) -> None:
    """Force files of one file system to the disk. Their names are not forced. Raises `OSError`."""
    if not files:
        return
    if _SYNCFS is None or len(files) == 1:
        for file in files:
            _each(file)
        return
    descriptor = os.open(files[0], os.O_RDONLY)
    try:
        if _SYNCFS(descriptor):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), os.fspath(files[0]))
    finally:
        os.close(descriptor)


def _each(file: str | os.PathLike[str]) -> None:
    descriptor = os.open(file, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
