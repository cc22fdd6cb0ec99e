"""Connections of browsers: those of uvicorn by h11, which end if their peers keep them for nothing.

uvicorn waits for ever for a request and for a response to be read. So a few clients that do nothing would take all
connections that there are, and with them `/readyz`.
"""

from __future__ import annotations

import asyncio
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE: Final = 10.0
"""Seconds in which a request must come, whole, and in which a client must read some of its response."""


class BrowserConnection(H11Protocol):
    """A connection of a browser; it is aborted when its peer has kept it waiting for `PATIENCE` seconds."""

    _look: asyncio.TimerHandle | None = None
    _unread = 0
    """Bytes that waited to be sent at the last look."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._look_later()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._look is not None:
            self._look.cancel()

    def _look_later(self) -> None:
        if self._look is not None:
            self._look.cancel()
        self._look = self.loop.call_later(PATIENCE, self._look_now)

    def _look_now(self) -> None:
        unread = self.transport.get_write_buffer_size()
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY) or 0 < unread == self._unread:
            self.transport.abort()
            return
        self._unread = unread
        self._look_later()
