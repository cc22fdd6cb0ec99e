"""Common to whole jobs of C-FIND, C-GET and C-MOVE: their queries, their association, and their progress."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from dimse.errors import AssociationTimeout, PresentationContextError
from dimse.messages.suboperations import SubOperations
from dimse.network.application_entity import ApplicationEntity
from dimse.network.association import Association, exchange_of
from dimse.services.query import Query
from dimse.services.query_models import RetrieveOperation
from dimse.services.worklist import Worklist, query_of
from dimse.upper_layer.extended import QueryFeatures
from dimse.upper_layer.negotiation import ProposedContext

if TYPE_CHECKING:
    from dimse.network.server import AssociationServer

logger = logging.getLogger("dimse.query_retrieve")


@asynccontextmanager
async def orderly_association(
    entity: ApplicationEntity,
    contexts: Sequence[tuple[str, Sequence[str]] | ProposedContext],
    services: AssociationServer | None = None,
) -> AsyncIterator[Association]:
    """An association that is released, not aborted, where the caller is cancelled or there is no context for it.

    In the block, an operation that is cancelled has come to its end before the cancellation is raised. A release that
    the peer does not answer is only logged: it invalidates nothing.
    """
    reason: BaseException | None = None
    is_over = False
    try:
        async with entity.connect(contexts, services=services) as association:
            try:
                yield association
            except (PresentationContextError, asyncio.CancelledError) as error:
                reason = error
            is_over = True
    except AssociationTimeout as error:
        if not is_over:
            raise
        logger.info("%s: %s", entity.address, error)
    if reason is not None:
        raise reason


def proposing(
    contexts: Iterable[ProposedContext], queries: Iterable[Query], operation: RetrieveOperation
) -> list[ProposedContext]:
    """The contexts, with the features that the queries need."""
    wanted: dict[str, QueryFeatures] = {}
    for query in queries:
        uid = query.model.sop_class(operation)
        wanted[uid] = wanted.get(uid, QueryFeatures()) | query.features.of_class(uid)
    return [each._replace(features=wanted.get(each.abstract_syntax) or each.features) for each in contexts]


def tell_what_is_missing(association: Association, query: Query, operation: RetrieveOperation) -> None:
    """Log the features of a query that the peer has not agreed to: it is asked all the same, as it may have them."""
    uid = query.model.sop_class(operation)
    missing = query.features.of_class(uid) - association.query_features(uid)
    if missing:
        level = logging.WARNING if missing - query.needed_features else logging.INFO
        names = ", ".join(each.replace("_", " ") for each in missing.names)
        text = "%s: it did not agree to these features of C-%s: %s; it is asked all the same"
        logger.log(level, text, exchange_of(association).address, operation.upper(), names)


def of_one_kind(query: Query | Worklist | Iterable[Query | Worklist]) -> list[Query]:
    """The queries of a job that finds. Raises `ValueError` if there is none, or if their levels or models differ."""
    queries = [query_of(each) for each in ([query] if isinstance(query, Query | Worklist) else query)]
    if len({(each.level, each.model) for each in queries}) != 1:
        raise ValueError("query must be one or more queries of one level and model")
    return queries


def several(query: Query | Iterable[Query]) -> list[Query]:
    """The queries of a job. Raises `ValueError` if there is none, or if one cannot be sent by C-GET and C-MOVE."""
    queries = [query] if isinstance(query, Query) else list(query)
    if not queries:
        raise ValueError("query must be one or more queries")
    for each in queries:
        each.retrieve_identifier()
    return queries


class Counters:
    """The sub-operations of several operations, one after the other."""

    def __init__(self, progress: Callable[[SubOperations], object], operations: int) -> None:
        self.total = SubOperations()
        """Those of all operations so far. What remains is unknown until the last of them is under way."""
        self._progress = progress
        self._ended = SubOperations()
        self._left = operations

    def update(self, current: SubOperations) -> None:
        """Report the counters of the operation that is under way."""
        ended = self._ended
        self.total = SubOperations(
            remaining=current.remaining if self._left == 1 else None,
            completed=_sum(ended.completed, current.completed),
            failed=_sum(ended.failed, current.failed),
            warning=_sum(ended.warning, current.warning),
        )
        self._progress(self.total)

    def end(self) -> None:
        """The operation has ended."""
        self._ended, self._left = replace(self.total, remaining=None), self._left - 1


def _sum(before: int | None, now: int | None) -> int | None:
    return now if before is None else before + (now or 0)
