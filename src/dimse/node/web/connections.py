"""Connections of browsers: those of uvicorn by h11, which end if their peers keep them for nothing.

1. uvicorn waits for ever for a request and for a response to be read, and takes as many connections as come. So a few
   clients that do nothing would take all that there are, and with them `/readyz`.
2. `Door` accepts connections in place of uvicorn. If there are too many, the oldest of the host with the most is
   closed: a host that keeps many shuts out itself alone. TLS handshakes count too.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from dimse.network.arrivals import Arrivals
from dimse.network.listening import Listener

PATIENCE: Final = 10.0
"""Seconds in which a request must come, whole, and in which a client must read some of its response."""


class BrowserConnection(H11Protocol):
    """A connection of a browser; it is aborted when its peer has kept it waiting for `PATIENCE` seconds."""

    peer_host = ""
    on_end: Callable[[BrowserConnection], object] | None = None
    _look: asyncio.TimerHandle | None = None
    _unread = 0
    """Bytes that waited to be sent at the last look."""
    _opening: asyncio.Task[object] | None = None

    async def open(self, connected: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Use a connection that was accepted, after the handshake of TLS if there is one. Raises `OSError`."""
        self._opening = asyncio.current_task()
        within = None if tls is None else PATIENCE
        await self.loop.connect_accepted_socket(lambda: self, connected, ssl=tls, ssl_handshake_timeout=within)

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
        if self.on_end is not None:
            self.on_end(self)

    def kill(self) -> None:
        """Close it now."""
        if self._look is not None:  # it has a transport
            self.transport.abort()
        elif self._opening is not None:
            self._opening.cancel()

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


class Door:
    """Accepts connections on listening sockets, and keeps at most `most` of them.

    `make` makes the protocol of a connection.
    """

    def __init__(
        self,
        sockets: Iterable[socket.socket],
        tls: ssl.SSLContext | None,
        most: int,
        make: Callable[[], BrowserConnection],
    ) -> None:
        self._tls = tls
        self._make = make
        self._arrivals = Arrivals(most, None)
        self._opening: set[BrowserConnection] = set()
        self._listener = Listener(sockets, lambda _: True, self._open)

    async def _open(self, connected: socket.socket) -> None:
        connection = self._make()
        try:
            connection.peer_host = connected.getpeername()[0]
        except OSError:  # it is gone already
            connected.close()
            return
        connection.on_end = self._arrivals.discard
        self._arrivals.add(connection)
        self._opening.add(connection)
        try:
            await connection.open(connected, self._tls)
        except BaseException as error:
            self._arrivals.discard(connection)
            if not isinstance(error, OSError):  # which is a handshake that failed
                raise
        finally:
            self._opening.discard(connection)

    async def close(self) -> None:
        """Stop listening, and end the handshakes that are under way."""
        for connection in self._opening:
            connection.kill()
        await self._listener.close()
