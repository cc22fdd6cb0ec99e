"""The asynchronous operations window (PS3.7 D.3.3.3): how many requests may await their response at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Window:
    """The slots of the window, and the queue for them."""

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self.queue = asyncio.Lock()
        """Held by the one task that may `enter`. The tasks get it in the order of their calls."""
        self._taken = 0
        self._first: tuple[asyncio.Future[None], Callable[[], None]] | None = None
        """The task that waits for the next free slot."""

    async def enter(self, start: Callable[[], None]) -> None:
        """Wait for a slot and call `start` as soon as it is free, before this task runs again.

        The slot is taken until `leave` is called, even if `start` raises; then this raises the same.
        """
        if self._taken < self.size:
            self._taken += 1
            start()
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._first = future, start
        try:
            await future
        except asyncio.CancelledError:
            self._first = None
            if future.done() and not future.cancelled():
                future.exception()  # retrieved, so that asyncio does not log it
            raise

    def leave(self) -> None:
        """Give a slot back: to the task that waits, if one does."""
        self._taken -= 1
        if self._first is None or self._taken >= self.size:
            return
        (future, start), self._first = self._first, None
        if future.cancelled():
            return
        self._taken += 1
        try:
            start()
        except Exception as error:  # noqa: BLE001 - raised where the task awaits its slot
            future.set_exception(error)
        else:
            future.set_result(None)
