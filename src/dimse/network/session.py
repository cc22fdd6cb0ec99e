"""An association that a server accepted, and the tasks that serve its requests."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Final

from dimse.access import ANYONE
from dimse.errors import (
    AssociationError,
    AssociationTimeout,
    RemoteProtocolError,
    without_frames,
)
from dimse.messages.fragments import CommandReceived
from dimse.messages.message import C_ECHO_RQ, C_STORE_RQ, Request, Response, priority_of
from dimse.network.admission import TEMPORARY_CONGESTION, Admission, AssociationHandler, Rejected, Slot, User, permits
from dimse.network.arrivals import Arrivals
from dimse.network.association import Association
from dimse.network.connection import Connection
from dimse.network.exchange import ABORT_GRACE, Exchange
from dimse.network.incoming_data import Discard, IncomingData, Receiver
from dimse.network.incoming_request import Answer, CancelRequested, IncomingRequest, Service
from dimse.network.timers import Progress, ProgressTimer
from dimse.options import ServerOptions
from dimse.status import Status, StatusCategory
from dimse.upper_layer.negotiation import AcceptedContext, normalize, oddities, refusal, violations
from dimse.upper_layer.pdu import A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from dimse.upper_layer.states import State

logger = logging.getLogger("dimse.network")


_FAILURE: Final = StatusCategory.FAILURE
"""A name, because attributes of an enumeration are slow to look up."""

_TURN: Final = 0.005
"""Seconds in which the requests of one association are served before others have their turn."""

_MALFORMED: Final = {
    2: "the application context is not that of DICOM",
    3: "the calling AE title is blank or malformed",
    7: "the called AE title is blank or malformed",
}
"""By the reason of the A-ASSOCIATE-RJ that answers it."""


def _in_words(violation: A_ASSOCIATE_RJ | RemoteProtocolError) -> str:
    return str(violation) if isinstance(violation, RemoteProtocolError) else _MALFORMED[violation.reason]


def _rejection(violation: A_ASSOCIATE_RJ | RemoteProtocolError) -> Rejected | RemoteProtocolError:
    return violation if isinstance(violation, RemoteProtocolError) else Rejected(violation, _in_words(violation))


class Session:
    """One association that a server accepted.

    Its requests are served by one task, one after the other. If an asynchronous operations window was negotiated
    and that task is busy, helper tasks serve too, and responses are sent as they become ready.
    """

    def __init__(
        self,
        connection: Connection,
        options: ServerOptions,
        services: Mapping[type[Request], Service],
        arrivals: Arrivals,
        admission: Admission,
    ) -> None:
        self.connection = connection
        self._exchange = Exchange(connection, options, self)
        self.association = Association(self._exchange)
        self._options = options
        self._services = services
        self._arrivals = arrivals
        self._admission = admission
        self._slot: Slot | None = None
        self._asked: A_ASSOCIATE_RQ | None = None
        """The request about which the handler of associations decides."""
        self._deciding: asyncio.Task[None] | None = None
        """The task in which it does; None when it has."""
        self._waiting: deque[IncomingRequest] = deque()
        self._serving: set[IncomingRequest] = set()
        self._helpers: set[asyncio.Task[None]] = set()
        self._help: asyncio.Handle | None = None
        """Starts helpers soon, if they are still needed then."""
        self._stopping = False
        self._wake = asyncio.Event()
        self._idle: ProgressTimer | None = None
        self.used = self._exchange.clock()
        """As `Tenant`: when it was accepted, or a request other than C-ECHO last served without a failure."""
        self.task = asyncio.get_running_loop().create_task(self._run())

    # As `Provider`

    def associate(self, request: A_ASSOCIATE_RQ) -> None:
        """As `Provider`."""
        as_sent, request = request, normalize(request)
        self._exchange.telling.called(request.calling_ae_title, request.called_ae_title)
        objection = self._objection(as_sent, request)
        if isinstance(objection, RemoteProtocolError):
            raise objection
        entered = objection or self._admission.enter(request, self.connection, self)
        if isinstance(entered, Rejected):
            self._reject(request, entered)
            return
        self._slot = entered
        for oddity in oddities(as_sent):
            self._exchange.deviations.harmless(f"A-ASSOCIATE-RQ: {oddity}")
        handler = self._admission.handler
        if handler is None:
            self._accept(request, entered, None)
        else:
            self._ask(handler, request, entered)

    # While the handler of associations decides, the machine is in Sta3: whatever the peer sends but an A-ABORT is out
    # of place, and each ends the association. It counts as one already, so that the limits hold for all that wait.

    def _ask(self, handler: AssociationHandler, request: A_ASSOCIATE_RQ, slot: Slot) -> None:
        loop = asyncio.get_running_loop()
        deciding = self._deciding = loop.create_task(self._decide(handler, request, slot))
        self._asked = request
        self._helpers.add(deciding)
        deciding.add_done_callback(self._helpers.discard)
        seconds = self._options.timeouts.admission
        if seconds is not None:
            timer = loop.call_later(seconds, self._decides_too_long, seconds)
            deciding.add_done_callback(lambda _: timer.cancel())

    async def _decide(self, handler: AssociationHandler, request: A_ASSOCIATE_RQ, slot: Slot) -> None:
        try:
            decision = await self._admission.ask(handler, request, self.connection)
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            logger.exception(
                "%s: the handler of associations failed", self.connection.peer_name, extra=self._exchange.telling.fields
            )
            decision = Rejected(TEMPORARY_CONGESTION, "the handler of associations failed")
        if self._deciding is None:
            return  # the association has ended, and the handler has taken no notice of its cancellation
        self._deciding = None
        if isinstance(decision, Rejected):
            self._reject(request, decision)
        else:
            self._accept(request, slot, decision)
        self.connection.flush()

    def _decides_too_long(self, seconds: float) -> None:
        why = f"the handler of associations has not decided in {seconds:g} s (Timeouts.admission)"
        logger.warning("%s: %s", self.connection.peer_name, why, extra=self._exchange.telling.fields)
        self._give_up(why)

    def _give_up(self, why: str) -> None:
        """Reject a request about which the handler has not decided."""
        if self._deciding is not None and self._asked is not None:
            self._reject(self._asked, Rejected(TEMPORARY_CONGESTION, why))
            self.connection.flush()

    def _accept(self, request: A_ASSOCIATE_RQ, slot: Slot, user: User) -> None:
        self._arrivals.discard(self.connection)
        self._exchange.user = user
        rate_limits = self._admission.rate_limits.of(self.connection.peer_host)
        self._exchange.accept(request, self._admission.acceptance(request, slot, user), rate_limits)
        self._admission.audit.admitted(request, self.connection, None if user is None else user.name)
        self._admission.tally.accepted += 1
        self._exchange.telling.opened(self._exchange.agreement, user, "" if slot.rule is ANYONE else str(slot.rule))
        self._idle = self._idle_timer(self._options.timeouts.idle)
        self.used = self._exchange.clock()

    def _reject(self, request: A_ASSOCIATE_RQ, rejection: Rejected) -> None:
        self._admission.audit.rejected(request, self.connection, rejection.response, rejection.why)
        self._admission.tally.rejected[rejection.response] += 1
        self._exchange.reject(rejection.response, rejection.why)

    def _objection(self, as_sent: A_ASSOCIATE_RQ, request: A_ASSOCIATE_RQ) -> Rejected | RemoteProtocolError | None:
        refused = refusal(request)
        if refused is not None:
            return _rejection(refused)
        for violation in violations(as_sent):
            if self._exchange.deviations.is_strict:
                return _rejection(violation)
            logger.warning(
                "%s: A-ASSOCIATE-RQ: %s",
                self.connection.peer_name,
                _in_words(violation),
                extra=self._exchange.telling.fields,
            )
        return None

    def request(self, context: AcceptedContext, command: CommandReceived) -> Receiver:
        """As `Provider`."""
        message = command.message
        assert isinstance(message, Request)  # noqa: S101 - the exchange passes requests only
        data = IncomingData(self.connection) if message.needs_dataset else None
        if self.connection.throttle is not None:
            self.connection.throttle.priority = priority_of(message)
        busy = len(self._serving) + len(self._waiting)
        if busy >= self._exchange.agreement.operations_window:
            # The next request waits in the socket until fewer are served than were negotiated.
            self.connection.hold(self)
        elif busy and self._help is None:
            # Usually the busy task is done before the event loop gets to this.
            self._help = asyncio.get_running_loop().call_soon(self._start_helpers)
        assert self._slot is not None  # noqa: S101 - requests come from peers that were admitted
        rule = self._slot.rule
        self._waiting.append(IncomingRequest(self.association, context, message, data, command.flaw, rule))
        self._wake.set()
        return data if data is not None else Discard()

    def _start_helpers(self) -> None:
        self._help = None
        if not self._serving or self._exchange.over.done():
            return
        free = self._exchange.agreement.operations_window - len(self._serving)
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
    def is_serving(self) -> bool:
        """As `Provider`."""
        return bool(self._serving)

    @property
    def doing(self) -> str | None:
        """As `Provider`."""
        return next((request.message.name.removesuffix("-RQ") for request in self._serving), None)

    @property
    def _is_release_requested(self) -> bool:
        """Whether the peer waits for the response to its A-RELEASE-RQ."""
        return self.connection.machine.state is State.STA8

    def ended(self) -> None:
        """As `Provider`."""
        self._arrivals.add(self.connection)  # until it is closed
        if self._slot is not None:
            self._admission.leave(self._slot)
        if self._deciding is not None:
            self._deciding.cancel()
            self._deciding = None
        for request in self._serving:
            request.cancellation.request()
        self._wake.set()

    # The task

    async def _run(self) -> None:
        try:
            await self._serve_all()
        except Exception:
            logger.exception(
                "%s: serving the association failed", self.connection.peer_name, extra=self._exchange.telling.fields
            )
        finally:
            if self._idle is not None:
                self._idle.cancel()
            self._exchange.abort()
            if self._helpers:
                await asyncio.wait(self._helpers)
            await self._exchange.closed(ABORT_GRACE if self._stopping else None)
            if self._exchange.error is not None:
                without_frames(self._exchange.error)  # they hold what was received when it was raised

    async def _serve_all(self) -> None:
        """Serve until the association ends, and is released only between two requests."""
        while self._waiting or not self._exchange.over.done():
            if self._waiting:
                await self._serve_waiting()
            elif self._is_release_requested and not self._serving:
                self._exchange.answer_release()
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _serve_waiting(self) -> None:
        clock = self._exchange.clock
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
                "%s: serving the association failed", self.connection.peer_name, extra=self._exchange.telling.fields
            )
            self._end()
        finally:
            self._wake.set()

    def _end(self) -> None:
        self._exchange.abort()
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
            self._admission.tally.operations[type(request.message), answer.message.status] += 1
            if not isinstance(request.message, C_ECHO_RQ) and answer.message.status.category is not _FAILURE:
                self.used = self._exchange.clock()
        except (AssociationError, RemoteProtocolError) as error:
            if not self._is_release_requested:
                raise
            # The peer waits for the answer to its release; the half object is never acknowledged.
            logger.info("%s: %s", self.connection.peer_name, error.text, extra=request.fields)
        finally:
            self._serving.discard(request)
            request.end(None, self._exchange.error)
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
        return is_store and self._exchange.agreement.is_declared_storage(request.sop_class_uid)

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
            if self._exchange.over.done() or lost is not None:
                raise self._exchange.error or lost or AssociationError("the association has ended") from error
            logger.exception(
                "%s: the handler of %s failed", self.connection.peer_name, request.message.name, extra=request.fields
            )
            return request.response(Status.PROCESSING_FAILURE, error_comment="the handler failed")

    # Timers

    def _idle_timer(self, seconds: float | None) -> ProgressTimer:
        def stalled() -> None:
            error = AssociationTimeout("idle", seconds or 0, self.doing or "", "the peer sent nothing")
            logger.warning(
                "%s: %s; aborting", self.connection.peer_name, error.text, extra=self._exchange.telling.fields
            )
            self._exchange.abort(error)

        return ProgressTimer(seconds, self._activity, stalled)

    def _activity(self) -> Progress | None:
        """The peer's progress; None while it is this side's turn."""
        if self.connection.is_blocked:
            return self._exchange.progress()
        if self._stopping and self._exchange.in_message:
            return None  # a slow line may continue until the deadline
        # Beyond the negotiated window the connection is held, and its end would not be noticed either.
        if not self.connection.is_held_by(self) and any(
            request.data is None or not request.data.waiting for request in self._serving
        ):
            return None
        return self._exchange.progress()

    @property
    def is_busy(self) -> bool:
        """As `Tenant`. A peer that does nothing but C-ECHO is not idle, but keeps others out where slots are scarce."""
        if self._deciding is not None:
            return True
        return any(not isinstance(request.message, C_ECHO_RQ) for request in (*self._serving, *self._waiting))

    def give_way(self) -> None:
        """As `Tenant`."""
        logger.warning(
            "%s: nothing but C-ECHO, or failures, while others wait; aborting",
            self.connection.peer_name,
            extra=self._exchange.telling.fields,
        )
        self._exchange.abort()

    def stop_when_idle(self, seconds: float) -> None:
        """End the association when nothing moves for `seconds` between two messages."""
        self._give_up("the server is stopping")
        if self._exchange.over.done():
            self.connection.close()
            return
        if self._idle is not None:
            self._idle.cancel()
        self._stopping = True
        self._idle = self._idle_timer(seconds)

    def cut_off(self) -> None:
        """End the association and its handler now."""
        self._exchange.abort()
        self.connection.kill()
        for task in (self.task, *self._helpers):
            task.cancel()
