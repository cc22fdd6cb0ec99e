"""Whole C-GETs: one call connects, retrieves into a folder or through a handler, and reports."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dimse import uids
from dimse.address import Address
from dimse.callbacks import Callback
from dimse.messages.suboperations import SubOperations
from dimse.network.application_entity import ApplicationEntity, entity_of
from dimse.options import ClientOptions, StoreOptions
from dimse.services.bringing_record import Noted, RetrieveResult, failures_of
from dimse.services.contexts import RETRIEVED, retrieval_contexts
from dimse.services.get_scu import CancelBehavior, CGetSCU, GetResults
from dimse.services.listing import RetrieveMethod
from dimse.services.query import Query
from dimse.services.query_models import DEFAULT_MODELS
from dimse.services.requesting import Counters, orderly_association, proposing, several, tell_what_is_missing
from dimse.services.store_request import DEFAULT_TEMPLATE
from dimse.services.store_scp import StoreHandler
from dimse.upper_layer.negotiation import ProposedContext

logger = logging.getLogger("dimse.query_retrieve")


@dataclass(frozen=True, slots=True)
class GetReport:
    """The outcome of `dimse.get`."""

    results: tuple[RetrieveResult, ...]
    """Each instance that arrived, and each failure; the UID of a failure is empty if it is of no single instance."""
    suboperations: SubOperations
    """The counters of the peer, which may count failures that it does not name."""
    seconds: float

    @property
    def retrieved(self) -> tuple[RetrieveResult, ...]:
        """Instances that were retrieved."""
        return tuple(result for result in self.results if result.retrieved)

    @property
    def failures(self) -> tuple[RetrieveResult, ...]:
        """Instances that failed, and failed queries."""
        return tuple(result for result in self.results if result.error is not None)


async def get(
    address: str | Address | ApplicationEntity,
    query: Query | Iterable[Query],
    *,
    into: str | os.PathLike[str] | None = None,
    template: str = DEFAULT_TEMPLATE,
    handler: StoreHandler | None = None,
    sop_classes: Sequence[str] | None = None,
    transfer_syntaxes: Sequence[str] | None = None,
    prefer: Sequence[str] = (),
    calling_ae_title: str | None = None,
    options: ClientOptions | None = None,
    timeout: float | None = None,
    store: StoreOptions | None = None,
    on_cancel: CancelBehavior = CancelBehavior.REJECT_IN_FLIGHT,
    progress: Callable[[SubOperations], object] | None = None,
    on_result: Callable[[RetrieveResult], object] | None = None,
    raise_failures: bool = True,
) -> GetReport:
    """Retrieve the instances of `query`, or of several queries in turn, by C-GET on one association.

    Each is saved below the folder `into`, or passed to `handler` as in `Server.on_c_store`. A query has unique keys
    only: see `retrieve` for any other, for retries, and for resuming. The C-GET is not repeated, as it would bring
    everything again. `sop_classes`, `transfer_syntaxes` and `prefer` choose the contexts, as for `retrieval_contexts`.
    `progress` is called with the counters of all queries so far, `on_result` with each `RetrieveResult`. A cancelled
    task cancels the C-GET and releases the association. The other arguments are those of `CGetSCU.get` and `retrieve`.

    Raises `ValueError` for a query that cannot be sent, `AssociationError` if there is no association or it is lost,
    and `PresentationContextError` if the peer did not accept C-GET. At the end, one `ExceptionGroup` has the errors of
    everything else that failed; with `raise_failures=False` they are in `report.failures` instead. That nothing matches
    is no error: `report.retrieved` is empty.

    >>> async def main(study):
    ...     report = await get("ARCHIVE@localhost:11112", Query.studies(StudyInstanceUID=study), into="out")
    ...     print(len(report.retrieved), "instances")
    """
    if (into is None) == (handler is None):
        raise ValueError("pass `into` or `handler`; to take instances in a loop, use CGetSCU")
    queries = several(query)
    entity = entity_of(address, options, calling_ae_title, timeout)
    noted, start = Noted(on_result), asyncio.get_running_loop().time()
    contexts = contexts_to_get(queries, sop_classes, transfer_syntaxes, prefer)
    counters = Counters(Callback("progress", progress, logger), len(queries))
    async with orderly_association(entity, proposing(contexts, queries, "get")) as association:
        scu = CGetSCU(association, store=store)
        for each in queries:
            tell_what_is_missing(association, each, "get")
            getting = scu.get(
                each, into=into, template=template, handler=handler, on_cancel=on_cancel, raise_failures=False
            )
            await _follow(getting, counters, noted.note)
    if raise_failures:
        noted.raise_failures(f"the C-GET from {entity.address}")
    return GetReport(tuple(noted.results), counters.total, asyncio.get_running_loop().time() - start)


def contexts_to_get(
    queries: Iterable[Query],
    sop_classes: Sequence[str] | None = None,
    transfer_syntaxes: Sequence[str] | None = None,
    prefer: Sequence[str] = (),
) -> list[ProposedContext]:
    """What `get` proposes: the models of Query/Retrieve, or those of the queries, and the classes that they store.

    Raises `ValueError` for a model without C-GET.
    """
    models = dict.fromkeys(each.model for each in queries)
    for model in models:
        model.sop_class("get")  # raises if it has none
    stored = [uid for model in models for uid in model.stored or uids.COMMON_STORAGE]
    proposed = DEFAULT_MODELS if all(model in DEFAULT_MODELS for model in models) else tuple(models)
    return retrieval_contexts(sop_classes or stored, transfer_syntaxes or RETRIEVED, prefer, models=proposed)


async def _follow(getting: GetResults, counters: Counters, note: Callable[[RetrieveResult], object]) -> None:
    """Take the instances of one C-GET, and note each, and each failure."""
    try:
        async with getting:
            async for instance in getting:
                note(RetrieveResult(instance.sop_instance_uid, instance.path, RetrieveMethod.GET))
                counters.update(getting.suboperations)
    finally:
        for instance in getting.completed_in_flight:
            note(RetrieveResult(instance.sop_instance_uid, instance.path, RetrieveMethod.GET))
        counters.update(getting.suboperations)
        counters.end()
        for result in failures_of(getting, RetrieveMethod.GET):
            note(result)
