"""The database of the index: one writer, some readers, each in a thread.

1. All work with the database runs in threads, never on the event loop: a handler that is cancelled waits for nothing,
   and leaves no connection behind. One hop is one page of a query, or one batch of instances.
2. There is one writer, so nothing waits for a lock inside this process. What it runs is one transaction.
3. A reader is borrowed for one short piece of work: a slow peer holds none.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, false, make_url, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError

from dimse.dataset.threads import begun
from dimse.node.migrating import is_current, migrate
from dimse.node.schema import study
from dimse.node.statements import run_text

logger = logging.getLogger("dimse.storage")

T = TypeVar("T")

READERS: Final = 4
"""Pieces of work that read the index at the same time."""

BUSY: Final = 10
"""Seconds that a transaction waits for one of another process, and a connection for a server."""

SILENT: Final = 30
"""Seconds after which a server that does not answer is taken for gone."""

WAL_LEFT: Final = 64 * 1024 * 1024
"""Bytes that the write-ahead log of SQLite keeps on the disk after it was longer."""

UNAVAILABLE: Final = (InterfaceError, InternalError, OperationalError)
"""The database is locked, full, read-only or gone. Their texts have no values of attributes."""

_WRITES: Final = "dimse_writes"
"""The execution option of connections that write."""


class _State(Enum):
    OPEN = auto()
    CLOSED = auto()


class Index:
    """The index of an archive, in a SQLite file or in PostgreSQL.

    `url` is one of SQLAlchemy. Missing tables are made, and older ones brought up to date. Raises `UnknownVersion` if
    they are of a newer dimse, or of something else; `sqlalchemy.exc.SQLAlchemyError` if the database cannot be used.
    Without `fsync` a power failure may take what was committed last.
    """

    def __init__(self, url: str | URL, *, fsync: bool = True) -> None:
        self.engine: Final = make_engine(url, fsync=fsync)
        self._writing: Final = self.engine.execution_options(**{_WRITES: True})
        snapshot = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._reading: Final = self.engine.execution_options(**snapshot)
        self._state = _State.OPEN
        self._own = threading.local()
        self._kept: Connection | None = None
        self._file = Path(self.engine.url.database or "") if self.is_sqlite else None
        self._identity: tuple[int, int] | None = None
        """Of the SQLite file: device and inode."""
        self._writer = begun(1, "dimse-index-writer", self._keep_connection)
        self._readers = begun(READERS, "dimse-index-reader")
        self._interrupter = begun(1, "dimse-index-interrupter")
        try:
            with self.reading() as connection:
                current = is_current(connection)
                self._identity = self._find_file()
            if not current:
                with self.writing() as connection:
                    migrate(connection)
        except BaseException:
            self.close()
            raise

    @classmethod
    def at(cls, path: Path, *, fsync: bool = True) -> Index:
        """The index in a SQLite file, which is made if it is missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        return cls(URL.create("sqlite", database=str(path)), fsync=fsync)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a SQLite file."""
        return self.engine.dialect.name == "sqlite"

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` with a connection of a reader, in a thread.

        If the caller is cancelled, a statement under way ends.
        """
        self._check_open()
        under_way = _UnderWay()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work, under_way)
        except asyncio.CancelledError:
            with suppress(RuntimeError):  # it has been closed meanwhile
                self._interrupter.submit(under_way.interrupt)
            raise

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction of the writer, and commit it. If it raises, nothing of it is kept.

        A caller that is cancelled does not stop it, unless it has not begun: it may still be committed.
        """
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._write, work)

    def write_later(self, work: Callable[[Connection], object]) -> None:
        """Run `work` in a transaction of the writer, without waiting for it; if it fails, that is logged."""

        def run() -> None:
            try:
                self._write(work)
            except Exception:
                logger.exception("the index could not be written")

        self._writer.submit(run)

    async def in_writer(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread of the writer, which begins its own transactions with `writing`."""
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    def begin_in_writer(self, work: Callable[[], T], done: Callable[[T | Exception], object]) -> None:
        """Like `in_writer`, but calls `done` on the event loop with what `work` returns or raises.

        For each batch of instances: that takes 10 us less than awaiting it.
        """
        self._check_open()
        loop = asyncio.get_running_loop()

        def run() -> None:
            result: T | Exception
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 - `done` gets it
                result = error
            loop.call_soon_threadsafe(done, result)

        self._writer.submit(run)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read with, in the thread of the caller. All that is read in the block is of one moment."""
        self._check_open()
        with self._reading.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction, in the thread of the caller; committed at the end of the block, unless that raises."""
        self._check_open()
        if not getattr(self._own, "is_kept", False):
            with self._writing.begin() as connection:
                yield connection
                self._check_file()
            return
        if self._kept is None:
            self._kept = self._writing.connect()
        try:
            with self._kept.begin():
                yield self._kept
                self._check_file()
        except BaseException:  # also of a commit, and then it may still be in its transaction
            self._kept.close()
            self._kept = None
            raise

    def _keep_connection(self) -> None:
        """The thread of the writer keeps its connection to a SQLite file: another one takes longer than an instance."""
        self._own.is_kept = self.is_sqlite

    def _find_file(self) -> tuple[int, int] | None:
        """What tells a SQLite file from others; None if there is none, and for a server."""
        with suppress(OSError):
            if self._file is not None:
                found = self._file.stat()
                return found.st_dev, found.st_ino
        return None

    def _check_file(self) -> None:
        """Commit nothing to a SQLite file that has no name any more: nobody would find it after this process."""
        if self._find_file() != self._identity:
            lost = _Lost("the file of the index was removed or replaced: put it back, or restart the node")
            raise OperationalError(None, None, lost)

    def _check_open(self) -> None:
        if self._state is _State.CLOSED:
            raise RuntimeError("the index is closed")

    def _read(self, work: Callable[[Connection], T], under_way: _UnderWay) -> T:
        with self.reading() as connection, under_way.on(connection):
            return work(connection)

    def _write(self, work: Callable[[Connection], T]) -> T:
        with self.writing() as connection:
            return work(connection)

    def close(self) -> None:
        """Wait for what is under way, and close the connections. What comes later raises `RuntimeError`."""
        self._state = _State.CLOSED
        for threads in (self._writer, self._readers, self._interrupter):
            threads.shutdown()
        if self._kept is not None:
            self._kept.close()
        self.engine.dispose()


