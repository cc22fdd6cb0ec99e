"""Storage commitment by the index: what is committed, and the open transactions (PS3.4 J.3).

1. An instance is committed if the index has it with the SOP class that was asked about, and its whole file is where it
   belongs.
2. One that is not there, or whose file is not, is reported as No Such Object Instance: it should be sent again. One of
   another SOP class only is a Class/Instance Conflict.
3. A SOP Instance UID may be in several series: one of them is enough.
4. Requests are rows before they are answered, so that a report is sent after a restart, too. While the index cannot
   be read, they wait.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from dimse.errors import DimseError
from dimse.node.destinations import Destinations
from dimse.node.index import Index
from dimse.node.keys import uid_hash
from dimse.node.places import place
from dimse.node.schema import commitment, instance, series, study, uid
from dimse.services.commitment_dataset import CommitmentFailure, InstanceReference
from dimse.services.commitment_scp import CommitmentRequest, CommitmentSCP
from dimse.services.commitment_store import OpenTransaction
from dimse.services.server import Server

_INSTANCES_AT_ONCE: Final = 500
"""Instances that are looked up, and whose files are looked at, in one go."""


def committing(server: Server, index: Index, data: Path, destinations: Destinations) -> CommitmentSCP:
    """The provider of storage commitment for an index and its data folder, to be entered before `server` listens.

    `destinations` says where reports go.
    """
    transactions = IndexTransactions(index, destinations)
    decide, title = Decision(index, data), server.ae_title
    return CommitmentSCP(server, decide, transactions, destinations=destinations, retrieve_ae_title=title)


@dataclass(frozen=True, slots=True)
class Decision:
    """Decides which instances are committed."""

    index: Index
    data: Path

    async def __call__(self, request: CommitmentRequest) -> Mapping[str, CommitmentFailure | None]:
        """The outcome of each instance by its SOP Instance UID. Raises `DimseError` if the index cannot be read."""
        outcomes = dict[str, CommitmentFailure | None]()
        for start in range(0, len(request.instances), _INSTANCES_AT_ONCE):
            asked = request.instances[start : start + _INSTANCES_AT_ONCE]
            try:
                outcomes |= await self.index.read(partial(self._decided, asked))
            except SQLAlchemyError as error:
                raise DimseError("the index cannot be read") from error
        return outcomes

    def _decided(
        self, asked: Sequence[InstanceReference], connection: Connection
    ) -> Mapping[str, CommitmentFailure | None]:
        wanted = {each.sop_instance_uid: each.sop_class_uid for each in asked}
        outcomes = dict[str, CommitmentFailure | None](dict.fromkeys(wanted, CommitmentFailure.NO_SUCH_INSTANCE))
        for sop_class, found, is_whole in self._found(list(wanted), connection):
            if sop_class == wanted[found]:
                outcomes[found] = None if is_whole else outcomes[found]
            elif outcomes[found] is not None:
                outcomes[found] = CommitmentFailure.CLASS_INSTANCE_CONFLICT
        return outcomes

    def _found(self, uids: Sequence[str], connection: Connection) -> Iterator[tuple[str, str, bool]]:
        """SOP class and UID of each instance, and whether its file is whole."""
        query = (
            select(uid.c.uid.label("sop_class"), study.c.uid.label("study"), series.c.uid.label("series"), instance)
            .select_from(instance)
            .join(uid, instance.c.sop_class == uid.c.id)
            .join(series, instance.c.series_id == series.c.id)
            .join(study, series.c.study_id == study.c.id)
            .where(instance.c.uid_hash.in_(list(map(uid_hash, uids))), instance.c.uid.in_(uids))
        )
        for row in connection.execute(query).all():
            path = place(self.data, row.study, row.series, row.uid, row.path)
            yield row.sop_class, row.uid, _size(path) == row.bytes


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


class IndexTransactions:
    """Open transactions in the index, each committed to it before its request is answered."""

    def __init__(self, index: Index, destinations: Destinations) -> None:
        self._index = index
        self._destinations = destinations

    async def open(self) -> Sequence[tuple[str, str, int]]:
        """As `Transactions`."""
        count = func.json_array_length(commitment.c.instances)
        query = select(commitment.c.transaction_uid, commitment.c.requestor, count, commitment.c.host)
        query = query.order_by(commitment.c.asked_at, commitment.c.transaction_uid)
        rows = await self._index.read(lambda connection: connection.execute(query).all())
        for _, requestor, _, host in rows:
            if host is not None:
                self._destinations.called(requestor, host)
        return [(transaction, requestor, instances) for transaction, requestor, instances, _ in rows]

    async def add(self, transaction: OpenTransaction) -> OpenTransaction | None:
        """As `Transactions`."""
        row = {
            "transaction_uid": transaction.transaction_uid,
            "requestor": transaction.requestor,
            "host": self._destinations.host_of(transaction.requestor),
            "asked_at": time.time(),
            "instances": transaction.instances,
        }

        def add(connection: Connection) -> OpenTransaction | None:
            found = _read(transaction.transaction_uid, connection)
            if found is None:
                connection.execute(insert(commitment).values(row))
            return found

        return await self._index.write(add)

    async def get(self, transaction_uid: str) -> OpenTransaction | None:
        """As `Transactions`."""
        return await self._index.read(partial(_read, transaction_uid))

    async def decide(self, transaction_uid: str, outcomes: Sequence[int | None]) -> None:
        """As `Transactions`."""
        statement = update(commitment).where(commitment.c.transaction_uid == transaction_uid)
        await self._index.write(lambda connection: connection.execute(statement.values(outcomes=list(outcomes))))

    async def remove(self, transaction_uid: str) -> None:
        """As `Transactions`."""
        statement = delete(commitment).where(commitment.c.transaction_uid == transaction_uid)
        await self._index.write(lambda connection: connection.execute(statement))

    async def close(self) -> None:
        """As `Transactions`: the index belongs to the node."""


def _read(transaction_uid: str, connection: Connection) -> OpenTransaction | None:
    row = connection.execute(select(commitment).where(commitment.c.transaction_uid == transaction_uid)).first()
    if row is None:
        return None
    instances = tuple(InstanceReference(*each) for each in row.instances)
    return OpenTransaction(
        transaction_uid, row.requestor, instances, None if row.outcomes is None else tuple(row.outcomes)
    )
