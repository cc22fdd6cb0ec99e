"""The states of a storage commitment at its requestor, from the N-ACTION to the report, as a table (PS3.4 J.3).

1. A report may come before the response to the N-ACTION: it counts if the response, when it comes, does not refuse.
2. The first report counts. What comes after the end changes nothing, as the caller was told already.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Final


class RequestState(Enum):
    """The states of a request at its requestor."""

    SENT = auto()
    """The N-ACTION has no response yet."""
    REPORTED_EARLY = auto()
    """The report was there before the response."""
    ACCEPTED = auto()
    """The provider will report."""
    REPORTED = auto()
    """The report counts."""
    REFUSED = auto()
    """The N-ACTION was answered with a failure."""
    LOST = auto()
    """The association ended, and the report cannot come any more."""
    EXPIRED = auto()
    """No report came in time."""

    @property
    def is_final(self) -> bool:
        """Whether the caller is told."""
        return self in _FINAL


class RequestEvent(Enum):
    """What happens to a request at its requestor."""

    RESPONSE = auto()
    """Success, or a warning."""
    REFUSAL = auto()
    """A failure status."""
    REPORT = auto()
    """An N-EVENT-REPORT with its Transaction UID."""
    LOSS = auto()
    """Before the response, the association ended; after it, there is no other way for the report either."""
    EXPIRY = auto()
    """The time limit is over."""


_FINAL: Final = frozenset({RequestState.REPORTED, RequestState.REFUSED, RequestState.LOST, RequestState.EXPIRED})

_REQUESTS: Final[dict[RequestState, dict[RequestEvent, RequestState]]] = {
    RequestState.SENT: {
        RequestEvent.RESPONSE: RequestState.ACCEPTED,
        RequestEvent.REFUSAL: RequestState.REFUSED,
        RequestEvent.REPORT: RequestState.REPORTED_EARLY,
        RequestEvent.LOSS: RequestState.LOST,
        RequestEvent.EXPIRY: RequestState.EXPIRED,
    },
    RequestState.REPORTED_EARLY: {
        RequestEvent.RESPONSE: RequestState.REPORTED,
        RequestEvent.REFUSAL: RequestState.REFUSED,
        RequestEvent.REPORT: RequestState.REPORTED_EARLY,
        RequestEvent.LOSS: RequestState.REPORTED,
        RequestEvent.EXPIRY: RequestState.REPORTED,
    },
    RequestState.ACCEPTED: {
        RequestEvent.RESPONSE: RequestState.ACCEPTED,
        RequestEvent.REFUSAL: RequestState.ACCEPTED,
        RequestEvent.REPORT: RequestState.REPORTED,
        RequestEvent.LOSS: RequestState.LOST,
        RequestEvent.EXPIRY: RequestState.EXPIRED,
    },
    **{state: dict.fromkeys(RequestEvent, state) for state in _FINAL},
}

REQUESTS: Final[Mapping[tuple[RequestState, RequestEvent], RequestState]] = MappingProxyType(
    {(state, event): then for state, row in _REQUESTS.items() for event, then in row.items()}
)
"""The next state of a request at its requestor, for each state and event."""
