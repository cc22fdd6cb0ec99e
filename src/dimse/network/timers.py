"""Timers on what a peer does."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

T = TypeVar("T")

MINIMUM_RATE: Final = 1024
"""Bytes a second that count as progress. Any line reaches that; a peer that sends a byte a second does not."""

_LOOKS: Final = 16
"""How often a timer looks before it runs out: it may run out a sixteenth too late at most."""

if sys.platform == "linux":
    import fcntl
    import struct
    import termios

    def unsent_bytes(sock: socket.socket) -> int:
        """How many bytes the kernel holds that the peer has not acknowledged: what is left of a slow line."""
        try:
            return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0])
        except (OSError, ValueError):  # the descriptor is closed
            return 0
else:

    def unsent_bytes(sock: socket.socket) -> int:  # noqa: ARG001 - the same signature everywhere
        """0: this platform does not say."""
        return 0


class Progress(NamedTuple):
    """How far a peer has come; both numbers only grow."""

    messages: int
    """Whole messages received. Each gives a timer its whole time again."""
    bytes: int
    """Bytes received, and of those sent the ones acknowledged. Each gives the time it takes at `MINIMUM_RATE`."""


Measure = Callable[[], Progress | None]


class _Timer:
    """Calls `on_stall` when what `measure()` gives has made no progress for `seconds`, or less than `MINIMUM_RATE`.

    It looks now and then instead of being set anew at each step, so that progress costs nothing; it runs out on time.
    Time in which the event loop did not get to look does not count, as it did not get to read either. `measure` gives
    None while it is not the peer's turn.
    """

    def __init__(self, seconds: float | None, measure: Measure, on_stall: Callable[[], None]) -> None:
        self._seconds = seconds
        self._measure = measure
        self._on_stall = on_stall
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._last: Progress | None = None
        self._deadline = self._next_look = 0.0

    def _start(self) -> None:
        if self._seconds is None:
            return
        self._deadline = self._loop.time() + self._seconds
        if self._handle is None:  # else what was measured last is recent enough
            self._last = self._measure()
            self._look_later(self._seconds)

    def _look_later(self, seconds: float) -> None:
        self._next_look = min(self._deadline, self._loop.time() + seconds / _LOOKS)
        self._handle = self._loop.call_at(self._next_look, self._look)

    def _look(self) -> None:
        assert self._seconds is not None  # noqa: S101 - else it does not look
        self._handle = None
        now = self._loop.time()
        last, self._last = self._last, self._measure()
        if last is None or self._last is None or self._last.messages != last.messages:
            self._deadline = now + self._seconds
        else:
            gained = max(0, self._last.bytes - last.bytes) / MINIMUM_RATE + now - self._next_look
            self._deadline = min(self._deadline + gained, now + self._seconds)
        if now >= self._deadline:
            self._on_stall()
        else:
            self._look_later(self._seconds)

    def cancel(self) -> None:
        """Stop looking; may be called more than once."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class ProgressTimer(_Timer):
    """Looks from when it is made until it is cancelled."""

    def __init__(self, seconds: float | None, measure: Measure, on_stall: Callable[[], None]) -> None:
        super().__init__(seconds, measure, on_stall)
        self._start()


class SharedTimer(_Timer, Generic[T]):
    """One timer for all that wait for the same progress; `on_stall` gets the one that has waited longest.

    When the last one has ended, it stops at its next look: most are followed by another at once.
    """

    def __init__(
        self, seconds: float | None, measure: Callable[[], Progress | None], on_stall: Callable[[T], None]
    ) -> None:
        super().__init__(seconds, measure, lambda: on_stall(next(iter(self._waiting))))
        self._waiting: dict[T, None] = {}

    def begin(self, waiter: T) -> None:
        """`waiter` waits."""
        if not self._waiting:
            self._start()
        self._waiting[waiter] = None

    def end(self, waiter: T) -> None:
        """`waiter` does not wait any more."""
        del self._waiting[waiter]

    def _look(self) -> None:
        if self._waiting:
            super()._look()
        else:
            self._handle = None
