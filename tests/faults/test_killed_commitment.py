"""A provider of storage commitment that is killed, as by `kill -9`, before it could deliver its report."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from subprocess import PIPE, Popen

from tests.ports import free_port
from tests.sample_objects import CT

import dimse
from dimse import Commitments, CommitmentSCU, InstanceReference, Server, uids

SCRIPT = Path(__file__).with_name("commitment_provider.py")
INSTANCES = [InstanceReference(CT, f"1.2.3.{number}") for number in range(3)]


def start(destination: str, transactions: Path) -> Popen[str]:
    command = [sys.executable, str(SCRIPT), destination, str(transactions)]
    return Popen(command, stdout=PIPE, text=True)  # noqa: S603 - our own


async def listens(provider: Popen[str]) -> str:
    """The address of a provider that has just been started."""
    assert provider.stdout is not None
    line = await asyncio.to_thread(provider.stdout.readline)
    return f"ARCHIVE@127.0.0.1:{int(line)}"


async def test_the_report_is_delivered_after_the_restart(tmp_path: Path) -> None:
    requestor = Server("WS1", host="127.0.0.1", port=free_port())
    commitments, destination = Commitments(requestor), f"WS1@127.0.0.1:{requestor.port}"
    contexts = [(uids.STORAGE_COMMITMENT, uids.LITTLE_ENDIAN)]
    with start(destination, tmp_path / "open.sqlite") as killed:
        async with dimse.connect(await listens(killed), contexts=contexts, calling_ae_title="WS1") as association:
            pending = await CommitmentSCU(association, commitments).request(INSTANCES)
            killed.kill()
            association.abort()
    async with requestor:
        with start(destination, tmp_path / "open.sqlite") as provider:
            results = await pending.results(50)
            provider.kill()
    assert [result.sop_instance_uid for result in results if result.committed] == ["1.2.3.0", "1.2.3.1", "1.2.3.2"]
