"""`dimse retrieve`."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from dimse import QueryRequest, Server
from dimse.demo.archive import archive

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
        lines = (await beside("retrieve", address, "-k", "PatientID=1CT1", "--into", into, "--json")).lines
        nothing = await beside("retrieve", address, "-k", "PatientName=Nobody", "--into", into)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"1 instance retrieved from {address} into {into}: ")
    assert [path.stem for path in into.rglob("*.dcm")] == [ct_uid]
    result, summary = lines
    assert (result["outcome"], result["sop_instance_uid"]) == ("retrieved", ct_uid)
    assert (summary["retrieved"], summary["failed"]) == (1, 0)
    assert (nothing.code, nothing.out) == (1, "")
    assert "nothing retrieved: no matching instances" in nothing.err


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


def test_no_association(dimse: Beside, closed_port: int, tmp_path: Path) -> None:
    done = dimse("retrieve", f"A@127.0.0.1:{closed_port}", "-k", "PatientID=1", "--into", tmp_path)
    assert (done.code, done.out) == (3, "")
    assert done.err == f"dimse: cannot connect to 127.0.0.1:{closed_port}: Connection refused\n"
