"""Progress of a transfer, for callbacks."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from dimse.services.callbacks import Callback

logger = logging.getLogger("dimse.storage")

_REPORT_INTERVAL: Final = 0.1
"""Seconds between the end of one call and the next, at least, and ..."""

_SHARE: Final = 10
"""... this many times as long as the last call took: a slow callback does not slow the transfer."""


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """How far a transfer is.

    `bytes_transferred` never goes back, even when an object is sent again. `total_bytes` is None if it is known only
    at the end. `bytes_per_second` counts all bytes that were sent, and leaves out the pauses between attempts.
    """

    bytes_transferred: int
    total_bytes: int | None
    bytes_per_second: float


ProgressCallback = Callable[[TransferProgress], object]


class ProgressReporter:
    """Calls a progress callback at the first byte and then at most ten times a second.

    The callback cannot harm the transfer. Raises `TypeError` for an `async def`.
    """

    def __init__(self, callback: ProgressCallback | None, total: int | None) -> None:
        self._callback = Callback("progress", callback, logger, stops=True)
        self._total = total
        self._clock = asyncio.get_running_loop().time
        self._due = -math.inf
        self._count = 0
        self._told: int | None = None
        self._sent = 0
        """Bytes that were sent, those that were sent again included."""
        self._under_way = 0
        self._since = self._seconds = 0.0
        """When the first of the objects under way was begun, and the seconds with any under way before that."""

    def expect(self, before: int | None, now: int | None) -> None:
        """The length of an object has changed from `before` to `now`; None is not known."""
        if self._total is not None:
            self._total = None if before is None or now is None else self._total - before + now

    def begin(self) -> None:
        """One more object is under way."""
        if not self._under_way:
            self._since = self._clock()
        self._under_way += 1

    def end(self) -> None:
        """One object less is under way."""
        self._under_way -= 1
        if not self._under_way:
            self._seconds += self._clock() - self._since

    def moved(self, sent: int, further: int) -> None:
        """`sent` more bytes were sent, of which `further` had not been sent before."""
        self._sent += sent
        self._count += further
        if self._callback.is_wanted and self._clock() >= self._due:
            self._tell()

    def final(self) -> None:
        """Report where the transfer has ended, unless that was reported."""
        if self._callback.is_wanted and self._told != self._count:
            self._tell()

    def _tell(self) -> None:
        start, self._told = self._clock(), self._count
        seconds = self._seconds + (start - self._since if self._under_way else 0)
        rate = self._sent / seconds if seconds > 0 else 0.0
        self._callback(TransferProgress(self._count, self._total, rate))
        end = self._clock()
        self._due = end + max(_REPORT_INTERVAL, _SHARE * (end - start))


class ObjectProgress:
    """One object on its way. A `with` is one attempt, in which it is called with the number of bytes sent so far."""

    __slots__ = ("_furthest", "_length", "_reporter", "begun", "transferred")

    def __init__(self, reporter: ProgressReporter, length: int | None) -> None:
        self.begun = False
        """Whether this attempt has sent any of it."""
        self.transferred = 0
        """Bytes that this attempt has sent."""
        self._furthest = 0
        self._length = length
        self._reporter = reporter

    def expect(self, length: int | None) -> None:
        """Its length is `length`, which may have changed with the transfer syntax."""
        if length != self._length:
            self._reporter.expect(self._length, length)
            self._length = length

    def restart(self) -> None:
        """Begin the next attempt: nothing of it is sent yet."""
        self.begun, self.transferred = False, 0

    def __enter__(self) -> Self:
        self.restart()
        self._reporter.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._reporter.end()

    def __call__(self, count: int) -> None:
        sent, further = count - self.transferred, max(count - self._furthest, 0)
        self.begun, self.transferred = True, count
        self._furthest += further
        self._reporter.moved(sent, further)
