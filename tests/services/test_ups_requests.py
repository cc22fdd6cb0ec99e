"""Requests on an association that is opened again: what a lost one means, and what is told of refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydicom import Dataset
from tests.server_options import server_options

from dimse import (
    ConnectionLost,
    NormalizedRequest,
    NormalizedSCU,
    PresentationContextError,
    RetryPolicy,
    Server,
    StatusError,
)
from dimse.services.ups_events import UPSEventType
from dimse.services.ups_keys import UPSKeys
from dimse.services.ups_scp import UPSManager
from dimse.services.ups_scu import UPS
from dimse.services.ups_states import UPSState, UPSStatus
from dimse.uids import UPS_PUSH


class Cutting(UPSManager):
    """Carries a request out, and aborts the association before it answers: the first of each name in `cuts`."""

    def __init__(self, server: Server, *cuts: str) -> None:
        super().__init__(server)
        self.cuts = list(cuts)
        for name in ("_n_create", "_n_set", "_n_action"):
            register = getattr(server, f"on{name}")
            register(UPS_PUSH)(self._cutting(name, getattr(self, name)))

    def _cutting(self, name: str, handler: Callable[[NormalizedRequest], Any]) -> Callable[[NormalizedRequest], Any]:
        async def cut(request: NormalizedRequest) -> Any:
            reply = await handler(request)
            if name in self.cuts:
                self.cuts.remove(name)
                request.association.abort()
            return reply

        return cut


@asynccontextmanager
async def cutting(*cuts: str) -> AsyncIterator[tuple[UPSManager, UPS]]:
    server = Server("WORKLIST", port=0, options=server_options())
    async with Cutting(server, *cuts) as manager, server:
        retry = RetryPolicy(retries=2, delay=0.01)
        async with UPS(f"WORKLIST@localhost:{server.port}", retry=retry) as ups:
            yield manager, ups


async def state_of(manager: UPSManager, uid: str) -> UPSState:
    stored = await manager.get(uid)
    assert stored is not None
    return stored.state


async def test_a_step_is_created_once_though_the_answer_was_lost() -> None:
    async with cutting("_n_create") as (manager, ups):
        uid = await ups.create("Chest")
        assert [step.sop_instance_uid async for step in manager.steps()] == [uid]


async def test_a_uid_that_is_taken_is_no_lost_answer() -> None:
    async with cutting() as (_, ups):
        uid = await ups.create("Chest")
        with pytest.raises(StatusError, match="0x0111"):
            await ups.create("Chest", sop_instance_uid=uid)


async def test_a_step_is_claimed_though_the_answer_was_lost() -> None:
    async with cutting("_n_action") as (manager, ups):
        uid = await ups.create("Chest")
        async with await ups.start(uid) as step:
            assert step.state == await state_of(manager, uid) == UPSState.IN_PROGRESS
        assert await state_of(manager, uid) == UPSState.COMPLETED


async def test_a_step_is_completed_though_the_answers_were_lost() -> None:
    async with cutting() as (manager, ups):
        uid = await ups.create("Chest")
        async with await ups.start(uid):
            manager.cuts += ["_n_set", "_n_action"]  # type: ignore[attr-defined]
        assert await state_of(manager, uid) == UPSState.COMPLETED


async def test_a_worklist_that_is_not_there_is_told_at_once() -> None:
    async with UPS("WORKLIST@localhost:1", retry=RetryPolicy(retries=100, delay=100)) as ups:
        with pytest.raises(ConnectionLost):
            await ups.get("1.2")


async def test_a_peer_without_the_service() -> None:
    server = Server("ARCHIVE", port=0, options=server_options())
    async with server, UPS(f"ARCHIVE@localhost:{server.port}") as ups:
        with pytest.raises(PresentationContextError, match="Unified Procedure Step"):
            await ups.get("1.2")
        with pytest.raises(PresentationContextError, match="Unified Procedure Step"):
            await anext(ups.find())


async def test_warnings_are_statuses_in_words() -> None:
    async with cutting() as (_, ups):
        uid = await ups.create("Chest")
        await ups.request_cancel(uid)
        status = await ups.request_cancel(uid)
        assert (status, str(status)) == (UPSStatus.ALREADY_CANCELED, "0xB304 The step is already CANCELED")


async def test_instances_to_work_on() -> None:
    image = Dataset()
    image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPClassUID, image.SOPInstanceUID = "1", "1.2", "1.3", "1.4"
    image.PatientName, image.PatientID = "Müller", "4711"
    async with cutting() as (manager, ups):
        uid = await ups.create("Chest", patient=image, inputs=[image], retrieve_ae_title="ARCHIVE")
        stored = await manager.get(uid)
        assert stored is not None
        [item] = stored.dataset.InputInformationSequence
        assert (stored.dataset.PatientName, stored.dataset.StudyInstanceUID) == ("Müller", "1")
        assert item.DICOMRetrievalSequence[0].RetrieveAETitle == "ARCHIVE"
        with pytest.raises(ValueError, match="retrieve_ae_title"):
            await ups.create("Chest", inputs=[image])


async def test_subscriptions_to_one_step_and_to_keys_exclude_each_other() -> None:
    async with UPS("WORKLIST@localhost:1") as ups:
        with pytest.raises(ValueError, match="one step, or to those that match keys"):
            await ups.subscribe("1.2", keys=UPSKeys())


async def test_strange_events_are_refused() -> None:
    server = Server("WORKLIST", port=0, options=server_options())
    async with UPSManager(server), server, UPS(f"WORKLIST@localhost:{server.port}", calling_ae_title="AI1") as ups:
        events = ups.events()
        await ups.subscribe()
        [association] = server.associations
        with pytest.raises(StatusError, match="0x0113"):
            await NormalizedSCU(association).event_report(UPS_PUSH, "1.2", 6)
        await NormalizedSCU(association).event_report(UPS_PUSH, "1.2", 4)
        assert (await anext(events)).type is UPSEventType.SCP_STATUS
