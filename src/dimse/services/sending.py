"""Whole sending jobs: any number of files, as many associations as that takes, retries, and one account of it all."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dimse.ae import Address, ClientOptions, RetryPolicy
from dimse.dataset import Dataset, DatasetSource, NotSent, discover
from dimse.errors import (
    AssociationError,
    AssociationRejected,
    ConnectionLost,
    DatasetError,
    DimseError,
    PresentationContextError,
    RemoteProtocolError,
)
from dimse.messages.status import Status, StatusCategory
from dimse.network.association import Association
from dimse.network.client import connect
from dimse.services.storage import (
    CStoreSCU,
    ProgressCallback,
    ProgressReporter,
    Source,
    TransferProgress,
    as_source,
    name_of_stream,
    presentation_contexts,
)
from dimse.uids import is_uid
from dimse.upper_layer.negotiation import MAXIMUM_CONTEXTS

logger = logging.getLogger("dimse.storage")


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of one source.

    Stored if `status` is Success or a warning; else `error` says why not. `skipped` is a file in a folder that
    is not DICOM: it has no status and is no failure.
    """

    name: str
    sop_instance_uid: str | None = None
    status: Status | None = None
    error: Exception | None = None
    skipped: bool = False
    attempts: int = 0
    bytes_sent: int = 0

    @property
    def stored(self) -> bool:
        """Whether the peer has it."""
        return self.error is None and self.status is not None


@dataclass(frozen=True, slots=True)
class SendReport:
    """What became of all of them, in the order in which it was known."""

    results: tuple[SendResult, ...]
    bytes_sent: int
    seconds: float

    @property
    def stored(self) -> tuple[SendResult, ...]:
        """Those that the peer has; warnings are among them."""
        return tuple(result for result in self.results if result.stored)

    @property
    def failures(self) -> tuple[SendResult, ...]:
        """Those that it does not have and should."""
        return tuple(result for result in self.results if result.error is not None and not result.skipped)


async def send(
    address: str | Address,
    sources: Iterable[Source] | Source,
    *,
    calling_ae_title: str | None = None,
    options: ClientOptions | None = None,
    associations: int = 1,
    retry: RetryPolicy | None = None,
    allow_decompression: bool = False,
    progress: ProgressCallback | None = None,
    on_result: Callable[[SendResult], object] | None = None,
    raise_failures: bool = True,
) -> SendReport:
    """Send files, folders, DICOMDIRs, zip archives, streams and data sets to the storage SCP at `address`.

    Presentation contexts are worked out from what there is to send, and spread over more than one association
    where 128 are not enough. `associations` may be open at once. A lost connection is made again, and what was
    not acknowledged is sent again, as `retry` says. `on_result` is called with each `SendResult` as it is known,
    `progress` with the bytes of all of them.

    Raises `AssociationError` where no association could be made at all. At the end, one `ExceptionGroup` has the
    errors of everything that was not stored; with `raise_failures=False` they are in `report.failures` instead.

    >>> async def main():
    ...     report = await send("ARCHIVE@localhost:11112", ["study/"])
    ...     print(len(report.stored), "stored in", report.seconds, "s")
    """
    if associations < 1:
        raise ValueError(f"associations is {associations}; it is at least 1")
    job = _Job(Address.parse(address), options or ClientOptions(), calling_ae_title, on_result)
    job.retry = retry or RetryPolicy()
    job.allow_decompression = allow_decompression
    start = asyncio.get_running_loop().time()
    await job.look_at(sources)
    await job.run(associations, progress)
    report = SendReport(tuple(job.results), job.bytes_done, asyncio.get_running_loop().time() - start)
    if raise_failures and report.failures:
        errors = [result.error for result in report.failures if result.error is not None]
        raise ExceptionGroup(f"{len(errors)} of {len(job.results)} not stored at {job.address}", errors)
    return report


class _Item:
    """One source on its way."""

    __slots__ = ("attempts", "source")

    def __init__(self, source: DatasetSource) -> None:
        self.source = source
        self.attempts = 0


