"""Studies that are complete: nothing of them has arrived for a while.

DICOM has no message that ends a study. A sender may use several associations, and send again what failed, so an
association that ends says nothing: only time does. What arrives of a study, up to a time without any of it, is a round.

1. `Studies.arrived` opens a round, or adds to the open one. The rounds are kept in the order of their last arrivals, so
   one timer, that of the first, is enough.
2. A round whose study was quiet is closed, and the handler is called in a task. A study has one task: what arrives
   while its handler runs is a new round, whose handler is called after that.
3. The instances of open rounds, and of those whose handler has not ended, are limited. At the limit the round that was
   quiet longest is closed early; if the handlers have not ended even so, C-STORE is answered later.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from dimse.network.exchange import ABORT_GRACE

logger = logging.getLogger("dimse.storage")

MAXIMUM_INSTANCES: Final = 100_000
"""Instances of studies that are not complete, or whose handler has not ended."""


@dataclass(frozen=True, slots=True)
class StudyComplete:
    """A study of which nothing has arrived for a while, as its handler sees it; see `Server.on_study_complete`."""

    study_instance_uid: str
    """Study Instance UID."""
    instances: int
    """Number of instances that have arrived since the handler was last called for this study."""
    paths: tuple[Path, ...]
    """The files that `StoreRequest.save` and `save_under` wrote of them."""
    calling_ae_titles: tuple[str, ...]
    """The AE titles of those that sent them."""
    first_arrival: datetime
    """When the first of them had arrived, in UTC."""
    last_arrival: datetime
    """When the last of them had arrived, in UTC."""


StudyHandler = Callable[[StudyComplete], Awaitable[None]]
"""Is called with each complete study; see `Server.on_study_complete`."""


@dataclass(eq=False, slots=True)
class _Round:
    """What has arrived of a study. The instances, and their senders, are in the order of their arrival."""

    last: datetime
    due: float = 0
    """When it is complete, by the clock of the event loop, if nothing more arrives."""
    instances: dict[str, Path | None] = field(default_factory=dict)
    titles: dict[str, None] = field(default_factory=dict)
    first: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.first = self.last


class Studies:
    """The studies that arrive at a server, until the handler has been called with them."""

    def __init__(self) -> None:
        self.handler: StudyHandler | None = None
        """Is called with each complete study; without it nothing is counted."""
        self.quiet = 0.0
        """Seconds in which nothing of a study arrives, until it is complete."""
        self._open: dict[str, _Round] = {}
        self._closed: dict[str, deque[_Round]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._count = 0
        self._ended = asyncio.Event()
        """A handler has ended since it was last cleared."""
        self._timer: asyncio.TimerHandle | None = None

    async def arrived(self, study: str, instance: str, path: Path | None, title: str, *, is_new: bool) -> None:
        """An instance has arrived. One that was stored already (not `is_new`) prolongs a round, but opens none.

        Returns at once, unless the handlers have too much to do.
        """
        if self.handler is None or (study not in self._open and not is_new):
            return
        now, loop = datetime.now(UTC), asyncio.get_running_loop()
        opened = self._open.pop(study, None) or _Round(now)
        self._open[study] = opened
        opened.last, opened.due = now, loop.time() + self.quiet
        if is_new:
            self._count += instance not in opened.instances
            opened.instances[instance] = path
            opened.titles[title] = None
        if self._timer is None:
            self._timer = loop.call_at(opened.due, self._close_due)
        if self._count > MAXIMUM_INSTANCES:
            self._close(next(iter(self._open)))
        while self._count > MAXIMUM_INSTANCES:
            self._ended.clear()
            await self._ended.wait()

    def _close_due(self) -> None:
        """Close the rounds that are due, and look again when the next one is."""
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._open:
            study, opened = next(iter(self._open.items()))
            if opened.due > loop.time():
                self._timer = loop.call_at(opened.due, self._close_due)
                break
            self._close(study)

    def _close(self, study: str) -> None:
        self._closed.setdefault(study, deque()).append(self._open.pop(study))
        if study not in self._tasks:
            self._start(study)

    def _start(self, study: str) -> None:
        task = self._tasks[study] = asyncio.get_running_loop().create_task(self._handle(study))
        task.add_done_callback(lambda task: self._left(study, task))

    async def _handle(self, study: str) -> None:
        rounds = self._closed[study]
        while rounds:
            await self._call(study, rounds[0])
            self._forget(rounds.popleft())

    def _left(self, study: str, task: asyncio.Task[None]) -> None:
        """A task has ended; what was closed since then, unless it was cancelled, needs another one."""
        del self._tasks[study]
        if self._closed[study] and not task.cancelled():
            self._start(study)
            return
        for closed in self._closed.pop(study):
            self._forget(closed)

    def _forget(self, closed: _Round) -> None:
        self._count -= len(closed.instances)
        self._ended.set()

    async def _call(self, study: str, closed: _Round) -> None:
        assert self.handler is not None  # noqa: S101 - else no round is opened
        paths = tuple(path for path in closed.instances.values() if path is not None)
        titles = tuple(closed.titles)
        complete = StudyComplete(study, len(closed.instances), paths, titles, closed.first, closed.last)
        try:
            await self.handler(complete)
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            logger.exception("the handler of complete studies failed for study %s", study)

    async def finish(self, seconds: float) -> None:
        """Nothing more arrives: call the handler for all studies, and cancel those that have not ended in `seconds`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for study in list(self._open):
            self._close(study)
        tasks = dict(self._tasks)
        try:
            if tasks:
                await asyncio.wait(tasks.values(), timeout=seconds)
        finally:
            for study, task in tasks.items():
                if task.cancel():
                    logger.warning("the handler of complete studies has not ended for study %s; cancelled", study)
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=ABORT_GRACE)
