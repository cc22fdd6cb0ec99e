"""Progress of a transfer, for callbacks."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Final, Self

from dimse.callbacks import Callback
from dimse.records import record

logger = logging.getLogger("dimse.storage")

_REPORT_INTERVAL: Final = 0.1
"""The least number of seconds between the end of one call and the next."""

_SHARE: Final = 10
"""The pause is also this many times as long as the last call, so that a slow callback does not slow the transfer."""


@record()
class TransferProgress:
    """Progress of a transfer.

    `bytes_transferred` never decreases, even when an object is sent again. `total_bytes` is None if it is known only at
    the end. `bytes_per_second` counts all bytes that were sent, and excludes the pauses between attempts.
    """

    bytes_transferred: int
    total_bytes: int | None
    bytes_per_second: float


ProgressCallback = Callable[[TransferProgress], object]


class ProgressReporter:
    """Calls a progress callback at the first byte, and then at most ten times per second.

    An exception in the callback does not affect the transfer. Raises `TypeError` for an `async def`.
    """

    def __init__(self, callback: ProgressCallback | None, total: int | None) -> None:
        self._callback = Callback("progress", callback, logger, stops=True)
        self._total = total
        self._clock = asyncio.get_running_loop().time
        self._due = -math.inf
        self._count = 0
        self._reported: int | None = None
        self._sent = 0
        """Bytes that were sent, including those that were sent again."""
        self._active = 0
        self._since = 0.0
        """When the number of active objects last rose from zero."""
        self._seconds = 0.0
        """Seconds with any active object before that."""

    def expect(self, before: int | None, now: int | None) -> None:
        """The length of an object has changed from `before` to `now`; None means unknown."""
        if self._total is not None:
            self._total = None if before is None or now is None else self._total - before + now

    def begin(self) -> None:
        """Another object is being sent."""
        if not self._active:
            self._since = self._clock()
        self._active += 1

    def end(self) -> None:
        """An object is no longer being sent."""
        self._active -= 1
        if not self._active:
            self._seconds += self._clock() - self._since

    def moved(self, sent: int, further: int) -> None:
        """`sent` more bytes were sent, of which `further` had not been sent before."""
        self._sent += sent
        self._count += further
        if self._callback.is_wanted and self._clock() >= self._due:
            self._report()

    def final(self) -> None:
        """Report the final position, if not reported yet."""
        if self._callback.is_wanted and self._reported != self._count:
            self._report()

    def _report(self) -> None:
        start, self._reported = self._clock(), self._count
        seconds = self._seconds + (start - self._since if self._active else 0)
        rate = self._sent / seconds if seconds > 0 else 0.0
        self._callback(TransferProgress(self._count, self._total, rate))
        end = self._clock()
        self._due = end + max(_REPORT_INTERVAL, _SHARE * (end - start))


class ObjectProgress:
    """The progress of one object. A `with` is one attempt; in it, call this with the number of bytes sent so far."""

    __slots__ = ("_furthest", "_length", "_reporter", "_sent")

    def __init__(self, reporter: ProgressReporter, length: int | None) -> None:
        self._sent: int | None = None
        """Bytes that this attempt has sent; None until it has sent anything."""
        self._furthest = 0
        self._length = length
        self._reporter = reporter

    @property
    def begun(self) -> bool:
        """Whether this attempt has sent anything."""
        return self._sent is not None

    @property
    def transferred(self) -> int:
        """Bytes that this attempt has sent."""
        return self._sent or 0

    def expect(self, length: int | None) -> None:
        """Set the length, which may have changed with the transfer syntax."""
        if length != self._length:
            self._reporter.expect(self._length, length)
            self._length = length

    def restart(self) -> None:
        """Begin the next attempt, in which nothing has been sent yet."""
        self._sent = None

    def __enter__(self) -> Self:
        self.restart()
        self._reporter.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._reporter.end()

    def __call__(self, count: int) -> None:
        sent, further = count - self.transferred, max(count - self._furthest, 0)
        self._sent = count
        self._furthest += further
        self._reporter.moved(sent, further)
