"""What events tell, and the queues that they wait in."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom import Dataset

from dimse.services.ups_datasets import with_progress
from dimse.services.ups_events import MAXIMUM_EVENTS, EventQueues, UPSEvent, UPSEventType, events_of, restarted


def attributes(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def step(**values: Any) -> Dataset:
    return attributes(**{"ProcedureStepState": "SCHEDULED", "InputReadinessState": "READY", **values})


PERFORMER = attributes(HumanPerformerOrganization="Ours", HumanPerformerName="Doe")
PROGRESS = with_progress(50).ProcedureStepProgressInformationSequence


@pytest.mark.parametrize(
    ("before", "after", "types"),
    [
        (None, step(), [1]),
        (None, step(ScheduledHumanPerformersSequence=[PERFORMER]), [1, 5]),
        (step(), step(), []),
        (step(ProcedureStepLabel="a"), step(ProcedureStepLabel="b"), []),
        (step(), step(ProcedureStepState="IN PROGRESS"), [1]),
        (step(), step(InputReadinessState="INCOMPLETE"), [1]),
        (step(), step(ScheduledStationNameCodeSequence=[attributes(CodeValue="1")]), [5]),
        (step(), step(ProcedureStepProgressInformationSequence=PROGRESS), [3]),
    ],
)
def test_the_events_of_a_change(before: Dataset | None, after: Dataset, types: list[int]) -> None:
    assert [event.type for event in events_of("1.2", before, after)] == types


def test_who_was_assigned() -> None:
    [_, event] = events_of("1.2", None, step(ScheduledHumanPerformersSequence=[PERFORMER]))
    assert event.dataset == attributes(HumanPerformerOrganization="Ours")


def test_what_an_event_tells() -> None:
    progress = UPSEvent(UPSEventType.PROGRESS, "1.2", with_progress(12.5, "some"))
    assert (progress.progress, progress.text, progress.state) == (12.5, "some", None)
    strange = UPSEvent(UPSEventType.STATE, "1.2", attributes(ProcedureStepState="DONE"))
    assert (strange.progress, strange.text, strange.state) == (None, None, None)
    item = attributes(ProcedureStepProgress=[1, 2])
    several = attributes(ProcedureStepState=["SCHEDULED", "DONE"], ProcedureStepProgressInformationSequence=[item])
    twice = UPSEvent(UPSEventType.PROGRESS, "1.2", several)
    assert (twice.progress, twice.state) == (None, None)
    assert "Ours" not in repr(UPSEvent(UPSEventType.ASSIGNED, "1.2", PERFORMER))


@pytest.mark.parametrize(("kept", "word"), [(True, "WARM START"), (False, "COLD START")])
def test_an_scp_that_restarts(*, kept: bool, word: str) -> None:
    status = restarted(kept=kept).dataset
    assert (status.SCPStatus, status.SubscriptionListStatus, status.UnifiedProcedureStepListStatus) == (
        "RESTARTED",
        word,
        word,
    )


async def test_each_iterator_gets_each_event_until_the_end() -> None:
    queues, event = EventQueues(), restarted(kept=True)
    one, other = queues.new(), queues.new()
    queues.put(event)
    queues.put(None)
    assert [each async for each in one] == [event]
    assert [each async for each in other] == [event]
    assert [each async for each in one] == []


async def test_a_program_that_is_slow_loses_the_oldest_events(caplog: pytest.LogCaptureFixture) -> None:
    queues = EventQueues()
    iterator = queues.new()
    for number in range(MAXIMUM_EVENTS + 2):
        queues.put(UPSEvent(UPSEventType.STATE, str(number), Dataset()))
    assert (await anext(iterator)).sop_instance_uid == "2"
    assert "dropped" in caplog.text


def test_an_iterator_that_nobody_has_gets_nothing() -> None:
    queues = EventQueues()
    queues.new()
    queues.put(restarted(kept=True))
    assert len(queues._queues) == 0
