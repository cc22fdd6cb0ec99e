"""A limit on bytes per second that associations share, by the priority of what they transfer (PS3.7 9.1.1.1)."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Final

from dimse.messages.message import Priority

MINIMUM: Final = 1024
"""Bytes per second. With fewer, the peer would take this side for one that has stalled."""

_LATE: Final = 0.1
"""Seconds that a timer may be late without a loss of speed. More time in which nothing passes is not saved up."""

_RANKS: Final = {Priority.HIGH: 0, Priority.MEDIUM: 1, Priority.LOW: 2}


class Turn:
    """A transfer that waits for its turn."""

    __slots__ = ("go", "size")

    def __init__(self, size: int, go: Callable[[], None]) -> None:
        self.size = size
        self.go: Callable[[], None] | None = go

    def cancel(self) -> None:
        """Give it up; it takes no time of the others."""
        self.go = None


class RateLimit:
    """A limit on the bytes per second of all associations whose options have it, in both directions together.

    What is sent waits before, what is received after: the socket is not read meanwhile, so that TCP slows the peer.
    Of the transfers that wait, those with priority HIGH go before those with MEDIUM, and these before LOW; a LOW
    one may wait as long as the others use up the limit. It belongs to one event loop: where another one that is not
    closed has used it, `connect` and `Server.start` raise `RuntimeError`.

    >>> from dimse import ClientOptions
    >>> options = ClientOptions(rate_limit=RateLimit(10_000_000))
    """

    def __init__(self, bytes_per_second: int) -> None:
        if not hasattr(bytes_per_second, "__index__"):
            raise TypeError(f"bytes_per_second must be an int, not {bytes_per_second!r}")
        self.bytes_per_second: Final = operator.index(bytes_per_second)
        if self.bytes_per_second < MINIMUM:
            raise ValueError(f"bytes_per_second must be at least {MINIMUM}, not {self.bytes_per_second}")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._free_at = 0.0
        """When the bytes so far have had their time."""
        self._waiting: list[tuple[int, int, Turn]] = []
        self._number = count()
        self._timer: asyncio.TimerHandle | None = None

    def _bind(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return
        if self._loop is not None and not self._loop.is_closed():
            raise RuntimeError(f"{self} is used in another event loop already; make one for each event loop")
        self._loop, self._free_at, self._timer = loop, 0.0, None
        self._waiting.clear()  # they waited in the closed one

    def _take(self, size: int, priority: Priority, go: Callable[[], None]) -> Turn:
        self._bind()
        turn = Turn(size, go)
        heappush(self._waiting, (_RANKS[priority], next(self._number), turn))
        if self._timer is None:
            self._serve()
        return turn

    def _serve(self) -> None:
        """Call those whose turn it is, and come back for the next."""
        assert self._loop is not None  # noqa: S101 - `_take` has set it
        self._timer = None
        while self._waiting and self._timer is None:
            if self._free_at > self._loop.time():
                self._timer = self._loop.call_at(self._free_at, self._serve)
                return
            *_, turn = heappop(self._waiting)
            if turn.go is not None:
                self._free_at = max(self._free_at, self._loop.time() - _LATE) + turn.size / self.bytes_per_second
                turn.go()

    def __repr__(self) -> str:
        return f"RateLimit({self.bytes_per_second})"


def bind(limit: RateLimit | None) -> None:
    """Let a limit, if there is one, belong to this event loop. Raises `RuntimeError` if it belongs to another one."""
    if limit is not None:
        limit._bind()


def take(limit: RateLimit, size: int, priority: Priority, go: Callable[[], None]) -> Turn:
    """Call `go` when `size` bytes may pass: now, or when those before them have had their time.

    Associations use it, and users do not.
    """
    return limit._take(size, priority, go)
