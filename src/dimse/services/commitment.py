"""Whole jobs of Storage Commitment: ask whether a peer keeps instances, and wait for its reports (PS3.4 J).

1. The instances are requested in transactions of limited size, one after the other, on one association.
2. This side listens before it sends the first request, as many providers report on a new association.
3. The association is kept for half of the time limit: some providers report on it, others only after its release.
4. What has no report then has failed: an instance is committed only if a report says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from io import TextIOBase
from typing import Final, cast

from dimse import uids
from dimse.access import Access
from dimse.address import DEFAULT_PORT, Address
from dimse.callbacks import Callback
from dimse.errors import AssociationError, DimseError, RemoteProtocolError, StatusError
from dimse.network.application_entity import ApplicationEntity, entity_of
from dimse.network.association import Association, exchange_of
from dimse.network.listening import cannot_listen
from dimse.options import ClientOptions, ServerOptions
from dimse.records import record
from dimse.services.collecting import SendResult, look_at
from dimse.services.commitment_dataset import InstanceReference
from dimse.services.commitment_scu import (
    CommitmentResult,
    Commitments,
    CommitmentSCU,
    PendingCommitment,
    awaited_of,
    failed,
)
from dimse.services.commitment_states import RequestEvent
from dimse.services.given import Source, each, is_source
from dimse.services.receiving import default_host
from dimse.services.requesting import orderly_association
from dimse.services.server import Server
from dimse.uids import is_uid

logger = logging.getLogger("dimse.storage")

INSTANCES_PER_TRANSACTION: Final = 1000
"""Instances of one request; more are requested in several. Providers limit the size of a data set."""

REPORT_WAIT: Final = 60.0
"""Seconds to wait for a report."""

_CONTEXTS: Final = ((uids.STORAGE_COMMITMENT, uids.LITTLE_ENDIAN),)


@record()
class CommitmentReport:
    """The outcome of `commit` for all instances, in the order in which it was known."""

    results: tuple[CommitmentResult, ...]
    transactions: int
    """The number of requests that were sent."""
    seconds: float

    @property
    def committed(self) -> tuple[CommitmentResult, ...]:
        """Instances that the peer is committed to store."""
        return tuple(result for result in self.results if result.committed)

    @property
    def failures(self) -> tuple[CommitmentResult, ...]:
        """Instances that it is not committed to store, and files that could not be read; skipped ones do not count."""
        return tuple(result for result in self.results if result.error is not None and not result.skipped)


async def commit(
    address: str | Address | ApplicationEntity,
    instances: Iterable[Source | tuple[str, str]] | Source,
    *,
    calling_ae_title: str | None = None,
    options: ClientOptions | None = None,
    timeout: float | None = None,
    wait: float = REPORT_WAIT,
    receiver: str | Address | Commitments | None = None,
    on_result: Callable[[CommitmentResult], object] | None = None,
    raise_failures: bool = True,
) -> CommitmentReport:
    """Ask the application entity at `address` whether it keeps these instances: Storage Commitment (PS3.4 J).

    An instance is a path or another source, as for `send`, of which only the UIDs are read, or a pair of SOP Class UID
    and SOP Instance UID. The peer answers with reports, on the same association or on a new one to this side. `wait`
    is how many seconds to wait for each. An instance that no report mentions is not committed.

    `receiver` is the "TITLE@interface:port" at which this side listens for new associations, by default the calling AE
    title and port 11112 on the address by which the peer is reached; the peer must know the address of that title. If
    `options` has TLS, the receiver uses it too, and needs a certificate. If this side cannot listen at that default,
    it logs a warning, and reports can come on the same association only. A `Commitments` is a receiver on a server of
    yours.

    `on_result` is called with each `CommitmentResult` as it becomes known. `timeout` is short for
    `ClientOptions(timeouts=Timeouts.all(timeout))`, in seconds.

    Raises `AssociationError` if no association could be made, `PresentationContextError` if the peer did not accept
    Storage Commitment, and `OSError` if this side cannot listen at the `receiver` that was given. At the end, one
    `ExceptionGroup` has the errors of everything that is not committed, each a `NotCommitted` for an instance; with
    `raise_failures=False` they are in `report.failures` instead.

    >>> async def main():
    ...     report = await commit("ARCHIVE@localhost:11112", ["study/"])
    ...     print(len(report.committed), "may be deleted here")
    """
    if not wait > 0:
        raise ValueError(f"wait must be a positive number of seconds, not {wait!r}")
    entity = entity_of(address, options, calling_ae_title, timeout)
    outcomes, start = _Outcomes(on_result), asyncio.get_running_loop().time()
    wanted = await outcomes.look_at(instances)
    transactions = 0
    if wanted:
        job = _Job(entity, _Receiver(entity.options, receiver), wait, outcomes)
        await job.run(list(wanted))
        transactions = job.transactions
    seconds = asyncio.get_running_loop().time() - start
    report = CommitmentReport(tuple(outcomes.results), transactions, seconds)
    if raise_failures and report.failures:
        errors = [result.error for result in report.failures if result.error is not None]
        raise ExceptionGroup(f"{len(errors)} of {len(report.results)} not committed at {entity.address}", errors)
    return report


class _Outcomes:
    """The results so far, each reported to the caller's callback, and the names of the instances."""

    def __init__(self, on_result: Callable[[CommitmentResult], object] | None) -> None:
        self.results: list[CommitmentResult] = []
        self._reported = Callback("on_result", on_result, logger)
        self._names: dict[InstanceReference, list[str]] = {}

    async def look_at(self, instances: Iterable[Source | tuple[str, str]] | Source) -> Iterable[InstanceReference]:
        """The instances, each once; what cannot be read has a result. Raises `TypeError` for another object."""
        sources = list[Source]()
        for given in _each(instances):
            if isinstance(given, tuple):
                sop_class_uid, sop_instance_uid = given
                self._add(InstanceReference(sop_class_uid, sop_instance_uid), "")
            else:
                sources.append(given)
        async for found in look_at(each(sources)):
            if isinstance(found, SendResult):
                uid = found.sop_instance_uid or ""
                self._note(CommitmentResult("", uid, found.error, name=found.name, skipped=found.skipped))
            else:
                self._add(InstanceReference(found.sop_class_uid, found.sop_instance_uid), found.name)
        return self._names

    def _add(self, instance: InstanceReference, name: str) -> None:
        if not all(map(is_uid, instance)):
            self._note(replace(failed(instance, "its SOP Class UID or SOP Instance UID is not a UID"), name=name))
        else:
            self._names.setdefault(instance, []).append(name)

    def note(self, results: Iterable[CommitmentResult]) -> None:
        """Note results of the peer, each for all files of the instance."""
        for result in results:
            for name in self._names[InstanceReference(result.sop_class_uid, result.sop_instance_uid)]:
                self._note(replace(result, name=name) if name else result)

    def _note(self, result: CommitmentResult) -> None:
        self.results.append(result)
        self._reported(result)


