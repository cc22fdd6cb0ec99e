"""The counters of sub-operations in the responses of C-GET and C-MOVE."""

from __future__ import annotations

from typing import Final

from dimse.messages.message import C_GET_RSP, C_MOVE_RSP
from dimse.records import record

MAXIMUM_COUNT: Final = 0xFFFF
"""The counters are US: this one may stand for more (PS3.7 9.3.4.2)."""


@record()
class SubOperations:
    """The progress of a C-MOVE or C-GET (PS3.7 9.1.4.1.7). A counter that the peer did not send is None."""

    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None

    @classmethod
    def of(cls, message: C_GET_RSP | C_MOVE_RSP) -> SubOperations:
        """The counters of a response."""
        return cls(
            message.number_of_remaining_suboperations,
            message.number_of_completed_suboperations,
            message.number_of_failed_suboperations,
            message.number_of_warning_suboperations,
        )

    @property
    def total(self) -> int | None:
        """The number of sub-operations, if the counters show it."""
        counters = [count or 0 for count in (self.remaining, self.completed, self.failed, self.warning)]
        return None if self.remaining is None or max(counters) >= MAXIMUM_COUNT else sum(counters)

    def __str__(self) -> str:
        retrieved = (self.completed or 0) + (self.warning or 0)
        of_total = "" if self.total is None else f" of {self.total}"
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{retrieved}{of_total} instances retrieved{failed}"
