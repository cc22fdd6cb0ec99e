"""Routers that are killed at named points, as by `kill -9`: what was acknowledged arrives, and all of it whole."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

import pytest
from tests.sample_objects import CT, EXPLICIT, encoded, instance

import dimse
from dimse import ClientOptions, RetryPolicy, ServerOptions, StoreMode, StoreOptions
from dimse.dataset.sources import MemorySource

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "killed_receiver.py"
SIZES = (400, 60_000, 1_500_000)
POINTS = [
    ("name", 11),  # in the first of two queues
    ("fsync", 13),
    ("mkdir", 3),
    ("before the response", 3),
    ("after the response", 6),
]


def content(uid: str) -> bytes:
    return encoded(instance(uid, pixels=SIZES[int(uid.rpartition(".")[2]) % len(SIZES)]))


class Archive:
    """A destination that looks at what it gets."""

    def __init__(self) -> None:
        store = StoreOptions(mode=StoreMode.BUFFERED)
        self.server = dimse.Server(
            "ARCHIVE", port=0, options=ServerOptions(store=store, maximum_connections_per_second=None)
        )
        self.received: set[str] = set()
        self.damaged: list[str] = []
        self.changed = asyncio.Event()

        @self.server.on_c_store
        async def keep(request: dimse.StoreRequest) -> int:
            uid = request.sop_instance_uid
            if bytes(request.data) != content(uid):
                self.damaged.append(uid)
            self.received.add(uid)
            self.changed.set()
            return dimse.Status.SUCCESS

    async def has(self, uids: set[str]) -> None:
        """Wait until all of these have arrived."""
        while uids - self.received:
            self.changed.clear()
            await self.changed.wait()


def start(config: Path, point: str, nth: int) -> tuple[Popen[str], int]:
    """A router, and its port; 0 if it has ended before it could listen."""
    command = [sys.executable, str(SCRIPT), point, str(nth), "route", "--config", str(config)]
    router = Popen([*command, "--port", "0", "--json", "--quiet"], stdout=PIPE, stderr=DEVNULL, text=True)  # noqa: S603 - our own
    assert router.stdout is not None
    first = router.stdout.readline()
    return router, json.loads(first)["port"] if first else 0


def end(router: Popen[str], number: int) -> int:
    """End a router, if it has not ended. Returns the exit code."""
    with router:
        router.send_signal(number)
        return router.wait()


async def acknowledged_by(port: int, batch: int) -> set[str]:
    """Send until the router ends. Returns the UIDs that it has answered with Success."""
    stored: set[str] = set()

    def note(result: dimse.SendResult) -> None:
        if result.stored and result.sop_instance_uid is not None:
            stored.add(result.sop_instance_uid)

    uids = [f"1.2.{batch}.{number}" for number in range(12)]
    sources = [
        MemorySource([content(uid)], sop_class_uid=CT, sop_instance_uid=uid, transfer_syntax_uid=EXPLICIT)
        for uid in uids
    ]
    with suppress(dimse.AssociationError):
        await dimse.send(
            f"ROUTER@localhost:{port}",
            sources,
            options=ClientOptions(operations_window=1 + batch % 4),
            retry=RetryPolicy(retries=0),
            on_result=note,
            raise_failures=False,
        )
    return stored


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
async def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    archive, acknowledged, kills = Archive(), set[str](), 0
    config = tmp_path / "route.toml"
    async with asyncio.timeout(50), archive.server:
        there = f'[destinations.a]\npeer = "ARCHIVE@localhost:{archive.server.port}"\n'
        down = '[destinations.b]\npeer = "NOBODY@localhost:1"\n'
        config.write_text(f'spool = "spool"\ndefault = ["a", "b"]\n{there}{down}')
        for batch, (point, nth) in enumerate(POINTS):
            router, port = await asyncio.to_thread(start, config, point, nth)
            acknowledged |= await acknowledged_by(port, batch) if port else set()
            kills += await asyncio.to_thread(end, router, signal.SIGKILL) == -signal.SIGKILL
        router, port = await asyncio.to_thread(start, config, "random", 0)
        await archive.has(acknowledged)
        assert await asyncio.to_thread(end, router, signal.SIGTERM) == 0
    assert archive.damaged == []
    assert kills == len(POINTS)
    assert len(acknowledged) > 10
    files = [path.name for path in (tmp_path / "spool").iterdir()]
    assert not [name for name in files if name.startswith(("arriving", ".dimse"))]
    kept = len(list((tmp_path / "spool" / "waiting" / "b").rglob("*.dcm")))
    assert len(acknowledged) <= kept  # NOBODY gets it all when it is there
