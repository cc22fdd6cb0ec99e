"""What a timer of ours makes of a slow line, of a peer that drips and of one that is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.sample_objects import CT, EXPLICIT, IMPLICIT, VERIFICATION, encoded, instance
from tests.server_options import buffered

from dimse import (
    Association,
    AssociationTimeout,
    CEchoSCU,
    CFindSCU,
    CGetSCU,
    ClientOptions,
    Query,
    Server,
    Status,
    StoreRequest,
    Timeouts,
    connect,
    retrieval_contexts,
)
from dimse.testing import ScriptedPeer, associate_request, listening, message_pdvs, response, store_request, wire
from dimse.upper_layer.pdu import A_RELEASE_RQ

SECONDS = 0.5
SLOW = 0.05
"""Seconds between two pieces on a slow line."""


async def slowly(peer: ScriptedPeer, data: bytes, size: int) -> None:
    for start in range(0, len(data), size):
        await peer.send(data[start : start + size])
        await asyncio.sleep(SLOW)


async def drip(peer: ScriptedPeer, data: bytes) -> None:
    """A byte now and then, until the other side has had enough."""
    aborted = asyncio.create_task(peer.expect_abort(0, 0))
    for byte in data:
        if aborted.done():
            break
        await peer.send(bytes([byte]))
        await asyncio.sleep(SLOW)
    await aborted


# Slow and healthy: each takes longer than the timer, in one PDU


async def test_a_large_match_on_a_slow_line() -> None:
    text = b"\x10\0\0\x40UT\0\0" + (200_000).to_bytes(4, "little") + b"x" * 200_000

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        asked = await peer.receive_message()
        command, data = response(asked, 0xFF00, b"\0\0")
        await slowly(peer, wire([command, replace(data, fragment=text)]), 10_000)
        await peer.send(response(asked))
        await peer.answer_release()

    options = ClientOptions(timeouts=Timeouts(find=SECONDS))
    async with listening(script) as address, connect(address, options=options) as association:
        [match] = [each async for each in CFindSCU(association).find(Query.studies())]
        assert len(match.PatientComments) == 200_000


async def test_an_instance_of_a_get_on_a_slow_line(tmp_path: Path) -> None:
    data = encoded(instance(pixels=200_000))

    async def script(peer: ScriptedPeer) -> None:
        asked = await peer.accept()
        context = next(c for c in asked.presentation_contexts if c.abstract_syntax == CT).presentation_context_id
        received = await peer.receive_message()
        message = message_pdvs(store_request(), data, context=context, size=1_000_000)
        await slowly(peer, wire(message), 10_000)
        await peer.receive_message()
        await peer.send(response(received))
        await peer.answer_release()

    options, contexts = ClientOptions(timeouts=Timeouts(get=SECONDS)), retrieval_contexts([CT], [EXPLICIT])
    async with listening(script) as address, connect(address, contexts=contexts, options=options) as association:
        results = CGetSCU(association).get(Query.studies(StudyInstanceUID="1.2"), into=tmp_path)
        assert len([each async for each in results]) == 1


class Archive(Server):
    """Keeps what it got, in memory."""

    def __init__(self) -> None:
        super().__init__("ARCHIVE", port=0, options=buffered(stop_timeout=5, timeouts=Timeouts(idle=SECONDS)))
        self.stored: list[bytes] = []
        self.on_c_store(self.keep)

    async def keep(self, request: StoreRequest) -> Status:
        self.stored.append(bytes(request.data))
        return Status.SUCCESS


async def test_a_store_on_a_slow_line() -> None:
    data = encoded(instance(pixels=200_000))
    async with Archive() as server, await ScriptedPeer.connect(server.port) as peer:
        await peer.associate(associate_request((CT, [EXPLICIT])))
        await slowly(peer, wire(message_pdvs(store_request(), data, size=1_000_000)), 10_000)
        await peer.receive_message()
        await peer.release()
        assert server.stored == [data]


# Dripping


async def test_a_store_that_drips_keeps_no_slot() -> None:
    async with Archive() as server, await ScriptedPeer.connect(server.port) as peer:
        await peer.associate(associate_request((CT, [EXPLICIT])))
        command, *data = message_pdvs(store_request(), bytes(1000), size=1000)
        await peer.send(command)
        await drip(peer, wire(data))


Ask = Callable[[Association], Awaitable[object]]


async def find(association: Association) -> None:
    async for _ in CFindSCU(association).find(Query.studies()):
        pass


@pytest.mark.parametrize(
    ("ask", "timer"),
    [(lambda association: CEchoSCU(association).echo(), "store"), (find, "find")],
    ids=["echo", "find"],
)
async def test_a_response_that_drips_is_none(ask: Ask, timer: str) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await drip(peer, wire(response(await peer.receive_message(), error_comment="x" * 64)))

    options = ClientOptions(timeouts=Timeouts(**{timer: SECONDS}))
    async with listening(script) as address:
        with pytest.raises(AssociationTimeout, match=f"Timeouts.{timer}"):
            async with connect(address, options=options) as association:
                await ask(association)


# The peer has had its time: it gets no more to close the connection


async def never_accepts(peer: ScriptedPeer) -> None:
    await peer.reader.read()


async def never_answers(peer: ScriptedPeer) -> None:
    await peer.accept()
    await peer.reader.read()


async def never_releases(peer: ScriptedPeer) -> None:
    await peer.accept()
    await peer.answer_echo()
    await peer.expect(A_RELEASE_RQ)
    await peer.reader.read()


@pytest.mark.parametrize(
    ("script", "timer"), [(never_accepts, "association"), (never_answers, "store"), (never_releases, "association")]
)
async def test_the_caller_hears_of_it_at_once(
    script: Callable[[ScriptedPeer], Awaitable[None]], timer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dimse.network.exchange.ABORT_GRACE", 30)
    gone = asyncio.Event()

    async def stays(peer: ScriptedPeer) -> None:
        await script(peer)
        await gone.wait()  # and does not close the connection

    options, begun = ClientOptions(timeouts=Timeouts(**{timer: 0.2})), time.monotonic()
    async with listening(stays) as address:
        with pytest.raises(AssociationTimeout, match=f"Timeouts.{timer}"):
            async with connect(address, contexts=[(VERIFICATION, [IMPLICIT])], options=options) as association:
                await CEchoSCU(association).echo()
        assert time.monotonic() - begun < 10
        gone.set()
