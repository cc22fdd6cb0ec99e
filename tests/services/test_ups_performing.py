"""Performing steps: how each way out of the `async with` ends a step, and what a worker does between two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from pydicom import Dataset
from tests.server_options import server_options

from dimse import LocalProtocolError, RetryPolicy, Server, StatusError, connect, uids
from dimse.services import ups_performing
from dimse.services.ups_keys import UPSKeys
from dimse.services.ups_performing import ClaimedUPS
from dimse.services.ups_scp import UPSManager
from dimse.services.ups_scu import UPS
from dimse.services.ups_states import UPSState
from dimse.services.ups_store import MemoryUPSStore, StoredUPS


@asynccontextmanager
async def managing(port: int = 0) -> AsyncIterator[tuple[UPSManager, Server]]:
    server = Server("WORKLIST", port=port, options=server_options())
    async with UPSManager(server) as manager, server:
        yield manager, server


@asynccontextmanager
async def working() -> AsyncIterator[tuple[UPSManager, UPS]]:
    """A worklist with no step, and one of its performers."""
    async with managing() as (manager, server), performer(server) as ups:
        yield manager, ups


@asynccontextmanager
async def performer(server: Server) -> AsyncIterator[UPS]:
    retry = RetryPolicy(retries=50, delay=0.01, factor=1)
    async with UPS(f"WORKLIST@localhost:{server.port}", calling_ae_title="AI1", retry=retry) as ups:
        yield ups


async def dataset_of(manager: UPSManager, uid: str) -> Dataset:
    stored = await manager.get(uid)
    assert stored is not None
    return stored.dataset


async def reason_of(manager: UPSManager, uid: str) -> tuple[str, str | None, str]:
    step = await dataset_of(manager, uid)
    [progress] = step.ProcedureStepProgressInformationSequence
    [code] = progress.ProcedureStepDiscontinuationReasonCodeSequence
    return step.ProcedureStepState, progress.get("ReasonForCancellation"), code.CodeValue


def instance(number: int) -> Dataset:
    made = Dataset()
    made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPClassUID = "1.2", "1.2.3", "1.2.840.10008.5.1.4.1.1.7"
    made.SOPInstanceUID = f"1.2.3.{number}"
    return made


# One step


async def test_leaving_the_block_completes_the_step() -> None:
    async with working() as (manager, ups):
        uid = await ups.create("Chest", workitem=("110004", "DCM", "Computer Aided Detection"))
        async with await ups.start(uid, station=("GPU7", "99OURS", "the seventh")) as step:
            assert (step.state, step.dataset.ProcedureStepLabel) == ("IN PROGRESS", "Chest")
            step.add_output([instance(1), instance(2)], retrieve_ae_title="ARCHIVE")
        assert step.state == UPSState.COMPLETED
        [performed] = (await dataset_of(manager, uid)).UnifiedProcedureStepPerformedProcedureSequence
        [output] = performed.OutputInformationSequence
        assert performed.PerformedStationNameCodeSequence[0].CodeValue == "GPU7"
        assert performed.PerformedWorkitemCodeSequence[0].CodeMeaning == "Computer Aided Detection"
        assert [each.ReferencedSOPInstanceUID for each in output.ReferencedSOPSequence] == ["1.2.3.1", "1.2.3.2"]
        assert output.DICOMRetrievalSequence[0].RetrieveAETitle == "ARCHIVE"


async def test_an_exception_cancels_the_step_and_is_raised() -> None:
    async with working() as (manager, ups):
        uid = await ups.create("Chest")
        with pytest.raises(ValueError, match="no lungs"):  # noqa: PT012 - the step ends with the block
            async with await ups.start(uid) as step:
                await step.progress(50, "half")
                raise ValueError("no lungs")
        assert await reason_of(manager, uid) == ("CANCELED", "ValueError: no lungs", "110513")
        [progress] = (await dataset_of(manager, uid)).ProcedureStepProgressInformationSequence
        assert progress.ProcedureStepProgress == 50


async def test_a_cancelled_task_cancels_the_step() -> None:
    async with working() as (manager, ups):
        uid = await ups.create("Chest")
        inside = asyncio.Event()

        async def perform() -> None:
            async with await ups.start(uid):
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(perform())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await reason_of(manager, uid) == ("CANCELED", "CancelledError", "110513")


async def test_a_step_that_was_ended_in_the_block_stays_so() -> None:
    async with working() as (manager, ups):
        uid = await ups.create("Chest")
        async with await ups.start(uid) as step:
            await step.cancel("not a chest", ("110514", "DCM", "Incorrect worklist entry selected"))
        assert await reason_of(manager, uid) == ("CANCELED", "not a chest", "110514")


async def test_a_step_that_cannot_be_completed_is_canceled() -> None:
    async with working() as (manager, ups):
        uid = await ups.create("Chest")
        with pytest.raises(ValueError, match="a code must be"):
            async with await ups.start(uid, workitem=("", "", "")):
                pass
        assert (await dataset_of(manager, uid)).ProcedureStepState == "CANCELED"


async def test_a_request_to_cancel_ends_the_block_in_order() -> None:
    async with working() as (manager, ups):
        await ups.subscribe()
        uid, events = await ups.create("Chest"), ups.events()
        async with await ups.start(uid) as step:
            await ups.request_cancel(uid, "wrong patient", code=("110526", "DCM", "Resource pre-empted"))
            async for event in events:
                if event.type == 2:
                    break
            assert step.cancel_requested is not None
            await step.progress(50)
            raise AssertionError("progress did not raise")
        assert await reason_of(manager, uid) == ("CANCELED", "wrong patient", "110526")


async def test_a_step_that_stays_in_progress_is_told(caplog: pytest.LogCaptureFixture) -> None:
    server = Server("WORKLIST", port=0, options=server_options(stop_timeout=0.1))
    async with UPSManager(server) as manager, server:
        with pytest.raises(ValueError, match="no lungs") as raised:  # noqa: PT012 - the peer is gone inside the block
            async with UPS(f"WORKLIST@localhost:{server.port}", retry=RetryPolicy(retries=0)) as ups:
                uid = await ups.create("Chest")
                async with await ups.start(uid):
                    await server.stop()
                    raise ValueError("no lungs")
        assert raised.value.__notes__[0].startswith(f"the step {uid} stays IN PROGRESS: ")
        assert (await dataset_of(manager, uid)).ProcedureStepState == "IN PROGRESS"
    assert "stays IN PROGRESS" in caplog.text


# The worker


async def perform_all(ups: UPS, count: int, **more: Any) -> list[str]:
    """The labels of so many steps, in the order in which they were performed."""
    labels: list[str] = []
    claims = ups.claim(pause=0.01, **more)
    async for step in claims:
        async with step:
            labels.append(step.dataset.ProcedureStepLabel)
            if len(labels) == count:
                claims.stop()
    return labels


async def test_the_most_urgent_step_is_claimed_first_and_only_those_that_match() -> None:
    async with working() as (manager, ups):
        for label, priority, workitem in [
            ("a", "LOW", "1"),
            ("b", "HIGH", "1"),
            ("c", "HIGH", "2"),
            ("d", "MEDIUM", "1"),
        ]:
            await ups.create(label, priority=priority, workitem=(workitem, "L", "something"))
        keys = UPSKeys(workitem=("1", "L", "something"))
        assert await perform_all(ups, 3, keys=keys) == ["b", "d", "a"]
        assert [step.state async for step in manager.steps() if step.dataset.ProcedureStepLabel == "c"] == ["SCHEDULED"]


async def test_matches_that_cannot_be_claimed_are_passed_over() -> None:
    async def matches() -> AsyncGenerator[Dataset]:
        for uid, priority in (("1", "LOW"), ("", "HIGH"), ("2", ["HIGH", "LOW"]), (None, "HIGH"), ("3", "HIGH")):
            match = Dataset()
            match.ScheduledProcedureStepPriority = priority
            if uid is not None:
                match.SOPInstanceUID = uid
            yield match

    assert await ups_performing.in_order(matches()) == ["3", "1", "2"]


async def test_performers_share_the_steps_and_each_is_performed_once() -> None:
    async with working() as (manager, one):
        for number in range(6):
            await one.create(str(number))
        async with UPS(one.address, calling_ae_title="AI2") as other:
            done: list[str] = []

            async def work(ups: UPS) -> None:
                claims = ups.claim(pause=0.01)
                async for step in claims:
                    async with step:
                        pass
                    done.append(step.dataset.ProcedureStepLabel)
                    if len(done) == 6:
                        claims.stop()
                    await asyncio.sleep(0)

            tasks = [asyncio.create_task(work(ups)) for ups in (one, other)]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        assert sorted(done) == list("012345")
        assert {step.state async for step in manager.steps()} == {UPSState.COMPLETED}


class AskedStore(MemoryUPSStore):
    """Knows whether it was searched."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def steps(self) -> AsyncIterator[StoredUPS]:
        async for step in super().steps():
            yield step
        self.asked.set()


