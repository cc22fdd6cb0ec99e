"""A small C-STORE whose connection is closed or reset after every byte, in both roles."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.faults.line import End, Line, Way, close
from tests.faults.services import Archive, ended, files_in, store_one
from tests.sample_objects import CT, EXPLICIT, dataset_bytes, encoded, instance

from dimse import ClientOptions, ConnectionLost
from dimse.testing import associate_request, message_pdvs, store_request, wire
from dimse.upper_layer.pdu import A_RELEASE_RP, A_RELEASE_RQ

AT_ONCE = 16
"""Conversations at a time."""
DATASET = encoded(instance("1.2.1", pixels=20))
REQUEST = associate_request((CT, [EXPLICIT])).encode()
STORE = wire(message_pdvs(store_request("1.2.1"), DATASET))
RELEASE = A_RELEASE_RQ().encode()
ends = pytest.mark.parametrize("end", [End.CUT, End.RESET])


async def all_of(positions: range, attempt: Callable[[int], Awaitable[None]]) -> None:
    """`attempt` at all positions, some at once."""
    left = iter(positions)

    async def work() -> None:
        for position in left:
            await attempt(position)

    async with asyncio.TaskGroup() as workers:
        for _ in range(AT_ONCE):
            workers.create_task(work())


@ends
async def test_the_requestor_ends(end: End, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def attempt(position: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", archive.port)
        writer.write(REQUEST[:position])
        if position >= len(REQUEST):
            header = await reader.readexactly(6)
            await reader.readexactly(int.from_bytes(header[2:], "big"))
            writer.write((STORE + RELEASE)[: position - len(REQUEST)])
        close(writer, end)

    async with Archive(tmp_path) as archive:
        await all_of(range(len(REQUEST + STORE)), attempt)
        await ended(archive)
        assert files_in(tmp_path) == []
        await all_of(range(len(REQUEST + STORE), len(REQUEST + STORE + RELEASE)), attempt)
        await ended(archive)
        await store_one(f"ARCHIVE@127.0.0.1:{archive.port}", ClientOptions(), tmp_path)
    assert dataset_bytes(tmp_path / "1.2.1.dcm") == DATASET
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@ends
async def test_the_acceptor_ends(end: End, tmp_path: Path) -> None:
    """What was acknowledged is reported as stored, everything else as failed."""
    reports: dict[int, str] = {}

    async def attempt(position: int) -> None:
        async with Line(archive.port, back=Way(after=position, end=end)) as line:
            try:
                await store_one(f"ARCHIVE@127.0.0.1:{line.port}", ClientOptions(), tmp_path)
            except ConnectionLost as error:
                reports[position] = str(error)
            else:
                reports[position] = "stored"

    async with Archive(tmp_path) as archive:
        async with Line(archive.port) as line:
            await store_one(f"ARCHIVE@127.0.0.1:{line.port}", ClientOptions(), tmp_path)
            await line.quiet()
        _, back = line.carried
        await all_of(range(back), attempt)
        await ended(archive)
    acknowledged = back - len(A_RELEASE_RP().encode())
    assert {position for position, report in reports.items() if report == "stored"} == set(range(acknowledged, back))
    assert all(re.search("closed|reset|lost", reports[position]) for position in range(acknowledged))
