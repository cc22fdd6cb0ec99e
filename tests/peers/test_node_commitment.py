"""Storage commitment of a node, as Orthanc and pynetdicom request it: what is missing is named."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from dimse import Server
from dimse.node.commitment import committing
from dimse.node.destinations import Destinations
from dimse.node.index import Index
from tests.node.rows import put
from tests.ports import free_port
from tests.sample_objects import CT, instance

from .processes import DEADLINE, Orthanc, need_pynetdicom, run

SCRIPT: Final = Path(__file__).with_name("pynetdicom_commitment.py")
STORED: Final = ["1.2.3.1", "1.2.3.2"]
DAMAGED: Final = "1.2.3.3"
MISSING: Final = "1.2.3.99"
ASKED: Final = [*STORED, DAMAGED, MISSING]


@asynccontextmanager
async def provider(data: Path, destinations: dict[str, str], port: int = 0) -> AsyncIterator[int]:
    index = Index.at(data / "index.sqlite")
    *_, damaged = put(index, data, *map(instance, [*STORED, DAMAGED]))
    damaged.write_bytes(b"")
    server = Server("DIMSE", host="127.0.0.1", port=port)
    try:
        async with committing(server, index, data, Destinations(destinations)), server:
            yield server.port
    finally:
        index.close()


async def test_orthanc_asks(tmp_path: Path) -> None:
    own = free_port()
    with Orthanc(tmp_path / "orthanc", DicomModalities={"dimse": ["DIMSE", "127.0.0.1", own]}) as orthanc:
        async with provider(tmp_path, {"ORTHANC": orthanc.address}, own):
            asked = {"DicomInstances": [[CT, uid] for uid in ASKED]}
            answer = await asyncio.to_thread(orthanc.rest, "/modalities/dimse/storage-commitment", asked)
            path = f"/storage-commitment/{json.loads(answer)['ID']}"
            report: dict[str, Any] = {"Status": "Pending"}

            async def ask() -> None:
                while report["Status"] == "Pending":
                    report.update(json.loads(await asyncio.to_thread(orthanc.rest, path)))

            await asyncio.wait_for(ask(), DEADLINE)
    assert (report["RemoteAET"], report["Status"]) == ("DIMSE", "Failure")
    assert {each["SOPInstanceUID"] for each in report["Success"]} == set(STORED)
    assert [each["SOPInstanceUID"] for each in report["Failures"]] == [DAMAGED, MISSING]


@pytest.mark.parametrize("where", ["same", "new"])
async def test_pynetdicom_asks(tmp_path: Path, where: str) -> None:
    """It keeps its association for the report, or it is reported to on a new one."""
    own = free_port()
    async with provider(tmp_path, {"WS1": f"WS1@127.0.0.1:{own}"}) as port:
        command = [need_pynetdicom(), str(SCRIPT), "ask", str(port), where, str(own), CT, *ASKED]
        code, printed = await run(*command)
    assert code == 0, printed
    assert json.loads(printed) == [2, True, STORED, {DAMAGED: 0x0112, MISSING: 0x0112}]