async def test_an_event_ends_the_pause_of_a_worker() -> None:
    server, store = Server("WORKLIST", port=0, options=server_options()), AskedStore()
    async with UPSManager(server, store=store), server, performer(server) as ups:
        await ups.subscribe()
        store.asked.clear()
        step = asyncio.create_task(anext(ups.claim(pause=1000, maximum_pause=1000)))
        await store.asked.wait()
        uid = await ups.create("Chest")
        async with asyncio.timeout(10), await step as claimed:
            assert claimed.sop_instance_uid == uid


async def test_a_stopped_worker_ends_at_once() -> None:
    async with working() as (_, ups):
        claims = ups.claim(pause=1000, maximum_pause=1000)
        waiting = asyncio.create_task(anext(claims, None))
        await asyncio.sleep(0)
        claims.stop()
        async with asyncio.timeout(10):
            assert await waiting is None


async def test_a_step_that_nobody_ends_is_canceled_and_told() -> None:
    async with working() as (manager, ups):
        uid = await ups.create("Chest")
        match = "was claimed but not ended: perform it in `async with step:`"
        with pytest.raises(LocalProtocolError, match=match):  # noqa: PT012 - the loop is what raises it
            async for step in ups.claim():
                assert step.sop_instance_uid == uid
        state, why, _ = await reason_of(manager, uid)
        assert state == "CANCELED"
        assert why is not None


