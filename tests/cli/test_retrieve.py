"""`dimse retrieve`."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from dimse import QueryRequest, Server
from dimse.demo.archive import archive
from dimse.testing import FakeArchive, ScriptedPeer, listening, response

Beside = Callable[..., Any]


@pytest.fixture
def ct_uid(ct: Path) -> str:
    return str(pydicom.dcmread(ct, stop_before_pixels=True).SOPInstanceUID)


async def test_what_matches_comes_by_get(beside: Beside, ct: Path, ct_uid: str, tmp_path: Path) -> None:
    into, stored = tmp_path / "into", tmp_path / "archive"
    stored.mkdir()
    shutil.copy(ct, stored / "ct.dcm")
    server = archive(stored, {})
    async with server:
        address = f"ARCHIVE@127.0.0.1:{server.port}"
        done = await beside("retrieve", address, "-k", "PatientName=Comp*", "--into", into)
        key = ("-k", "PatientID=1CT1", "--into", into)
        again = await beside("retrieve", address, *key)
        existing = (await beside("retrieve", address, *key, "--json")).lines
        lines = (await beside("retrieve", address, *key, "--json", "--overwrite")).lines
        nothing = await beside("retrieve", address, "-k", "PatientName=Nobody", "--into", into)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"1 instance retrieved from {address} into {into}: ")
    assert [path.stem for path in into.rglob("*.dcm")] == [ct_uid]
    result, summary = lines
    assert (result["outcome"], result["sop_instance_uid"]) == ("retrieved", ct_uid)
    assert (summary["retrieved"], summary["existing"], summary["failed"]) == (1, 0, 0)
    assert (again.code, again.err) == (0, "")
    assert again.out.startswith("1 of 1 instance already here, none retrieved: ")
    result, summary = existing
    assert (result["outcome"], result["sop_instance_uid"], Path(result["path"]).stem) == ("existing", ct_uid, ct_uid)
    assert (summary["retrieved"], summary["existing"], summary["failed"]) == (0, 1, 0)
    assert (nothing.code, nothing.out) == (1, "")
    assert "nothing retrieved: no matching instances" in nothing.err


async def test_an_archive_that_limits_its_answers(beside: Beside, tmp_path: Path) -> None:
    async def limited(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.send(response(await peer.receive_message(), 0xFE00))
        await peer.receive()

    async with listening(limited) as address:
        done = await beside("retrieve", address, "-k", "PatientID=1", "--into", tmp_path / "into")
    assert done.code == 1
    assert "dimse find --complete --csv finds all, for dimse retrieve --from -" in done.err


async def test_interrupted_runs_go_on(start: Beside, beside: Beside, ct: Path, tmp_path: Path) -> None:
    """Each run takes up where the last one was interrupted: no instance is retrieved twice."""
    into, template = tmp_path / "into", pydicom.dcmread(ct)
    instances = [deepcopy(template) for _ in range(60)]
    for number, instance in enumerate(instances):
        instance.SOPInstanceUID = instance.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{number}")
    retrieved: list[str] = []
    with FakeArchive(instances) as archive:
        command = ("retrieve", archive.address, "-k", "PatientID=1CT1", "--into", into, "--json")
        for stop_after in (1, 20, 7):
            process = await start(*command)
            assert process.stdout is not None
            taken, events = 0, []
            async for line in process.stdout:
                events.append(json.loads(line))
                taken += events[-1].get("outcome") == "retrieved"
                if taken == stop_after:
                    process.send_signal(signal.SIGINT)
                    taken += 1000
            assert await process.wait() == 130
            retrieved += [event["sop_instance_uid"] for event in events if event.get("outcome") == "retrieved"]
        done = await beside(*command)
        asked = len(archive.requests)
        last = await beside(*command)
        operations = {request.operation for request in archive.requests[asked:]}
    assert done.code == 0
    *results, summary = done.lines
    retrieved += [event["sop_instance_uid"] for event in results if event["outcome"] == "retrieved"]
    assert len(retrieved) == len(set(retrieved))
    assert summary["existing"] + summary["retrieved"] == 60
    assert len(list(into.rglob("*.dcm"))) == 60
    assert (last.code, last.lines[-1]["existing"], operations) == (0, 60, {"C-FIND"})


async def test_by_move_to_a_receiver_of_our_own(
    beside: Beside, ct: Path, ct_uid: str, closed_port: int, tmp_path: Path
) -> None:
    destinations = {"ME": f"ME@127.0.0.1:{closed_port}"}
    server, dataset = Server("ARCHIVE", port=0, destinations=destinations), pydicom.dcmread(ct, stop_before_pixels=True)

    @server.on_c_find
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        match = Dataset()
        for element in request.identifier:
            if element.keyword in dataset:
                match.add(dataset[element.keyword])
        yield match

    @server.on_c_move
    async def move(request: QueryRequest) -> AsyncIterator[Path]:
        yield ct

    async with server:
        address, key = f"ARCHIVE@127.0.0.1:{server.port}", ("-k", "PatientName=Comp*")
        receiver = f"ME@127.0.0.1:{closed_port}"
        done = await beside("retrieve", address, *key, "--into", tmp_path / "a", "--receiver", receiver)
        stranger = f"STRANGER@127.0.0.1:{closed_port}"
        refused = await beside("retrieve", address, *key, "--into", tmp_path / "b", "--receiver", stranger)
    assert (done.code, done.err) == (0, "")
    assert [path.stem for path in (tmp_path / "a").rglob("*.dcm")] == [ct_uid]
    assert refused.code == 1
    (line,) = refused.err.splitlines()
    assert line.startswith(f"failed: {ct_uid}: ")
    assert "Move destination unknown" in line


def test_no_association(dimse: Beside, closed_port: int, refused: str, tmp_path: Path) -> None:
    done = dimse("retrieve", f"A@127.0.0.1:{closed_port}", "-k", "PatientID=1", "--into", tmp_path)
    assert (done.code, done.out) == (3, "")
    assert done.err == refused
