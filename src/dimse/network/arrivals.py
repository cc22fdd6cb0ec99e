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
"""Bytes that asyncio reads at once during the TLS handshake. Its own buffer has 256 KiB for each connection."""


class Arrival(Protocol):
    """A connection without an association, before it or after it."""

    peer_host: str

    def kill(self) -> None:
        """Close it now."""


class Arrivals:
    """Keeps at most `most` connections without an association, and `most_per_host` of one host.

    Over a limit, the oldest connection of the host with the most is closed. So a peer that opens connections and asks
    for nothing shuts out only itself.
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
    """The TLS handshake on a new connection; after it, `connection` takes over."""

    def __init__(self, connection: Connection, context: ssl.SSLContext, begun: Callable[[Handshake], None]) -> None:
        self.peer_host = ""
        self._connection = connection
        self._context = context
        self._begun = begun
        self._transport: asyncio.Transport | None = None
        self._early = b""
        """What arrived before TLS had taken over the transport."""

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
        """Do the handshake, and open `connection` on it. If it fails, that is only logged."""
        assert self._transport is not None  # noqa: S101 - `connection_made` begins this
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
            await asyncio.sleep(0)  # now `tls` has the transport
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
    """Give `tls` what it would have read from the transport."""
    while data:
        place = tls.get_buffer(len(data))
        size = min(len(place), len(data))
        place[:size] = data[:size]
        tls.buffer_updated(size)
        data = data[size:]


def _take_less(tls: Any) -> None:
    """Shrink the buffer that asyncio allocates for `tls`, which has no setting for it. Other event loops have none."""
    if hasattr(tls, "_ssl_buffer"):
        tls.max_size = _HANDSHAKE_BUFFER
        tls._ssl_buffer = bytearray()
        tls._ssl_buffer_view = memoryview(tls._ssl_buffer)


def _take_all(tls: Any) -> None:
    """Let `tls` allocate its full buffer at its next read."""
    if hasattr(tls, "_ssl_buffer"):
        tls.max_size = sslproto.SSLProtocol.max_size
