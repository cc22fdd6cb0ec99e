"""The data folder of a node, which one serving node has at a time."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import URL

from dimse.dataset import folders

_LOCK: Final = "node.lock"
_COMMANDS_LOCK: Final = "commands.lock"
_MIGRATION_LOCK: Final = "migration.lock"

_UID: Final = re.compile(r"[0-9.]+")


def default_data() -> Path:
    """The data folder where none is named: `dimse/node` in the folder for data of the platform.

    That is `$XDG_DATA_HOME` or `~/.local/share`, also on macOS as for other commands, and `%LOCALAPPDATA%` on Windows.
    """
    variable, folder = (
        ("LOCALAPPDATA", "AppData/Local") if sys.platform == "win32" else ("XDG_DATA_HOME", ".local/share")
    )
    return Path(os.environ.get(variable) or Path.home() / folder, "dimse", "node")


def index_url(data: Path) -> URL:
    """The URL of the index in a data folder."""
    return URL.create("sqlite", database=str(data / "index.sqlite"))


def has_index(data: Path) -> bool:
    """Whether there is an index in SQLite; an empty file does not count."""
    index, log = data / "index.sqlite", data / "index.sqlite-wal"
    return index.exists() and any(each.exists() and each.stat().st_size for each in (index, log))


def check_has_index(data: Path) -> None:
    """Raise `FileNotFoundError` if there are instances and no index, or an empty file: a new one would hide them."""
    studies = data / "studies"
    if has_index(data) or not studies.is_dir():
        return
    if any(_UID.fullmatch(each.name) for each in studies.iterdir()):  # a new file system has a folder of its own
        found = "an empty" if (data / "index.sqlite").exists() else "no"
        why = f"has instances, but {found} index.sqlite; dimse node reindex rebuilds it"
        raise FileNotFoundError(errno.ENOENT, why, str(data))


@contextmanager
def served(data: Path) -> Iterator[None]:
    """In the block, this process serves from the folder, which is made if it is missing.

    The system gives the lock back when the process ends, however that is. Raises `OSError` if the folder cannot be
    written, or if another node serves from it. Commands such as `dimse node import` need `worked_on` only.
    """
    with _locked(data, _LOCK, folders.lock, "another node serves from this folder; stop it first"):
        yield


@contextmanager
def worked_on(data: Path) -> Iterator[None]:
    """In the block, this process changes the archive in the folder, beside the node and other commands.

    Raises `OSError` if the folder cannot be written, or if its index is built anew.
    """
    with _locked(
        data, _COMMANDS_LOCK, folders.share_lock, "the index of this folder is being rebuilt; wait until that has ended"
    ):
        yield


@contextmanager
def alone(data: Path) -> Iterator[None]:
    """In the block, no node serves from the folder, and no other process changes the archive in it.

    Raises `OSError` if the folder cannot be written, or if another process uses it.
    """
    with (
        _locked(data, _LOCK, folders.lock, "a node serves from this folder; stop it first"),
        _locked(
            data, _COMMANDS_LOCK, folders.lock, "another command is at work on this folder; wait until it has ended"
        ),
    ):
        yield


@contextmanager
def migrating(data: Path) -> Iterator[None]:
    """In the block, this process alone retrieves studies of another archive into the folder. Raises `OSError`."""
    with _locked(data, _MIGRATION_LOCK, folders.lock, "another import --from is running; wait until it has ended"):
        yield


@contextmanager
def _locked(data: Path, name: str, take: Callable[[int], bool], why: str) -> Iterator[None]:
    data.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(data / name, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not take(descriptor):
            raise OSError(errno.EBUSY, why, str(data))
        yield
    finally:
        os.close(descriptor)
