"""The open transactions of a provider of Storage Commitment: where they are kept until their reports are delivered."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final, Protocol, TypeVar

from dimse.dataset.threads import in_worker
from dimse.errors import LocalProtocolError
from dimse.records import record
from dimse.services.commitment_dataset import InstanceReference

T = TypeVar("T")


@record()
class OpenTransaction:
    """A transaction whose report is not delivered (PS3.4 J.3)."""

    transaction_uid: str
    requestor: str
    """The AE title that requested it, and gets the report."""
    instances: tuple[InstanceReference, ...]
    outcomes: tuple[int | None, ...] | None = None
    """For each instance its Failure Reason, or None if it is committed; None as a whole until that is decided."""


class Transactions(Protocol):
    """Keeps the open transactions of a `CommitmentSCP`.

    What `add` and `decide` were given must be there after a crash, once they have returned.
    """

    async def open(self) -> Sequence[tuple[str, str, int]]:
        """Begin. Returns what is there: Transaction UID, requestor and number of instances, the oldest first."""

    async def add(self, transaction: OpenTransaction) -> OpenTransaction | None:
        """Add one. If there is one of that UID, that one is returned and stays as it is; else None."""

    async def get(self, transaction_uid: str) -> OpenTransaction | None:
        """The one of that UID, or None."""

    async def decide(self, transaction_uid: str, outcomes: Sequence[int | None]) -> None:
        """Keep what is committed, in the order of its instances."""

    async def remove(self, transaction_uid: str) -> None:
        """Forget one: its report was delivered, or given up."""

    async def close(self) -> None:
        """End."""


class MemoryTransactions:
    """Open transactions in memory, for tests: they are lost with the process."""

    def __init__(self) -> None:
        self._held: dict[str, OpenTransaction] = {}

    async def open(self) -> Sequence[tuple[str, str, int]]:
        """As `Transactions`."""
        return [(each.transaction_uid, each.requestor, len(each.instances)) for each in self._held.values()]

    async def add(self, transaction: OpenTransaction) -> OpenTransaction | None:
        """As `Transactions`."""
        held = self._held.setdefault(transaction.transaction_uid, transaction)
        return None if held is transaction else held

    async def get(self, transaction_uid: str) -> OpenTransaction | None:
        """As `Transactions`."""
        return self._held.get(transaction_uid)

    async def decide(self, transaction_uid: str, outcomes: Sequence[int | None]) -> None:
        """As `Transactions`."""
        held = self._held[transaction_uid]
        self._held[transaction_uid] = OpenTransaction(transaction_uid, held.requestor, held.instances, tuple(outcomes))

    async def remove(self, transaction_uid: str) -> None:
        """As `Transactions`."""
        self._held.pop(transaction_uid, None)

    async def close(self) -> None:
        """As `Transactions`."""


_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS commitment (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    transaction_uid TEXT NOT NULL UNIQUE,
    requestor TEXT NOT NULL,
    count INTEGER NOT NULL,
    instances TEXT NOT NULL,
    outcomes TEXT
)
"""


class SQLiteTransactions:
    """Open transactions in a SQLite file, each on the disk before its request is answered.

    Only one process can use the file at a time: `open` raises `sqlite3.OperationalError` for another, and
    `sqlite3.DatabaseError` for a file of another kind.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        """SQLite is used by one thread at a time."""

    async def open(self) -> Sequence[tuple[str, str, int]]:
        """As `Transactions`."""
        found: list[tuple[str, str, int]] = []

        def begin() -> None:
            connection = sqlite3.connect(self._path, timeout=1, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(_SCHEMA)
                with closing(
                    connection.execute("SELECT transaction_uid, requestor, count FROM commitment ORDER BY number")
                ) as rows:
                    found.extend(rows)
            except BaseException:
                connection.close()
                raise
            self._connection = connection

        await in_worker(begin)
        return found

    async def add(self, transaction: OpenTransaction) -> OpenTransaction | None:
        """As `Transactions`."""
        row = (
            transaction.transaction_uid,
            transaction.requestor,
            len(transaction.instances),
            json.dumps(transaction.instances),
        )

        def insert(connection: sqlite3.Connection) -> OpenTransaction | None:
            added = connection.execute(
                "INSERT INTO commitment (transaction_uid, requestor, count, instances) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (transaction_uid) DO NOTHING",
                row,
            )
            return None if added.rowcount else _read(connection, transaction.transaction_uid)

        return await self._do(insert)

    async def get(self, transaction_uid: str) -> OpenTransaction | None:
        """As `Transactions`."""
        return await self._do(lambda connection: _read(connection, transaction_uid))

    async def decide(self, transaction_uid: str, outcomes: Sequence[int | None]) -> None:
        """As `Transactions`."""
        row = (json.dumps(list(outcomes)), transaction_uid)
        await self._do(
            lambda connection: connection.execute("UPDATE commitment SET outcomes = ? WHERE transaction_uid = ?", row)
        )

    async def remove(self, transaction_uid: str) -> None:
        """As `Transactions`."""
        await self._do(
            lambda connection: connection.execute(
                "DELETE FROM commitment WHERE transaction_uid = ?", (transaction_uid,)
            )
        )

    async def close(self) -> None:
        """As `Transactions`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await in_worker(self._close, connection)

    def _close(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            connection.close()

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do it in a thread, when no other does."""
        connection, results = self._connection, list[T]()
        if connection is None:
            raise LocalProtocolError("the transactions are not open")

        def in_turn() -> None:
            with self._lock:
                results.append(work(connection))

        await in_worker(in_turn)
        return results[0]


def _read(connection: sqlite3.Connection, transaction_uid: str) -> OpenTransaction | None:
    found = connection.execute(
        "SELECT requestor, instances, outcomes FROM commitment WHERE transaction_uid = ?", (transaction_uid,)
    ).fetchone()
    if found is None:
        return None
    requestor, instances, outcomes = found
    return OpenTransaction(
        transaction_uid,
        requestor,
        tuple(InstanceReference(*each) for each in json.loads(instances)),
        None if outcomes is None else tuple(json.loads(outcomes)),
    )
