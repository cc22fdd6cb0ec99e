"""The asynchronous operations window (PS3.7 D.3.3.3): how many requests may await their response at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Window:
    """The places of the window, and the one task that waits for the next free place."""

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self._taken = 0
        self._ready: tuple[asyncio.Future[None], Callable[[], None]] | None = None

    async def enter(self, start: Callable[[], None]) -> None:
        """Wait for a place and call `start` as soon as it is free, before this task has its turn again.

        The place is taken until `leave` is called, whatever happens. Raises what `start` raises.
        """
        if self._taken < self.size:
            self._taken += 1
            start()
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ready = future, start
        try:
            await future
        except asyncio.CancelledError:
            self._ready = None
            if future.done() and not future.cancelled():
                future.exception()  # retrieved, so that asyncio does not log it
            raise

    def leave(self) -> None:
        """Give a place back: to the task that waits, if one does."""
        self._taken -= 1
        if self._ready is None or self._taken >= self.size:
            return
        (future, start), self._ready = self._ready, None
        if future.cancelled():
            return
        self._taken += 1
        try:
            start()
        except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
            future.set_exception(error)
        else:
            future.set_result(None)
