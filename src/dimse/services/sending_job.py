"""One sending job: its associations, and what is sent again when one of them ends early.

When an association ends early, the objects on it go back to the front of the queue by these rules:

1. Nothing of it had gone: this was no attempt.
2. It was under way with others: any of them may be what ends associations, so the attempt is excused: it uses up no
   retry. The next association is opened at once, and they go first on it, one by one.
3. It was under way alone: the attempt counts, and `RetryPolicy` says whether there is another.
4. It was a suspect by rule 2 or 3, and then silenced the peer alone: it has failed.
5. The association had an operations window, and the peer closed it at the first message: the window may be what it does
   not understand. None is proposed from then on, and the attempt is excused.

If an association settled anything, by an answer or by these rules, the next one follows at once. Otherwise the job
waits as `RetryPolicy` says, and in the end gives up what is left.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from enum import Enum
from typing import Final, cast

from dimse.address import Address
from dimse.dataset.sources import DatasetSource
from dimse.errors import (
    AssociationError,
    AssociationRejected,
    AssociationTimeout,
    ConnectionLost,
    DimseError,
    PresentationContextError,
    RemoteProtocolError,
    StatusError,
)
from dimse.network.association import Association, exchange_of
from dimse.network.client import connect
from dimse.options import ClientOptions, RetryPolicy
from dimse.services.callbacks import Callback
from dimse.services.collecting import SendResult, look_at
from dimse.services.given import Source, each
from dimse.services.store_scu import Contexts, CStoreSCU, in_groups
from dimse.services.transfer_progress import ObjectProgress, ProgressCallback, ProgressReporter
from dimse.status import StatusCategory

logger = logging.getLogger("dimse.storage")

_MEASURED: Final = 8
"""Responses to wait for before deciding how many associations are worth opening."""


class _Suspicion(Enum):
    """What the end of an association says of an object that was on it."""

    NONE = "something else ended it"
    SHARED = "it was under way with others"
    ALONE = "it was under way alone"


class _Item:
    """One source on its way."""

    __slots__ = ("attempts", "excused", "number", "progress", "source", "suspicion")

    def __init__(self, number: int, source: DatasetSource, progress: ObjectProgress) -> None:
        self.number = number
        self.source = source
        self.progress = progress
        self.attempts = 0
        self.excused = 0
        """Attempts that do not count against the retries: something else may have ended the association."""
        self.suspicion = _Suspicion.NONE
        """Whether it may be what ended the association that it was on last."""

    @property
    def is_suspect(self) -> bool:
        return self.suspicion is not _Suspicion.NONE


class _Run:
    """One association of a job, from the attempt to open it on."""

    __slots__ = ("association", "got_on")

    def __init__(self) -> None:
        self.association: Association | None = None
        self.got_on = False
        """Whether something was settled on it, so that the next one may follow at once."""

    @property
    def is_open(self) -> bool:
        return self.association is not None and self.association.is_open


class _Group:
    """Objects that share their presentation contexts, and the associations that they go out on.

    The associations are opened one after the other, each when the one before it is established. When the peer refuses
    one, or one ends without having settled anything, no more are opened.
    """

    def __init__(self, job: SendingJob, contexts: Contexts, queue: deque[_Item]) -> None:
        self._job = job
        self._contexts = contexts
        self._queue = queue
        self._tasks = asyncio.TaskGroup()
        self._runs: dict[asyncio.Task[None], _Run] = {}
        """The association that each worker has, or is opening."""
        self._more = 0
        """How many more associations may be opened."""
        self._newest: Association | None = None
        self._busy_before = 0.0
        """The process time when it was opened."""

    async def send(self, associations: int, *, auto_associations: bool) -> None:
        """Send all objects over `associations`, or with `auto_associations` over as many as are worth opening."""
        most = min(associations, len(self._queue))
        async with self._tasks:
            self._open_another(1 if auto_associations else most)
            if auto_associations and most > 1:
                self._open_another(min(await self._others_worth_while(), most - 1))

    def _open_another(self, most: int) -> None:
        if most > 0 and self._queue:
            self._more = most - 1
            task = self._tasks.create_task(self._work())
            self._runs[task] = _Run()
            task.add_done_callback(self._has_ended)

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        """A worker has ended. If nothing is left to send, those still waiting for an association are cancelled."""
        del self._runs[task]
        self._job.measured.set()
        if not self._queue and not any(run.is_open for run in self._runs.values()):
            for other, run in self._runs.items():
                if run.association is None:
                    other.cancel()

    async def _others_worth_while(self) -> int:
        """How many more associations would keep this side busy, measured on the first one.

        While one object waits for its response, this side can send others: as many as it can prepare in that time.
        """
        while True:
            self._job.measured.clear()
            await self._job.measured.wait()
            association = self._newest
            if not self._queue or not self._runs:
                return 0
            if association is not None and (exchange := exchange_of(association)).responses >= _MEASURED:
                break
        busy = max((time.process_time() - self._busy_before) / exchange.responses, 1e-6)
        at_once = 1 + exchange.response_seconds / exchange.responses / busy
        return math.ceil(at_once / association.operations_window) - 1

    async def _work(self) -> None:
        """Keep one association going until the queue is empty.

        If it ends without having settled anything, the other workers go on with what is left. If there are none, this
        one waits and tries again, and in the end what is left fails.
        """
        task, in_vain = cast("asyncio.Task[None]", asyncio.current_task()), 0
        while self._queue:
            run = self._runs[task] = _Run()
            try:
                async with self._job.connect(self._contexts) as association:
                    run.association = association
                    self._newest, self._busy_before = association, time.process_time()
                    self._job.note_opened(sum(each.is_open for each in self._runs.values()), association)
                    self._open_another(self._more)
                    await self._job.send_on(run, self._queue)
            except (AssociationError, RemoteProtocolError) as error:
                in_vain = 0 if run.got_on else in_vain + 1
                if len(self._runs) > 1 and (in_vain or isinstance(error, AssociationTimeout)):
                    self._more = 0
                    return
                if in_vain:
                    await self._job.wait_or_give_up(error, in_vain, self._queue)


class SendingJob:
    """Everything that the associations of one `send` share."""

    def __init__(
        self,
        address: Address,
        options: ClientOptions,
        retry: RetryPolicy,
        allow_decompression: bool,
        on_result: Callable[[SendResult], object] | None,
        move_originator: tuple[str, int] | None = None,
        transfer_syntaxes: Sequence[str] | None = None,
    ) -> None:
        self.results: list[SendResult] = []
        self.sources: list[DatasetSource] = []
        self.bytes_done = 0
        self._move_originator = move_originator
        self._address = address
        self._options = options
        self._retry = retry
        self._allow_decompression = allow_decompression
        self._transfer_syntaxes = transfer_syntaxes
        self._on_result = Callback("on_result", on_result, logger)
        self.associations = self.operations_window = 1
        self.measured = asyncio.Event()
        """Set when there is a new result, or a worker has ended."""
        self._associated = False

    async def look_at(self, sources: Iterable[Source] | Source) -> None:
        """Find out what there is to send."""
        async for found in look_at(each(sources)):
            if isinstance(found, SendResult):
                self._note(found)
            else:
                self.sources.append(found)

    async def run(
        self, associations: int, progress: ProgressCallback | None, *, auto_associations: bool = False
    ) -> None:
        """Send everything, one group of at most 128 contexts after another.

        With `auto_associations` the first association is measured before others are opened.
        """
        lengths = [source.length for source in self.sources]
        total = None if None in lengths else sum(length or 0 for length in lengths)
        report = ProgressReporter(progress, total)
        try:
            for contexts, members in in_groups(self.sources, self._transfer_syntaxes):
                queue = deque(
                    _Item(number, each, ObjectProgress(report, each.length)) for number, each in enumerate(members)
                )
                await _Group(self, contexts, queue).send(associations, auto_associations=auto_associations)
        except ExceptionGroup as group:
            raise group.exceptions[0] from None  # no association could be made, which each worker says
        finally:
            report.final()

    def connect(self, contexts: Contexts) -> AbstractAsyncContextManager[Association]:
        """An association with these contexts."""
        return connect(self._address, contexts=contexts, options=self._options)

    def note_opened(self, count: int, association: Association) -> None:
        """`association` is established, the last of `count` that are open."""
        self._associated = True
        self.associations = max(self.associations, count)
        self.operations_window = association.operations_window

    async def wait_or_give_up(self, error: DimseError, in_vain: int, queue: deque[_Item]) -> None:
        """Wait before the next association, or let what is left fail because of `error`."""
        pause = None if self._is_hopeless(error, in_vain) else self._retry.pause(in_vain)
        if pause is not None:
            logger.info("%s; a new association in %g s", error, pause)
            await asyncio.sleep(pause)
            return
        if not self._associated:
            raise error
        while queue:
            item = queue.popleft()
            self._fail(item, error if item.attempts or item.is_suspect else _not_tried(item, error))

    def _is_hopeless(self, error: DimseError, in_vain: int) -> bool:
        """Whether another association would end in the same way as the last `in_vain` ones."""
        if isinstance(error, AssociationRejected):
            return not error.transient
        if isinstance(error, AssociationTimeout) and (in_vain > 1 or not self.bytes_done):
            return True  # silent; a peer that has stored something may have been silenced by one object, so not at once
        return not self._associated

    async def send_on(self, run: _Run, queue: deque[_Item]) -> None:
        """Send until the queue is empty: the suspects one by one, then as many at once as the peer agreed to.

        The next object is read meanwhile.
        """
        association = run.association
        assert association is not None  # noqa: S101 - it was opened for this
        scu = CStoreSCU(association, retry=RetryPolicy(retries=0), allow_decompression=self._allow_decompression)
        tried = bool(queue) and association.is_open
        if queue and queue[0].is_suspect:
            await self._send_side_by_side(run, scu, queue, 1)
        await self._send_side_by_side(run, scu, queue, association.operations_window + 1)
        if queue and not tried:
            raise AssociationError("the peer ended the association before anything could be sent")

    async def _send_side_by_side(self, run: _Run, scu: CStoreSCU, queue: deque[_Item], most: int) -> None:
        cut_off: list[tuple[_Item, DimseError]] = []

        async def send_in_turn() -> None:
            while queue and run.is_open and (most > 1 or queue[0].is_suspect):
                item = queue.popleft()
                try:
                    await self._send_one(scu, item)
                except (AssociationError, RemoteProtocolError) as error:
                    cut_off.append((item, error))
                    continue
                except Exception as error:  # noqa: BLE001 - a source of the user's may raise anything, of its item only
                    self._fail(item, error)
                run.got_on = True

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(len(queue), most)):
                tasks.create_task(send_in_turn())
        if cut_off:
            self._take_back(run, cut_off, queue)
            raise cut_off[0][1]

    def _may_be_the_window(self, association: Association | None, error: DimseError) -> bool:
        """Whether the window may be why the peer closed the association (rule 5)."""
        assert association is not None  # noqa: S101 - it is established
        is_proposed = association.agreement.request.user_information.asynchronous_operations_window is not None
        is_first = not exchange_of(association).responses and all(result.status is None for result in self.results)
        if not (is_proposed and is_first and isinstance(error, ConnectionLost)):
            return False
        if self._options.operations_window > 1:
            text = "%s: %s, at the first message; trying without an asynchronous operations window from now on"
            logger.warning(text, association.peer_name, error)
        self._options = replace(self._options, operations_window=1)
        return True

    def _take_back(self, run: _Run, cut_off: list[tuple[_Item, DimseError]], queue: deque[_Item]) -> None:
        """Put what the association cut off back to the front of the queue, in its old order, by the rules above."""
        blame_window = self._may_be_the_window(run.association, cut_off[0][1])
        under_way = sum(item.progress.begun for item, _ in cut_off)
        is_timeout = isinstance(cut_off[0][1], AssociationTimeout)
        run.got_on |= blame_window or (under_way > 1 and not is_timeout)
        for item, error in sorted(cut_off, key=lambda each: each[0].number, reverse=True):
            silences = item.progress.begun and item.is_suspect and isinstance(error, AssociationTimeout)
            if blame_window or not item.progress.begun:
                item.suspicion = _Suspicion.NONE
            else:
                item.suspicion = _Suspicion.ALONE if under_way == 1 else _Suspicion.SHARED
            if not item.progress.begun:
                item.attempts -= 1
            elif item.suspicion is not _Suspicion.ALONE:
                item.excused += 1
            may_be_read = item.source.repeatable or not item.progress.begun
            if may_be_read and not silences and self._pause_after(item) is not None:
                queue.appendleft(item)
            else:
                self._fail(item, error)
                run.got_on |= not isinstance(error, AssociationTimeout)

    def _pause_after(self, item: _Item) -> float | None:
        """Seconds to wait before the next attempt; None if the retries are used up."""
        return self._retry.pause(item.attempts - item.excused)

    async def _send_one(self, scu: CStoreSCU, item: _Item) -> None:
        """Send until the object is stored, or has failed in a way that no other try on this association mends."""
        while True:
            item.attempts += 1
            item.progress.restart()
            try:
                response = await scu.send_source(item.source, item.progress, self._move_originator)
                break
            except StatusError as error:
                pause = self._pause_after(item)
                if pause is None or not error.status.is_out_of_resources or not item.source.repeatable:
                    raise
                logger.info("%s; attempt %d in %g s", error, item.attempts + 1, pause)
            await asyncio.sleep(pause)
        self.bytes_done += item.progress.transferred
        name, status = item.source.name, response.status
        if status.category is StatusCategory.WARNING and not self._on_result.is_wanted:
            logger.warning("%s: stored with a warning, %s", name, status)
        self._note(
            SendResult(
                *(name, item.source.sop_instance_uid, status),
                comment=response.error_comment,
                attempts=item.attempts,
                bytes_sent=item.progress.transferred,
            )
        )

    def _fail(self, item: _Item, error: Exception) -> None:
        name, status = item.source.name, getattr(error, "status", None)
        if isinstance(error, AssociationError | PresentationContextError | RemoteProtocolError):
            error.add_note(f"while sending {name}")
        if not item.source.repeatable and self._pause_after(item) is not None and _may_be_mended(error):
            error.add_note("not tried again: this source can be read only once")
        self._note(
            SendResult(
                *(name, item.source.sop_instance_uid, status, error),
                comment=getattr(error, "comment", None),
                attempts=item.attempts,
            )
        )

    def _note(self, result: SendResult) -> None:
        self.results.append(result)
        self.measured.set()
        self._on_result(result)


def _may_be_mended(error: Exception) -> bool:
    """Whether another try might go better."""
    if isinstance(error, StatusError):
        return error.status.is_out_of_resources
    return isinstance(error, AssociationError | RemoteProtocolError)


def _not_tried(item: _Item, reason: Exception) -> AssociationError:
    error = AssociationError(f"{item.source.name}: not tried: {reason}")
    error.__cause__ = reason
    return error
