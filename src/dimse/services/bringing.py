"""Retrieving what an archive lists: by C-GET or C-MOVE, all at once or one by one."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from copy import copy
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final, cast

from dimse import uids
from dimse.address import Address
from dimse.errors import (
    AssociationError,
    AssociationTimeout,
    DatasetError,
    DimseError,
    NothingRetrieved,
    PresentationContextError,
    RemoteProtocolError,
    StatusError,
    SubOperationFailed,
)
from dimse.messages.message import C_STORE_RQ, Response
from dimse.network.association import Association, exchange_of
from dimse.network.client import connect
from dimse.network.incoming_request import Answer, IncomingRequest
from dimse.options import ClientOptions, RetryPolicy, ServerOptions, StoreOptions
from dimse.services.callbacks import Callback
from dimse.services.contexts import Plan, by_association, every_syntax, native_first, retrieval_contexts
from dimse.services.get_scu import CGetSCU, GetResults
from dimse.services.listing import Listing, can_be_asked_for
from dimse.services.move_scu import CMoveSCU, MoveResults
from dimse.services.query import Query, QueryRetrieveLevel, QueryRetrieveModel
from dimse.services.server import Server
from dimse.services.store_request import StoreRequest
from dimse.services.store_scp import StoreHandler, StoreService
from dimse.status import Status, StatusCategory
from dimse.upper_layer.negotiation import ProposedContext

logger = logging.getLogger("dimse.query_retrieve")

_UIDS_AT_ONCE: Final = 200
"""UIDs in one request: some archives fail on longer lists."""

_IN_VAIN: Final = 3
"""Associations in a row that an archive may end without having sent anything, before this way is given up."""

_SYNTAX: Final = re.compile(r"1\.2\.840\.10008\.1\.2(?:\.[0-9]+)*")

_Ask = Callable[[Association, Query], Awaitable[GetResults | MoveResults]]
_Syntaxes = Mapping[str, Sequence[str]]
_MakePlan = Callable[[Iterable[str], _Syntaxes], Plan]


class RetrieveMethod(StrEnum):
    """How an instance was retrieved."""

    GET = "C-GET"
    MOVE = "C-MOVE"


@dataclass(frozen=True, slots=True)
class RetrieveResult:
    """The outcome for one instance: it is at `path`, or `error` says why not."""

    sop_instance_uid: str
    path: Path | None = None
    method: RetrieveMethod | None = None
    error: Exception | None = None

    @property
    def retrieved(self) -> bool:
        """Whether it arrived."""
        return self.path is not None


class Bringing:
    """Everything that the associations of one `retrieve` share."""

    def __init__(
        self,
        address: Address,
        model: QueryRetrieveModel,
        options: ClientOptions,
        listing: Listing,
        into: Path,
        template: str,
        receiver: Address,
        on_result: Callback[RetrieveResult],
        store: StoreOptions,
    ) -> None:
        self.results: list[RetrieveResult] = []
        self._address = address
        self._model = model
        self._options = options
        self._listing = listing
        self._into = into
        self._template = template
        self._receiver = receiver
        self._on_result = on_result
        self._store_options = store
        self._method = RetrieveMethod.GET if listing.offers_get else RetrieveMethod.MOVE
        self._missing = dict(listing.instances)
        """Instances that are listed and have not arrived, by SOP Instance UID."""
        self._all_here = asyncio.Event()
        self._refusals: dict[str, Exception] = {}
        """Why this side refused an instance, which says more than what the peer reports of it."""
        self._errors: dict[str | None, Exception] = {}
        """What went wrong in this attempt, by SOP Instance UID; under None, errors that are not about one instance."""
        self._failed = False
        """Whether the archive or this side reported a failure."""
        self._said: dict[str, None] = {}
        """The transfer syntaxes that the Error Comments of the archive name."""
        self._listening = AsyncExitStack()
        self._is_listening = False

    async def run(self, level: QueryRetrieveLevel, retry: RetryPolicy) -> None:
        """Ask for everything, then for what is missing, until nothing is missing or the retries are used up."""
        for uid, error in self._listing.failures:
            self._note(RetrieveResult(uid, error=error))
        async with self._listening:
            attempt = 0
            while self._missing:
                attempt, came = attempt + 1, len(self.results)
                self._errors.clear()
                pause = retry.pause(attempt)
                asked = level if attempt == 1 else QueryRetrieveLevel.IMAGE
                outcomes = await self._attempt(asked, attempt, is_last=pause is None)
                if attempt == 1 and all(isinstance(each, PresentationContextError) for each in outcomes):
                    raise cast("PresentationContextError", outcomes[0])
                if asked is not QueryRetrieveLevel.IMAGE and any(map(_is_of_level, outcomes)):
                    continue
                hopeless = len(self.results) == came and all(map(_is_final, outcomes))
                if not self._missing or pause is None or hopeless:
                    break
                logger.info("%d of %d are missing; asking again in %g s", len(self._missing), self.listed, pause)
                await self._wait(pause)
        for uid in self._missing:
            self._note(RetrieveResult(uid, method=self._method, error=self._reason(uid)))

    @property
    def listed(self) -> int:
        """How many instances the archive says that it has."""
        return len(self._listing.instances)

    async def _wait(self, seconds: float) -> None:
        """Wait for instances that the archive still sends, though it has said that it is done."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._all_here.wait()

    # The ways

    async def _attempt(self, level: QueryRetrieveLevel, attempt: int, *, is_last: bool) -> list[Exception | None]:
        """Try each way in turn, for what is then missing. Returns the error of each, None if it succeeded."""
        outcomes: list[Exception | None] = []
        if self._listing.offers_get:
            came = len(self.results)
            outcomes += await self._get_both(level, attempt, is_last=is_last)
            level = level if len(self.results) == came else QueryRetrieveLevel.IMAGE
        if self._missing and self._listing.offers_move:
            if self._listing.offers_get:
                logger.info(
                    "%s: asking by C-MOVE for %d that did not arrive by C-GET", self._address, len(self._missing)
                )
            outcomes.append(await self._outcome(self._move(level)))
        return outcomes

    async def _get_both(self, level: QueryRetrieveLevel, attempt: int, *, is_last: bool) -> list[Exception | None]:
        """C-GET with native contexts, then with others; every second attempt in the other order.

        If the first reported no failure that the second might mend, the second is left to the next attempt.
        """
        plans: list[_MakePlan] = [native_first, partial(every_syntax, turn=attempt // 2)]
        first, second = plans if attempt % 2 else reversed(plans)
        self._failed = False
        outcomes = [await self._outcome(self._get(level, first))]
        if self._missing and outcomes[0] is None and (self._failed or (is_last and attempt == 1)):
            outcomes.append(await self._outcome(self._get(QueryRetrieveLevel.IMAGE, second)))
        return outcomes

    async def _outcome(self, way: Awaitable[None]) -> Exception | None:
        """The error that ended a way, or the status that refused all of it; None if it succeeded."""
        self._errors.pop(None, None)
        try:
            await way
        except (AssociationError, RemoteProtocolError, PresentationContextError, _ReceiverError) as error:
            logger.info("%s: %s", self._address, error)
            self._errors[None] = error
            return error
        refused = self._errors.get(None)
        # Many archives also answer out of resources if no sub-operation succeeded.
        is_refused = isinstance(refused, StatusError) and not refused.status.is_out_of_resources
        return refused if is_refused else None

    async def _get(self, level: QueryRetrieveLevel, plan: _MakePlan) -> None:
        self._method = RetrieveMethod.GET
        classes = dict.fromkeys(each.sop_class_uid for each in self._missing.values() if each.sop_class_uid)
        groups: list[tuple[Sequence[str | None], list[ProposedContext]]] = [
            *by_association(plan(classes, self._known()))
        ]
        if any(each.sop_class_uid is None for each in self._missing.values()):
            groups.append(([None], retrieval_contexts()))
        for group, contexts in groups:
            await self._ask_all(level, contexts, self._get_one, group)
            level = QueryRetrieveLevel.IMAGE

    async def _move(self, level: QueryRetrieveLevel) -> None:
        self._method = RetrieveMethod.MOVE
        await self._listen()
        contexts = [ProposedContext(self._model.move, uids.LITTLE_ENDIAN)]
        await self._ask_all(level, contexts, self._move_one)

    def _known(self) -> _Syntaxes:
        """By SOP class, the transfer syntaxes in which the archive says it has instances."""
        known: dict[str, list[str]] = {}
        for each in self._missing.values():
            if each.sop_class_uid is not None:
                known.setdefault(each.sop_class_uid, []).extend((*each.transfer_syntaxes, *self._said))
        return {uid: [*dict.fromkeys(syntaxes)] for uid, syntaxes in known.items()}

    # The requests

    async def _ask_all(
        self,
        level: QueryRetrieveLevel,
        contexts: Sequence[ProposedContext],
        ask: _Ask,
        classes: Sequence[str | None] | None = None,
    ) -> None:
        """Ask for all that is missing of these classes: by the matches at a level above, or by lists of instances."""
        if level is not QueryRetrieveLevel.IMAGE:
            async with self._connect(contexts) as association:
                for query in self._requests_for_matches(level):
                    try:
                        await ask(association, query)
                    except (DatasetError, ValueError) as error:
                        self._errors[None] = error  # a unique key of this match cannot be sent
            return
        waiting, in_vain = deque(self._lists(classes)), 0
        while waiting:
            async with self._connect(contexts) as association:
                came = len(self.results)
                try:
                    await self._ask_lists(association, waiting, ask)
                except (AssociationError, RemoteProtocolError) as error:
                    in_vain = 0 if len(self.results) > came else in_vain + 1
                    if not waiting or in_vain == _IN_VAIN or isinstance(error, AssociationTimeout):
                        raise
                    logger.info("%s: %s; asking for the rest one by one", self._address, error)

    async def _ask_lists(self, association: Association, waiting: deque[list[str]], ask: _Ask) -> None:
        """Ask for one list after another. If the archive ended early, the rest of the list is asked for one by one.

        The last member is asked for first: most often the first one left is the one that stopped the archive.
        """
        while waiting:
            exchange_of(association).check_open()
            listed = [uid for uid in waiting.popleft() if uid in self._missing]
            if not listed:
                continue
            keys = dict(self._missing[listed[0]].above) | {"SOPInstanceUID": "\\".join(listed)}
            ended_early = True
            try:
                results = await ask(association, Query.as_found(QueryRetrieveLevel.IMAGE, keys, self._model))
                ended_early = self._ended_early(results, listed)
            except (DatasetError, ValueError) as error:
                self._errors |= dict.fromkeys(listed, error)
            finally:
                if ended_early and len(listed) > 1:
                    rest = [uid for uid in listed if uid in self._missing and uid not in self._errors]
                    waiting.extendleft([uid] for uid in rest)

    def _ended_early(self, results: GetResults | MoveResults, listed: Sequence[str]) -> bool:
        """Whether the archive may have stopped before it came to all that is listed."""
        status, counters = results.status, results.suboperations
        if status is None or status.is_out_of_resources:
            return False
        if isinstance(results, GetResults) or status != Status.SUCCESS:
            return True
        return counters.completed is not None and counters.completed < len(listed)  # the rest may be on its way

    def _requests_for_matches(self, level: QueryRetrieveLevel) -> Iterator[Query]:
        """Requests for the matches below which something is missing."""
        key = level.unique_key
        listed = {dict(instance.above).get(key) for instance in self._missing.values()}
        for keys in self._listing.matches:
            if keys[key] in listed and can_be_asked_for(keys[key]):
                yield Query.as_found(level, keys, self._model)

    def _lists(self, classes: Sequence[str | None] | None) -> Iterator[list[str]]:
        """What is missing, series by series; an invalid UID is alone in its list, so that it harms no other."""
        by_series: dict[object, list[str]] = {}
        for uid, instance in self._missing.items():
            if (classes is None or instance.sop_class_uid in classes) and can_be_asked_for(uid):
                by_series.setdefault(instance.above if uids.has_uid_characters(uid) else uid, []).append(uid)
        for members in by_series.values():
            for start in range(0, len(members), _UIDS_AT_ONCE):
                yield members[start : start + _UIDS_AT_ONCE]

    @asynccontextmanager
    async def _connect(self, contexts: Sequence[ProposedContext]) -> AsyncIterator[Association]:
        """An association that is released, not aborted, if it has no context for the request."""
        unusable = None
        async with connect(self._address, contexts=contexts, options=self._options) as association:
            try:
                yield association
            except PresentationContextError as error:
                unusable = error
        if unusable is not None:
            raise unusable

    async def _get_one(self, association: Association, query: Query) -> GetResults:
        scu = CGetSCU(association, store=self._store_options)
        async with scu.get(query, handler=self._store, raise_failures=False) as getting:
            try:
                async for _ in getting:
                    pass
            finally:
                self._refusals |= {uid: error for uid, error in getting.refusals.items() if uid is not None}
        self._note_failures(getting)
        return getting

    async def _move_one(self, association: Association, query: Query) -> MoveResults:
        scu, destination = CMoveSCU(association), self._receiver.ae_title
        async with scu.move(query, destination, raise_failures=False) as moving:
            async for suboperations in moving:
                logger.debug("%s: %s", self._address, suboperations)
        self._note_failures(moving)
        return moving

    # What comes

    async def _listen(self) -> None:
        """Accept instances that come by C-MOVE, from now until `run` ends."""
        if self._is_listening:
            return
        receiver = self._receiver
        options = ServerOptions(store=self._store_options, maximum_associations_per_title=None)
        server = Server(receiver.ae_title, host=receiver.host, port=receiver.port, options=options)
        server.services[C_STORE_RQ] = _NotingService(self._store, self._store_options, self._note_refusal)
        try:
            await self._listening.enter_async_context(server)
        except OSError as error:
            if not self._listing.offers_get:
                raise
            raise _ReceiverError(f"cannot listen for a C-MOVE at {receiver}: {error.strerror or error}") from error
        self._is_listening = True

    def _note_refusal(self, uid: str, status: Status, comment: str | None) -> None:
        why = f"refused with {status}" + (f": {comment}" if comment else "")
        self._refusals.setdefault(uid, SubOperationFailed(uid, why))

    async def _store(self, request: StoreRequest) -> int:
        """Save a missing instance. One that was not listed, or arrived before, is refused: no report would have it."""
        uid = request.sop_instance_uid
        if uid not in self._missing:
            logger.warning("%s: %s was not asked for, or came before; refused", self._address, uid)
            return Status.NOT_AUTHORIZED
        try:
            await request.save_under(self._into, self._template)
        except (AssociationError, RemoteProtocolError):
            raise
        except Exception as error:
            self._refusals[uid] = copy(error)  # without the traceback, whose frames hold the instance
            raise
        if self._missing.pop(uid, None) is not None:
            self._note(RetrieveResult(uid, request.path, self._method))
        if not self._missing:
            self._all_here.set()
        return Status.SUCCESS

    # The account

    def _note_failures(self, results: GetResults | MoveResults) -> None:
        for failure in results.failures:
            self._errors.setdefault(getattr(failure, "sop_instance_uid", None), failure)
        failures = [failure for failure in results.failures if not isinstance(failure, NothingRetrieved)]
        self._failed |= results.status != Status.SUCCESS or bool(failures)
        self._said |= dict.fromkeys(_SYNTAX.findall(results.error_comment or ""))

    def _reason(self, uid: str) -> SubOperationFailed:
        """Why an instance did not arrive: why this side refused it, else what the archive reported."""
        if not can_be_asked_for(uid):
            return SubOperationFailed(uid, "did not arrive, and cannot be requested: its UID is not a single value")
        failed, last = self._refusals.get(uid) or self._errors.get(uid), self._errors.get(None)
        if isinstance(failed, SubOperationFailed):
            if last is not None and uid not in self._refusals:  # the error of the way that was tried last
                failed = SubOperationFailed(uid, f"{str(failed).removeprefix(f'{uid}: ')}; {last}")
                failed.__cause__ = last
            return failed
        cause = failed or last
        failed = SubOperationFailed(uid, f"did not arrive by {self._method}" if cause is None else str(cause))
        failed.__cause__ = cause
        return failed

    def _note(self, result: RetrieveResult) -> None:
        self.results.append(result)
        self._on_result(result)


class _ReceiverError(DimseError):
    """The receiver for a C-MOVE cannot listen."""


class _NotingService(StoreService):
    """Notes why an instance was refused, which the archive does not report later."""

    def __init__(
        self, handler: StoreHandler, options: StoreOptions, note: Callable[[str, Status, str | None], None]
    ) -> None:
        super().__init__(handler, options)
        self._note = note

    async def serve(self, request: IncomingRequest) -> Answer[Response]:
        answer = await super().serve(request)
        status, message = answer.message.status, request.message
        if status.category is StatusCategory.FAILURE and isinstance(message, C_STORE_RQ):
            self._note(message.affected_sop_instance_uid, status, answer.message.error_comment)
        return answer


def _is_of_level(outcome: Exception | None) -> bool:
    """Whether the identifier was refused: some archives take only those of instances (PS3.4 C.4.2.1.5, C.4.3.1.4)."""
    return isinstance(outcome, StatusError) and outcome.status == Status.DATASET_DOES_NOT_MATCH


def _is_final(outcome: Exception | None) -> bool:
    """Whether another try would end in the same way."""
    return isinstance(outcome, StatusError | PresentationContextError | _ReceiverError)
