"""Operations with many responses, and a way to stop them (PS3.7 9.3)."""

from __future__ import annotations

import asyncio
import logging
from enum import Enum
from typing import Any, Final, Generic, TypeVar, cast

from dimse.errors import DimseError, OperationCancelled
from dimse.messages.fragments import CommandReceived
from dimse.messages.message import C_CANCEL_RQ, Request, Response
from dimse.network.association import Association, exchange_of
from dimse.network.incoming_data import Collect, Discard, IncomingData, Receiver
from dimse.network.incoming_request import Answer, IncomingRequest
from dimse.network.invoking import check_response, settled, unwanted_dataset
from dimse.network.timers import Progress, ProgressTimer
from dimse.status import Status, StatusCategory
from dimse.upper_layer.deviations import out_of_step
from dimse.upper_layer.negotiation import AcceptedContext

logger = logging.getLogger("dimse.network")

MAXIMUM_IDENTIFIER_LENGTH: Final = 16 * 1024 * 1024
"""An identifier is attributes to match, or UIDs: this holds a list of 250 000 of them."""

IDENTIFIER_GRACE: Final = 2.0
"""Seconds for an identifier that a final response announces to begin: it is in the next PDU, or never sent."""

_TURN: Final = 64
"""Events that are taken in a row before other tasks have a turn."""

R = TypeVar("R", bound=Response)


class Stage(Enum):
    """How far an operation with many responses is."""

    NEW = "not sent"
    UNDER_WAY = "sent"
    LEFT = "its consumer has left; it is about to be cancelled"
    CANCELLING = "C-CANCEL was sent"
    CANCELLED = "over, after a C-CANCEL"
    ENDED = "over"


