"""The events of Unified Procedure Steps: what they tell, and which a change causes (PS3.4 CC.2.4)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum
from typing import Final
from weakref import WeakSet

from dimse import uids
from dimse.dataset.pydicom_names import Dataset
from dimse.services.ups_datasets import progress_of, with_character_set
from dimse.services.ups_states import UPSState

logger = logging.getLogger("dimse.ups")

MAXIMUM_EVENTS: Final = 1000
"""Events that wait for a subscriber, or for the iterator of this side. Beyond it the oldest is dropped."""


class UPSEventType(IntEnum):
    """Event Type ID (PS3.4 Table CC.2.4-1)."""

    STATE = 1
    """The state of a step or the readiness of its input has changed, or the subscription has begun."""
    CANCEL_REQUESTED = 2
    """A system asks the performer to cancel."""
    PROGRESS = 3
    SCP_STATUS = 4
    """The SCP itself has restarted, or is going down: subscriptions may be lost."""
    ASSIGNED = 5
    """The step was assigned to a station or a person."""


@dataclass(frozen=True, slots=True)
class UPSEvent:
    """An event of a step, or of the SCP itself."""

    type: UPSEventType
    sop_instance_uid: str
    """The step; `uids.UPS_SUBSCRIPTION_INSTANCE` if it is about the SCP."""
    dataset: Dataset = field(repr=False)
    """What it tells."""

    @property
    def state(self) -> UPSState | None:
        """The state of the step, in a state report."""
        value = self.dataset.get("ProcedureStepState")
        return UPSState(value) if value in list(UPSState) else None

    @property
    def progress(self) -> float | None:
        """Per cent, in a progress report that has them."""
        value = progress_of(self.dataset).get("ProcedureStepProgress")
        return float(value) if isinstance(value, float | int | Decimal) else None

    @property
    def text(self) -> str | None:
        """The description of a progress report, or the reason of a cancellation or of a request for it."""
        found = progress_of(self.dataset).get("ProcedureStepProgressDescription")
        found = found or self.dataset.get("ReasonForCancellation")
        return None if not found else str(found)


_READINESS: Final = "InputReadinessState"
_ASSIGNMENT: Final = ("ScheduledStationNameCodeSequence", "ScheduledHumanPerformersSequence")
_PROGRESS: Final = (
    "ProcedureStepProgress",
    "ProcedureStepProgressDescription",
    "ProcedureStepCommunicationsURISequence",
)


def state_report(uid: str, step: Dataset) -> UPSEvent:
    """The state of a step, as a subscriber is told of it."""
    report = _of(step, "SpecificCharacterSet", "ProcedureStepState", _READINESS)
    progress = progress_of(step)
    for keyword in ("ReasonForCancellation", "ProcedureStepDiscontinuationReasonCodeSequence"):
        if keyword in progress:
            report[keyword] = progress[keyword]
    return UPSEvent(UPSEventType.STATE, uid, report)


def cancel_requested(uid: str, request: Dataset, requesting_ae_title: str) -> UPSEvent:
    """A request to cancel a step, as the performer is told of it."""
    told = _of(
        request,
        "SpecificCharacterSet",
        "ReasonForCancellation",
        "ProcedureStepDiscontinuationReasonCodeSequence",
        "ContactURI",
        "ContactDisplayName",
    )
    told.RequestingAE = requesting_ae_title
    return UPSEvent(UPSEventType.CANCEL_REQUESTED, uid, told)


def restarted(*, kept: bool) -> UPSEvent:
    """The SCP has restarted; `kept` is whether it still has the steps and the subscriptions."""
    status = Dataset()
    status.SCPStatus = "RESTARTED"
    status.SubscriptionListStatus = status.UnifiedProcedureStepListStatus = "WARM START" if kept else "COLD START"
    return UPSEvent(UPSEventType.SCP_STATUS, uids.UPS_SUBSCRIPTION_INSTANCE, status)


def events_of(uid: str, before: Dataset | None, after: Dataset) -> Iterator[UPSEvent]:
    """The events that a change of a step causes; `before` is None for a new one (PS3.4 CC.2.4.3)."""
    if before is None or _differ(before, after, "ProcedureStepState", _READINESS):
        yield state_report(uid, after)
    if _differ(before or Dataset(), after, *_ASSIGNMENT):
        assigned = _of(after, "SpecificCharacterSet", "ScheduledStationNameCodeSequence")
        for performer in (after.get("ScheduledHumanPerformersSequence") or [])[:1]:
            for keyword in ("HumanPerformerCodeSequence", "HumanPerformerOrganization"):
                if keyword in performer:
                    assigned[keyword] = performer[keyword]
        yield UPSEvent(UPSEventType.ASSIGNED, uid, assigned)
    if before is not None and _differ(progress_of(before), progress_of(after), *_PROGRESS):
        report = _of(after, "SpecificCharacterSet", "ProcedureStepProgressInformationSequence")
        yield UPSEvent(UPSEventType.PROGRESS, uid, report)


def _differ(before: Dataset, after: Dataset, *keywords: str) -> bool:
    return any((before.get(keyword) or None) != (after.get(keyword) or None) for keyword in keywords)


def _of(dataset: Dataset, *keywords: str) -> Dataset:
    part = Dataset()
    for keyword in keywords:
        if dataset.get(keyword):
            part[keyword] = dataset[keyword]
    with_character_set(part)
    return part


class EventQueue(AsyncIterator[UPSEvent]):
    """The events that wait for one iterator. It ends when it is closed and they were all taken."""

    def __init__(self) -> None:
        self._waiting: deque[UPSEvent | None] = deque()
        self._arrived = asyncio.Event()

    def put(self, event: UPSEvent | None) -> None:
        """Add an event; None ends the iteration."""
        if len(self._waiting) >= MAXIMUM_EVENTS:
            self._waiting.popleft()
            logger.warning("an event of UPS was dropped, as %d wait for the program", MAXIMUM_EVENTS)
        self._waiting.append(event)
        self._arrived.set()

    async def __anext__(self) -> UPSEvent:
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        event = self._waiting[0]
        if event is None:
            raise StopAsyncIteration
        self._waiting.popleft()
        return event


class EventQueues:
    """A queue for each iterator of the program, as long as it is used."""

    def __init__(self) -> None:
        self._queues: WeakSet[EventQueue] = WeakSet()

    def put(self, event: UPSEvent | None) -> None:
        """Give an event to each iterator; None ends them."""
        for queue in self._queues:
            queue.put(event)

    def new(self) -> EventQueue:
        """An iterator of the events from now on."""
        queue = EventQueue()
        self._queues.add(queue)
        return queue
