"""Work for later: rows that are written in the transaction of what they follow from, and what runs them.

1. A job runs when its moment has come, and its row is deleted after its handler has returned. A node that is killed in
   between runs it again: a handler runs at least once, and may find that its work was done.
2. Jobs of a queue run one at a time. A handler that fails is called again after a pause that grows; the queue rests
   too, so that one that leads to a dead destination takes nobody's place, and delays no other queue.
3. The row keeps how often it was tried, and why that failed. A job that tells of an event becomes an event itself after
   its last attempt, unless it told of such an end. Others are the archive's own work, such as to delete the files of a
   study: that is never given up.
4. A look reads the first job of each queue that does not rest, so what waits for a dead destination costs nothing.
5. One process runs jobs, and others may add them: the table is looked at every `PACE` seconds, and on `wake`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from sqlalchemy import Connection, and_, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from dimse.node.events import EventKind, record
from dimse.node.index import Index
from dimse.node.recurring import Recurring, reason
from dimse.node.schema import event, job
from dimse.options import RetryPolicy

logger = logging.getLogger("dimse.node")

AT_ONCE: Final = 4
"""Jobs that run at the same time, each of another queue."""

PACE: Final = 1.0
"""Seconds after which jobs that another process has added are seen."""

RETRY: Final = RetryPolicy(retries=20, delay=2, factor=2)
"""When a job that failed is tried again; one that tells of an event 20 times, in the course of about 10 hours."""

MAXIMUM_PAUSE: Final = 3600.0
"""The longest pause between two attempts, in seconds. No job waits longer for its moment."""

MAXIMUM_PROBLEM: Final = 500
"""Characters that are kept of the reason why a job failed."""

STOP_GRACE: Final = 5.0
"""Seconds that running jobs have to end when the node stops; those that do not are run again at its next start."""


def defer(
    connection: Connection,
    kind: str,
    payload: Mapping[str, Any],
    *,
    key: str | None = None,
    queue: str | None = None,
    not_before: float = 0,
) -> None:
    """Note work for later, in the transaction of `connection`.

    `payload` is what JSON can hold. There is one job with a `key`: a later one takes its place, and one that runs is
    run again. Jobs of a `queue`, by default that of their kind, run one at a time. `not_before` is a moment in seconds
    since 1970.
    """
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    row = {"kind": kind, "payload": dict(payload), "key": key, "queue": queue or kind}
    statement = insert(job).values(row | {"not_before": not_before or time.time()})
    if key is not None:
        new = statement.excluded
        changes = {"payload": new.payload, "not_before": new.not_before, "deferrals": job.c.deferrals + 1}
        statement = statement.on_conflict_do_update(index_elements=[job.c.key], set_=changes)
    connection.execute(statement)


class GiveUp(Exception):
    """A handler raises it if no other attempt can help."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as its handler sees it."""

    id: int
    kind: str
    payload: Mapping[str, Any]
    queue: str
    event_id: int | None
    """The event that it tells of."""
    attempts: int
    """How often it has failed."""
    deferrals: int
    """How often it was deferred by its key after the first time."""


