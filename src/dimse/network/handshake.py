"""The TLS handshake on a connection, in either role."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from asyncio import sslproto
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

from dimse.network.connection import Connection
from dimse.network.tls_errors import handshake_failure
from dimse.tls import on_alert

logger = logging.getLogger("dimse.network")

TLS_HANDSHAKE: Final = 10.0
"""Seconds that a requestor may take for its TLS handshake, from the connection on."""

_HANDSHAKE_BUFFER: Final = 2 * 1024
"""The bytes that asyncio reads at once during a TLS handshake. Its own buffer is 256 KiB per connection."""

_ASSOCIATE: Final = b"\x01"
"""How A-ASSOCIATE-RQ begins (PS3.8 9.3.2); TLS begins with 16H."""

_ALERT: Final = bytes.fromhex("15 0303 0002 0246")
"""The fatal alert "protocol version" (RFC 5246 7.2), by which a requestor without TLS can tell what it has reached."""

# The rules
# ---------
# 1. A connection whose handshake has not ended counts as an arrival and costs little memory, so many may be open.
#    asyncio's own way, `create_server(ssl=...)`, allocates 256 KiB for each and has no limit.
# 2. So the connection is made in plain, as a `Handshake`, and `start_tls` replaces the protocol of its transport by
#    asyncio's TLS protocol. An acceptor does that when the first bytes are there, and says so if they are plain DICOM.
# 3. `start_tls` needs two rounds of the event loop: after the first the TLS protocol exists and its buffer is made
#    small, after the second it has the transport. The first bytes are then passed on to it.
# 4. asyncio does not pass the encrypted transport to the `Connection`. `secure` does, after the handshake, and holds
#    the connection until then, since the peer may send at once.
# 5. asyncio drops the alert that tells the peer why a handshake failed. It is sent here.


class HandshakeFailed(Exception):
    """Says why; the cause is the error of `ssl` or of the operating system."""


class Handshake(asyncio.Protocol):
    """The TLS handshake on a connection; `connection` takes over when it has succeeded.

    `begun`, if given, is called when the transport is open.
    """

    def __init__(self, connection: Connection, begun: Callable[[Handshake], None] | None = None) -> None:
        self.peer_host = ""
        self._connection = connection
        self._begun = begun
        self._transport: asyncio.Transport | None = None
        self._starting: asyncio.Task[asyncio.Transport | None] | None = None
        """TLS, while its handshake is under way."""
        self._first: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        """The bytes received before TLS has taken over the transport; none if the peer has closed it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple) and not self.peer_host:  # else it was set before, as for a peer behind a proxy
            self.peer_host = peer[0]
        if self._begun is not None:
            self._begun(self)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None  # noqa: S101 - `connection_made` comes before
        self._transport.pause_reading()
        self._received(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._received(b"")

    def _received(self, data: bytes) -> None:
        if not self._first.done():
            self._first.set_result(data)

    def kill(self) -> None:
        """Close the connection now."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
            if self._starting is not None:  # uvloop would wait for the handshake until its deadline
                self._starting.cancel()

    async def accept(self, context: ssl.SSLContext) -> str | None:
        """Do the handshake of an acceptor. Returns why TLS did not authenticate the peer, which is logged too."""
        try:
            async with asyncio.timeout(TLS_HANDSHAKE):
                first = await self._first
                if first.startswith(_ASSOCIATE):
                    self._send(_ALERT)
                    logger.warning("%s: an A-ASSOCIATE-RQ without TLS, which this port demands; closed", self.peer_host)
                elif first and self._transport is not None:  # else it was killed in the meantime
                    await self._secure(context, first, server_side=True, seconds=TLS_HANDSHAKE)
        except TimeoutError:
            logger.info("%s: no TLS handshake within %g s; closed", self.peer_host, TLS_HANDSHAKE)
        except OSError as error:
            if self._transport is not None:  # else it was killed, and not by the peer
                why = handshake_failure(error)
                logger.info("%s: TLS handshake failed: %s", self.peer_host, why)
                return why
        finally:
            self.kill()
        return None

    async def connect(
        self, host: str, port: int, context: ssl.SSLContext, *, server_name: str, seconds: float | None
    ) -> None:
        """Connect, and do the handshake of a requestor, which expects `server_name` in the certificate.

        Raises `HandshakeFailed`, and `OSError` if there is no connection.
        """
        with self._alerting():  # uvloop's transports keep the context variables that they were made with
            await asyncio.get_running_loop().create_connection(lambda: self, host, port)
        try:
            await self._secure(context, server_name=server_name, seconds=seconds)
        except OSError as error:
            raise HandshakeFailed(handshake_failure(error)) from error
        finally:
            self.kill()

    async def _secure(
        self,
        context: ssl.SSLContext,
        first: bytes = b"",
        *,
        server_side: bool = False,
        server_name: str | None = None,
        seconds: float | None,
    ) -> None:
        """Do the handshake, and open the connection on the encrypted transport. `first` has arrived already."""
        transport = self._transport  # `kill` may take it away at any time
        assert transport is not None  # noqa: S101 - `connection_made` comes before
        loop = asyncio.get_running_loop()
        self._connection.hold(self)
        with self._alerting():
            starting = self._starting = loop.create_task(
                loop.start_tls(
                    transport,
                    self._connection,
                    context,
                    server_side=server_side,
                    server_hostname=server_name,
                    ssl_handshake_timeout=seconds,
                )
            )
            try:
                await asyncio.sleep(0)
                tls = transport.get_protocol()
                _shrink_buffer(tls)
                await asyncio.sleep(0)
                if not starting.done():
                    pass_on(first, tls)
                secured = await starting
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                raise ConnectionResetError from None  # by `kill`
            finally:
                self._starting = None
                starting.cancel()
        if secured is None or secured.is_closing():
            raise await self._lost(secured)
        self._transport = None
        _restore_buffer(tls)
        self._connection.connection_made(secured)
        self._connection.resume(self)

    async def _lost(self, secured: asyncio.Transport | None) -> OSError:
        """Why the peer closed the connection at once: in TLS 1.3 it verifies our certificate after our handshake."""
        if secured is not None:
            secured.abort()
            await self._connection.wait_closed()
        lost_by = self._connection.lost_by
        return lost_by if isinstance(lost_by, OSError) else ConnectionResetError()

    @contextmanager
    def _alerting(self) -> Iterator[None]:
        token = on_alert.set(self._send)
        try:
            yield
        finally:
            on_alert.reset(token)

    def _send(self, data: bytes) -> None:
        """Send the last bytes at once: a transport that is closed drops what it has not sent."""
        ours = self._transport.get_extra_info("socket") if self._transport is not None else None
        if ours is not None and data:
            with suppress(OSError), socket.socket(fileno=socket.dup(ours.fileno())) as twin:
                twin.send(data)


def pass_on(data: bytes, protocol: Any) -> None:
    """Give `data` to a buffered `protocol` as if it had read them from the transport."""
    while data:
        space = protocol.get_buffer(len(data))
        size = min(len(space), len(data))
        space[:size] = data[:size]
        protocol.buffer_updated(size)
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
