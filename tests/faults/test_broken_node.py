"""A node without room on its disk, or without its index: 0xA700 on an association that lives, red, and it recovers."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from tests.node.commits import all_told, settled, until
from tests.node.conftest import postgresql_schemas, postgresql_server, postgresql_url
from tests.node.ingesting import files_of, status_of, stored
from tests.node.postgresql import start, stop
from tests.sample_objects import CT, EXPLICIT, instance

import dimse
from dimse import Status
from dimse.node import CommandOptions, Node, NodeOptions, SettlingOptions, StorageOptions, WebOptions, incoming
from dimse.node import index as index_module
from dimse.node.events import EventKind, since
from dimse.node.recount import recount

__all__ = ["postgresql_schemas", "postgresql_server", "postgresql_url"]

CONTEXTS = [(CT, [EXPLICIT]), (dimse.uids.STUDY_ROOT_FIND, [EXPLICIT])]


@asynccontextmanager
async def serving(data: Path, **options: Any) -> AsyncIterator[tuple[Node, dimse.Association]]:
    """A node with its page, and an association that lasts."""
    given = NodeOptions(data=data, port=0, storage=StorageOptions(minimum_free=0), web=WebOptions(port=0))
    async with (
        Node(replace(given, **options)) as node,
        dimse.connect(node.address, contexts=CONTEXTS) as association,
    ):
        assert await status_of(association, instance("1.2.4.1")) == Status.SUCCESS
        assert await readiness(node) == (200, "")
        yield node, association


async def readiness(node: Node) -> tuple[int, str]:
    """What /readyz answers: its code, and what is wrong."""
    assert node.page is not None
    url = f"{node.page.url}readyz"

    def ask() -> tuple[int, str]:
        try:
            with urlopen(url) as answer:  # noqa: S310 - our own loopback URL
                return answer.status, ""
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(ask)


async def until_ready(node: Node) -> None:
    async with asyncio.timeout(30):
        while (await readiness(node))[0] != 200:
            pass


def check_whole(node: Node, expected: int) -> None:
    """Index, files and counters agree, and nothing is half."""
    rows = stored(node.index)
    assert len(rows) == expected
    assert files_of(node.options.data) == sorted(rows)
    assert all((node.options.data / place).stat().st_size == size for place, (size, _) in rows.items())
    with node.index.reading() as connection:
        assert recount(connection) == []


async def test_a_full_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "PREPARED", 4)
    filler = small_disk / "filler"
    async with serving(small_disk / "data") as (node, association):
        with filler.open("wb") as file:
            file.write(bytes(4096) * os.statvfs(small_disk).f_bavail)
        status = await status_of(association, instance("1.2.4.2", pixels=60_000))
        assert (status, status.comment) == (Status.OUT_OF_RESOURCES, "No space left on device")
        code, said = await readiness(node)
        assert (code, "No space left on device" in said) == (503, True)
        assert len([match async for match in dimse.find(node.address, dimse.Query.studies())]) == 1
        filler.unlink()
        await until_ready(node)
        assert await status_of(association, instance("1.2.4.2", pixels=60_000)) == Status.SUCCESS
        check_whole(node, 2)


LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


async def test_an_index_that_another_process_has_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "BUSY", 0.1)
    async with serving(tmp_path) as (node, association):
        other = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", LOCK, str(tmp_path / "index.sqlite")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert other.stdout is not None
        assert await other.stdout.readline() == b"locked\n"
        status = await status_of(association, instance("1.2.4.2"))
        assert (status, status.comment) == (Status.OUT_OF_RESOURCES, "the index cannot be written")
        code, said = await readiness(node)
        assert (code, "index" in said) == (503, True)
        assert len([match async for match in dimse.find(node.address, dimse.Query.studies())]) == 1
        await other.communicate(b"")
        await until_ready(node)
        assert await status_of(association, instance("1.2.4.2")) == Status.SUCCESS
        check_whole(node, 2)


async def test_a_server_that_is_gone_and_comes_back(tmp_path: Path, postgresql_url: str) -> None:
    """Its index is in PostgreSQL. What settles studies, and what runs commands, goes on too."""
    settling = SettlingOptions(quiet=600, quiet_after_association=0.01)
    commands = [CommandOptions(run=("touch", str(tmp_path / "told-{StudyInstanceUID}")))]
    async with serving(tmp_path / "data", index=postgresql_url, settling=settling, commands=commands) as (
        node,
        association,
    ):
        await asyncio.to_thread(stop, postgresql_url)
        try:
            status = await status_of(association, instance("1.2.4.2"))
            assert (status, status.comment) == (Status.OUT_OF_RESOURCES, "the index cannot be written")
            code, said = await readiness(node)
            assert (code, "index" in said) == (503, True)
            with pytest.raises(dimse.StatusError):
                async for _ in dimse.CFindSCU(association).find(dimse.Query.studies()):
                    pass
        finally:
            await asyncio.to_thread(start, postgresql_url)
        await until_ready(node)
        assert await status_of(association, instance("1.2.4.2")) == Status.SUCCESS
        check_whole(node, 2)
        await association.release()
        async with asyncio.timeout(30):
            await until(node.index, settled)
            await until(node.index, all_told)
        assert await asyncio.to_thread(lambda: list(tmp_path.glob("told-*")))
        events = await node.index.read(lambda connection: list(since(connection, 0)))
        assert [each.kind for each in events] == [EventKind.STUDY_CREATED, EventKind.STUDY_SETTLED]
