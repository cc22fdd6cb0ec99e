"""Bytes per second by a clock of the test: what passes when, and in which order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, cast

import pytest

import dimse
from dimse import ClientOptions, Priority, RateLimit, Server, ServerOptions, sync
from dimse.rate_limit import take
from dimse.testing import FakeArchive

HIGH, MEDIUM, LOW = Priority.HIGH, Priority.MEDIUM, Priority.LOW


class Clock:
    """The clock and the timers of an event loop; time passes only in `run`."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[..., object], *arguments: object) -> None:
        heappush(self._timers, (when, len(self._timers), call, arguments))

    def run(self, until: float = 1e9, late: float = 0) -> None:
        while self._timers and self._timers[0][0] <= until:
            when, _, call, arguments = heappop(self._timers)
            self.now = max(self.now, when + late)
            call(*arguments)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: cast("Any", clock))
    return clock


@pytest.mark.parametrize("seed", range(20))
def test_no_stretch_of_time_has_more_bytes_than_the_limit_and_one_transfer(clock: Clock, seed: int) -> None:
    rng, rate = random.Random(seed), 10_000
    limit, passed = RateLimit(rate), list[tuple[float, int]]()

    def ask(size: int) -> None:
        take(limit, size, rng.choice((HIGH, MEDIUM, LOW)), lambda: passed.append((clock.now, size)))

    sizes = [rng.randint(1, 5000) for _ in range(60)]
    moments = sorted(rng.uniform(0, 30) for _ in sizes)
    for moment, size in zip(moments, sizes, strict=True):
        clock.call_at(moment, ask, size)
    clock.run(late=rng.choice((0, 0.001, 0.08)))
    assert sorted(size for _, size in passed) == sorted(sizes)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            seconds = passed[last][0] - passed[first][0]
            moved = sum(size for _, size in passed[first : last + 1])
            assert moved <= rate * (seconds + 0.1) + max(sizes) + 1e-6


def test_what_always_waits_gets_the_whole_limit(clock: Clock) -> None:
    limit, ends = RateLimit(2000), list[float]()
    for _ in range(11):
        take(limit, 1000, MEDIUM, lambda: ends.append(clock.now))
    clock.run(late=0.1)
    assert ends[-1] == pytest.approx(5, abs=0.11)  # the first passes at once, and late timers are made up for


def test_of_what_waits_high_is_before_medium_and_medium_before_low(clock: Clock) -> None:
    limit, order = RateLimit(1024), list[str]()
    asked = [("first", LOW), ("l1", LOW), ("m1", MEDIUM), ("h1", HIGH), ("l2", LOW), ("m2", MEDIUM), ("h2", HIGH)]
    for name, priority in asked:
        take(limit, 1024, priority, lambda name=name: order.append(name))  # type: ignore[misc]
    assert order == ["first"]
    clock.run()
    assert order == ["first", "h1", "h2", "m1", "m2", "l1", "l2"]


def test_what_is_given_up_takes_no_time_of_the_others(clock: Clock) -> None:
    limit, passed = RateLimit(1024), list[float]()
    take(limit, 1024, MEDIUM, lambda: None)
    take(limit, 10**9, MEDIUM, lambda: passed.append(-1)).cancel()
    take(limit, 1024, MEDIUM, lambda: passed.append(clock.now))
    clock.run()
    assert passed == pytest.approx([1], abs=0.11)


def test_nothing_is_saved_up(clock: Clock) -> None:
    limit, passed = RateLimit(1024), list[float]()
    take(limit, 1024, MEDIUM, lambda: None)
    clock.now = 1000
    for _ in range(4):
        take(limit, 1024, MEDIUM, lambda: passed.append(clock.now))
    clock.run()
    assert passed == pytest.approx([1000, 1001, 1002, 1003], abs=0.11)


def test_it_works_in_the_next_event_loop_too() -> None:
    limit = RateLimit(1024)

    async def leave_one_waiting() -> list[str]:
        passed: list[str] = []
        for name in ("first", "second"):
            take(limit, 1_000_000, LOW, lambda name=name: passed.append(name))  # type: ignore[misc]
        return passed

    assert asyncio.run(leave_one_waiting()) == ["first"]
    assert asyncio.run(leave_one_waiting()) == ["first"]


async def test_it_is_refused_where_another_event_loop_uses_it() -> None:
    limit = RateLimit(1_000_000)
    with FakeArchive([]) as archive:
        options = ClientOptions(rate_limit=limit)
        sync.echo(archive.address, options=options)
        with pytest.raises(RuntimeError, match=r"RateLimit\(1000000\) is used in another event loop"):
            await dimse.echo(archive.address, options=options)
        with pytest.raises(RuntimeError, match="make one for each event loop"):
            await Server("ARCHIVE", port=0, options=ServerOptions(rate_limit=limit)).start()


@pytest.mark.parametrize(("wrong", "error"), [("10MB", TypeError), (1.5e6, TypeError), (1023, ValueError)])
def test_a_limit_that_is_none(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="bytes_per_second must be"):
        RateLimit(wrong)
