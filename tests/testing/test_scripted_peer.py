"""The scripted peer: what does not come as expected fails the test that expects it."""

from __future__ import annotations

import asyncio
import socket

import pytest

import dimse
from dimse import CEchoSCU, Server
from dimse.testing import (
    ScriptedPeer,
    associate_request,
    echo_request,
    listening,
    listening_in_thread,
    message_pdvs,
    response,
)
from dimse.upper_layer.pdu import A_ABORT, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_RELEASE_RP, A_RELEASE_RQ


async def test_as_requestor() -> None:
    async with Server(port=0) as server, await ScriptedPeer.connect(server.port) as peer:
        await peer.associate()
        await peer.send(message_pdvs(echo_request()))
        assert (await peer.receive_message()).message.name == "C-ECHO-RSP"
        await peer.release()


async def test_as_acceptor() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        while await peer.goes_on():
            await peer.send(response(await peer.receive_message(), 0x0122))

    async with listening(script) as address, dimse.connect(address) as association:
        for _ in range(2):
            with pytest.raises(dimse.StatusError):
                await CEchoSCU(association).echo()


async def test_what_comes_instead_is_named() -> None:
    async def script(peer: ScriptedPeer) -> None:
        with pytest.raises(AssertionError, match="expected A_RELEASE_RP, received A_ASSOCIATE_RQ"):
            await peer.expect(A_RELEASE_RP)

    async with listening(script) as address:
        with pytest.raises(dimse.ConnectionLost):
            await _associate(address)


async def test_an_unexpected_abort_or_end_is_named() -> None:
    async def abort(peer: ScriptedPeer) -> None:
        await peer.receive()
        await peer.send(A_ABORT(2, 5))

    async with listening(abort) as address:
        port = dimse.Address.parse(address).port
        async with await ScriptedPeer.connect(port) as peer:
            with pytest.raises(AssertionError, match="expected A_ASSOCIATE_AC, received A_ABORT"):
                await peer.associate()
            with pytest.raises(AssertionError, match="without an A-ABORT"):
                await peer.expect_abort(2, 5)


def test_clients_that_block_meet_a_script() -> None:
    async def reject(peer: ScriptedPeer) -> None:
        await peer.receive()
        await peer.send(A_ASSOCIATE_RJ(1, 1, 7))

    async def accept(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.answer_release()

    with listening_in_thread(reject, accept) as address:
        port = dimse.Address.parse(address).port
        for answer in (A_ASSOCIATE_RJ, A_ASSOCIATE_AC):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(associate_request().encode())
                assert client.recv(1)[0] == answer.pdu_type
                if answer is A_ASSOCIATE_AC:
                    client.sendall(A_RELEASE_RQ().encode())
                while client.recv(1024):
                    pass


def test_a_script_that_fails_in_the_thread_fails_the_test() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.answer_release()

    with (
        pytest.raises(AssertionError, match="expected A_RELEASE_RQ, received A_RELEASE_RP"),
        listening_in_thread(script) as address,
    ):
        asyncio.run(_say_the_wrong_thing(dimse.Address.parse(address).port))


async def _associate(address: str) -> None:
    async with dimse.connect(address):
        pass


async def _say_the_wrong_thing(port: int) -> None:
    async with await ScriptedPeer.connect(port) as peer:
        await peer.send(A_RELEASE_RP())
        await peer.closed()
