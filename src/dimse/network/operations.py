"""Operations with many responses: C-FIND, C-GET, C-MOVE (PS3.7 9.3).

The life of an operation, in the terms of `Stage`:

    NEW ──begin──> UNDER_WAY ──the final response is taken──────────────> ENDED
     │               │    │                                                 ^
     │               │    └──the consumer is gone──> LEFT ──(task)──┐       │
     │               └──────────C-CANCEL is sent────────────────────┴─> CANCELLING ──> CANCELLED
     └──cancelled before it began───────────────────────────────────────────┘

It ends in one of four ways:

1. *To its end.* The consumer takes each response and sub-operation in turn, up to the final response.
2. *Cancelled.* The consumer leaves its `async with` early, its task is cancelled, or any task calls `cancel`. C-CANCEL
   is sent, everything up to the final response is dropped, and then the association can be used again.
3. *Left.* The consumer drops an iterator that is in no `async with`. Garbage collection calls `leave`, and a task of
   the association cancels the operation; the next operation waits for that.
4. *Lost.* The association ends, or a timer ends it. `fail` wakes the consumer, which gets the reason.

An exceeded total timeout is the second way, followed by `OperationTimeout`.

Which task may read: `take` and `cancel` hold the operation's lock from before they read an event until it is used, so a
sub-operation that is being stored is never refused by another task. C-CANCEL itself is sent without the lock, so that
the peer stops while the consumer is still busy.

Nothing is read ahead. An event that the consumer has not taken holds the connection: the peer is no faster than the
consumer, and one response is in memory. Only the final response does not hold it, as what follows belongs to the next
operation. A sub-operation holds it through its `IncomingData`.

C-CANCEL has no response of its own; the final response acknowledges it (PS3.7 9.3.2.3). The peer has `Timeouts.cancel`
for that. An instance that is on its way may take longer as long as it moves; other progress does not count, since a
peer that keeps sending ignores the C-CANCEL.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Generic, TypeVar, cast

from dimse.errors import (
    AssociationError,
    DimseError,
    LocalProtocolError,
    OperationCancelled,
    OperationTimeout,
    RemoteProtocolError,
)
from dimse.messages.fragments import CommandReceived
from dimse.messages.message import C_CANCEL_RQ, Request, Response
from dimse.network.association import Association, exchange_of
from dimse.network.incoming_data import (
    MAXIMUM_IDENTIFIER_LENGTH,
    Collect,
    Discard,
    IncomingData,
    Receiver,
    collect_final,
)
from dimse.network.incoming_request import Answer, IncomingRequest
from dimse.network.invoking import check_response, settled, unwanted_dataset
from dimse.network.telling import OperationTelling
from dimse.network.timers import Progress, ProgressTimer
from dimse.status import Status, StatusCategory
from dimse.upper_layer.deviations import out_of_step
from dimse.upper_layer.negotiation import AcceptedContext

logger = logging.getLogger("dimse.network")

_IN_A_ROW: Final = 64
"""Events that are taken in a row before other tasks may run."""

T = TypeVar("T")
R = TypeVar("R", bound=Response)


@dataclass(frozen=True, slots=True)
class OperationKind:
    """The differences between C-FIND, C-GET and C-MOVE."""

    name: str
    timer: str
    """The timeout in `Timeouts` for each response."""
    response_type: type[Response]
    has_matches: bool = False
    """Whether the Pending responses have an identifier, as in C-FIND, instead of the final one."""
    has_suboperations: bool = False
    """Whether the peer sends C-STORE requests on the same association, as in C-GET."""


@dataclass(frozen=True, slots=True)
class OperationRequest:
    """A request with its identifier, on its context, and how long the operation may take."""

    context: AcceptedContext
    message: Request
    identifier: bytes
    total_timeout: float | None = None
    """Seconds in all; None is as long as responses are received."""


class Stage(Enum):
    """The stage of an operation; the drawing is above."""

    NEW = "not sent"
    UNDER_WAY = "sent"
    LEFT = "its consumer is gone; it is about to be cancelled"
    CANCELLING = "C-CANCEL was sent"
    CANCELLED = "over, after a C-CANCEL"
    ENDED = "over"


_NEXT: Final = {
    Stage.NEW: {Stage.UNDER_WAY, Stage.ENDED},
    Stage.UNDER_WAY: {Stage.LEFT, Stage.CANCELLING, Stage.ENDED},
    Stage.LEFT: {Stage.CANCELLING, Stage.ENDED},
    Stage.CANCELLING: {Stage.CANCELLED},
    Stage.CANCELLED: set[Stage](),
    Stage.ENDED: set[Stage](),
}
# Tuples: they are searched by identity, while the hash of an enumeration member is a call.
_CANCELLING: Final = (Stage.CANCELLING, Stage.CANCELLED)
_OVER: Final = (Stage.CANCELLED, Stage.ENDED)
_TAKES_NO_MORE: Final = (*_OVER, Stage.LEFT)


class Operation(Generic[R]):
    """A request with many responses, and with sub-operations where it is a C-GET."""

    def __init__(
        self,
        association: Association,
        kind: OperationKind,
        request: OperationRequest,
        complete: Callable[[IncomingRequest], Awaitable[None]] | None = None,
    ) -> None:
        self.response_type = kind.response_type
        self.stage = Stage.NEW
        self.final: Answer[R] | None = None
        """The final response, when it was received."""
        self.error: Exception | None = None
        """The reason why no more responses will arrive."""
        self.refused: set[str] = set()
        """The SOP Instance UIDs of the instances that were refused because the operation was cancelled."""
        self.handling: asyncio.Task[Any] | None = None
        """The task that is in the caller's handler of a sub-operation."""
        self._association = association
        self._exchange = exchange_of(association)
        self._connection = self._exchange.connection
        self._kind = kind
        self._request = request
        self._message = request.message
        self._complete = complete
        """Serves the sub-operations that are received after C-CANCEL; None to refuse them."""
        self._lock = asyncio.Lock()
        """Held by the task that reads events: the consumer, or another one that cancels."""
        self._deadline: float | None = None
        self._timer: ProgressTimer | None = None
        self._ended = asyncio.Event()
        self._event: Answer[R] | IncomingRequest | None = None
        """The response or sub-operation that was received and not taken yet."""
        self._wake: asyncio.Future[None] | None = None
        """Done when there is an event, or will be none, while a task waits for it."""
        self._taken = 0
        self._unanswered: IncomingRequest | None = None
        """The sub-operation that was taken last, until it is answered."""
        self._in_flight: IncomingRequest | None = None
        """The sub-operation that was under way when C-CANCEL was sent, or the first after it."""
        self._messages_before = 0
        """Messages received before the one that was in transit when C-CANCEL was sent."""
        self._told: OperationTelling | None = None
        self._cancelled_by: asyncio.Task[Any] | None = None
        """The task that called `cancel`: it knows that responses are missing."""

    # Its state

    def _pass_to(self, stage: Stage) -> None:
        if stage is not self.stage:
            assert stage in _NEXT[self.stage], (self.stage, stage)  # noqa: S101 - see the drawing
            self.stage = stage

    @property
    def doing(self) -> str:
        """As `Outstanding`."""
        return self._kind.name

    @property
    def has_suboperations(self) -> bool:
        """As `OutstandingOperation`."""
        return self._kind.has_suboperations

    @property
    def has_unanswered(self) -> bool:
        """As `OutstandingOperation`."""
        return self._unanswered is not None

    @property
    def is_cancelling(self) -> bool:
        """Whether C-CANCEL was sent."""
        return self.stage in _CANCELLING

    @property
    def is_ending(self) -> bool:
        """As `OutstandingOperation`: a handler, which the end itself waits for, may not wait for it."""
        is_ending = self.stage is Stage.LEFT or self.stage is Stage.CANCELLING
        return is_ending and self.handling is not asyncio.current_task()

    @property
    def shortfall(self) -> Exception | None:
        """Why responses are missing, for a task that gets no more from `take`; None if it knows, or has all."""
        if self.stage is Stage.ENDED and self.final is not None:
            return None
        if self._cancelled_by is not None and self._cancelled_by is asyncio.current_task():
            return None
        return self.error or OperationCancelled(self.doing).at(self._exchange.address)

    # As `OutstandingOperation`

    def respond(self, message: Response) -> Receiver | None:
        """As `Outstanding`."""
        response = cast("R", message)
        is_pending = message.status.category is StatusCategory.PENDING
        if self.final is not None:
            raise out_of_step(f"{message.name} after the final response")
        check_response(self._exchange, self._message, message)
        if is_pending and self.is_cancelling:
            return Discard() if message.dataset_follows else None
        if message.dataset_follows and is_pending == self._kind.has_matches:
            return self._collect(response, is_pending=is_pending)
        if is_pending and self._kind.has_matches:
            self._exchange.deviations.harmless(f"a Pending {message.name} without identifier; skipped")
            return None
        self._deliver(Answer(response), is_pending=is_pending)
        return unwanted_dataset(self._exchange, message) if message.dataset_follows else None

    def _collect(self, response: R, *, is_pending: bool) -> Receiver:
        """A receiver of the identifier. Without it, a match is dropped, and a final response delivered as it is."""

        def done(identifier: bytes | None) -> None:
            if identifier is not None:
                self._note_identifier(identifier, is_pending=is_pending)
            if identifier is not None or not is_pending:
                self._deliver(Answer(response, identifier), is_pending=is_pending)

        return Collect(MAXIMUM_IDENTIFIER_LENGTH, done) if is_pending else collect_final(done)

    def _note_identifier(self, identifier: bytes, *, is_pending: bool) -> None:
        if self._told is not None:
            self._told.identifier(identifier, is_match=is_pending)
        if self._exchange.telling.wants_commands:
            self._exchange.telling.identifier(identifier, self._request.context.transfer_syntax, is_sent=False)

    def request(self, context: AcceptedContext, command: CommandReceived) -> Receiver:
        """As `OutstandingOperation`."""
        message = command.message
        if self.final is not None or not isinstance(message, Request):
            raise out_of_step(f"{message.name} outside of {self._message.name}")
        data = IncomingData(self._connection) if message.needs_dataset else None
        self._deliver(IncomingRequest(self._association, context, message, data, command.flaw), is_pending=True)
        return data if data is not None else Discard()

    def fail(self, error: Exception) -> None:
        """As `Outstanding`."""
        self.error = error
        if self._timer is not None:
            self._timer.cancel()
        if self._unanswered is not None:
            self._unanswered.end(None, error)
        self._tell_end(None, error)
        self._wake_up()

    def _deliver(self, event: Answer[R] | IncomingRequest, *, is_pending: bool) -> None:
        self._event = event
        self._wake_up()
        if is_pending:
            self._connection.hold(self)
        elif isinstance(event, Answer):
            self.final = event
            self._tell_end(event.message)

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def wait_ended(self) -> None:
        """As `OutstandingOperation`."""
        await self._ended.wait()

    # For the consumer

    async def begin(self) -> None:
        """Send the request, unless it was sent. Raises `LocalProtocolError` while another operation is under way."""
        async with self._lock:
            await self._begin()

    async def take(self, step: Callable[[], Awaitable[T | None]], cancel: Callable[[], Awaitable[None]]) -> T | None:
        """The next item that `step` makes of what `next` returns; None when there are no more.

        `step` returns None where an event makes no item. It runs under the lock. If the task is cancelled meanwhile, or
        the total timeout runs out, `cancel` cancels the operation; then this raises `OperationTimeout`.
        """
        total = self._request.total_timeout
        try:
            if total is None:
                async with self._lock:
                    return await self._take(step)
            if self._deadline is None:
                self._deadline = asyncio.get_running_loop().time() + total
            limit = asyncio.timeout_at(self._deadline)
            try:
                async with limit, self._lock:
                    return await self._take(step)
            except TimeoutError as error:
                if isinstance(error, AssociationError) or not limit.expired():
                    raise
                await cancel()
                raise OperationTimeout(self.doing, total).at(self._exchange.address) from None
        except asyncio.CancelledError:
            await self.stop(cancel)
            raise

    async def _take(self, step: Callable[[], Awaitable[T | None]]) -> T | None:
        try:
            await self._begin()
            while self.stage not in _TAKES_NO_MORE:
                item = await step()
                if item is not None:
                    return item
        except (AssociationError, RemoteProtocolError) as error:
            if self._exchange.is_open:
                raise  # the error of another association
            self.error = error
            self.end()
        return None

    async def _begin(self) -> None:
        if self.stage is Stage.NEW:
            await settled(self._exchange)
        if self.stage is not Stage.NEW:
            return  # it may have been cancelled meanwhile
        self._exchange.check_open()
        self._exchange.outstanding.begin_operation(self._message.message_id, self)
        self._pass_to(Stage.UNDER_WAY)
        self._timer = self._exchange.timer(self._kind.timer, self.doing, self._measure)
        self._tell_begin()
        sent: list[int] = []
        try:
            await self._exchange.sender.send(
                self._request.context, self._message, self._request.identifier, sent.append
            )
        except BaseException as error:
            if not sent:  # else only its final response or a C-CANCEL ends it
                self._tell_end(None, error)
                self.end()
            raise

    def _tell_begin(self) -> None:
        telling, identifier = self._exchange.telling, self._request.identifier
        if telling.is_wanted:
            self._told = telling.operation(self._message, by_peer=False, context=copy_context())
            self._told.bytes = len(identifier)
        if telling.wants_commands:
            telling.identifier(identifier, self._request.context.transfer_syntax, is_sent=True)

    def _tell_end(self, response: Response | None, error: BaseException | None = None) -> None:
        told, self._told = self._told, None
        if told is not None:
            told.ended(response, error)

    async def next(self) -> Answer[R] | IncomingRequest:
        """The next response or sub-operation. Raises the reason if the association has ended."""
        self._taken += 1
        if self._taken % _IN_A_ROW == 0:
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
            event.begin()
            if self.is_cancelling and self._in_flight is None:
                self._in_flight = event
        self._connection.resume(self)
        return event

    async def answer(
        self, request: IncomingRequest, answer: Answer[Response], unwanted: DimseError | None = None
    ) -> None:
        """Answer the sub-operation that was taken last, after the rest of its data set was read.

        A task that still reads it gets `unwanted`.
        """
        if request.data is not None:
            await request.data.drain(unwanted)
            request.data.release()
        self._unanswered = None
        request.answered = True
        await request.send(answer)
        request.end(answer.message)

    # Ending

    async def stop(self, cancel: Callable[[], Awaitable[None]]) -> None:
        """Call `cancel` and log what it raises, as another exception is on its way."""
        try:
            await cancel()
        except (DimseError, OSError) as error:
            why = error.text if isinstance(error, DimseError) else error
            self._exchange.telling.log(logger, logging.INFO, "%s", why)

    async def cancel(self, by: asyncio.Task[Any] | None = None) -> None:
        """Send C-CANCEL, and drop the responses up to the final one. For the task `by`, the results are complete.

        A peer that does not end the operation in `Timeouts.cancel` is aborted, and `AssociationTimeout` raised. A
        handler of a sub-operation, for which the end waits, gets `LocalProtocolError`.
        """
        if self.handling is not None and self.handling is asyncio.current_task():
            raise LocalProtocolError(
                f"the association cannot be released by a handler of its {self.doing}, which ends with the handler"
            )
        self._cancelled_by = by or self._cancelled_by
        if self.stage is Stage.NEW:
            self.end()
        if self.stage in _OVER:
            return
        try:
            await self.request_cancel()
            await self._drop_rest()
            if self.final is None and self.error is not None:
                raise self.error
        except asyncio.CancelledError:
            self._exchange.abort()
            raise
        finally:
            self.end()

    async def _drop_rest(self) -> None:
        """Drop what is received until the final response; sub-operations are completed or refused."""
        async with self._lock:
            while self.final is None and self.stage not in _OVER:
                if self._unanswered is not None:
                    await self.serve_in_flight(self._unanswered)
                await self.next()

    async def serve_in_flight(self, request: IncomingRequest) -> None:
        """Complete or refuse a sub-operation of a cancelled operation (PS3.4 B.2.3)."""
        if self._complete is not None:
            await self._complete(request)
            return
        self.refused.add(getattr(request.message, "affected_sop_instance_uid", ""))
        answer = request.response(Status.OUT_OF_RESOURCES, error_comment="the C-GET was cancelled")
        await self.answer(request, answer, OperationCancelled(self.doing))

    async def request_cancel(self) -> None:
        """Send C-CANCEL, unless the operation is not under way any more."""
        if self.final is not None or self.stage in _CANCELLING or self.stage in _OVER:
            return
        self._pass_to(Stage.CANCELLING)
        self._in_flight = self._unanswered
        self._messages_before = self._exchange.progress().messages
        if self._timer is not None:
            self._timer.cancel()
        doing = f"{self.doing} after C-CANCEL"
        self._timer = self._exchange.timer("cancel", doing, self._measure_ending)
        cancel = C_CANCEL_RQ(message_id_being_responded_to=self._message.message_id)
        await self._exchange.sender.send(self._request.context, cancel)

    def leave(self) -> bool:
        """The consumer is gone. Returns whether the operation must be cancelled."""
        if self.stage is not Stage.UNDER_WAY or self._lock.locked():
            return False
        self._pass_to(Stage.LEFT)
        return True

    def end(self) -> None:
        """Expect nothing more: the association is free for another operation."""
        self._pass_to(Stage.CANCELLED if self.is_cancelling else Stage.ENDED)
        self._ended.set()
        if self._timer is not None:
            self._timer.cancel()
        self._exchange.outstanding.forget(self._message.message_id, self)
        self._connection.resume(self)

    # How far the peer is, for the timers

    def _measure(self) -> Progress | None:
        """The peer's progress; None while it is the consumer's turn."""
        data = None if self._unanswered is None else self._unanswered.data
        is_waiting = self._wake is not None or (data is not None and data.waiting)
        if not is_waiting and not self._connection.is_blocked:
            return None
        return self._exchange.progress()

    def _measure_ending(self) -> Progress | None:
        """The progress of the message in transit; None while an instance to be completed is stored."""
        progress = self._exchange.progress()
        if self._unanswered is not None and self._unanswered is self._in_flight:
            return progress if self._complete is None else self._measure()
        is_under_way = self._exchange.in_message and progress.messages == self._messages_before
        return progress if is_under_way else Progress(0, 0)
