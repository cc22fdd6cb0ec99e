"""Work for later, and what runs it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy import event as event_of
from sqlalchemy.exc import OperationalError

from dimse.node import jobs
from dimse.node.events import EventKind, record, since
from dimse.node.index import Index
from dimse.node.jobs import AT_ONCE, GiveUp, Job, Jobs, QueueState, defer, queues
from dimse.node.schema import event, job
from dimse.options import RetryPolicy


class Clock:
    """The time, which tests set."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Handler:
    """A handler that notes what it did, and fails for payloads with a reason."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.failing: dict[str, Exception] = {}

    async def __call__(self, each: Job) -> None:
        self.done.append(each.payload["name"])
        if each.payload["name"] in self.failing:
            raise self.failing[each.payload["name"]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def handler() -> Handler:
    return Handler()


@pytest.fixture
def runner(index: Index, handler: Handler, clock: Clock) -> Jobs:
    return Jobs(index, {"work": handler}, retry=RetryPolicy(retries=2, delay=10, factor=3), clock=clock)


async def add(index: Index, name: str, *, not_before: float = 1, **options: Any) -> None:
    await index.write(lambda c: defer(c, "work", {"name": name}, not_before=not_before, **options))


async def add_telling(index: Index, name: str) -> int:
    """Add a job that tells of an event; the number of the event."""

    def add(connection: Connection) -> int:
        record(connection, EventKind.STUDY_CREATED)
        number = connection.scalars(select(func.max(event.c.id))).one()
        defer(connection, "work", {"name": name}, not_before=1)
        connection.execute(update(job).where(job.c.payload["name"].as_string() == name).values(event_id=number))
        return int(number)

    return await index.write(add)


async def run(runner: Jobs) -> float:
    """Run what is due, and return the seconds until the next one."""
    while (pause := await runner.start_due()) == 0:
        await runner.until_idle()
    return pause


async def waiting(index: Index) -> list[QueueState]:
    return list(await index.read(queues))


async def test_a_job_runs_when_its_moment_has_come_and_is_forgotten(
    index: Index, runner: Jobs, handler: Handler, clock: Clock
) -> None:
    await add(index, "later", not_before=clock.now + 5)
    await add(index, "now")
    assert await run(runner) == 5
    assert handler.done == ["now"]
    clock.now += 5
    await run(runner)
    assert handler.done == ["now", "later"]
    assert await waiting(index) == []


async def test_a_job_is_there_only_with_what_it_follows_from(index: Index, runner: Jobs, handler: Handler) -> None:
    def work(connection: Connection) -> None:
        defer(connection, "work", {"name": "lost"})
        raise RuntimeError("the transaction fails")

    with pytest.raises(RuntimeError):
        await index.write(work)
    await run(runner)
    assert handler.done == []


async def test_jobs_of_other_kinds_wait(index: Index, runner: Jobs) -> None:
    await index.write(lambda c: defer(c, "of a later version", {}))
    await run(runner)
    assert await waiting(index) == [QueueState("of a later version", 1, 0, None)]


async def test_one_that_fails_is_tried_after_pauses_that_grow_and_then_given_up(
    index: Index, runner: Jobs, handler: Handler, clock: Clock
) -> None:
    handler.failing["bad"] = RuntimeError("no route to host\nand much more")
    number = await add_telling(index, "bad")
    for attempt, pause in ((1, 10.0), (2, 30.0)):
        assert await run(runner) == pause
        assert await waiting(index) == [QueueState("work", 1, attempt, "no route to host")]
        clock.now += pause
    await run(runner)
    assert handler.done == ["bad"] * 3
    assert await waiting(index) == []
    (event,) = await index.read(lambda c: since(c, number))
    assert event.kind is EventKind.JOB_FAILED
    assert event.detail == {
        "kind": "work", "queue": "work", "event": number, "problem": "no route to host", "attempts": 3,
    }  # fmt: skip


async def test_work_of_the_archive_itself_is_never_given_up(
    index: Index, runner: Jobs, handler: Handler, clock: Clock
) -> None:
    handler.failing["bad"] = OSError("read-only file system")
    await add(index, "bad")
    for attempt in range(1, 30):
        assert await run(runner) <= jobs.MAXIMUM_PAUSE
        assert await waiting(index) == [QueueState("work", 1, attempt, "read-only file system")]
        clock.now += jobs.MAXIMUM_PAUSE
    assert await index.read(lambda c: since(c, 0)) == []


async def test_one_that_cannot_succeed_is_given_up_at_once(index: Index, runner: Jobs, handler: Handler) -> None:
    handler.failing["bad"] = GiveUp("not in the data folder")
    await add(index, "bad")
    await run(runner)
    assert handler.done == ["bad"]
    (event,) = await index.read(lambda c: since(c, 0))
    assert event.detail["problem"] == "not in the data folder"


async def test_a_dead_destination_delays_no_other_and_what_waits_for_it_is_not_lost(
    index: Index, runner: Jobs, handler: Handler, clock: Clock
) -> None:
    names = [f"dead {number}" for number in range(3)]
    handler.failing = dict.fromkeys(names, OSError("connection refused"))
    for name in names:
        await add(index, name, queue="dead")
    await add(index, "alive", queue="alive")
    await run(runner)
    assert sorted(handler.done) == ["alive", "dead 0"]
    clock.now += 10
    await run(runner)
    assert handler.done[2:] == ["dead 1"], "the queue is tried once, with the one that waits longest"
    handler.failing.clear()
    clock.now += 30
    await run(runner)
    assert sorted(handler.done[3:]) == names, "all at once, as the destination is back"


async def test_what_waits_for_a_dead_destination_is_not_looked_at(
    sqlite_index: Index, handler: Handler, clock: Clock
) -> None:
    """A look takes as many steps of SQLite with 2000 such jobs as with 20."""
    runner, steps = Jobs(sqlite_index, {"work": handler}, clock=clock), 0

    def count() -> None:
        nonlocal steps
        steps += 1

    handler.failing["dead"] = OSError("connection refused")
    taken = []
    for more in (20, 1980):
        with sqlite_index.writing() as connection:
            for _ in range(more):
                defer(connection, "work", {"name": "dead"}, queue="dead", not_before=1)
        await run(runner)
        await add(sqlite_index, "alive", not_before=2)
        event_of.listen(sqlite_index.engine, "checkout", lambda raw, *_: raw.set_progress_handler(count, 1))
        steps = 0
        await run(runner)
        taken.append(steps)
    assert handler.done == ["dead", "alive", "alive"]
    assert taken[1] < 1.5 * taken[0]


@pytest.mark.parametrize("count", [2, AT_ONCE + 2])
async def test_what_runs_at_once(index: Index, clock: Clock, count: int) -> None:
    """One of each queue, and no more than a number in all."""
    running, gate = list[str](), asyncio.Event()

    async def work(each: Job) -> None:
        running.append(each.queue)
        await gate.wait()

    runner = Jobs(index, {"work": work}, clock=clock)
    for number in range(3 * count):
        await add(index, str(number), queue=str(number % count))
    for _ in range(3):
        await runner.start_due()
        await asyncio.sleep(0)
    assert sorted(running) == [str(number) for number in range(min(count, AT_ONCE))]
    gate.set()
    await runner.until_idle()
    await run(runner)
    assert Counter(running) == {str(number): 3 for number in range(count)}


async def test_a_success_ends_the_rest_of_a_queue(index: Index, runner: Jobs, handler: Handler, clock: Clock) -> None:
    handler.failing["bad"] = OSError("down")
    await add(index, "bad")
    for pause in (10, 30):
        assert await run(runner) == pause
        clock.now += pause
    handler.failing.clear()
    await run(runner)
    handler.failing["other"] = OSError("down")
    await add(index, "other")
    assert await run(runner) == 10


async def test_there_is_one_job_with_a_key_and_the_latest_counts(
    index: Index, runner: Jobs, handler: Handler, clock: Clock
) -> None:
    await add(index, "former", key="report")
    await add(index, "latter", key="report", not_before=clock.now + 7)
    assert await run(runner) == 7
    clock.now += 7
    await run(runner)
    assert handler.done == ["latter"]


async def test_one_that_is_deferred_while_it_runs_is_run_again(index: Index, clock: Clock) -> None:
    seen = []

    async def work(each: Job) -> None:
        seen.append(each.payload["name"])
        if len(seen) == 1:
            await add(index, "again", key="report")

    await add(index, "first", key="report")
    await run(Jobs(index, {"work": work}, clock=clock))
    assert seen == ["first", "again"]
    assert await waiting(index) == []


async def test_what_a_killed_node_left_is_run_again(index: Index, handler: Handler, clock: Clock) -> None:
    reached, killed = asyncio.Event(), asyncio.Event()

    async def hang(_: Job) -> None:
        reached.set()
        await killed.wait()

    await add(index, "work")
    former = Jobs(index, {"work": hang}, clock=clock)
    await former.start_due()
    await reached.wait()
    for task in former._running.values():
        task.cancel()  # as nothing of a killed process goes on
    await former.until_idle()
    await run(Jobs(index, {"work": handler}, clock=clock))
    assert handler.done == ["work"]


async def test_a_clock_that_was_set_back_before_the_start_delays_nothing(
    index: Index, handler: Handler, clock: Clock
) -> None:
    clock.now = time.time()
    await add(index, "soon", not_before=clock.now + 60)
    await add(index, "in a year", not_before=clock.now + 365 * 24 * 3600)
    await index.write(jobs.correct_moments)
    clock.now += 1
    await run(Jobs(index, {"work": handler}, clock=clock))
    assert handler.done == ["in a year"]


async def test_a_clock_that_is_set_back_delays_nothing(
    index: Index, runner: Jobs, handler: Handler, clock: Clock
) -> None:
    handler.failing["bad"] = OSError("down")
    await add(index, "bad")
    await run(runner)
    handler.failing.clear()
    clock.now -= 24 * 3600
    await run(runner)
    assert handler.done == ["bad", "bad"]


async def test_inside_its_block_it_runs_what_is_added_and_waits_for_what_runs(index: Index) -> None:
    begun, done = asyncio.Event(), asyncio.Event()

    async def work(each: Job) -> None:
        begun.set()
        await asyncio.sleep(0)
        done.set()

    async with Jobs(index, {"work": work}) as runner:
        await add(index, "work")
        runner.wake()
        await begun.wait()
    assert done.is_set()
    assert await waiting(index) == []


async def test_one_that_does_not_end_is_cancelled_and_runs_again(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "STOP_GRACE", 0)
    begun = asyncio.Event()

    async def work(_: Job) -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    await add(index, "work")
    async with Jobs(index, {"work": work}):
        await begun.wait()
    assert await waiting(index) == [QueueState("work", 1, 0, None)]


async def test_an_index_that_cannot_be_used_for_a_while(
    index: Index, handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner says so, and goes on when it can be used again."""
    monkeypatch.setattr(jobs, "PACE", 0.001)
    await add(index, "work")
    await index.write(partial(_rename, "job", "away"))
    ran = asyncio.Event()

    async def work(each: Job) -> None:
        await handler(each)
        ran.set()

    async with Jobs(index, {"work": work}) as runner:
        runner.wake()
        await index.read(lambda _: None)
        await index.write(partial(_rename, "away", "job"))
        await ran.wait()
    assert handler.done == ["work"]
    assert await index.read(lambda c: c.execute(select(job.c.id)).all()) == []


