"""Procedure steps as SCP: the rules of N-CREATE and N-SET, and where the steps are kept (PS3.4 F.7.2, F.8.2)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from weakref import WeakValueDictionary

from dimse import uids
from dimse.dataset.codec import PYDICOM_ERRORS, decode, encode, text_of
from dimse.dataset.encoding import SPECIFIC_CHARACTER_SET
from dimse.dataset.pydicom_names import Dataset
from dimse.dataset.threads import beside_the_loop
from dimse.errors import StatusError
from dimse.network.association import Association
from dimse.options import Strictness
from dimse.services.normalized_scp import NormalizedReply, NormalizedRequest
from dimse.services.procedure_step import (
    MAY_NO_LONGER_BE_UPDATED,
    SCHEDULED,
    SERIES,
    STEP,
    Requirement,
    StepStatus,
    decoded,
    is_empty,
)
from dimse.services.query import raw_identifier
from dimse.services.query_keys import name_of, tag_of
from dimse.services.server import Server
from dimse.status import Status

logger = logging.getLogger("dimse.procedure_step")

MAX_STEPS: Final = 10_000
"""Procedure steps that `MemoryStepStore` keeps."""
MAX_STEP_BYTES: Final = 64 * 1024 * 1024
"""Bytes of their data sets, as they are encoded."""

_STATUS: Final = tag_of("PerformedProcedureStepStatus")
_EVENTS: Final = {StepStatus.IN_PROGRESS: 1, StepStatus.COMPLETED: 2, StepStatus.DISCONTINUED: 3}
_UPDATED: Final = 4
_SYNTAX: Final = uids.EXPLICIT_VR_LITTLE_ENDIAN
_FIXED: Final = frozenset(tag_of(keyword) for keyword, requirement in STEP.items() if not requirement.may_change)
"""The tags of attributes that N-SET must not change."""


class StepStore(Protocol):
    """Where an SCP keeps procedure steps: implement it over a database, so that they survive a restart."""

    async def get(self, sop_instance_uid: str) -> Dataset | None:
        """The data set of a step, which the caller may change; None if there is no such step."""

    async def put(self, sop_instance_uid: str, dataset: Dataset) -> None:
        """Keep the data set of a step in place of the former one. `StatusError` refuses it with that status."""


class MemoryStepStore:
    """Keeps procedure steps in memory, `MAX_STEPS` at most: beyond it the oldest of those that have ended is forgotten.

    If none has ended, a new one is refused with Resource Limitation (0x0213).
    """

    def __init__(self) -> None:
        self._steps: dict[str, bytes] = {}
        self._ended: dict[str, None] = {}
        self._size = 0

    async def get(self, sop_instance_uid: str) -> Dataset | None:
        """The data set of a step."""
        encoded = self._steps.get(sop_instance_uid)
        return None if encoded is None else await beside_the_loop(lambda: decode(encoded, _SYNTAX))

    async def put(self, sop_instance_uid: str, dataset: Dataset) -> None:
        """Keep the data set of a step."""
        encoded = await beside_the_loop(lambda: encode(dataset, _SYNTAX))
        self._make_room(sop_instance_uid, len(encoded))
        self._size += len(encoded) - len(self._steps.get(sop_instance_uid, b""))
        self._steps[sop_instance_uid] = encoded
        if StepStatus(dataset.PerformedProcedureStepStatus).is_final:
            self._ended[sop_instance_uid] = None

    def _make_room(self, sop_instance_uid: str, size: int) -> None:
        former = len(self._steps.get(sop_instance_uid, b""))
        is_new = sop_instance_uid not in self._steps
        while len(self._steps) + is_new > MAX_STEPS or self._size + size - former > MAX_STEP_BYTES:
            if not self._ended:
                raise StatusError(Status.RESOURCE_LIMITATION, "too many procedure steps are in progress")
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            self._size -= len(self._steps.pop(oldest))


@dataclass(frozen=True, slots=True)
class StepChange:
    """A procedure step that was created or changed, as the handler of `ProcedureSteps` sees it."""

    sop_instance_uid: str
    status: StepStatus
    """Its state after the change."""
    dataset: Dataset
    """All of its attributes after the change, also those of earlier messages."""
    former_status: StepStatus | None
    """Its state before the change; None if it is new."""
    association: Association

    @property
    def event_type_id(self) -> int:
        """The Event Type ID of the N-EVENT-REPORT that notifies of the change (PS3.4 Table F.9.2-1)."""
        return _UPDATED if self.status is self.former_status else _EVENTS[self.status]


StepHandler = Callable[[StepChange], Awaitable[None]]
"""Is called with each change of a procedure step, before it is kept; see `ProcedureSteps`."""


class ProcedureSteps:
    """The SCP of Modality Performed Procedure Steps on a `Server`: checks, merges and keeps them, and calls a handler.

    N-CREATE starts a step, N-SET changes it until it is COMPLETED or DISCONTINUED, and N-GET of the Retrieve SOP Class
    returns it. Refused are a step that exists (0x0111) or does not (0x0112), attributes that are absent (0x0120), empty
    (0x0121) or not valid (0x0106), all named in Offending Element, and a change after the end (0x0110 with Error ID
    0xA710). By default an absent attribute of type 2 counts as empty, and a step without series may be discontinued;
    with `Strictness.STRICT` in the options of the server, both are refused, and so is an N-SET of an attribute that the
    N-CREATE lacked (0x0105).

    The handler is called before a change is kept, for one change of a step at a time. It refuses the change by
    `StatusError`. `store` is where the steps are kept, in memory by default.

    >>> server = Server("RIS")
    >>> async def changed(change):
    ...     print(change.sop_instance_uid, change.status, len(change.dataset.PerformedSeriesSequence))
    >>> steps = ProcedureSteps(server, changed)
    """

    def __init__(self, server: Server, handler: StepHandler, *, store: StepStore | None = None) -> None:
        self.store = store if store is not None else MemoryStepStore()
        self._handler = handler
        self._is_strict = server.options.strictness is Strictness.STRICT
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        server.on_n_create(uids.PERFORMED_PROCEDURE_STEP)(self._create)
        server.on_n_set(uids.PERFORMED_PROCEDURE_STEP)(self._set)
        server.on_n_get(uids.PERFORMED_PROCEDURE_STEP_RETRIEVE)(self._get)

    async def _create(self, request: NormalizedRequest) -> NormalizedReply | int:
        uid = request.sop_instance_uid
        async with self._lock(uid):
            if await self.store.get(uid) is not None:
                return Status.DUPLICATE_SOP_INSTANCE
            await self._keep(request, await beside_the_loop(lambda: self._created(request.dataset)), None)
        return Status.SUCCESS

    async def _set(self, request: NormalizedRequest) -> NormalizedReply | int:
        uid = request.sop_instance_uid
        async with self._lock(uid):
            kept = await self.store.get(uid)
            if kept is None:
                return Status.NO_SUCH_SOP_INSTANCE
            former = _status_of(kept)
            if former.is_final:
                comment = "Performed Procedure Step Object may no longer be updated"
                status = Status.PROCESSING_FAILURE.with_comment(comment)
                return NormalizedReply(status=status, error_id=MAY_NO_LONGER_BE_UPDATED)
            step = await beside_the_loop(lambda: self._changed(kept, request.dataset))
            await self._keep(request, step, former)
        return Status.SUCCESS

    async def _get(self, request: NormalizedRequest) -> NormalizedReply | int:
        step = await self.store.get(request.sop_instance_uid)
        if step is None:
            return Status.NO_SUCH_SOP_INSTANCE
        wanted = set(request.attributes) or set(step.keys())
        tags = sorted(tag for tag in step.keys() if tag in wanted or tag == SPECIFIC_CHARACTER_SET)  # noqa: SIM118
        return NormalizedReply(Dataset({tag: step.get_item(tag) for tag in tags}))

    def _lock(self, sop_instance_uid: str) -> asyncio.Lock:
        """A lock for each step: two associations may change it at once, and others need not wait."""
        return self._locks.setdefault(sop_instance_uid, asyncio.Lock())

    async def _keep(self, request: NormalizedRequest, step: Dataset, former: StepStatus | None) -> None:
        uid, status = request.sop_instance_uid, _status_of(step)
        await self._handler(StepChange(uid, status, step, former, request.association))
        await self.store.put(uid, step)
        logger.info("%s: procedure step %s is %s", request.association.peer_name, uid, status)

    # In a thread, as a step may list thousands of instances

    def _created(self, dataset: Dataset) -> Dataset:
        """The step that a request creates."""
        step = _received(dataset)
        self._check(step, STEP)
        for item in step.ScheduledStepAttributesSequence:
            self._check(item, SCHEDULED)
        if _status_of(step) is not StepStatus.IN_PROGRESS:
            raise _refusal(Status.INVALID_ATTRIBUTE_VALUE, "must be IN PROGRESS at first", [_STATUS])
        return raw_identifier(None, step)

    def _changed(self, kept: Dataset, changes: Dataset) -> Dataset:
        """The step that a request makes of the one that is kept."""
        step = _received(kept)
        self._merge(step, _received(changes))
        self._check_changed(step)
        return raw_identifier(None, step)

    def _check_changed(self, step: Dataset) -> None:
        status = _status_of(step)
        if not status.is_final or (status is StepStatus.DISCONTINUED and not self._is_strict):
            return
        at_the_end = {keyword: Requirement(1) for keyword, requirement in STEP.items() if requirement.is_final}
        self._check(step, at_the_end)
        for item in step.PerformedSeriesSequence:
            self._check(item, SERIES)

    def _merge(self, step: Dataset, changes: Dataset) -> None:
        """Put the changes into a step. Raises `StatusError` for one of an attribute that N-SET must not change."""
        wrong = [tag for tag in changes.keys() if tag in _FIXED and changes[tag] != step.get(tag)]  # noqa: SIM118
        if wrong:
            raise _refusal(Status.INVALID_ATTRIBUTE_VALUE, "must not be changed", wrong)
        new = sorted(changes.keys() - step.keys())
        if new and self._is_strict:
            raise _refusal(Status.NO_SUCH_ATTRIBUTE, "was not created", new)
        step.update(changes)

    def _check(self, dataset: Dataset, requirements: Mapping[str, Requirement]) -> None:
        """Raise `StatusError` for attributes that are absent or empty."""
        highest = 2 if self._is_strict else 1
        needed = [keyword for keyword, each in requirements.items() if each.type <= highest]
        absent = [keyword for keyword in needed if keyword not in dataset]
        if absent:
            raise _refusal(Status.MISSING_ATTRIBUTE, "is missing", map(tag_of, absent))
        empty = [keyword for keyword in needed if requirements[keyword].type == 1 and is_empty(dataset, keyword)]
        if empty:
            raise _refusal(Status.MISSING_ATTRIBUTE_VALUE, "has no value", map(tag_of, empty))


def _received(dataset: Dataset) -> Dataset:
    """What a request has, with its texts decoded, as data sets in two character sets may have to become one."""
    try:
        received = decoded(dataset)
    except PYDICOM_ERRORS as error:
        raise StatusError(Status.INVALID_ATTRIBUTE_VALUE, f"a value cannot be read: {type(error).__name__}") from None
    received.pop(SPECIFIC_CHARACTER_SET, None)
    return received


def _status_of(step: Dataset) -> StepStatus:
    try:
        return StepStatus(text_of(step, _STATUS))
    except ValueError:
        raise _refusal(Status.INVALID_ATTRIBUTE_VALUE, "is not a state", [_STATUS]) from None


def _refusal(status: Status, why: str, tags: Iterable[int]) -> StatusError:
    tags = [int(tag) for tag in tags]
    others = f" and {len(tags) - 1} more" if len(tags) > 1 else ""
    return StatusError(status, "procedure step", f"{why}: {name_of(tags[0])}{others}", tags)