class _Lost(Exception):
    """The file of an index is not where it was."""


class _UnderWay:
    """The connection that a reader uses, as long as it does: afterwards it is that of another one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._interrupt: Callable[[], object] | None = None
        """Ends the statement of the connection; None before and after."""

    @contextmanager
    def on(self, connection: Connection) -> Iterator[None]:
        """In the block, `interrupt` ends a statement of the connection, which raises `OperationalError`."""
        raw: Any = connection.connection.driver_connection
        is_sqlite = connection.dialect.name == "sqlite"
        with self._lock:
            self._interrupt = raw.interrupt if is_sqlite else partial(raw.cancel_safe, timeout=BUSY)
        try:
            yield
        finally:
            with self._lock:
                self._interrupt = None

    def interrupt(self) -> None:
        """End the statement under way, from another thread; between two, nothing happens.

        A server is asked to on a connection of its own. Until it has been, the reader keeps its connection, so that
        the statement of no other one is ended.
        """
        with self._lock:
            try:
                if self._interrupt is not None:
                    self._interrupt()
            except Exception as error:  # noqa: BLE001 - of the driver, which is imported only if it is used
                logger.warning("a statement that nobody waits for goes on: %s", error)


def insert_missing(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """A statement that inserts rows, and leaves out those that are there already; `returning` tells which were not."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def try_to_write(connection: Connection) -> None:
    """Change nothing, in a transaction that writes; fails in a database that can only be read."""
    connection.execute(update(study).where(false()).values(uid=study.c.uid))


def exclude_writers(connection: Connection, table: Table) -> None:
    """Let nobody else change a table until this transaction ends, which writes; what others changed is committed."""
    if connection.dialect.name == "postgresql":  # in SQLite, transactions that write exclude each other
        connection.execute(text(f"LOCK TABLE {table.name} IN SHARE MODE"))


def make_engine(url: str | URL, *, fsync: bool = True) -> Engine:
    """Connections to a database, configured as an index needs them."""
    made = make_url(url)
    options: dict[str, Any] = {"pool_size": READERS + 2, "hide_parameters": True}  # which are data of patients
    if made.get_backend_name() == "postgresql":
        waits = {"connect_timeout": BUSY, "keepalives_idle": SILENT // 2, "tcp_user_timeout": SILENT * 1000}
        engine = create_engine(
            made.set(drivername="postgresql+psycopg"), pool_pre_ping=True, connect_args=waits, **options
        )
        event.listen(engine, "connect", _configure_postgresql)
        if not fsync:
            event.listen(engine, "connect", _hurry_postgresql)
        return engine
    engine = create_engine(made, connect_args={"timeout": BUSY}, **options)
    event.listen(engine, "connect", _configure_sqlite)
    if not fsync:
        event.listen(engine, "connect", _hurry_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_postgresql(connection: Any, _: object) -> None:
    connection.execute(f"SET lock_timeout = '{BUSY}s'")
    connection.commit()


def _hurry_postgresql(connection: Any, _: object) -> None:
    connection.execute("SET synchronous_commit = off")
    connection.commit()


def _hurry_sqlite(connection: Any, _: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")


def _configure_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # else Python begins transactions, and later than they should
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "cache_size=-65536",
        "temp_store=MEMORY",
        f"journal_size_limit={WAL_LEFT}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes the lock at once: one that has read first could not wait for it."""
    writes = connection.get_execution_options().get(_WRITES)
    run_text(connection, "BEGIN IMMEDIATE" if writes else "BEGIN")
