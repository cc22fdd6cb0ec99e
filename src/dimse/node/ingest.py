"""Receives instances: from a C-STORE to a row in the index and a file in its place.

1. An instance is written to `incoming/` while it arrives, with the digest of its data set.
2. Then it waits for the writer, which takes all that wait. When their files are on the disk it forces their names
   there; commits one transaction for all; and gives the files their names (see `naming`). Then each sender gets its
   answer. So Success means there, and the index is forced to the disk once per batch.
3. While the writer is at work, what comes next is forced to the disk, several files at once. A large file is forced
   before it waits, so that no other instance waits for it.
4. A sender that is gone before its instance is whole leaves nothing; afterwards, its instance is stored.
5. What cannot be stored for want of room, or as the index or the disk fails, is answered with Out of Resources
   (0xA700), and is the `problem` until something is stored again, or `check` finds that it could be.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final, Self

from sqlalchemy.exc import SQLAlchemyError

from dimse.dataset.file_writer import Disk
from dimse.dataset.threads import begun, in_worker
from dimse.errors import DatasetError
from dimse.node.arrival import Arrival, Outcome, Placed
from dimse.node.batches import MAXIMUM_BATCH, Batches, InDoubt
from dimse.node.incoming import IncomingFile, IncomingFolder
from dimse.node.index import UNAVAILABLE, Index, try_to_write
from dimse.node.keys import Description, describe
from dimse.node.options import NodeOptions
from dimse.node.recovering import recover
from dimse.node.recurring import reason
from dimse.services.store_request import StoreRequest
from dimse.status import Status

logger = logging.getLogger("dimse.storage")

_LARGE: Final = 4 * 1024 * 1024
"""Bytes of a file that is forced to the disk before it waits for its batch."""

_FORCED_AT_ONCE: Final = 4
"""Files that are forced to the disk at the same time."""

_DUPLICATE: Final = "stored before with different content"


@dataclass(eq=False, slots=True)
class _Waiting:
    """An arrival that waits for the writer."""

    arrival: Arrival
    file: IncomingFile
    done: asyncio.Future[Placed]
    forced: Future[OSError | None] | None
    """Its file is forced to the disk already; None if that is left to the writer."""


class Ingest:
    """Stores what arrives, inside its block; what ended processes left undone is finished when it begins.

    `stored` is called with each request whose instance was placed, and `committed` with each batch and its seconds.
    `arriving` counts, by study, the instances that have begun to arrive and are not placed yet.
    Raises `OSError` or `sqlalchemy.exc.SQLAlchemyError` then.
    """

    problem: str | None = None
    """Why the last instance could not be stored, without data of patients; None if it could."""

    def __init__(
        self,
        index: Index,
        options: NodeOptions,
        *,
        stored: Callable[[StoreRequest, Placed], object] | None = None,
        committed: Callable[[Sequence[Placed], float], object] | None = None,
        arriving: Counter[str] | None = None,
    ) -> None:
        self._index = index
        self._stored = stored
        self._committed = committed
        self.arriving = Counter[str]() if arriving is None else arriving
        self._data = options.data
        self._options = options.storage
        self._disk = Disk()
        self._waiting: deque[_Waiting] = deque()
        self._idle = asyncio.Event()
        self._idle.set()  # while no batch is with the writer
        self._checking = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._begin)
        return self

    def _begin(self) -> None:
        options = self._options
        self._folder = IncomingFolder(self._data, options.minimum_free)
        self._batches = Batches(
            self._index, self._data, self._folder, on_duplicate=options.on_duplicate, fsync=options.fsync
        )
        self._forcing = begun(_FORCED_AT_ONCE, "dimse-fsync")
        try:
            recover(self._index, self._data, self._batches)
            if options.fsync:
                self._folder.prepare()
        except BaseException:
            self._end()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._idle.wait()
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._forcing.shutdown()
        self._folder.close()

    # Storing

    async def store(self, request: StoreRequest) -> Status:
        """Store an instance; the handler of C-STORE.

        Raises what ended the association if it ended first, and `DatasetError` if the data set is truncated; then
        nothing is left of the instance.
        """
        try:
            description = describe(request.header, request.transfer_syntax_uid)
        except DatasetError as error:
            return Status.DATASET_DOES_NOT_MATCH.with_comment(str(error))
        study_uid = description.study_uid
        self.arriving[study_uid] += 1
        try:
            placed = await self._receive(request, description)
            if self._stored is not None:
                self._stored(request, placed)
        except (InDoubt, OSError, SQLAlchemyError) as error:
            why = reason(error) if isinstance(error, OSError) else problem_of(error)  # with the file
            logger.warning("an instance of %s is not stored: %s", _source(request), why)
            return Status.OUT_OF_RESOURCES.with_comment(_comment(error))
        finally:
            self.arriving[study_uid] -= 1
            if not self.arriving[study_uid]:
                del self.arriving[study_uid]
        return self._answer(placed.outcome)

    async def _receive(self, request: StoreRequest, description: Description) -> Placed:
        file = IncomingFile(self._folder, request.file_meta, self._disk)
        try:
            async for chunk in request.dataset_chunks():
                await file.write(chunk)
            if file.size >= _LARGE and self._options.fsync:
                await in_worker(file.force)
        except BaseException as error:
            if isinstance(error, OSError):
                self.problem = problem_of(error)
            await file.discard()
            raise
        arrival = Arrival(
            description=description,
            transfer_syntax_uid=request.transfer_syntax_uid,
            path=file.path,
            is_in_place=False,
            size=file.size,
            offset=file.offset,
            digest=file.digest,
            source=_source(request),
            received_at=time.time(),
        )
        return await self._add(arrival, file)

    def _answer(self, outcome: Outcome) -> Status:
        if outcome is Outcome.REJECTED or (outcome is Outcome.SET_ASIDE and self._options.answer_duplicate):
            return Status.DUPLICATE_SOP_INSTANCE.with_comment(_DUPLICATE)
        return Status.SUCCESS

    async def _add(self, arrival: Arrival, file: IncomingFile) -> Placed:
        """Wait for the writer. It stores the instance even if the caller is cancelled."""
        is_idle = self._idle.is_set()
        forced = None if is_idle or not self._options.fsync else self._forcing.submit(self._finish, file)
        waiting = _Waiting(arrival, file, asyncio.get_running_loop().create_future(), forced)
        self._waiting.append(waiting)
        if is_idle:
            self._write()
        return await waiting.done

    # The writer

    def _write(self) -> None:
        """Have the writer, which is not at work for us, store what waits as one batch."""
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAXIMUM_BATCH))]
        began = time.perf_counter()
        self._index.begin_in_writer(partial(self._store, batch), partial(self._written, batch, began))
        self._idle.clear()

    def _written(
        self, batch: Sequence[_Waiting], began: float, results: Sequence[Placed | Exception] | Exception
    ) -> None:
        """Tell the senders of a batch, and go on with what waits by now."""
        seconds = time.perf_counter() - began
        if isinstance(results, Exception):
            results = [results] * len(batch)
        for waiting, result in zip(batch, results, strict=True):
            self._tell(waiting.done, result)
        if self._waiting:
            self._write()
        else:
            self._idle.set()
        if self._committed is not None:
            placed = [result for result in results if isinstance(result, Placed)]
            self._committed(placed, seconds)

    def _tell(self, done: asyncio.Future[Placed], result: Placed | Exception) -> None:
        self.problem = None if isinstance(result, Placed) else problem_of(result)
        if done.done():  # its sender is gone
            return
        if isinstance(result, Placed):
            done.set_result(result)
        else:
            done.set_exception(result)

    def _store(self, batch: Sequence[_Waiting]) -> list[Placed | Exception]:
        """Store a batch, in the thread of the writer."""
        results: list[Placed | Exception | None] = [
            each.forced.result() if each.forced else self._finish(each.file) for each in batch
        ]
        whole = [number for number, result in enumerate(results) if result is None]
        placed = self._batches.place([batch[number].arrival for number in whole])
        for number, each in zip(whole, placed, strict=True):
            results[number] = each
        if self._options.fsync and self._folder.is_short_of_names:
            self._forcing.submit(self._folder.prepare)
        return [result for result in results if result is not None]

    def _finish(self, file: IncomingFile) -> OSError | None:
        """Force a file to the disk if wanted, and close it. If that fails, it is removed."""
        try:
            if self._options.fsync:
                file.force()
            file.close()
        except OSError as error:
            file.remove()
            return error
        return None

    # Its state

    @property
    def waiting(self) -> int:
        """How many instances wait for the writer."""
        return len(self._waiting)

    async def check(self) -> str | None:
        """The `problem`, unless what kept it from storing is over. Disk and index are tried only if there is one."""
        if self.problem is not None and not self._checking.locked():
            async with self._checking:
                try:
                    await self._index.in_writer(self._try)
                except (OSError, SQLAlchemyError) as error:
                    self.problem = problem_of(error)
                else:
                    self.problem = None
        return self.problem

    def _try(self) -> None:
        self._folder.try_to_write()
        with self._index.writing() as connection:
            try_to_write(connection)


def _source(request: StoreRequest) -> str:
    association = request.association
    return f"{association.peer_ae_title}@{association.peer_name.rpartition(':')[0]}"


def _comment(error: Exception) -> str:
    """What the sender is told: neither paths nor addresses."""
    if isinstance(error, OSError):
        return error.strerror or "the disk fails"
    return "the index cannot be written"


def problem_of(error: Exception) -> str:
    """What health says, without files. Only errors of the database itself have a text without values of attributes."""
    if isinstance(error, OSError):
        return _comment(error)
    if isinstance(error, UNAVAILABLE):
        return f"{_comment(error)}: {' '.join(str(error.orig).split())}"
    if isinstance(error, InDoubt):
        return str(error)
    return f"{_comment(error)}: {type(error).__name__}"
