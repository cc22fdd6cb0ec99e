"""The requests about Unified Procedure Steps as SCU (PS3.4 CC.2), on an association that is opened again when lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

from dimse import uids
from dimse.address import Address
from dimse.dataset.pydicom_names import Dataset
from dimse.errors import (
    AssociationAborted,
    AssociationError,
    AssociationRejected,
    ConnectionLost,
    DimseError,
    LocalProtocolError,
    PresentationContextError,
    StatusError,
)
from dimse.network.application_entity import ApplicationEntity, entity_of
from dimse.network.association import Association, exchange_of
from dimse.options import ClientOptions, RetryPolicy
from dimse.services.find_scu import CFindSCU
from dimse.services.normalized_scp import NormalizedRequest
from dimse.services.normalized_scu import NormalizedResult, NormalizedSCU
from dimse.services.query import Query
from dimse.services.query_models import QueryRetrieveModel
from dimse.services.server import Server
from dimse.services.ups_datasets import (
    CodedConcept,
    cancel_request,
    code_sequence,
    copied,
    date_time,
    decoded,
    patient_of,
    references,
    scheduled,
    with_progress,
)
from dimse.services.ups_events import EventQueues, UPSEvent, UPSEventType
from dimse.services.ups_keys import UPSKeys
from dimse.services.ups_states import CLASSES_OF, UPSState, UPSStatus, in_words
from dimse.services.verification import CEchoSCU
from dimse.status import Status
from dimse.upper_layer.negotiation import ProposedContext

logger = logging.getLogger("dimse.ups")

T = TypeVar("T")

_CONTEXTS: Final = tuple(
    ProposedContext(uid, uids.LITTLE_ENDIAN)
    for uid in (uids.UPS_PUSH, uids.UPS_PULL, uids.UPS_WATCH, uids.UPS_QUERY, uids.UPS_EVENT, uids.VERIFICATION)
)

_MODELS: Final = (QueryRetrieveModel.UPS_PULL, QueryRetrieveModel.UPS_WATCH, QueryRetrieveModel.UPS_QUERY)
_FIND_CONTEXTS: Final = tuple(ProposedContext(each.sop_class("find"), uids.LITTLE_ENDIAN) for each in _MODELS)

_KEEP_ALIVE: Final = 20.0
"""Seconds between two looks at the association of a subscriber: it is opened again, or kept from being idle."""


class Performing(Protocol):
    """A step that this side performs."""

    cancel_requested: UPSEvent | None

    async def give_up(self, error: BaseException) -> None:
        """Cancel it because of `error`."""


class UPSRequests:
    """What `UPS` has besides claiming steps."""

    def __init__(
        self,
        address: str | Address | ApplicationEntity,
        *,
        calling_ae_title: str | None = None,
        options: ClientOptions | None = None,
        timeout: float | None = None,
        server: Server | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._entity = entity_of(address, options, calling_ae_title, timeout)
        self._title = self._entity.options.calling_ae_title if server is None else server.ae_title
        self._services = Server(self._title) if server is None else server
        self._services.on_n_event_report(uids.UPS_PUSH)(self._reported)
        self._retry = retry or RetryPolicy()
        self._events = EventQueues()
        self._stack = AsyncExitStack()
        self._association: Association | None = None
        self._opening = asyncio.Lock()
        self._listens = server is not None
        self._keeping: asyncio.Task[None] | None = None
        self._performing: dict[str, Performing] = {}
        """The steps that this side has claimed, and not ended, by SOP Instance UID."""

    @property
    def address(self) -> Address:
        """The address of the worklist manager."""
        return self._entity.address

    @property
    def calling_ae_title(self) -> str:
        """The AE title of this side."""
        return self._entity.options.calling_ae_title

    # The association

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            for uid, step in [*self._performing.items()]:
                await step.give_up(error or LocalProtocolError(f"the step {uid} was claimed but not ended"))
        finally:
            if self._keeping is not None:
                self._keeping.cancel()
                await asyncio.gather(self._keeping, return_exceptions=True)
            self._events.put(None)
            await self._close()

    async def _opened(self) -> Association:
        async with self._opening:
            if self._association is None or not self._association.is_open:
                await self._close()
                connection = self._entity.connect(_CONTEXTS, services=self._services)
                self._association = await self._stack.enter_async_context(connection)
            return self._association

    async def _close(self) -> None:
        stack, self._stack = self._stack, AsyncExitStack()
        try:
            await stack.aclose()
        except DimseError as error:
            logger.info("%s: %s", self.address, error)  # an association that is over invalidates nothing

    async def _use(self, work: Callable[[Association], Awaitable[T]]) -> T:
        """Work on the association. If that is lost, once more on a new one, for which there are retries."""
        attempt = 0
        while True:
            try:
                return await work(await self._opened())
            except (ConnectionLost, AssociationAborted, AssociationRejected) as error:
                attempt += 1
                was_there = self._association is not None
                pause = self._retry.pause(attempt) if was_there and may_pass(error) else None
                if pause is None:
                    raise
                logger.info("%s: %s; it is tried again", self.address, error)
                await asyncio.sleep(0 if attempt == 1 else pause)

    async def _request(
        self, operation: str | int, work: Callable[[NormalizedSCU], Awaitable[NormalizedResult]]
    ) -> NormalizedResult:
        """Work on a context of a SOP class that has this operation (`CLASSES_OF`)."""
        classes = CLASSES_OF[operation]

        def request(association: Association) -> Awaitable[NormalizedResult]:
            accepted = filter(exchange_of(association).agreement.accepts, classes)
            return work(NormalizedSCU(association, context=next(accepted, classes[0])))

        try:
            return await self._use(request)
        except StatusError as error:
            raise in_words(error) from None

    # Creating

    async def create(
        self,
        label: str,
        *,
        workitem: CodedConcept | None = None,
        station: CodedConcept | None = None,
        start: datetime | None = None,
        priority: str = "MEDIUM",
        worklist: str = "",
        patient: Dataset | None = None,
        inputs: Iterable[Dataset] = (),
        retrieve_ae_title: str | None = None,
        attributes: Dataset | None = None,
        sop_instance_uid: str | None = None,
    ) -> str:
        """Create a step that is SCHEDULED (N-CREATE), and return its SOP Instance UID.

        `label` says what is to be done, `workitem` as a code. `patient` is a data set with the patient, such as one of
        the images; `inputs` are the instances to work on, or matches that name them, and `retrieve_ae_title` is where
        they are. `attributes` are further ones of the step, which replace what the other arguments make. Raises
        `ValueError` for a step that lacks what it must have (PS3.4 Table CC.2.5-3).
        """
        step = Dataset() if patient is None else patient_of(patient)
        step.ProcedureStepLabel, step.WorklistLabel, step.ScheduledProcedureStepPriority = label, worklist, priority
        if workitem is not None:
            step.ScheduledWorkitemCodeSequence = code_sequence(workitem)
        if station is not None:
            step.ScheduledStationNameCodeSequence = code_sequence(station)
        if start is not None:
            step.ScheduledProcedureStepStartDateTime = date_time(start)
        instances = [*inputs]
        if instances and retrieve_ae_title is None:
            raise ValueError("inputs need a retrieve_ae_title: the AE title from which they can be retrieved")
        if instances:
            step.InputInformationSequence = references(instances, retrieve_ae_title or "")
            step.StudyInstanceUID = instances[0].StudyInstanceUID
        for element in attributes or ():
            step[element.tag] = element
        return await self._create(scheduled(step), sop_instance_uid or uids.new_uid())

    async def _create(self, step: Dataset, uid: str) -> str:
        attempts = 0

        async def create(scu: NormalizedSCU) -> NormalizedResult:
            nonlocal attempts
            attempts += 1
            try:
                return await scu.create(uids.UPS_PUSH, step, sop_instance_uid=uid)
            except StatusError as error:
                if attempts == 1 or error.status != Status.DUPLICATE_SOP_INSTANCE:
                    raise
                return NormalizedResult(Status.SUCCESS, None, uid)  # the attempt that lost its association created it

        result = await self._request("N-CREATE", create)
        return result.sop_instance_uid or uid

    # Finding and reading

    async def find(self, keys: UPSKeys | Query | None = None) -> AsyncGenerator[Dataset]:
        """The steps that match (C-FIND), as they arrive; leaving the iteration cancels the rest.

        They are asked for on an association of its own, so that each step can be worked on as it comes, and by the
        first of UPS Pull, UPS Watch and UPS Query that the peer accepts.
        """
        query = keys if isinstance(keys, Query) else (keys or UPSKeys()).query()
        try:
            async with self._entity.connect(_FIND_CONTEXTS) as association:
                accepts = exchange_of(association).agreement.accepts
                model = next((each for each in _MODELS if accepts(each.sop_class("find"))), _MODELS[0])
                async with CFindSCU(association).find(replace(query, model=model)) as matches:
                    async for match in matches:
                        yield match
        except StatusError as error:
            raise in_words(error) from None

    async def get(self, sop_instance_uid: str, attributes: Iterable[int | str] = ()) -> Dataset:
        """The attributes of a step (N-GET), or all. No SCP tells its Transaction UID."""
        wanted = [*attributes]
        result = await self._request("N-GET", lambda scu: scu.get(uids.UPS_PUSH, sop_instance_uid, wanted))
        return Dataset() if result.dataset is None else result.dataset

    # Changing

    async def set(self, sop_instance_uid: str, modifications: Dataset, transaction_uid: str | None = None) -> Status:
        """Set attributes of a step (N-SET); the Transaction UID is needed once it is IN PROGRESS, and only then."""
        dataset = copied(modifications)
        if transaction_uid is not None:
            dataset.TransactionUID = transaction_uid
        result = await self._request("N-SET", lambda scu: scu.set(uids.UPS_PUSH, sop_instance_uid, dataset))
        return UPSStatus(result.status)

    async def change_state(self, sop_instance_uid: str, state: UPSState, transaction_uid: str) -> Status:
        """Change the state of a step as its performer (N-ACTION, Change UPS State).

        It becomes IN PROGRESS with a new Transaction UID, and COMPLETED or CANCELED with the same. `start` and `claim`
        do it all in order.
        """
        information = Dataset()
        information.ProcedureStepState, information.TransactionUID = state.value, transaction_uid
        attempts = 0

        async def change(scu: NormalizedSCU) -> NormalizedResult:
            nonlocal attempts
            attempts += 1
            return await scu.action(uids.UPS_PUSH, sop_instance_uid, 1, information)

        try:
            return UPSStatus((await self._request(1, change)).status)
        except StatusError as error:
            if attempts == 1 or error.status != UPSStatus.ALREADY_IN_PROGRESS:
                raise
        # The attempt that lost its association may have claimed it; only the performer can set anything.
        return await self.set(sop_instance_uid, with_progress(0), transaction_uid)

    async def request_cancel(
        self,
        sop_instance_uid: str,
        reason: str | None = None,
        *,
        code: CodedConcept | None = None,
        contact: str | None = None,
        contact_name: str | None = None,
    ) -> Status:
        """Ask that a step be canceled, without being its performer (N-ACTION, Request UPS Cancel).

        A step that is SCHEDULED is canceled at once. The performer of one that is IN PROGRESS need not obey: Success is
        that it is told. `contact` is the URI at which to discuss it.
        """
        information = cancel_request(reason, code, contact, contact_name)
        return await self._action(sop_instance_uid, 2, information)

    async def _action(self, uid: str, action: int, information: Dataset) -> UPSStatus:
        result = await self._request(action, lambda scu: scu.action(uids.UPS_PUSH, uid, action, information))
        return UPSStatus(result.status)

    # Watching

    async def subscribe(
        self,
        sop_instance_uid: str | None = None,
        *,
        keys: UPSKeys | Query | None = None,
        deletion_lock: bool = False,
        receiving_ae_title: str | None = None,
    ) -> Status:
        """Subscribe to the events of a step, of all steps, or of all that match `keys` (N-ACTION).

        Future steps are among them. The events are those of `events`. A `deletion_lock` keeps a step at its end until
        `unsubscribe`. `receiving_ae_title` is the AE title that gets the events, if that is not this one.
        """
        if sop_instance_uid is not None and keys is not None:
            raise ValueError("subscribe to one step, or to those that match keys")
        query = keys.query() if isinstance(keys, UPSKeys) else keys
        information = Dataset() if query is None else query.find_identifier()
        information.ReceivingAE = receiving_ae_title or self._title
        information.DeletionLock = "TRUE" if deletion_lock else "FALSE"
        every = uids.UPS_SUBSCRIPTION_INSTANCE if keys is None else uids.UPS_FILTERED_SUBSCRIPTION_INSTANCE
        status = await self._action(sop_instance_uid or every, 3, information)
        if not self._listens and self._keeping is None and receiving_ae_title is None:
            self._keeping = asyncio.get_running_loop().create_task(self._keep())
        return status

    async def unsubscribe(
        self, sop_instance_uid: str | None = None, *, receiving_ae_title: str | None = None
    ) -> Status:
        """End the subscription to a step, or all subscriptions, and their deletion locks (N-ACTION)."""
        return await self._subscription(4, sop_instance_uid, receiving_ae_title)

    async def suspend(self, *, receiving_ae_title: str | None = None) -> Status:
        """End the subscription to future steps; that to present ones stays (N-ACTION)."""
        return await self._subscription(5, None, receiving_ae_title)

    async def _subscription(self, action: int, uid: str | None, receiving_ae_title: str | None) -> UPSStatus:
        information = Dataset()
        information.ReceivingAE = receiving_ae_title or self._title
        return await self._action(uid or uids.UPS_SUBSCRIPTION_INSTANCE, action, information)

    def events(self) -> AsyncIterator[UPSEvent]:
        """The events that the peer reports from now on, until the `async with` is left; see `subscribe`.

        Up to 1000 wait for the caller; beyond it the oldest is dropped, with a warning.
        """
        return self._events.new()

    async def _reported(self, request: NormalizedRequest) -> int:
        if request.event_type_id not in list(UPSEventType):
            return _NO_SUCH_EVENT_TYPE
        event = UPSEvent(UPSEventType(request.event_type_id), request.sop_instance_uid, decoded(request.dataset))
        step = self._performing.get(event.sop_instance_uid)
        if step is not None and event.type is UPSEventType.CANCEL_REQUESTED:
            step.cancel_requested = event
        self._events.put(event)
        return Status.SUCCESS

    async def _keep(self) -> None:
        """Keep the association on which events come."""
        while True:
            await asyncio.sleep(_KEEP_ALIVE)
            with suppress(DimseError, OSError):
                await self._use(_echo)


_NO_SUCH_EVENT_TYPE: Final = 0x0113


def performed_by(requests: UPSRequests) -> dict[str, Performing]:
    """The steps that this side has claimed, and not ended, by SOP Instance UID; for the library alone."""
    return requests._performing


async def _echo(association: Association) -> None:
    with suppress(PresentationContextError):
        await CEchoSCU(association).echo()


def may_pass(error: AssociationError) -> bool:
    """Whether the same may succeed later."""
    return not isinstance(error, AssociationRejected) or error.transient
