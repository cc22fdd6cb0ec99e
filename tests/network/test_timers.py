"""Timers check now and then instead of being reset: the effect on waiters that begin late."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dimse.network.timers import MINIMUM_RATE, Progress, ProgressTimer, SharedTimer

SECONDS = 4.0


class Handle:
    def __init__(self, due: float, function: Callable[[], None]) -> None:
        self.due, self.function, self.cancelled = due, function, False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """An event loop whose time advances only on request."""

    def __init__(self) -> None:
        self.now = 0.0
        self.handles: list[Handle] = []

    def time(self) -> float:
        return self.now

    def call_at(self, due: float, function: Callable[[], None]) -> Handle:
        self.handles.append(Handle(due, function))
        return self.handles[-1]

    def until(self, when: float) -> None:
        while due := [each for each in self.handles if each.due <= when and not each.cancelled]:
            first = min(due, key=lambda each: each.due)
            self.handles.remove(first)
            self.now = max(self.now, first.due)
            first.function()
        self.now = when


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop()
    monkeypatch.setattr("asyncio.get_running_loop", lambda: loop)
    return loop


class Peer:
    """What a peer has done so far, and when a timer gave it up."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.messages = self.bytes = 0
        self.is_its_turn = True
        self.given_up: list[float] = []

    def measure(self) -> Progress | None:
        return Progress(self.messages, self.bytes) if self.is_its_turn else None

    def give_up(self) -> None:
        self.given_up.append(self.loop.now)

    def drip(self, rate: float, until: float) -> None:
        """Send `rate` bytes a second, in pieces of a fifth of a second."""
        sent = float(self.bytes)
        while self.loop.now < until and not self.given_up:
            self.loop.until(self.loop.now + 0.2)
            sent += rate / 5
            self.bytes = int(sent)


@pytest.fixture
def peer(loop: Loop) -> Peer:
    peer = Peer(loop)
    ProgressTimer(SECONDS, peer.measure, peer.give_up)
    return peer


def on_time(begun: float) -> object:
    """Between 1.0 and 1.1 of the timer's value."""
    return pytest.approx(begun + SECONDS * 1.05, abs=SECONDS * 0.05)


def test_a_silent_peer_is_given_up_on_time(loop: Loop, peer: Peer) -> None:
    loop.until(100)
    assert peer.given_up == [SECONDS]


@pytest.mark.parametrize("rate", [1, 50])
def test_a_peer_that_drips_is_given_up_on_time(peer: Peer, rate: int) -> None:
    peer.drip(rate, 100)
    assert peer.given_up == [on_time(0)]


@pytest.mark.parametrize("rate", [1.1 * MINIMUM_RATE, 20_000, 1e9])
def test_a_slow_line_lives_and_is_given_up_when_it_stops(loop: Loop, peer: Peer, rate: float) -> None:
    peer.drip(rate, 100)
    assert peer.given_up == []
    stopped = loop.now
    loop.until(200)
    assert peer.given_up == [on_time(stopped)]


def test_a_line_below_the_minimum_rate_is_given_up(peer: Peer) -> None:
    peer.drip(MINIMUM_RATE * 0.8, 100)
    assert peer.given_up
    assert SECONDS < peer.given_up[0] < 8 * SECONDS


def test_a_burst_is_not_saved_up(loop: Loop, peer: Peer) -> None:
    loop.until(1)
    peer.bytes = 100_000_000
    loop.until(100)
    assert peer.given_up == [on_time(1)]


def test_a_message_gives_the_whole_time_again(loop: Loop, peer: Peer) -> None:
    for now in range(3, 30, 3):
        loop.until(now)
        peer.messages += 1
        peer.bytes += 100
    assert peer.given_up == []
    loop.until(60)
    assert peer.given_up == [on_time(27)]


def test_what_is_not_the_peers_turn_does_not_count(loop: Loop, peer: Peer) -> None:
    peer.is_its_turn = False
    loop.until(50)
    peer.is_its_turn = True
    loop.until(100)
    assert peer.given_up == [on_time(50)]


def test_bytes_that_are_lost_from_the_count_do_no_harm(loop: Loop, peer: Peer) -> None:
    """TLS adds to what the kernel has to send."""
    peer.bytes = 1000
    loop.until(1)
    peer.bytes = 500
    loop.until(100)
    assert peer.given_up == [on_time(0)]


def test_an_event_loop_that_was_busy_reads_before_it_gives_up(loop: Loop, peer: Peer) -> None:
    loop.until(1)
    loop.now = 50  # all that time it did nothing else
    loop.until(50)
    assert peer.given_up == []
    peer.bytes += 100_000
    loop.until(52)
    assert peer.given_up == []


def test_none_is_for_ever(loop: Loop) -> None:
    ProgressTimer(None, lambda: None, lambda: None)
    assert loop.handles == []


def shared(loop: Loop, moved: list[int]) -> tuple[SharedTimer[str], list[tuple[str, float]]]:
    stalled: list[tuple[str, float]] = []
    return SharedTimer(
        SECONDS, lambda: Progress(0, len(moved)), lambda waiter: stalled.append((waiter, loop.now))
    ), stalled


def test_who_begins_when_the_last_has_just_ended_has_the_whole_time(loop: Loop) -> None:
    timer, stalled = shared(loop, [])
    timer.begin("first")
    loop.until(3.9)
    timer.end("first")
    timer.begin("second")
    loop.until(3.9 + SECONDS - 0.01)
    assert stalled == []
    loop.until(20)
    [(waiter, when)] = stalled
    assert waiter == "second"
    assert when == on_time(3.9)


def test_it_is_who_has_waited_longest_that_is_told(loop: Loop) -> None:
    timer, stalled = shared(loop, [])
    timer.begin("first")
    timer.begin("second")
    timer.end("first")
    timer.begin("first")
    loop.until(20)
    assert [waiter for waiter, _ in stalled] == ["second"]


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
