"""Unified Procedure Step as SCP: UPS Push, Pull, Watch, Event and Query (PS3.4 Annex CC)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Final, Self

from dimse import uids
from dimse.dataset.pydicom_names import Dataset
from dimse.errors import DatasetError, StatusError
from dimse.network.application_entity import ApplicationEntity
from dimse.network.association import exchange_of
from dimse.options import RetryPolicy
from dimse.services.move_scp import destination_of
from dimse.services.normalized_scp import NormalizedHandler, NormalizedReply, NormalizedRequest
from dimse.services.query_models import QueryRetrieveModel
from dimse.services.query_request import QueryRequest
from dimse.services.server import Server
from dimse.services.ups_datasets import decoded, scheduled
from dimse.services.ups_delivery import EventDelivery
from dimse.services.ups_events import EventQueues, UPSEvent, restarted
from dimse.services.ups_states import CLASSES_OF, UPSStatus
from dimse.services.ups_store import MemoryUPSStore, StoredUPS, UPSStore
from dimse.services.ups_worklist import INVALID_ARGUMENT, Worklist
from dimse.status import Status

_MODELS: Final = (QueryRetrieveModel.UPS_PULL, QueryRetrieveModel.UPS_WATCH, QueryRetrieveModel.UPS_QUERY)

UPSHandler = Callable[[UPSEvent], Awaitable[None]]
"""Is called with an event of a step; see `UPSManager`."""


class UPSManager:
    """The worklist of a server: Unified Procedure Steps that others create, claim, perform and watch (PS3.4 Annex CC).

    It answers the requests that come to `server` for UPS Push, Pull, Watch, Event and Query by the state table of PS3.4
    CC.1.1. The object is entered before the server listens, and left after it: `server.run(within=...)`. Steps and
    subscriptions are in `store`, by default in memory. `label` is the Worklist Label of a step that is created without.

    Events are sent to subscribers in the background: on an association that the subscriber has opened with UPS Event,
    else on a new one to the address that `server.destinations` has for its AE title. A subscriber that is known in
    neither way is refused with 0xC308. `retry` says when an event is sent again, before it is dropped with a warning.

    >>> server = Server("WORKLIST", destinations={"WS1": "WS1@workstation:11112"})
    >>> manager = UPSManager(server)
    >>> server.run(within=manager)  # doctest: +SKIP
    """

    def __init__(
        self,
        server: Server,
        *,
        store: UPSStore | None = None,
        label: str = "WORKLIST",
        retry: RetryPolicy | None = None,
    ) -> None:
        self._server = server
        self._store = MemoryUPSStore() if store is None else store
        self._worklist = Worklist(self._store, self._publish, label=label)
        self._delivery = EventDelivery(server, self._entity_of, retry or RetryPolicy())
        self._events = EventQueues()
        self._on_cancel_requested: UPSHandler | None = None
        server.on_n_create(uids.UPS_PUSH)(_of_its_class(self._n_create))
        server.on_n_set(uids.UPS_PUSH)(_of_its_class(self._n_set))
        server.on_n_get(uids.UPS_PUSH)(_of_its_class(self._n_get))
        server.on_n_action(uids.UPS_PUSH)(_of_its_class(self._n_action))
        server.on_c_find(*_MODELS)(self._c_find)

    def on_cancel_requested(self, handler: UPSHandler) -> UPSHandler:
        """Register the handler of requests to cancel a step that is IN PROGRESS, for an SCP that performs it itself.

        It is `async def handler(event: UPSEvent)`. It may raise `StatusError(UPSStatus.PERFORMER_DECLINES)`, which is
        the answer; the subscribers are then not told.
        """
        self._on_cancel_requested = handler
        return handler

    async def create(self, step: Dataset, *, sop_instance_uid: str | None = None) -> str:
        """Create a step from this side, as `UPS.create` does. Returns its UID. Raises `ValueError`, `StatusError`."""
        uid = sop_instance_uid or uids.new_uid()
        await self._worklist.create(uid, scheduled(step))
        return uid

    async def get(self, sop_instance_uid: str) -> StoredUPS | None:
        """The step with this UID, if there is one."""
        return await self._store.get(sop_instance_uid)

    def steps(self) -> AsyncIterator[StoredUPS]:
        """All steps."""
        return self._store.steps()

    def events(self) -> AsyncIterator[UPSEvent]:
        """All events of all steps from now on, also those without subscribers, such as for an SCP that performs steps.

        Up to 1000 wait for the caller; beyond it the oldest is dropped, with a warning.
        """
        return self._events.new()

    async def __aenter__(self) -> Self:
        destinations = self._server.destinations
        ae_titles = {*(destinations if isinstance(destinations, Mapping) else ())}
        ae_titles.update(await self._store.global_subscriptions())
        async for step in self._store.steps():
            ae_titles.update(step.subscribers)
        event = restarted(kept=self._store.is_persistent)
        for ae_title in ae_titles:
            self._delivery.post(event, ae_title)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._events.put(None)
        await self._delivery.aclose(self._server.options.stop_timeout)

    # Requests

    async def _n_create(self, request: NormalizedRequest) -> NormalizedReply:
        return NormalizedReply(status=await self._worklist.create(request.sop_instance_uid, request.dataset))

    async def _n_set(self, request: NormalizedRequest) -> NormalizedReply:
        return NormalizedReply(status=await self._worklist.set(request.sop_instance_uid, request.dataset))

    async def _n_get(self, request: NormalizedRequest) -> NormalizedReply:
        dataset, status = await self._worklist.get(request.sop_instance_uid, request.attributes)
        return NormalizedReply(dataset, status=status)

    async def _n_action(self, request: NormalizedRequest) -> NormalizedReply:
        uid = request.sop_instance_uid
        match request.action_type_id:
            case 1:
                status = await self._worklist.change_state(uid, request.dataset)
            case 2:
                requesting = request.association.calling_ae_title
                status = await self._worklist.request_cancel(uid, request.dataset, requesting, self._ask)
            case 3 | 4 | 5 as action:
                status = await self._change_subscription(uid, action, request.dataset)
            case _:
                raise StatusError(Status(0x0123), None)
        return NormalizedReply(status=status)

    async def _change_subscription(self, uid: str, action: int, dataset: Dataset) -> UPSStatus:
        """Subscribe, unsubscribe or suspend (PS3.4 Table CC.2.3-1)."""
        keys = decoded(dataset)
        ae_title = str(keys.get("ReceivingAE") or "")
        lock = keys.get("DeletionLock")
        for keyword in ("ReceivingAE", "DeletionLock"):
            keys.pop(keyword, None)
        if not ae_title:
            raise StatusError(INVALID_ARGUMENT.with_comment("it must name the AE title", 0x00741234))
        if action == 4:
            await self._worklist.unsubscribe(uid, ae_title)
        elif action == 5:
            await self._worklist.suspend(uid, ae_title)
        else:
            if not await self._delivery.can_reach(ae_title):
                raise StatusError(UPSStatus.UNKNOWN_RECEIVER, None)
            try:
                await self._worklist.subscribe(uid, ae_title, keys, deletion_lock=lock == "TRUE")
            except DatasetError as error:
                raise StatusError(INVALID_ARGUMENT, str(error)) from None
        return UPSStatus(Status.SUCCESS)

    async def _c_find(self, request: QueryRequest) -> AsyncIterator[Dataset]:
        async for match in self._worklist.find(request.identifier):
            yield match

    # Events

    def _publish(self, event: UPSEvent, ae_titles: Iterable[str]) -> None:
        for ae_title in ae_titles:
            self._delivery.post(event, ae_title)
        self._events.put(event)

    async def _ask(self, event: UPSEvent) -> bool:
        if self._on_cancel_requested is None:
            return False
        await self._on_cancel_requested(event)
        return True

    async def _entity_of(self, ae_title: str) -> ApplicationEntity | None:
        """Where a subscriber listens, by the destinations of the server."""
        destinations = self._server.destinations
        found = None if destinations is None else await destination_of(destinations, ae_title)
        return None if found is None else found.entity(self._server.ae_title, self._server.options)


def _of_its_class(handler: NormalizedHandler) -> NormalizedHandler:
    """A handler that sees to it that a request came on a context of a SOP class that has it (`CLASSES_OF`).

    If strict, another is refused; else it is carried out, with a warning: peers use UPS Push for everything.
    """

    async def checked(request: NormalizedRequest) -> NormalizedReply | int:
        name = request.command.name.removesuffix("-RQ")
        operation = name if request.action_type_id is None else request.action_type_id
        if operation in CLASSES_OF and request.abstract_syntax not in CLASSES_OF[operation]:
            deviations = exchange_of(request.association).deviations
            if deviations.is_strict:
                raise StatusError(Status.UNRECOGNIZED_OPERATION, "not an operation of the context's SOP class")
            type_id = "" if request.action_type_id is None else f" of type {operation}"
            deviations.tolerated(
                f"{name}{type_id} on a context of {uids.name_of(request.abstract_syntax)} (PS3.4 CC.2); carried out"
            )
        return await handler(request)

    return checked
