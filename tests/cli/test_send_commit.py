"""`dimse send --commit`: what was stored is asked for, and what is not committed ends with 1."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from tests.ports import free_port
from tests.sample_objects import instance, save

from dimse import CommitmentFailure, CommitmentRequest, CommitmentSCP, MemoryTransactions, Server, Status, StoreRequest

Beside = Callable[..., Any]


class Archive:
    """Stores what it is sent, and keeps all but `lost`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.server = Server("ARCHIVE", host="127.0.0.1", port=0, destinations={"WS1": f"WS1@127.0.0.1:{self.port}"})
        self.server.on_c_store(self._store)
        self.refused, self.lost = set[str](), set[str]()
        self.sent: list[str] = []
        self.asked: list[str] = []

    def serving(self) -> AbstractAsyncContextManager[object]:
        return CommitmentSCP(self.server, self._decide, MemoryTransactions(), same_association=None)

    async def _store(self, request: StoreRequest) -> Status:
        self.sent.append(request.sop_instance_uid)
        return Status(0xC000) if request.sop_instance_uid in self.refused else Status.SUCCESS

    async def _decide(self, request: CommitmentRequest) -> dict[str, CommitmentFailure | None]:
        uids = [each.sop_instance_uid for each in request.instances]
        self.asked += uids
        return {uid: CommitmentFailure.PROCESSING_FAILURE if uid in self.lost else None for uid in uids}

    def command(self, *arguments: object) -> tuple[object, ...]:
        listening = ("--calling", "WS1", "--receiver", f"WS1@127.0.0.1:{self.port}")
        return ("send", f"ARCHIVE@127.0.0.1:{self.server.port}", *arguments, "--commit", *listening)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return [save(instance(f"1.2.{i}"), tmp_path / f"{i}.dcm") for i in range(3)]


async def test_what_was_stored_is_asked_for(beside: Beside, paths: list[Path]) -> None:
    archive = Archive()
    archive.refused, archive.lost = {"1.2.0"}, {"1.2.1"}
    async with archive.serving(), archive.server:
        done = await beside(*archive.command(*paths, "--json"))
        text = await beside(*archive.command(paths[2]))
    assert done.code == 1
    assert archive.asked == ["1.2.1", "1.2.2", "1.2.2"]
    events = [(line["event"], line.get("outcome"), line.get("name")) for line in done.lines]
    assert events[:3] == [
        ("result", outcome, str(path)) for outcome, path in zip(("failed", "stored", "stored"), paths, strict=True)
    ]
    assert events[3:] == [
        ("summary", None, None),
        ("commitment", "failed", str(paths[1])),
        ("commitment", "committed", str(paths[2])),
        ("commitment_summary", None, None),
    ]
    assert (done.lines[-1]["committed"], done.lines[-1]["failed"]) == (1, 1)
    stored, committed, summary = text.out.splitlines()
    assert (text.code, text.err, committed) == (0, "", f"committed: {paths[2]}")
    assert stored.startswith("1 object stored at ")
    assert summary.startswith("1 object committed at ")


async def test_a_journal_has_what_is_committed(beside: Beside, paths: list[Path], tmp_path: Path) -> None:
    archive, journal = Archive(), tmp_path / "journal"
    archive.lost = {"1.2.1"}
    async with archive.serving(), archive.server:
        command = archive.command(*paths, "--journal", journal, "--json")
        assert (await beside(*command)).code == 1
        archive.lost.clear()
        archive.asked.clear()
        again = await beside(*command)
        assert (again.code, archive.asked, len(archive.sent)) == (0, ["1.2.1"], 3)
        outcomes = [line["outcome"] for line in again.lines if line["event"] == "commitment"]
        assert (outcomes, again.lines[-1]["committed"]) == (["committed"] * 3, 3)
        archive.asked.clear()
        save(instance("1.2.0", pixels=900), paths[0])  # it is another content that must be kept now
        assert (await beside(*command)).code == 0
        assert archive.asked == ["1.2.0"]


async def test_an_archive_without_storage_commitment(beside: Beside, paths: list[Path]) -> None:
    archive = Archive()
    async with archive.server:
        done = await beside(*archive.command(*paths))
    assert done.code == 1
    assert "3 objects stored at " in done.out
    assert "Storage Commitment" in done.err


async def test_nothing_is_asked_for_if_nothing_was_stored(beside: Beside, paths: list[Path]) -> None:
    archive = Archive()
    archive.refused = {"1.2.0"}
    async with archive.serving(), archive.server:
        assert (await beside(*archive.command(paths[0]))).code == 1
    assert archive.asked == []
