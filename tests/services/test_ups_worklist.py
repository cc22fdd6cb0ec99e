"""The worklist of an SCP, without a network: every request in every state, and what subscribers are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from tests.services.test_ups_states import CELLS

from dimse import StatusError, uids
from dimse.services.ups_datasets import scheduled, with_performed, with_progress
from dimse.services.ups_events import UPSEvent
from dimse.services.ups_keys import UPSKeys
from dimse.services.ups_states import UPSRequest, UPSState, request_for
from dimse.services.ups_store import MemoryUPSStore, StoredUPS
from dimse.services.ups_worklist import MAXIMUM_SUBSCRIBERS, Worklist

OURS, THEIRS = "2.25.1", "2.25.2"
ALL, FILTERED = uids.UPS_SUBSCRIPTION_INSTANCE, uids.UPS_FILTERED_SUBSCRIPTION_INSTANCE
CODE = ("1", "L", "something")


def attributes(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def new_step(label: str = "Chest", **values: Any) -> Dataset:
    return scheduled(attributes(ProcedureStepLabel=label, **values))


def performed() -> Dataset:
    return with_performed(station=CODE, workitem=[CODE], start="20240131")


class Told:
    """A worklist, and what it publishes."""

    def __init__(self, maximum: int = 100) -> None:
        self.events: list[tuple[str, UPSEvent]] = []
        self.store = MemoryUPSStore(maximum)
        self.worklist = Worklist(self.store, self.publish, label="OURS")

    def publish(self, event: UPSEvent, ae_titles: Iterable[str]) -> None:
        self.events += [(ae_title, event) for ae_title in ae_titles]

    def taken(self) -> list[tuple[str, int, str | None]]:
        events, self.events = self.events, []
        return [(title, event.type, event.state) for title, event in events]

    async def change(self, state: str, transaction: str | None = OURS, uid: str = "1") -> int:
        return await self.worklist.change_state(uid, attributes(ProcedureStepState=state, TransactionUID=transaction))

    async def stored(self, uid: str = "1") -> StoredUPS:
        stored = await self.store.get(uid)
        assert stored is not None
        return stored


async def answer_to(request: Awaitable[int]) -> int:
    try:
        return int(await request)
    except StatusError as error:
        return int(error.status)


async def nobody(_: UPSEvent) -> bool:
    return False


# Every request in every state


NAMES = {
    "create": UPSRequest.CREATE,
    "set": UPSRequest.SET,
    "ask": UPSRequest.REQUEST_CANCEL,
    **{state.value: request_for(state) for state in UPSState},
}
ANSWERS = {(request, given, state): answer for request, given, state, answer in CELLS}


def _expected(
    name: str, uid: str | None, state: UPSState | None, lock: str | None, *, is_performed: bool
) -> tuple[int, UPSState | None]:
    """The status and the new state, by the table as the tests of the states have it."""
    which = "none" if uid is None else "right" if lock in (None, uid) else "wrong"
    request = NAMES[name]
    answer = next(ANSWERS[key] for each in (which, "right", "none") if (key := (request, each, state)) in ANSWERS)
    if answer == "COMPLETED" and not is_performed:
        return 0xC304, state
    return (0x0000, UPSState[answer]) if answer in UPSState.__members__ else (int(answer, 16), state)


REQUESTS = st.tuples(
    st.sampled_from([*NAMES]),
    st.sampled_from(["1", "2"]),
    st.sampled_from([OURS, THEIRS, None]),
)


@given(st.lists(REQUESTS, max_size=12))
@settings(max_examples=40)
def test_any_requests_do_what_the_table_says(requests: Sequence[tuple[str, str, str | None]]) -> None:
    async def main() -> None:
        step = new_step()
        told, model = Told(), dict[str, tuple[UPSState, str | None, bool]]()
        await told.worklist.subscribe(ALL, "WATCHER", Dataset(), deletion_lock=False)
        for name, uid, transaction in requests:
            state, lock, is_performed = model.get(uid, (None, None, False))
            given_ = performed()
            if transaction is not None:
                given_.TransactionUID = transaction
            calls: dict[str, Callable[[], Awaitable[int]]] = {
                "create": lambda: told.worklist.create(uid, step),  # noqa: B023 - called at once
                "set": lambda: told.worklist.set(uid, given_),  # noqa: B023
                "ask": lambda: told.worklist.request_cancel(uid, Dataset(), "ASKER", nobody),  # noqa: B023
            }
            call = calls.get(name, lambda: told.change(name, transaction, uid))  # noqa: B023
            status, after = _expected(name, transaction, state, lock, is_performed=is_performed)
            told.taken()
            assert await answer_to(call()) == status, (name, state)
            if after is None:
                continue
            if name == "IN PROGRESS" and after != state:
                lock = transaction
            model[uid] = after, lock, is_performed or (name == "set" and status == 0)
            stored = await told.stored(uid)
            assert (stored.state, stored.transaction_uid) == (after, lock)
            states = [each for _, kind, each in told.taken() if kind == 1]
            assert states == ([] if after == state else ["IN PROGRESS", after] if name == "ask" else [after])
            shown, _ = await told.worklist.get(uid)
            assert "TransactionUID" not in shown

    asyncio.run(main())


# N-CREATE


async def test_a_new_step_is_completed_by_the_scp() -> None:
    told = Told()
    assert await told.worklist.create("1", new_step()) == 0x0000
    step = (await told.stored()).dataset
    assert (step.SOPClassUID, step.SOPInstanceUID, step.WorklistLabel) == (uids.UPS_PUSH, "1", "OURS")
    assert step.ScheduledProcedureStepModificationDateTime


async def test_what_may_be_empty_may_be_missing_with_a_warning() -> None:
    told, step = Told(), new_step()
    del step.PatientName, step.InputInformationSequence
    assert await told.worklist.create("1", step) == 0xB300
    assert (await told.stored()).dataset.PatientName == ""


@pytest.mark.parametrize(
    ("values", "status", "offending"),
    [
        ({"ProcedureStepLabel": ""}, 0x0121, (0x00741204,)),
        ({"InputReadinessState": None}, 0x0121, (0x00404041,)),
        ({"ProcedureStepState": "IN PROGRESS"}, 0xC309, ()),
        ({"ProcedureStepState": ["SCHEDULED", "SCHEDULED"]}, 0xC309, ()),
        ({"TransactionUID": OURS}, 0x0106, (0x00081195,)),
        ({"ProcedureStepProgressInformationSequence": [Dataset()]}, 0x0106, (0x00741002,)),
    ],
)
async def test_a_step_that_must_not_be_created(values: Any, status: int, offending: tuple[int, ...]) -> None:
    told, step = Told(), new_step()
    for keyword, value in values.items():
        setattr(step, keyword, value)
    with pytest.raises(StatusError) as refused:
        await told.worklist.create("1", step)
    assert (refused.value.status, refused.value.offending) == (status, offending)
    assert await told.store.get("1") is None


async def test_values_that_cannot_be_read_are_refused() -> None:
    told, step = Told(), new_step()
    step[0x00741204] = RawDataElement(Tag(0x00741204), "US", 3, b"abc", 0, False, True)
    assert await answer_to(told.worklist.create("1", step)) == 0x0106


async def test_a_full_worklist_refuses_and_forgets_only_what_it_may() -> None:
    told = Told(maximum=2)
    for uid in "12":
        await told.worklist.create(uid, new_step())
    assert await answer_to(told.worklist.create("3", new_step())) == 0x0213
    await told.worklist.subscribe("1", "WATCHER", Dataset(), deletion_lock=True)
    for uid in "12":
        await told.worklist.request_cancel(uid, Dataset(), "ASKER", nobody)
    await told.worklist.create("3", new_step())
    assert [step.sop_instance_uid async for step in told.store.steps()] == ["1", "3"]


# N-SET


@pytest.mark.parametrize("keyword", ["ProcedureStepState", "PatientName", "PatientID", "SOPInstanceUID"])
async def test_what_no_one_may_set(keyword: str) -> None:
    told = Told()
    await told.worklist.create("1", new_step())
    with pytest.raises(StatusError) as refused:
        await told.worklist.set("1", attributes(**{keyword: "1"}, ProcedureStepLabel="changed"))
    assert refused.value.status == 0x0106
    assert (await told.stored()).dataset.ProcedureStepLabel == "Chest"


async def test_what_must_have_a_value_keeps_it() -> None:
    told = Told()
    await told.worklist.create("1", new_step())
    assert await answer_to(told.worklist.set("1", attributes(ProcedureStepLabel=""))) == 0x0121


async def test_texts_of_two_character_sets_are_both_readable() -> None:
    told = Told()
    await told.worklist.create("1", new_step(PatientName="Müller", SpecificCharacterSet="ISO_IR 100"))
    await told.worklist.set("1", attributes(ProcedureStepLabel="胸部", SpecificCharacterSet="ISO_IR 192"))
    step = (await told.stored()).dataset
    assert (step.SpecificCharacterSet, step.ProcedureStepLabel, step.PatientName) == ("ISO_IR 192", "胸部", "Müller")


# N-ACTION: Change UPS State, Request UPS Cancel


@pytest.mark.parametrize("state", ["", "DONE", None])
async def test_what_is_no_state(state: str | None) -> None:
    told = Told()
    await told.worklist.create("1", new_step())
    assert await answer_to(told.change(state or "")) == 0x0115


async def test_a_step_is_completed_when_it_says_what_was_performed() -> None:
    told, what = Told(), performed()
    await told.worklist.create("1", new_step())
    await told.change("IN PROGRESS")
    what.TransactionUID = OURS
    del what.UnifiedProcedureStepPerformedProcedureSequence[0].OutputInformationSequence
    await told.worklist.set("1", what)
    with pytest.raises(StatusError) as refused:
        await told.change("COMPLETED")
    assert (refused.value.status, refused.value.offending) == (0xC304, (0x00404033,))
    what = performed()
    what.TransactionUID = OURS
    await told.worklist.set("1", what)
    assert await told.change("COMPLETED") == 0x0000


async def test_a_step_is_canceled_without_saying_more() -> None:
    told = Told()
    await told.worklist.create("1", new_step())
    await told.change("IN PROGRESS")
    await told.change("CANCELED")
    [progress] = (await told.stored()).dataset.ProcedureStepProgressInformationSequence
    assert progress.ProcedureStepCancellationDateTime
    assert progress.ProcedureStepDiscontinuationReasonCodeSequence[0].CodeValue == "110513"


async def test_the_reason_of_a_cancel_request_stays_with_the_step() -> None:
    told = Told()
    await told.worklist.create("1", new_step())
    request = attributes(ReasonForCancellation="no longer wanted")
    assert await told.worklist.request_cancel("1", request, "ASKER", nobody) == 0x0000
    [progress] = (await told.stored()).dataset.ProcedureStepProgressInformationSequence
    assert progress.ReasonForCancellation == "no longer wanted"


async def test_a_performer_that_nobody_can_tell() -> None:
    told = Told()
    await told.worklist.create("1", new_step())
    await told.change("IN PROGRESS")
    assert await answer_to(told.worklist.request_cancel("1", Dataset(), "ASKER", nobody)) == 0xC312
    await told.worklist.subscribe("1", "PERFORMER", Dataset(), deletion_lock=False)
    told.taken()
    await told.worklist.request_cancel("1", attributes(ReasonForCancellation="why"), "ASKER", nobody)
    [(title, event)] = told.events
    assert (title, event.type, event.dataset.RequestingAE, event.text) == ("PERFORMER", 2, "ASKER", "why")


# N-GET and C-FIND


async def test_the_transaction_uid_is_told_to_nobody() -> None:
    told = Told()
    await told.worklist.create("1", new_step())
    await told.change("IN PROGRESS")
    part, status = await told.worklist.get("1", [0x00081195, 0x00741000])
    assert (status, [element.keyword for element in part]) == (0x0001, ["ProcedureStepState"])
    for wanted in ("", OURS, "1"):
        found = [match async for match in told.worklist.find(attributes(TransactionUID=wanted, SOPInstanceUID=""))]
        assert [(match.SOPInstanceUID, match.TransactionUID) for match in found] == [("1", None)]


async def test_steps_are_found_by_their_keys() -> None:
    told = Told()
    for uid, label in enumerate(["Chest", "Head", "Heart"], 1):
        await told.worklist.create(str(uid), new_step(label))
    await told.change("IN PROGRESS", uid="2")
    keys = UPSKeys(label="He*", state=UPSState.SCHEDULED).query().find_identifier()
    assert [match.ProcedureStepLabel async for match in told.worklist.find(keys)] == ["Heart"]


# Subscriptions


async def test_all_steps_with_a_lock_are_reported_at_once_and_new_ones_when_they_come() -> None:
    told = Told()
    await told.worklist.create("1", new_step())
    await told.worklist.subscribe(ALL, "WATCHER", Dataset(), deletion_lock=True)
    await told.worklist.create("2", new_step())
    assert told.taken() == [("WATCHER", 1, "SCHEDULED")] * 2
    assert [(await told.stored(uid)).subscribers for uid in "12"] == [{"WATCHER": True}] * 2


async def test_all_steps_without_a_lock_are_not_reported_at_once() -> None:
    told = Told()
    await told.worklist.create("1", new_step())
    await told.worklist.subscribe(ALL, "WATCHER", Dataset(), deletion_lock=False)
    assert told.taken() == []
    await told.change("IN PROGRESS")
    assert told.taken() == [("WATCHER", 1, "IN PROGRESS")]


async def test_a_subscription_to_one_step_comes_before_that_to_all() -> None:
    told = Told()
    await told.worklist.create("1", new_step())
    await told.worklist.subscribe("1", "WATCHER", Dataset(), deletion_lock=False)
    await told.worklist.subscribe(ALL, "WATCHER", Dataset(), deletion_lock=True)
    assert (await told.stored()).subscribers == {"WATCHER": False}
    assert told.taken() == [("WATCHER", 1, "SCHEDULED")]


async def test_only_steps_that_match_are_subscribed_to() -> None:
    told = Told()
    await told.worklist.create("1", new_step("Head"))
    keys = UPSKeys(label="He*").query().find_identifier()
    await told.worklist.subscribe(FILTERED, "WATCHER", keys, deletion_lock=True)
    for uid, label in (("2", "Chest"), ("3", "Heart")):
        await told.worklist.create(uid, new_step(label))
    assert [bool((await told.stored(uid)).subscribers) for uid in "123"] == [True, False, True]


async def test_suspending_keeps_what_is_there_and_unsubscribing_does_not() -> None:
    told = Told()
    await told.worklist.subscribe(ALL, "WATCHER", Dataset(), deletion_lock=True)
    await told.worklist.create("1", new_step())
    await told.worklist.suspend(ALL, "WATCHER")
    await told.worklist.create("2", new_step())
    assert [bool((await told.stored(uid)).subscribers) for uid in "12"] == [True, False]
    await told.worklist.unsubscribe(ALL, "WATCHER")
    assert (await told.stored()).subscribers == {}
    assert await answer_to(told.worklist.suspend("1", "WATCHER")) == 0xC314  # type: ignore[arg-type]


async def test_one_step_can_be_left_alone() -> None:
    told = Told()
    await told.worklist.create("1", new_step())
    await told.worklist.subscribe("1", "WATCHER", Dataset(), deletion_lock=True)
    await told.worklist.unsubscribe("1", "WATCHER")
    assert (await told.stored()).subscribers == {}
    for request in (
        told.worklist.subscribe("2", "WATCHER", Dataset(), deletion_lock=True),
        told.worklist.unsubscribe("2", "WATCHER"),
    ):
        assert await answer_to(request) == 0xC307  # type: ignore[arg-type]


async def test_subscribers_are_limited() -> None:
    told = Told()
    await told.worklist.create("1", new_step())
    stored = await told.stored()
    await told.store.put(StoredUPS("1", stored.dataset, None, {str(n): False for n in range(MAXIMUM_SUBSCRIBERS)}))
    assert await answer_to(told.worklist.subscribe("1", "X", Dataset(), deletion_lock=False)) == 0x0213  # type: ignore[arg-type]


async def test_progress_and_assignments_are_reported() -> None:
    told = Told()
    await told.worklist.subscribe(ALL, "WATCHER", Dataset(), deletion_lock=False)
    await told.worklist.create("1", new_step(ScheduledStationNameCodeSequence=[attributes(CodeValue="AI1")]))
    assert told.taken() == [("WATCHER", 1, "SCHEDULED"), ("WATCHER", 5, None)]
    await told.change("IN PROGRESS")
    what = with_progress(50, "half")
    what.TransactionUID = OURS
    await told.worklist.set("1", what)
    assert told.taken() == [("WATCHER", 1, "IN PROGRESS"), ("WATCHER", 3, None)]
    await told.worklist.set("1", what)
    assert told.taken() == []
