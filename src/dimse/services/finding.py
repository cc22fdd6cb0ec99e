"""Whole searching jobs: the matches of queries at one archive or several, as they arrive."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Final, Self

from dimse import uids
from dimse.address import Address
from dimse.dataset.pydicom_names import Dataset
from dimse.errors import DimseError, IncompleteAnswer, LocalProtocolError
from dimse.network.application_entity import ApplicationEntity, entity_of
from dimse.options import ClientOptions
from dimse.services.finding_search import Search
from dimse.services.listing import text_at
from dimse.services.query import Query
from dimse.services.query_models import QueryRetrieveLevel
from dimse.services.requesting import of_one_kind, orderly_association, proposing
from dimse.services.results import Leavable
from dimse.services.worklist import Worklist
from dimse.upper_layer.negotiation import ProposedContext

_AHEAD: Final = 16
"""Matches that wait for the caller."""

_RUNNING: Final[set[asyncio.Task[None]]] = set()
"""The searches under way; the event loop alone would not keep them alive."""


@dataclass(frozen=True, slots=True)
class _Job:
    """What to find."""

    queries: Sequence[Query]
    complete: bool
    limit: int | None


class Finding(Leavable[Dataset]):
    """The matches of `find`: an asynchronous iterator of data sets, and a context manager that cancels the rest.

    Leaving the `async with` early, or an `async for` that is in no `async with`, sends a C-CANCEL to each archive and
    releases the associations, in the second case in the background.

    When the iteration ends, the errors of all archives are raised: one `ExceptionGroup`, or the error itself if a
    single archive had a single one. With `raise_failures=False` they are in `failures` instead. An archive that fails
    does not end the search at the others.
    """

    def __init__(self, entities: Sequence[ApplicationEntity], job: _Job, *, raise_failures: bool) -> None:
        self._work = _Work(entities, job)
        self._raise_failures = raise_failures
        self._archive: Address | None = None

    @property
    def failures(self) -> list[Exception]:
        """The failures so far; `DimseError.address` names the archive."""
        return self._work.failures

    @property
    def archive(self) -> Address:
        """The archive that returned the latest match; if several have it, the first that did.

        Raises `LocalProtocolError` before the first match.
        """
        if self._archive is None:
            raise LocalProtocolError("there is no match yet, and so no archive that returned it")
        return self._archive

    @property
    def count(self) -> int:
        """The number of matches so far."""
        return self._work.count

    @property
    def is_limited(self) -> bool:
        """Whether `limit` ended the search: there may be more matches."""
        return self._work.stage is _Stage.LIMITED

    @property
    def divided_by(self) -> frozenset[str]:
        """The keys by which `complete` divided queries. What has no value for one of them may be in no part."""
        return frozenset(self._work.divided_by)

    async def __anext__(self) -> Dataset:
        found = await self._work.next()
        if found is None:
            raise self._end()
        self._archive, match = found
        return match

    def _end(self) -> Exception:
        failures = self.failures
        if not failures or not self._raise_failures:
            return StopAsyncIteration()
        if len(failures) == 1 and len(self._work.entities) == 1:
            return failures[0]
        archives = dict.fromkeys(str(failure.address) for failure in failures if isinstance(failure, DimseError))
        return ExceptionGroup(f"{len(failures)} failed of the search at {', '.join(archives)}", failures)

    async def aclose(self) -> None:
        """Cancel the rest, and wait until it has ended."""
        await self._work.stop()

    async def __aenter__(self) -> Self:
        self._users += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._users -= 1
        await self.aclose()

    def _abandon(self) -> None:
        self._work.leave()


class _Stage(Enum):
    NEW = "nobody has asked for a match"
    UNDER_WAY = "the archives are searched"
    LIMITED = "the limit ended it"
    ENDED = "over, or about to be"


class _Work:
    """The searches at all archives, which know nothing of the `Finding`: it can be dropped while they run."""

    def __init__(self, entities: Sequence[ApplicationEntity], job: _Job) -> None:
        self.entities = entities
        self.failures: list[Exception] = []
        self.divided_by: set[str] = set()
        self.count = 0
        self.stage = _Stage.NEW
        self._job = job
        self._queue: asyncio.Queue[tuple[Address, Dataset] | None] = asyncio.Queue(_AHEAD)
        self._taking = asyncio.Lock()
        """Held by the task that waits for a match, of those that share them."""
        self._tasks: list[asyncio.Task[None]] = []
        self._under_way = len(entities)
        self._merges = len(entities) > 1 or len(job.queries) > 1
        self._seen: set[tuple[str, ...]] = set()

    async def next(self) -> tuple[Address, Dataset] | None:
        """The next match and its archive; None when there are no more."""
        if self.stage is _Stage.NEW:
            self._begin()
        async with self._taking:
            return await self._take_next()

    async def _take_next(self) -> tuple[Address, Dataset] | None:
        if self.count == self._job.limit and self.stage is _Stage.UNDER_WAY:
            reached = _Stage.LIMITED if self._under_way or not self._queue.empty() else _Stage.ENDED
            await self.stop(reached)
            self.failures[:] = [each for each in self.failures if not isinstance(each, IncompleteAnswer)]
        while self.stage is _Stage.UNDER_WAY and (self._under_way or not self._queue.empty()):
            found = await self._queue.get()
            if found is not None:
                self.count += 1
                return found
            self._under_way -= 1
        return None

    def _begin(self) -> None:
        self.stage = _Stage.UNDER_WAY
        self._loop = asyncio.get_running_loop()
        self._tasks = [self._loop.create_task(self._search(entity)) for entity in self.entities]
        for task in self._tasks:
            _RUNNING.add(task)
            task.add_done_callback(_RUNNING.discard)

    async def stop(self, stage: _Stage = _Stage.ENDED) -> None:
        """End all searches, and wait for it."""
        self.leave(stage)
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            with contextlib.suppress(asyncio.QueueFull):
                self._queue.put_nowait(None)  # for a task that waits for a match

    def leave(self, stage: _Stage = _Stage.ENDED) -> None:
        """End all searches in the background; may be called in any thread."""
        before = self.stage
        if before in (_Stage.NEW, _Stage.UNDER_WAY):
            self.stage = stage
        if before is _Stage.UNDER_WAY:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and has cancelled them
                self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _search(self, entity: ApplicationEntity) -> None:
        """Search one archive. Ends with None in the queue, unless it is cancelled."""
        context = ProposedContext(self._job.queries[0].model.sop_class("find"), uids.LITTLE_ENDIAN)
        try:
            async with orderly_association(entity, proposing([context], self._job.queries, "find")) as association:
                search = Search(association, complete=self._job.complete)
                try:
                    for query in self._job.queries:
                        await search.run(query, lambda match: self._take(entity.address, match))
                finally:
                    self.failures += search.failures
                    self.divided_by |= search.divided_by
        except Exception as error:  # noqa: BLE001 - it is raised where the matches are taken
            self.failures.append(error.at(str(entity.address)) if isinstance(error, DimseError) else error)
        if self.stage is _Stage.UNDER_WAY:
            await self._queue.put(None)

    async def _take(self, address: Address, match: Dataset) -> None:
        if self._merges:
            unique = _identity(match, self._job.queries[0])
            if unique in self._seen:
                return
            if unique is not None:
                self._seen.add(unique)
        await self._queue.put((address, match))


def _identity(match: Dataset, query: Query) -> tuple[str, ...] | None:
    """What a match is the same by, at several archives; None if it has no unique key."""
    unique = text_at(match, query.unique_key)
    if query.level is QueryRetrieveLevel.PATIENT:
        return (unique, text_at(match, "IssuerOfPatientID")) if unique else None
    return (unique,) if unique else None


def find(
    address: str | Address | ApplicationEntity | Iterable[str | Address | ApplicationEntity],
    query: Query | Worklist | Iterable[Query | Worklist],
    *,
    complete: bool = False,
    limit: int | None = None,
    calling_ae_title: str | None = None,
    options: ClientOptions | None = None,
    timeout: float | None = None,
    raise_failures: bool = True,
) -> Finding:
    """Find what matches `query` at an archive or several, with an association to each (PS3.4 C.4.1).

    Returns an asynchronous iterator of matches, as pydicom data sets, in the order in which they arrive. Several
    archives are searched at once. Several queries, of one level and model, are one search; a match that several of them
    or several archives have, by its unique key, is returned once.

    A query needs no UIDs of the levels above: the archive is then asked level by level, and each key is matched at its
    level. The matches get the requested attributes of the levels above. A query that is `negotiating(relational=True)`
    is asked once, with all keys (PS3.4 C.4.1.2.2.1); not every archive answers that. Matches that contradict a key,
    which the archive must have ignored, are left out, with a warning in the log.

    An archive may limit the number of matches. `IncompleteAnswer` says that it cut an answer; with `complete`, the
    query is then asked in parts until each part is whole, as far as the answers tell: by date, by time, by prefixes of
    Patient ID or Patient's Name. `limit` is the number of matches after which the search ends, with a C-CANCEL.

    `timeout` is short for `ClientOptions(timeouts=Timeouts.all(timeout))`, in seconds.

    Raises `ValueError` for queries of different levels or models, or of one without C-FIND; iterating raises the errors
    described in `Finding`: `AssociationError`, `PresentationContextError`, `StatusError`, `IncompleteAnswer`.

    >>> async def main():
    ...     async for match in find("ARCHIVE@localhost:11112", Query.series(PatientID="4711", Modality="CT")):
    ...         print(match.StudyInstanceUID, match.SeriesInstanceUID)
    """
    addresses = [address] if isinstance(address, str | Address | ApplicationEntity) else list(address)
    entities = [entity_of(each, options, calling_ae_title, timeout) for each in addresses]
    queries = of_one_kind(query)
    queries[0].model.sop_class("find")  # raises if it has none
    if not entities:
        raise ValueError("address must be one or more archives")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    return Finding(entities, _Job(queries, complete, limit), raise_failures=raise_failures)
