"""Timers that watch a peer's progress."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

T = TypeVar("T")

MINIMUM_RATE: Final = 1024
"""Bytes per second that count as progress. Any line reaches that; a peer that sends one byte per second does not."""

_LOOKS: Final = 16
"""How often a timer checks before it expires: at most a sixteenth too late."""

if sys.platform == "linux":
    import fcntl
    import struct
    import termios

    def unsent_bytes(sock: socket.socket) -> int:
        """Sent bytes in the kernel that the peer has not acknowledged."""
        try:
            return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0])
        except (OSError, ValueError):  # the descriptor is closed
            return 0
else:

    def unsent_bytes(sock: socket.socket) -> int:  # noqa: ARG001 - the same signature everywhere
        """Always 0: this platform does not provide it."""
        return 0


class Progress(NamedTuple):
    """A peer's progress so far; neither number decreases."""

    messages: int
    """Whole messages received. Each restarts a timer."""
    bytes: int
    """Bytes received, and bytes sent and acknowledged. Each extends a timer by the time it takes at `MINIMUM_RATE`."""


Measure = Callable[[], Progress | None]


class _Timer:
    """Calls `on_stall` if `measure()` shows no progress for `seconds`, or less than `MINIMUM_RATE`.

    It checks now and then instead of being reset at each step, so that progress costs nothing. Time in which a busy
    event loop could not check does not count, as it could not read either. `measure` returns None while it is not the
    peer's turn.
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
        if self._handle is None:  # else the last measurement is recent enough
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
        """Stop checking; may be called more than once."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class ProgressTimer(_Timer):
    """Runs from its creation until it is cancelled."""

    def __init__(self, seconds: float | None, measure: Measure, on_stall: Callable[[], None]) -> None:
        super().__init__(seconds, measure, on_stall)
        self._start()


class SharedTimer(_Timer, Generic[T]):
    """One timer for all waiters for the same progress; `on_stall` gets the one that has waited longest.

    It stops at the first check without waiters, as most waiters are followed by another at once.
    """

    def __init__(
        self, seconds: float | None, measure: Callable[[], Progress | None], on_stall: Callable[[T], None]
    ) -> None:
        super().__init__(seconds, measure, lambda: on_stall(next(iter(self._waiting))))
        self._waiting: dict[T, None] = {}

    def begin(self, waiter: T) -> None:
        """Add a waiter."""
        if not self._waiting:
            self._start()
        self._waiting[waiter] = None

    def end(self, waiter: T) -> None:
        """Remove a waiter."""
        del self._waiting[waiter]

    def _look(self) -> None:
        if self._waiting:
            super()._look()
        else:
            self._handle = None
