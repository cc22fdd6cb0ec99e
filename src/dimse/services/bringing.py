"""Retrieving the instances that an archive lists: by C-GET, by C-MOVE, and missing ones again.

An attempt uses the methods in this order, as long as anything is missing:

1. C-GET with native transfer syntaxes and the preferred ones: few contexts, which every archive understands.
2. C-GET with every syntax, if 1. reported a failure that this may mend. Every second attempt begins with it.
3. C-MOVE to a receiver of our own, which then listens until the end.

The first attempt requests the matches of the query, unless some of their instances are here already. The others list
the missing instances.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import cast

from dimse import uids
from dimse.address import Address
from dimse.errors import AssociationError, DimseError, PresentationContextError, RemoteProtocolError, StatusError
from dimse.network.association import Association
from dimse.options import RetryPolicy
from dimse.services.bringing_record import Record, Syntaxes
from dimse.services.bringing_requests import Archive, Requests
from dimse.services.contexts import Plan, by_association, every_syntax, native_first, retrieval_contexts
from dimse.services.get_scu import CGetSCU, GetResults
from dimse.services.listing import RetrieveMethod
from dimse.services.move_scu import CMoveSCU, MoveResults
from dimse.services.query import Query
from dimse.services.query_models import QueryRetrieveLevel
from dimse.services.receiving import ReceivingService, hosts_of, receiver
from dimse.status import Status
from dimse.upper_layer.negotiation import ProposedContext

logger = logging.getLogger("dimse.query_retrieve")

_MakePlan = Callable[[Iterable[str], Syntaxes, Sequence[str]], Plan]


class Bringing:
    """One retrieval: its attempts."""

    def __init__(self, archive: Archive, record: Record, address: Address) -> None:
        self._archive = archive
        self._record = record
        self._get = _ByGet(archive, record)
        self._move = _ByMove(archive, record, address)

    async def run(self, level: QueryRetrieveLevel, retry: RetryPolicy) -> None:
        """Request everything at `level`, then missing instances, until none is missing or the retries are used up."""
        record = self._record
        async with self._move:
            attempt = 0
            while record.missing:
                attempt, arrived = attempt + 1, len(record.results)
                record.errors.clear()
                pause = retry.pause(attempt)
                requested = level if attempt == 1 else QueryRetrieveLevel.IMAGE
                outcomes = await self._attempt(requested, attempt, is_last=pause is None)
                if attempt == 1 and all(isinstance(each, PresentationContextError) for each in outcomes):
                    raise cast("PresentationContextError", outcomes[0])
                if requested is not QueryRetrieveLevel.IMAGE and any(map(_refuses_the_level, outcomes)):
                    continue
                hopeless = len(record.results) == arrived and all(map(_is_final, outcomes))
                if not record.missing or pause is None or hopeless:
                    break
                missing, listed = len(record.missing), len(self._archive.listing.instances)
                logger.info("%d of %d are missing; requesting them again in %g s", missing, listed, pause)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await record.nothing_is_missing.wait()  # some archives still send after their final response
        record.give_up()

    async def _attempt(self, level: QueryRetrieveLevel, attempt: int, *, is_last: bool) -> list[Exception | None]:
        """Use each method in turn, for the instances then missing. Returns the error of each, None if it succeeded."""
        outcomes: list[Exception | None] = []
        listing, record = self._archive.listing, self._record
        if RetrieveMethod.GET in listing.offers:
            arrived = len(record.results)
            outcomes += await self._get_twice(level, attempt, is_last=is_last)
            level = level if len(record.results) == arrived else QueryRetrieveLevel.IMAGE
        if record.missing and RetrieveMethod.MOVE in listing.offers:
            if RetrieveMethod.GET in listing.offers:
                text = "%s: requesting by C-MOVE %d that did not arrive by C-GET"
                logger.info(text, self._archive.address, len(record.missing))
            outcomes.append(await self._outcome(self._move.request(level)))
        return outcomes

    async def _get_twice(self, level: QueryRetrieveLevel, attempt: int, *, is_last: bool) -> list[Exception | None]:
        """C-GET with native contexts, then with all others; every second attempt in the other order.

        If the first reported no failure that the second might mend, the second is left to the next attempt.
        """
        plans: list[_MakePlan] = [native_first, partial(every_syntax, turn=attempt // 2)]
        first, second = plans if attempt % 2 else reversed(plans)
        record, failed = self._record, self._record.failed_operations
        outcomes = [await self._outcome(self._get.request(level, first))]
        may_be_mended = record.failed_operations > failed or (is_last and attempt == 1)
        if record.missing and outcomes[0] is None and may_be_mended:
            outcomes.append(await self._outcome(self._get.request(QueryRetrieveLevel.IMAGE, second)))
        return outcomes

    async def _outcome(self, requests: Awaitable[None]) -> Exception | None:
        """The error that ended the requests, or the status that refused all of them; None if they succeeded."""
        errors = self._record.errors
        errors.pop(None, None)
        try:
            await requests
        except (AssociationError, RemoteProtocolError, PresentationContextError, _ReceiverError) as error:
            logger.info("%s: %s", self._archive.address, error)
            errors[None] = error
            return error
        refused = errors.get(None)
        # Many archives also answer out of resources if no sub-operation succeeded.
        is_refused = isinstance(refused, StatusError) and not refused.status.is_out_of_resources
        return refused if is_refused else None


class _ByGet:
    """Retrieves by C-GET."""

    def __init__(self, archive: Archive, record: Record) -> None:
        self._archive = archive
        self._record = record
        self._requests = Requests(archive, record)

    async def request(self, level: QueryRetrieveLevel, make_plan: _MakePlan) -> None:
        """Request missing instances, with the contexts of a plan."""
        self._record.method = RetrieveMethod.GET
        missing = self._record.missing.values()
        classes = dict.fromkeys(each.sop_class_uid for each in missing if each.sop_class_uid)
        prefer = self._archive.prefer
        plan = make_plan(classes, self._record.known_syntaxes(), prefer)
        groups: list[tuple[Sequence[str | None], list[ProposedContext]]] = [*by_association(plan)]
        if any(each.sop_class_uid is None for each in missing):
            groups.append(([None], retrieval_contexts(prefer=prefer)))
        for group, contexts in groups:
            await self._requests.send(level, contexts, self._get, group)
            level = QueryRetrieveLevel.IMAGE

    async def _get(self, association: Association, query: Query) -> GetResults:
        scu = CGetSCU(association, store=self._archive.store)
        async with scu.get(query, handler=self._record.store, raise_failures=False) as getting:
            try:
                async for _ in getting:
                    pass
            finally:
                self._record.note_refusals(getting.refusals)
        self._record.note_failures(getting)
        return getting


class _ByMove:
    """Retrieves by C-MOVE, to a receiver that listens from the first request until the `async with` ends."""

    def __init__(self, archive: Archive, record: Record, address: Address) -> None:
        self._archive = archive
        self._record = record
        self._address = address
        self._service: ReceivingService | None = None
        """The service of the receiver, if it listens."""
        self._listening = AsyncExitStack()
        self._requests = Requests(archive, record)

    async def __aenter__(self) -> None:
        await self._listening.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        await self._listening.aclose()

    async def request(self, level: QueryRetrieveLevel) -> None:
        """Request missing instances."""
        self._record.method = RetrieveMethod.MOVE
        await self._listen()
        contexts = [ProposedContext(self._archive.model.sop_class("move"), uids.LITTLE_ENDIAN)]
        await self._requests.send(level, contexts, self._move)

    async def _listen(self) -> ReceivingService:
        if self._service is not None:
            return self._service
        service = ReceivingService(self._archive, self._record, await hosts_of(self._archive))
        try:
            await self._listening.enter_async_context(receiver(self._address, self._archive, service))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            text = f"cannot listen for a C-MOVE at {self._address}: {reason}"
            if isinstance(error, OSError):
                text += "; name another receiver, which the archive must know"
            if RetrieveMethod.GET in self._archive.listing.offers:
                raise _ReceiverError(text) from error
            if isinstance(error, OSError):
                raise OSError(error.errno, text) from error
            raise
        self._service = service
        return service

    async def _move(self, association: Association, query: Query) -> MoveResults:
        scu, service = CMoveSCU(association), await self._listen()
        async with scu.move(query, self._address.ae_title, raise_failures=False) as moving:
            service.expect(moving.message_id)
            async for suboperations in moving:
                logger.debug("%s: %s", self._archive.address, suboperations)
        self._record.note_failures(moving)
        return moving


class _ReceiverError(DimseError):
    """The receiver for a C-MOVE cannot listen."""


def _refuses_the_level(outcome: Exception | None) -> bool:
    """Whether the archive refused the identifier: some accept only IMAGE level (PS3.4 C.4.2.1.5, C.4.3.1.4)."""
    return isinstance(outcome, StatusError) and outcome.status == Status.DATASET_DOES_NOT_MATCH


def _is_final(outcome: Exception | None) -> bool:
    """Whether another attempt would end in the same way."""
    return isinstance(outcome, StatusError | PresentationContextError | _ReceiverError)
