"""Spools on disks that fail and disks that are full: in all queues, or an error and in none of them."""

from __future__ import annotations

import errno
import os
from itertools import count
from pathlib import Path

import pytest
from tests.faults.failing_files import ABSORBED, FailingFiles
from tests.sample_objects import instance, save

from dimse import Forwarder, RetryPolicy, Server, ServerOptions, Status, StoreOptions, StoreRequest, send
from dimse.errors import StatusError

DESTINATIONS = {"a": "NOBODY@localhost:1", "b": "NOBODY@localhost:1"}


def queued(spool: Path) -> dict[str, list[bytes]]:
    """The content of each queue."""
    waiting = spool / "waiting"
    return {name: [path.read_bytes() for path in sorted((waiting / name).rglob("*.dcm"))] for name in DESTINATIONS}


def arriving(spool: Path) -> list[str]:
    """What should not stay in a spool."""
    return [path.name for path in spool.iterdir() if path.name.startswith(("arriving", ".dimse"))]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
async def test_the_nth_operation_fails(tmp_path: Path, fast_disk: Path, code: int) -> None:
    """For n = 1, 2, ... until none fails."""
    given, tried = save(instance("1.2.3"), tmp_path / "given.dcm"), 0
    for n in count(1):
        spool = fast_disk / f"{code}-{n}"
        async with Forwarder(spool, DESTINATIONS, minimum_free=0) as forwarder:
            failing, raised = FailingFiles(spool, n, code), None
            with failing.patched():
                try:
                    await forwarder.add(given)
                except OSError as error:
                    raised = error
            if failing.failed is None:
                assert raised is None
                break
            tried += 1
            case = f"{failing.failed}, number {n}: {raised}"
            if raised is None:
                assert failing.failed in ABSORBED, case
                assert queued(spool) == {name: [given.read_bytes()] for name in DESTINATIONS}, case
            else:
                assert queued(spool) == {name: [] for name in DESTINATIONS}, case
                assert arriving(spool) == [], case
                assert {state.waiting for state in forwarder.state().values()} == {0}, case
                await forwarder.add(given)
                assert queued(spool) == {name: [given.read_bytes()] for name in DESTINATIONS}, case
    assert tried > 15


async def test_a_full_disk_answers_out_of_resources(tmp_path: Path, small_disk: Path) -> None:
    """With no room, with too little, and with no room for another file."""
    spool, filler, wrong = small_disk / "spool", small_disk / "filler", list[str]()
    options = ServerOptions(store=StoreOptions(), maximum_connections_per_second=None)
    server = Server(port=0, options=options)
    async with Forwarder(spool, DESTINATIONS, minimum_free=0) as forwarder, server:

        @server.on_c_store
        async def store(request: StoreRequest) -> int:
            await forwarder.add(request)
            return Status.SUCCESS

        async def status_of(number: int, pixels: int) -> int | None:
            path = save(instance(f"1.2.{number}", pixels=pixels), tmp_path / f"{number}.dcm")
            report = await send(f"A@localhost:{server.port}", path, retry=RetryPolicy(retries=0), raise_failures=False)
            [result] = report.results
            return result.status

        stored = 0
        for number, (pixels, pages) in enumerate([(400, 0), (60_000, 3), (1_500_000, 100)]):
            before = queued(spool)
            filler.write_bytes(bytes(4096) * (os.statvfs(small_disk).f_bavail - pages))
            if (status := await status_of(number, pixels)) != Status.OUT_OF_RESOURCES:
                wrong.append(f"{pixels} bytes, {pages} pages: {status}")
            filler.unlink()
            if queued(spool) != before or arriving(spool):
                wrong.append(f"{pixels} bytes, {pages} pages: left {arriving(spool)}")
            if await status_of(10 + number, pixels) != Status.SUCCESS:
                wrong.append(f"{pixels} bytes: the next one fails too")
            stored += 1
        assert {name: len(files) for name, files in queued(spool).items()} == {"a": stored, "b": stored}
        assert {state.waiting for state in forwarder.state().values()} == {stored}
    assert not wrong, "\n".join(wrong)


async def test_room_is_asked_for_before_anything_is_written(tmp_path: Path, small_disk: Path) -> None:
    given = save(instance("1.2.3"), tmp_path / "given.dcm")
    async with Forwarder(small_disk / "spool", DESTINATIONS) as forwarder:  # which leaves more free than there is
        with pytest.raises(StatusError, match="almost full"):
            await forwarder.add(given)
