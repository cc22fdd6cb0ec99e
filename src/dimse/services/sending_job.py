"""One sending job: its associations, and what is sent again when one of them ends early."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, cast

from dimse.ae import RetryPolicy
from dimse.dataset import DatasetSource
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
from dimse.messages.status import StatusCategory
from dimse.network.association import Association
from dimse.services.callbacks import Callback
from dimse.services.collecting import SendResult, look_at
from dimse.services.given import Source, each
from dimse.services.store_scu import CStoreSCU, in_groups
from dimse.services.transfer_progress import ObjectProgress, ProgressCallback, ProgressReporter

logger = logging.getLogger("dimse.storage")

_MEASURED: Final = 8
"""Objects that are sent before it is decided how many associations are worth while."""

Contexts = Sequence[tuple[str, Sequence[str]]]
Connect = Callable[[Contexts, bool], AbstractAsyncContextManager[Association]]
"""Makes an association with these contexts; True is for one without an asynchronous operations window."""


class _Item:
    """One source on its way."""

    __slots__ = ("attempts", "excused", "is_suspect", "number", "progress", "source")

    def __init__(self, number: int, source: DatasetSource, progress: ObjectProgress) -> None:
        self.number = number
        self.source = source
        self.progress = progress
        self.attempts = 0
        self.excused = 0
        """Attempts that do not count against the retries: something else may have ended the association."""
        self.is_suspect = False
        """Whether it was under way when an association ended."""


class _Run:
    """One association of a job, from the attempt to open it on."""

    __slots__ = ("association", "got_on")

    def __init__(self) -> None:
        self.association: Association | None = None
        self.got_on = False
        """Whether it settled something, for good or ill, or showed that one of several may be what ends it."""

    @property
    def is_open(self) -> bool:
        return self.association is not None and self.association.is_open


class _Group:
    """Objects that share their presentation contexts, and the associations that they go out on.

    They are opened one after the other, each when the one before it is established; the first one that the peer does
    not take, or that comes to nothing, is the last.
    """

    def __init__(self, job: SendingJob, contexts: Contexts, queue: deque[_Item]) -> None:
        self._job = job
        self._contexts = contexts
        self._queue = queue
        self._tasks = asyncio.TaskGroup()
        self._runs: dict[asyncio.Task[None], _Run] = {}
        """What each worker is at."""
        self._more = 0
        """How many more associations may be opened."""
        self._newest: Association | None = None
        self._busy_before = 0.0
        """The process time when that was opened."""

    async def send(self, associations: int, *, tune: bool) -> None:
        """Send all of them, over as many associations; with `tune` over as many of those as are worth while."""
        most = min(associations, len(self._queue))
        async with self._tasks:
            self._open_another(1 if tune else most)
            if tune and most > 1:
                self._open_another(min(await self._others_worth_while(), most - 1))

    def _open_another(self, most: int) -> None:
        if most > 0 and self._queue:
            self._more = most - 1
            task = self._tasks.create_task(self._work())
            self._runs[task] = _Run()
            task.add_done_callback(self._has_ended)

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        """One worker less; nothing is left for those that still wait for the peer to take their association."""
        del self._runs[task]
        self._job.measured.set()
        if not self._queue and not any(run.is_open for run in self._runs.values()):
            for other, run in self._runs.items():
                if run.association is None:
                    other.cancel()

    async def _others_worth_while(self) -> int:
        """How many more associations would keep this side busy, by what the first one has shown.

        While one object waits for its response, others can be sent: as many as this side can prepare in that time.
        """
        while True:
            self._job.measured.clear()
            await self._job.measured.wait()
            association = self._newest
            if not self._queue or not self._runs:
                return 0
            if association is not None and association.invoker.responses >= _MEASURED:
                break
        invoker = association.invoker
        busy = max((time.process_time() - self._busy_before) / invoker.responses, 1e-6)
        at_once = 1 + invoker.response_seconds / invoker.responses / busy
        return math.ceil(at_once / association.operations_window) - 1

    async def _work(self) -> None:
        """Keep one association going until the queue is empty.

        One that got on may be followed by the next at once. After one that did not, the others go on with what is
        left, as the peer takes no more; where there is no other there is a pause, and in the end what is left fails.
        """
        task, in_vain = cast("asyncio.Task[None]", asyncio.current_task()), 0
        while self._queue:
            run = self._runs[task] = _Run()
            try:
                async with self._job.connect(self._contexts, self._job.one_by_one) as association:
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
        connect: Connect,
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
        self.connect = connect
        self.one_by_one = False
        """Whether the peer may have dropped an association because of the operations window."""
        self._retry = retry
        self._allow_decompression = allow_decompression
        self._transfer_syntaxes = transfer_syntaxes
        self._on_result = Callback("on_result", on_result, logger)
        self.associations = self.operations_window = 1
        self.measured = asyncio.Event()
        """Set when something is known that was not before."""
        self._associated = False

    async def look_at(self, sources: Iterable[Source] | Source) -> None:
        """Find out what there is to send."""
        async for found in look_at(each(sources)):
            if isinstance(found, SendResult):
                self._note(found)
            else:
                self.sources.append(found)

    async def run(self, associations: int, progress: ProgressCallback | None, *, tune: bool = False) -> None:
        """Send it all, a group of at most 128 contexts after the other.

        With `tune` the first association is measured before others are opened.
        """
        lengths = [source.length for source in self.sources]
        total = None if None in lengths else sum(length or 0 for length in lengths)
        report = ProgressReporter(progress, total)
        try:
            for contexts, members in in_groups(self.sources, self._transfer_syntaxes):
                queue = deque(
                    _Item(number, each, ObjectProgress(report, each.length)) for number, each in enumerate(members)
                )
                await _Group(self, contexts, queue).send(associations, tune=tune)
        except ExceptionGroup as group:
            raise group.exceptions[0] from None  # no association could be made, which each worker says
        finally:
            report.final()

    def note_opened(self, count: int, association: Association) -> None:
        """An association is established, with which `count` are open."""
        self._associated = True
        self.associations = max(self.associations, count)
        self.operations_window = association.operations_window

    async def wait_or_give_up(self, error: DimseError, in_vain: int, queue: deque[_Item]) -> None:
        """Wait before the next association, or let what is left fail because of `error`."""
        if isinstance(error, AssociationRejected):
            hopeless = not error.transient
        else:  # a silent peer has had its time; where it has stored something, one object may be what silences it
            is_silent = isinstance(error, AssociationTimeout) and (in_vain > 1 or not self.bytes_done)
            hopeless = is_silent or not self._associated
        pause = None if hopeless else self._retry.pause(in_vain)
        if pause is not None:
            logger.info("%s; a new association in %g s", error, pause)
            await asyncio.sleep(pause)
            return
        if not self._associated:
            raise error
        while queue:
            item = queue.popleft()
            self._fail(item, error if item.attempts or item.is_suspect else _not_tried(item, error))

    async def send_on(self, run: _Run, queue: deque[_Item]) -> None:
        """Send until the queue is empty, as many at once as were agreed on, with the next one read meanwhile.

        First, one by one, those that were under way together when an association ended: one may be what ends it.
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
            may_be_the_window = self._may_be_the_window(run.association, cut_off[0][1])
            run.got_on |= may_be_the_window
            self._take_back(run, cut_off, queue, counts=not may_be_the_window)
            raise cut_off[0][1]

    def _may_be_the_window(self, association: Association | None, error: DimseError) -> bool:
        """Whether the peer closed an association with a window at the first message. None is proposed from then on."""
        assert association is not None and association.request is not None  # noqa: S101, PT018 - it is established
        is_proposed = association.request.user_information.asynchronous_operations_window is not None
        is_first = not association.invoker.responses and all(result.status is None for result in self.results)
        if not (is_proposed and is_first and isinstance(error, ConnectionLost)):
            return False
        if not self.one_by_one:
            text = "%s: %s, at the first message; trying without an asynchronous operations window from now on"
            logger.warning(text, association.connection.peer_name, error)
        self.one_by_one = True
        return True

    def _take_back(
        self, run: _Run, cut_off: list[tuple[_Item, DimseError]], queue: deque[_Item], *, counts: bool
    ) -> None:
        """What the end of an association has cut off goes before the others in the queue, in its old order.

        Whether it `counts` as an attempt.
        """
        begun = sum(item.progress.begun for item, _ in cut_off)
        run.got_on |= begun > 1 and not isinstance(cut_off[0][1], AssociationTimeout)
        for item, error in sorted(cut_off, key=lambda each: each[0].number, reverse=True):
            silences = item.progress.begun and item.is_suspect and isinstance(error, AssociationTimeout)
            item.is_suspect = counts and item.progress.begun
            if not item.progress.begun:
                item.attempts -= 1  # its turn had not come
            elif not counts or begun > 1:
                item.excused += 1
            may_be_read = item.source.repeatable or not item.progress.begun
            if may_be_read and not silences and self._pause_after(item) is not None:
                queue.appendleft(item)
            else:
                self._fail(item, error)
                run.got_on |= not isinstance(error, AssociationTimeout)

    def _pause_after(self, item: _Item) -> float | None:
        """Seconds until the next attempt; None if there is none."""
        return self._retry.pause(item.attempts - item.excused)

    async def _send_one(self, scu: CStoreSCU, item: _Item) -> None:
        """Send until it is stored, or fails in a way that another try on this association does not mend."""
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
        if status.category is StatusCategory.WARNING:
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
            error.add_note("not tried again: it can be read only once")
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
