"""Procedure steps as SCU: the step ends whatever happens to the block, the association and the peer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from pydicom import Dataset
from tests.ports import free_port
from tests.sample_objects import instance
from tests.services.test_procedure_step import dataset, worklist_match

from dimse import (
    ApplicationEntity,
    AssociationError,
    ConnectionLost,
    LocalProtocolError,
    MemoryStepStore,
    PerformedStep,
    ProcedureSteps,
    Server,
    Status,
    StatusError,
    StepChange,
    StepLeftOpen,
    StepStatus,
    performed_step,
    started_step,
)
from dimse.cli.exit_codes import code_of
from dimse.services import procedure_step_scu

STEP = started_step(worklist_match())


class Peer(MemoryStepStore):
    """An SCP that loses associations after it has kept a change, and refuses changes, as told."""

    def __init__(self) -> None:
        super().__init__()
        self.server = Server("RIS", port=0)
        self.changes: list[StepChange] = []
        self.lose: Callable[[StepChange], bool] = lambda change: False  # noqa: ARG005
        self.refuse: Callable[[StepChange], bool] = lambda change: False  # noqa: ARG005
        ProcedureSteps(self.server, self.handle, store=self)

    @property
    def address(self) -> str:
        return f"RIS@127.0.0.1:{self.server.port}"

    @property
    def states(self) -> list[str]:
        return [change.status.value for change in self.changes]

    async def handle(self, change: StepChange) -> None:
        if self.refuse(change):
            raise StatusError(Status.NOT_AUTHORIZED, "not today")
        self.changes.append(change)

    async def put(self, sop_instance_uid: str, dataset: Dataset) -> None:
        await super().put(sop_instance_uid, dataset)
        if self.lose(self.changes[-1]):
            self.changes[-1].association.abort()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    async with peer.server:
        yield peer


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up soon."""
    monkeypatch.setattr(procedure_step_scu, "END_SECONDS", 0.3)
    monkeypatch.setattr(procedure_step_scu, "_PAUSE", 0.05)


async def fail(after: Awaitable[None] | None = None) -> None:
    if after is not None:
        await after
    raise RuntimeError("out of film")


async def test_a_step_is_completed_with_its_series(peer: Peer) -> None:
    async with performed_step(peer.address, STEP) as step:
        step.add(instance("1.1", pixels=0), instance("1.2", pixels=0))
        await step.update(PerformedProcedureStepDescription="Schädel")
        states = [step.status]
    assert [*states, step.status] == [StepStatus.IN_PROGRESS, StepStatus.COMPLETED]
    assert peer.states == ["IN PROGRESS", "IN PROGRESS", "COMPLETED"]
    assert {change.sop_instance_uid for change in peer.changes} == {step.sop_instance_uid}
    end = peer.changes[-1].dataset
    (series,) = end.PerformedSeriesSequence
    assert [each.ReferencedSOPInstanceUID for each in series.ReferencedImageSequence] == ["1.1", "1.2"]
    assert (end.PerformedProcedureStepDescription, end.PatientID) == ("Schädel", "4711")
    assert end.PerformedProcedureStepEndTime


async def test_a_step_without_instances_is_completed(peer: Peer) -> None:
    async with performed_step(peer.address, STEP):
        pass
    assert peer.states == ["IN PROGRESS", "COMPLETED"]


async def test_an_exception_discontinues_it(peer: Peer) -> None:
    with pytest.raises(RuntimeError, match="out of film"):
        async with performed_step(peer.address, STEP) as step:
            await fail()
    assert (step.status, peer.states) == (StepStatus.DISCONTINUED, ["IN PROGRESS", "DISCONTINUED"])
    (reason,) = peer.changes[-1].dataset.PerformedProcedureStepDiscontinuationReasonCodeSequence
    assert (reason.CodeValue, reason.CodingSchemeDesignator) == ("110513", "DCM")


async def test_a_cancellation_discontinues_it(peer: Peer) -> None:
    started = asyncio.Event()

    async def scan() -> None:
        async with performed_step(peer.address, STEP):
            started.set()
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(scan())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert peer.states == ["IN PROGRESS", "DISCONTINUED"]


async def test_the_block_may_end_it(peer: Peer) -> None:
    async with performed_step(peer.address, STEP) as step:
        await step.discontinue(("110514", "DCM", "Incorrect worklist entry selected"))
        with pytest.raises(LocalProtocolError, match="is DISCONTINUED already"):
            await step.complete()
    assert peer.states == ["IN PROGRESS", "DISCONTINUED"]
    with pytest.raises(RuntimeError, match="out of film"):
        async with performed_step(peer.address, STEP) as step:
            await fail(step.complete())
    assert peer.states[2:] == ["IN PROGRESS", "COMPLETED"]


async def test_a_refused_step_is_not_begun(peer: Peer) -> None:
    peer.refuse = lambda change: True  # noqa: ARG005
    with pytest.raises(StatusError, match="not today"):
        async with performed_step(peer.address, STEP):
            raise AssertionError("the block was entered")
    assert peer.states == []


@pytest.mark.parametrize("state", ["IN PROGRESS", "COMPLETED"])
async def test_a_lost_response_is_asked_for_again(peer: Peer, state: str) -> None:
    """The repeated request is refused as a duplicate, or as too late: it was received."""
    peer.lose = lambda change: change.status == state
    async with performed_step(peer.address, STEP):
        pass
    assert peer.states == ["IN PROGRESS", "COMPLETED"]