Handler = Callable[[Job], Awaitable[None]]
"""Does the work of a job, or raises what keeps it from that."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """The jobs of a queue that wait."""

    queue: str
    waiting: int
    attempts: int
    """How often the one was tried that was tried most."""
    problem: str | None
    """Why one of them failed; None if none did."""


def queues(connection: Connection) -> Sequence[QueueState]:
    """What waits, by queue: what is due, and what has failed. What is to be done later does not count."""
    columns = (job.c.queue, func.count(), func.max(job.c.attempts), func.max(job.c.problem))
    waiting = select(*columns).where(or_(job.c.attempts > 0, job.c.not_before <= time.time()))
    return [QueueState(*row) for row in connection.execute(waiting.group_by(job.c.queue).order_by(job.c.queue))]


@dataclass(slots=True)
class _Rest:
    """A queue whose last job failed."""

    failures: int = 0
    """How many failed since one did not."""
    until: float = 0


class Jobs:
    """Runs jobs inside its block. `handlers` are by kind; jobs of other kinds wait. `clock` is `time.time`."""

    def __init__(
        self,
        index: Index,
        handlers: Mapping[str, Handler],
        *,
        retry: RetryPolicy = RETRY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._index = index
        self._handlers = dict(handlers)
        self._retry = retry
        self._clock = clock
        self._latest = clock()
        self._running: dict[str, asyncio.Task[None]] = {}
        """The tasks of queues whose job runs."""
        self._resting: dict[str, _Rest] = {}
        self._looking = Recurring("the work of jobs", self._look, PACE)

    def wake(self) -> None:
        """Look for jobs at once, as one was added."""
        self._looking.wake()

    async def __aenter__(self) -> Self:
        await self._looking.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._looking.__aexit__(kind, error, traceback)
        running = list(self._running.values())
        if running:
            _, late = await asyncio.wait(running, timeout=STOP_GRACE)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _look(self) -> float:
        return min(await self.start_due(), PACE)

    async def start_due(self) -> float:
        """Start the jobs that are due, and return the seconds until the next one is."""
        now = self._clock()
        if now < self._latest:  # it was set back: what waits would wait too long
            await self._index.write(lambda connection: _pull_forward(connection, now, longest=0))
            self._resting.clear()
        self._latest = now
        free = AT_ONCE - len(self._running)
        if free <= 0:
            return PACE
        resting = {queue: rest.until for queue, rest in self._resting.items() if rest.until > now}
        kinds, busy = list(self._handlers), {*self._running, *resting}
        due, following = await self._index.read(lambda connection: _due(connection, kinds, busy, now))
        for each in due[:free]:
            self._running[each.queue] = asyncio.get_running_loop().create_task(self._work(each))
        if due:
            return 0.0  # others may be behind them
        return min([following - now, *(until - now for until in resting.values())])

    async def until_idle(self) -> None:
        """Wait until no job runs."""
        while self._running:
            await asyncio.wait(list(self._running.values()))

    async def _work(self, each: Job) -> None:
        try:
            await self._handlers[each.kind](each)
        except Exception as error:  # noqa: BLE001 - it is in the row and in the log
            self._rest(each.queue)
            problem = reason(error)[:MAXIMUM_PROBLEM]
            gives_up = isinstance(error, GiveUp)
            await self._end(lambda connection: self._fail(connection, each, problem, gives_up=gives_up))
        else:
            self._resting.pop(each.queue, None)
            await self._end(lambda connection: _finish(connection, each))
        finally:
            del self._running[each.queue]
            self.wake()

    async def _end(self, work: Callable[[Connection], None]) -> None:
        try:
            await self._index.write(work)
        except SQLAlchemyError as error:
            logger.warning("the end of a job cannot be noted, so it will run again: %s", reason(error))

    def _rest(self, queue: str) -> None:
        rest = self._resting.setdefault(queue, _Rest())
        rest.failures += 1
        rest.until = self._clock() + self._pause(rest.failures)

    def _fail(self, connection: Connection, each: Job, problem: str, *, gives_up: bool) -> None:
        attempts = each.attempts + 1
        mine = and_(job.c.id == each.id, job.c.deferrals == each.deferrals)
        if not gives_up and (each.event_id is None or attempts <= self._retry.retries):
            level = logging.WARNING if attempts == 1 else logging.INFO
            logger.log(level, "job %d of %s failed, and is tried again: %s", each.id, each.queue, problem)
            changes = {"attempts": attempts, "problem": problem, "not_before": self._clock() + self._pause(attempts)}
            connection.execute(update(job).where(mine).values(changes))
        elif connection.execute(delete(job).where(mine)).rowcount:
            logger.error("job %d of %s is given up after attempt %d: %s", each.id, each.queue, attempts, problem)
            if not _tells_of_failure(connection, each):  # which would go on and on
                detail = {"kind": each.kind, "queue": each.queue, "event": each.event_id, "problem": problem}
                record(connection, EventKind.JOB_FAILED, detail=detail | {"attempts": attempts})

    def _pause(self, failures: int) -> float:
        return min(self._retry.delay * self._retry.factor ** min(failures - 1, 64), MAXIMUM_PAUSE)


def _due(connection: Connection, kinds: list[str], busy: Set[str], now: float) -> tuple[list[Job], float]:
    """The first job of each queue that is due, and when the next one is that is not."""
    columns = (job.c.id, job.c.kind, job.c.payload, job.c.queue, job.c.event_id, job.c.attempts, job.c.deferrals)
    firsts = (
        select(job.c.not_before, *columns).where(job.c.kind.in_(kinds)).order_by(job.c.not_before, job.c.id).limit(1)
    )
    due, following, queue = list[Any](), math.inf, ""
    while (queue := connection.scalar(select(func.min(job.c.queue)).where(job.c.queue > queue))) is not None:
        row = None if queue in busy else connection.execute(firsts.where(job.c.queue == queue)).first()
        if row is not None and row.not_before <= now:
            due.append(row)
        elif row is not None:
            following = min(following, row.not_before)
    return [Job(*row[1:]) for row in sorted(due, key=lambda row: (row.not_before, row.id))], following


def _tells_of_failure(connection: Connection, each: Job) -> bool:
    """Whether a job tells that another one was given up."""
    kind = connection.scalar(select(event.c.kind).where(event.c.id == each.event_id))
    return kind == EventKind.JOB_FAILED.value


def _finish(connection: Connection, each: Job) -> None:
    connection.execute(delete(job).where(job.c.id == each.id, job.c.deferrals == each.deferrals))


def correct_moments(connection: Connection) -> None:
    """Run at once what waits for a moment of a clock that was set back while no node ran."""
    _pull_forward(connection, time.time(), MAXIMUM_PAUSE)


def _pull_forward(connection: Connection, now: float, longest: float) -> None:
    """Run at once what would wait longer than `longest` seconds."""
    connection.execute(update(job).where(job.c.not_before > now + longest).values(not_before=now))
