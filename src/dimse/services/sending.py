"""Whole sending jobs: any number of files, as many associations as they need, retries, and one report."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING

from dimse.address import Address
from dimse.callbacks import Callback
from dimse.network.application_entity import ApplicationEntity, entity_of
from dimse.options import ClientOptions, RetryPolicy
from dimse.records import record
from dimse.services.collecting import SendResult
from dimse.services.given import Source
from dimse.services.sending_association import Destination
from dimse.services.sending_job import SendingJob
from dimse.services.transfer_progress import ProgressCallback

if TYPE_CHECKING:
    from dimse.dataset.edits import Edits
    from dimse.services.journal import Journal

logger = logging.getLogger("dimse.storage")


@record()
class SendReport:
    """The outcome for all sources, in the order in which they were settled."""

    results: tuple[SendResult, ...]
    bytes_sent: int
    seconds: float
    associations: int = 1
    """The largest number of associations that were open at once."""
    operations_window: int = 1
    """How many objects could be outstanding on each association, as negotiated."""

    @property
    def stored(self) -> tuple[SendResult, ...]:
        """Sources that the peer has stored, also with a warning."""
        return tuple(result for result in self.results if result.stored)

    @property
    def failures(self) -> tuple[SendResult, ...]:
        """Sources that were not stored; skipped files do not count."""
        return tuple(result for result in self.results if result.error is not None and not result.skipped)


async def send(
    address: str | Address | ApplicationEntity,
    sources: Iterable[Source] | Source,
    *,
    calling_ae_title: str | None = None,
    options: ClientOptions | None = None,
    timeout: float | None = None,
    associations: int = 1,
    auto_associations: bool = False,
    retry: RetryPolicy | None = None,
    allow_decompression: bool = False,
    transfer_syntaxes: Sequence[str] | None = None,
    edits: Edits | None = None,
    journal: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
    on_result: Callable[[SendResult], object] | None = None,
    raise_failures: bool = True,
) -> SendReport:
    """Send files, folders, DICOMDIRs, zip archives, streams and data sets to the storage SCP at `address`.

    A source is a path, a DICOM file as bytes, a binary stream, an asynchronous one or an asynchronous iterator of
    bytes, a pydicom data set, or a `DatasetSource`.

    The presentation contexts follow from the sources, and propose only `transfer_syntaxes`, if given. Sources that need
    more than 128 contexts are sent in several groups. At most `associations` are open at once; with
    `auto_associations` the response time of the first one decides how many. After a lost connection, unacknowledged
    sources are sent again, by the rules of `retry`. `edits` are made in the header of each object on the way.
    `journal` is a file for notes of what was stored: with it, the same job goes on where it was interrupted, and its
    report has the results of all its runs.

    `on_result` is called with each `SendResult` as it becomes known; without it, warning statuses are logged.
    `progress` is called with the progress of the whole job. `timeout` is short for
    `ClientOptions(timeouts=Timeouts.all(timeout))`, in seconds.

    Raises `TypeError` for an object that cannot be a source, `JournalError` for a journal that cannot be used or is
    that of another job, and `AssociationError` if no association could be opened at all. At the end, one
    `ExceptionGroup` has the errors of everything that was not stored; with `raise_failures=False` they are in
    `report.failures` instead.

    >>> async def main():
    ...     report = await send("ARCHIVE@localhost:11112", ["study/"])
    ...     print(len(report.stored), "stored in", report.seconds, "s")
    """
    if associations < 1:
        raise ValueError(f"associations must be at least 1, not {associations}")
    entity = entity_of(address, options, calling_ae_title, timeout)
    Callback("progress", progress, logger)  # refused before anything is read
    destination = Destination(entity, allow_decompression)
    start = asyncio.get_running_loop().time()
    async with _opened(journal, entity.address, edits) as book:
        job = SendingJob(destination, retry or RetryPolicy(), on_result, transfer_syntaxes, edits, book)
        await job.look_at(sources)
        await job.run(associations, progress, auto_associations=auto_associations)
    seconds = asyncio.get_running_loop().time() - start
    results, bytes_sent = tuple(job.outcomes.results), job.outcomes.bytes_done
    report = SendReport(results, bytes_sent, seconds, job.associations, job.operations_window or 1)
    if raise_failures and report.failures:
        errors = [result.error for result in report.failures if result.error is not None]
        raise ExceptionGroup(f"{len(errors)} of {len(results)} not stored at {entity.address}", errors)
    return report


def _opened(
    path: str | os.PathLike[str] | None, destination: Address, edits: Edits | None
) -> AbstractAsyncContextManager[Journal | None]:
    if path is None:
        return nullcontext()
    from dimse.services.journal import opened  # few jobs have one

    return opened(path, destination, edits)
