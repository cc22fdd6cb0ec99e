"""The TLS handshake on a connection."""

from __future__ import annotations

import asyncio
import logging
import ssl
from asyncio import sslproto
from collections.abc import Callable
from typing import Any, Final, cast

from dimse.network.connection import Connection

logger = logging.getLogger("dimse.network")

TLS_HANDSHAKE: Final = 10.0
"""Seconds that a peer may take for its TLS handshake."""

_HANDSHAKE_BUFFER: Final = 2 * 1024
"""The bytes that asyncio reads at once during a TLS handshake. Its own buffer is 256 KiB per connection."""


# TLS on an accepted connection, in rules
# ---------------------------------------
# 1. A connection whose handshake has not ended counts as an arrival and costs little memory, so many may be open.
#    asyncio's own way, `create_server(ssl=...)`, allocates 256 KiB for each and has no limit.
# 2. So the connection is accepted in plain, as a `Handshake`, and `start_tls` replaces the protocol of its transport
#    by asyncio's TLS protocol.
# 3. `start_tls` needs two rounds of the event loop: after the first the TLS protocol exists and its buffer is made
#    small, after the second it has the transport. Bytes that arrive before that are passed on to it.
# 4. asyncio does not pass the encrypted transport to the `Connection`. `run` does, after the handshake, and holds the
#    connection until then, since the peer may send at once.


class Handshake(asyncio.Protocol):
    """The TLS handshake on an accepted connection; `connection` takes over when it has succeeded."""

    def __init__(self, connection: Connection, context: ssl.SSLContext, begun: Callable[[Handshake], None]) -> None:
        self.peer_host = ""
        self._connection = connection
        self._context = context
        self._begun = begun
        self._transport: asyncio.Transport | None = None
        self._early = b""
        """The bytes received before TLS has taken over the transport."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.peer_host = peer[0] if isinstance(peer, tuple) else ""
        self._begun(self)

    def data_received(self, data: bytes) -> None:
        self._early += data

    def kill(self) -> None:
        """Close the connection now."""
        if self._transport is not None:
            self._transport.abort()

    async def run(self) -> None:
        """Do the handshake, and open `connection` on the encrypted transport. A failure is only logged."""
        assert self._transport is not None  # noqa: S101 - `connection_made` begins this
        loop = asyncio.get_running_loop()
        secured = None
        self._connection.hold(self)
        try:
            starting = loop.start_tls(
                self._transport,
                self._connection,
                self._context,
                server_side=True,
                ssl_handshake_timeout=TLS_HANDSHAKE,
            )
            task = loop.create_task(starting)
            await asyncio.sleep(0)
            tls = self._transport.get_protocol()
            _shrink_buffer(tls)
            await asyncio.sleep(0)
            _pass_on(self._early, tls)
            secured = await task
            _restore_buffer(tls)
        except OSError as error:
            logger.info("%s: TLS handshake failed: %s", self.peer_host, error)
        finally:
            if secured is None:
                self._transport.abort()
        if secured is not None and not secured.is_closing():
            self._connection.connection_made(secured)
            self._connection.resume(self)


def _pass_on(data: bytes, tls: Any) -> None:
    """Give `data` to `tls` as if it had read them from the transport."""
    while data:
        space = tls.get_buffer(len(data))
        size = min(len(space), len(data))
        space[:size] = data[:size]
        tls.buffer_updated(size)
        data = data[size:]


def _shrink_buffer(tls: Any) -> None:
    """Shrink the buffer that asyncio allocates for `tls`. There is no setting for it; uvloop has no such buffer."""
    if hasattr(tls, "_ssl_buffer"):
        tls.max_size = _HANDSHAKE_BUFFER
        tls._ssl_buffer = bytearray()
        tls._ssl_buffer_view = memoryview(tls._ssl_buffer)


def _restore_buffer(tls: Any) -> None:
    """Let `tls` allocate its full buffer at its next read."""
    if hasattr(tls, "_ssl_buffer"):
        tls.max_size = sslproto.SSLProtocol.max_size
