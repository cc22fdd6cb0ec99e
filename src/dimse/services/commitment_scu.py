"""Storage Commitment as SCU (PS3.4 J.3): the request on an association, and the reports, which come on any."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final
from weakref import WeakValueDictionary

from dimse import uids
from dimse.dataset.threads import beside_the_loop
from dimse.errors import AssociationError, DatasetError, NotCommitted, RemoteProtocolError, StatusError
from dimse.network.association import Association
from dimse.records import record
from dimse.services.commitment_dataset import (
    ALL_COMMITTED,
    FAILURES_EXIST,
    REQUEST_COMMITMENT,
    Committed,
    InstanceReference,
    ReadReport,
    read_report,
    reason_in_words,
    request_dataset,
)
from dimse.services.commitment_states import REQUESTS, RequestEvent, RequestState
from dimse.services.normalized_scp import NormalizedRequest
from dimse.services.normalized_scu import NormalizedSCU
from dimse.services.server import Server
from dimse.status import Status

logger = logging.getLogger("dimse.storage")

REMEMBERED: Final = 10_000
"""Transactions of which a receiver knows that they were its own. A report that comes again is answered with Success."""

_KNOWN_EVENTS: Final = (ALL_COMMITTED, FAILURES_EXIST, None)
"""The Event Type IDs of reports. Some providers send none; the report says the same without."""


@record()
class CommitmentResult:
    """The outcome for one instance: the peer is committed to store it, or `error` says why not."""

    sop_class_uid: str
    sop_instance_uid: str
    error: Exception | None = None
    """A `NotCommitted`, or why the file cannot be read; None if the peer is committed."""
    retrieve_ae_title: str | None = None
    """The AE title from which it may be retrieved, if the peer says so."""
    transaction_uid: str | None = None
    """The transaction in which it was requested; None if it was not."""
    name: str = ""
    """The file, or empty if it was given by its UIDs."""
    skipped: bool = False
    """Whether it is a file in a folder that is not DICOM; such a file does not count as a failure."""

    @property
    def committed(self) -> bool:
        """Whether the peer is committed to store it."""
        return self.error is None


class Awaited:
    """The state of a requested commitment, from its N-ACTION to its end."""

    def __init__(self) -> None:
        self.state = RequestState.SENT
        self.report: ReadReport | None = None
        """The first report, which counts."""
        self.settled = asyncio.Event()
        """Set at the end."""

    def happened(self, event: RequestEvent, report: ReadReport | None = None) -> None:
        """Go to the next state."""
        self.state = REQUESTS[self.state, event]
        if self.report is None and not self.settled.is_set():
            self.report = report
        if self.state.is_final:
            self.settled.set()


class PendingCommitment:
    """A requested commitment, whose report comes on the same association or on another one."""

    def __init__(self, transaction_uid: str, instances: Sequence[InstanceReference]) -> None:
        self.transaction_uid: Final = transaction_uid
        """Transaction UID (0008,1195), by which the report is known."""
        self.instances: Final = tuple(instances)
        """What was requested."""
        self._awaited = Awaited()

    async def results(self, wait: float) -> tuple[CommitmentResult, ...]:
        """The outcome of each instance. Waits at most `wait` seconds for the report, and then says so in each."""
        awaited = self._awaited
        try:
            async with asyncio.timeout(wait):
                await awaited.settled.wait()
        except TimeoutError:
            awaited.happened(RequestEvent.EXPIRY)
        if awaited.state is RequestState.REPORTED and awaited.report is not None:
            return tuple(self._result(each, awaited.report) for each in self.instances)
        why = f"no report within {wait:g} s"
        if awaited.state is RequestState.LOST:
            why = "no report: the association has ended, and this side does not listen for another"
        return tuple(failed(each, why, transaction_uid=self.transaction_uid) for each in self.instances)

    def _result(self, instance: InstanceReference, report: ReadReport) -> CommitmentResult:
        uid, transaction = instance.sop_instance_uid, self.transaction_uid
        if uid in report.failed:
            reason = report.failed[uid]
            error = NotCommitted(uid, reason_in_words(reason), reason)
            return CommitmentResult(*instance, error=error, transaction_uid=transaction)
        committed: Committed | None = report.committed.get(uid)
        if committed is None:
            return failed(instance, "the report does not mention it", None, transaction)
        if committed.sop_class_uid not in ("", instance.sop_class_uid):
            return failed(instance, "the report names it with another SOP class", None, transaction)
        return CommitmentResult(*instance, retrieve_ae_title=committed.retrieve_ae_title, transaction_uid=transaction)


def awaited_of(pending: PendingCommitment) -> Awaited:
    """The state of a requested commitment, which the library changes and users do not."""
    return pending._awaited


def failed(
    instance: InstanceReference, why: str, cause: Exception | None = None, transaction_uid: str | None = None
) -> CommitmentResult:
    """The result of an instance that is not committed, without a Failure Reason of the peer."""
    error = NotCommitted(instance.sop_instance_uid, why)
    error.__cause__ = cause
    return CommitmentResult(*instance, error=error, transaction_uid=transaction_uid)


class Commitments:
    """Receives the reports of Storage Commitment for this process, on a server of it (PS3.4 J.3.3).

    It registers the server's handler of N-EVENT-REPORT for Storage Commitment. Reports that come on a new association
    arrive at the server while it listens; those that come on an association of ours arrive by `connect(...,
    services=server)`. `commit` takes one as its `receiver`, and any number of jobs may use it at once. A report
    belongs to its request by its Transaction UID alone: peers may send it from another host and AE title.

    >>> async def main():
    ...     server = Server("WS1", port=11112)
    ...     commitments = Commitments(server)
    ...     async with server:
    ...         report = await commit("ARCHIVE@localhost:11112", ["study/"], receiver=commitments)
    """

    def __init__(self, server: Server) -> None:
        self.server: Final = server
        """Where the reports arrive."""
        self._pending: WeakValueDictionary[str, PendingCommitment] = WeakValueDictionary()
        self._own: OrderedDict[str, None] = OrderedDict()
        """Transactions of ours, the newest last."""
        server.on_n_event_report(uids.STORAGE_COMMITMENT)(self._reported)

    def expect(self, instances: Sequence[InstanceReference]) -> PendingCommitment:
        """A new transaction, whose report is awaited from now on, as long as the caller holds what this returns."""
        pending = PendingCommitment(uids.new_uid(), instances)
        self._pending[pending.transaction_uid] = pending
        self._own[pending.transaction_uid] = None
        if len(self._own) > REMEMBERED:
            self._own.popitem(last=False)
        return pending

    async def _reported(self, request: NormalizedRequest) -> Status:
        if request.event_type_id not in _KNOWN_EVENTS:
            raise StatusError(Status.NO_SUCH_EVENT_TYPE, f"Event Type ID {request.event_type_id}")
        try:
            report = await beside_the_loop(lambda: read_report(request.dataset))
        except DatasetError as error:
            raise StatusError(Status.INVALID_ARGUMENT_VALUE, error.text) from None
        pending = self._pending.get(report.transaction_uid)
        if pending is not None:
            awaited_of(pending).happened(RequestEvent.REPORT, report)
        elif report.transaction_uid not in self._own:
            logger.warning(
                "%s: a report of storage commitment for transaction %s, which is not known here; refused",
                request.association.peer_name,
                report.transaction_uid,
            )
            raise StatusError(Status.INVALID_ARGUMENT_VALUE, "the Transaction UID is not known here")
        return Status.SUCCESS


class CommitmentSCU:
    """Storage Commitment SCU on an association (PS3.4 J.3.2): asks whether the peer keeps instances.

    The association must have a context for `uids.STORAGE_COMMITMENT`, and was made with `services=` the server of
    `commitments`, so that the report can come on it.

    >>> async def main(instances):
    ...     commitments = Commitments(Server("WS1", port=11112))
    ...     contexts = [(uids.STORAGE_COMMITMENT, uids.LITTLE_ENDIAN)]
    ...     archive = ApplicationEntity("ARCHIVE@localhost:11112")
    ...     async with commitments.server, archive.connect(contexts, services=commitments.server) as association:
    ...         pending = await CommitmentSCU(association, commitments).request(instances)
    ...         for result in await pending.results(60):
    ...             print(result.sop_instance_uid, result.error or "committed")
    """

    def __init__(self, association: Association, commitments: Commitments) -> None:
        self._association = association
        self._commitments = commitments

    async def request(self, instances: Sequence[InstanceReference]) -> PendingCommitment:
        """Send one request for all of them (N-ACTION). The response says only that a report will come.

        Raises `PresentationContextError`, `StatusError` if the peer refuses the request, and `AssociationError` if the
        association ends before the response.
        """
        pending = self._commitments.expect(instances)
        dataset = request_dataset(pending.transaction_uid, instances)
        scu = NormalizedSCU(self._association)
        try:
            await scu.action(uids.STORAGE_COMMITMENT, uids.STORAGE_COMMITMENT_INSTANCE, REQUEST_COMMITMENT, dataset)
        except StatusError:
            awaited_of(pending).happened(RequestEvent.REFUSAL)
            raise
        except (AssociationError, RemoteProtocolError):
            awaited_of(pending).happened(RequestEvent.LOSS)
            if awaited_of(pending).state is not RequestState.REPORTED:
                raise
        else:
            awaited_of(pending).happened(RequestEvent.RESPONSE)
        return pending
