"""Operations with one response (C-STORE, C-ECHO, DIMSE-N), invoked side by side within the operations window.

Which message is sent next. Each rule protects one resource, and a message passes them in this order:

1. *The queue for slots.* Requests leave in the order of the calls. Only the first in the queue reads its data set
   ahead, so memory holds one data set that waits, however many tasks call at once.
2. *A slot of the window.* The first in the queue waits until fewer requests than the window await their response. It
   keeps its slot until its response is received, or until it is known that none will be.
3. *The send lock.* Messages leave whole, one after the other: requests that have a slot, responses to the peer's
   requests, C-CANCEL. All of them are served in the order in which they come to the lock.

A message never waits for a slot while it holds the lock, and one without a slot never reaches the lock. So a response
to the peer's request never waits for a response from the peer, and no two rules can block each other.

What decides the speed of small objects is the moment in which a response frees a slot. `Window.leave` hands the slot
to the first in the queue and calls its `start` there and then, and `start` writes the next request to the socket at
once if the lock is free. So the peer gets its next request while the task that waits for the response just received has
not even been woken: a round trip of the event loop is saved on each object. Where the lock or the socket is busy,
`start` sends nothing; the task sends the request when it wakes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from enum import Enum
from typing import TypeVar, cast

from dimse.dataset.sources import DatasetSource
from dimse.errors import AssociationAborted, DatasetError, during
from dimse.messages.message import Request, Response
from dimse.network.exchange import Exchange
from dimse.network.incoming_data import Discard, Receiver, collect_final
from dimse.network.telling import OperationTelling
from dimse.upper_layer.deviations import invalid, out_of_step
from dimse.upper_layer.negotiation import AcceptedContext

R = TypeVar("R", bound=Response)


async def invoke(
    exchange: Exchange,
    context: AcceptedContext,
    request: Callable[[int], Request],
    response_type: type[R],
    *,
    doing: str,
    source: DatasetSource | None = None,
    progress: Callable[[int], object] | None = None,
) -> R:
    """Send a request and wait for its one response, whatever its status.

    `request` makes it from a Message ID as soon as it has a slot; `doing` is the name of the operation in messages. The
    association is aborted when nothing moves for `Timeouts.store`. It is also aborted when this is cancelled or fails
    halfway: a request that is half sent cannot be taken back, and a response that no task awaits would be taken for
    that of another request.
    """
    in_flight = RequestInFlight(exchange, context, request, response_type, doing, progress)
    return cast("R", await _invoke(in_flight, exchange, source))


async def invoke_for_reply(
    exchange: Exchange,
    context: AcceptedContext,
    request: Callable[[int], Request],
    response_type: type[R],
    *,
    doing: str,
    dataset: bytes | None = None,
) -> tuple[R, bytes | None]:
    """As `invoke`, for a request whose response may have a data set, as those of DIMSE-N do (PS3.7 10.1)."""
    in_flight = _RequestForReply(exchange, context, request, response_type, doing, None)
    message = await _invoke(in_flight, exchange, dataset)
    return cast("R", message), in_flight.reply


async def _invoke(in_flight: RequestInFlight, exchange: Exchange, data: DatasetSource | bytes | None) -> Response:
    await settled(exchange)
    exchange.store_timer.begin(in_flight)
    try:
        async with exchange.window.queue:
            in_flight.data = await exchange.sender.prepare(data) if isinstance(data, DatasetSource) else data
            await exchange.window.enter(in_flight.start)
        return await in_flight.result()
    except BaseException as error:
        in_flight.tell_end(None, error)
        if in_flight.is_out_of_step and not exchange.over.done():
            why = f": {error}" if isinstance(error, DatasetError) else ""
            doing = during(in_flight.doing)
            exchange.abort(AssociationAborted(0, 0, f"the association was aborted by this side{doing}{why}"))
        raise
    finally:
        in_flight.end()
        exchange.store_timer.end(in_flight)


async def settled(exchange: Exchange) -> None:
    """Wait for the end of an operation that is being cancelled."""
    while (operation := exchange.outstanding.operation) is not None and operation.is_ending:
        await operation.wait_ended()


def check_response(exchange: Exchange, request: Request, response: Response) -> None:
    """Check that the UIDs of a response, if it has any, are those of its request (PS3.7 9.1.1.1)."""
    for name in ("affected_sop_class_uid", "affected_sop_instance_uid"):
        requested, responded = getattr(request, name, None), getattr(response, name, None)
        if None not in (requested, responded) and requested != responded:
            label = "SOP Class" if name == "affected_sop_class_uid" else "SOP Instance"
            exchange.deviations.malformed(invalid(f"{response.name} has another Affected {label} UID than its request"))


def unwanted_dataset(exchange: Exchange, message: Response) -> Receiver:
    """A receiver for a data set that `message` announces without need. It may never arrive."""
    exchange.deviations.harmless(f"{message.name} announces a data set, which is dropped")
    return Discard()


class _Progress(Enum):
    """The progress of a request: QUEUED -> STARTED -> SENDING -> SENT -> DONE.

    A small request passes from STARTED to SENT in one step. A failure response may be received while SENDING: the
    data set is still sent to its end, as messages are not mixed.
    """

    QUEUED = "it has no slot"
    STARTED = "it has a slot and a Message ID; nothing of it was sent"
    SENDING = "the peer has some of it"
    SENT = "the peer has all of it and owes the response"
    DONE = "it is sent, and its response was received"


class RequestInFlight:
    """A request with one response, from its slot in the operations window to its response."""

    def __init__(
        self,
        exchange: Exchange,
        context: AcceptedContext,
        request: Callable[[int], Request],
        response_type: type[Response],
        doing: str,
        progress: Callable[[int], object] | None,
    ) -> None:
        self.response_type = response_type
        self.doing = doing
        self.data: DatasetSource | bytes | None = None
        self._exchange = exchange
        self._context = context
        self._request = request
        self._message: Request | None = None
        self._on_progress = progress
        self._progress = _Progress.QUEUED
        self._response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._sent_at: float | None = None
        self._caller = copy_context() if exchange.telling.is_wanted else None
        self._told: OperationTelling | None = None

    def start(self) -> None:
        """Use the slot: send now if the request is small and the lock is free. Raises if the association has ended."""
        exchange, data = self._exchange, self.data
        try:
            exchange.check_open()
            message = self._request(exchange.outstanding.new_message_id())
            exchange.outstanding.begin(message.message_id, self)
        except BaseException:
            exchange.window.leave()
            raise
        self._message = message
        self._progress = _Progress.STARTED
        if self._caller is not None:
            self._told = exchange.telling.operation(message, by_peer=False, context=self._caller)
        if not isinstance(data, DatasetSource) and exchange.sender.send_now(self._context, message, data):
            self._note_sent()
            self._note_progress(len(data or b""))

    async def result(self) -> Response:
        """Send the rest of the request, and wait for the response."""
        if self._progress is _Progress.STARTED:
            assert self._message is not None  # noqa: S101 - it was started
            await self._exchange.sender.send(self._context, self._message, self.data, self._note_part)
            self._note_sent()
        return await self._response

    @property
    def is_out_of_step(self) -> bool:
        """Whether the peer has some of it, and it is not sent whole or its response is still to come."""
        return self._progress is _Progress.SENDING or self._progress is _Progress.SENT

    def _note_sent(self) -> None:
        self._sent_at = self._exchange.clock()
        self._progress = _Progress.DONE if self._response.done() else _Progress.SENT

    def _note_part(self, count: int) -> None:
        if self._progress is _Progress.STARTED:
            self._progress = _Progress.SENDING
        self._note_progress(count)

    def _note_progress(self, count: int) -> None:
        if self._told is not None:
            self._told.bytes = count
        if self._on_progress is not None:
            self._on_progress(count)

    def tell_end(self, response: Response | None, error: BaseException | None = None) -> None:
        """The response was received, or will not be. May be called again."""
        told, self._told = self._told, None
        if told is not None:
            told.ended(response, error)

    # As `Outstanding`

    def respond(self, message: Response) -> Receiver | None:
        """As `Outstanding`."""
        self._check(message)
        receiver = unwanted_dataset(self._exchange, message) if message.dataset_follows else None
        self._responded(message)
        return receiver

    def _check(self, message: Response) -> None:
        if message.status.is_done and self._progress is _Progress.STARTED:
            raise out_of_step(f"{message.name}: {message.status} to a request that is not sent yet")
        assert self._message is not None  # noqa: S101 - it was started
        check_response(self._exchange, self._message, message)

    def _responded(self, message: Response) -> None:
        """The response was received whole."""
        if not self._response.done():
            self._response.set_result(message)
            if self._progress is _Progress.SENT:
                self._progress = _Progress.DONE
            now = self._exchange.clock()
            self._exchange.note_response(now - (self._sent_at or now))
            self.tell_end(message)
            self.end()

    def fail(self, error: Exception) -> None:
        """As `Outstanding`."""
        if not self._response.done():
            self.tell_end(None, error)
            self._response.set_exception(error)
            self._response.exception()  # a task that is still sending the request does not await it yet

    def end(self) -> None:
        """Give the slot to the next request. May be called twice."""
        if self._message is not None and self._exchange.outstanding.forget(self._message.message_id, self):
            self._exchange.window.leave()


class _RequestForReply(RequestInFlight):
    """A request whose response may have a data set."""

    reply: bytes | None = None

    def respond(self, message: Response) -> Receiver | None:
        """As `Outstanding`."""
        if not message.dataset_follows:
            return super().respond(message)
        self._check(message)

        def done(reply: bytes | None) -> None:
            self.reply = reply
            if reply is not None and self._exchange.telling.wants_commands:
                self._exchange.telling.identifier(reply, self._context.transfer_syntax, is_sent=False)
            self._responded(message)

        return collect_final(done)
