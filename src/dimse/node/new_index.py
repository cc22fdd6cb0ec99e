"""A place for an index that is built anew, and how it takes the place of the one before.

1. A SQLite file is built beside the other one, and renamed when it is complete. It is forced to the disk only then:
   what a crash leaves is thrown away. One before that could not be read to its end is kept with another name.
2. In PostgreSQL it is built in a schema of its own. In one transaction, its tables are moved to where the other ones
   were.
"""

from __future__ import annotations

import errno
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Protocol

from sqlalchemy import Connection, event, inspect, make_url, text

from dimse.dataset.folders import sync_path
from dimse.node.forcing import force
from dimse.node.index import BUSY, Index, make_engine
from dimse.node.naming import link_or_copy

_FILE: Final = "index.new.sqlite"
DAMAGED: Final = "index.damaged.sqlite"
"""The name of an index before that could not be read to its end."""

_SCHEMA: Final = "dimse_reindex"


class NewIndex(Protocol):
    """An index that is built anew."""

    def open(self) -> Index:
        """An empty one."""

    def take_place(self, *, keeps: bool = False) -> None:
        """Replace the index before by it. Both are closed. With `keeps`, the one before stays, as a file `DAMAGED`."""


def new_index(data: Path, url: str | None) -> NewIndex:
    """A new index for the data folder `data`; with `url` in PostgreSQL."""
    return _File(data) if url is None else _Schema(url)


class _File:
    def __init__(self, data: Path) -> None:
        self._new = data / _FILE
        self._old = data / "index.sqlite"

    def open(self) -> Index:
        if self._old.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder, where the index belongs; move it away", str(self._old))
        _remove(self._new)
        index = Index.at(self._new)
        event.listen(index.engine, "connect", _do_not_wait_for_the_disk)
        index.engine.dispose()
        return index

    def take_place(self, *, keeps: bool = False) -> None:
        write_log_back(self._new)
        force([self._new])
        if keeps and self._old.exists():
            self._keep()
        for name in ("-wal", "-shm"):  # of an index that could not be closed, as it is damaged
            self._old.with_name(self._old.name + name).unlink(missing_ok=True)
        self._new.replace(self._old)
        sync_path(str(self._old.parent))

    def _keep(self) -> None:
        """Give the index before a second name, and its log that name only."""
        damaged, log = self._old.with_name(DAMAGED), self._old.with_name(f"{self._old.name}-wal")
        _remove(damaged)
        link_or_copy(self._old, damaged)
        if log.exists():
            log.rename(damaged.with_name(f"{DAMAGED}-wal"))


def write_log_back(file: Path) -> None:
    """Have all of a SQLite database in its file, which is renamed alone.

    To close it does that too, but in silence if it fails. Raises `OSError`, as for a disk that is full.
    """
    try:
        with closing(sqlite3.connect(file, timeout=BUSY)) as connection:
            is_busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.Error as error:
        raise OSError(errno.EIO, f"the index cannot be completed: {error}", str(file)) from None
    if is_busy:
        raise OSError(errno.EBUSY, "the index is used by another program", str(file))


def _remove(file: Path) -> None:
    for name in ("", "-wal", "-shm"):
        file.with_name(file.name + name).unlink(missing_ok=True)


def _do_not_wait_for_the_disk(connection: Any, _: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")


class _Schema:
    def __init__(self, url: str) -> None:
        self._url = url

    def open(self) -> Index:
        engine = make_engine(self._url)
        with engine.begin() as connection:
            connection.execute(text(f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE"))
            connection.execute(text(f"CREATE SCHEMA {_SCHEMA}"))
        engine.dispose()
        url = make_url(self._url)
        options = f"{url.query.get('options', '')} -csearch_path={_SCHEMA}".strip()
        return Index(url.update_query_dict({"options": options}).render_as_string(hide_password=False))

    def take_place(self, *, keeps: bool = False) -> None:
        assert not keeps  # noqa: S101 - a server is not given up
        engine = make_engine(self._url)
        with engine.begin() as connection:
            self._move(connection)
        engine.dispose()

    @staticmethod
    def _move(connection: Connection) -> None:
        own = connection.scalar(text("SELECT current_schema()"))
        for name in inspect(connection).get_table_names(schema=_SCHEMA):
            connection.execute(text(f'DROP TABLE IF EXISTS "{own}"."{name}" CASCADE'))
            connection.execute(text(f'ALTER TABLE {_SCHEMA}."{name}" SET SCHEMA "{own}"'))
        connection.execute(text(f"DROP SCHEMA {_SCHEMA}"))
