"""The worklist on the network: requests as they come, malformed ones too, and the ways by which events go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydicom import Dataset
from tests.server_options import server_options

from dimse import (
    NormalizedSCU,
    PresentationContextError,
    RetryPolicy,
    Server,
    StatusError,
    Strictness,
    connect,
    uids,
)
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
async def managing(
    *, retry: RetryPolicy = PATIENTLY, strictness: Strictness = Strictness.LENIENT, **destinations: str
) -> AsyncIterator[tuple[UPSManager, Server]]:
    options = server_options(strictness=strictness)
    server = Server("WORKLIST", port=0, destinations=destinations or None, options=options)
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


REQUESTS: dict[str, Callable[[NormalizedSCU], Awaitable[Any]]] = {
    "create": lambda scu: scu.create(uids.UPS_PUSH, Dataset()),
    "set": lambda scu: scu.set(uids.UPS_PUSH, "1.2.3", Dataset()),
    "get": lambda scu: scu.get(uids.UPS_PUSH, "1.2.3"),
    "change": lambda scu: scu.action(uids.UPS_PUSH, "1.2.3", 1, Dataset()),
    "cancel": lambda scu: scu.action(uids.UPS_PUSH, "1.2.3", 2, Dataset()),
    "subscribe": lambda scu: scu.action(uids.UPS_PUSH, "1.2.3", 3, Dataset()),
    "unsubscribe": lambda scu: scu.action(uids.UPS_PUSH, "1.2.3", 4, Dataset()),
    "suspend": lambda scu: scu.action(uids.UPS_PUSH, "1.2.3", 5, Dataset()),
}
"""All are refused where there are no steps, but not with the same status."""

OF_CLASS = {
    uids.UPS_PUSH: ("create", "get", "cancel"),
    uids.UPS_PULL: ("set", "get", "change"),
    uids.UPS_WATCH: ("get", "cancel", "subscribe", "unsubscribe", "suspend"),
}


@pytest.mark.parametrize("context", OF_CLASS)
@pytest.mark.parametrize("strictness", Strictness)
async def test_each_class_has_its_requests(context: str, strictness: Strictness, caplog: Any) -> None:
    """PS3.4 Tables CC.2-1 to CC.2-3: a request of another class is refused, or carried out with a warning."""
    statuses, is_strict = {}, strictness is Strictness.STRICT
    async with managing(strictness=strictness) as (_, server):
        proposed = [(context, uids.LITTLE_ENDIAN)]
        async with connect(f"WORKLIST@localhost:{server.port}", contexts=proposed, timeout=5) as association:
            for name, request in REQUESTS.items():
                with pytest.raises(StatusError) as refused:
                    await request(NormalizedSCU(association, context=context))
                statuses[name] = refused.value.status
    others = [name for name in REQUESTS if name not in OF_CLASS[context]]
    assert [name for name, status in statuses.items() if status == 0x0211] == (others if is_strict else [])
    assert caplog.text.count("carried out") == (0 if is_strict else len(others))


async def test_a_strict_worklist_takes_what_we_send() -> None:
    async with managing(strictness=Strictness.STRICT) as (_, server), requesting(server) as ups:
        await ups.subscribe()
        await performed(ups)
        assert await ups.request_cancel(await ups.create("Head")) == 0
        await ups.suspend()
        await ups.unsubscribe()


async def test_a_request_that_the_accepted_class_lacks_is_not_sent() -> None:
    async with managing() as (_, server):
        address, proposed = f"WORKLIST@localhost:{server.port}", [(uids.UPS_PUSH, uids.LITTLE_ENDIAN)]
        async with connect(address, contexts=proposed, timeout=5) as association:
            with pytest.raises(PresentationContextError, match="Pull"):
                await NormalizedSCU(association, context=uids.UPS_PULL).set(uids.UPS_PUSH, "1.2.3", Dataset())


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
