"""Whole retrieving jobs: list what the peer has, then retrieve it in the ways that the peer offers."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dimse.address import Address
from dimse.dataset.file_names import validate_template
from dimse.options import ClientOptions, RetryPolicy, StoreOptions
from dimse.services.bringing import Bringing, RetrieveMethod, RetrieveResult
from dimse.services.callbacks import Callback
from dimse.services.listing import list_instances
from dimse.services.query import Query
from dimse.services.store_request import DEFAULT_TEMPLATE

logger = logging.getLogger("dimse.query_retrieve")

__all__ = ["RetrieveMethod", "RetrieveReport", "RetrieveResult", "retrieve"]


@dataclass(frozen=True, slots=True)
class RetrieveReport:
    """What became of all that the peer listed."""

    results: tuple[RetrieveResult, ...]
    listed: int
    """How many instances the peer said that it has."""
    seconds: float

    @property
    def retrieved(self) -> tuple[RetrieveResult, ...]:
        """Those that arrived."""
        return tuple(result for result in self.results if result.retrieved)

    @property
    def failures(self) -> tuple[RetrieveResult, ...]:
        """Those that the peer listed and that did not arrive."""
        return tuple(result for result in self.results if not result.retrieved)


async def retrieve(
    address: str | Address,
    query: Query,
    *,
    into: str | os.PathLike[str],
    template: str = DEFAULT_TEMPLATE,
    calling_ae_title: str | None = None,
    options: ClientOptions | None = None,
    receiver: str | Address | None = None,
    retry: RetryPolicy | None = None,
    store: StoreOptions | None = None,
    on_result: Callable[[RetrieveResult], object] | None = None,
    raise_failures: bool = True,
) -> RetrieveReport:
    """Retrieve all instances that match `query` from the archive at `address` into the folder `into`.

    First the instances are listed with C-FIND, down to IMAGE level. Then they come by C-GET if the peer accepts it,
    with native contexts first, and what is still missing comes by C-MOVE to a receiver of our own, which listens from
    then on: `receiver` is its "TITLE@interface:port", by default the calling AE title on all interfaces, port 11112.
    The peer has to know that title's address. What is missing afterwards is asked for again, one by one if the peer
    stopped early, as `retry` says. `on_result` is called with each `RetrieveResult` as it is known.
    `store` says how the instances are received, for example whether each file is forced to the disk.

    Raises `AssociationError` where no association could be made, and `PresentationContextError` or `StatusError`
    where the peer cannot be asked. At the end, one `ExceptionGroup` has the errors of all that did not arrive; with
    `raise_failures=False` they are in `report.failures` instead.

    >>> async def main(study):
    ...     report = await retrieve("ARCHIVE@localhost:11112", Query.studies(StudyInstanceUID=study), into="out")
    ...     print(len(report.retrieved), "of", report.listed)
    """
    tell = Callback("on_result", on_result, logger)
    address, options = Address.parse(address), options or ClientOptions()
    options = options if calling_ae_title is None else replace(options, calling_ae_title=calling_ae_title)
    validate_template(template)
    if receiver is None:
        receiver = "[::]"  # all interfaces, as the archive connects to us
    if isinstance(receiver, str) and "@" not in receiver:
        receiver = f"{options.calling_ae_title}@{receiver}"
    receiver = Address.parse(receiver)
    start = asyncio.get_running_loop().time()
    listing = await list_instances(address, query, options)
    store = store or StoreOptions()
    job = Bringing(address, query.model, options, listing, Path(into), template, receiver, tell, store)
    await job.run(query.level, retry or RetryPolicy())
    report = RetrieveReport(tuple(job.results), job.listed, asyncio.get_running_loop().time() - start)
    if raise_failures and report.failures:
        errors = [result.error for result in report.failures if result.error is not None]
        raise ExceptionGroup(f"{len(errors)} of {report.listed} not retrieved from {address}", errors)
    return report
