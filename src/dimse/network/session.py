"""An association that a server accepted, and the tasks that serve its requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from dimse.access import ANYONE
from dimse.errors import (
    AssociationTimeout,
    RemoteProtocolError,
    without_frames,
)
from dimse.messages.message import C_ECHO_RQ, Request, Response
from dimse.network.admission import TEMPORARY_CONGESTION, Admission, AssociationHandler, Rejected, Slot, User
from dimse.network.arrivals import Arrivals
from dimse.network.connection import Connection
from dimse.network.exchange import ABORT_GRACE
from dimse.network.incoming_request import IncomingRequest, Service
from dimse.network.performing import Performer
from dimse.network.timers import Progress, ProgressTimer
from dimse.options import ServerOptions
from dimse.status import StatusCategory
from dimse.upper_layer.negotiation import normalize, oddities, refusal, violations
from dimse.upper_layer.pdu import A_ASSOCIATE_RJ, A_ASSOCIATE_RQ

logger = logging.getLogger("dimse.network")


_FAILURE: Final = StatusCategory.FAILURE
"""A name, because attributes of an enumeration are slow to look up."""

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


class Session(Performer):
    """One association that a server accepted, from its request to its end."""

    def __init__(
        self,
        connection: Connection,
        options: ServerOptions,
        services: Mapping[type[Request], Service],
        arrivals: Arrivals,
        admission: Admission,
    ) -> None:
        super().__init__(connection, options, services)
        self._options = options
        self._arrivals = arrivals
        self._admission = admission
        self._slot: Slot | None = None
        self._asked: A_ASSOCIATE_RQ | None = None
        """The request about which the handler of associations decides."""
        self._deciding: asyncio.Task[None] | None = None
        """The task in which it does; None when it has."""
        self._stopping = False
        self._idle: ProgressTimer | None = None
        self.used = self.exchange.clock()
        """As `Tenant`: when it was accepted, or a request other than C-ECHO last served without a failure."""
        self.task = asyncio.get_running_loop().create_task(self._run())

    # As `Provider`

    def associate(self, request: A_ASSOCIATE_RQ) -> None:
        """As `Provider`."""
        as_sent, request = request, normalize(request)
        self.exchange.telling.called(request.calling_ae_title, request.called_ae_title)
        objection = self._objection(as_sent, request)
        if isinstance(objection, RemoteProtocolError):
            raise objection
        entered = objection or self._admission.enter(request, self.connection, self)
        if isinstance(entered, Rejected):
            self._reject(request, entered)
            return
        self._slot, self.rule = entered, entered.rule
        for oddity in oddities(as_sent):
            self.exchange.deviations.harmless(f"A-ASSOCIATE-RQ: {oddity}")
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
                "%s: the handler of associations failed", self.connection.peer_name, extra=self.exchange.telling.fields
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
        logger.warning("%s: %s", self.connection.peer_name, why, extra=self.exchange.telling.fields)
        self._give_up(why)

    def _give_up(self, why: str) -> None:
        """Reject a request about which the handler has not decided."""
        if self._deciding is not None and self._asked is not None:
            self._reject(self._asked, Rejected(TEMPORARY_CONGESTION, why))
            self.connection.flush()

    def _accept(self, request: A_ASSOCIATE_RQ, slot: Slot, user: User) -> None:
        self._arrivals.discard(self.connection)
        self.exchange.user = user
        rate_limits = self._admission.rate_limits.of(self.connection.peer_host)
        self.exchange.accept(request, self._admission.acceptance(request, slot, user), rate_limits)
        self._admission.audit.admitted(request, self.connection, None if user is None else user.name)
        self._admission.tally.accepted += 1
        self.exchange.telling.opened(self.exchange.agreement, user, "" if slot.rule is ANYONE else str(slot.rule))
        self._idle = self._idle_timer(self._options.timeouts.idle)
        self.used = self.exchange.clock()

    def _reject(self, request: A_ASSOCIATE_RQ, rejection: Rejected) -> None:
        self._admission.audit.rejected(request, self.connection, rejection.response, rejection.why)
        self._admission.tally.rejected[rejection.response] += 1
        self.exchange.reject(rejection.response, rejection.why)

    def _objection(self, as_sent: A_ASSOCIATE_RQ, request: A_ASSOCIATE_RQ) -> Rejected | RemoteProtocolError | None:
        refused = refusal(request)
        if refused is not None:
            return _rejection(refused)
        for violation in violations(as_sent):
            if self.exchange.deviations.is_strict:
                return _rejection(violation)
            logger.warning(
                "%s: A-ASSOCIATE-RQ: %s",
                self.connection.peer_name,
                _in_words(violation),
                extra=self.exchange.telling.fields,
            )
        return None

    def ended(self) -> None:
        """As `Provider`."""
        self._arrivals.add(self.connection)  # until it is closed
        if self._slot is not None:
            self._admission.leave(self._slot)
        if self._deciding is not None:
            self._deciding.cancel()
            self._deciding = None
        super().ended()

    def _answered(self, request: IncomingRequest, response: Response) -> None:
        self._admission.tally.operations[type(request.message), response.status] += 1
        if not isinstance(request.message, C_ECHO_RQ) and response.status.category is not _FAILURE:
            self.used = self.exchange.clock()

    # The task

    async def _run(self) -> None:
        try:
            await self._serve_all()
        except Exception:
            logger.exception(
                "%s: serving the association failed", self.connection.peer_name, extra=self.exchange.telling.fields
            )
        finally:
            if self._idle is not None:
                self._idle.cancel()
            self.exchange.abort()
            if self._helpers:
                await asyncio.wait(self._helpers)
            await self.exchange.closed(ABORT_GRACE if self._stopping else None)
            if self.exchange.error is not None:
                without_frames(self.exchange.error)  # they hold what was received when it was raised

    # Timers

    def _idle_timer(self, seconds: float | None) -> ProgressTimer:
        def stalled() -> None:
            error = AssociationTimeout("idle", seconds or 0, self.doing or "", "the peer sent nothing")
            logger.warning(
                "%s: %s; aborting", self.connection.peer_name, error.text, extra=self.exchange.telling.fields
            )
            self.exchange.abort(error)

        return ProgressTimer(seconds, self._activity, stalled)

    def _activity(self) -> Progress | None:
        """The peer's progress; None while it is this side's turn."""
        if self.connection.is_blocked:
            return self.exchange.progress()
        if self._stopping and self.exchange.in_message:
            return None  # a slow line may continue until the deadline
        # Beyond the negotiated window the connection is held, and its end would not be noticed either.
        if not self.connection.is_held_by(self) and any(
            request.data is None or not request.data.waiting for request in self._serving
        ):
            return None
        return self.exchange.progress()

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
            extra=self.exchange.telling.fields,
        )
        self.exchange.abort()

    def stop_when_idle(self, seconds: float) -> None:
        """End the association when nothing moves for `seconds` between two messages."""
        self._give_up("the server is stopping")
        if self.exchange.over.done():
            self.connection.close()
            return
        if self._idle is not None:
            self._idle.cancel()
        self._stopping = True
        self._idle = self._idle_timer(seconds)

    def cut_off(self) -> None:
        """End the association and its handler now."""
        self.exchange.abort()
        self.connection.kill()
        for task in (self.task, *self._helpers):
            task.cancel()
