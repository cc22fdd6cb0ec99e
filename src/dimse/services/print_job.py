"""Print jobs: their states, and the attributes by which a printer tells of them (PS3.4 H.4.5)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from dimse.dataset.pydicom_names import Dataset


class PrintJobState(StrEnum):
    """Execution Status (2100,0020) of a print job."""

    PENDING = "PENDING"
    PRINTING = "PRINTING"
    DONE = "DONE"
    FAILURE = "FAILURE"
    UNKNOWN = "UNKNOWN"
    """Not of the standard: the printer has taken the film, and does not tell of its job."""

    @property
    def has_ended(self) -> bool:
        """Whether it does not change any more."""
        return not _NEXT[self]

    def can_become(self, state: PrintJobState) -> bool:
        """Whether a job in this state may enter another."""
        return state in _NEXT[self]

    @property
    def event_type(self) -> int:
        """The Event Type ID by which a printer tells that a job has entered it (PS3.4 H.4.5.2.1)."""
        return _EVENTS.index(self) + 1

    @classmethod
    def of_event(cls, event_type: int | None) -> PrintJobState | None:
        """The state of which an event tells; None if the standard has no such event."""
        return _EVENTS[event_type - 1] if event_type is not None and 1 <= event_type <= len(_EVENTS) else None


_EVENTS: Final = (PrintJobState.PENDING, PrintJobState.PRINTING, PrintJobState.DONE, PrintJobState.FAILURE)
_NEXT: Final[dict[PrintJobState, frozenset[PrintJobState]]] = {
    PrintJobState.PENDING: frozenset({PrintJobState.PRINTING, PrintJobState.FAILURE}),
    PrintJobState.PRINTING: frozenset({PrintJobState.DONE, PrintJobState.FAILURE}),
    PrintJobState.DONE: frozenset(),
    PrintJobState.FAILURE: frozenset(),
    PrintJobState.UNKNOWN: frozenset(),
}


class PrintJob:
    """A print job of a print server."""

    def __init__(self, uid: str, session: Dataset, originator: str) -> None:
        self.uid = uid
        self.state = PrintJobState.PENDING
        self._session = session
        self._originator = originator

    def enter(self, state: PrintJobState) -> None:
        """Enter another state. Raises `ValueError` if the present one has no way to it."""
        if not self.state.can_become(state):
            raise ValueError(f"a print job that is {self.state} cannot become {state}")
        self.state = state

    @property
    def attributes(self) -> Dataset:
        """What N-GET gives of it."""
        found = Dataset()
        found.ExecutionStatus = str(self.state)
        found.ExecutionStatusInfo = "UNKNOWN" if self.state is PrintJobState.FAILURE else "NORMAL"
        found.PrintPriority = self._session.get("PrintPriority") or "MED"
        found.Originator = self._originator
        return found
