"""How far a transfer is, as a callback is told."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

logger = logging.getLogger("dimse.storage")

_REPORT_INTERVAL: Final = 0.1


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """How far a transfer is. `total_bytes` is None where that shows only at the end."""

    bytes_transferred: int
    total_bytes: int | None
    bytes_per_second: float


ProgressCallback = Callable[[TransferProgress], object]


class ProgressReporter:
    """Calls a progress callback at the first byte and then at most ten times a second.

    It never lets it harm the transfer.
    """

    def __init__(self, callback: ProgressCallback | None, total: int | None) -> None:
        self._callback = callback
        self._total = total
        self._clock = asyncio.get_running_loop().time
        self._start = self._clock()
        self._last = -math.inf
        self._count = 0
        self._told: int | None = None

    def __call__(self, count: int) -> None:
        self._count = count
        if self._callback is not None and self._clock() - self._last >= _REPORT_INTERVAL:
            self._tell(count, self._callback)

    def final(self) -> None:
        """Call it with where the transfer has ended, unless it knows."""
        if self._callback is not None and self._told != self._count:
            self._tell(self._count, self._callback)

    def _tell(self, count: int, callback: ProgressCallback) -> None:
        self._last, self._told = self._clock(), count
        elapsed = self._last - self._start
        try:
            callback(TransferProgress(count, self._total, count / elapsed if elapsed > 0 else 0.0))
        except Exception:
            logger.exception("the progress callback failed; it is not called again")
            self._callback = None
