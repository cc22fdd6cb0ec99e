"""`dimse node events`, beside a node that goes on."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dimse.cli.node_events import LATEST
from dimse.node.events import EventKind, record
from dimse.node.index import Index

Run = Callable[..., Any]
Start = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    opened = Index.at(tmp_path / "index.sqlite")
    yield opened
    opened.close()


def settle(index: Index, study: str) -> None:
    with index.writing() as connection:
        detail = {"because": "association-end", "senders": ["CT1", "PET"]}
        record(connection, EventKind.STUDY_SETTLED, study_uid=study, detail=detail)


def test_what_has_happened(dimse: Run, tmp_path: Path, index: Index) -> None:
    for study in ("1.2", "1.3", "1.4"):
        settle(index, study)
    done = dimse("node", "events", "--data", tmp_path, "--since", "1")
    assert done.code == 0
    first, second = done.out.splitlines()
    assert first.startswith("     2 20")
    assert first.endswith(" study-settled  1.3  because: association-end, senders: CT1 PET")
    assert " 1.4 " in second
    lines = dimse("node", "events", "--data", tmp_path, "--json").lines
    assert [(line["event"], line["id"], line["study_instance_uid"]) for line in lines] == [
        ("study-settled", 1, "1.2"),
        ("study-settled", 2, "1.3"),
        ("study-settled", 3, "1.4"),
    ]
    with index.writing() as connection:
        for _ in range(LATEST):
            record(connection, EventKind.STUDY_CREATED)
    numbers = [line["id"] for line in dimse("node", "events", "--data", tmp_path, "--json").lines]
    assert numbers == list(range(4, 4 + LATEST))


async def test_what_happens(start: Start, tmp_path: Path, index: Index) -> None:
    settle(index, "1.2")
    process = await start("node", "events", "--data", tmp_path, "--follow", "--json")
    assert process.stdout is not None
    assert json.loads(await process.stdout.readline())["id"] == 1
    settle(index, "1.3")
    assert json.loads(await process.stdout.readline())["study_instance_uid"] == "1.3"
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert (process.returncode, out, err) == (0, b"", b"")


def test_without_an_archive(dimse: Run, tmp_path: Path) -> None:
    done = dimse("node", "events", "--data", tmp_path)
    assert done.code == 2
    assert "there is no archive in" in done.err
