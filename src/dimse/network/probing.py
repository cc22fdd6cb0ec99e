"""Conversations that show what the other side answers, DICOM or not: bytes first, PDUs where they are PDUs.

The machine of `upper_layer` is not used. It ends the connection at the first byte that is not DICOM, and that byte is
what is wanted here. Every wait has a deadline for the whole step, and every read a bound.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from time import perf_counter
from typing import Any, Final

from dimse.address import host_and_port
from dimse.errors import RemoteProtocolError
from dimse.upper_layer.machine import MAXIMUM_ASSOCIATE_LENGTH
from dimse.upper_layer.pdu import (
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RQ,
    A_RELEASE_RP,
    A_RELEASE_RQ,
    P_DATA_TF,
    PDU,
    PDU_HEADER,
    PDU_TYPES,
)

MAXIMUM_BANNER: Final = 256
"""Bytes that are read of an answer that is not DICOM."""

MAXIMUM_P_DATA: Final = 64 * 1024
"""The longest P-DATA-TF that is read: what is asked for are responses to C-ECHO."""

_BANNER_PAUSE: Final = 0.2
"""Seconds in which the rest of an answer that is not DICOM has to arrive."""


class Answered(Enum):
    """What came back."""

    PDU = "a PDU"
    MALFORMED = "a PDU that is not valid"
    OTHER = "something that is not DICOM"
    PART = "a part of a PDU"
    SILENCE = "nothing"
    CLOSED = "the end of the connection"
    RESET = "a reset of the connection"
    TLS = "a TLS error"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and when."""

    kind: Answered
    seconds: float
    data: bytes = b""
    """The first bytes, at most `MAXIMUM_BANNER`."""
    pdu: PDU | None = None
    error: Exception | None = None
    """The reason of `MALFORMED`, `RESET` and `TLS`."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of the addresses of a host."""

    family: socket.AddressFamily
    address: tuple[Any, ...]
    """As the socket wants it."""

    def __str__(self) -> str:
        return host_and_port(self.address[0], self.address[1])


async def resolve(host: str, port: int, seconds: float) -> list[Endpoint]:
    """The addresses of `host`, in the order in which they are tried.

    Raises `TimeoutError`, `OSError` and, for text that cannot be a name, `UnicodeError`. The thread that asks is not
    waited for: the operating system may take a minute.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Endpoint]] = loop.create_future()

    def told(found: list[Endpoint] | Exception) -> None:
        if answer.done():
            return
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def ask() -> None:
        found: list[Endpoint] | Exception
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys(Endpoint(family, address) for family, _, _, _, address in entries))
        except (OSError, UnicodeError) as error:
            found = error
        with suppress(RuntimeError):  # the event loop has ended in the meantime
            loop.call_soon_threadsafe(told, found)

    threading.Thread(target=ask, name="dimse resolve", daemon=True).start()
    return await asyncio.wait_for(answer, seconds)


async def reach(endpoint: Endpoint, seconds: float) -> socket.socket:
    """A TCP connection. Raises `TimeoutError` after `seconds`, or `OSError`."""
    connection = socket.socket(endpoint.family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_connect(connection, endpoint.address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


class Line:
    """One connection, plain or TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def socket(self) -> Any:
        """The socket, for its options."""
        return self._writer.get_extra_info("socket")

    @property
    def tls(self) -> ssl.SSLObject | None:
        """What was negotiated with TLS."""
        found: ssl.SSLObject | None = self._writer.get_extra_info("ssl_object")
        return found

    def send(self, data: bytes) -> None:
        """Send `data`, which must be small: it is given to the operating system in one piece."""
        self._writer.write(data)

    async def receive(self, seconds: float) -> Answer:
        """The next PDU, or what comes instead, within `seconds` in all."""
        start = perf_counter()
        data = bytearray()
        end = Answered.PDU
        error: OSError | None = None
        try:
            async with asyncio.timeout(seconds):
                if not await self._fill(data):
                    end = Answered.CLOSED
        except TimeoutError:
            end = Answered.SILENCE
        except ssl.SSLError as failure:
            end, error = Answered.TLS, failure
        except OSError as failure:
            end, error = Answered.RESET, failure
        return _answer(bytes(data), end, perf_counter() - start, error)

    async def _fill(self, data: bytearray) -> bool:
        """Read a whole PDU, or the beginning of something else, into `data`; False at the end of the connection."""
        while (missing := _length(data) - len(data)) > 0:
            piece = await self._reader.read(missing)
            data += piece
            if not piece:
                return False
        if not _is_pdu(data):
            with suppress(TimeoutError):
                async with asyncio.timeout(_BANNER_PAUSE):
                    data += await self._reader.read(MAXIMUM_BANNER - len(data))
        return True

    async def associate(self, request: A_ASSOCIATE_RQ, seconds: float) -> Answer:
        """Request an association."""
        self.send(request.encode())
        return await self.receive(seconds)

    async def release(self, seconds: float) -> bool:
        """Release the association. Returns whether the peer answered."""
        self.send(A_RELEASE_RQ().encode())
        answer = await self.receive(seconds)
        return isinstance(answer.pdu, A_RELEASE_RP)


@asynccontextmanager
async def line(
    endpoint: Endpoint, seconds: float, context: ssl.SSLContext | None = None, server_hostname: str | None = None
) -> AsyncIterator[Line]:
    """A new connection, with TLS if there is a `context`; it is closed at the end of the block.

    Raises `TimeoutError`, `ssl.SSLError` or `OSError`; `seconds` are for the connection and for the handshake each.
    """
    connection = await reach(endpoint, seconds)
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(
                sock=connection, ssl=context, server_hostname=server_hostname if context is not None else None
            )
    except BaseException:
        connection.close()
        raise
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


def _is_pdu(data: bytes | bytearray) -> bool:
    """Whether `data` can be the beginning of a PDU of an acceptor."""
    if not data or data[0] not in PDU_TYPES:
        return False
    if len(data) < PDU_HEADER.size:
        return True
    kind, length = PDU_HEADER.unpack_from(data)
    if kind in (A_ASSOCIATE_RQ.pdu_type, A_ASSOCIATE_AC.pdu_type):
        return bool(0 < length <= MAXIMUM_ASSOCIATE_LENGTH)
    if kind == P_DATA_TF.pdu_type:
        return bool(0 < length <= MAXIMUM_P_DATA)
    return bool(length == 4)


def _length(data: bytearray) -> int:
    """How many bytes to read in all, as far as `data` shows."""
    if not data or not _is_pdu(data):
        return 1
    if len(data) < PDU_HEADER.size:
        return PDU_HEADER.size
    return PDU_HEADER.size + int(PDU_HEADER.unpack_from(data)[1])


def _answer(data: bytes, end: Answered, seconds: float, error: Exception | None) -> Answer:
    """`end` is `PDU` if enough was read, whatever it is."""
    shown = data[:MAXIMUM_BANNER]
    if not data:
        return Answer(end, seconds, error=error)
    if not _is_pdu(data):
        return Answer(Answered.OTHER, seconds, shown)
    if end is not Answered.PDU:
        return Answer(Answered.PART, seconds, shown)
    try:
        pdu = PDU_TYPES[data[0]].decode(data[PDU_HEADER.size :])
    except RemoteProtocolError as failure:
        return Answer(Answered.MALFORMED, seconds, shown, error=failure)
    return Answer(Answered.PDU, seconds, shown, pdu)
