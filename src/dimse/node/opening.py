"""Opens the files of instances.

What has the name of a file may be a pipe, whose writer would be waited for, or a device without an end. It is refused.
"""

from __future__ import annotations

import errno
import os
from io import FileIO
from stat import S_ISREG


class NotAFile(OSError):
    """A pipe, a socket or a device."""


def open_file(path: str | os.PathLike[str]) -> FileIO:
    """Open a file to read it. Raises `OSError`: `NotAFile` for what is not a file, `IsADirectoryError` for a folder."""
    file = FileIO(path, opener=_without_waiting)
    if not S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NotAFile(errno.EINVAL, "not a file", os.fspath(path))
    return file


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
