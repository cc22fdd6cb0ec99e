"""Connections without an association: the limits on their number."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Protocol

logger = logging.getLogger("dimse.network")


class Arrival(Protocol):
    """A connection before its association is established, or after it has ended."""

    peer_host: str

    def kill(self) -> None:
        """Close it now."""


class Arrivals:
    """Keeps at most `maximum` connections without an association, and `maximum_per_host` from one host.

    When a limit is exceeded, the oldest connection of the host with the most is closed. So a peer that opens
    connections without associations shuts out only itself.
    """

    def __init__(self, maximum: int, maximum_per_host: int | None) -> None:
        self._maximum = maximum
        self._maximum_per_host = maximum if maximum_per_host is None else maximum_per_host
        self._open: dict[Arrival, None] = {}

    def add(self, arrival: Arrival) -> None:
        """Count `arrival`, which is open and has no association."""
        self._open[arrival] = None
        host, count = Counter(each.peer_host for each in self._open).most_common(1)[0]
        if len(self._open) > self._maximum or count > self._maximum_per_host:
            oldest = next(each for each in self._open if each.peer_host == host)
            del self._open[oldest]
            logger.info("%s: closed the oldest of its %d connections without an association", host, count)
            oldest.kill()

    def discard(self, arrival: Arrival) -> None:
        """Stop counting `arrival`, which has an association or is closed."""
        self._open.pop(arrival, None)