def _each(instances: Iterable[Source | tuple[str, str]] | Source) -> Iterable[Source | tuple[str, str]]:
    """Each of them; `each` refuses what is not an iterable of sources."""
    if is_source(instances) or isinstance(instances, Mapping | TextIOBase) or not isinstance(instances, Iterable):
        return each(cast("Source", instances))
    return cast("Iterable[Source | tuple[str, str]]", instances)


class _Receiver:
    """Where the reports of one job come to: a server of the caller, or one of our own."""

    def __init__(self, options: ClientOptions, given: str | Address | Commitments | None) -> None:
        self._failure: str | None = None
        """Why it cannot listen."""
        self._given: Address | None = None
        self._server: Server | None = None
        """The one of our own."""
        if isinstance(given, Commitments):
            self.commitments = given
            return
        title = options.calling_ae_title
        if isinstance(given, str):
            given = Address.parse(given if "@" in given else f"{title}@{given}")
        self._given, address = given, given or Address(title, "localhost", DEFAULT_PORT)
        own = ServerOptions(
            audit=options.audit,
            on_event=options.on_event,
            on_pdu=options.on_pdu,
            rate_limit=options.rate_limit,
            access=Access(called_ae_titles=[address.ae_title]),
            maximum_associations_per_title=None,
            maximum_connections_per_second=None,  # a provider may open one for each report
        )
        try:
            own = replace(own, tls=options.tls)
        except ValueError as error:  # without a certificate, say
            if given is not None:
                raise
            self._failure = f"this side cannot listen on port {address.port}: {error}"
        self._server = Server(address.ae_title, host=address.host, port=address.port, options=own)
        self.commitments = Commitments(self._server)

    @property
    def listens(self) -> bool:
        """Whether reports can come on a new association."""
        return self._failure is None

    async def listen(self, association: Association, stack: AsyncExitStack) -> None:
        """Listen until the end of the job, if this side is to do that. Raises `OSError` as `commit` says."""
        server = self._server
        if server is None:
            return
        if self._given is None:
            server.host = default_host(exchange_of(association).connection.own_host)
        try:
            if self._failure is None:
                await stack.enter_async_context(server)
        except OSError as error:
            if self._given is not None:
                raise
            self._failure = cannot_listen(server.host, server.port, error)
        if self._failure is not None:
            text = "reports of %s can come on the same association only: %s"
            logger.warning(text, association.peer_ae_title, self._failure)


