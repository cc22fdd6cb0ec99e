"""`dimse move`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pydicom

from dimse import QueryFeatures, QueryRequest, QueryRetrieveModel, Server, Status, StoreRequest

Beside = Callable[..., Any]
STUDY = ("-k", "StudyInstanceUID=1.2.3")


def archive_of(*paths: Path, workstation: str) -> Server:
    server = Server("ARCHIVE", port=0, destinations={"WORKSTATION": workstation})

    @server.on_c_move
    async def move(request: QueryRequest) -> AsyncIterator[Path]:
        for path in paths:
            yield path

    return server


async def test_to_a_second_receiver(beside: Beside, receive: Callable[..., Any], ct: Path, mr: Path) -> None:
    workstation = receive("--title", "WORKSTATION")
    server = archive_of(ct, mr, workstation=f"WORKSTATION@127.0.0.1:{workstation.port}")
    async with server:
        address = f"ARCHIVE@127.0.0.1:{server.port}"
        done = await beside("move", address, *STUDY, "--destination", "WORKSTATION")
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith(f"2 instances moved from {address} to WORKSTATION: ")
        lines = (await beside("move", address, *STUDY, "--destination", "WORKSTATION", "--json")).lines
    names = {str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID) + ".dcm" for path in (ct, mr)}
    assert {name.rsplit("/")[-1] for name in workstation.files()} == names
    *progress, summary = lines
    assert {line["event"] for line in progress} == {"progress"}
    assert progress[-1]["completed"] == 2
    assert (summary["event"], summary["retrieved"], summary["failed"]) == ("summary", 2, 0)


async def test_a_destination_that_the_archive_does_not_know(beside: Beside, ct: Path) -> None:
    server = archive_of(ct, workstation="WORKSTATION@127.0.0.1:1")
    async with server:
        done = await beside("move", f"ARCHIVE@127.0.0.1:{server.port}", *STUDY, "--destination", "NOWHERE")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"dimse: ARCHIVE@127.0.0.1:{server.port}: C-MOVE: 0xA801 Move destination unknown (no address is known for "
        "'NOWHERE'); the archive must know NOWHERE: its host and port\n"
    )


async def test_each_that_the_destination_refused_is_named(beside: Beside, ct: Path, mr: Path) -> None:
    refused = str(pydicom.dcmread(mr, stop_before_pixels=True).SOPInstanceUID)
    workstation = Server("WORKSTATION", port=0)

    @workstation.on_c_store
    async def store(request: StoreRequest) -> Status:
        return Status.NOT_AUTHORIZED if request.sop_instance_uid == refused else Status.SUCCESS

    async with workstation:
        server = archive_of(ct, mr, workstation=f"WORKSTATION@127.0.0.1:{workstation.port}")
        async with server:
            done = await beside("move", f"ARCHIVE@127.0.0.1:{server.port}", *STUDY, "--destination", "WORKSTATION")
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert line.startswith(f"failed: {refused}: ")
    assert done.out.startswith("1 instance moved from ")
    assert ", 1 failed: " in done.out


async def test_nothing_there_is_no_success(beside: Beside) -> None:
    server = archive_of(workstation="WORKSTATION@127.0.0.1:1")
    async with server:
        done = await beside("move", f"ARCHIVE@127.0.0.1:{server.port}", *STUDY, "--destination", "WORKSTATION")
    assert (done.code, done.out) == (1, "")
    assert "nothing retrieved: no matching instances" in done.err


async def test_ctrl_c_cancels(start: Beside, ct: Path) -> None:
    workstation, began, ended = Server("WORKSTATION", port=0), asyncio.Event(), asyncio.Event()

    @workstation.on_c_store
    async def store(request: StoreRequest) -> Status:
        began.set()
        await ended.wait()
        return Status.SUCCESS

    async with workstation:
        server = archive_of(ct, ct, workstation=f"WORKSTATION@127.0.0.1:{workstation.port}")
        async with server:
            process = await start("move", f"ARCHIVE@127.0.0.1:{server.port}", *STUDY, "--destination", "WORKSTATION")
            await began.wait()
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
            ended.set()
    assert (process.returncode, out) == (130, b"")
    (line,) = err.decode().splitlines()
    assert line.startswith("dimse: interrupted; ")


async def test_without_the_unique_keys_above(beside: Beside, ct: Path) -> None:
    """It is relational: an archive that agrees to that has nothing to remark."""
    server = Server("ARCHIVE", port=0, destinations={"NOWHERE": "NOWHERE@127.0.0.1:1"})
    asked: list[tuple[set[str], QueryFeatures]] = []

    @server.on_c_move(features=QueryFeatures(relational=True))
    async def move(request: QueryRequest) -> AsyncIterator[Path]:
        asked.append(({each.keyword for each in request.identifier}, request.features))
        for path in list[Path]():
            yield path

    keys = ("--level", "IMAGE", "-k", "SOPInstanceUID=1.2.3.4")
    async with server:
        done = await beside("move", f"ARCHIVE@127.0.0.1:{server.port}", *keys, "--destination", "NOWHERE")
    assert asked == [({"QueryRetrieveLevel", "SOPInstanceUID"}, QueryFeatures(relational=True))]
    assert "agree" not in done.err


async def test_a_model_without_levels(beside: Beside, receive: Callable[..., Any], ct: Path) -> None:
    workstation, asked = receive("--title", "WORKSTATION"), list[QueryRequest]()
    server = archive_of(workstation=f"WORKSTATION@127.0.0.1:{workstation.port}")

    @server.on_c_move(QueryRetrieveModel.HANGING_PROTOCOL)
    async def move(request: QueryRequest) -> AsyncIterator[Path]:
        asked.append(request)
        yield ct

    async with server:
        address = f"ARCHIVE@127.0.0.1:{server.port}"
        keys = "--model", "hanging-protocol", "-k", "SOPInstanceUID=1.2.3"
        done = await beside("move", address, *keys, "--destination", "WORKSTATION")
    assert (done.code, done.err) == (0, "")
    assert [(request.level, request.identifier.SOPInstanceUID) for request in asked] == [(None, "1.2.3")]
    assert len(workstation.files()) == 1
