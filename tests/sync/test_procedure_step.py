"""Procedure steps without asyncio."""

from __future__ import annotations

import pytest
from tests.ports import free_port
from tests.sample_objects import instance
from tests.services.test_procedure_step import worklist_match

from dimse import (
    ConnectionLost,
    ProcedureSteps,
    Server,
    StepChange,
    StepStatus,
    availability_notification,
    started_step,
    sync,
)
from dimse.network.background_loop import BackgroundLoop, new_event_loop


def test_a_step_is_completed() -> None:
    server, changes = Server("RIS", port=0), list[StepChange]()

    async def handle(change: StepChange) -> None:
        changes.append(change)

    ProcedureSteps(server, handle)
    with BackgroundLoop(new_event_loop) as loop:
        loop.run(server.start())
        with sync.performed_step(f"RIS@127.0.0.1:{server.port}", started_step(worklist_match())) as step:
            step.add(instance("1.1", pixels=0))
            step.update(PerformedProcedureStepDescription="Head")
        with (
            pytest.raises(RuntimeError, match="out of film"),
            sync.performed_step(f"RIS@127.0.0.1:{server.port}", started_step(worklist_match())),
        ):
            raise RuntimeError("out of film")
        loop.run(server.stop())
    assert step.status is StepStatus.COMPLETED
    assert [change.status.value for change in changes][2:] == ["COMPLETED", "IN PROGRESS", "DISCONTINUED"]
    assert changes[2].sop_instance_uid == step.sop_instance_uid


def test_a_notification_that_nobody_gets() -> None:
    with pytest.raises(ConnectionLost):
        sync.notify_availability(f"RIS@127.0.0.1:{free_port()}", availability_notification([instance()], "ARCHIVE"))
