"""Whole C-MOVEs: one call connects, has the instances sent, and reports."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dimse import uids
from dimse.address import Address, check_ae_title
from dimse.callbacks import Callback
from dimse.messages.suboperations import SubOperations
from dimse.network.application_entity import ApplicationEntity, entity_of
from dimse.options import ClientOptions
from dimse.services.bringing_record import Noted, RetrieveResult, failures_of
from dimse.services.listing import RetrieveMethod
from dimse.services.move_scu import CMoveSCU, MoveResults
from dimse.services.query import Query
from dimse.services.requesting import Counters, orderly_association, proposing, several, tell_what_is_missing
from dimse.upper_layer.negotiation import ProposedContext

logger = logging.getLogger("dimse.query_retrieve")


@dataclass(frozen=True, slots=True)
class MoveReport:
    """The outcome of `dimse.move`."""

    suboperations: SubOperations
    """The counters of the peer, which may count failures that it does not name."""
    failures: tuple[RetrieveResult, ...]
    """Instances that failed, and failed queries: then the UID is empty."""
    seconds: float


async def move(
    address: str | Address | ApplicationEntity,
    query: Query | Iterable[Query],
    destination: str,
    *,
    calling_ae_title: str | None = None,
    options: ClientOptions | None = None,
    timeout: float | None = None,
    progress: Callable[[SubOperations], object] | None = None,
    on_result: Callable[[RetrieveResult], object] | None = None,
    raise_failures: bool = True,
) -> MoveReport:
    """Have the peer send the instances of `query`, or of several queries in turn, to the AE title `destination`.

    The peer must know the host and port of `destination`; this side need not. A query has unique keys only. The C-MOVE
    is not repeated, as it would send everything again. `progress` is called with the counters of all queries so far,
    and `on_result` with the `RetrieveResult` of each failure: the peer does not name the others. A cancelled task
    cancels the C-MOVE and releases the association. The other arguments are those of `retrieve`.

    Raises `ValueError` for a query that cannot be sent or an invalid AE title, `AssociationError` if there is no
    association or it is lost, and `PresentationContextError` if the peer did not accept C-MOVE. At the end, one
    `ExceptionGroup` has the errors of everything else that failed; with `raise_failures=False` they are in
    `report.failures` instead.

    >>> async def main(study):
    ...     report = await move("ARCHIVE@localhost:11112", Query.studies(StudyInstanceUID=study), "WS1")
    ...     print(report.suboperations)
    """
    destination, queries = check_ae_title(destination), several(query)
    entity = entity_of(address, options, calling_ae_title, timeout)
    noted, start = Noted(on_result), asyncio.get_running_loop().time()
    models = dict.fromkeys(each.model.sop_class("move") for each in queries)
    contexts = [ProposedContext(model, uids.LITTLE_ENDIAN) for model in models]
    counters = Counters(Callback("progress", progress, logger), len(queries))
    async with orderly_association(entity, proposing(contexts, queries, "move")) as association:
        scu = CMoveSCU(association)
        for each in queries:
            tell_what_is_missing(association, each, "move")
            await _follow(scu.move(each, destination, raise_failures=False), counters, noted.note)
    if raise_failures:
        noted.raise_failures(f"the C-MOVE from {entity.address} to {destination}")
    return MoveReport(counters.total, tuple(noted.results), asyncio.get_running_loop().time() - start)


async def _follow(moving: MoveResults, counters: Counters, note: Callable[[RetrieveResult], object]) -> None:
    """Follow one C-MOVE to its end, and note each failure."""
    try:
        async with moving:
            async for suboperations in moving:
                counters.update(suboperations)
    finally:
        counters.end()
        for result in failures_of(moving, RetrieveMethod.MOVE):
            note(result)
