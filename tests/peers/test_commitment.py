"""Storage commitment with Orthanc and pynetdicom, in both roles."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

import dimse
from dimse import CommitmentFailure, CommitmentRequest, CommitmentSCP, MemoryTransactions, RetryPolicy, Server
from tests.ports import free_port
from tests.sample_objects import CT, instance

from .processes import DEADLINE, Orthanc, Peer, need_pynetdicom, run

SCRIPT: Final = Path(__file__).with_name("pynetdicom_commitment.py")
STORED: Final = ["1.2.3.1", "1.2.3.2"]
MISSING: Final = "1.2.3.99"


async def outcomes(address: str, port: int) -> dict[str, str]:
    """What `dimse.commit` says about the instances, of which the last one is missing there."""
    report = await dimse.commit(
        address,
        [(CT, uid) for uid in (*STORED, MISSING)],
        calling_ae_title="WS1",
        receiver=f"WS1@127.0.0.1:{port}",
        wait=DEADLINE,
        raise_failures=False,
    )
    return {each.sop_instance_uid: str(each.error or "committed") for each in report.results}


EXPECTED: Final = dict.fromkeys(STORED, "committed") | {
    MISSING: f"{MISSING}: 0x0112 the peer does not have the instance"
}


async def decide(request: CommitmentRequest) -> dict[str, CommitmentFailure | None]:
    return {
        each.sop_instance_uid: None if each.sop_instance_uid in STORED else CommitmentFailure.NO_SUCH_INSTANCE
        for each in request.instances
    }


@asynccontextmanager
async def provider(destinations: dict[str, str]) -> AsyncIterator[int]:
    server = Server("DIMSE", host="127.0.0.1", port=0, destinations=destinations)
    retry = RetryPolicy(retries=100, delay=0.1, factor=1)
    async with CommitmentSCP(server, decide, MemoryTransactions(), retry=retry), server:
        yield server.port


async def test_orthanc_is_asked(tmp_path: Path) -> None:
    port = free_port()
    with Orthanc(tmp_path / "orthanc", DicomModalities={"ws1": ["WS1", "127.0.0.1", port]}) as orthanc:
        await dimse.send(orthanc.address, [instance(uid) for uid in STORED], calling_ae_title="WS1")
        assert await outcomes(orthanc.address, port) == EXPECTED


async def test_orthanc_asks(tmp_path: Path) -> None:
    own = free_port()
    modality: dict[str, Any] = {"dimse": ["DIMSE", "127.0.0.1", own]}
    with Orthanc(tmp_path / "orthanc", DicomModalities=modality) as orthanc:
        server = Server("DIMSE", host="127.0.0.1", port=own, destinations={"ORTHANC": orthanc.address})
        async with CommitmentSCP(server, decide, MemoryTransactions()), server:
            asked = {"DicomInstances": [[CT, uid] for uid in (*STORED, MISSING)]}
            answer = await asyncio.to_thread(orthanc.rest, "/modalities/dimse/storage-commitment", asked)
            path = f"/storage-commitment/{json.loads(answer)['ID']}"
            report: dict[str, Any] = {"Status": "Pending"}

            async def ask() -> None:
                while report["Status"] == "Pending":
                    report.update(json.loads(await asyncio.to_thread(orthanc.rest, path)))

            await asyncio.wait_for(ask(), DEADLINE)
    assert report["RemoteAET"] == "DIMSE"
    assert report["Status"] == "Failure"
    assert {each["SOPInstanceUID"] for each in report["Success"]} == set(STORED)
    assert [each["SOPInstanceUID"] for each in report["Failures"]] == [MISSING]


@pytest.mark.parametrize("where", ["same", "new"])
async def test_pynetdicom_is_asked(where: str, tmp_path: Path) -> None:
    port, own = free_port(), free_port()
    command = [need_pynetdicom(), str(SCRIPT), "provide", str(port), where, str(own), *STORED]
    with Peer(command, port, tmp_path / "peer", title="PYNETDICOM") as peer:
        assert await outcomes(peer.address, own) == EXPECTED


async def test_pynetdicom_asks() -> None:
    own = free_port()
    async with provider({"WS1": f"WS1@127.0.0.1:{own}"}) as port:
        command = [need_pynetdicom(), str(SCRIPT), "ask", str(port), "new", str(own), CT, *STORED, MISSING]
        code, printed = await run(*command)
    assert code == 0, printed
    assert json.loads(printed) == [2, True, STORED, {MISSING: 0x0112}]
