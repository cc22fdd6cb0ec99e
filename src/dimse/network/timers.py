"""Timers on what a peer does."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Final

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


class ProgressTimer:
    """Calls `on_stall` when `measure()` has given the same value for `seconds`.

    It looks a few times in that span instead of being reset at each step, so that progress costs nothing.
    """

    def __init__(self, seconds: float | None, measure: Callable[[], object], on_stall: Callable[[], None]) -> None:
        self._measure = measure
        self._on_stall = on_stall
        self._handle: asyncio.TimerHandle | None = None
        if seconds is not None:
            self._loop = asyncio.get_running_loop()
            self._interval = seconds / _CHECKS_PER_TIMEOUT
            # Nothing is measured before the first look: most of what is timed is over by then.
            self._last: object = self
            self._still = 0
            self._handle = self._loop.call_later(self._interval, self._check)

    def _check(self) -> None:
        now = self._measure()
        self._still = self._still + 1 if now == self._last else 0
        self._last = now
        if self._still >= _CHECKS_PER_TIMEOUT:
            self._handle = None
            self._on_stall()
        else:
            self._handle = self._loop.call_later(self._interval, self._check)

    def cancel(self) -> None:
        """Stop looking; may be called more than once."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
