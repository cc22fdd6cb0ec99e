"""Accepted connections until their first bytes show who the peer is, and which protocol it speaks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import Enum
from typing import Final, cast

from dimse.address import host_and_port
from dimse.network.arrivals import Arrivals
from dimse.network.handshake import pass_on
from dimse.network.proxy_protocol import read_header
from dimse.upper_layer.strangers import is_http, may_become_http

logger = logging.getLogger("dimse.network")

_HTTP_ANSWER: Final = (
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"This is a DICOM port. It does not speak HTTP.\n"
)

_LINGER: Final = 1.0
"""Seconds that a peer has to close its side after that: a reset in the middle of its request would lose the answer."""


class _Stage(Enum):
    """What an entrance waits for."""

    HEADER = "a PROXY header"
    FIRST_BYTES = "the first bytes of a DICOM or HTTP request"
    END = "the end of an HTTP request that is answered"
    OVER = "nothing"


class Entrance(asyncio.Protocol):
    """A connection that was accepted, and may not be DICOM.

    1. From a trusted proxy, a PROXY header comes first, also before TLS. It names the peer, which then must be welcome.
    2. Without TLS, an HTTP request is answered with a line and closed. Whatever else comes is for the machine.
    3. Then `enter` gives the protocol that takes over the transport, with the bytes that have arrived; None to
       close it. Until then it counts as an arrival, costs little, and has `seconds` in all.
    """

    def __init__(
        self,
        *,
        trusts: Callable[[str], bool],
        welcomes: Callable[[str], bool],
        looks: bool,
        seconds: float | None,
        arrivals: Arrivals,
        enter: Callable[[Entrance], asyncio.BaseProtocol | None],
    ) -> None:
        self.peer_host = self.peer_name = ""
        """The peer's, and once its header is read that of the peer behind the proxy."""
        self.opened = asyncio.get_running_loop().time()
        self._trusts = trusts
        self._welcomes = welcomes
        self._looks = looks
        self._seconds = seconds
        self._arrivals = arrivals
        self._enter = enter
        self._stage = _Stage.FIRST_BYTES
        self._first = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    # asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self._name(peer[0], peer[1])
        if self._trusts(self.peer_host):
            self._stage = _Stage.HEADER
        self._arrivals.add(self)
        self._close_after(self._seconds)
        self._go_on()

    def data_received(self, data: bytes) -> None:
        if self._stage in (_Stage.HEADER, _Stage.FIRST_BYTES):
            self._first += data
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if self._stage in (_Stage.HEADER, _Stage.FIRST_BYTES):
            logger.info("%s: the connection was closed before there was an association", self.peer_name)
        self._leave(_Stage.OVER)

    def kill(self) -> None:
        """Close the connection now."""
        if self._transport is not None:
            self._transport.abort()

    # The stages

    def _name(self, host: str, port: int) -> None:
        self.peer_host, self.peer_name = host, host_and_port(host, port)

    def _leave(self, stage: _Stage) -> None:
        self._stage = stage
        self._arrivals.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def _close_after(self, seconds: float | None) -> None:
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._too_late)

    def _too_late(self) -> None:
        if self._stage is not _Stage.END:
            logger.info("%s: closed, as %s did not come in %g s", self.peer_name, self._stage.value, self._seconds)
            self._leave(_Stage.OVER)
        self.kill()

    def _go_on(self) -> None:
        if self._stage is _Stage.HEADER and not self._read_header():
            return
        if self._looks:
            if is_http(self._first):
                self._answer_http()
                return
            if may_become_http(self._first):
                return
        self._hand_over()

    def _read_header(self) -> bool:
        """Whether the PROXY header is read. A malformed one closes the connection."""
        try:
            header = read_header(self._first)
        except ValueError as error:
            logger.warning("%s: closed, as %s", self.peer_name, error)
            self._leave(_Stage.OVER)
            self.kill()
            return False
        if header is None:
            return False
        self._first = self._first[header.length :]
        self._stage = _Stage.FIRST_BYTES
        return header.peer is None or self._rename(*header.peer)

    def _rename(self, host: str, port: int) -> bool:
        """Count the peer behind the proxy instead. Returns False if it is not welcome, and is closed."""
        logger.debug("%s: a proxy for %s", self.peer_name, host_and_port(host, port))
        self._arrivals.discard(self)
        self._name(host, port)
        if not self._welcomes(host):
            self._leave(_Stage.OVER)
            self.kill()
            return False
        self._arrivals.add(self)
        return True

    def _answer_http(self) -> None:
        assert self._transport is not None  # noqa: S101 - data come after `connection_made`
        logger.info("%s: an HTTP request; answered that this is a DICOM port", self.peer_name)
        self._stage = _Stage.END
        if self._timer is not None:
            self._timer.cancel()
        self._close_after(_LINGER)
        self._transport.write(_HTTP_ANSWER)
        self._transport.write_eof()

    def _hand_over(self) -> None:
        transport, data = self._transport, self._first
        assert transport is not None  # noqa: S101 - `connection_made` has set it
        self._leave(_Stage.OVER)
        protocol = self._enter(self)
        if protocol is None:
            transport.abort()
            return
        transport.pause_reading()  # asyncio and uvloop choose how they read when they begin to
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if not transport.is_closing():
            transport.resume_reading()
            if data and isinstance(protocol, asyncio.BufferedProtocol):
                pass_on(data, protocol)
            elif data:
                cast("asyncio.Protocol", protocol).data_received(data)
