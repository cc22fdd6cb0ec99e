"""Timers on what a peer does."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_CHECKS_PER_TIMEOUT: Final = 4

if sys.platform == "linux":
    import fcntl
    import struct
    import termios

    def unsent_bytes(sock: socket.socket) -> int:
        """How many bytes the kernel holds that the peer has not acknowledged: what is left of a slow line."""
        try:
            return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0])
        except (OSError, ValueError):  # no such descriptor any more
            return 0
else:

    def unsent_bytes(sock: socket.socket) -> int:  # noqa: ARG001 - the same signature everywhere
        """Not known on this platform, so it never counts as progress."""
        return 0


class _Timer:
    """Calls `on_stall` when `measure()` has given the same value for `seconds`.

    It looks a few times in that span instead of being reset at each step, so that progress costs nothing.
    """

    def __init__(self, seconds: float | None, measure: Callable[[], object], on_stall: Callable[[], None]) -> None:
        self._measure = measure
        self._on_stall = on_stall
        self._loop = asyncio.get_running_loop()
        self._interval = None if seconds is None else seconds / _CHECKS_PER_TIMEOUT
        self._handle: asyncio.TimerHandle | None = None
        self._last: object = self
        self._still = 0

    def _start(self) -> None:
        # Nothing is measured before the first look: most of what is timed is over by then.
        self._last, self._still = self, 0
        self._look_later()

    def _look_later(self) -> None:
        if self._handle is None and self._interval is not None:
            self._handle = self._loop.call_later(self._interval, self._look)

    def _look(self) -> None:
        self._handle = None
        now = self._measure()
        self._still = self._still + 1 if now == self._last else 0
        self._last = now
        if self._still >= _CHECKS_PER_TIMEOUT:
            self._on_stall()
        else:
            self._look_later()

    def cancel(self) -> None:
        """Stop looking; may be called more than once."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class ProgressTimer(_Timer):
    """Looks from when it is made until it is cancelled."""

    def __init__(self, seconds: float | None, measure: Callable[[], object], on_stall: Callable[[], None]) -> None:
        super().__init__(seconds, measure, on_stall)
        self._start()


class SharedTimer(_Timer, Generic[T]):
    """Looks while there are any who wait, for the same; `on_stall` is told who has waited longest.

    It is not stopped when the last has gone, but with its next look: most are followed by another at once.
    """

    def __init__(self, seconds: float | None, measure: Callable[[], object], on_stall: Callable[[T], None]) -> None:
        super().__init__(seconds, measure, lambda: on_stall(next(iter(self._waiting))))
        self._waiting: dict[T, None] = {}

    def begin(self, who: T) -> None:
        """`who` waits."""
        if not self._waiting:
            self._start()
        self._waiting[who] = None

    def end(self, who: T) -> None:
        """`who` does not wait any more."""
        del self._waiting[who]

    def _look(self) -> None:
        if self._waiting:
            super()._look()
        else:
            self._handle = None
