"""The phases of an association, and the reason that is given after its end."""

from __future__ import annotations

import asyncio

import pytest
from tests.sample_objects import IMPLICIT, VERIFICATION

from dimse import (
    AssociationAborted,
    AssociationError,
    AssociationRejected,
    CEchoSCU,
    ConnectionLost,
    LocalProtocolError,
    connect,
)
from dimse.network.association import exchange_of
from dimse.network.exchange import Phase
from dimse.testing import Script, ScriptedPeer, listening
from dimse.upper_layer.pdu import A_ABORT, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, A_RELEASE_RQ

CONTEXTS = [(VERIFICATION, [IMPLICIT])]


async def good(peer: ScriptedPeer) -> None:
    await peer.accept()
    await peer.answer_release()


async def releases(peer: ScriptedPeer) -> None:
    await peer.accept()
    await peer.answer_echo()
    await peer.send(A_RELEASE_RQ())


async def aborts(peer: ScriptedPeer) -> None:
    await peer.accept()
    await peer.answer_echo()
    await peer.send(A_ABORT(0, 0))


async def closes(peer: ScriptedPeer) -> None:
    await peer.accept()
    await peer.answer_echo()


async def test_a_release_of_this_side() -> None:
    async with listening(good) as address, connect(address, contexts=CONTEXTS) as association:
        exchange = exchange_of(association)
        assert exchange.phase is Phase.OPEN
        exchange.check_open()
        await association.release()
        assert (exchange.phase, exchange.error) == (Phase.RELEASED, None)
        with pytest.raises(LocalProtocolError, match="the association has been released"):
            exchange.check_open()


async def test_a_release_by_two_tasks() -> None:
    """One A-RELEASE-RQ is sent, and both tasks wait for the response."""
    async with listening(good) as address, connect(address, contexts=CONTEXTS) as association:
        await asyncio.gather(association.release(), association.release())
        assert exchange_of(association).phase is Phase.RELEASED


@pytest.mark.parametrize(
    ("script", "phase", "reason"),
    [
        (releases, Phase.RELEASED_BY_PEER, AssociationError),
        (aborts, Phase.FAILED, AssociationAborted),
        (closes, Phase.FAILED, ConnectionLost),
    ],
)
async def test_an_end_that_the_peer_decides(script: Script, phase: Phase, reason: type[Exception]) -> None:
    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        exchange = exchange_of(association)
        await CEchoSCU(association).echo()
        await exchange.over
        assert exchange.phase is phase
        assert not association.is_open
        with pytest.raises(reason):
            exchange.check_open()


async def test_before_it_is_established_nothing_is_agreed_on() -> None:
    async def rejects(peer: ScriptedPeer) -> None:
        await peer.expect(A_ASSOCIATE_RQ)
        await peer.send(A_ASSOCIATE_RJ(result=1, source=1, reason=1))

    async with listening(rejects) as address:
        with pytest.raises(AssociationRejected):
            async with connect(address, contexts=CONTEXTS):
                pytest.fail("it was not rejected")
