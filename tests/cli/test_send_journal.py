"""`dimse send --journal`: what an interrupted command has sent, the next one does not send again."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import STARTED, run_beside
from tests.sample_objects import instance, save

from dimse import Server, Status, StoreRequest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has other signals")


class Archive:
    """Stores objects until it holds one back."""

    def __init__(self, stored: int) -> None:
        self.asked: list[str] = []
        self.server = Server(port=0)
        self.server.on_c_store(self._store)
        self._most = stored
        self._goes_on = asyncio.Event()

    @property
    def address(self) -> str:
        return f"ARCHIVE@127.0.0.1:{self.server.port}"

    async def _store(self, request: StoreRequest) -> Status:
        self.asked.append(request.sop_instance_uid)
        if len(self.asked) > self._most:
            await self._goes_on.wait()
        return Status(0xB000) if request.sop_instance_uid == "1.2.0" else Status.SUCCESS

    def go_on(self) -> None:
        self.asked.clear()
        self._goes_on.set()


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "study").mkdir()
    for i in range(6):
        save(instance(f"1.2.{i}"), tmp_path / "study" / f"{i}.dcm")
    return tmp_path / "study"


async def start(*arguments: object) -> asyncio.subprocess.Process:
    """Start Python itself: a signal kills it, and not only the process that asks for it."""
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*STARTED, *map(str, arguments), stdout=pipe, stderr=pipe)


async def results(process: asyncio.subprocess.Process, count: int) -> list[dict[str, Any]]:
    assert process.stdout is not None
    return [json.loads(await process.stdout.readline()) for _ in range(count)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
async def test_an_interrupted_send_is_resumed(number: signal.Signals, study: Path, tmp_path: Path) -> None:
    archive, journal = Archive(stored=3), tmp_path / "journal"
    async with archive.server:
        command = ("send", archive.address, study, "--journal", journal, "--window", 1, "--json")
        process = await start(*command)
        assert [each["outcome"] for each in await results(process, 3)] == ["warning", "stored", "stored"]
        in_use = await run_beside(*command[:-1])
        assert (in_use.code, in_use.err) == (1, f"dimse: the journal {journal} is in use by another process\n")
        process.send_signal(number)
        await process.communicate()
        archive.go_on()
        done = await run_beside(*command)
    assert archive.asked == ["1.2.3", "1.2.4", "1.2.5"]
    *lines, summary = done.lines
    assert [(line["outcome"], line["sent_before"]) for line in lines] == [
        ("warning", True),
        *[("stored", True)] * 2,
        *[("stored", False)] * 3,
    ]
    assert (done.code, summary["stored"], summary["sent_before"], summary["warnings"]) == (0, 6, 3, 1)


async def test_what_has_failed_is_tried_again_and_warnings_are_told_again(study: Path, tmp_path: Path) -> None:
    archive, journal = Archive(stored=100), tmp_path / "journal"
    (study / "5.dcm").chmod(0)
    (study / "4.dcm").write_bytes((study / "4.dcm").read_bytes()[:-10])
    async with archive.server:
        command = ("send", archive.address, study, "--journal", journal)
        first = await run_beside(*command)
        assert first.code == 1
        save(instance("1.2.4"), study / "4.dcm")
        archive.asked.clear()
        second = await run_beside(*command)
    assert second.code == 0, second.err
    assert "1.2.4" in archive.asked
    assert "1.2.1" not in archive.asked
    assert f"warning: {study / '0.dcm'}: stored before, 0xB000" in second.err
    assert ", 1 with a warning: " in second.out
    assert " of them before" in second.out


async def test_a_journal_of_another_job_is_refused(study: Path, tmp_path: Path) -> None:
    archive, journal = Archive(stored=100), tmp_path / "journal"
    async with archive.server:
        assert (await run_beside("send", archive.address, study, "--journal", journal)).code == 0
        archive.asked.clear()
        other = await run_beside(
            *("send", archive.address, study, "--journal", journal, "--set", "PatientName=A", "--json")
        )
        load = await run_beside("send", archive.address, study, "--journal", journal, "--repeat", 2)
    assert (other.code, load.code) == (1, 2)
    assert "with other edits: make the same as before, or name another file" in other.lines[-1]["error"]
    assert "--journal cannot be used with --repeat or --new-uids" in load.err
    assert archive.asked == []