async def test_the_end_is_reported_when_the_peer_is_back(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procedure_step_scu, "_PAUSE", 0.01)
    port, again = peer.server.port, Peer()
    again.server = Server("RIS", port=port)
    ProcedureSteps(again.server, again.handle, store=again)
    async with performed_step(peer.address, STEP) as step:
        kept = await peer.get(step.sop_instance_uid)
        assert kept is not None
        await MemoryStepStore.put(again, step.sop_instance_uid, kept)
        await peer.server.stop()
        ending = asyncio.create_task(step.complete())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(ending), 0.05)
        async with again.server:
            await ending
    assert again.states == ["COMPLETED"]


@pytest.mark.usefixtures("hurry")
async def test_a_step_that_is_left_open_is_named(peer: Peer) -> None:
    with pytest.raises(StepLeftOpen, match=r"^procedure step 2\.25\.\d+ may be left open: COMPLETED") as caught:
        async with performed_step(peer.address, STEP) as step:
            await peer.server.stop()
    assert (caught.value.sop_instance_uid, caught.value.status) == (step.sop_instance_uid, "COMPLETED")
    assert step.status is StepStatus.IN_PROGRESS


@pytest.mark.usefixtures("hurry")
async def test_the_reason_of_a_step_that_is_left_open_gives_the_exit_code(peer: Peer) -> None:
    """As `dimse step` ends with: no association, interrupted, refused."""
    step = PerformedStep(ApplicationEntity(peer.address))
    await step.start(STEP)
    ending = asyncio.create_task(step.complete())
    peer.refuse = lambda change: change.status.is_final and ending.cancel()
    with pytest.raises(StepLeftOpen, match="CancelledError") as cancelled:
        await ending
    peer.refuse = lambda change: True  # noqa: ARG005
    with pytest.raises(StepLeftOpen, match="not today") as refused:
        await step.complete()
    await peer.server.stop()
    with pytest.raises(StepLeftOpen, match="Connection refused") as unreachable:
        await step.complete()
    assert [code_of(each.value) for each in (cancelled, refused, unreachable)] == [130, 1, 3]


async def test_a_peer_that_does_not_answer_in_time_leaves_it_open(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procedure_step_scu, "END_SECONDS", 0.05)
    step = PerformedStep(ApplicationEntity(peer.address))
    await step.start(STEP)
    answer = asyncio.Event()

    async def get(sop_instance_uid: str) -> Dataset | None:
        await answer.wait()
        return None

    peer.get = get  # type: ignore[method-assign]
    with pytest.raises(StepLeftOpen, match=r"the peer did not answer within 0\.05 s") as caught:
        await step.complete()
    answer.set()
    assert code_of(caught.value) == 3


async def test_only_a_repeated_request_may_have_been_received(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that somebody else has ended while the peer could not be reached is not said to be completed."""
    monkeypatch.setattr(procedure_step_scu, "_PAUSE", 0.01)
    port, again = peer.server.port, Peer()
    again.server = Server("RIS", port=port)
    ProcedureSteps(again.server, again.handle, store=again)
    step = PerformedStep(ApplicationEntity(peer.address))
    await MemoryStepStore.put(again, step.sop_instance_uid, dataset(PerformedProcedureStepStatus="DISCONTINUED"))
    await peer.server.stop()
    ending = asyncio.create_task(step.complete())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(ending), 0.05)
    async with again.server:
        with pytest.raises(StepLeftOpen, match="may no longer be updated"):
            await ending


@pytest.mark.usefixtures("hurry")
async def test_a_failed_block_that_leaves_it_open_keeps_its_exception(peer: Peer) -> None:
    with pytest.raises(StepLeftOpen, match="DISCONTINUED was not confirmed") as caught:
        async with performed_step(peer.address, STEP):
            await fail(peer.server.stop())
    assert str(caught.value.__cause__) == "out of film"
    assert "Connection refused" in str(caught.value)


async def test_a_refused_end_is_named(peer: Peer) -> None:
    peer.refuse = lambda change: change.status is StepStatus.COMPLETED
    with pytest.raises(StepLeftOpen, match="not today"):
        async with performed_step(peer.address, STEP):
            pass
    assert peer.states == ["IN PROGRESS"]


@pytest.mark.usefixtures("hurry")
async def test_a_step_whose_creation_is_uncertain_is_discontinued(peer: Peer) -> None:
    """Both responses to the N-CREATE are lost."""
    peer.lose = lambda change: change.status is StepStatus.IN_PROGRESS
    original, asked = peer.get, []

    async def get(sop_instance_uid: str) -> Dataset | None:
        asked.append(sop_instance_uid)
        if len(asked) == 2:
            peer.server.associations[0].abort()
        return await original(sop_instance_uid)

    peer.get = get  # type: ignore[method-assign]
    with pytest.raises(AssociationError):
        async with performed_step(peer.address, STEP):
            raise AssertionError("the block was entered")
    assert peer.states == ["IN PROGRESS", "DISCONTINUED"]


async def test_nothing_is_withdrawn_that_was_not_sent() -> None:
    with pytest.raises(ConnectionLost):
        async with performed_step(f"RIS@127.0.0.1:{free_port()}", STEP):
            raise AssertionError("the block was entered")