class _Job:
    """One `commit`."""

    def __init__(self, entity: ApplicationEntity, receiver: _Receiver, wait: float, outcomes: _Outcomes) -> None:
        self.transactions = 0
        self._entity = entity
        self._receiver = receiver
        self._wait = wait
        self._outcomes = outcomes
        self._pending: list[PendingCommitment] = []
        self._following: set[asyncio.Task[None]] = set()
        """The tasks that wait for the reports."""

    async def run(self, instances: Sequence[InstanceReference]) -> None:
        """Request them all, and wait for the reports."""
        server = self._receiver.commitments.server
        try:
            async with AsyncExitStack() as stack:
                async with orderly_association(self._entity, _CONTEXTS, server) as association:
                    association.context_for(uids.STORAGE_COMMITMENT)  # else there is nothing to listen for
                    await self._receiver.listen(association, stack)
                    await self._request(association, instances)
                    await self._stay(association)
                if not self._receiver.listens:
                    for pending in self._pending:
                        awaited_of(pending).happened(RequestEvent.LOSS)
                if self._following:
                    await asyncio.wait(self._following)
        finally:
            for task in self._following:
                task.cancel()
            await asyncio.gather(*self._following, return_exceptions=True)

    async def _request(self, association: Association, instances: Sequence[InstanceReference]) -> None:
        scu, size = CommitmentSCU(association, self._receiver.commitments), INSTANCES_PER_TRANSACTION
        for start in range(0, len(instances), size):
            self.transactions += 1
            try:
                self._follow(await scu.request(instances[start : start + size]))
            except StatusError as error:
                self._fail(instances[start : start + size], error)
            except (AssociationError, RemoteProtocolError) as error:
                self._fail(instances[start:], error)
                return

    def _fail(self, instances: Sequence[InstanceReference], error: DimseError) -> None:
        self._outcomes.note(failed(instance, error.text, error) for instance in instances)

    def _follow(self, pending: PendingCommitment) -> None:
        async def follow() -> None:
            self._outcomes.note(await pending.results(self._wait))

        self._pending.append(pending)
        self._following.add(asyncio.get_running_loop().create_task(follow()))

    async def _stay(self, association: Association) -> None:
        """Keep the association while reports may come on it."""
        if not self._following:
            return
        seconds, over = self._wait / 2 if self._receiver.listens else None, exchange_of(association).over
        everything = asyncio.get_running_loop().create_task(asyncio.wait(self._following))
        try:
            await asyncio.wait((everything, over), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            everything.cancel()
            await asyncio.wait((everything,))
