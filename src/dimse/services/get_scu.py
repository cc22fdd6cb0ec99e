"""C-GET as SCU (PS3.4 C.4.3): the instances arrive on the association of the request."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from enum import Enum, StrEnum

from dimse import uids
from dimse.dataset.codec import encode
from dimse.dataset.file_names import validate_template
from dimse.dataset.file_writer import Disk
from dimse.errors import (
    LocalProtocolError,
    PresentationContextError,
    SubOperationFailed,
    without_frames,
)
from dimse.messages.message import C_GET_RQ, C_GET_RSP, C_STORE_RQ
from dimse.network.association import Association, exchange_of
from dimse.network.exchange import Exchange
from dimse.network.incoming_request import Answer, IncomingRequest
from dimse.network.operations import OperationKind, OperationRequest
from dimse.options import StoreOptions
from dimse.services.query import Query
from dimse.services.store_reception import Habits, Reception
from dimse.services.store_request import DEFAULT_TEMPLATE, StoreRequest
from dimse.services.store_scp import StoreHandler, handled, refusal_of
from dimse.services.suboperations import RetrieveResults
from dimse.status import Status, StatusCategory
from dimse.upper_layer.agreement import Agreement


class CancelBehavior(Enum):
    """How to treat instances that still arrive after a C-GET was cancelled."""

    REJECT_IN_FLIGHT = "reject"
    """Read them to the end, drop them, and refuse them."""
    COMPLETE_IN_FLIGHT = "complete"
    """Store them in the folder or pass them to the handler, like the others; see `GetResults.completed_in_flight`."""


class GetResults(RetrieveResults[StoreRequest, C_GET_RSP]):
    """The instances of a C-GET, one by one as they arrive; see `Results`."""

    _kind = OperationKind("C-GET", "get", C_GET_RSP, has_suboperations=True)

    def __init__(
        self,
        association: Association,
        request: OperationRequest,
        raise_failures: bool,
        handler: StoreHandler | None,
        options: StoreOptions,
        on_cancel: CancelBehavior,
    ) -> None:
        complete = self._complete if on_cancel is CancelBehavior.COMPLETE_IN_FLIGHT else None
        super().__init__(association, request, raise_failures=raise_failures, complete=complete)
        self.refusals: dict[str | None, SubOperationFailed] = {}
        """Why this side refused instances, by SOP Instance UID."""
        self.arrived = 0
        """How many instances arrived, including those that were refused."""
        self.completed_in_flight: list[StoreRequest] = []
        """Instances that arrived after the operation was cancelled, with `CancelBehavior.COMPLETE_IN_FLIGHT`."""
        self._handler = handler
        self._options = options
        self._on_cancel = on_cancel
        self._disk = Disk()
        self._habits = Habits()
        self._given: tuple[IncomingRequest, Reception] | None = None
        """The sub-operation whose instance the caller reads."""
        self._storing: asyncio.Task[StoreRequest | None] | None = None

    def _advice(self, status: Status) -> Iterator[str]:
        if status.is_unable_to_process:
            yield "does the archive have it?"

    async def _pending(self, answer: Answer[C_GET_RSP]) -> None:
        self._count(answer)

    async def _final(self, answer: Answer[C_GET_RSP]) -> None:
        self._count(answer)
        await self._note_failed(answer)
        self._note_absent(answer, self.arrived)

    async def _ready(self) -> None:
        if self._given is None or self._operation.is_cancelling:
            return
        (request, reception), self._given = self._given, None
        try:
            await self._answer(request, reception)
        finally:
            is_stored = reception.fault is None and reception.is_consumed
            reception.audit(Status.SUCCESS if is_stored else None)
            reception.close()

    async def _answer(self, request: IncomingRequest, reception: Reception) -> None:
        """Answer the sub-operation whose instance the caller has read, or not."""
        if not reception.is_consumed:
            await reception.wait_for_save()
        if reception.fault is not None:
            await self._refuse(request, Status.CANNOT_UNDERSTAND, str(reception.fault), reception.fault)
        elif reception.is_consumed:
            await self._operation.answer(request, request.response(reception.status_for(Status.SUCCESS)))
        else:
            await self._refuse(request, Status.OUT_OF_RESOURCES, "it was neither saved nor read to its end")

    async def _suboperation(self, request: IncomingRequest) -> StoreRequest | None:
        if self._on_cancel is CancelBehavior.REJECT_IN_FLIGHT:
            return await self._store(request)
        # A cancelled caller must not interrupt an instance that is to be completed.
        self._storing = asyncio.ensure_future(self._store(request))
        store = await asyncio.shield(self._storing)
        self._storing = None
        return store

    async def _store(self, request: IncomingRequest) -> StoreRequest | None:
        message, data = request.message, request.data
        if not isinstance(message, C_STORE_RQ):
            await self._operation.answer(request, request.response(Status.UNRECOGNIZED_OPERATION))
            return None
        self.arrived += 1
        if request.objection is not None:
            refusal, why = request.objection
            if refusal == Status.SOP_CLASS_NOT_SUPPORTED and not uids.is_storage(request.context.abstract_syntax):
                why = "it arrived on the context of the C-GET, not on one of its SOP class"
            await self._refuse(request, refusal, why)
            return None
        objection = self._context_objection(request)
        if objection is not None:
            await self._refuse(request, Status.SOP_CLASS_NOT_SUPPORTED, objection)
            return None
        if data is None:
            await self._refuse(request, Status.CANNOT_UNDERSTAND, "it arrived without a data set")
            return None
        reception = Reception(request, data, self._options, self._disk, self._habits)
        status = await reception.prepare()
        if status is not None:
            reception.audit(status)
            await self._refuse(request, status, status.comment or "its data set was refused")
            reception.close()
            return None
        if self._handler is None:
            self._given, reception.results = (request, reception), self
            return StoreRequest(reception)
        is_stored = False
        try:
            is_stored = await self._handle(request, reception, self._handler)
        finally:
            reception.audit(Status.SUCCESS if is_stored else None)
            reception.close()
        return StoreRequest(reception) if is_stored else None

    def _context_objection(self, request: IncomingRequest) -> str | None:
        """Why the peer may not send this on its context. A lenient requestor accepts it if it proposed the SCP role."""
        role, deviations = _scp_role(request.exchange.agreement, request.sop_class_uid), request.exchange.deviations
        if role is not _SCPRole.AGREED and (deviations.is_strict or role is not _SCPRole.UNANSWERED):
            return f"the SCP role for its SOP class {role}"
        if role is _SCPRole.UNANSWERED:
            deviations.tolerated(f"C-GET: the SCP role {role} (PS3.7 D.3.3.4), but the peer sends instances; accepted")
        if request.context.abstract_syntax != request.sop_class_uid:
            deviations.tolerated(
                "C-GET: the peer sends instances on a context of another SOP class (PS3.4 C.5.3); accepted"
            )
        return None

    async def _handle(self, request: IncomingRequest, reception: Reception, handler: StoreHandler) -> bool:
        """Pass the instance to the handler and respond. Returns whether the handler accepted it."""
        try:
            status = await self._say(handler, reception)
        except Exception as error:
            if not self._exchange.is_open:
                raise
            refusal, comment = refusal_of(error) or (Status.PROCESSING_FAILURE, "the handler failed")
            await self._refuse(request, refusal, comment, error)
            return False
        if status.category is StatusCategory.FAILURE:
            await self._refuse(request, status, status.comment or "the handler refused it")
            return False
        await self._operation.answer(request, request.response(status))
        return True

    async def _say(self, handler: StoreHandler, reception: Reception) -> Status:
        self._operation.handling = asyncio.current_task()
        try:
            return await handled(handler, reception)
        finally:
            self._operation.handling = None

    async def _refuse(self, request: IncomingRequest, status: int, why: str, cause: Exception | None = None) -> None:
        message = request.message
        uid = message.affected_sop_instance_uid if isinstance(message, C_STORE_RQ) else None
        error = SubOperationFailed(uid, f"refused with {Status(status)}: {why}")
        error.__cause__ = None if cause is None else without_frames(cause)
        self.failures.append(error)
        self.refusals[uid] = error
        unwanted = LocalProtocolError(f"the instance was refused: {why}")
        await self._operation.answer(request, request.response(status, error_comment=why), unwanted)

    async def cancel(self) -> None:
        if self._operation.handling is asyncio.current_task():
            await self._operation.request_cancel()  # the iteration, which waits for this handler, reads to the end
            return
        async with AsyncExitStack() as ending:
            ending.push_async_callback(self._complete_storing)
            ending.push_async_callback(super().cancel)  # even if the association has ended, and `_ready` raises
            if self._given is not None and self._given[1].is_consumed:
                await self._ready()

    async def _complete(self, request: IncomingRequest) -> None:
        """Store instances that arrive while the operation ends."""
        await self._complete_storing()
        if not request.answered:
            self._storing = asyncio.ensure_future(self._store(request))
            await self._complete_storing()

    async def _complete_storing(self) -> None:
        """Wait for the instance that was being stored when the caller was cancelled, which never received it."""
        if self._storing is None:
            return
        storing, self._storing = self._storing, None
        if not self._exchange.is_open:
            storing.cancel()
        try:
            await asyncio.wait({storing})
        except asyncio.CancelledError:
            storing.cancel()
            await asyncio.wait({storing})
            raise
        finally:
            error = None if storing.cancelled() else storing.exception()
        store = None if storing.cancelled() or error is not None else storing.result()
        if store is not None:
            self.completed_in_flight.append(store)


class CGetSCU:
    """Retrieves instances over the association itself (PS3.4 C.4.3.2).

    The association must have been made with `contexts=retrieval_contexts(...)`, which proposes the SCP role.
    `store` has the options for receiving instances.
    """

    def __init__(self, association: Association, *, store: StoreOptions | None = None) -> None:
        self._association = association
        self._options = store or StoreOptions()

    def get(
        self,
        query: Query,
        *,
        into: str | os.PathLike[str] | None = None,
        template: str = DEFAULT_TEMPLATE,
        handler: StoreHandler | None = None,
        on_cancel: CancelBehavior = CancelBehavior.REJECT_IN_FLIGHT,
        total_timeout: float | None = None,
        raise_failures: bool = True,
    ) -> GetResults:
        """The instances of `query`, never whole in memory; the iterator returns each one after it was stored.

        They are saved below the folder `into`, or passed to `handler` as in `Server.on_c_store`. With neither, the
        iterator returns each one while it arrives: `save()` it, or read its `chunks()` or `pixels()` to the end, before
        the next one; otherwise it is refused. `Timeouts.get` limits the time without progress of the peer,
        `total_timeout` the whole operation, in seconds.

        Raises `ValueError` for a query that cannot be sent, or for `COMPLETE_IN_FLIGHT` without `into` or `handler`,
        and `PresentationContextError` if the peer did not accept the model; iterating raises the errors described in
        `Results`. Each instance that failed is a `SubOperationFailed`.

        >>> async def main(address, study):
        ...     async with connect(address, contexts=retrieval_contexts()) as association:
        ...         async with CGetSCU(association).get(Query.studies(StudyInstanceUID=study), into="out") as instances:
        ...             async for instance in instances:
        ...                 print(instance.sop_instance_uid, instances.suboperations)
        """
        if into is not None and handler is not None:
            raise ValueError("pass `into` or `handler`, not both")
        if on_cancel is CancelBehavior.COMPLETE_IN_FLIGHT and into is None and handler is None:
            raise ValueError(
                "COMPLETE_IN_FLIGHT needs `into` or `handler`: instances that come after the loop have nowhere to go"
            )
        if into is not None:
            validate_template(template)
            handler = _into(into, template)
        sop_class = query.model.sop_class("get")
        context = self._association.context_for(sop_class)
        unable = _without_scp_role(exchange_of(self._association))
        if unable is not None:
            raise unable.at(exchange_of(self._association).address)
        exchange = exchange_of(self._association)
        message_id, priority = exchange.outstanding.new_message_id(), exchange.priority
        message = C_GET_RQ(message_id=message_id, priority=priority, affected_sop_class_uid=sop_class)
        encoded = encode(query.retrieve_identifier(), context.transfer_syntax)
        request = OperationRequest(context, message, encoded, total_timeout)
        return GetResults(self._association, request, raise_failures, handler, self._options, on_cancel)


class _SCPRole(StrEnum):
    """The outcome of negotiating the SCP role for a SOP class (PS3.7 D.3.3.4), in words that follow "the SCP role"."""

    AGREED = "was agreed on"
    REFUSED = "was refused by the peer"
    UNANSWERED = "was proposed and not answered by the peer"
    NOT_PROPOSED = "was not proposed"


def _scp_role(agreement: Agreement, sop_class_uid: str) -> _SCPRole:
    """The role of this side, the requestor."""
    contexts = agreement.contexts.values()
    if any(context.abstract_syntax == sop_class_uid and context.requestor_is_scp for context in contexts):
        return _SCPRole.AGREED
    if not agreement.proposes_scp(sop_class_uid):
        return _SCPRole.NOT_PROPOSED
    answered = agreement.acceptance.user_information.role_selections
    is_answered = any(role.sop_class_uid.strip(" \0") == sop_class_uid for role in answered)
    return _SCPRole.REFUSED if is_answered else _SCPRole.UNANSWERED


def _without_scp_role(exchange: Exchange) -> PresentationContextError | None:
    """The error if there is no context on which the peer may send instances."""
    accepted = dict.fromkeys(context.abstract_syntax for context in exchange.agreement.contexts.values())
    roles = {_scp_role(exchange.agreement, sop_class_uid) for sop_class_uid in accepted}
    if _SCPRole.AGREED in roles or (_SCPRole.UNANSWERED in roles and not exchange.deviations.is_strict):
        return None
    if not any(role.scp_role for role in exchange.agreement.request.user_information.role_selections):
        return PresentationContextError(
            "no context was proposed with the SCP role, which a C-GET needs; connect with contexts=retrieval_contexts()"
        )
    for role in (_SCPRole.UNANSWERED, _SCPRole.REFUSED):
        if role in roles:
            return PresentationContextError(
                f"the peer accepted C-GET, but the SCP role {role}: without it the peer may send no instances "
                "(PS3.7 D.3.3.4); use C-MOVE, which does not need it"
            )
    return PresentationContextError(
        "the peer accepted C-GET, but none of the storage SOP classes that were proposed; propose those that it has"
    )


def _into(folder: str | os.PathLike[str], template: str) -> StoreHandler:
    async def save(request: StoreRequest) -> int:
        await request.save_under(folder, template)
        return Status.SUCCESS

    return save
