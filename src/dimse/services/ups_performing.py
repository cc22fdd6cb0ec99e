"""Performing Unified Procedure Steps: one that was claimed, and those that are claimed one after the other."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from enum import Enum
from types import TracebackType
from typing import Final, Self

from dimse.dataset.pydicom_names import Dataset
from dimse.errors import (
    AssociationAborted,
    AssociationRejected,
    AssociationTimeout,
    ConnectionLost,
    DimseError,
    LocalProtocolError,
    StatusError,
    escaped,
)
from dimse.services.ups_datasets import (
    UNSPECIFIED_REASON,
    CodedConcept,
    now,
    references,
    with_cancellation,
    with_performed,
    with_progress,
)
from dimse.services.ups_events import UPSEvent, UPSEventType
from dimse.services.ups_keys import UPSKeys
from dimse.services.ups_requests import UPSRequests, may_pass, performed_by
from dimse.services.ups_states import UPSState, UPSStatus

logger = logging.getLogger("dimse.ups")

MAXIMUM_CANDIDATES: Final = 100
"""Matches of a query that a worker looks at before it asks again."""

_PRIORITIES: Final = {"HIGH": 0, "MEDIUM": 1, "LOW": 2}

LOST: Final = (
    UPSStatus.NO_LONGER_UPDATABLE,
    UPSStatus.WRONG_TRANSACTION_UID,
    UPSStatus.ALREADY_IN_PROGRESS,
    UPSStatus.NO_SUCH_STEP,
)
"""The answers to a claim if another performer was faster, or the step was canceled."""


class UPSCancelRequested(Exception):
    """Another system asks that the step be canceled. `ClaimedUPS.progress` raises it, so that the performer ends.

    `event` names the requestor, and its reason.
    """

    def __init__(self, event: UPSEvent) -> None:
        super().__init__("another system asks that the step be canceled")
        self.event = event


class _Use(Enum):
    """How far the `async with` of a step is."""

    BEFORE = "before it"
    INSIDE = "inside it"
    AFTER = "after it"


class ClaimedUPS:
    """A step that this side has claimed: it is IN PROGRESS, and ends with the `async with`.

    Leaving the block makes it COMPLETED, with what `add_output` was told. Leaving it by an exception makes it CANCELED,
    with the exception as the reason, and raises the exception. If the step cannot be COMPLETED, it is CANCELED too.

    >>> async def main(ups):
    ...     async with await ups.start("2.25.4711") as step:
    ...         await step.progress(50, "half of the slices")
    ...         step.add_output(results, retrieve_ae_title="ARCHIVE")
    """

    def __init__(
        self, requests: UPSRequests, uid: str, transaction_uid: str, *, station: CodedConcept, workitem: CodedConcept
    ) -> None:
        self.sop_instance_uid = uid
        self.transaction_uid = transaction_uid
        """What allows to change the step: keep it to go on with the step after a crash."""
        self.dataset = Dataset()
        """The attributes of the step as they were when it was claimed."""
        self.state = UPSState.IN_PROGRESS
        self.cancel_requested: UPSEvent | None = None
        """The request of another system to cancel the step, if one came; needs a subscription to its events."""
        self._requests = requests
        self._station = station
        self._workitem = workitem
        self._start = now()
        self._progress = Dataset()
        self._outputs: list[Dataset] = []
        self._use = _Use.BEFORE

    @property
    def was_left(self) -> bool:
        """Whether it has ended, its `async with` has, or it was handed over."""
        return self.state.is_final or self._use is _Use.AFTER

    async def progress(self, percent: float | None = None, description: str | None = None) -> None:
        """Tell the progress, which is also a sign of life: per cent done, and a text.

        Raises `UPSCancelRequested` if another system asks that the step be canceled; leave the block by it.
        """
        self._progress = with_progress(percent, description)
        await self._requests.set(self.sop_instance_uid, self._progress, self.transaction_uid)
        if self.cancel_requested is not None:
            raise UPSCancelRequested(self.cancel_requested)

    def add_output(self, instances: Iterable[Dataset], *, retrieve_ae_title: str) -> None:
        """Note instances that the step has made, and the AE title from which they can be retrieved."""
        self._outputs += references(instances, retrieve_ae_title)

    async def complete(self, description: str | None = None) -> None:
        """Make it COMPLETED now. `description` is of what was performed."""
        scheduled: Sequence[Dataset] = self.dataset.get("ScheduledWorkitemCodeSequence") or ()
        performed = with_performed(
            station=self._station,
            workitem=scheduled or [self._workitem],
            start=self._start,
            description=description,
            outputs=self._outputs,
        )
        await self._requests.set(self.sop_instance_uid, performed, self.transaction_uid)
        await self._end(UPSState.COMPLETED)

    async def cancel(self, reason: str | None = None, code: CodedConcept = UNSPECIFIED_REASON) -> None:
        """Make it CANCELED now, for a reason as text and as a code."""
        why = with_cancellation(reason, code, since=self._progress)
        await self._requests.set(self.sop_instance_uid, why, self.transaction_uid)
        await self._end(UPSState.CANCELED)

    def hand_over(self) -> None:
        """Leave the step IN PROGRESS: another process goes on with it, to which you give its Transaction UID."""
        self._use = _Use.AFTER
        performed_by(self._requests).pop(self.sop_instance_uid, None)

    async def _end(self, state: UPSState) -> None:
        await self._requests.change_state(self.sop_instance_uid, state, self.transaction_uid)
        self.state = state
        performed_by(self._requests).pop(self.sop_instance_uid, None)

    async def __aenter__(self) -> Self:
        self._use = _Use.INSIDE
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if self.was_left:
            return isinstance(error, UPSCancelRequested)
        self._use = _Use.AFTER
        if error is None:
            try:
                await self.complete()
            except BaseException as failure:
                await self.give_up(failure)
                raise
            return False
        if isinstance(error, UPSCancelRequested):
            asked = error.event.dataset
            code = (asked.get("ProcedureStepDiscontinuationReasonCodeSequence") or [None])[0]
            await self.cancel(error.event.text or "cancel requested", _code_of(code))
            return True
        await self.give_up(error)
        return False

    async def give_up(self, error: BaseException) -> None:
        """Make it CANCELED because of `error`. If that fails, `error` has a note: the step stays IN PROGRESS."""
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        try:
            await self.cancel(text)
        except DimseError as failure:
            left = f"the step {escaped(self.sop_instance_uid)} stays IN PROGRESS: {failure}"
            error.add_note(left)
            logger.warning("%s", left)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.sop_instance_uid} {self.state}>"


def _code_of(item: Dataset | None) -> CodedConcept:
    if item is None:
        return UNSPECIFIED_REASON
    value = item.get("CodeValue") or item.get("LongCodeValue") or ""
    code = (str(value), str(item.get("CodingSchemeDesignator") or ""), str(item.get("CodeMeaning") or ""))
    return code if all(code) else UNSPECIFIED_REASON


class UPSClaims(AsyncIterator[ClaimedUPS]):
    """UPSClaims the steps that match, one after the other, for as long as it is iterated; see `UPS.claim`.

    A step that another performer claims first is skipped. While there is none, the worklist is asked again after a
    pause, which doubles up to `maximum_pause`; an event that a step is SCHEDULED ends the pause.
    """

    def __init__(
        self,
        requests: UPSRequests,
        start: Callable[[str], Awaitable[ClaimedUPS]],
        keys: UPSKeys,
        *,
        pause: float,
        maximum_pause: float,
    ) -> None:
        if not 0 < pause <= maximum_pause:
            raise ValueError(f"pause must be positive, and at most maximum_pause, not {pause!r} and {maximum_pause!r}")
        self._requests = requests
        self._start = start
        self._keys = replace(keys, state=UPSState.SCHEDULED)
        self._first_pause = self._pause = pause
        self._maximum_pause = maximum_pause
        self._candidates: deque[str] = deque()
        self._events = requests.events()
        self._stopping = asyncio.Event()
        self._last: ClaimedUPS | None = None

    def stop(self) -> None:
        """End the iteration, after the step that is being performed. A handler of signals may call it."""
        self._stopping.set()

    async def __anext__(self) -> ClaimedUPS:
        await self._settle()
        while not self._stopping.is_set():
            try:
                self._last = await self._claim_next()
            except (ConnectionLost, AssociationAborted, AssociationTimeout, AssociationRejected) as error:
                if not may_pass(error):
                    raise
                logger.warning("%s: %s; it is asked again", self._requests.address, error)
            if self._last is not None:
                self._pause = self._first_pause
                return self._last
            await self._rest()
        raise StopAsyncIteration

    async def _settle(self) -> None:
        """See that the last step has ended: one that nobody ends would stay IN PROGRESS forever."""
        last, self._last = self._last, None
        if last is not None and not last.was_left:
            error = LocalProtocolError(
                f"the step {last.sop_instance_uid} was claimed but not ended: perform it in `async with step:`"
            )
            await last.give_up(error)
            raise error

    async def _claim_next(self) -> ClaimedUPS | None:
        if not self._candidates:
            self._candidates.extend(await in_order(self._requests.find(self._keys)))
        while self._candidates and not self._stopping.is_set():
            try:
                return await self._start(self._candidates.popleft())
            except StatusError as error:
                if error.status not in LOST:
                    raise
        return None

    async def _rest(self) -> None:
        """Wait until the pause is over, a step is scheduled, or the iteration is to end."""
        self._candidates.clear()
        stopping = asyncio.ensure_future(self._stopping.wait())
        scheduled = asyncio.ensure_future(self._scheduled())
        try:
            await asyncio.wait((stopping, scheduled), timeout=self._pause, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (stopping, scheduled):
                task.cancel()
            await asyncio.gather(stopping, scheduled, return_exceptions=True)
        self._pause = min(2 * self._pause, self._maximum_pause)

    async def _scheduled(self) -> None:
        async for event in self._events:
            if event.type is UPSEventType.ASSIGNED or event.state is UPSState.SCHEDULED:
                return
        await self._stopping.wait()


async def in_order(matches: AsyncGenerator[Dataset]) -> list[str]:
    """The SOP Instance UIDs of the first `MAXIMUM_CANDIDATES` matches, the most urgent ones first."""
    found: list[Dataset] = []
    async with aclosing(matches):
        async for match in matches:
            found.append(match)
            if len(found) == MAXIMUM_CANDIDATES:
                break
    return [str(uid) for match in sorted(found, key=_urgency) if (uid := match.get("SOPInstanceUID"))]


def _urgency(match: Dataset) -> tuple[int, str]:
    priority = _PRIORITIES.get(str(match.get("ScheduledProcedureStepPriority")), len(_PRIORITIES))
    return priority, str(match.get("ScheduledProcedureStepStartDateTime") or "")
