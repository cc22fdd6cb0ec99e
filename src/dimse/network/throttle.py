"""What makes an association wait for its limits on bytes per second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final
from weakref import WeakValueDictionary

from dimse.messages.message import Priority
from dimse.network.arrivals import holder
from dimse.options import ServerOptions
from dimse.rate_limit import RateLimit, Turn, take

_PARTS: Final = 20
"""Parts of a second: an association transfers so much at a time that none waits much longer for its turn."""

_SMALLEST_PART: Final = 1024
_LARGEST_PART: Final = 1024 * 1024


class Throttle:
    """The limits of one association, which each transfer passes one after the other: first its own, last the shared."""

    def __init__(self, limits: Sequence[RateLimit], priority: Priority) -> None:
        self.priority = priority
        """That of the last request."""
        rate = min(limit.bytes_per_second for limit in limits)
        self.part = min(max(rate // _PARTS, _SMALLEST_PART), _LARGEST_PART)
        """Bytes to transfer at once, at most."""
        self._limits = limits
        self._turns: dict[object, Turn] = {}
        """The turns of the transfers that wait."""
        self._sending: asyncio.Future[None] | None = None
        self._waited = self._since = 0.0
        self._clock = asyncio.get_running_loop().time

    @property
    def seconds_waited(self) -> float:
        """The time in which something waited, which no timer on the progress of the peer may count."""
        return self._waited + (self._clock() - self._since if self._turns else 0)

    def take(self, size: int, go: Callable[[], None]) -> None:
        """Call `go` when `size` bytes may pass."""
        self._pass(object(), size, go, 0)

    def _pass(self, transfer: object, size: int, go: Callable[[], None], done: int) -> None:
        """Pass the limits after the first `done`."""
        if done == len(self._limits):
            self._forget(transfer)
            go()
            return
        if not self._turns:
            self._since = self._clock()
        passed: list[None] = []

        def next_limit() -> None:
            passed.append(None)
            self._pass(transfer, size, go, done + 1)

        turn = take(self._limits[done], size, self.priority, next_limit)
        if not passed:
            self._turns[transfer] = turn

    def _forget(self, transfer: object) -> None:
        if self._turns.pop(transfer, None) is not None and not self._turns:
            self._waited += self._clock() - self._since

    async def wait(self, size: int) -> None:
        """Wait until `size` bytes may be sent, or until the association ends."""
        sending = self._sending = asyncio.get_running_loop().create_future()
        self.take(size, lambda: None if sending.done() else sending.set_result(None))
        await sending

    def end(self) -> None:
        """The association has ended: nothing waits any more."""
        for turn in self._turns.values():
            turn.cancel()
        if self._turns:
            self._waited += self._clock() - self._since
            self._turns.clear()
        if self._sending is not None and not self._sending.done():
            self._sending.set_result(None)


class ServerLimits:
    """The limits of a server: those of each association, of each peer's host, and of all."""

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._hosts: WeakValueDictionary[str, RateLimit] = WeakValueDictionary()
        """They last as long as the associations that use them."""

    def of(self, host: str) -> list[RateLimit]:
        """Those of a new association with `host`."""
        options, limits = self._options, list[RateLimit]()
        if options.maximum_rate_per_association is not None:
            limits.append(RateLimit(options.maximum_rate_per_association))
        if options.maximum_rate_per_host is not None:
            shared = self._hosts.get(holder(host)) or RateLimit(options.maximum_rate_per_host)
            limits.append(self._hosts.setdefault(holder(host), shared))
        return limits if options.rate_limit is None else [*limits, options.rate_limit]
