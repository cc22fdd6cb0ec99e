"""Unified Procedure Steps against pynetdicom, in both roles."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from dimse import ApplicationEntity, RetryPolicy, Server, StatusError
from dimse.services.ups_keys import UPSKeys
from dimse.services.ups_scp import UPSManager
from dimse.services.ups_scu import UPS
from dimse.services.ups_states import UPSState
from tests.ports import free_port

from .processes import Peer, need_pynetdicom, run, running

PROGRAM = str(Path(__file__).with_name("pynetdicom_ups_peer.py"))


async def test_we_create_find_perform_and_watch_steps_of_pynetdicom(tmp_path: Path) -> None:
    port = free_port()
    with Peer([need_pynetdicom(), PROGRAM, "manage", str(port)], port, tmp_path / "peer", title="PYNETDICOM") as peer:
        async with UPS(peer.address, calling_ae_title="AI1") as ups:
            await ups.subscribe()
            events = ups.events()
            uid = await ups.create("Chest", workitem=("110004", "DCM", "Computer Aided Detection"))
            assert [match.ProcedureStepLabel async for match in ups.find(UPSKeys(state=UPSState.SCHEDULED))] == [
                "Chest"
            ]
            claims = ups.claim()
            async for step in claims:
                assert step.sop_instance_uid == uid
                with pytest.raises(StatusError, match="0xC301 The Transaction UID is not that of the performer"):
                    await ups.start(uid)
                async with step:
                    await step.progress(50, "half of it")
                    claims.stop()
            assert (await ups.get(uid)).ProcedureStepState == "COMPLETED"
            told = [await anext(events) for _ in range(4)]
        assert [(event.type, event.state, event.progress) for event in told] == [
            (1, "SCHEDULED", None), (1, "IN PROGRESS", None), (3, None, 50), (1, "COMPLETED", None)
        ]  # fmt: skip


async def test_pynetdicom_performs_a_step_of_our_worklist() -> None:
    server = Server("WORKLIST", port=0)
    async with UPSManager(server), server:
        code, printed = await run(need_pynetdicom(), PROGRAM, "perform", str(server.port), "Head")
    said = [json.loads(line) for line in printed.splitlines()]
    assert code == 0, printed
    assert [(each["what"], each["status"]) for each in said] == [
        ("create", 0xB300),
        ("match", 0xFF00),
        ("match", 0xFF00),
        ("match", 0xFF00),
        ("claim", 0x0000),
        ("claimed by another", 0xC301),
        ("claimed again", 0xC302),
        ("too early", 0xC304),
        ("set without the lock", 0xC301),
        ("set", 0x0000),
        ("complete", 0x0000),
        ("completed again", 0xB306),
        ("get", 0x0001),
    ]
    assert [(each["same"], each["lock"]) for each in said[1:4]] == [(True, None)] * 3
    assert (said[-1]["state"], said[-1]["disclosed"]) == ("COMPLETED", False)


async def test_pynetdicom_watches_our_worklist_on_an_association_of_ours() -> None:
    listen = free_port()
    server = Server("WORKLIST", port=0, destinations={"WATCHER": f"WATCHER@localhost:{listen}"})
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(UPSManager(server, retry=RetryPolicy(retries=100, delay=0.1, factor=1)))
        await stack.enter_async_context(server)
        ups = await stack.enter_async_context(UPS(ApplicationEntity(f"WORKLIST@localhost:{server.port}")))
        command = (need_pynetdicom(), PROGRAM, "watch", str(server.port), str(listen), "WATCHER", "4")
        async with running(*command) as process:
            assert process.stdout is not None
            said: list[dict[str, Any]] = []
            while not said or said[-1]["what"] != "subscribe":
                said.append(json.loads(await process.stdout.readline()))
            assert said[-1]["status"] == 0
            uid = await ups.create("Head")
            async with await ups.start(uid):
                pass
            rest, _ = await process.communicate()
    said = [each for each in said + [json.loads(line) for line in rest.splitlines()] if each["what"] == "event"]
    states = [each["state"] for each in said if each["kind"] == 1]
    assert [state for state in states if state] == ["SCHEDULED", "IN PROGRESS", "COMPLETED"], rest
