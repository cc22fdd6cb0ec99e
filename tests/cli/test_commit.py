"""`dimse commit`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pydicom
from tests.ports import free_port

from dimse import CommitmentFailure, CommitmentRequest, CommitmentSCP, MemoryTransactions, Server

Beside = Callable[..., Any]


@asynccontextmanager
async def provider(*safe: str, receiver: int) -> AsyncIterator[str]:
    """A provider that has these instances, and reports to WS1 on a new association."""

    async def decide(request: CommitmentRequest) -> dict[str, CommitmentFailure | None]:
        return dict.fromkeys(safe)

    server = Server("ARCHIVE", host="127.0.0.1", port=0, destinations={"WS1": f"WS1@127.0.0.1:{receiver}"})
    async with CommitmentSCP(server, decide, MemoryTransactions(), same_association=None), server:
        yield f"ARCHIVE@127.0.0.1:{server.port}"


def uid_of(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)


async def test_each_object_is_told(beside: Beside, ct: Path, mr: Path) -> None:
    port = free_port()
    listening = ("--calling", "WS1", "--receiver", f"WS1@127.0.0.1:{port}")
    async with provider(uid_of(ct), uid_of(mr), receiver=port) as address:
        done = await beside("commit", address, ct, mr, *listening)
    assert (done.code, done.err) == (0, "")
    *each, summary = done.out.splitlines()
    assert each == [f"committed: {ct}", f"committed: {mr}"]
    assert summary.startswith(f"2 objects committed at {address}: ")


async def test_what_is_not_committed_is_told_and_ends_with_1(beside: Beside, ct: Path, mr: Path) -> None:
    port = free_port()
    listening = ("--calling", "WS1", "--receiver", f"WS1@127.0.0.1:{port}")
    async with provider(uid_of(ct), receiver=port) as address:
        done = await beside("commit", address, ct, mr, *listening)
        lines = (await beside("commit", address, ct, mr, "--json", *listening)).lines
    assert done.code == 1
    assert done.err == f"not committed: {mr}: {uid_of(mr)}: 0x0112 the peer does not have the instance\n"
    assert f"1 object committed at {address}, 1 not committed: " in done.out
    committed, failed, summary = lines
    assert (committed["outcome"], committed["name"], committed["error"]) == ("committed", str(ct), None)
    assert (failed["outcome"], failed["failure_reason"], failed["sop_instance_uid"]) == ("failed", "0x0112", uid_of(mr))
    assert (summary["committed"], summary["failed"], summary["transactions"]) == (1, 1, 1)


async def test_a_provider_that_does_not_report(beside: Beside, ct: Path) -> None:
    async with provider(uid_of(ct), receiver=free_port()) as address:
        listening = ("--calling", "WS1", "--receiver", f"WS1@127.0.0.1:{free_port()}")
        done = await beside("commit", address, ct, "--wait", "0.1", *listening)
    assert done.code == 1
    assert "no report within 0.1 s" in done.err


def test_without_an_association(dimse: Callable[..., Any], ct: Path, closed_port: int) -> None:
    done = dimse("commit", f"A@127.0.0.1:{closed_port}", ct)
    assert (done.code, done.out) == (3, "")


def test_nothing_to_ask_for(dimse: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not DICOM")
    done = dimse("commit", "A@127.0.0.1:1", tmp_path)
    assert done.code == 1
    assert "nothing to ask for" in done.err


def test_wrong_usage(dimse: Callable[..., Any], ct: Path) -> None:
    done = dimse("commit", "A@127.0.0.1:1", ct, "--wait", "0")
    assert done.code == 2
