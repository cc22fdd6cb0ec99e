"""A limit on the warnings that peers cause, so that they cannot fill a disk with log lines."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from time import monotonic
from typing import Final

MAXIMUM_ALIKE: Final = 1000
"""Log lines of one kind, from the same place in the code, in an interval; the rest is counted."""

INTERVAL: Final = 60.0
"""Seconds of an interval."""

_MAXIMUM_KINDS: Final = 1000
"""Kinds that are counted at one time."""

_LOGGERS: Final = ("dimse.network", "dimse.query_retrieve", "dimse.storage", "dimse.upper_layer")


@dataclass(slots=True)
class _Count:
    """The lines of one kind since the beginning of an interval."""

    begun: float
    lines: int = 0


class LogLimit(logging.Filter):
    """Passes `MAXIMUM_ALIKE` warnings and errors of a kind in an interval. Lines of other levels are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[tuple[int, object], _Count] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log it. The last line of an interval says that more are left out, the next one how many were."""
        if record.levelno < logging.WARNING:
            return True
        kind, now = (record.levelno, record.msg), monotonic()
        count = self._counts.get(kind)
        if count is None or now - count.begun >= INTERVAL:
            if len(self._counts) >= _MAXIMUM_KINDS:
                self._counts.clear()
            left_out = 0 if count is None else count.lines - MAXIMUM_ALIKE
            count = self._counts[kind] = _Count(now)
            if left_out > 0:
                record.msg = f"{record.msg} ({left_out} lines like this were left out)"
        count.lines += 1
        if count.lines == MAXIMUM_ALIKE:
            record.msg = f"{record.msg} (more lines like this are left out for up to {INTERVAL:.0f} s)"
        return count.lines <= MAXIMUM_ALIKE


def limit_log() -> None:
    """Limit the library's loggers. May be called again."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, LogLimit) for each in logger.filters):
            logger.addFilter(LogLimit())
