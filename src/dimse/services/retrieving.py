"""Whole retrieving jobs: list what the peer has, then retrieve it by C-GET or C-MOVE, until complete."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dimse.address import Address
from dimse.callbacks import Callback
from dimse.dataset.file_names import validate_template
from dimse.messages.suboperations import SubOperations
from dimse.network.application_entity import ApplicationEntity, entity_of
from dimse.options import ClientOptions, Duplicates, RetryPolicy, StoreOptions
from dimse.services.bringing import Bringing
from dimse.services.bringing_existing import Existing
from dimse.services.bringing_record import Record, RetrieveResult
from dimse.services.bringing_requests import Archive
from dimse.services.listing import RetrieveMethod, list_instances
from dimse.services.query import Query
from dimse.services.query_models import DEFAULT_MODELS, QueryRetrieveLevel
from dimse.services.receiving import default_host
from dimse.services.requesting import of_one_kind
from dimse.services.store_request import DEFAULT_TEMPLATE

logger = logging.getLogger("dimse.query_retrieve")

__all__ = ["Existing", "RetrieveMethod", "RetrieveReport", "RetrieveResult", "retrieve"]


@dataclass(frozen=True, slots=True)
class RetrieveReport:
    """The outcome for everything that the peer listed."""

    results: tuple[RetrieveResult, ...]
    listed: int
    """The number of instances that the peer listed."""
    seconds: float

    @property
    def retrieved(self) -> tuple[RetrieveResult, ...]:
        """Instances that were retrieved."""
        return tuple(result for result in self.results if result.retrieved)

    @property
    def existing(self) -> tuple[RetrieveResult, ...]:
        """Instances that were not retrieved because the folder already had them."""
        return tuple(result for result in self.results if result.existing)

    @property
    def failures(self) -> tuple[RetrieveResult, ...]:
        """Instances that the peer listed and did not deliver, or that could not be stored."""
        return tuple(result for result in self.results if result.error is not None)


async def retrieve(
    address: str | Address | ApplicationEntity,
    query: Query | Iterable[Query],
    *,
    into: str | os.PathLike[str],
    template: str = DEFAULT_TEMPLATE,
    existing: Existing = Existing.SKIP,
    prefer: Sequence[str] = (),
    calling_ae_title: str | None = None,
    options: ClientOptions | None = None,
    timeout: float | None = None,
    receiver: str | Address | None = None,
    retry: RetryPolicy | None = None,
    store: StoreOptions | None = None,
    progress: Callable[[SubOperations], object] | None = None,
    on_result: Callable[[RetrieveResult], object] | None = None,
    raise_failures: bool = True,
) -> RetrieveReport:
    """Retrieve all instances that match `query` from the archive at `address` into the folder `into`.

    First the instances are listed with C-FIND, down to IMAGE level; several queries, of one level and model, are one
    job, in which each instance counts once. Those that `into` already has are not retrieved again, unless `existing`
    says so: an interrupted job, called again, goes on. The others are retrieved by C-GET if the peer accepts it, with
    native contexts first. What is still missing is retrieved by C-MOVE to a receiver of our own, which then listens:
    `receiver` is its "TITLE@interface:port", by default the calling AE title and port 11112 on the address by which the
    peer is reached. The peer must know the address of that title. If `options` has TLS, the receiver uses it too, and
    needs a certificate. Only missing instances are taken, and only from the peer's host or with this C-MOVE as their
    originator. What is missing afterwards is requested again, by the rules of `retry`, and one by one if the peer
    stopped early.

    `prefer` has the UIDs of transfer syntaxes to propose first; by default these are the native ones. `store` says how
    the instances are received, for example whether each file is forced to the disk; its `duplicates` do not apply, as a
    damaged file is always replaced. `on_result` is called with each `RetrieveResult` as it becomes known, `progress`
    before with the counters of the instances that are not here yet. `timeout` is short for
    `ClientOptions(timeouts=Timeouts.all(timeout))`, in seconds.

    Raises `AssociationError` if no association could be made, and `PresentationContextError` or `StatusError` if the
    peer cannot be queried. At the end, one `ExceptionGroup` has the errors of everything that was not retrieved; with
    `raise_failures=False` they are in `report.failures` instead.

    >>> async def main(study):
    ...     report = await retrieve("ARCHIVE@localhost:11112", Query.studies(StudyInstanceUID=study), into="out")
    ...     print(len(report.retrieved), "of", report.listed)
    """
    if not isinstance(existing, Existing):
        raise TypeError(f"existing must be an Existing, not {type(existing).__name__}")
    queries = of_one_kind(query)
    level = _level_of(queries[0])
    reported, counted = Callback("on_result", on_result, logger), Callback("progress", progress, logger)
    entity = entity_of(address, options, calling_ae_title, timeout)
    own_title = entity.options.calling_ae_title
    validate_template(template)
    if isinstance(receiver, str):
        receiver = Address.parse(receiver if "@" in receiver else f"{own_title}@{receiver}")
    start = asyncio.get_running_loop().time()
    listing = await list_instances(entity, queries)
    store = replace(store or StoreOptions(), duplicates=Duplicates.REPLACE)
    archive = Archive(entity, store, queries[0].model, listing, tuple(prefer))
    record = Record(listing, Path(into), template, reported, counted)
    if existing is Existing.SKIP and await record.note_existing():
        level = QueryRetrieveLevel.IMAGE  # a request for a whole match would bring them again
    record.report_progress()
    receiver = receiver or Address(own_title, default_host(listing.own_host))
    await Bringing(archive, record, receiver).run(level, retry or RetryPolicy())
    seconds = asyncio.get_running_loop().time() - start
    report = RetrieveReport(tuple(record.results), len(listing.instances), seconds)
    if raise_failures and report.failures:
        errors = [result.error for result in report.failures if result.error is not None]
        raise ExceptionGroup(f"{len(errors)} of {report.listed} not retrieved from {entity.address}", errors)
    return report


def _level_of(query: Query) -> QueryRetrieveLevel:
    """The level of a query of a model of archives. Raises `ValueError` for another model."""
    if query.level is None or query.model not in DEFAULT_MODELS:
        raise ValueError(f"retrieve needs Patient Root or Study Root, not {query.model.title}; use get or move")
    return query.level
