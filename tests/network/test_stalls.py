"""Peers that stop at any point of a conversation, or go on at twenty bytes a second: each step has its deadline."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from pydicom.dataset import Dataset
from tests.certificate import CERTIFICATE, KEY
from tests.sample_objects import CT, EXPLICIT, IMPLICIT, VERIFICATION, encoded, instance
from tests.server_options import buffered

from dimse import (
    Association,
    AssociationTimeout,
    CEchoSCU,
    CFindSCU,
    CGetSCU,
    ClientOptions,
    CStoreSCU,
    Query,
    Server,
    Status,
    StoreRequest,
    Timeouts,
    connect,
    retrieval_contexts,
)
from dimse.dataset.codec import encode
from dimse.testing import (
    ScriptedPeer,
    associate_request,
    listening,
    message_pdvs,
    response,
    store_request,
    wire,
)
from dimse.upper_layer.pdu import A_ABORT, A_RELEASE_RP, A_RELEASE_RQ

SECONDS: Final = 0.8
"""A timer. A busy machine takes less for the step that comes before a stall."""
LONG: Final = 30
PAUSE: Final = 0.05
COPIES: Final = 7
"""Of each stall of a requestor, at the same time: with both ways to stall more than 200."""

REQUEST: Final = associate_request().encode()
DATA: Final = encoded(instance(pixels=2000))
STORE: Final = wire(message_pdvs(store_request(), DATA, context=3, size=1000))
COMMAND: Final = len(wire(message_pdvs(store_request())))
PDU: Final = 1012
"""The bytes of one full P-DATA-TF of the data set."""


async def go_on(peer: ScriptedPeer, rest: bytes, drips: bool) -> list[object]:
    """Stop, or send a byte now and then, until the other side has closed the connection. Returns what it sent."""
    over = asyncio.create_task(to_the_end(peer))
    await drip(peer, rest if drips else b"", over)
    return over.result()


async def to_the_end(peer: ScriptedPeer) -> list[object]:
    received = list[object]()
    while (pdu := await peer.receive()) is not None:
        received.append(pdu)
    return received


async def go_on_in_bytes(peer: ScriptedPeer, rest: bytes, drips: bool) -> None:
    """As `go_on`, where what is received is no sequence of PDUs."""
    over = asyncio.create_task(peer.reader.read())
    await drip(peer, rest if drips else b"", over)
    over.exception()


async def drip(peer: ScriptedPeer, rest: bytes, over: asyncio.Task[Any]) -> None:
    for byte in rest:
        if over.done() or peer.writer.transport.is_closing():
            break
        with suppress(ConnectionError):  # closed just now
            await peer.send(bytes([byte]))
        await asyncio.wait({over}, timeout=PAUSE)
    await asyncio.wait({over})


# Requestors that stall


@dataclass(frozen=True)
class Stall:
    """What a requestor sends before it stalls, and what would have come then."""

    sent: bytes
    rest: bytes = bytes(1000)
    associates: bool = True
    aborted: bool = True
    """Whether the acceptor aborts the association; else it has ended, and the acceptor closes the connection."""


REQUESTORS: Final = {
    "before A-ASSOCIATE-RQ": Stall(b"", REQUEST, associates=False, aborted=False),
    "in the header of A-ASSOCIATE-RQ": Stall(REQUEST[:4], REQUEST[4:], associates=False, aborted=False),
    "in A-ASSOCIATE-RQ": Stall(REQUEST[:100], REQUEST[100:], associates=False, aborted=False),
    "after A-ASSOCIATE-AC": Stall(b"", STORE),
    "in a PDU header": Stall(STORE[:3], STORE[3:]),
    "in a PDV of a command": Stall(STORE[:40], STORE[40:]),
    "between command and data set": Stall(STORE[:COMMAND], STORE[COMMAND:]),
    "in a PDV of a data set": Stall(STORE[: COMMAND + 500], STORE[COMMAND + 500 :]),
    "between PDVs of a data set": Stall(STORE[: COMMAND + PDU], STORE[COMMAND + PDU :]),
    "in the last PDV": Stall(STORE[:-1], b""),
    "in A-RELEASE-RQ": Stall(A_RELEASE_RQ().encode()[:7], b"\0\0"),
    "after A-RELEASE-RP": Stall(A_RELEASE_RQ().encode(), STORE, aborted=False),
    "after an A-ABORT of the acceptor": Stall(b"\xff" * 6),
    "after A-ASSOCIATE-RJ": Stall(
        associate_request(called="").encode(), STORE, associates=False, aborted=False
    ),  # a blank called AE title
}


async def stalls(port: int, stall: Stall, drips: bool) -> bool:
    """Stall, and say whether that was answered with an A-ABORT."""
    async with await ScriptedPeer.connect(port) as peer:
        if stall.associates:
            await peer.associate()
        await peer.send(stall.sent)
        received = await go_on(peer, stall.rest, drips)
        return any(isinstance(each, A_ABORT) for each in received)


class Archive(Server):
    """Has short timers, and keeps what it got."""

    def __init__(self, **options: object) -> None:
        timeouts = Timeouts(artim=SECONDS, idle=SECONDS)
        unlimited: dict[str, object] = dict.fromkeys(
            ("maximum_associations_per_host", "maximum_associations_per_title", "maximum_connections_per_second")
        )
        everything = {"stop_timeout": 5, "maximum_associations": 1000, "timeouts": timeouts, **unlimited, **options}
        super().__init__("ARCHIVE", port=0, host="127.0.0.1", options=buffered(**everything))
        self.stored = 0
        self.on_c_store(self.keep)

    async def keep(self, request: StoreRequest) -> Status:
        assert request.data == DATA
        self.stored += 1
        return Status.SUCCESS


async def test_requestors_that_stall_end_in_time_and_others_are_served(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    cases = [(name, drips) for name in REQUESTORS for drips in (False, True) for _ in range(COPIES)]
    async with asyncio.timeout(30), Archive() as server:
        address = f"ARCHIVE@127.0.0.1:{server.port}"
        stalled = asyncio.gather(*(stalls(server.port, REQUESTORS[name], drips) for name, drips in cases))
        served = 0
        while not stalled.done():
            async with connect(address, contexts=[(VERIFICATION, [IMPLICIT]), (CT, [EXPLICIT])]) as association:
                await CEchoSCU(association).echo()
                await CStoreSCU(association).send(instance(pixels=2000))
                served += 1
        aborted = await stalled
        assert server.stored == served
        assert not server.associations
    wrong = {case for case, result in zip(cases, aborted, strict=True) if result != REQUESTORS[case[0]].aborted}
    assert not wrong
    assert "Traceback" not in caplog.text


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    (tmp_path / "cert.pem").write_text(CERTIFICATE)
    (tmp_path / "key.pem").write_text(KEY)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context


async def test_handshakes_that_stall_end_in_time(tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dimse.network.handshake.TLS_HANDSHAKE", SECONDS)
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    async with asyncio.timeout(30), Archive(tls=tls) as server:

        async def stalls(count: int, drips: bool) -> None:
            async with await ScriptedPeer.connect(server.port) as peer:
                await peer.send(hello[:count])
                await go_on_in_bytes(peer, hello[count:], drips)

        await asyncio.gather(*(stalls(n, drips) for n in (0, 1, 5, 100, len(hello)) for drips in (False, True)))


# Acceptors that stall

Script = Callable[[ScriptedPeer, bool], Awaitable[None]]
Ask = Callable[[Association], Awaitable[object]]
IDENTIFIER: Final = Dataset()
IDENTIFIER.PatientID = "1" * 40
GET: Final = retrieval_contexts([CT], [EXPLICIT])


async def echo(association: Association) -> None:
    await CEchoSCU(association).echo()


async def store(association: Association) -> None:
    await CStoreSCU(association).send(instance(pixels=2000))


async def find(association: Association) -> None:
    async for _ in CFindSCU(association).find(Query.studies()):
        pass


async def get(association: Association) -> None:
    async def drop(request: StoreRequest) -> Status:
        return Status.SUCCESS

    async for _ in CGetSCU(association).get(Query.studies(StudyInstanceUID="1.2"), handler=drop):
        pass


def stalls_before(count: int) -> Script:
    """It sends so many bytes of an A-ASSOCIATE-AC."""

    async def script(peer: ScriptedPeer, drips: bool) -> None:
        await peer.reader.readexactly(6)
        header = b"\x02\0\0\0\0\xb8\0\1\0\0"
        await peer.send(header[:count])
        await go_on_in_bytes(peer, (header + bytes(184))[count:], drips)

    return script


def stalls_in_response(count: int, status: int = 0, data: bytes | None = None, before: int = 0) -> Script:
    """It sends so many bytes of a response, after some Pending ones."""

    async def script(peer: ScriptedPeer, drips: bool) -> None:
        await peer.accept()
        received = await peer.receive_message()
        for _ in range(before):
            await peer.send(response(received, 0xFF00, data))
        whole = wire(response(received, status, data))
        await peer.send(whole[:count])
        await go_on(peer, whole[count:-1], drips)

    return script


async def stalls_in_suboperation(peer: ScriptedPeer, drips: bool) -> None:
    asked = await peer.accept()
    context = next(c for c in asked.presentation_contexts if c.abstract_syntax == CT).presentation_context_id
    await peer.receive_message()
    whole = wire(message_pdvs(store_request(), DATA, context=context, size=1000))
    await peer.send(whole[: COMMAND + PDU + 100])
    await go_on(peer, whole[COMMAND + PDU + 100 :], drips)


def stalls_in_release(count: int) -> Script:
    async def script(peer: ScriptedPeer, drips: bool) -> None:
        await peer.accept()
        await peer.expect(A_RELEASE_RQ)
        whole = A_RELEASE_RP().encode()
        await peer.send(whole[:count])
        await go_on(peer, whole[count:-1], drips)

    return script


async def nothing(association: Association) -> None:
    """Only release it."""


ACCEPTORS: Final[dict[str, tuple[Script, Ask, str | None]]] = {
    "before A-ASSOCIATE-AC": (stalls_before(0), nothing, "association"),
    "in A-ASSOCIATE-AC": (stalls_before(10), nothing, "association"),
    "before the response to C-ECHO": (stalls_in_response(0), echo, "store"),
    "in the response to C-ECHO": (stalls_in_response(50), echo, "store"),
    "before the response to C-STORE": (stalls_in_response(0), store, "store"),
    "before the first Pending response": (stalls_in_response(0), find, "find"),
    "in a Pending response": (stalls_in_response(50, 0xFF00, encode(IDENTIFIER, EXPLICIT)), find, "find"),
    "in its identifier": (stalls_in_response(120, 0xFF00, encode(IDENTIFIER, EXPLICIT)), find, "find"),
    "before the final response": (stalls_in_response(0, 0, encode(IDENTIFIER, EXPLICIT), before=3), find, "find"),
    "in a C-STORE sub-operation": (stalls_in_suboperation, get, "get"),
    "before A-RELEASE-RP": (stalls_in_release(0), nothing, "association"),
    "in A-RELEASE-RP": (stalls_in_release(7), nothing, "association"),
    "after A-RELEASE-RP": (stalls_in_release(10), nothing, None),
}


async def test_acceptors_that_stall_are_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dimse.network.exchange.ABORT_GRACE", SECONDS)

    async def told(script: Script, ask: Ask, timer: str | None, drips: bool) -> str | None:
        """The timer that expired. The others are long: on a busy machine they would expire before the stall."""
        timeouts: dict[str, float] = dict.fromkeys(("association", "store", "find", "get"), LONG)
        timeouts |= {timer: SECONDS} if timer else {}
        options = ClientOptions(timeouts=Timeouts(connect=LONG, artim=SECONDS, **timeouts))

        async def play(peer: ScriptedPeer) -> None:
            with suppress(AssertionError):  # the requestor has aborted already
                await script(peer, drips)

        async with listening(play) as address:
            try:
                async with connect(address, contexts=GET if ask is get else None, options=options) as association:
                    await ask(association)
            except AssociationTimeout as error:
                return error.timer
            return None

    cases = [(name, drips) for name in ACCEPTORS for drips in (False, True)]
    async with asyncio.timeout(30):
        results = await asyncio.gather(*(told(*ACCEPTORS[name], drips) for name, drips in cases))
    wrong = {case: got for case, got in zip(cases, results, strict=True) if got != ACCEPTORS[case[0]][2]}
    assert not wrong
