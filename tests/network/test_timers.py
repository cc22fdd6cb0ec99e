"""Timers look now and then instead of being set anew: what that means for who begins late."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dimse.network.timers import ProgressTimer, SharedTimer

SECONDS = 4.0


class Handle:
    def __init__(self, due: float, function: Callable[[], None]) -> None:
        self.due, self.function, self.cancelled = due, function, False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """An event loop whose time goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.handles: list[Handle] = []

    def call_later(self, delay: float, function: Callable[[], None]) -> Handle:
        self.handles.append(Handle(self.now + delay, function))
        return self.handles[-1]

    def until(self, when: float) -> None:
        while due := [each for each in self.handles if each.due <= when and not each.cancelled]:
            first = min(due, key=lambda each: each.due)
            self.handles.remove(first)
            self.now = first.due
            first.function()
        self.now = when


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop()
    monkeypatch.setattr("asyncio.get_running_loop", lambda: loop)
    return loop


def shared(loop: Loop, moved: list[int]) -> tuple[SharedTimer[str], list[tuple[str, float]]]:
    stalled: list[tuple[str, float]] = []
    return SharedTimer(SECONDS, lambda: len(moved), lambda who: stalled.append((who, loop.now))), stalled


def test_who_moves_lives_and_who_does_not_is_told(loop: Loop) -> None:
    moved: list[int] = []
    told: list[float] = []
    ProgressTimer(SECONDS, lambda: len(moved), lambda: told.append(loop.now))
    for now in range(3, 30, 3):
        loop.until(now)
        moved.append(now)
    assert told == []
    loop.until(60)
    assert len(told) == 1
    assert 27 + SECONDS <= told[0] <= 27 + SECONDS * 1.5


def test_who_begins_when_the_last_has_just_ended_has_the_whole_time(loop: Loop) -> None:
    timer, stalled = shared(loop, [])
    timer.begin("first")
    loop.until(3.9)
    timer.end("first")
    timer.begin("second")
    loop.until(3.9 + SECONDS - 0.01)
    assert stalled == []
    loop.until(20)
    [(who, when)] = stalled
    assert who == "second"
    assert when <= 3.9 + SECONDS * 1.5


def test_it_is_who_has_waited_longest_that_is_told(loop: Loop) -> None:
    timer, stalled = shared(loop, [])
    timer.begin("first")
    timer.begin("second")
    timer.end("first")
    timer.begin("first")
    loop.until(20)
    assert [who for who, _ in stalled] == ["second"]


def test_nobody_waits_and_nobody_is_told(loop: Loop) -> None:
    timer, stalled = shared(loop, [])
    timer.begin("one")
    timer.end("one")
    loop.until(20)
    assert stalled == []
    assert loop.handles == []
    timer.begin("two")
    timer.cancel()
    loop.until(60)
    assert stalled == []
