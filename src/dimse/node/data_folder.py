"""The data folder of a node, which one serving node has at a time."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dimse.dataset import folders

_LOCK: Final = "node.lock"


def default_data() -> Path:
    """The data folder where none is named: `dimse/node` in the folder for data of the platform.

    That is `$XDG_DATA_HOME` or `~/.local/share`, also on macOS as for other commands, and `%LOCALAPPDATA%` on Windows.
    """
    variable, folder = (
        ("LOCALAPPDATA", "AppData/Local") if sys.platform == "win32" else ("XDG_DATA_HOME", ".local/share")
    )
    return Path(os.environ.get(variable) or Path.home() / folder, "dimse", "node")


def index_url(data: Path) -> str:
    """The URL of the index in a data folder."""
    return f"sqlite:///{data / 'index.sqlite'}"


@contextmanager
def served(data: Path) -> Iterator[None]:
    """In the block, this process serves from the folder, which is made if it is missing.

    The system gives the lock back when the process ends, however that is. Raises `OSError` if the folder cannot be
    written, or if another node serves from it. Commands such as `dimse node import` need no lock.
    """
    data.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(data / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not folders.lock(descriptor):
            raise OSError(errno.EBUSY, "another node serves from this folder", str(data))
        yield
    finally:
        os.close(descriptor)
