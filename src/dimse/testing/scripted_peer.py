"""A peer that sends exactly what a test scripts: bytes on a socket, without the network layer that is tested."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Final, Self, TypeVar

from dimse import uids
from dimse.messages.message import C_CANCEL_RQ, C_ECHO_RQ, Message, Request, decode_message
from dimse.network.background_loop import BackgroundLoop
from dimse.testing.wire import INFORMATION, Received, associate_request, response
from dimse.upper_layer.items import PresentationContextAC, UserInformation
from dimse.upper_layer.pdu import (
    A_ABORT,
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RJ,
    A_ASSOCIATE_RQ,
    A_RELEASE_RP,
    A_RELEASE_RQ,
    P_DATA_TF,
    PDU,
    PDU_HEADER,
    PDU_TYPES,
    PDV,
)

P = TypeVar("P", bound=PDU)

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, with no time to linger."""

_PATIENCE: Final = 10.0
"""Seconds that scripts have to end when a test has."""


class ScriptedPeer:
    """One connection, as requestor (`connect`) or as acceptor (`listening`).

    Anything unexpected raises `AssertionError`.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.answer: A_ASSOCIATE_AC | None = None
        """The acceptance that `associate` received."""
        self._ahead: PDU | None = None
        """A PDU that was read, but not yet received."""

    @classmethod
    async def connect(cls, port: int, host: str = "127.0.0.1") -> Self:
        """Open a connection; use it with `async with`, which closes it."""
        return cls(*await asyncio.open_connection(host, port))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    # Out

    async def send(self, *pieces: PDU | PDV | Iterable[PDV] | bytes) -> None:
        """Send PDUs, PDVs in a P-DATA-TF each, messages as lists of PDVs, or plain bytes."""
        for piece in pieces:
            if isinstance(piece, bytes):
                self.writer.write(piece)
            elif isinstance(piece, PDV):
                self.writer.write(P_DATA_TF((piece,)).encode())
            elif isinstance(piece, Iterable):
                for pdv in piece:
                    self.writer.write(P_DATA_TF((pdv,)).encode())
            else:
                self.writer.write(piece.encode())
        await self.writer.drain()

    def reset(self) -> None:
        """Vanish: reset the connection."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.writer.transport.abort()

    # In

    async def receive(self) -> PDU | None:
        """The next PDU; None when the other side has closed the connection."""
        if self._ahead is not None:
            pdu, self._ahead = self._ahead, None
            return pdu
        try:
            kind, length = PDU_HEADER.unpack(await self.reader.readexactly(PDU_HEADER.size))
            return PDU_TYPES[kind].decode(await self.reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def expect(self, kind: type[P]) -> P:
        """The next PDU, which must be of this kind."""
        pdu = await self.receive()
        if not isinstance(pdu, kind):
            raise AssertionError(f"expected {kind.__name__}, received {_in_words(pdu)}")
        return pdu

    async def expect_abort(self, source: int, reason: int) -> None:
        """Read on to an A-ABORT, which must have this source and reason."""
        while not isinstance(pdu := await self.receive(), A_ABORT):
            if pdu is None:
                raise AssertionError("the connection was closed without an A-ABORT")
        if (pdu.source, pdu.reason) != (source, reason):
            raise AssertionError(f"expected A-ABORT ({source}, {reason}), received ({pdu.source}, {pdu.reason})")

    async def closed(self) -> None:
        """Read on to the end of the association (A-ABORT, A-RELEASE-RP), or of the connection."""
        while not isinstance(await self.receive(), A_ABORT | A_RELEASE_RP | None):
            pass

    async def receive_message(self, pause: float = 0) -> Received:
        """The next message, with its data set if one follows. A slow peer waits `pause` seconds before each PDU."""
        command, data, sizes = b"", b"", list[int]()
        message: Message | None = None
        while True:
            await asyncio.sleep(pause)
            for pdv in (await self.expect(P_DATA_TF)).presentation_data_values:
                if pdv.is_command:
                    command += pdv.fragment
                    if pdv.is_last:
                        message = decode_message(command)
                elif message is None:
                    raise AssertionError("received a fragment of a data set before the end of its command")
                else:
                    data += pdv.fragment
                    sizes.append(len(pdv.fragment))
                if message is not None and pdv.is_last and pdv.is_command != message.dataset_follows:
                    whole = data if message.dataset_follows else None
                    return Received(pdv.presentation_context_id, message, whole, tuple(sizes))

    async def expect_cancel(self, of: Received) -> None:
        """The next message, which must be the C-CANCEL of this request."""
        received = await self.receive_message()
        if not isinstance(of.message, Request):
            raise TypeError(f"{of.message.name} cannot be cancelled")
        expected = C_CANCEL_RQ(message_id_being_responded_to=of.message.message_id)
        if (received.message, received.presentation_context_id) != (expected, of.presentation_context_id):
            raise AssertionError(f"expected {expected}, received {received.message}")

    # The usual moves

    async def associate(self, request: A_ASSOCIATE_RQ | None = None) -> A_ASSOCIATE_AC:
        """As requestor: request an association, which must be accepted."""
        await self.send(request or associate_request())
        self.answer = await self.expect(A_ASSOCIATE_AC)
        return self.answer

    async def accept(
        self,
        *also: PDU,
        syntaxes: Iterable[str] | None = None,
        information: UserInformation = INFORMATION,
        refused_roles: Iterable[str] = (),
        answers_roles: bool = True,
    ) -> A_ASSOCIATE_RQ:
        """As acceptor: receive the request and accept each context in the first of `syntaxes` that it has, or in any.

        Roles are accepted as requested, but not the SCP role of the SOP classes in `refused_roles`. `also` leaves in
        one piece with the acceptance.
        """
        request = await self.expect(A_ASSOCIATE_RQ)
        allowed = None if syntaxes is None else set(syntaxes)
        answers = []
        for context in request.presentation_contexts:
            chosen = next((s for s in context.transfer_syntaxes if allowed is None or s in allowed), None)
            syntax = chosen or uids.IMPLICIT_VR_LITTLE_ENDIAN
            answers.append(PresentationContextAC(context.presentation_context_id, 0 if chosen else 4, syntax))
        requested = request.user_information.role_selections
        roles = tuple(replace(role, scp_role=role.sop_class_uid not in refused_roles) for role in requested)
        if roles and answers_roles:
            information = replace(information, role_selections=roles)
        answer = A_ASSOCIATE_AC(
            request.called_ae_title, request.calling_ae_title, information, presentation_contexts=tuple(answers)
        )
        await self.send(b"".join(pdu.encode() for pdu in (answer, *also)))
        return request

    async def release(self) -> None:
        """As requestor: release the association."""
        await self.send(A_RELEASE_RQ())
        await self.expect(A_RELEASE_RP)

    async def answer_echo(self) -> None:
        """Answer the next message, which must be a C-ECHO."""
        received = await self.receive_message()
        if not isinstance(received.message, C_ECHO_RQ):
            raise AssertionError(f"expected C-ECHO-RQ, received {received.message.name}")
        await self.send(response(received))

    async def answer_release(self) -> None:
        """Answer the next PDU, which must be an A-RELEASE-RQ."""
        await self.expect(A_RELEASE_RQ)
        await self.send(A_RELEASE_RP())

    async def goes_on(self) -> bool:
        """Whether something else comes next than an A-RELEASE-RQ, which is answered."""
        pdu = await self.receive()
        if pdu is None:
            raise AssertionError("the connection was closed")
        if isinstance(pdu, A_RELEASE_RQ):
            await self.send(A_RELEASE_RP())
            return False
        self._ahead = pdu
        return True


def _in_words(pdu: PDU | None) -> str:
    """The received PDU in words, without its data."""
    if pdu is None:
        return "the end of the connection"
    return str(pdu) if isinstance(pdu, A_ABORT | A_ASSOCIATE_RJ) else type(pdu).__name__


Script = Callable[[ScriptedPeer], Awaitable[None]]
"""What an acceptor does on one connection."""


@asynccontextmanager
async def listening(*scripts: Script, receive_buffer: int | None = None) -> AsyncIterator[str]:
    """An acceptor that plays one script per connection, and repeats the last one. Yields its address.

    At the end of the block the scripts must have run to their end; what one of them raises is raised.
    """
    waiting = list(scripts)
    tasks: list[asyncio.Task[None]] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        async with ScriptedPeer(reader, writer) as peer:
            await script(peer)

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if server.is_serving():
            tasks.append(asyncio.ensure_future(play(reader, writer)))
        else:  # it was accepted when the block ended
            writer.transport.abort()

    listener = socket.socket()
    if receive_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    listener.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(connected, sock=listener)
    try:
        yield f"ARCHIVE@127.0.0.1:{listener.getsockname()[1]}"
        await asyncio.gather(*tasks)
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def listening_in_thread(*scripts: Script) -> Iterator[str]:
    """As `listening`, with an event loop in a thread of its own: for tests without one, and for clients that block.

    A script that still runs 10 seconds after the block raises `TimeoutError`.
    """
    with BackgroundLoop() as loop:
        acceptor = listening(*scripts)
        yield loop.run(acceptor.__aenter__())
        loop.run(asyncio.wait_for(acceptor.__aexit__(None, None, None), _PATIENCE))
