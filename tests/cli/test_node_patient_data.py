"""No log, event or metric of a node and its commands has a value of a data set or of a query, not even with -vvv."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.services.canaries import hits, marked

import dimse
from dimse.node.index import Index
from dimse.node.schema import event, job

from .conftest import COMMAND
from .test_patient_data import make_files

CONFIGURATION = """
[settling]
quiet_after_association = 0.1
[storage]
minimum_free = 0
[[command]]
run = ["echo", "{StudyInstanceUID}"]
on = ["study-created", "study-settled", "duplicate", "conflict", "study-deleted"]
[[webhook]]
url = "http://127.0.0.1:9/gone"
on = ["study-created"]
"""

NEVER = dimse.RetryPolicy(retries=0)


@dataclass
class Running:
    """A `dimse -vvv node`, and its log, when it has ended."""

    port: int
    page: str
    log: str = ""

    @property
    def address(self) -> str:
        return f"DIMSE@127.0.0.1:{self.port}"


@asynccontextmanager
async def running(data: Path) -> AsyncIterator[Running]:
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "-vvv", "node", "--data", str(data), "--port", "0", "--web", "0", "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    said = b""
    while b'"listening"' not in said:
        said += await process.stdout.readline()
    listening = json.loads(said.splitlines()[-1])
    node = Running(listening["port"], listening["page"])
    rest = asyncio.ensure_future(process.stdout.read())
    yield node
    process.send_signal(signal.SIGINT)
    await process.wait()
    node.log = (said + await rest).decode()


def ask(url: str, body: object = None) -> str:
    """What the page answers, whatever it is."""
    sent = None if body is None else json.dumps(body).encode()
    request = Request(url, sent, {"Content-Type": "application/json"})  # noqa: S310 - our own loopback URL
    try:
        with urlopen(request) as answer:  # noqa: S310 - as above
            return str(answer.read().decode(errors="replace"))
    except HTTPError as error:
        with error:
            return error.read().decode()


async def query(node: Running, into: Path) -> None:
    """Find and retrieve by values, whether that is possible or not."""
    named = dimse.Query.studies(PatientName="QXZ7*", PatientID="QXZ7ID")
    dated = dimse.Query.instances(StudyDate="19770707", StudyTime="070707.77").negotiating(relational=True)
    for each in (named, dated):
        async for _ in dimse.find(node.address, each, raise_failures=False):
            pass
    async with dimse.connect(node.address, contexts=dimse.retrieval_contexts()) as association:
        identifier = dimse.Query.patients(PatientID="QXZ7ID")
        async for _ in dimse.CGetSCU(association).get(identifier, into=into, raise_failures=False):
            pass
        async for _ in dimse.CMoveSCU(association).move(identifier, "NOBODY", raise_failures=False):
            pass
    for path in ("api/studies?name=QXZ7", "api/studies?date=19770707", "api/QXZ7", "QXZ7"):
        await asyncio.to_thread(ask, node.page + path)


async def use(data: Path, node: Running, files: Path) -> list[str]:
    """Store, find, retrieve, and look at the page; what that says that must have no data of patients."""
    other, conflict = marked("1.2.3.4.1"), marked("1.2.3.4.7")
    other.PatientName, other.PatientID = "QXZ7^OTHER", "QXZ7OTHER"
    conflict.PatientID, conflict.SeriesInstanceUID = "QXZ7CONFLICT", "1.2.3.3"
    for sent in (files / "good.dcm", files, [other, conflict]):
        await dimse.send(node.address, sent, raise_failures=False, retry=NEVER)
    await query(node, data.parent / "got")
    return [await asyncio.to_thread(ask, node.page + path) for path in ("metrics", "readyz")]


async def break_index(data: Path, node: Running) -> None:
    """Have statements of the index fail, which have values."""
    with closing(sqlite3.connect(data / "index.sqlite", isolation_level=None, timeout=10)) as connection:
        for table in ("instance", "study"):
            connection.execute(f"ALTER TABLE {table} RENAME TO gone")
            await dimse.send(node.address, marked("1.2.3.4.99"), raise_failures=False, retry=NEVER)
            await query(node, data.parent / "got")
            connection.execute(f"ALTER TABLE gone RENAME TO {table}")


def kept(data: Path) -> list[str]:
    """Events and jobs in the index."""
    index = Index.at(data / "index.sqlite")
    with index.reading() as connection:
        found = [str(row) for table in (event, job) for row in connection.execute(table.select())]
    index.close()
    return found


async def test_neither_log_nor_event_nor_metric_shows_values(
    beside: Callable[..., Awaitable[Any]], tmp_path: Path
) -> None:
    data, files = tmp_path / "data", tmp_path / "files"
    await asyncio.to_thread(make_files, files)
    await asyncio.to_thread(data.mkdir)
    await asyncio.to_thread((data / "node.toml").write_text, CONFIGURATION)
    async with running(data) as node:
        said = await use(data, node, files)
        await break_index(data, node)
        said += await asyncio.to_thread(kept, data)
    assert any("study-created" in each for each in said)
    assert any("duplicate" in each for each in said)
    assert any("conflict" in each for each in said)
    said += node.log.splitlines()
    assert any("the index cannot be written" in each for each in said)
    assert len(node.log.splitlines()) > 100
    for command in (
        ("events", "--json"),
        ("import", files, "--json"),
        ("verify", "--digests", "--repair"),
        ("reindex",),
        ("delete", "1.2.3.1", "--yes"),
    ):
        done = await beside("-vvv", "node", *command, "--data", data)
        said += (done.out + done.err).splitlines()
    said += await asyncio.to_thread(kept, data)
    assert hits(said) == []
