"""`dimse echo --repeat`."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import Callable
from typing import Any

from dimse import Association, Server, Status
from dimse.network.association import exchange_of
from dimse.services.verification import EchoRequest
from dimse.testing import Abort, Answer, Drop, FakeArchive, Refuse

Beside = Callable[..., Any]


def test_a_line_for_each_and_statistics(dimse: Beside) -> None:
    with FakeArchive() as archive:
        done = dimse("echo", archive.address, "--repeat", 3, "--interval", 0)
        connections = archive.connections
    assert (done.code, done.err, connections) == (0, "", 1)
    *lines, summary = done.out.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["echo 1", "echo 2", "echo 3"]
    assert "associated in" in lines[0]
    assert "associated in" not in lines[1]
    assert re.fullmatch(r"3 echoes, 3 answered, 0 lost: min [\d.]+, median [\d.]+, max [\d.]+ ms", summary)


def test_lost_echoes_are_counted_and_the_next_has_a_new_association(dimse: Beside) -> None:
    with FakeArchive() as archive:
        archive.on("C-ECHO", Drop(), nth=2)
        archive.on("C-ECHO", Answer(Status.OUT_OF_RESOURCES), nth=3)
        archive.on("C-ECHO", Abort(), nth=5)
        done = dimse("echo", archive.address, "--repeat", 6, "--interval", 0, "--json")
        connections = archive.connections
    assert (done.code, connections) == (1, 4)
    *echoes, summary = done.lines
    assert [echo["number"] for echo in echoes] == [1, 2, 3, 4, 5, 6]
    assert [echo["error"] is None for echo in echoes] == [True, False, False, True, False, True]
    assert "0xA700" in echoes[2]["error"]
    assert [echo["association_ms"] is not None for echo in echoes if echo["error"] is None] == [True, True, True]
    assert (summary["answered"], summary["lost"]) == (3, 3)
    assert summary["min_ms"] <= summary["median_ms"] <= summary["max_ms"]


def test_without_any_association(dimse: Beside) -> None:
    with FakeArchive() as archive:
        archive.on("A-ASSOCIATE", Refuse())
        done = dimse("echo", archive.address, "--repeat", 2, "--interval", 0)
    assert (done.code, done.err) == (3, "")
    assert [line.partition(": ")[0] for line in done.out.splitlines()[:2]] == ["echo 1 lost", "echo 2 lost"]
    assert done.out.splitlines()[2] == "2 echoes, 0 answered, 2 lost"


def test_none_answered_with_success(dimse: Beside) -> None:
    with FakeArchive() as archive:
        archive.on("C-ECHO", Answer(Status.OUT_OF_RESOURCES))
        done = dimse("echo", archive.address, "--repeat", 2, "--interval", 0)
    assert done.code == 1


async def test_ctrl_c_ends_it_with_the_statistics(start: Beside) -> None:
    server = Server("ARCHIVE", port=0)
    associations: list[Association] = []

    @server.on_c_echo
    async def echo(request: EchoRequest) -> Status:
        associations.append(request.association)
        return Status.SUCCESS

    async with server:
        address = f"ARCHIVE@127.0.0.1:{server.port}"
        process = await start("echo", address, "--repeat", 0, "--interval", 60, "--json")
        first = json.loads(await process.stdout.readline())
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
        await exchange_of(associations[0]).closed()
    assert (process.returncode, err) == (0, b"")
    assert associations[0].error is None, "it was released"
    assert first["number"] == 1
    summary = json.loads(out)
    assert (summary["event"], summary["answered"], summary["lost"]) == ("summary", 1, 0)


async def test_ctrl_c_before_any_answer(start: Beside) -> None:
    server, began, over = Server("ARCHIVE", port=0), asyncio.Event(), asyncio.Event()

    @server.on_c_echo
    async def echo(_: EchoRequest) -> Status:
        began.set()
        await over.wait()
        return Status.SUCCESS

    async with server:
        process = await start("echo", f"ARCHIVE@127.0.0.1:{server.port}", "--repeat", 5)
        await began.wait()
        process.send_signal(signal.SIGINT)
        out, _ = await process.communicate()
        over.set()
    assert process.returncode == 130
    assert "0 answered, 0 lost" in out.decode()
