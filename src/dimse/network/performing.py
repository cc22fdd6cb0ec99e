"""The operations that the peer requests on an association, and the tasks that perform them, in either role."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Final

from dimse.access import ANYONE, Peer
from dimse.address import Address
from dimse.errors import AssociationError, LocalProtocolError, RemoteProtocolError
from dimse.messages.fragments import CommandReceived
from dimse.messages.message import C_STORE_RQ, N_EVENT_REPORT_RQ, Request, Response, priority_of
from dimse.network.admission import permits
from dimse.network.association import Association
from dimse.network.connection import Connection
from dimse.network.exchange import ABORT_GRACE, Exchange, Phase
from dimse.network.incoming_data import Discard, IncomingData, Receiver
from dimse.network.incoming_request import Answer, CancelRequested, IncomingRequest, Service
from dimse.network.timers import Progress, ProgressTimer
from dimse.options import AssociationOptions
from dimse.status import Status
from dimse.upper_layer.deviations import out_of_step
from dimse.upper_layer.negotiation import AcceptedContext
from dimse.upper_layer.pdu import A_ASSOCIATE_RQ
from dimse.upper_layer.states import State

logger = logging.getLogger("dimse.network")

_TURN: Final = 0.005
"""Seconds in which the requests of one association are served before others have their turn."""


class Performer:
    """Performs the operations that the peer requests, by the services of a server.

    One task performs them, one after the other. If an asynchronous operations window was negotiated and that task is
    busy, helper tasks do too, and responses are sent as they become ready.
    """

    rule: Peer = ANYONE
    """What the peer may do."""

    def __init__(
        self,
        connection: Connection,
        options: AssociationOptions,
        services: Mapping[type[Request], Service],
        address: Address | None = None,
    ) -> None:
        self.connection = connection
        self.exchange = Exchange(connection, options, self, address=address)
        self.association = Association(self.exchange)
        self._services = services
        self._waiting: deque[IncomingRequest] = deque()
        self._serving: set[IncomingRequest] = set()
        self._helpers: set[asyncio.Task[None]] = set()
        self._help: asyncio.Handle | None = None
        """Starts helpers soon, if they are still needed then."""
        self._wake = asyncio.Event()

    @property
    def _window(self) -> int:
        """How many operations the peer may have outstanding."""
        return self.exchange.agreement.operations_window

    def _answered(self, request: IncomingRequest, response: Response) -> None:
        """A final response was sent."""

    # As `Provider`

    def associate(self, request: A_ASSOCIATE_RQ) -> None:  # noqa: ARG002 - as `Provider` has it
        """As `Provider`; the machine lets none through to a requestor."""
        raise out_of_step("an A-ASSOCIATE-RQ to a requestor")

    def request(self, context: AcceptedContext, command: CommandReceived) -> Receiver:
        """As `Provider`."""
        message = command.message
        assert isinstance(message, Request)  # noqa: S101 - the exchange passes requests only
        data = IncomingData(self.connection) if message.needs_dataset else None
        if data is not None and message.dataset_may_be_missing:
            self.exchange.expect_dataset(data)
        if self.connection.throttle is not None:
            self.connection.throttle.priority = priority_of(message)
        busy = len(self._serving) + len(self._waiting)
        if busy >= self._window:
            # The next request waits in the socket until fewer are served than were negotiated.
            self.connection.hold(self)
        elif busy and self._help is None:
            # Usually the busy task is done before the event loop gets to this.
            self._help = asyncio.get_running_loop().call_soon(self._start_helpers)
        self._waiting.append(IncomingRequest(self.association, context, message, data, command.flaw, self.rule))
        self._wake.set()
        return data if data is not None else Discard()

    def _start_helpers(self) -> None:
        self._help = None
        if not self._serving or self.exchange.over.done():
            return
        free = self._window - len(self._serving)
        for _ in range(min(len(self._waiting), free)):
            helper = asyncio.get_running_loop().create_task(self._serve_waiting())
            self._helpers.add(helper)
            helper.add_done_callback(self._helpers.discard)

    def cancel(self, message_id: int) -> bool:
        """As `Provider`."""
        found = [each for each in (*self._serving, *self._waiting) if each.message.message_id == message_id]
        for request in found:
            request.cancellation.request()
        return bool(found)

    def release(self) -> None:
        """As `Provider`."""
        self._wake.set()

    @property
    def doing(self) -> str | None:
        """As `Provider`."""
        return next((request.message.name.removesuffix("-RQ") for request in self._serving), None)

    async def before_release(self) -> None:
        """As `Provider`. An acceptor may be in a handler, so it does not wait."""
        if self._serving or self._waiting:
            raise LocalProtocolError("the association cannot be released before the peer's request is answered")

    @property
    def _is_release_requested(self) -> bool:
        """Whether the peer waits for the response to its A-RELEASE-RQ."""
        return self.connection.machine.state is State.STA8

    def ended(self) -> None:
        """As `Provider`."""
        for request in self._serving:
            request.cancellation.request()
        self._wake.set()

    # The tasks

    async def _serve_all(self) -> None:
        """Serve until the association ends, and is released only between two requests."""
        while self._waiting or not self.exchange.over.done():
            if self._waiting:
                await self._serve_waiting()
            elif self._is_release_requested and not self._serving:
                self.exchange.answer_release()
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _serve_waiting(self) -> None:
        clock = self.exchange.clock
        turn_ends = clock() + _TURN
        try:
            while self._waiting:
                await self._serve_next()
                if clock() > turn_ends:
                    await asyncio.sleep(0)
                    turn_ends = clock() + _TURN
        except (AssociationError, RemoteProtocolError):
            self._end()  # `ended` has logged the reason
        except Exception:
            logger.exception(
                "%s: serving the association failed", self.connection.peer_name, extra=self.exchange.telling.fields
            )
            self._end()
        finally:
            self._wake.set()

    def _end(self) -> None:
        self.exchange.abort()
        self._waiting.clear()

    async def _serve_next(self) -> None:
        request = self._waiting.popleft()
        self._serving.add(request)
        self.connection.resume(self)
        request.begin()
        try:
            answer = await self._answer(request)
            if request.data is not None and not request.data.is_used_up:
                await request.data.drain()
            await request.send(answer)
            request.end(answer.message)
            self._answered(request, answer.message)
        except (AssociationError, RemoteProtocolError) as error:
            if not self._is_release_requested:
                raise
            # The peer waits for the answer to its release; the half object is never acknowledged.
            logger.info("%s: %s", self.connection.peer_name, error.text, extra=request.fields)
        finally:
            self._serving.discard(request)
            request.end(None, self.exchange.error)
            if request.data is not None:
                request.data.release()

    async def _answer(self, request: IncomingRequest) -> Answer[Response]:
        service = self._services.get(type(request.message))
        if service is None or not self._permits(request):
            return request.response(Status.UNRECOGNIZED_OPERATION)
        if request.objection is not None:
            status, comment = request.objection
            return request.response(status, error_comment=comment)
        if not service.supports(request.sop_class_uid) and not self._is_declared(request):
            return request.response(Status.SOP_CLASS_NOT_SUPPORTED)
        return await self._response_of(service, request)

    def _is_declared(self, request: IncomingRequest) -> bool:
        """Whether the peer sends an instance of an unknown SOP class that it declared to be a storage class."""
        is_store = isinstance(request.message, C_STORE_RQ)
        return is_store and self.exchange.agreement.is_declared_storage(request.sop_class_uid)

    def _permits(self, request: IncomingRequest) -> bool:
        """Whether the peer may request this. It may have a context for it that is there for another operation."""
        if permits(request.rule, type(request.message)):
            return True
        name, peer = request.message.name, self.connection.peer_name
        logger.info("%s: %s refused: rule %s does not permit it", peer, name, request.rule, extra=request.fields)
        return False

    async def _response_of(self, service: Service, request: IncomingRequest) -> Answer[Response]:
        """The response of a service, or Processing Failure. Raises the reason if the association has ended."""
        try:
            return await service.serve(request)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            logger.exception(
                "%s: the handler of %s was cancelled",
                self.connection.peer_name,
                request.message.name,
                extra=request.fields,
            )
            return request.response(Status.PROCESSING_FAILURE, error_comment="the handler was cancelled")
        except CancelRequested:
            return request.response(Status.CANCEL)
        except Exception as error:
            lost = request.data.error if request.data is not None else None
            if self.exchange.over.done() or lost is not None:
                raise self.exchange.error or lost or AssociationError("the association has ended") from error
            logger.exception(
                "%s: the handler of %s failed", self.connection.peer_name, request.message.name, extra=request.fields
            )
            return request.response(Status.PROCESSING_FAILURE, error_comment="the handler failed")


class RequestorPerformer(Performer):
    """Performs what the peer requests on an association that this side requested, such as N-EVENT-REPORT.

    The peer has one request at a time, as no window is negotiated for it.
    """

    def __init__(
        self,
        connection: Connection,
        options: AssociationOptions,
        services: Mapping[type[Request], Service],
        address: Address,
    ) -> None:
        super().__init__(connection, options, services, address)
        self._idle = asyncio.Event()
        self._idle.set()
        self._timer: ProgressTimer | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Serve from now on, as the association is established."""
        self._timer = self.exchange.timer("store", "the request of the peer", self._activity)
        self._task = asyncio.get_running_loop().create_task(self._serve_all())

    @property
    def _window(self) -> int:
        return 1

    def request(self, context: AcceptedContext, command: CommandReceived) -> Receiver:
        """As `Provider`. A request after our A-RELEASE-RQ cannot be answered, and is dropped."""
        if self.exchange.phase is not Phase.OPEN:
            self.exchange.telling.log(logger, logging.INFO, "%s after our A-RELEASE-RQ: dropped", command.message.name)
            return Discard()
        self._idle.clear()
        return super().request(context, command)

    def release(self) -> None:
        """As `Provider`. It is answered at once between two requests, also in a collision (PS3.8 7.2.2.7)."""
        if self._serving or self._waiting:
            super().release()
        else:
            self.exchange.answer_release()

    async def before_release(self) -> None:
        """As `Provider`."""
        if asyncio.current_task() is self._task:
            await super().before_release()
        try:
            while not self._idle.is_set():  # one more may have arrived when this task goes on
                await self._idle.wait()
        except asyncio.CancelledError:
            self.exchange.abort()
            raise

    def _permits(self, request: IncomingRequest) -> bool:
        """Whether it is of the role that the peer has: an SCP reports events, and all else is of an SCU.

        The rules of a server are for associations that it accepts: its other handlers must not be reached here.
        """
        if isinstance(request.message, N_EVENT_REPORT_RQ):
            return True
        if self.exchange.agreement.proposes_scp(request.context.abstract_syntax):
            return True
        name, peer = request.message.name, self.connection.peer_name
        logger.info("%s: %s refused: the peer is SCP of its context", peer, name, extra=request.fields)
        return False

    def _activity(self) -> Progress | None:
        """The peer's progress while it is to send data, or to take a response; None otherwise."""
        is_waiting = any(request.data is not None and request.data.waiting for request in self._serving)
        return self.exchange.progress() if is_waiting or self.connection.is_blocked else None

    async def _serve_waiting(self) -> None:
        await super()._serve_waiting()
        if not self._waiting and not self._serving:
            self._idle.set()

    def ended(self) -> None:
        """As `Provider`."""
        if self._timer is not None:
            self._timer.cancel()
        self._idle.set()
        super().ended()

    async def closed(self) -> None:
        """Wait for the end of the tasks, once the association has ended. A handler that hangs is cancelled."""
        if self._task is None:
            return
        try:
            await asyncio.wait({self._task}, timeout=ABORT_GRACE)
        finally:
            self._task.cancel()
            await asyncio.wait({self._task})
