"""Operations that this side invokes on an association: which are outstanding, and which is next (PS3.7 9.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from dimse.dataset.sources import DatasetSource
from dimse.errors import AssociationAborted, DatasetError, LocalProtocolError
from dimse.messages.message import Request, Response
from dimse.network.incoming_data import Receiver
from dimse.network.operations import Operation, Outstanding, check_response, unwanted_dataset
from dimse.network.timers import SharedTimer
from dimse.network.window import Window
from dimse.upper_layer.deviations import out_of_step
from dimse.upper_layer.negotiation import AcceptedContext

if TYPE_CHECKING:
    from dimse.network.association import Association

R = TypeVar("R", bound=Response)


class Invoker:
    """Invokes operations on one association, and finds the one that a response belongs to."""

    def __init__(self, association: Association) -> None:
        self.window = Window()
        self.operation: Operation[Any] | None = None
        """The operation with many responses that is under way."""
        self.responses = 0
        """How many responses have come, and ..."""
        self.response_seconds = 0.0
        """... how long the peer and the line have taken for them in all, from the last byte of the request."""
        self._association = association
        self._next = asyncio.Lock()
        """Held by the operation that is prepared for its turn: requests go out in the order of the calls."""
        self._message_id = 0
        self._outstanding: dict[int, Outstanding] = {}
        self._stall = SharedTimer(association.options.timeouts.store, association.progress, self._stalled)

    def new_message_id(self) -> int:
        """A Message ID that no outstanding operation of ours has (PS3.7 9.3.1.1, 16 bits)."""
        while True:
            self._message_id = self._message_id % 0xFFFF + 1
            if self._message_id not in self._outstanding:
                return self._message_id

    async def invoke(
        self,
        context: AcceptedContext,
        request: Callable[[int], Request],
        response_type: type[R],
        *,
        doing: str,
        source: DatasetSource | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> R:
        """Send a request and wait for its one response, whatever its status.

        `request` makes it from a Message ID when its turn has come; `doing` is the operation's name in messages. When
        nothing moves for `Timeouts.store`, the association is aborted; so it is when the operation is cancelled, or
        fails half way: a request that is half sent cannot be taken back, and a response that nobody awaits would be
        taken for another's.
        """
        association = self._association
        if self.operation is not None:
            await self.settled()
        operation = SingleResponse(association, context, request, response_type, doing, progress)
        self._stall.begin(operation)
        try:
            async with self._next:
                operation.data = None if source is None else await association.outgoing.prepare(source)
                await self.window.enter(operation.start)
            return cast("R", await operation.result())
        except BaseException as error:
            if operation.is_out_of_step and not association.over.done():
                why = f": {error}" if isinstance(error, DatasetError) else ""
                association.abort(AssociationAborted(0, 0, f"the association was aborted by this side{why}"))
            raise
        finally:
            operation.end()
            self._stall.end(operation)

    def note_response(self, seconds: float) -> None:
        """A response has come, `seconds` after its request."""
        self.responses += 1
        self.response_seconds += seconds

    async def settled(self) -> None:
        """Wait for the end of an operation that is being cancelled."""
        while self.operation is not None and self.operation.is_ending:
            await self.operation.ended.wait()

    def begin(self, message_id: int, outstanding: Outstanding) -> None:
        """Responses to a request that is about to be sent go to `outstanding`, until `forget`."""
        self._association.check_open()
        if self.operation is not None:
            raise LocalProtocolError(
                f"{self.operation.name} is under way on this association: iterate to its end or leave its "
                "`async with` first"
            )
        if isinstance(outstanding, Operation):
            if self._outstanding:
                raise LocalProtocolError(f"{outstanding.name} cannot begin while other operations are under way")
            self.operation = outstanding
        self._outstanding[message_id] = outstanding

    @property
    def has_more_to_do(self) -> bool:
        """Whether other operations are under way, in either direction: then a message may wait for the next one."""
        return self._association.connection.is_held or len(self._outstanding) > 1

    def forget(self, message_id: int) -> None:
        """Nothing more is expected for a request."""
        if self._outstanding.pop(message_id, None) is self.operation:
            self.operation = None

    @property
    def awaits_response(self) -> bool:
        """Whether the peer owes a response, and does not wait for the answer to a sub-operation first."""
        return bool(self._outstanding) and (self.operation is None or not self.operation.has_unanswered)

    def receive(self, message: Response) -> Receiver | None:
        """A response has come; its data set, if one follows, goes to the receiver given back."""
        identifier = message.message_id_being_responded_to
        outstanding = self._outstanding.get(identifier)
        if outstanding is None or not isinstance(message, outstanding.response_type):
            raise out_of_step(f"{message.name} to message {identifier}, which does not await it")
        if identifier == self._association.outgoing.half_sent and message.status.is_done:
            raise out_of_step(f"{message.name}: {message.status} to a request that is not sent yet")
        return outstanding.respond(message)

    def fail(self, error: Exception) -> None:
        """The association has ended."""
        self._stall.cancel()
        for outstanding in self._outstanding.values():
            outstanding.fail(error)

    def _stalled(self, operation: SingleResponse) -> None:
        self._association.timed_out("store", operation.doing)


class SingleResponse:
    """A request with one response: from its place in the operations window on, until the response has come."""

    def __init__(
        self,
        association: Association,
        context: AcceptedContext,
        request: Callable[[int], Request],
        response_type: type[Response],
        doing: str,
        progress: Callable[[int], object] | None,
    ) -> None:
        self.response_type = response_type
        self.doing = doing
        self.future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.data: DatasetSource | bytes | None = None
        self._association = association
        self._context = context
        self._request = request
        self._message: Request | None = None
        self._progress = progress
        self._is_begun = self._is_sent = False
        """Whether the peer has some of it, and all of it."""
        self._sent_at: float | None = None
        self._has_place = False

    def start(self) -> None:
        """Take the turn: send now if the request is small and the line is free. Raises why there is no association."""
        self._has_place = True
        message = self._request(self._association.invoker.new_message_id())
        self._association.invoker.begin(message.message_id, self)
        self._message = message
        data = self.data
        if not isinstance(data, DatasetSource) and self._association.outgoing.send_now(self._context, message, data):
            self._note_sent()
            self._sent(len(data or b""))

    async def result(self) -> Response:
        """Send what is not sent yet, and wait for the response."""
        assert self._message is not None  # noqa: S101 - it was started
        if not self._is_sent:
            await self._association.outgoing.send(self._context, self._message, self.data, self._sent)
            self._note_sent()
        return await self.future

    def _note_sent(self) -> None:
        self._is_sent, self._sent_at = True, self._association.clock()

    @property
    def is_out_of_step(self) -> bool:
        """Whether the peer has some of it, and it is not sent whole or its response is still to come."""
        return self._is_begun and not (self._is_sent and self.future.done() and not self.future.cancelled())

    def _sent(self, count: int) -> None:
        self._is_begun = True
        if self._progress is not None:
            self._progress(count)

    def respond(self, message: Response) -> Receiver | None:
        if message.status.is_done and not self._is_begun:
            raise out_of_step(f"{message.name}: {message.status} to a request that is not sent yet")
        assert self._message is not None  # noqa: S101 - it was started
        check_response(self._association, self._message, message)
        receiver = unwanted_dataset(self._association, message) if message.dataset_follows else None
        if not self.future.done():
            self.future.set_result(message)
            now = self._association.clock()
            self._association.invoker.note_response(now - (self._sent_at or now))
            self.end()
        return receiver

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # a task that is still sending the request does not await it yet

    def end(self) -> None:
        """Give the place in the window to the next. May be called twice."""
        if not self._has_place:
            return
        self._has_place = False
        if self._message is not None:
            self._association.invoker.forget(self._message.message_id)
        self._association.invoker.window.leave()