class Operation(Generic[R]):
    """A request with many responses, and with sub-operations where it is a C-GET.

    `next` gives them one after the other. Nothing is read ahead: while one waits to be taken the connection is
    held, so the peer is no faster than the consumer. `timer` names the timeout in `Timeouts` for each.
    """

    def __init__(
        self,
        association: Association,
        context: AcceptedContext,
        message: Request,
        response_type: type[R],
        *,
        timer: str,
        doing: str,
        has_matches: bool = False,
        has_suboperations: bool = False,
    ) -> None:
        self.response_type: type[Response] = response_type
        self.has_suboperations = has_suboperations
        """Whether the peer asks for C-STORE on the same association, as in a C-GET."""
        self.refused: set[str] = set()
        """The instances that were refused because the operation was cancelled."""
        self.reading = asyncio.Lock()
        """Held by the task that takes responses: the consumer, or another one that cancels."""
        self.stage = Stage.NEW
        self.handling: asyncio.Task[Any] | None = None
        """The task that is in the caller's handler of a sub-operation."""
        self.ended = asyncio.Event()
        """Set when nothing more comes."""
        self.error: Exception | None = None
        """Why the rest will not come."""
        self.final: Answer[R] | None = None
        """The final response, when it has come."""
        self.serve_cancelled = self.refuse
        """Handles sub-operations that come after C-CANCEL."""
        self._has_matches = has_matches
        """Whether Pending responses have the identifiers, as in a C-FIND, and not the final one."""
        self._association = association
        self._exchange = exchange_of(association)
        self._connection = self._exchange.connection
        self._context = context
        self._message = message
        self._timer_name = timer
        self._timer: ProgressTimer | None = None
        self._doing = doing
        self._event: Answer[R] | IncomingRequest | None = None
        self._unanswered: IncomingRequest | None = None
        """The sub-operation that was taken last."""
        self._in_flight: IncomingRequest | None = None
        """The one that was under way when C-CANCEL was sent, or the first after it."""
        self._messages_before = 0
        """How many messages had come before the one in the middle of which C-CANCEL was sent."""
        self._wake: asyncio.Future[None] | None = None
        self._taken = 0

    @property
    def name(self) -> str:
        """What is asked for: C-FIND, C-MOVE or C-GET."""
        return self._message.name.removesuffix("-RQ")

    @property
    def cancelling(self) -> bool:
        """Whether C-CANCEL was sent."""
        return self.stage in (Stage.CANCELLING, Stage.CANCELLED)

    @property
    def is_ending(self) -> bool:
        """Whether it is being cancelled, or about to be, and may be waited for: not by what it waits for."""
        return self.stage in (Stage.LEFT, Stage.CANCELLING) and self.handling is not asyncio.current_task()

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes."""
        return self.stage in (Stage.CANCELLED, Stage.ENDED)

    @property
    def is_complete(self) -> bool:
        """Whether all that the peer has answered was taken."""
        return self.stage is Stage.ENDED and self.final is not None

    @property
    def has_unanswered(self) -> bool:
        """Whether the peer waits for the answer to a sub-operation."""
        return self._unanswered is not None

    # As `Outstanding`

    def respond(self, message: Response) -> Receiver | None:
        response = cast("R", message)
        is_pending = message.status.category is StatusCategory.PENDING
        if self.final is not None:
            raise out_of_step(f"{message.name} after the final response")
        check_response(self._exchange, self._message, message)
        if is_pending and self.cancelling:
            return Discard() if message.dataset_follows else None
        if message.dataset_follows and is_pending == self._has_matches:
            return self._collect(response, is_pending=is_pending)
        if is_pending and self._has_matches:
            self._exchange.deviations.harmless(f"a Pending {message.name} without identifier; skipped")
            return None
        self._deliver(Answer(response), is_pending=is_pending)
        return unwanted_dataset(self._exchange, message) if message.dataset_follows else None

    def _collect(self, response: R, *, is_pending: bool) -> Receiver:
        """A receiver for the identifier. If none comes, a match is dropped; a final response is delivered without."""

        def done(identifier: bytes | None) -> None:
            if identifier is not None or not is_pending:
                self._deliver(Answer(response, identifier), is_pending=is_pending)

        receiver = Collect(MAXIMUM_IDENTIFIER_LENGTH, done)
        if not is_pending:
            asyncio.get_running_loop().call_later(IDENTIFIER_GRACE, receiver.give_up_unless_begun)
        return receiver

    def request(self, context: AcceptedContext, command: CommandReceived) -> Receiver:
        """The peer asks for a sub-operation."""
        message = command.message
        if self.final is not None or not isinstance(message, Request):
            raise out_of_step(f"{message.name} outside of {self._message.name}")
        data = IncomingData(self._connection) if message.needs_dataset else None
        self._deliver(IncomingRequest(self._association, context, message, data, command.flaw), is_pending=True)
        return data if data is not None else Discard()

    def fail(self, error: Exception) -> None:
        self.error = error
        if self._timer is not None:
            self._timer.cancel()
        self._wake_up()

    def _deliver(self, event: Answer[R] | IncomingRequest, *, is_pending: bool) -> None:
        self._event = event
        self._wake_up()
        if is_pending:
            self._connection.hold(self)
        elif isinstance(event, Answer):
            self.final = event

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def wait_ended(self) -> None:
        """As `OutstandingOperation`."""
        await self.ended.wait()

    # For the consumer

    async def begin(self, identifier: bytes) -> None:
        """Send the request. Raises `LocalProtocolError` while another operation is under way."""
        await settled(self._exchange)
        self._exchange.check_open()
        self._exchange.outstanding.begin_operation(self._message.message_id, self)
        self.stage = Stage.UNDER_WAY
        self._timer = self._exchange.timer(self._timer_name, self._doing, self._measure)
        sent: list[int] = []
        try:
            await self._exchange.sender.send(self._context, self._message, identifier, sent.append)
        except BaseException:
            if not sent:  # else only its final response or a C-CANCEL ends it
                self.end()
            raise

    async def next(self) -> Answer[R] | IncomingRequest:
        """The next response or sub-operation. Raises what ended the association, or ran out of time."""
        self._taken += 1
        if self._taken % _TURN == 0:
            await asyncio.sleep(0)
        while self._event is None:
            if self.error is not None:
                raise self.error
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        event, self._event = self._event, None
        if isinstance(event, IncomingRequest):
            self._unanswered = event
            if self.cancelling and self._in_flight is None:
                self._in_flight = event
        self._connection.resume(self)
        return event

    async def answer(
        self, request: IncomingRequest, answer: Answer[Response], unwanted: DimseError | None = None
    ) -> None:
        """Answer the sub-operation that was taken last, when its data set has been read to its end.

        A task that still reads it gets `unwanted`.
        """
        if request.data is not None:
            await request.data.drain(unwanted)
            request.data.release()
        self._unanswered = None
        request.answered = True
        await request.send(answer)

    async def cancel(self) -> None:
        """Send C-CANCEL, and drop all that comes until the final response.

        A peer that does not end it in `Timeouts.cancel` is aborted instead, and `AssociationTimeout` raised. An
        instance that is under way may take longer, as long as it moves.
        """
        try:
            await self.request_cancel()
            async with self.reading:
                while self.final is None and not self.is_over:
                    if self._unanswered is not None:
                        await self.serve_cancelled(self._unanswered)
                    await self.next()
            if self.final is None and self.error is not None:
                raise self.error
        except asyncio.CancelledError:
            self._exchange.abort()
            raise
        finally:
            self.end()

    async def refuse(self, request: IncomingRequest) -> None:
        """Refuse a sub-operation of a cancelled operation (PS3.4 B.2.3)."""
        self.refused.add(getattr(request.message, "affected_sop_instance_uid", ""))
        answer = request.response(Status.OUT_OF_RESOURCES, error_comment="the C-GET was cancelled")
        await self.answer(request, answer, OperationCancelled(self._doing))

    async def request_cancel(self) -> None:
        """Send C-CANCEL. It has no response of its own; the operation's final one acknowledges it (PS3.7 9.3.2.3)."""
        if self.cancelling or self.is_over or self.final is not None:
            return
        self.stage, self._in_flight = Stage.CANCELLING, self._unanswered
        self._messages_before = self._exchange.progress().messages
        if self._timer is not None:
            self._timer.cancel()
        doing = f"{self._doing}: waiting for its end after C-CANCEL"
        self._timer = self._exchange.timer("cancel", doing, self._measure_ending)
        cancel = C_CANCEL_RQ(message_id_being_responded_to=self._message.message_id)
        await self._exchange.sender.send(self._context, cancel)

    def leave(self) -> bool:
        """The consumer has left. Returns whether the operation has to be cancelled."""
        if self.stage is not Stage.UNDER_WAY or self.reading.locked():
            return False
        self.stage = Stage.LEFT
        return True

    def end(self) -> None:
        """Nothing more is expected: the association is free for another operation."""
        self.stage = Stage.CANCELLED if self.cancelling else Stage.ENDED
        self.ended.set()
        if self._timer is not None:
            self._timer.cancel()
        self._exchange.outstanding.forget(self._message.message_id, self)
        self._connection.resume(self)

    def _measure(self) -> Progress | None:
        """How far the peer has come; None while it is the consumer's turn."""
        data = None if self._unanswered is None else self._unanswered.data
        is_waiting = self._wake is not None or (data is not None and data.waiting)
        if not is_waiting and not self._connection.is_blocked:
            return None
        return self._exchange.progress()

    def _measure_ending(self) -> Progress | None:
        """How far the message under way has come; None while it is stored, if it is to be completed.

        Nothing else counts: a peer that goes on sending ignores the C-CANCEL.
        """
        progress = self._exchange.progress()
        if self._unanswered is not None and self._unanswered is self._in_flight:
            return progress if self.serve_cancelled == self.refuse else self._measure()
        is_under_way = self._exchange.in_message and progress.messages == self._messages_before
        return progress if is_under_way else Progress(0, 0)
