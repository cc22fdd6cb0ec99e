"""Procedure steps and availability notifications with pynetdicom in both roles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dimse import (
    NormalizedRequest,
    ProcedureSteps,
    Server,
    Status,
    StepChange,
    availability_notification,
    notify_availability,
    performed_step,
    started_step,
    uids,
)
from tests.ports import free_port
from tests.sample_objects import instance
from tests.services.test_procedure_step import worklist_match

from .processes import Peer, need_pynetdicom, run

PEER = Path(__file__).with_name("pynetdicom_steps.py")


def value(dataset: dict[str, Any], tag: str) -> Any:
    return dataset[tag]["Value"][0]


async def test_pynetdicom_keeps_our_steps(tmp_path: Path) -> None:
    port = free_port()
    command = [need_pynetdicom(), str(PEER), "serve", str(port)]
    with Peer(command, port, tmp_path / "peer", title="PYNETDICOM") as peer:
        async with performed_step(peer.address, started_step(worklist_match())) as step:
            step.add(instance("1.1", pixels=0))
        with pytest.raises(RuntimeError, match="out of film"):
            async with performed_step(peer.address, started_step(worklist_match())):
                raise RuntimeError("out of film")
        notification = availability_notification([instance("1.1", pixels=0)], "ARCHIVE")
        await notify_availability(peer.address, notification)
    seen = [json.loads(line) for line in peer.output().splitlines() if line.startswith("[")]
    assert [(name, uid == step.sop_instance_uid) for name, uid, _ in seen] == [
        ("N-CREATE", True),
        ("N-SET", True),
        ("N-CREATE", False),
        ("N-SET", False),
        ("N-CREATE", False),
    ]
    created, completed, _, discontinued, notified = (dataset for _, _, dataset in seen)
    assert (value(created, "00400252"), value(created, "00100010")) == ("IN PROGRESS", {"Alphabetic": "Müller^Ada"})
    assert value(completed, "00400252") == "COMPLETED"
    series = value(completed, "00400340")
    assert value(value(series, "00081140"), "00081155") == "1.1"
    assert value(discontinued, "00400252") == "DISCONTINUED"
    assert value(notified, "0020000D") == "1.2.3.1"


async def test_we_keep_the_steps_of_pynetdicom() -> None:
    server, changes, notified = Server("RIS", port=0), list[StepChange](), list[NormalizedRequest]()

    async def handle(change: StepChange) -> None:
        changes.append(change)

    @server.on_n_create(uids.INSTANCE_AVAILABILITY)
    async def notify(request: NormalizedRequest) -> int:
        notified.append(request)
        return Status.SUCCESS

    ProcedureSteps(server, handle)
    async with server:
        code, output = await run(need_pynetdicom(), str(PEER), "report", str(server.port))
    assert code == 0, output
    answers = [json.loads(line) for line in output.splitlines()]
    assert [(status, error_id) for status, error_id, *_ in answers] == [
        (0x0120, None),
        (0x0000, None),
        (0x0111, None),
        (0x0000, None),
        (0x0110, 0xA710),
        (0x0112, None),
        (0x0000, None),
        (0x0000, None),
    ]
    assert answers[0][3] == "is missing: Modality"
    assert answers[4][3] == "Performed Procedure Step Object may no longer be updated"
    assert value(answers[6][4], "00400252") == "COMPLETED"
    assert value(answers[6][4], "00100010") == {"Alphabetic": "Müller^Ada"}
    assert [change.status.value for change in changes] == ["IN PROGRESS", "COMPLETED"]
    assert len(notified) == 1
