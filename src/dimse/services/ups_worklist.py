"""The Unified Procedure Steps of an SCP, and what requests do to them (PS3.4 CC.2), without the network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from dimse import uids
from dimse.dataset.pydicom_names import Dataset
from dimse.errors import StatusError
from dimse.services.matching import Matcher
from dimse.services.ups_datasets import (
    TRANSACTION_UID,
    complete_with_empty,
    copied,
    decoded,
    fill_cancellation,
    missing_when_completed,
    missing_when_created,
    names_of,
    never_set,
    now,
    surplus_when_created,
    with_character_set,
)
from dimse.services.ups_events import UPSEvent, cancel_requested, events_of, state_report
from dimse.services.ups_states import UPSRequest, UPSState, UPSStatus, outcome, request_for
from dimse.services.ups_store import StoredUPS, UPSStore, UPSSubscription
from dimse.status import Status

_MISSING_VALUE: Final = UPSStatus(0x0121)
_INVALID_VALUE: Final = UPSStatus(0x0106)
INVALID_ARGUMENT: Final = UPSStatus(0x0115)
_NOT_ALL_ATTRIBUTES: Final = UPSStatus(0x0001)
_SUCCESS: Final = UPSStatus(Status.SUCCESS)
_TURN: Final = 64
"""Steps that are matched in a row before other tasks run."""


class Worklist:
    """The steps in a store, and their subscribers. A request that cannot be carried out raises `StatusError`.

    `publish` is called with each event and the AE titles that get it, after the change was stored.
    """

    def __init__(self, store: UPSStore, publish: Callable[[UPSEvent, Iterable[str]], None], *, label: str) -> None:
        self._store = store
        self._publish = publish
        self._label = label
        self._lock = asyncio.Lock()
        """Held from reading a step to storing it: requests come on several associations."""

    # N-CREATE and N-SET

    async def create(self, uid: str, given: Dataset) -> UPSStatus:
        """Create a step (PS3.4 CC.2.5). Attributes that may be empty, and are missing, are added, with a warning."""
        step = decoded(given)
        missing = missing_when_created(step)
        if missing:
            raise StatusError(_MISSING_VALUE.with_comment(f"it needs {names_of(missing[:1])}", *missing))
        if step.ProcedureStepState != UPSState.SCHEDULED:
            raise StatusError(UPSStatus.NOT_CREATED_SCHEDULED)
        surplus = surplus_when_created(step)
        if surplus:
            raise StatusError(_INVALID_VALUE.with_comment("it must be empty in a new step", *surplus))
        modified = complete_with_empty(step)
        del step[TRANSACTION_UID]
        step.SOPClassUID, step.SOPInstanceUID = uids.UPS_PUSH, uid
        step.WorklistLabel = step.WorklistLabel or self._label
        step.ScheduledProcedureStepModificationDateTime = now()
        with_character_set(step)
        async with self._lock:
            existing = await self._store.get(uid)
            result = outcome(UPSRequest.CREATE, None if existing is None else existing.state, None, None)
            if isinstance(result, UPSStatus):
                raise StatusError(result)
            subscribers = {
                title: each.deletion_lock
                for title, each in (await self._store.global_subscriptions()).items()
                if each.keys is None or Matcher(each.keys).matches(step)
            }
            await self._put(None, StoredUPS(uid, step, subscribers=subscribers))
        return UPSStatus.CREATED_WITH_MODIFICATIONS if modified else _SUCCESS

    async def set(self, uid: str, given: Dataset) -> UPSStatus:
        """Set attributes of a step (PS3.4 CC.2.6)."""
        modifications = decoded(given)
        transaction = _transaction_of(modifications)
        modifications.pop("TransactionUID", None)
        async with self._lock:
            stored = await self._found(uid)
            result = outcome(UPSRequest.SET, stored.state, transaction, stored.transaction_uid)
            if result != _SUCCESS:
                raise StatusError(UPSStatus(result))
            forbidden = never_set(modifications)
            if forbidden:
                raise StatusError(_INVALID_VALUE.with_comment("N-SET must not change it (CC.2.5-3)", *forbidden))
            step = copied(stored.dataset)
            for element in modifications:
                step[element.tag] = element
            step.ScheduledProcedureStepModificationDateTime = now()
            step.pop("SpecificCharacterSet", None)
            with_character_set(step)
            missing = missing_when_created(step)
            if missing:
                raise StatusError(_MISSING_VALUE.with_comment("it must have a value", *missing))
            await self._put(stored, replace(stored, dataset=step))
        return _SUCCESS

    # N-ACTION

    async def change_state(self, uid: str, given: Dataset) -> UPSStatus:
        """Change the state of a step, for the performer (PS3.4 CC.2.1)."""
        information = decoded(given)
        wanted = information.get("ProcedureStepState")
        if wanted not in list(UPSState):
            raise StatusError(INVALID_ARGUMENT.with_comment("it is not a Procedure Step State", 0x00741000))
        state, transaction = UPSState(wanted), _transaction_of(information)
        async with self._lock:
            stored = await self._found(uid)
            result = outcome(request_for(state), stored.state, transaction, stored.transaction_uid)
            if isinstance(result, UPSStatus):
                return _warning_or_raise(result)
            step = copied(stored.dataset)
            if result is UPSState.COMPLETED and (missing := missing_when_completed(step)):
                comment = f"it needs {names_of(missing[:1])}"
                raise StatusError(UPSStatus.FINAL_STATE_NOT_MET.with_comment(comment, *missing))
            if result is UPSState.CANCELED:
                fill_cancellation(step)
            step.ProcedureStepState = result.value
            await self._put(stored, replace(stored, dataset=step, transaction_uid=transaction))
        return _SUCCESS

    async def request_cancel(
        self, uid: str, given: Dataset, requesting_ae_title: str, ask: Callable[[UPSEvent], Awaitable[bool]]
    ) -> UPSStatus:
        """Ask the performer of a step to cancel it; a step without one is canceled (PS3.4 CC.2.2).

        `ask` is called for a step that is IN PROGRESS: whether somebody else than subscribers was told.
        """
        request = decoded(given)
        async with self._lock:
            stored = await self._found(uid)
            result = outcome(UPSRequest.REQUEST_CANCEL, stored.state, None, None)
            if result is UPSState.CANCELED:
                await self._cancel_scheduled(stored, request)
                return _SUCCESS
        if result != _SUCCESS:
            return _warning_or_raise(UPSStatus(result))
        event = cancel_requested(uid, request, requesting_ae_title)
        if not await ask(event) and not stored.subscribers:
            raise StatusError(UPSStatus.PERFORMER_UNREACHABLE)
        self._publish(event, stored.subscribers)
        return _SUCCESS

    async def _cancel_scheduled(self, stored: StoredUPS, request: Dataset) -> None:
        """By way of IN PROGRESS, as subscribers must see."""
        started, canceled = copied(stored.dataset), copied(stored.dataset)
        started.ProcedureStepState = UPSState.IN_PROGRESS.value
        self._publish(state_report(stored.sop_instance_uid, started), stored.subscribers)
        fill_cancellation(canceled, request)
        canceled.ProcedureStepState = UPSState.CANCELED.value
        with_character_set(canceled)
        await self._put(stored, replace(stored, dataset=canceled))

    # N-GET and C-FIND

    async def get(self, uid: str, attributes: Iterable[int] = ()) -> tuple[Dataset, UPSStatus]:
        """The attributes of a step, or all; never the Transaction UID, for which there is a warning (CC.2.7)."""
        stored, wanted = await self._found(uid), set(attributes)
        if not wanted:
            return stored.dataset, _SUCCESS
        part = Dataset()
        for tag in sorted(wanted | {0x00080005}):
            if tag in stored.dataset:
                part[tag] = stored.dataset[tag]
        return part, _NOT_ALL_ATTRIBUTES if TRANSACTION_UID in wanted else _SUCCESS

    async def find(self, identifier: Dataset) -> AsyncIterator[Dataset]:
        """The responses to a query (PS3.4 CC.2.8)."""
        matcher, number = Matcher(identifier), 0
        async for stored in self._store.steps():
            number += 1
            if number % _TURN == 0:
                await asyncio.sleep(0)
            if matcher.matches(stored.dataset):
                yield matcher.response(stored.dataset)

    # Subscriptions

    async def subscribe(self, uid: str, ae_title: str, keys: Dataset, *, deletion_lock: bool) -> None:
        """Subscribe an AE title to a step, or by a well-known UID to all, or to those that match `keys` (CC.2.3)."""
        async with self._lock:
            if uid not in _GLOBAL:
                stored = await self._found(uid)
                await self._with(stored, ae_title, deletion_lock=deletion_lock)
                self._publish(state_report(uid, stored.dataset), [ae_title])
                return
            is_filtered = uid == uids.UPS_FILTERED_SUBSCRIPTION_INSTANCE
            matcher = Matcher(keys) if is_filtered else None
            subscription = UPSSubscription(deletion_lock, keys if is_filtered else None)
            _check_room(await self._store.global_subscriptions(), ae_title)
            await self._store.put_global_subscription(ae_title, subscription)
            async for stored in self._store.steps():
                if ae_title in stored.subscribers or (matcher and not matcher.matches(stored.dataset)):
                    continue
                await self._with(stored, ae_title, deletion_lock=deletion_lock)
                if deletion_lock:
                    self._publish(state_report(stored.sop_instance_uid, stored.dataset), [ae_title])

    async def unsubscribe(self, uid: str, ae_title: str) -> None:
        """End the subscription of an AE title to a step, or by a well-known UID to all, and its locks."""
        async with self._lock:
            if uid not in _GLOBAL:
                await self._without(await self._found(uid), ae_title)
                return
            await self._store.put_global_subscription(ae_title, None)
            async for stored in self._store.steps():
                await self._without(stored, ae_title)

    async def suspend(self, uid: str, ae_title: str) -> None:
        """End the subscription of an AE title to future steps."""
        if uid not in _GLOBAL:
            raise StatusError(UPSStatus.WRONG_ACTION)
        async with self._lock:
            await self._store.put_global_subscription(ae_title, None)

    async def _with(self, stored: StoredUPS, ae_title: str, *, deletion_lock: bool) -> None:
        _check_room(stored.subscribers, ae_title)
        await self._store.put(replace(stored, subscribers={**stored.subscribers, ae_title: deletion_lock}))

    async def _without(self, stored: StoredUPS, ae_title: str) -> None:
        if ae_title in stored.subscribers:
            others: Mapping[str, bool] = {t: lock for t, lock in stored.subscribers.items() if t != ae_title}
            await self._store.put(replace(stored, subscribers=others))

    # Common

    async def _found(self, uid: str) -> StoredUPS:
        stored = await self._store.get(uid)
        if stored is None:
            raise StatusError(UPSStatus.NO_SUCH_STEP)
        return stored

    async def _put(self, before: StoredUPS | None, after: StoredUPS) -> None:
        await self._store.put(after)
        for event in events_of(after.sop_instance_uid, None if before is None else before.dataset, after.dataset):
            self._publish(event, after.subscribers)


_GLOBAL: Final = (uids.UPS_SUBSCRIPTION_INSTANCE, uids.UPS_FILTERED_SUBSCRIPTION_INSTANCE)


MAXIMUM_SUBSCRIBERS: Final = 1000
"""AE titles that subscribe to a step, and those that subscribe to all: a peer can choose them."""


def _check_room(subscribers: Mapping[str, object], ae_title: str) -> None:
    if ae_title not in subscribers and len(subscribers) >= MAXIMUM_SUBSCRIBERS:
        raise StatusError(Status.RESOURCE_LIMITATION, "too many subscribers")


def _transaction_of(dataset: Dataset) -> str | None:
    return str(dataset.get("TransactionUID") or "") or None


def _warning_or_raise(status: UPSStatus) -> UPSStatus:
    if not status.is_done:
        raise StatusError(status)
    return status