async def test_a_step_that_a_loop_was_left_with_is_canceled(caplog: pytest.LogCaptureFixture) -> None:
    async with managing() as (manager, server):
        async with performer(server) as ups:
            await ups.create("Chest")
            step = await anext(ups.claim())
        assert (await dataset_of(manager, step.sop_instance_uid)).ProcedureStepState == "CANCELED"


async def test_the_loop_goes_on_after_a_failure_that_the_program_catches() -> None:
    async with working() as (_, ups):
        for label in "ab":
            await ups.create(label)
        claims, seen = ups.claim(pause=0.01), list[ClaimedUPS]()
        async for step in claims:
            seen.append(step)
            with suppress(ValueError):
                async with step:
                    if len(seen) == 1:
                        raise ValueError
            if len(seen) == 2:
                claims.stop()
        assert [step.state for step in seen] == ["CANCELED", "COMPLETED"]


async def test_a_worker_survives_a_restart_of_the_worklist() -> None:
    async with managing() as (manager, server), performer(server) as ups:
        await ups.create("before")
        claims, labels = ups.claim(pause=0.01), list[str]()
        async for step in claims:
            async with step:
                labels.append(step.dataset.ProcedureStepLabel)
                for association in server.associations:
                    association.abort()
            if len(labels) == 1:
                await manager.create(dataset("after"))
            else:
                claims.stop()
    assert labels == ["before", "after"]


def dataset(label: str) -> Dataset:
    made = Dataset()
    made.ProcedureStepLabel = label
    return made


async def test_a_worklist_that_is_busy_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    server, told = Server("WORKLIST", port=0, options=server_options(maximum_associations=1)), asyncio.Event()
    monkeypatch.setattr(ups_performing.logger, "warning", lambda *_: told.set())
    async with UPSManager(server) as manager, server, UPS(f"WORKLIST@localhost:{server.port}") as ups:
        uid, address = await manager.create(dataset("Chest")), f"WORKLIST@localhost:{server.port}"
        async with connect(address, contexts=[(uids.VERIFICATION, uids.LITTLE_ENDIAN)]), asyncio.timeout(10):
            claiming = asyncio.ensure_future(anext(ups.claim(pause=0.01)))
            await told.wait()  # that the association was rejected
        async with asyncio.timeout(10), await claiming as step:
            assert step.sop_instance_uid == uid


async def test_other_refusals_end_the_loop() -> None:
    server = Server("WORKLIST", port=0, options=server_options())
    async with UPSManager(server) as manager, server, performer(server) as ups:
        await ups.create("Chest")

        @server.on_n_action("1.2.840.10008.5.1.4.34.6.1")
        async def refuse(_: Any) -> int:
            return 0x0124

        with pytest.raises(StatusError, match="0x0124 Not authorized"):
            await anext(ups.claim())
        assert [step.state async for step in manager.steps()] == ["SCHEDULED"]