def _rename(former: str, latter: str, connection: Connection) -> None:
    connection.exec_driver_sql(f"ALTER TABLE {former} RENAME TO {latter}")


QUEUES = st.sampled_from(["a", "b"])


class Running(RuleBasedStateMachine):
    """Jobs of two queues, handlers that fail, ends that cannot be noted, restarts: no job is lost."""

    index: Index

    @initialize()
    def begin(self) -> None:
        with self.index.writing() as connection:
            connection.execute(delete(job))
            connection.execute(delete(event))
            record(connection, EventKind.STUDY_CREATED)
            self.event = connection.scalars(select(event.c.id)).one()
        self.clock, self.added = Clock(), 0
        self.done: Counter[int] = Counter()
        self.ends_fail, self.failing = False, set[str]()
        self.again: set[int] = set()
        """Jobs whose end was not noted."""
        self.restart()

    @rule()
    def restart(self) -> None:
        retry = RetryPolicy(retries=2, delay=10, factor=3)
        self.runner = Jobs(self.index, {"work": self.handle}, retry=retry, clock=self.clock)

    async def handle(self, each: Job) -> None:
        if each.queue in self.failing:
            raise OSError("down")
        self.done[each.payload["name"]] += 1
        if self.ends_fail:
            self.again.add(each.payload["name"])

    @rule(queue=QUEUES, count=st.integers(1, 3))
    def add(self, queue: str, count: int) -> None:
        with self.index.writing() as connection:
            for _ in range(count):
                self.added += 1
                defer(connection, "work", {"name": self.added}, queue=queue, not_before=1)
            connection.execute(update(job).where(job.c.queue == "b").values(event_id=self.event))

    @rule(failing=st.sets(QUEUES))
    def fail(self, failing: set[str]) -> None:
        self.failing = failing

    @rule(seconds=st.sampled_from([5, 10, 1000, -1000]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(ends_fail=st.booleans())
    def run(self, ends_fail: bool) -> None:
        self.ends_fail = ends_fail
        with pytest.MonkeyPatch.context() as patch:
            if ends_fail:  # as of a node that is killed then
                patch.setattr(jobs, "_finish", _fail)
                asyncio.run(self.run_once())
            else:
                asyncio.run(self.run_all())
        if ends_fail:
            self.restart()

    async def run_once(self) -> None:
        await self.runner.start_due()
        await self.runner.until_idle()

    async def run_all(self) -> None:
        await run(self.runner)

    @invariant()
    def nothing_is_lost(self) -> None:
        with self.index.reading() as connection:
            waiting = {row.payload["name"] for row in connection.execute(select(job))}
            given_up = _given_up(connection)
        assert waiting & set(self.done) <= self.again
        assert len(waiting | set(self.done)) + given_up >= self.added
        assert all(count == 1 for name, count in self.done.items() if name not in self.again)

    def teardown(self) -> None:
        """In the end all is done, or given up."""
        self.failing, self.ends_fail = set(), False
        for _ in range(5):
            self.clock.now += 1000
            asyncio.run(self.run_all())
        with self.index.reading() as connection:
            assert list(queues(connection)) == []
            given_up = _given_up(connection)
        assert self.added - len(self.done) <= given_up


def _given_up(connection: Connection) -> int:
    """How many jobs were given up; only those that tell of an event are."""
    found = [row.detail["queue"] for row in connection.execute(select(event)) if row.kind == "job-failed"]
    assert set(found) <= {"b"}
    return len(found)


def _fail(*_: object) -> None:
    raise OperationalError("DELETE", {}, OSError("killed"))


def test_no_job_is_lost_whatever_happens(index: Index) -> None:
    class OfIndex(Running):
        pass

    OfIndex.index = index
    few = settings(max_examples=25 if index.is_sqlite else 8, stateful_step_count=20, deadline=None)
    run_state_machine_as_test(OfIndex, settings=few)
