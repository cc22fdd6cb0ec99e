"""The events of a worklist on their way: on associations of the subscriber, on new ones, and when nobody is there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.ports import free_port
from tests.server_options import server_options
from tests.services.test_ups_scp import (
    ALL_OF_A_STEP,
    PATIENTLY,
    attributes,
    events_until,
    managing,
    performed,
    requesting,
)

from dimse import RetryPolicy, Server, uids
from dimse.services.ups_scp import UPSManager
from dimse.services.ups_scu import UPS
from dimse.services.ups_states import UPSState


async def test_events_come_on_the_association_of_the_subscriber() -> None:
    async with managing() as (_, server), requesting(server) as ups:
        events = ups.events()
        await ups.subscribe()
        await performed(ups)
        assert await events_until(events, UPSState.COMPLETED) == ALL_OF_A_STEP
        assert len(server.associations) == 1


async def test_events_come_to_a_server_of_the_subscriber() -> None:
    listener = Server("LISTENER", port=0, options=server_options())
    async with listener, managing(LISTENER=f"LISTENER@localhost:{listener.port}") as (_, server):
        address = f"WORKLIST@localhost:{server.port}"
        async with UPS(address, calling_ae_title="AI1", server=listener) as ups:
            events = ups.events()
            await ups.subscribe()
            await performed(ups)
            told = await events_until(events, UPSState.COMPLETED)
            assert [each for each in told if each[0] != 4] == ALL_OF_A_STEP


async def test_every_association_of_a_title_gets_the_events() -> None:
    async with managing() as (_, server), requesting(server) as one, requesting(server) as other:
        events = one.events(), other.events()
        await one.subscribe()
        await other.subscribe()
        await performed(other)
        for each in events:
            assert await events_until(each, UPSState.COMPLETED) == ALL_OF_A_STEP


async def test_a_listener_that_was_down_for_a_moment_gets_its_events() -> None:
    port = free_port()
    server = Server("WORKLIST", port=0, destinations={"LISTENER": f"LISTENER@localhost:{port}"})
    async with UPSManager(server, retry=PATIENTLY) as manager, server, requesting(server) as ups:
        await ups.subscribe(receiving_ae_title="LISTENER")
        uid = await manager.create(attributes(ProcedureStepLabel="Chest"))
        listener, told = Server("LISTENER", port=port), asyncio.Queue[tuple[str, int | None]]()

        @listener.on_n_event_report(uids.UPS_PUSH)
        async def reported(request: Any) -> int:
            await told.put((request.sop_instance_uid, request.event_type_id))
            return 0

        async with listener, asyncio.timeout(10):
            assert await told.get() == (uids.UPS_SUBSCRIPTION_INSTANCE, 4)
            assert await told.get() == (uid, 1)


async def test_events_for_a_listener_that_stays_down_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    retry, nobody = RetryPolicy(retries=1, delay=0.01), f"LISTENER@localhost:{free_port()}"
    async with managing(retry=retry, LISTENER=nobody) as (_, server), requesting(server) as ups:
        await ups.subscribe(receiving_ae_title="LISTENER")
        await ups.create("Chest")
    assert "'LISTENER': 1 events were dropped" in caplog.text
