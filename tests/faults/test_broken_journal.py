"""Journals on disks that fail: objects are sent all the same, and only what was stored is not sent again."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

import pytest
from tests.faults.failing_files import FailingFiles
from tests.sample_objects import instance, save

from dimse import JournalError, Server, Status, StoreRequest, send


@pytest.mark.parametrize("code", [0, errno.ENOSPC, errno.EIO])
async def test_the_nth_operation_fails(code: int, tmp_path: Path, fast_disk: Path) -> None:
    """Code 0 is a short write."""
    paths = [save(instance(f"1.2.{i}"), tmp_path / f"{i}.dcm") for i in range(3)]
    server, asked, failed = Server(port=0), list[str](), set[str | None]()

    @server.on_c_store
    async def store(request: StoreRequest) -> Status:
        asked.append(request.sop_instance_uid)
        return Status.SUCCESS

    async with server:
        address = f"ARCHIVE@127.0.0.1:{server.port}"
        for n in range(1, 11):
            journal = fast_disk / f"{code}-{n}"
            failing = FailingFiles(journal, n, code)
            asked.clear()
            with failing.patched(), suppress(JournalError):
                assert len((await send(address, paths, journal=journal)).stored) == 3
            first = len(asked)
            assert first in (0, 3)
            assert len((await send(address, paths, journal=journal)).stored) == 3
            lost = 1 if failing.failed == "write" and first else 3 - first
            assert (len(asked), len(set(asked))) == (first + lost, 3), failing.failed
            failed.add(failing.failed)
    assert failed == {None, "write"} | ({"open", "flock", "fstat", "fsync", "close"} if code else set())
