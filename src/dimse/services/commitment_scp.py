"""Storage Commitment as SCP (PS3.4 J.3): requests are kept on the disk, decided by a handler, and reported.

1. A request is in the store, on the disk, before its N-ACTION is answered with Success.
2. Each requestor has a queue and a task, which decides its transactions one after the other and delivers the reports.
   One whose listener is down delays no other.
3. A report goes to the association of the request, if that is still open after a moment: a requestor that releases it
   at once wants the report on a new one. Otherwise it goes to the address of the requestor's AE title.
4. What cannot be delivered is tried again, with growing pauses, and after a restart too. A requestor may therefore get
   a report twice, and is never left without one because this process has ended.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, NamedTuple, Self
from weakref import ref

from dimse import uids
from dimse.dataset.pydicom_names import Dataset
from dimse.dataset.threads import beside_the_loop
from dimse.errors import AssociationError, DatasetError, DimseError, StatusError
from dimse.network.application_entity import ApplicationEntity
from dimse.network.association import Association, exchange_of
from dimse.options import RetryPolicy
from dimse.services.commitment_dataset import (
    REQUEST_COMMITMENT,
    CommitmentFailure,
    InstanceReference,
    read_request,
    report_dataset,
)
from dimse.services.commitment_delivery import DeliveryQueue
from dimse.services.commitment_store import OpenTransaction, SQLiteTransactions, Transactions
from dimse.services.move_scp import Destinations, checked, destination_of
from dimse.services.normalized_scp import NormalizedRequest
from dimse.services.normalized_scu import NormalizedSCU
from dimse.services.requesting import orderly_association
from dimse.services.server import Server
from dimse.status import Status
from dimse.upper_layer.negotiation import ProposedContext

logger = logging.getLogger("dimse.storage")

MAXIMUM_INSTANCES: Final = 10_000
"""Instances of one request."""

MAXIMUM_OPEN_TRANSACTIONS: Final = 10_000
"""Transactions whose reports are not delivered."""

MAXIMUM_OPEN_INSTANCES: Final = 1_000_000
"""Instances of all transactions whose reports are not delivered."""

_SHARE: Final = 0.5
"""The part of these transactions that one requestor may have: one whose listener is down must not keep others out."""

_DELIVERY: Final = RetryPolicy(retries=500, delay=5, factor=2)
"""With the longest pause of `maximum_pause`, by default, these are three days."""

_CONTEXTS: Final = (ProposedContext(uids.STORAGE_COMMITMENT, uids.LITTLE_ENDIAN, as_scp=True),)


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """A requested storage commitment, as its handler sees it."""

    transaction_uid: str
    requestor: str
    """The AE title that requested it."""
    instances: tuple[InstanceReference, ...]
    """What it asks about, each instance once."""


class _Origin(NamedTuple):
    """The association on which a transaction was requested, and when, by the clock of the event loop."""

    association: ref[Association]
    time: float


CommitmentHandler = Callable[[CommitmentRequest], Awaitable[Mapping[str, CommitmentFailure | None]]]
"""Decides which instances are safe; see `CommitmentSCP`."""


class CommitmentSCP:
    """Answers requests for Storage Commitment that come to `server` (PS3.4 J.3).

    `decide` is called with each `CommitmentRequest`. It returns the outcome of each instance by SOP Instance UID: None
    if it is safe, else a `CommitmentFailure`. An instance that it does not name is reported as one that this side does
    not have. If it cannot decide now, it raises `DimseError`, and is called again later. With another exception, which
    is logged, all are reported with Processing Failure: the requestor then keeps its own.

    `transactions` is the path of a SQLite file with the open transactions, or another `Transactions`. The object is
    entered before the server listens, and left after it: `server.run(within=...)`. Entering it delivers what an earlier
    process did not, also one that was killed.

    The report is sent on the association of the request, if that is open `same_association` seconds after it; None
    never does that. Otherwise it is sent to the address of the requestor's AE title: `destinations`, by default those
    of the server. `retry` and `maximum_pause`, in seconds, say when it is sent again, and for how long.
    `retrieve_ae_title` is named in the reports as the AE title from which the instances may be retrieved.

    >>> server = Server("ARCHIVE", destinations={"WS1": "WS1@workstation:11112"})
    >>> async def decide(request):
    ...     return {each.sop_instance_uid: None for each in request.instances if is_stored(each)}
    >>> server.run(within=CommitmentSCP(server, decide, "commitment.sqlite"))  # doctest: +SKIP
    """

    def __init__(
        self,
        server: Server,
        decide: CommitmentHandler,
        transactions: str | os.PathLike[str] | Transactions,
        *,
        destinations: Destinations | None = None,
        retry: RetryPolicy = _DELIVERY,
        maximum_pause: float = 600,
        same_association: float | None = 0.5,
        retrieve_ae_title: str | None = None,
    ) -> None:
        if not maximum_pause > 0:
            raise ValueError(f"maximum_pause must be a positive number of seconds, not {maximum_pause!r}")
        if same_association is not None and not same_association >= 0:
            raise ValueError(f"same_association must be at least 0 seconds, not {same_association!r}")
        self._server = server
        self._decide = decide
        if isinstance(transactions, str | os.PathLike):
            transactions = SQLiteTransactions(transactions)
        self._transactions: Transactions = transactions
        given = server.destinations if destinations is None else destinations
        self._destinations = None if given is None else checked(given)
        self._retry = retry
        self._maximum_pause = maximum_pause
        self._same_association = same_association
        self._retrieve_ae_title = retrieve_ae_title
        self._open: dict[str, int] = {}
        """The number of instances of each open transaction."""
        self._queues: dict[str, DeliveryQueue] = {}
        """Of each requestor with open transactions."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """The task of each queue."""
        self._origins: dict[str, _Origin] = {}
        """How each open transaction was requested, until its report was tried there."""
        server.on_n_action(uids.STORAGE_COMMITMENT)(self._requested)

    async def __aenter__(self) -> Self:
        self._open.clear()
        for transaction_uid, requestor, instances in await self._transactions.open():
            self._open[transaction_uid] = instances
            self._enqueue(requestor, transaction_uid, attempts=1)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            await self._transactions.close()

    # Requests

    async def _requested(self, request: NormalizedRequest) -> Status:
        if request.sop_instance_uid != uids.STORAGE_COMMITMENT_INSTANCE:
            raise StatusError(Status.NO_SUCH_SOP_INSTANCE, "it is not the well-known SOP instance")
        if request.action_type_id != REQUEST_COMMITMENT:
            raise StatusError(Status.NO_SUCH_ACTION, f"Action Type ID {request.action_type_id}")
        try:
            read = await beside_the_loop(lambda: read_request(request.dataset))
        except DatasetError as error:
            raise StatusError(Status.INVALID_ARGUMENT_VALUE, error.text) from None
        requestor = request.association.calling_ae_title
        transaction = OpenTransaction(read.transaction_uid, requestor, read.instances)
        known = await self._keep(transaction)
        if known is not None and (known.requestor, known.instances) != (requestor, read.instances):
            raise StatusError(Status.INVALID_ARGUMENT_VALUE, "the Transaction UID is in use")
        self._origins[read.transaction_uid] = _Origin(ref(request.association), asyncio.get_running_loop().time())
        self._enqueue(requestor, read.transaction_uid)
        return Status.SUCCESS

    async def _keep(self, transaction: OpenTransaction) -> OpenTransaction | None:
        """Put it into the store, unless that has one of this UID, which is returned. Raises `StatusError` if full."""
        uid, count = transaction.transaction_uid, len(transaction.instances)
        if uid in self._open:
            return await self._transactions.add(transaction)
        if count > MAXIMUM_INSTANCES:
            raise StatusError(Status.RESOURCE_LIMITATION, f"more than {MAXIMUM_INSTANCES} instances")
        total = sum(self._open.values()) + count
        if len(self._open) >= MAXIMUM_OPEN_TRANSACTIONS or total > MAXIMUM_OPEN_INSTANCES:
            text = "storage commitment for %a refused: %d transactions of %d instances would be open"
            logger.warning(text, transaction.requestor, len(self._open) + 1, total)
            raise StatusError(Status.RESOURCE_LIMITATION, "too many open transactions")
        queue = self._queues.get(transaction.requestor)
        if queue is not None and len(queue) >= MAXIMUM_OPEN_TRANSACTIONS * _SHARE:
            logger.warning("storage commitment for %a refused: %d reports wait for it", queue.requestor, len(queue))
            raise StatusError(Status.RESOURCE_LIMITATION, "too many open transactions of this requestor")
        self._open[uid] = count
        try:
            return await self._transactions.add(transaction)
        except BaseException:
            del self._open[uid]
            raise

    def _enqueue(self, requestor: str, transaction_uid: str, *, attempts: int = 0) -> None:
        queue = self._queues.get(requestor)
        if queue is None:
            queue = self._queues[requestor] = DeliveryQueue(
                requestor, self._retry, self._maximum_pause, self._settle, self._forget
            )
            self._start(requestor, queue)
        queue.add(transaction_uid, attempts=attempts)

    def _start(self, requestor: str, queue: DeliveryQueue) -> None:
        task = self._tasks[requestor] = asyncio.get_running_loop().create_task(queue.run())
        task.add_done_callback(lambda task: self._left(requestor, queue, task))

    def _left(self, requestor: str, queue: DeliveryQueue, task: asyncio.Task[None]) -> None:
        """The task of a queue has ended; what was added since then, unless it was cancelled, needs another one."""
        if queue.is_empty or task.cancelled():
            del self._queues[requestor], self._tasks[requestor]
        else:
            self._start(requestor, queue)

    # Decisions and reports

    async def _settle(self, transaction_uid: str) -> None:
        """Decide a transaction unless that was done, and deliver its report. Raises `DimseError` if it cannot be."""
        transaction = await self._transactions.get(transaction_uid)
        if transaction is not None:
            if transaction.outcomes is None:
                outcomes = await self._outcomes(transaction)
                await self._transactions.decide(transaction_uid, outcomes)
                transaction = replace(transaction, outcomes=outcomes)
            await self._deliver(transaction)
        await self._forget(transaction_uid)

    async def _forget(self, transaction_uid: str) -> None:
        self._open.pop(transaction_uid, None)
        await self._transactions.remove(transaction_uid)
        self._origins.pop(transaction_uid, None)

    async def _outcomes(self, transaction: OpenTransaction) -> tuple[int | None, ...]:
        """What the handler says about each instance, in their order. Raises `DimseError` if it cannot decide now."""
        request = CommitmentRequest(transaction.transaction_uid, transaction.requestor, transaction.instances)
        try:
            said = await self._decide(request)
            return tuple(_outcome(said, each.sop_instance_uid) for each in transaction.instances)
        except DimseError:
            raise
        except Exception:
            logger.exception("the handler of storage commitment failed for %a", transaction.requestor)
            return (int(CommitmentFailure.PROCESSING_FAILURE),) * len(transaction.instances)

    async def _deliver(self, transaction: OpenTransaction) -> None:
        outcomes = dict(zip(transaction.instances, transaction.outcomes or (), strict=True))
        uid, title = transaction.transaction_uid, self._retrieve_ae_title
        event, dataset = await beside_the_loop(lambda: report_dataset(uid, outcomes, title))
        association = await self._stays(self._origins.pop(transaction.transaction_uid, None))
        if association is not None:
            try:
                await _report(association, event, dataset)
            except DimseError as error:
                logger.info("the report of storage commitment on the association of its request failed: %s", error)
            else:
                return
        entity = await self._entity(transaction.requestor)
        refused: StatusError | None = None
        async with orderly_association(entity, _CONTEXTS) as association:
            try:
                await _report(association, event, dataset)
            except StatusError as error:
                refused = error  # raised after the association was released
        if refused is not None:
            raise refused

    async def _stays(self, origin: _Origin | None) -> Association | None:
        """The association of a request, if it is open a moment after it: its requestor waits for the report on it."""
        association = None if origin is None else origin.association()
        if origin is None or association is None or self._same_association is None:
            return None
        seconds = origin.time + self._same_association - asyncio.get_running_loop().time()
        await asyncio.wait((exchange_of(association).over,), timeout=max(seconds, 0))
        return association if association.is_open else None

    async def _entity(self, requestor: str) -> ApplicationEntity:
        found = None if self._destinations is None else await destination_of(self._destinations, requestor)
        if found is None:
            raise AssociationError(f"no address is known for {requestor!a}: see `destinations`")
        return found.entity(self._server.ae_title, self._server.options)


def _outcome(said: Mapping[str, CommitmentFailure | None], uid: str) -> int | None:
    outcome = said.get(uid, CommitmentFailure.NO_SUCH_INSTANCE)
    return None if outcome is None else int(CommitmentFailure(outcome))


async def _report(association: Association, event: int, dataset: Dataset) -> None:
    scu = NormalizedSCU(association)
    await scu.event_report(uids.STORAGE_COMMITMENT, uids.STORAGE_COMMITMENT_INSTANCE, event, dataset)
