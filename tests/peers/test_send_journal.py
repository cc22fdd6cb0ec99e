"""`dimse send` with a journal: killed while it sends to DCMTK, and asking Orthanc for storage commitment."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.sample_objects import instance, save

from .conftest import PeerFactory
from .processes import Orthanc, run, running


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "study").mkdir()
    for i in range(30):
        save(instance(f"1.2.77.{i}"), tmp_path / "study" / f"{i}.dcm")
    return tmp_path / "study"


async def test_a_killed_send_to_dcmtk_is_resumed(peer: PeerFactory, study: Path, tmp_path: Path) -> None:
    """What it has acknowledged is not sent again, and all arrives."""
    storescp = peer("storescp")
    command = (sys.executable, "-m", "dimse", "send", storescp.address, str(study))
    options = ("--journal", str(tmp_path / "journal"), "--json")
    async with running(*command, *options, "--max-rate", "10KB") as process:
        assert process.stdout is not None
        lines = [json.loads(await process.stdout.readline()) for _ in range(5)]
        process.kill()
    acknowledged = [line["sop_instance_uid"] for line in lines]
    times = {uid: storescp.received(uid).stat().st_mtime_ns for uid in acknowledged}
    code, output = await run(*command, *options)
    *results, summary = map(json.loads, output.splitlines())
    assert (code, summary["stored"]) == (0, 30)
    assert 5 <= summary["sent_before"] < 30
    assert {line["sop_instance_uid"] for line in results if line["sent_before"]} >= set(acknowledged)
    assert {uid: storescp.received(uid).stat().st_mtime_ns for uid in acknowledged} == times
    for line in results:
        assert storescp.received(line["sop_instance_uid"]).exists()


async def test_orthanc_keeps_what_was_sent(study: Path, tmp_path: Path) -> None:
    port = free_port()
    with Orthanc(tmp_path / "orthanc", DicomModalities={"ws1": ["WS1", "127.0.0.1", port]}) as orthanc:
        command = (sys.executable, "-m", "dimse", "send", orthanc.address, str(study), "--commit", "--json")
        options = ("--calling", "WS1", "--receiver", f"WS1@127.0.0.1:{port}", "--journal", str(tmp_path / "journal"))
        code, output = await run(*command, *options)
        assert (code, json.loads(output.splitlines()[-1])["committed"]) == (0, 30), output
    code, output = await run(*command, *options)  # it is not asked again
    assert (code, json.loads(output.splitlines()[-1])["committed"]) == (0, 30), output
