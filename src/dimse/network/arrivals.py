"""Connections without an association: how many there may be, and how TLS begins on them."""

from __future__ import annotations

import asyncio
import logging
import ssl
from asyncio import sslproto
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from dimse.network.connection import Connection

logger = logging.getLogger("dimse.network")

TLS_HANDSHAKE: Final = 10.0
"""Seconds that a peer has for its TLS handshake."""

_HANDSHAKE_BUFFER: Final = 2 * 1024
"""Bytes that asyncio reads at once while TLS is agreed on. Its own buffer has 256 KiB, for each connection."""


class Arrival(Protocol):
    """A connection that has no association yet, or no longer."""

    peer_host: str

    def kill(self) -> None:
        """Close it now."""


class Arrivals:
    """Keeps at most `most` connections without an association, and `most_per_host` of one host.

    What is over a limit is closed: of the host that has most of them the oldest. So a peer that opens connections and
    asks for nothing shuts out nobody but itself.
    """

    def __init__(self, most: int, most_per_host: int | None) -> None:
        self._most = most
        self._most_per_host = most if most_per_host is None else most_per_host
        self._kept: dict[Arrival, None] = {}

    def add(self, arrival: Arrival) -> None:
        """`arrival` is open and has no association."""
        self._kept[arrival] = None
        host, count = Counter(each.peer_host for each in self._kept).most_common(1)[0]
        if len(self._kept) > self._most or count > self._most_per_host:
            oldest = next(each for each in self._kept if each.peer_host == host)
            del self._kept[oldest]
            logger.info("%s: closed the oldest of its %d connections without an association", host, count)
            oldest.kill()

    def discard(self, arrival: Arrival) -> None:
        """`arrival` has an association, or is closed."""
        self._kept.pop(arrival, None)


class Handshake(asyncio.Protocol):
    """A connection on which TLS is to be agreed on; then `connection` gets it."""

    def __init__(self, connection: Connection, context: ssl.SSLContext, begun: Callable[[Handshake], None]) -> None:
        self.peer_host = ""
        self._connection = connection
        self._context = context
        self._begun = begun
        self._transport: asyncio.Transport | None = None
        self._early = b""
        """What has come before the transport knew that it is for TLS."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.peer_host = peer[0] if isinstance(peer, tuple) else ""
        self._begun(self)

    def data_received(self, data: bytes) -> None:
        self._early += data

    def kill(self) -> None:
        """As `Arrival`."""
        if self._transport is not None:
            self._transport.abort()

    async def run(self) -> None:
        """Agree on TLS, and open `connection` on it. A peer that fails to is told of in the log only."""
        assert self._transport is not None  # noqa: S101 - it is begun when there is one
        loop, secured = asyncio.get_running_loop(), None
        self._connection.hold(self)  # the peer may send before `connection` knows of the transport
        try:
            starting = loop.start_tls(
                *(self._transport, self._connection, self._context),
                server_side=True,
                ssl_handshake_timeout=TLS_HANDSHAKE,
            )
            task = loop.create_task(starting)
            await asyncio.sleep(0)
            tls = self._transport.get_protocol()
            _take_less(tls)
            await asyncio.sleep(0)  # `tls` is told of the transport
            _pass_on(self._early, tls)
            secured = await task
            _take_all(tls)
        except OSError as error:
            logger.info("%s: TLS handshake failed: %s", self.peer_host, error)
        finally:
            if secured is None:
                self._transport.abort()
        if secured is not None and not secured.is_closing():
            self._connection.connection_made(secured)
            self._connection.resume(self)


def _pass_on(data: bytes, tls: Any) -> None:
    """As the transport would have done."""
    while data:
        place = tls.get_buffer(len(data))
        size = min(len(place), len(data))
        place[:size] = data[:size]
        tls.buffer_updated(size)
        data = data[size:]


def _take_less(tls: Any) -> None:
    """asyncio has no setting for it; other event loops do not touch what they do not use."""
    if hasattr(tls, "_ssl_buffer"):
        tls.max_size = _HANDSHAKE_BUFFER
        tls._ssl_buffer = bytearray()
        tls._ssl_buffer_view = memoryview(tls._ssl_buffer)


def _take_all(tls: Any) -> None:
    """It takes a larger buffer when it reads again."""
    if hasattr(tls, "_ssl_buffer"):
        tls.max_size = sslproto.SSLProtocol.max_size
