"""A peer that says exactly what a test tells it to: bytes on a socket, and none of our own network layer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from dimse.messages.fragments import cut
from dimse.messages.message import (
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_STORE_RQ,
    MESSAGES,
    Message,
    Request,
    Response,
    decode_message,
)
from dimse.status import Status
from dimse.upper_layer.items import PresentationContextAC, PresentationContextRQ, UserInformation
from dimse.upper_layer.pdu import (
    A_ABORT,
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RQ,
    A_RELEASE_RP,
    A_RELEASE_RQ,
    P_DATA_TF,
    PDU,
    PDU_HEADER,
    PDU_TYPES,
    PDV,
)

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
INFORMATION = UserInformation(
    maximum_length=16384, implementation_class_uid="1.2.3", implementation_version_name="PEER"
)

P = TypeVar("P", bound=PDU)


@dataclass(frozen=True)
class Received:
    """A whole message as the peer read it."""

    presentation_context_id: int
    message: Message
    data: bytes | None
    fragments: tuple[int, ...]
    """Length of each fragment of the data set."""


def message_pdvs(message: Message, data: bytes | None = None, *, context: int = 1, size: int = 16000) -> list[PDV]:
    """A message as PDVs of at most `size` bytes."""
    pdvs = [PDV(context, True, last, part) for part, last in cut(message.encode(), size)]
    if data is not None:
        pdvs += [PDV(context, False, last, part) for part, last in cut(data, size)]
    return pdvs


def response(to: Received, status: int = 0, data: bytes | None = None, **fields: Any) -> list[PDV]:
    """The response to a request, on its context; `data` is its identifier."""
    kind, asked = MESSAGES[to.message.command_field | 0x8000], to.message
    assert issubclass(kind, Response)
    assert isinstance(asked, Request)
    fields = {"message_id_being_responded_to": asked.message_id, "dataset_follows": data is not None} | fields
    return message_pdvs(kind(status=Status(status), **fields), data, context=to.presentation_context_id)


def wire(*messages: Iterable[PDV]) -> bytes:
    """Messages as they are sent, to go in one piece."""
    return b"".join(P_DATA_TF((pdv,)).encode() for message in messages for pdv in message)


def request(*contexts: tuple[str, Sequence[str]], calling: str = "PEER", called: str = "ARCHIVE") -> A_ASSOCIATE_RQ:
    """An A-ASSOCIATE-RQ; the contexts are numbered 1, 3, 5 ..."""
    contexts = contexts or ((VERIFICATION, [IMPLICIT]), (CT, [EXPLICIT]))
    proposed = tuple(PresentationContextRQ(2 * i + 1, uid, tuple(syn)) for i, (uid, syn) in enumerate(contexts))
    return A_ASSOCIATE_RQ(called, calling, INFORMATION, presentation_contexts=proposed)


def echo(message_id: int = 1) -> C_ECHO_RQ:
    return C_ECHO_RQ(message_id=message_id, affected_sop_class_uid=VERIFICATION)


def store(instance: str = "1.2.3.4", message_id: int = 1, sop_class: str = CT) -> C_STORE_RQ:
    return C_STORE_RQ(
        message_id=message_id,
        affected_sop_class_uid=sop_class,
        affected_sop_instance_uid=instance,
        dataset_follows=True,
    )


class ScriptedPeer:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.answer: A_ASSOCIATE_AC | None = None

    @classmethod
    async def connect(cls, port: int, host: str = "127.0.0.1") -> Self:
        return cls(*await asyncio.open_connection(host, port))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    # Out

    async def send(self, *pieces: PDU | PDV | Iterable[PDV] | bytes) -> None:
        """Send PDUs, PDVs in a P-DATA-TF of their own each, or plain bytes."""
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
        """Vanish: the connection is reset."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()

    # In

    async def receive(self) -> PDU | None:
        """The next PDU; None when the other side has closed the connection."""
        try:
            kind, length = PDU_HEADER.unpack(await self.reader.readexactly(PDU_HEADER.size))
            return PDU_TYPES[kind].decode(await self.reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def expect(self, kind: type[P]) -> P:
        """The next PDU, which is one of this kind."""
        pdu = await self.receive()
        assert isinstance(pdu, kind), pdu
        return pdu

    async def expect_abort(self, source: int, reason: int) -> None:
        """Read on to an A-ABORT with this reason."""
        while not isinstance(pdu := await self.receive(), A_ABORT):
            assert pdu is not None, "closed without an A-ABORT"
        assert (pdu.source, pdu.reason) == (source, reason)

    async def closed(self) -> None:
        """Read on to the end of the connection."""
        while await self.receive() is not None:
            pass

    async def receive_message(self, pause: float = 0) -> Received:
        """The next message, with its data set if one follows; a slow peer makes a pause before each PDU."""
        command, data, sizes = b"", b"", list[int]()
        message: Message | None = None
        while True:
            await asyncio.sleep(pause)
            for pdv in (await self.expect(P_DATA_TF)).presentation_data_values:
                if pdv.is_command:
                    command += pdv.fragment
                    if pdv.is_last:
                        message = decode_message(command)
                else:
                    assert message is not None, "data before its command"
                    data += pdv.fragment
                    sizes.append(len(pdv.fragment))
                if message is not None and pdv.is_last and pdv.is_command != message.dataset_follows:
                    whole = data if message.dataset_follows else None
                    return Received(pdv.presentation_context_id, message, whole, tuple(sizes))

    async def expect_cancel(self, of: Received) -> None:
        """The next message, which is the C-CANCEL of this request."""
        received = await self.receive_message()
        assert isinstance(of.message, Request)
        assert received.message == C_CANCEL_RQ(message_id_being_responded_to=of.message.message_id)
        assert received.presentation_context_id == of.presentation_context_id

    # The usual moves

    async def associate(self, ask: A_ASSOCIATE_RQ | None = None) -> A_ASSOCIATE_AC:
        """As requestor: ask for an association, and have it."""
        await self.send(ask or request())
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
        """As acceptor: read the request, accept what is in `syntaxes`; anything if None. `also` shares its segment.

        The roles are those asked for, without SCP where `refused_roles` has the SOP class.
        """
        asked = await self.expect(A_ASSOCIATE_RQ)
        allowed = None if syntaxes is None else set(syntaxes)
        answers = []
        for context in asked.presentation_contexts:
            chosen = next((s for s in context.transfer_syntaxes if allowed is None or s in allowed), None)
            identifier = context.presentation_context_id
            answers.append(PresentationContextAC(identifier, 0 if chosen else 4, chosen or IMPLICIT))
        asked_roles = asked.user_information.role_selections
        roles = tuple(replace(role, scp_role=role.sop_class_uid not in refused_roles) for role in asked_roles)
        if roles and answers_roles:
            information = replace(information, role_selections=roles)
        answer = A_ASSOCIATE_AC(
            asked.called_ae_title, asked.calling_ae_title, information, presentation_contexts=tuple(answers)
        )
        await self.send(b"".join(pdu.encode() for pdu in (answer, *also)))
        return asked

    async def release(self) -> None:
        """As requestor: end the association in order."""
        await self.send(A_RELEASE_RQ())
        await self.expect(A_RELEASE_RP)

    async def answer_echo(self) -> None:
        """Answer the C-ECHO that comes next."""
        received = await self.receive_message()
        assert isinstance(received.message, C_ECHO_RQ), received.message
        await self.send(response(received))

    async def answer_release(self) -> None:
        """Wait for the other side's release, and answer it."""
        await self.expect(A_RELEASE_RQ)
        await self.send(A_RELEASE_RP())

    async def goes_on(self) -> bool:
        """Whether something else comes next than the other side's release, which is answered."""
        first = await self.reader.readexactly(1)
        self.reader._buffer[0:0] = first  # type: ignore[attr-defined]  # put back
        if first[0] == A_RELEASE_RQ.pdu_type:
            await self.answer_release()
        return first[0] != A_RELEASE_RQ.pdu_type


Script = Callable[[ScriptedPeer], Awaitable[None]]


@asynccontextmanager
async def listening(*scripts: Script, receive_buffer: int | None = None) -> AsyncIterator[str]:
    """An acceptor that plays a script for each connection, the last one for all that follow. Gives its address.

    At the end the scripts must have run through; what one of them raises is raised.
    """
    waiting = list(scripts)
    tasks: list[asyncio.Task[None]] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        async with ScriptedPeer(reader, writer) as peer:
            await script(peer)

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.ensure_future(play(reader, writer)))

    listener = socket.socket()
    if receive_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    listener.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(connected, sock=listener)
    try:
        yield f"ARCHIVE@127.0.0.1:{listener.getsockname()[1]}"
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        server.close()
