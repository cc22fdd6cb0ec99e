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

_LOGGERS: Final = (
    *("dimse.network", "dimse.node", "dimse.print", "dimse.procedure_step", "dimse.query_retrieve"),
    *("dimse.storage", "dimse.ups", "dimse.upper_layer", "dimse.worklist"),
)


@dataclass(slots=True)
class _Count:
    """The lines of one kind since the beginning of an interval."""

    begun: float
    lines: int = 0


class LineLimit:
    """Counts lines by their kinds, and leaves out those of a kind beyond `MAXIMUM_ALIKE` in an interval."""

    def __init__(self) -> None:
        self._counts: dict[object, _Count] = {}

    def note(self, kind: object) -> str | None:
        """What to add to a line of this kind, usually nothing. None means to leave the line out.

        The last line of an interval says that more are left out, the next one how many were.
        """
        now, note = monotonic(), ""
        count = self._counts.get(kind)
        if count is None or now - count.begun >= INTERVAL:
            if len(self._counts) >= _MAXIMUM_KINDS:
                self._counts.clear()
            left_out = 0 if count is None else count.lines - MAXIMUM_ALIKE
            count = self._counts[kind] = _Count(now)
            if left_out > 0:
                note = f" ({left_out} lines like this were left out)"
        count.lines += 1
        if count.lines == MAXIMUM_ALIKE:
            note += f" (more lines like this are left out for up to {INTERVAL:.0f} s)"
        return note if count.lines <= MAXIMUM_ALIKE else None


class LogLimit(logging.Filter):
    """Passes `MAXIMUM_ALIKE` warnings and errors of a kind in an interval. Lines of other levels are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._limit = LineLimit()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log it."""
        if record.levelno < logging.WARNING:
            return True
        note = self._limit.note((record.levelno, record.msg))
        if note:
            record.msg = f"{record.msg}{note}"
        return note is not None


def limit_log() -> None:
    """Limit the library's loggers. May be called again."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, LogLimit) for each in logger.filters):
            logger.addFilter(LogLimit())
