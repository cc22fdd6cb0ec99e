"""Procedure steps as SCP: every state and every request, what is refused, and where the steps are kept."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from pydicom import Dataset
from tests.services.test_procedure_step import dataset, worklist_match

from dimse import (
    MemoryStepStore,
    NormalizedResult,
    NormalizedSCU,
    PerformedSeries,
    ProcedureSteps,
    Server,
    ServerOptions,
    Status,
    StatusError,
    StepChange,
    StepStatus,
    Strictness,
    connect,
    started_step,
    uids,
)
from dimse.services import procedure_step_scp
from dimse.services.procedure_step import STEP, UNSPECIFIED, final_step

MPPS, RETRIEVE = uids.PERFORMED_PROCEDURE_STEP, uids.PERFORMED_PROCEDURE_STEP_RETRIEVE
SERIES = PerformedSeries().items()
CONTEXTS = [(uid, uids.LITTLE_ENDIAN) for uid in (MPPS, RETRIEVE)]


def without(*keywords: str) -> Dataset:
    step = started_step(worklist_match())
    for keyword in keywords:
        del step[keyword]
    return step


def with_values(**values: Any) -> Dataset:
    step = started_step(worklist_match())
    for keyword, value in values.items():
        setattr(step, keyword, value)
    return step


CREATIONS = {
    "good": (started_step(worklist_match()), 0x0000),
    "no status": (without("PerformedProcedureStepStatus"), 0x0120),
    "no ID": (with_values(PerformedProcedureStepID=""), 0x0121),
    "no study": (with_values(ScheduledStepAttributesSequence=[dataset(AccessionNumber="1")]), 0x0120),
    "nothing scheduled": (with_values(ScheduledStepAttributesSequence=[]), 0x0121),
    "completed": (with_values(PerformedProcedureStepStatus="COMPLETED"), 0x0106),
    "unknown status": (with_values(PerformedProcedureStepStatus="BEGUN"), 0x0106),
}
CHANGES = {
    "description": (dataset(PerformedProcedureStepDescription="a"), 0x0000, None),
    "in progress": (dataset(PerformedProcedureStepStatus="IN PROGRESS"), 0x0000, None),
    "same patient": (dataset(PatientID="4711"), 0x0000, None),
    "other patient": (dataset(PatientID="4712"), 0x0106, None),
    "other issuer": (dataset(IssuerOfPatientID="CLINIC"), 0x0106, None),
    "admission": (dataset(AdmissionID="A1"), 0x0106, None),
    "unknown status": (dataset(PerformedProcedureStepStatus="DONE"), 0x0106, None),
    "complete": (final_step(StepStatus.COMPLETED, SERIES, None), 0x0000, StepStatus.COMPLETED),
    "complete without series": (final_step(StepStatus.COMPLETED, [], None), 0x0121, None),
    "complete without end": (dataset(PerformedProcedureStepStatus="COMPLETED"), 0x0121, None),
    "complete without protocol": (
        final_step(StepStatus.COMPLETED, [dataset(SeriesInstanceUID="1.2")], None),
        0x0120,
        None,
    ),
    "discontinue": (final_step(StepStatus.DISCONTINUED, SERIES, None), 0x0000, StepStatus.DISCONTINUED),
    "discontinue without series": (
        final_step(StepStatus.DISCONTINUED, [], None),
        0x0000,
        StepStatus.DISCONTINUED,
    ),
}


async def outcome(request: Awaitable[NormalizedResult]) -> tuple[int, int | None]:
    """The status and the Error ID of a request."""
    try:
        return (await request).status, None
    except StatusError as error:
        return error.status, error.error_id


class Steps(RuleBasedStateMachine):
    """Requests about two steps, in any order, against what PS3.4 F.7.2 and Table F.1-4 say."""

    instances = Bundle("instances")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.states: dict[str, StepStatus] = {}
        self.changes: list[StepChange] = []
        self.told = 0

    async def handle(self, change: StepChange) -> None:
        self.changes.append(change)

    @initialize()
    def associate(self) -> None:
        self.scu = self.runner.run(self._associate())

    async def _associate(self) -> NormalizedSCU:
        server = Server("RIS", port=0)
        ProcedureSteps(server, self.handle)
        await self.stack.enter_async_context(server)
        address = f"RIS@127.0.0.1:{server.port}"
        return NormalizedSCU(await self.stack.enter_async_context(connect(address, contexts=CONTEXTS)))

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()

    @rule(uid=st.sampled_from(["1.1", "1.2"]), kind=st.sampled_from(sorted(CREATIONS)))
    def create(self, uid: str, kind: str) -> None:
        step, status = CREATIONS[kind]
        expected = 0x0111 if uid in self.states else status
        assert self.runner.run(outcome(self.scu.create(MPPS, step, sop_instance_uid=uid))) == (expected, None)
        if expected == 0x0000:
            self.states[uid] = StepStatus.IN_PROGRESS
            self.check_told(uid, None)

    @rule(uid=st.sampled_from(["1.1", "1.2"]), kind=st.sampled_from(sorted(CHANGES)))
    def change(self, uid: str, kind: str) -> None:
        step, status, leads_to = CHANGES[kind]
        state, error_id = self.states.get(uid), None
        if state is None:
            status = 0x0112
        elif state.is_final:
            status, error_id = 0x0110, 0xA710
        assert self.runner.run(outcome(self.scu.set(MPPS, uid, step))) == (status, error_id)
        if status == 0x0000:
            self.states[uid] = leads_to or StepStatus.IN_PROGRESS
            self.check_told(uid, state)

    @rule(uid=st.sampled_from(["1.1", "1.2"]))
    def retrieve(self, uid: str) -> None:
        request = self.scu.get(RETRIEVE, uid, ["PerformedProcedureStepStatus", "PatientName"])
        if uid not in self.states:
            assert self.runner.run(outcome(request)) == (0x0112, None)
            return
        step = self.runner.run(_awaited(request)).dataset
        assert step is not None
        assert (step.PerformedProcedureStepStatus, str(step.PatientName)) == (self.states[uid], "Müller^Ada")
        assert "PatientID" not in step

    def check_told(self, uid: str, former: StepStatus | None) -> None:
        """The handler was called once, with the whole step; never for what was refused."""
        self.told += 1
        assert len(self.changes) == self.told
        change = self.changes[-1]
        assert (change.sop_instance_uid, change.status, change.former_status) == (uid, self.states[uid], former)
        event = {"COMPLETED": 2, "DISCONTINUED": 3, "IN PROGRESS": 1 if former is None else 4}[change.status]
        assert change.event_type_id == event
        assert (str(change.dataset.PatientName), change.dataset.PatientID) == ("Müller^Ada", "4711")


async def _awaited(request: Awaitable[NormalizedResult]) -> NormalizedResult:
    return await request


def test_every_request_in_every_state() -> None:
    run_state_machine_as_test(Steps, settings=settings(max_examples=5, stateful_step_count=30, deadline=None))


async def test_what_is_missing_is_named() -> None:
    server = Server("RIS", port=0)
    ProcedureSteps(server, _ignore)
    async with server, connect(f"RIS@127.0.0.1:{server.port}", contexts=CONTEXTS) as association:
        with pytest.raises(StatusError, match="is missing: PerformedProcedureStepID and 1 more") as caught:
            await NormalizedSCU(association).create(MPPS, without("PerformedProcedureStepID", "Modality"))
    assert caught.value.status == Status.MISSING_ATTRIBUTE
    assert caught.value.offending == (0x00400253, 0x00080060)


@pytest.mark.parametrize("strictness", Strictness)
async def test_a_strict_server_demands_what_may_be_empty(strictness: Strictness) -> None:
    is_strict = strictness is Strictness.STRICT
    server = Server("RIS", port=0, options=ServerOptions(strictness=strictness))
    ProcedureSteps(server, _ignore)
    optional = without(*(keyword for keyword, requirement in STEP.items() if requirement.type == 2))
    async with server, connect(f"RIS@127.0.0.1:{server.port}", contexts=CONTEXTS) as association:
        scu = NormalizedSCU(association)
        expected = Status.MISSING_ATTRIBUTE if is_strict else Status.SUCCESS
        assert await outcome(scu.create(MPPS, optional)) == (expected, None)
        await scu.create(MPPS, started_step(worklist_match()), sop_instance_uid="1.1")
        ended = await outcome(scu.set(MPPS, "1.1", final_step(StepStatus.DISCONTINUED, [], None)))
        assert ended == (Status.MISSING_ATTRIBUTE_VALUE if is_strict else Status.SUCCESS, None)


@pytest.mark.parametrize("strictness", Strictness)
async def test_a_strict_server_changes_only_what_was_created(strictness: Strictness) -> None:
    """PS3.4 Table F.7.2-1, note 3."""
    server = Server("RIS", port=0, options=ServerOptions(strictness=strictness))
    ProcedureSteps(server, _ignore)
    async with server, connect(f"RIS@127.0.0.1:{server.port}", contexts=CONTEXTS) as association:
        scu = NormalizedSCU(association)
        await scu.create(MPPS, without("PerformedProcedureStepDiscontinuationReasonCodeSequence"), sop_instance_uid="1")
        for change, tag in (
            (final_step(StepStatus.DISCONTINUED, SERIES, UNSPECIFIED), 0x00400281),
            (dataset(CommentsOnThePerformedProcedureStep="a"), 0x00400280),
        ):
            if strictness is Strictness.STRICT:
                with pytest.raises(StatusError, match="was not created") as caught:
                    await scu.set(MPPS, "1", change)
                assert (caught.value.status, caught.value.offending) == (Status.NO_SUCH_ATTRIBUTE, (tag,))
        await scu.create(MPPS, started_step(worklist_match()), sop_instance_uid="2")
        for uid in ("1", "2")[strictness is Strictness.STRICT :]:
            await scu.set(MPPS, uid, final_step(StepStatus.DISCONTINUED, SERIES, UNSPECIFIED))


async def test_a_handler_refuses_a_change() -> None:
    server = Server("RIS", port=0)

    async def handle(change: StepChange) -> None:
        if change.former_status is not None:
            raise StatusError(Status.NOT_AUTHORIZED, "not from here")

    steps = ProcedureSteps(server, handle)
    async with server, connect(f"RIS@127.0.0.1:{server.port}", contexts=CONTEXTS) as association:
        scu = NormalizedSCU(association)
        await scu.create(MPPS, started_step(worklist_match()), sop_instance_uid="1.1")
        with pytest.raises(StatusError, match="not from here"):
            await scu.set(MPPS, "1.1", final_step(StepStatus.COMPLETED, SERIES, None))
        kept = await steps.store.get("1.1")
    assert kept is not None
    assert kept.PerformedProcedureStepStatus == "IN PROGRESS"


async def test_texts_of_two_character_sets_become_one_step() -> None:
    server, changes = Server("RIS", port=0), []

    async def handle(change: StepChange) -> None:
        changes.append(change.dataset)

    ProcedureSteps(server, handle)
    async with server, connect(f"RIS@127.0.0.1:{server.port}", contexts=CONTEXTS) as association:
        scu = NormalizedSCU(association)
        await scu.create(MPPS, started_step(worklist_match()), sop_instance_uid="1.1")
        changed = dataset(SpecificCharacterSet="ISO_IR 144", PerformedProcedureStepDescription="Череп")
        await scu.set(MPPS, "1.1", changed)
        step = (await scu.get(RETRIEVE, "1.1")).dataset
    for each in (step, changes[-1]):
        assert each is not None
        assert (str(each.PatientName), each.PerformedProcedureStepDescription) == ("Müller^Ada", "Череп")


async def test_the_event_loop_does_not_wait_for_long_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """To read and write a step that lists 2000 images takes more than a second."""
    threads = dict[str, int]()

    def noting(name: str) -> Callable[..., Any]:
        function = getattr(procedure_step_scp, name)

        def noted(*given: Any) -> Any:
            threads[name] = threading.get_ident()
            return function(*given)

        return noted

    for name in ("decoded", "decode", "encode", "raw_identifier"):
        monkeypatch.setattr(procedure_step_scp, name, noting(name))
    server = Server("RIS", port=0)
    ProcedureSteps(server, _ignore)
    async with server, connect(f"RIS@127.0.0.1:{server.port}", contexts=CONTEXTS) as association:
        scu = NormalizedSCU(association)
        await scu.create(MPPS, started_step(worklist_match()), sop_instance_uid="8.1")
        await scu.set(MPPS, "8.1", dataset(PerformedProcedureStepDescription="CT"))
    assert len(threads) == 4
    assert threading.get_ident() not in threads.values()


async def test_memory_keeps_a_limited_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procedure_step_scp, "MAX_STEPS", 2)
    store = MemoryStepStore()
    for uid, status in (("1.1", "IN PROGRESS"), ("1.2", "COMPLETED"), ("1.3", "IN PROGRESS")):
        await store.put(uid, dataset(PerformedProcedureStepStatus=status))
    assert [await store.get(uid) is not None for uid in ("1.1", "1.2", "1.3")] == [True, False, True]
    with pytest.raises(StatusError, match="too many procedure steps"):
        await store.put("1.4", dataset(PerformedProcedureStepStatus="IN PROGRESS"))
    await store.put("1.1", dataset(PerformedProcedureStepStatus="COMPLETED"))
    await store.put("1.4", dataset(PerformedProcedureStepStatus="IN PROGRESS"))
    assert await store.get("1.1") is None


async def test_memory_keeps_a_limited_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procedure_step_scp, "MAX_STEP_BYTES", 200)
    store = MemoryStepStore()
    large = dataset(PerformedProcedureStepStatus="COMPLETED", PatientComments="x" * 100)
    for uid in ("1.1", "1.2"):
        await store.put(uid, large)
    assert (await store.get("1.1"), await store.get("1.2")) == (None, large)
    with pytest.raises(StatusError, match="too many procedure steps"):
        await store.put("1.3", dataset(PerformedProcedureStepStatus="IN PROGRESS", PatientComments="x" * 300))


async def _ignore(_: StepChange) -> None:
    pass
