"""The worklist on the network: requests as they come, malformed ones too, and the ways by which events go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydicom import Dataset
from tests.server_options import server_options

from dimse import NormalizedSCU, RetryPolicy, Server, StatusError, connect, uids
from dimse.services.ups_events import UPSEvent
from dimse.services.ups_keys import UPSKeys
from dimse.services.ups_scp import UPSManager
from dimse.services.ups_scu import UPS
from dimse.services.ups_states import UPSState, UPSStatus

UPS_CONTEXTS = [(uid, uids.LITTLE_ENDIAN) for uid in (uids.UPS_PUSH, uids.UPS_PULL, uids.UPS_WATCH)]
PATIENTLY = RetryPolicy(retries=1000, delay=0.01, factor=1)


def attributes(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


@asynccontextmanager
async def managing(*, retry: RetryPolicy = PATIENTLY, **destinations: str) -> AsyncIterator[tuple[UPSManager, Server]]:
    server = Server("WORKLIST", port=0, destinations=destinations or None, options=server_options())
    async with UPSManager(server, retry=retry) as manager, server:
        yield manager, server


@asynccontextmanager
async def requesting(server: Server) -> AsyncIterator[UPS]:
    async with UPS(f"WORKLIST@localhost:{server.port}", calling_ae_title="AI1") as ups:
        yield ups


async def refusal(server: Server, action: int | None, **values: Any) -> StatusError:
    """The answer to an action on a step that exists, sent as it is."""
    async with connect(f"WORKLIST@localhost:{server.port}", contexts=UPS_CONTEXTS, timeout=5) as association:
        scu = NormalizedSCU(association)
        with pytest.raises(StatusError) as refused:
            await scu.action(uids.UPS_PUSH, "1.2.3", action or 0, attributes(**values) if values else None)
    return refused.value


@pytest.mark.parametrize(
    ("action", "values", "status", "offending"),
    [
        (0, {}, 0x0123, ()),
        (6, {}, 0x0123, ()),
        (1, {}, 0x0115, (0x00741000,)),
        (1, {"ProcedureStepState": "DONE", "TransactionUID": "1.2"}, 0x0115, (0x00741000,)),
        (1, {"ProcedureStepState": "IN PROGRESS"}, 0xC301, ()),
        (1, {"ProcedureStepState": "IN PROGRESS", "TransactionUID": ""}, 0xC301, ()),
        (3, {}, 0x0115, (0x00741234,)),
        (3, {"ReceivingAE": "NOBODY"}, 0xC308, ()),
        (4, {"DeletionLock": "TRUE"}, 0x0115, (0x00741234,)),
        (5, {"ReceivingAE": "AI1"}, 0xC314, ()),
    ],
)
async def test_malformed_actions(action: int, values: Any, status: int, offending: tuple[int, ...]) -> None:
    async with managing() as (manager, server):
        await manager.create(attributes(ProcedureStepLabel="Chest"), sop_instance_uid="1.2.3")
        error = await refusal(server, action, **values)
        assert (error.status, error.offending) == (status, offending)
        stored = await manager.get("1.2.3")
        assert stored is not None
        assert (stored.state, stored.subscribers) == (UPSState.SCHEDULED, {})


async def test_a_filter_that_would_take_long_is_refused() -> None:
    keys = UPSKeys(more={"ScheduledProcedureStepPriority": ["HIGH"] * 1001})
    async with managing() as (_, server), requesting(server) as ups:
        with pytest.raises(StatusError, match="0x0115"):
            await ups.subscribe(keys=keys)


async def test_steps_that_do_not_exist() -> None:
    async with managing() as (_, server), requesting(server) as ups:
        for request in (
            ups.get("1.2.3"),
            ups.set("1.2.3", Dataset()),
            ups.request_cancel("1.2.3"),
            ups.change_state("1.2.3", UPSState.IN_PROGRESS, "2.25.1"),
            ups.unsubscribe("1.2.3"),
        ):
            with pytest.raises(StatusError, match="0xC307 The SCP has no such step"):
                await request


async def events_until(events: AsyncIterator[UPSEvent], state: UPSState) -> list[tuple[int, str | None]]:
    told: list[tuple[int, str | None]] = []
    async with asyncio.timeout(10):
        async for event in events:
            told.append((int(event.type), event.state))
            if event.state == state:
                break
    return told


async def performed(ups: UPS) -> None:
    async with await ups.start(await ups.create("Chest")) as step:
        await step.progress(50)


ALL_OF_A_STEP = [(1, "SCHEDULED"), (1, "IN PROGRESS"), (3, None), (1, "COMPLETED")]


async def test_the_scp_decides_about_a_cancel_request() -> None:
    async with managing() as (manager, server), requesting(server) as ups:
        asked: list[UPSEvent] = []

        @manager.on_cancel_requested
        async def decline(event: UPSEvent) -> None:
            asked.append(event)
            raise StatusError(UPSStatus.PERFORMER_DECLINES, "almost done")

        uid = await ups.create("Chest")
        async with await ups.start(uid):
            with pytest.raises(StatusError, match=r"0xC313 The performer chooses not to cancel \(almost done\)"):
                await ups.request_cancel(uid, "too slow", contact="tel:1", contact_name="Jane")
    [event] = asked
    assert (event.text, event.dataset.RequestingAE, event.dataset.ContactDisplayName) == ("too slow", "AI1", "Jane")


async def test_the_scp_sees_the_events_that_nobody_subscribed_to() -> None:
    async with managing() as (manager, server), requesting(server) as ups:
        events = manager.events()
        await performed(ups)
        assert await events_until(events, UPSState.COMPLETED) == ALL_OF_A_STEP
        assert [step.state async for step in manager.steps()] == ["COMPLETED"]
    assert [event async for event in events] == []
