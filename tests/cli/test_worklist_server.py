"""`dimse worklist-server`."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.worklist_items import save, scheduled

import dimse
from dimse import Worklist

Beside = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(scheduled(), tmp_path / "1.wl")
    return tmp_path


async def lines_of(process: asyncio.subprocess.Process) -> AsyncIterator[str]:
    assert process.stdout is not None
    async for line in process.stdout:
        yield line.decode().rstrip("\n")


async def test_what_it_prints(start: Beside, folder: Path) -> None:
    process = await start("worklist-server", folder, "--port", "0", "--title", "RIS")
    lines = lines_of(process)
    first = await anext(lines)
    assert first.startswith(f"Serving the worklist in {folder}; query it with: dimse worklist RIS@localhost:")
    address = first.rsplit(" ", 1)[1]
    assert [match.PatientID async for match in dimse.find(address, Worklist(), calling_ae_title="CT1")] == ["1"]
    (folder / "broken.wl").write_bytes(b"not a data set")
    assert len([match async for match in dimse.find(address, Worklist(modality="MR"))]) == 0
    process.send_signal(signal.SIGTERM)
    shown = [line.split("  ", 1)[-1] for line in [each async for each in lines]]
    errors = (await process.communicate())[1].decode()
    assert process.returncode == 0
    assert shown[0].startswith("CT1 at 127.0.0.1:")
    assert ": 1 match in " in shown[0]
    assert ": 0 matches in " in shown[1]
    assert shown[2] == "2 queries answered, 1 match"
    assert f"{folder / 'broken.wl'}: left out of the worklist: not a DICOM file" in errors
    assert errors.count("\n") == 1
    assert "Smith" not in "".join(shown) + errors


async def test_json_lines(start: Beside, folder: Path) -> None:
    process = await start("worklist-server", folder, "--port", "0", "--json")
    lines = lines_of(process)
    listening = json.loads(await anext(lines))
    assert (listening["event"], listening["folder"]) == ("listening", str(folder))
    async for _ in dimse.find(f"RIS@127.0.0.1:{listening['port']}", Worklist()):
        pass
    process.send_signal(signal.SIGINT)
    query, summary = [json.loads(line) async for line in lines]
    await process.communicate()
    assert (query["event"], query["called_ae_title"], query["matches"]) == ("query", "RIS", 1)
    assert summary == {"event": "summary", "queries": 1, "matches": 1}


async def test_wrong_usage_and_a_port_in_use(beside: Beside, folder: Path) -> None:
    missing = await beside("worklist-server", folder / "missing")
    assert (missing.code, missing.err) == (2, f"dimse: {folder / 'missing'}: not a folder\n")
    async with dimse.Server(port=0) as other:
        taken = await beside("worklist-server", folder, "--port", other.port, "--host", other.host)
    assert taken.code == 1
    assert "cannot listen on" in taken.err


async def test_other_titles_are_rejected(start: Beside, folder: Path) -> None:
    process = await start("worklist-server", folder, "--port", "0", "--title", "RIS", "--quiet")
    address = (await anext(lines_of(process))).rsplit(" ", 1)[1]
    with pytest.raises(dimse.AssociationRejected, match="does not know the called AE title"):
        await anext(dimse.find(address.replace("RIS@", "OTHER@"), Worklist()))
    process.terminate()
    assert await process.communicate() == (b"0 queries answered, 0 matches\n", b"")
