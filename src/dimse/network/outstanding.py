"""The requests of this side that await responses, and their Message IDs (PS3.7 9.1, 9.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol

from dimse.errors import LocalProtocolError
from dimse.messages.fragments import CommandReceived
from dimse.messages.message import Response
from dimse.network.incoming_data import Receiver
from dimse.upper_layer.deviations import out_of_step
from dimse.upper_layer.negotiation import AcceptedContext


class Outstanding(Protocol):
    """A request that awaits its response or responses."""

    response_type: type[Response]

    @property
    def doing(self) -> str:
        """The name of the operation in messages."""

    def respond(self, message: Response) -> Receiver | None:
        """A response was received. Returns the receiver of its identifier, if one follows."""

    def fail(self, error: Exception) -> None:
        """The association has ended."""


class OutstandingOperation(Outstanding, Protocol):
    """An operation with many responses. It is this side's only outstanding request."""

    @property
    def has_suboperations(self) -> bool:
        """Whether the peer sends C-STORE requests on the same association, as in a C-GET."""

    @property
    def has_unanswered(self) -> bool:
        """Whether the peer waits for the response to a sub-operation."""

    @property
    def is_ending(self) -> bool:
        """Whether it is being cancelled, or about to be, and this task may wait for its end."""

    def request(self, context: AcceptedContext, command: CommandReceived) -> Receiver:
        """A sub-operation was received. Returns the receiver of its data set."""

    async def cancel(self) -> None:
        """Send C-CANCEL and wait for the end."""

    async def wait_ended(self) -> None:
        """Wait until nothing more is expected."""


class OutstandingRequests:
    """Finds the request that a response belongs to."""

    def __init__(self) -> None:
        self.operation: OutstandingOperation | None = None
        """The operation with many responses that is under way."""
        self._requests: dict[int, Outstanding] = {}
        self._message_id = 0

    @property
    def doing(self) -> str | None:
        """The name of the operation that has been under way longest, if there is one."""
        return next((request.doing for request in self._requests.values()), None)

    def __len__(self) -> int:
        return len(self._requests)

    def new_message_id(self) -> int:
        """A Message ID that no outstanding request has (PS3.7 9.3.1.1, 16 bits)."""
        while True:
            self._message_id = self._message_id % 0xFFFF + 1
            if self._message_id not in self._requests:
                return self._message_id

    def begin(self, message_id: int, request: Outstanding) -> None:
        """Pass the responses with `message_id` to `request` from now on, until `forget`."""
        if self.operation is not None:
            raise LocalProtocolError(
                f"{self.operation.doing} is under way on this association: iterate to its end or leave its "
                "`async with` first"
            )
        self._requests[message_id] = request

    def begin_operation(self, message_id: int, operation: OutstandingOperation) -> None:
        """`begin` an operation with many responses, which must be the only one."""
        if self._requests and self.operation is None:
            raise LocalProtocolError(f"{operation.doing} cannot begin while other operations are under way")
        self.begin(message_id, operation)
        self.operation = operation

    def forget(self, message_id: int, request: Outstanding) -> bool:
        """Expect nothing more for `request`. Returns False if that was known already."""
        if self._requests.get(message_id) is not request:
            return False
        del self._requests[message_id]
        if request is self.operation:
            self.operation = None
        return True

    @property
    def awaits_response(self) -> bool:
        """Whether the peer owes a response that does not wait for the response to a sub-operation."""
        return bool(self._requests) and (self.operation is None or not self.operation.has_unanswered)

    def respond(self, message: Response, half_sent: int | None) -> Receiver | None:
        """Pass on a response. Returns the receiver of its identifier, if one follows.

        `half_sent` is the Message ID of the request whose data set is being sent: the peer cannot have processed it.
        """
        message_id = message.message_id_being_responded_to
        request = self._requests.get(message_id)
        if request is None or not isinstance(message, request.response_type):
            raise out_of_step(f"{message.name} to message {message_id}, which does not await it")
        if message_id == half_sent and message.status.is_done:
            raise out_of_step(f"{message.name}: {message.status} to a request that is not sent yet")
        return request.respond(message)

    def fail(self, error: Exception) -> None:
        """The association has ended."""
        for request in self._requests.values():
            request.fail(error)


class Cancellations:
    """The tasks of one association that cancel operations whose consumers have left."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, cancel: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `cancel` in a task. May be called from any thread, as garbage collection does."""
        with suppress(RuntimeError):  # the event loop is closed
            self._loop.call_soon_threadsafe(self._begin, cancel)

    def _begin(self, cancel: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = self._loop.create_task(cancel())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait(self) -> None:
        """Wait until all have ended."""
        if self._tasks:
            await asyncio.wait(self._tasks)