class _Job:
    """Everything that the associations of one `send` share."""

    def __init__(
        self,
        address: Address,
        options: ClientOptions,
        calling_ae_title: str | None,
        on_result: Callable[[SendResult], object] | None,
    ) -> None:
        self.address = address
        self.retry = RetryPolicy()
        self.allow_decompression = False
        self.results: list[SendResult] = []
        self.bytes_done = 0
        self._options = options
        self._calling_ae_title = calling_ae_title
        self._on_result = on_result
        self._sources: list[DatasetSource] = []
        self._report = ProgressReporter(None, None)
        self._in_flight: dict[_Item, int] = {}
        self._working = 0
        self._associated = False

    async def look_at(self, sources: Iterable[Source] | Source) -> None:
        """Find out what there is to send. Reading file metas is left to a thread."""
        if isinstance(sources, str | os.PathLike | Dataset | DatasetSource) or hasattr(sources, "read"):
            sources = [sources]  # type: ignore[list-item] # a Source is none of the Iterables that are meant
        for source in sources:
            if isinstance(source, str | os.PathLike):
                for found in await asyncio.to_thread(_found_at, source):
                    if isinstance(found, NotSent):
                        self._note(SendResult(found.name, error=found.error, skipped=found.skipped))
                    else:
                        self._add(found)
            else:
                try:
                    self._add(await as_source(source))
                except (DatasetError, OSError) as error:
                    self._note(SendResult(name_of_stream(source), error=error))

    def _add(self, source: DatasetSource) -> None:
        """Take it, unless proposing it would cost the others their association."""
        for what, uid in (("SOP Class", source.sop_class_uid), ("Transfer Syntax", source.transfer_syntax_uid)):
            if not is_uid(uid):
                error = DatasetError(f"{source.name}: its {what} UID is not a UID (PS3.5 9.1)")
                self._note(SendResult(source.name, source.sop_instance_uid, error=error))
                return
        self._sources.append(source)

    async def run(self, associations: int, progress: ProgressCallback | None) -> None:
        """Send it all, a group of at most 128 contexts after the other."""
        lengths = [source.length for source in self._sources]
        total = None if None in lengths else sum(length or 0 for length in lengths)
        self._report = ProgressReporter(progress, total)
        for contexts, group in _groups(self._sources):
            queue = deque(_Item(source) for source in group)
            workers = min(associations, len(queue))
            try:
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(workers):
                        tasks.create_task(self._work(contexts, queue))
            except ExceptionGroup as group:
                # Only the last of them to work gives up, so there is one reason: the group is the TaskGroup's own.
                raise group.exceptions[0] from None
        self._report(self.bytes_done, final=True)

    async def _work(self, contexts: Sequence[tuple[str, Sequence[str]]], queue: deque[_Item]) -> None:
        """Keep one association going until the queue is empty."""
        self._working += 1
        attempt = 0
        try:
            while queue:
                sent_before = len(self.results)
                try:
                    async with connect(
                        self.address, contexts=contexts, calling_ae_title=self._calling_ae_title, options=self._options
                    ) as association:
                        self._associated = True
                        await self._send_on(association, queue)
                except (AssociationError, RemoteProtocolError) as error:
                    attempt = 0 if len(self.results) > sent_before else attempt + 1
                    if self._working > 1:
                        return  # the others go on with what is left
                    await self._wait_or_give_up(error, attempt, queue)
        finally:
            self._working -= 1

    async def _wait_or_give_up(self, error: DimseError, attempt: int, queue: deque[_Item]) -> None:
        """Wait before the next association, or let what is left fail with `error`."""
        final = isinstance(error, AssociationRejected) and not error.transient
        unreachable = not self._associated and isinstance(error, ConnectionLost | RemoteProtocolError | TimeoutError)
        pause = None if final or unreachable else self.retry.pause(max(attempt, 1))
        if pause is not None:
            if queue:
                logger.info("%s: %s; a new association in %g s", self.address, error, pause)
                await asyncio.sleep(pause)
            return
        if not self._associated:
            raise error
        while queue:
            self._fail(queue.popleft(), error)

    async def _send_on(self, association: Association, queue: deque[_Item]) -> None:
        scu = CStoreSCU(association, retry=self.retry, allow_decompression=self.allow_decompression)
        while queue and association.is_open:
            item = queue.popleft()
            item.attempts += 1
            try:
                await self._send_one(scu, item)
            except (AssociationError, RemoteProtocolError) as error:
                if not item.source.repeatable:
                    error.add_note(f"{item.source.name}: not tried again, it can be read only once")
                    self._fail(item, error)
                elif self.retry.pause(item.attempts) is None:
                    self._fail(item, error)
                else:
                    queue.appendleft(item)
                raise
            except Exception as error:  # noqa: BLE001 - an iterable of the user's may raise anything, of its item only
                self._fail(item, error)

    async def _send_one(self, scu: CStoreSCU, item: _Item) -> None:
        def progressed(progress: TransferProgress) -> None:
            self._in_flight[item] = progress.bytes_transferred
            self._report(self.bytes_done + sum(self._in_flight.values()))

        transferred = 0
        try:
            response = await scu.send(item.source, progressed)
            transferred = self._in_flight.get(item, 0)
        finally:
            self._in_flight.pop(item, None)
        self.bytes_done += transferred
        if response.status.category is StatusCategory.WARNING:
            logger.warning("%s: stored with a warning, %s", item.source.name, response.status)
        self._note(
            SendResult(
                item.source.name,
                item.source.sop_instance_uid,
                response.status,
                attempts=item.attempts,
                bytes_sent=transferred,
            )
        )

    def _fail(self, item: _Item, error: Exception) -> None:
        status = getattr(error, "status", None)
        name = item.source.name
        if isinstance(error, AssociationError | PresentationContextError | RemoteProtocolError):
            error.add_note(f"while sending {name}")
        self._note(SendResult(name, item.source.sop_instance_uid, status, error, attempts=item.attempts))

    def _note(self, result: SendResult) -> None:
        self.results.append(result)
        if self._on_result is not None:
            self._on_result(result)


def _found_at(path: str | os.PathLike[str]) -> list[DatasetSource | NotSent]:
    return list(discover([path]))


def _groups(
    sources: Sequence[DatasetSource],
) -> list[tuple[list[tuple[str, tuple[str]]], list[DatasetSource]]]:
    """Split by SOP class so that no group needs more than 128 contexts; order is kept within a group."""
    by_class: dict[str, list[DatasetSource]] = {}
    for source in sources:
        by_class.setdefault(source.sop_class_uid, []).append(source)
    groups: list[tuple[list[tuple[str, tuple[str]]], list[DatasetSource]]] = []
    for members in by_class.values():
        contexts = presentation_contexts(members)
        if groups and len(groups[-1][0]) + len(contexts) <= MAXIMUM_CONTEXTS:
            groups[-1][0].extend(contexts)
            groups[-1][1].extend(members)
        else:
            groups.append((contexts, list(members)))
    return groups
