"""How `dimse send` ends: its exit code where the association is what failed, and where nobody reads its output."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.cli.conftest import run_beside, start_beside
from tests.sample_objects import instance, save

from dimse import Server, Status, StoreRequest
from dimse.testing import ScriptedPeer, listening, response
from dimse.upper_layer.pdu import A_ABORT, A_RELEASE_RQ, P_DATA_TF

Script = Callable[[ScriptedPeer], Awaitable[None]]


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return [save(instance(f"1.2.{i}"), tmp_path / f"{i}.dcm") for i in (1, 2, 3)]


async def aborts(peer: ScriptedPeer) -> None:
    await peer.expect(P_DATA_TF)
    await peer.send(A_ABORT(0, 0))
    await peer.closed()


async def resets(peer: ScriptedPeer) -> None:
    await peer.expect(P_DATA_TF)
    peer.reset()


async def talks_nonsense(peer: ScriptedPeer) -> None:
    await peer.expect(P_DATA_TF)
    await peer.send(b"\xff" * 100)
    await peer.closed()


async def answers_another(peer: ScriptedPeer) -> None:
    received = await peer.receive_message()
    await peer.send(response(received, message_id_being_responded_to=999))
    await peer.closed()


async def releases(peer: ScriptedPeer) -> None:
    await peer.send(A_RELEASE_RQ())
    await peer.closed()


async def never_answers(peer: ScriptedPeer) -> None:
    await peer.closed()


ENDS = pytest.mark.parametrize("end", [aborts, resets, talks_nonsense, answers_another, releases, never_answers])


@ENDS
@pytest.mark.parametrize("stored", [0, 1])
async def test_an_association_that_fails(end: Script, stored: int, paths: list[Path]) -> None:
    """3, also where some were stored before; what was not is named."""

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        for _ in range(stored):
            await peer.send(response(await peer.receive_message()))
        await end(peer)

    async with listening(script) as address:
        done = await run_beside(
            *("send", address, *paths[: stored + 1], "--retries", 0, "--timeout", 1, "--window", 1, "--json")
        )
    *results, summary = done.lines
    assert done.code == 3
    assert [line["outcome"] for line in results] == ["stored"] * stored + ["failed"]
    assert (summary["stored"], summary["failed"]) == (stored, 1)


async def test_what_is_refused_is_another_exit_code(paths: list[Path]) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        while await peer.goes_on():
            await peer.send(response(await peer.receive_message(), 0xC000))

    async with listening(script) as address:
        assert (await run_beside("send", address, *paths)).code == 1


async def test_an_association_that_fails_and_is_made_again(paths: list[Path]) -> None:
    async def breaks(peer: ScriptedPeer) -> None:
        await peer.accept()
        await aborts(peer)

    async def takes_all(peer: ScriptedPeer) -> None:
        await peer.accept()
        while await peer.goes_on():
            await peer.send(response(await peer.receive_message()))

    async with listening(breaks, takes_all) as address:
        done = await run_beside("send", address, *paths)
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("command", [[], ["--associations", 2]])
async def test_output_that_nobody_reads_any_more(command: list[object], paths: list[Path]) -> None:
    """As with `| head -1`: it stops, and says nothing."""
    server, goes_on = Server(port=0), asyncio.Event()
    asked: list[str] = []

    @server.on_c_store
    async def store(request: StoreRequest) -> Status:
        asked.append(request.sop_instance_uid)
        if len(asked) > 1:
            await goes_on.wait()
        return Status.SUCCESS

    async with server:
        address = f"ANY@127.0.0.1:{server.port}"
        process = await start_beside("send", address, *paths, "--window", 1, "--json", *command)
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(await process.stdout.readline())["outcome"] == "stored"
        process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
        goes_on.set()
        assert await process.stderr.read() == b""
        assert await process.wait() == 1
