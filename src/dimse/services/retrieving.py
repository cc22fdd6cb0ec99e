"""Whole retrieving jobs: what there is, by the way that the peer offers, until all of it is here."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from copy import copy
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from dimse import uids
from dimse.ae import Address, ClientOptions, RetryPolicy, ServerOptions, StoreMode
from dimse.dataset import Dataset, validate_template
from dimse.dataset.identifiers import PYDICOM_ERRORS
from dimse.errors import (
    AssociationError,
    DatasetError,
    PresentationContextError,
    RemoteProtocolError,
    StatusError,
    SubOperationFailed,
)
from dimse.messages.status import Status
from dimse.network.association import Association
from dimse.network.client import connect
from dimse.services.callbacks import Callback
from dimse.services.find import CFindSCU
from dimse.services.get import CGetSCU, retrieval_contexts
from dimse.services.move import CMoveSCU
from dimse.services.query import Query, QueryRetrieveLevel, QueryRetrieveModel
from dimse.services.server import Server
from dimse.services.store_request import DEFAULT_TEMPLATE, StoreRequest
from dimse.upper_layer.negotiation import MAXIMUM_CONTEXTS

logger = logging.getLogger("dimse.query_retrieve")

_UNIQUE_KEYS: Final = {
    QueryRetrieveLevel.PATIENT: "PatientID",
    QueryRetrieveLevel.STUDY: "StudyInstanceUID",
    QueryRetrieveLevel.SERIES: "SeriesInstanceUID",
    QueryRetrieveLevel.IMAGE: "SOPInstanceUID",
}
_BELOW: Final = {
    QueryRetrieveLevel.PATIENT: QueryRetrieveLevel.STUDY,
    QueryRetrieveLevel.STUDY: QueryRetrieveLevel.SERIES,
    QueryRetrieveLevel.SERIES: QueryRetrieveLevel.IMAGE,
}

_UIDS_AT_ONCE: Final = 200
"""Of a UID list in one request: with more, some archives stumble over the length."""

_CLASSES_AT_ONCE: Final = MAXIMUM_CONTEXTS - len(uids.QUERY_RETRIEVE)


class RetrieveWay(StrEnum):
    """How instances came."""

    GET = "C-GET"
    MOVE = "C-MOVE"


@dataclass(frozen=True, slots=True)
class RetrieveResult:
    """What became of one instance: it is at `path`, or `error` says why not."""

    sop_instance_uid: str
    path: Path | None = None
    way: RetrieveWay | None = None
    error: Exception | None = None

    @property
    def retrieved(self) -> bool:
        """Whether it is here."""
        return self.path is not None


@dataclass(frozen=True, slots=True)
class RetrieveReport:
    """What became of all that the peer listed."""

    results: tuple[RetrieveResult, ...]
    listed: int
    """How many instances the peer said that it has."""
    seconds: float

    @property
    def retrieved(self) -> tuple[RetrieveResult, ...]:
        """Those that are here."""
        return tuple(result for result in self.results if result.retrieved)

    @property
    def failures(self) -> tuple[RetrieveResult, ...]:
        """Those that the peer listed and did not bring."""
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
    on_result: Callable[[RetrieveResult], object] | None = None,
    raise_failures: bool = True,
) -> RetrieveReport:
    """Bring all instances that match `query` from the archive at `address` into the folder `into`.

    First the instances are listed with C-FIND, down to IMAGE level. Then they come by C-GET where the peer accepts
    it; else by C-MOVE to a receiver of our own, which listens meanwhile: `receiver` is its
    "TITLE@interface:port", by default the calling AE title on all interfaces, port 11112, and the peer has to know
    that title's address. What is missing afterwards is asked for again, one by one, as `retry` says. `on_result` is
    called with each `RetrieveResult` as it is known.

    Raises `AssociationError` where no association could be made, and `PresentationContextError` or `StatusError`
    where the peer cannot be asked. At the end, one `ExceptionGroup` has the errors of all that did not come; with
    `raise_failures=False` they are in `report.failures` instead.

    >>> async def main(study):
    ...     report = await retrieve("ARCHIVE@localhost:11112", Query.studies(StudyInstanceUID=study), into="out")
    ...     print(len(report.retrieved), "of", report.listed)
    """
    address, options = Address.parse(address), options or ClientOptions()
    options = options if calling_ae_title is None else replace(options, calling_ae_title=calling_ae_title)
    validate_template(template)
    if receiver is None:
        receiver = "0.0.0.0"  # noqa: S104 - all interfaces, as the archive connects to us
    if isinstance(receiver, str) and "@" not in receiver:
        receiver = f"{options.calling_ae_title}@{receiver}"
    receiver = Address.parse(receiver)
    job = _Job(address, query.model, options, Path(into), template, on_result)
    start = asyncio.get_running_loop().time()
    await job.find(query)
    await job.run(query, receiver, retry or RetryPolicy())
    report = RetrieveReport(tuple(job.results), job.listed, asyncio.get_running_loop().time() - start)
    if raise_failures and report.failures:
        errors = [result.error for result in report.failures if result.error is not None]
        raise ExceptionGroup(f"{len(errors)} of {report.listed} not retrieved from {address}", errors)
    return report


@dataclass(frozen=True, slots=True)
class _Instance:
    """One that the peer listed: its class, and the unique keys above it."""

    sop_class_uid: str | None
    above: tuple[tuple[str, str], ...]


class _Job:
    """Everything that the associations of one `retrieve` share."""

    def __init__(
        self,
        address: Address,
        model: QueryRetrieveModel,
        options: ClientOptions,
        into: Path,
        template: str,
        on_result: Callable[[RetrieveResult], object] | None,
    ) -> None:
        self.results: list[RetrieveResult] = []
        self.listed = 0
        self._address = address
        self._model = model
        self._options = options
        self._into = into
        self._template = template
        self._on_result = Callback("on_result", on_result, logger)
        self._way = RetrieveWay.GET
        self._missing: dict[str, _Instance] = {}
        """What is listed and not here, by SOP Instance UID."""
        self._matches: list[dict[str, str]] = []
        """The unique keys of what matches the query itself."""
        self._errors: dict[str | None, Exception] = {}
        """What went wrong last, by SOP Instance UID; None is for what was not about one."""
        self._moves: set[tuple[str, int]] = set()
        """The move originators that instances are expected with."""

    # What there is

    async def find(self, query: Query) -> None:
        """Find all instances that match, and whether the peer accepts C-GET."""
        model = self._model
        contexts = [(uid, uids.LITTLE_ENDIAN) for uid in (model.find, model.get, model.move)]
        async with connect(self._address, contexts=contexts, options=self._options) as association:
            try:
                association.context_for(model.get)
            except PresentationContextError:
                association.context_for(model.move)
                self._way = RetrieveWay.MOVE
            scu = CFindSCU(association)
            self._matches = await self._unique_keys(scu, query, _fixed_keys(query))
            found, level = self._matches, query.level
            while level is not QueryRetrieveLevel.IMAGE:
                level = _BELOW[level]
                found = [below for above in found for below in await self._below(scu, level, above)]
        for keys in found:
            uid, sop_class = keys.pop("SOPInstanceUID"), keys.pop("SOPClassUID", None)
            self._missing[uid] = _Instance(sop_class, tuple(keys.items()))
        self.listed = len(self._missing)

    async def _below(self, scu: CFindSCU, level: QueryRetrieveLevel, above: dict[str, str]) -> list[dict[str, str]]:
        """What is below one match."""
        try:
            query = Query.of(level, above, model=self._model)
        except ValueError as error:
            # A Patient ID that holds a wildcard, for one.
            unusable = DatasetError(f"a match cannot be asked for: {error}")
            self._note(RetrieveResult(list(above.values())[-1], error=unusable))
            return []
        return await self._unique_keys(scu, query, above)

    async def _unique_keys(self, scu: CFindSCU, query: Query, above: dict[str, str]) -> list[dict[str, str]]:
        """The unique keys of all matches, those of the levels above them among them."""
        if query.level is QueryRetrieveLevel.IMAGE:
            query = query.returning("SOPClassUID")
        wanted = _unique_keys_down_to(query)
        found: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        async with scu.query(query) as matches:
            async for match in matches:
                keys = above | {key: value for key in wanted if (value := _text(match, key))}
                if _UNIQUE_KEYS[query.level] not in keys:
                    logger.warning("%s: a match has no %s; left out", self._address, _UNIQUE_KEYS[query.level])
                    continue
                if query.level is QueryRetrieveLevel.IMAGE and (sop_class := _text(match, "SOPClassUID")):
                    keys["SOPClassUID"] = sop_class
                found[tuple(keys.items())] = keys
        return list(found.values())

    # Getting it

    async def run(self, query: Query, receiver: Address, retry: RetryPolicy) -> None:
        """Ask for all of it, then for what is missing, until nothing is or the retries are used up."""
        attempt = 0
        while self._missing:
            attempt, came = attempt + 1, len(self.results)
            self._errors.clear()
            requests = self._requests_for_missing()
            if attempt == 1 and query.level is not QueryRetrieveLevel.IMAGE:
                requests = self._requests_for_matches(query.level)
            try:
                await self._ask(requests, receiver)
            except (AssociationError, RemoteProtocolError) as error:
                logger.info("%s: %s", self._address, error)
                self._errors[None] = error
            pause = retry.pause(attempt)
            if not self._missing or pause is None or (len(self.results) == came and self._is_hopeless()):
                break
            logger.info("%d of %d are missing; asked for again in %g s", len(self._missing), self.listed, pause)
            await asyncio.sleep(pause)
        for uid in self._missing:
            failed = self._errors.get(uid)
            if not isinstance(failed, SubOperationFailed):
                cause = failed or self._errors.get(None)
                failed = SubOperationFailed(uid, f"did not come by {self._way}" if cause is None else str(cause))
                failed.__cause__ = cause
            self._note(RetrieveResult(uid, way=self._way, error=failed))

    def _is_hopeless(self) -> bool:
        """Whether the peer has refused, and not for want of resources."""
        refused = self._errors.get(None)
        return isinstance(refused, StatusError) and not refused.status.is_out_of_resources

    def _requests_for_matches(self, level: QueryRetrieveLevel) -> Iterator[Query]:
        """Requests for all that matched, as far as something below it was listed."""
        key = _UNIQUE_KEYS[level]
        listed = {dict(instance.above).get(key) for instance in self._missing.values()}
        return (Query.of(level, keys, model=self._model) for keys in self._matches if keys[key] in listed)

    def _requests_for_missing(self) -> Iterator[Query]:
        """Requests at IMAGE level for exactly what is missing, series by series."""
        by_series: dict[tuple[tuple[str, str], ...], list[str]] = {}
        for uid, instance in self._missing.items():
            by_series.setdefault(instance.above, []).append(uid)
        for above, members in by_series.items():
            for start in range(0, len(members), _UIDS_AT_ONCE):
                keys = dict(above) | {"SOPInstanceUID": members[start : start + _UIDS_AT_ONCE]}
                yield Query.of(QueryRetrieveLevel.IMAGE, keys, model=self._model)

    async def _ask(self, requests: Iterator[Query], receiver: Address) -> None:
        if self._way is RetrieveWay.GET:
            async with self._connect() as association:
                if any(context.requestor_is_scp for context in association.contexts.values()):
                    for query in requests:
                        await self._get(association, query)
                    return
            logger.info("%s accepts C-GET, but not the SCP role that it needs; C-MOVE instead", self._address)
            self._way = RetrieveWay.MOVE
        async with self._receiver(receiver), self._connect() as association:
            for query in requests:
                await self._move(association, query, receiver.ae_title)

    def _connect(self) -> AbstractAsyncContextManager[Association]:
        classes = dict.fromkeys(
            instance.sop_class_uid for instance in self._missing.values() if instance.sop_class_uid is not None
        )
        contexts = retrieval_contexts(list(classes)[:_CLASSES_AT_ONCE] or uids.COMMON_STORAGE)
        return connect(self._address, contexts=contexts, options=self._options)

    async def _get(self, association: Association, query: Query) -> None:
        async with CGetSCU(association).get(query, handler=self._store, raise_failures=False) as getting:
            async for _ in getting:
                pass
        self._note_failures(getting.failures)

    def _receiver(self, receiver: Address) -> Server:
        options = ServerOptions(store_mode=StoreMode.STREAMING, max_associations_per_title=None)
        server = Server(receiver.ae_title, host=receiver.host, port=receiver.port, options=options)

        @server.on_c_store
        async def store(request: StoreRequest) -> int:
            if not self._is_expected(request):
                logger.warning(
                    "refused an instance that nobody asked for, from %s", request.association.connection.peer_name
                )
                return Status.NOT_AUTHORIZED
            return await self._store(request)

        return server

    async def _store(self, request: StoreRequest) -> int:
        """Save what is missing. What was not listed, or came already, is refused: it would be in no account."""
        uid = request.sop_instance_uid
        if uid not in self._missing:
            logger.warning("%s: %s came and is not missing; refused", self._address, uid)
            return Status.NOT_AUTHORIZED
        try:
            await request.save_under(self._into, self._template)
        except Exception as error:
            self._errors[uid] = copy(error)  # without the traceback, whose frames hold the instance
            raise
        self._missing.pop(uid, None)
        self._note(RetrieveResult(uid, request.path, self._way))
        return Status.SUCCESS

    def _is_expected(self, request: StoreRequest) -> bool:
        """By the move originator (PS3.4 C.4.2.2.1); some archives leave it out."""
        command = request.command
        originator = command.move_originator_application_entity_title, command.move_originator_message_id
        if None in originator:
            return request.sop_instance_uid in self._missing
        return originator in self._moves

    async def _move(self, association: Association, query: Query, destination: str) -> None:
        moving = CMoveSCU(association).move(query, destination, raise_failures=False)
        self._moves.add((association.calling_ae_title, moving.message_id))
        async with moving as counters:
            async for suboperations in counters:
                logger.debug("%s: %s", self._address, suboperations)
        self._note_failures(moving.failures)

    # The account

    def _note_failures(self, failures: Sequence[Exception]) -> None:
        for failure in failures:
            # What went wrong here says more than the peer's account of it.
            self._errors.setdefault(getattr(failure, "sop_instance_uid", None), failure)

    def _note(self, result: RetrieveResult) -> None:
        self.results.append(result)
        self._on_result(result)


def _fixed_keys(query: Query) -> dict[str, str]:
    """The unique keys above its level that a query gives: not all archives return them."""
    identifier = query.find_identifier()
    return {key: value for key in _unique_keys_down_to(query)[:-1] if (value := _text(identifier, key))}


def _unique_keys_down_to(query: Query) -> list[str]:
    """The unique keys that queries of its model have, down to its own level."""
    levels = list(_UNIQUE_KEYS)
    first = levels.index(QueryRetrieveLevel.STUDY) if query.model is QueryRetrieveModel.STUDY_ROOT else 0
    return [_UNIQUE_KEYS[level] for level in levels[first : levels.index(query.level) + 1]]


def _text(match: Dataset, keyword: str) -> str:
    try:
        value = match.get(keyword)
        return "" if value is None else str(value)
    except PYDICOM_ERRORS:
        return ""  # as good as none
