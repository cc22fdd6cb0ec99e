"""Connections without an association: the limits on their number and their rate."""

from __future__ import annotations

import logging
from ipaddress import IPv6Network
from typing import Final, Protocol

logger = logging.getLogger("dimse.network")


MAXIMUM_HOSTS: Final = 4096
"""Hosts whose new connections are counted at one time, each for a second."""

_ROUNDING: Final = 1e-6
"""Seconds that sums of intervals may differ from what they stand for."""

_NETWORK_BITS: Final = 64
"""The bits of an IPv6 address that identify its network (RFC 4291 2.5.1): a host can take any address in it."""


def holder(host: str) -> str:
    """What limits on connections count as one host: the IPv4 address, or the network of an IPv6 address."""
    if ":" not in host:
        return host
    return str(IPv6Network((host.partition("%")[0], _NETWORK_BITS), strict=False))


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
        self.limit(maximum, maximum_per_host)
        self._open: dict[str, dict[Arrival, int]] = {}
        """The connections of each host with their numbers, which increase; the oldest is the first."""
        self._count = self._number = 0

    def limit(self, maximum: int, maximum_per_host: int | None) -> None:
        """Use other limits for connections to come."""
        self._maximum = maximum
        self._maximum_per_host = maximum if maximum_per_host is None else maximum_per_host

    def add(self, arrival: Arrival) -> None:
        """Count `arrival`, which is open and has no association; once, if it is counted already."""
        host = holder(arrival.peer_host)
        arrivals = self._open.setdefault(host, {})
        if arrival in arrivals:
            return
        self._number += 1
        self._count += 1
        arrivals[arrival] = self._number
        if len(arrivals) > self._maximum_per_host:
            self._close_oldest(host)
        elif self._count > self._maximum:
            self._close_oldest(max(self._open, key=self._rank))

    def _rank(self, host: str) -> tuple[int, int]:
        arrivals = self._open[host]
        return len(arrivals), -next(iter(arrivals.values()))

    def _close_oldest(self, host: str) -> None:
        arrivals = self._open[host]
        oldest = next(iter(arrivals))
        logger.info("%s: closed the oldest of its %d connections without an association", host, len(arrivals))
        self.discard(oldest)
        oldest.kill()

    def discard(self, arrival: Arrival) -> None:
        """Stop counting `arrival`, which has an association or is closed."""
        host = holder(arrival.peer_host)
        arrivals = self._open.get(host, {})
        if arrivals.pop(arrival, None) is not None:
            self._count -= 1
            if not arrivals:
                del self._open[host]

    def close(self) -> None:
        """Close all of them."""
        for arrival in [each for arrivals in self._open.values() for each in arrivals]:
            arrival.kill()


class ArrivalRate:
    """Allows each host `per_second` new connections a second, and as many at once after a pause; None allows all."""

    def __init__(self, per_second: int | None) -> None:
        self._interval = 0 if per_second is None else 1 / per_second
        self._next: dict[str, float] = {}
        """When the connections so far of a host would be over, one in each interval. At most a second from now."""
        self._told: set[str] = set()
        """The hosts that were refused one."""

    def allows(self, host: str, now: float) -> bool:
        """Count a new connection, unless it is one too many."""
        host = holder(host)
        self._forget(now)
        following = max(now, self._next.get(host, now)) + self._interval
        if following > now + 1 + _ROUNDING:
            if host not in self._told:
                self._told.add(host)
                logger.warning("%s: more than %.0f new connections a second; closed at once", host, 1 / self._interval)
            return False
        self._next.pop(host, None)
        self._next[host] = following
        return True

    def _forget(self, now: float) -> None:
        """Drop the hosts that may have all again, from the one that was allowed a connection the longest time ago."""
        while self._next:
            host = next(iter(self._next))
            if self._next[host] > now and len(self._next) < MAXIMUM_HOSTS:
                break
            del self._next[host]
            self._told.discard(host)
