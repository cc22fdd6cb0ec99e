"""The exchange of messages on one association, over a connection (PS3.7 over PS3.8).

`Association` is what the user sees of it. An `Exchange` knows nothing of services: requests of the peer go to its
`Provider`, responses to the outstanding requests of this side.

However an association ends - by a release, an A-ABORT of either side, a lost connection, a timer - it passes through
`_end` once, and all tasks that wait on the association get the same reason.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

from dimse.access import VerifiedUser
from dimse.address import Address
from dimse.errors import (
    AssociationAborted,
    AssociationError,
    AssociationRejected,
    AssociationTimeout,
    ConnectionLost,
    DimseError,
    LocalProtocolError,
    PresentationContextError,
    RemoteProtocolError,
    during,
)
from dimse.log_limit import limit_log
from dimse.messages.fragments import CommandReceived, DataReceived, Flaw, MessageReader, fragment_size
from dimse.messages.message import C_CANCEL_RQ, C_STORE_RQ, Message, Priority, Request, Response
from dimse.network.connection import Connection
from dimse.network.incoming_data import Discard, IncomingData, Receiver
from dimse.network.outstanding import Cancellations, OutstandingRequests
from dimse.network.provider import Performing, Provider
from dimse.network.sender import Sender
from dimse.network.telling import Telling
from dimse.network.throttle import Throttle
from dimse.network.timers import Progress, ProgressTimer, SharedTimer
from dimse.network.tls_errors import refusal
from dimse.network.window import Window
from dimse.options import AssociationOptions, ClientOptions, Strictness
from dimse.rate_limit import RateLimit
from dimse.tls import TLSOptions
from dimse.upper_layer.agreement import Agreement, agree
from dimse.upper_layer.deviations import Deviations, invalid, out_of_step
from dimse.upper_layer.machine import Fragment, MachineEvent, Oddity, ProviderAbort
from dimse.upper_layer.negotiation import (
    AcceptedContext,
    acceptance_oddities,
    acceptance_refusal,
    acceptance_violations,
)
from dimse.upper_layer.pdu import (
    A_ABORT,
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RJ,
    A_ASSOCIATE_RQ,
    A_RELEASE_RP,
    A_RELEASE_RQ,
)
from dimse.upper_layer.states import State

if TYPE_CHECKING:
    from dimse.network.auditing import AssociationAudit

logger = logging.getLogger("dimse.network")
limit_log()  # here, as every peer is talked to by an exchange

ABORT_GRACE: Final = 2.0
"""Seconds that a peer has to close the connection after an A-ABORT whose end a task waits for."""


class Named(Protocol):
    """A request that names its operation for messages."""

    doing: str


class Phase(Enum):
    """Where an association is in its life.

        NEW ──────────> OPEN ──> RELEASING ─────────> RELEASED
         │               ├─────────> PEER_RELEASING ─> RELEASED_BY_PEER
         └──> FAILED <───┘   (from RELEASING too, where both sides requested the release)

    FAILED is reached from each phase that has not ended: rejected, aborted, timed out, or the connection was lost.
    """

    NEW = "not established"
    OPEN = "open"
    RELEASING = "being released by this side"
    PEER_RELEASING = "being released by the peer"
    RELEASED = "released by this side"
    RELEASED_BY_PEER = "released by the peer"
    FAILED = "ended otherwise"


# A tuple: it is searched by identity, while the hash of an enumeration member is a call.
_ESTABLISHED: Final = (Phase.OPEN, Phase.RELEASING, Phase.PEER_RELEASING)


def _is_strict(options: AssociationOptions) -> bool:
    return options.strictness is Strictness.STRICT


class Exchange:
    """The machinery of one association, in either role: it owns the connection and all state."""

    def __init__(
        self,
        connection: Connection,
        options: AssociationOptions,
        provider: Provider | None = None,
        *,
        address: Address | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.connection = connection
        self.options = options
        self.telling = Telling(connection, options)
        """The events and log lines of the association."""
        self.deviations = Deviations(connection, strict=_is_strict(options), fields=self.telling.fields)
        """How this side treats deviations of the peer."""
        self.phase = Phase.NEW
        self.error: Exception | None = None
        """Why the association ended; None while it lasts, and after a release."""
        self.over: asyncio.Future[None] = loop.create_future()
        """Done when the association has ended; `error` then has the reason."""
        self.outstanding = OutstandingRequests()
        self.window = Window()
        """The slots for requests of this side that have one response."""
        self.sender = Sender(connection, self.over, self.check_open, self._more_follows, self.telling)
        self.store_timer: SharedTimer[Named] = SharedTimer(options.timeouts.store, self.progress, self._stalled)
        """The timer of all requests that have one response."""
        self.responses = 0
        """The number of requests that received their only response."""
        self.response_seconds = 0.0
        """The time from the last byte of a request to its response, added up for all `responses`."""
        self.cancellations = Cancellations()
        self.clock = loop.time
        self.user: VerifiedUser | None = None
        """The user of the requestor, as verified by the handler of associations of this side."""
        self.audit: AssociationAudit | None = None
        """The audit of the association, if it is audited and once it is established."""
        self._address = address
        """Where this side has connected to, if it is the requestor."""
        self._request: A_ASSOCIATE_RQ | None = None
        """The request of this side, if it is the requestor."""
        self._agreement: Agreement | None = None
        self._provider = provider
        self._established: asyncio.Future[None] = loop.create_future()
        """Done when the association is established, or has failed to be."""
        self._reader = MessageReader()
        self._messages_received = 0
        """Commands and whole data sets."""
        self._receiver: Receiver | None = None
        """The receiver of the data set that belongs to the last command."""
        connection.owner = self

    # State

    @property
    def agreement(self) -> Agreement:
        """What both sides agreed on. Raises `AssociationError` before the association is established."""
        if self._agreement is None:
            raise AssociationError("the association is not established").at(self.address)
        return self._agreement

    @property
    def is_requestor(self) -> bool:
        """Whether this side requested the association."""
        return self.connection.machine.is_requestor

    @property
    def peer_name(self) -> str:
        """The peer's host and port."""
        return self.connection.peer_name

    @property
    def address(self) -> str:
        """The peer, for errors: its address if this side has connected to it, else its host and port."""
        return self.peer_name if self._address is None else str(self._address)

    @property
    def doing(self) -> str | None:
        """What is under way, for errors; None between two operations."""
        if self._request is not None and self._agreement is None:
            return "A-ASSOCIATE"
        if self.phase is Phase.RELEASING:
            return "A-RELEASE"
        return self.outstanding.doing or (None if self._provider is None else self._provider.doing)

    @property
    def is_open(self) -> bool:
        """Whether the association is established and has not ended."""
        return self.phase in _ESTABLISHED

    @property
    def in_message(self) -> bool:
        """Whether the peer is in the middle of sending a message."""
        return self._reader.in_message

    def context_for(self, abstract_syntax: str, transfer_syntaxes: Iterable[str] | None = None) -> AcceptedContext:
        """As `Agreement.context_for`; the error names the peer."""
        try:
            return self.agreement.context_for(abstract_syntax, transfer_syntaxes)
        except PresentationContextError as error:
            error.at(self.address)
            raise

    def check_open(self) -> None:
        """Raise the reason if no operation is possible."""
        if self.phase is Phase.OPEN or self.phase is Phase.NEW:
            return
        if self.error is not None:
            raise self.error
        if self.phase is Phase.RELEASED_BY_PEER:
            raise AssociationError("the peer has released the association").at(self.address)
        over = "has been" if self.phase is Phase.RELEASED else "is being"
        raise LocalProtocolError(f"the association {over} released").at(self.address)

    def _more_follows(self) -> bool:
        """Whether other operations are under way, in either direction: then a message may wait for the next one."""
        return self.connection.is_held or len(self.outstanding) > 1

    # Establishing

    async def establish(self, request: A_ASSOCIATE_RQ) -> None:
        """Request the association and wait for the peer's decision (PS3.8 7.1)."""
        self._request = request
        self.telling.called(request.calling_ae_title, request.called_ae_title)
        self.telling.log(logger, logging.INFO, "association requested as %a", request.calling_ae_title)
        self.connection.machine.associate(request)
        self.connection.machine.transport_connected()
        self.connection.flush()
        silent = "the peer accepted the connection but did not answer the A-ASSOCIATE-RQ"
        await self._decided(self._established, silent)

    def accept(
        self, request: A_ASSOCIATE_RQ, acceptance: A_ASSOCIATE_AC, rate_limits: Sequence[RateLimit] = ()
    ) -> None:
        """Accept the peer's request. The association has these limits on bytes per second."""
        self._agree(request, acceptance, rate_limits)
        self.connection.machine.accept(acceptance)

    def reject(self, rejection: A_ASSOCIATE_RJ, why: str) -> None:
        """Reject the peer's request; `why` is not for the peer."""
        self.connection.machine.reject(rejection, self.clock())
        self._end(AssociationError("the association was rejected by this side"), rejection=(rejection, why))

    def _agree(self, request: A_ASSOCIATE_RQ, acceptance: A_ASSOCIATE_AC, rate_limits: Sequence[RateLimit]) -> None:
        limit = self.options.maximum_length_to_send
        agreement = agree(request, acceptance, is_requestor=self.is_requestor, maximum_length_limit=limit)
        self._agreement, self.phase = agreement, Phase.OPEN
        if self.options.audit is not None:
            from dimse.network.auditing import AssociationAudit, user_of  # few associations are audited

            own = None if self._request is None else user_of(self._request.user_information.user_identity)
            user = own if self.user is None else self.user.name
            self.audit = AssociationAudit(self.options.audit, self.connection, agreement, user)
        self.window.size = agreement.own_operations_window
        self.sender.fragment_size = fragment_size(agreement.maximum_length_to_send)
        if rate_limits:
            throttle = Throttle(rate_limits, self.priority)
            self.connection.throttle = self.sender.throttle = throttle
            self.sender.fragment_size = min(self.sender.fragment_size, throttle.part)

    @property
    def priority(self) -> Priority:
        """The priority of the requests of this side."""
        return self.options.priority if isinstance(self.options, ClientOptions) else Priority.MEDIUM

    def _accepted(self, acceptance: A_ASSOCIATE_AC) -> None:
        assert self._request is not None  # noqa: S101 - the machine accepts an acceptance in Sta5 only
        refusal = acceptance_refusal(acceptance)
        if refusal is not None:
            raise refusal
        for violation in acceptance_violations(acceptance, self._request):
            self.deviations.malformed(violation)
        for oddity in acceptance_oddities(acceptance, self._request):
            self.deviations.harmless(f"A-ASSOCIATE-AC: {oddity}")
        self._agree(self._request, acceptance, [] if self.options.rate_limit is None else [self.options.rate_limit])
        self.telling.opened(self.agreement, None)
        if not self._established.done():
            self._established.set_result(None)

    # Ending

    async def release(self) -> None:
        """End the association in order (PS3.8 7.2). Does nothing if it has ended already.

        An abort or a lost connection in place of the response is only logged: no operation was outstanding. Raises
        `AssociationTimeout` if neither comes, and `LocalProtocolError` in a handler that serves a request of the peer.
        """
        if self.outstanding.operation is not None and not self.over.done():
            await self.outstanding.operation.cancel()
        if self._provider is not None and not self.over.done():
            await self._provider.before_release()
        if self.over.done():
            await self.closed()
            return
        if self.phase is not Phase.RELEASING:  # else another task has requested it
            self.connection.machine.release()
            self.phase = Phase.RELEASING
            self.connection.flush()
        try:
            await self._decided(self.over, "the peer did not answer the A-RELEASE-RQ")
        except (AssociationAborted, ConnectionLost) as error:
            self.deviations.harmless(f"in place of an A-RELEASE-RP: {error.text}")
        await self.closed()

    async def _decided(self, future: asyncio.Future[None], silent: str) -> None:
        """Wait for the peer's decision, `Timeouts.association` in all. Raises why the association ended instead.

        `silent` are the words for a peer that does not answer.
        """
        seconds = self.options.timeouts.association
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(future)
        except TimeoutError:
            self.abort(AssociationTimeout("association", seconds or 0, self.doing or "", silent))
        except asyncio.CancelledError:
            self.abort()
            raise
        if self.error is not None:
            raise self.error

    def answer_release(self) -> None:
        """Answer the peer's A-RELEASE-RQ."""
        if self.over.done():
            return
        self.phase = Phase.PEER_RELEASING
        self.connection.machine.release_response(self.clock())
        self.connection.flush()
        if self.connection.machine.state is State.STA13:
            self._end(None)

    def abort(self, error: Exception | None = None) -> None:
        """End the association at once with an A-ABORT (PS3.8 7.3); `error` is the reason that waiting tasks get."""
        source, reason = (error.source, error.reason) if isinstance(error, RemoteProtocolError) else (0, 0)
        self.connection.machine.abort(self.clock(), source=source, reason=reason)
        self.connection.flush()
        self._end(error or AssociationAborted(0, 0, f"the association was aborted by this side{during(self.doing)}"))

    async def closed(self, grace: float | None = ABORT_GRACE) -> None:
        """Wait until the connection is closed too. It is cut off if the peer does not close it in `grace` seconds.

        None leaves it to ARTIM (PS3.8 9.1.5), unless the peer does not even read. A peer that let a timer of the
        requestor run out gets no more time.
        """
        if self.is_requestor and isinstance(self.error, AssociationTimeout):
            grace = 0
        elif self.connection.is_blocked:
            grace = ABORT_GRACE
        try:
            async with asyncio.timeout(grace):
                await self.connection.wait_closed()
        except TimeoutError:
            self.telling.log(logger, logging.INFO, "the peer does not close the connection; cut off")
        finally:
            self.connection.kill()
            await self.cancellations.wait()

    def _end(
        self, error: Exception | None, *, by_peer: bool = False, rejection: tuple[A_ASSOCIATE_RJ, str] | None = None
    ) -> None:
        """End the association, once, and pass the reason to all waiting tasks.

        `by_peer` says that the peer aborted it, `rejection` that this side rejected it and why.
        """
        if self.over.done():
            return
        if isinstance(error, DimseError):
            error.at(self.address, self.doing)
        self.error, was_established = error, self.is_open
        if error is not None:
            self.phase = Phase.FAILED
        else:
            self.phase = Phase.RELEASED_BY_PEER if self.phase is Phase.PEER_RELEASING else Phase.RELEASED
        self.over.set_result(None)
        if not self._established.done():
            self._established.set_result(None)
        reason = error or AssociationError("the association was released").at(self.address)
        self.store_timer.cancel()
        self.outstanding.fail(reason)
        self.connection.fail_writing(reason)
        self.connection.end_throttle()
        if self._receiver is not None:
            self._receiver.failed(reason)
            self._receiver = None
        if self._provider is not None:
            self._provider.ended()
        if self.audit is not None:
            self.audit.end()
        if was_established:
            self.telling.ended(error, by_peer=by_peer or self.phase is Phase.RELEASED_BY_PEER)
        else:
            self._tell_failed(reason, rejection)

    def _tell_failed(self, reason: Exception, rejection: tuple[A_ASSOCIATE_RJ, str] | None) -> None:
        if self._request is not None or not self.is_requestor:  # else `connect` knows more, and tells
            self.telling.failed(reason, *(rejection or ()))

    # As `ConnectionOwner`

    def connected(self) -> None:
        """As `ConnectionOwner`: from now on an acceptor waits for A-ASSOCIATE-RQ."""
        self.telling.connected(self.peer_name)
        if not self.is_requestor:
            self.connection.machine.transport_accepted(self.connection.opened)
            self.connection.flush()

    def handle_event(self, event: MachineEvent) -> None:
        """As `ConnectionOwner`."""
        try:
            self._dispatch(event)
        except RemoteProtocolError as error:
            self._violated(error, "aborting")
            self.abort(error)

    def buffer_used(self) -> None:
        """As `ConnectionOwner`."""
        if self._receiver is not None:
            self._receiver.buffer_used()

    @property
    def awaits_more(self) -> bool:
        """As `ConnectionOwner`: the rest of a message, or a response that no request of this side delays."""
        return self._reader.in_message or self.outstanding.awaits_response

    def disconnected(self, error: Exception | None) -> None:
        """As `ConnectionOwner`."""
        self._end(
            ConnectionLost(f"the connection was lost{during(self.doing)}: {error}" if error else self._closed_by_peer())
        )

    def _dispatch(self, event: MachineEvent) -> None:
        match event:
            case Fragment():
                if not self.over.done():
                    self._receive(event)
            case A_ASSOCIATE_AC():
                self._accepted(event)
            case A_ASSOCIATE_RQ():
                if self._provider is not None:
                    self._provider.associate(event)
            case A_RELEASE_RQ():
                self._release_requested()
            case A_RELEASE_RP() if self.connection.machine.state is State.STA12:
                self.answer_release()
            case Oddity(message, is_harmless):
                (self.deviations.harmless if is_harmless else self.deviations.tolerated)(message)
            case _:
                self._end(self._reason(event), by_peer=isinstance(event, A_ABORT))

    def _violated(self, error: RemoteProtocolError, doing: str) -> None:
        """Warn that the peer violated the protocol, unless the error is raised where this side requested something."""
        if not self.is_requestor:
            self.telling.log(logger, logging.WARNING, "%s; %s", error.text, doing)

    def _reason(self, event: MachineEvent) -> Exception | None:
        """Why the association ends with `event`; None for a release."""
        match event:
            case A_RELEASE_RP():
                return None
            case A_ASSOCIATE_RJ():
                assert self._request is not None  # noqa: S101 - the machine accepts a rejection in Sta5 only
                called, calling = self._request.called_ae_title, self._request.calling_ae_title
                numbers = (event.result, event.source, event.reason)
                return AssociationRejected(*numbers, called_ae_title=called, calling_ae_title=calling)
            case A_ABORT():
                return AssociationAborted(event.source, event.reason, doing=self.doing)
            case ProviderAbort(error) if error is not None:
                self._violated(error, "aborted")
                return error
        return ConnectionLost(self._closed_by_peer())

    def _closed_by_peer(self) -> str:
        lost = self.connection.lost_by
        if isinstance(lost, ssl.SSLError):
            return f"TLS ended the connection: {refusal(lost)}"
        if self._agreement is not None:
            return f"the peer closed the connection without a release{during(self.doing)}"
        if self.is_requestor:
            return f"the peer closed the connection without an answer; does a DICOM AE listen there{self._or_tls}?"
        return "the connection was closed before there was an association"

    @property
    def _or_tls(self) -> str:
        """What may be wrong about TLS if the peer says nothing: an alert may be lost with the connection."""
        tls = self.options.tls if isinstance(self.options, ClientOptions) else None
        if tls is None:
            return ", and without TLS"
        has_none = isinstance(tls, TLSOptions) and tls.certificate is None
        return ", and without a certificate of ours" if has_none else ", and does it accept our certificate"

    def _release_requested(self) -> None:
        """A release in the middle of a message is answered; the half object is dropped, never acknowledged."""
        if self._reader.in_message and self._receiver is not None:
            self._receiver.failed(AssociationError("the peer released the association in the middle of a message"))
            self._receiver = None
        if self.connection.machine.state is State.STA10:
            return  # a collision: the acceptor waits for the response to its own request first (PS3.8 7.2.2.7)
        if self._provider is not None:
            self._provider.release()
        else:
            self.answer_release()

    # Messages in

    def _receive(self, fragment: Fragment) -> None:
        received = self._reader.receive(fragment)
        if isinstance(received, DataReceived):
            receiver = self._receiver
            self._messages_received += received.is_last
            if receiver is None:
                self.deviations.harmless("a data set follows a final response that does not announce it; dropped")
                return
            if received.is_last:
                self._receiver = None
            receiver.receive(received.data, received.is_last)
        elif received is not None:
            self._receive_command(received)

    def _receive_command(self, command: CommandReceived) -> None:
        self._messages_received += 1
        message = command.message
        if self.telling.wants_commands:
            self.telling.command(message, is_sent=False)
        context = self.agreement.contexts.get(command.presentation_context_id)
        if context is None:
            raise out_of_step(f"a message on context {command.presentation_context_id}, which was not accepted")
        if self._receiver is not None:
            self._miss_dataset(self._receiver)
        if command.flaw is Flaw.DATA_SET_TYPE and not (self.deviations.is_strict and isinstance(message, Request)):
            self.deviations.malformed(invalid(f"{message.name}: {command.flaw}"))
        if isinstance(message, Response):
            self._receiver = self.outstanding.respond(message, self.sender.half_sent)
        elif isinstance(message, C_CANCEL_RQ):
            self._receive_cancel(message)
        else:
            self._receiver = self._performer_of(message).request(context, command)

    def _performer_of(self, message: Message) -> Performing:
        """Where a request of the peer goes: sub-operations to the C-GET of this side, the others to the provider."""
        operation = self.outstanding.operation
        is_suboperation = isinstance(message, C_STORE_RQ) or self._provider is None
        if is_suboperation and operation is not None and operation.has_suboperations:
            return operation
        if self._provider is None:
            raise out_of_step(f"{message.name} to a requestor that proposed no SCP role, and has no services")
        return self._provider

    def _miss_dataset(self, receiver: Receiver) -> None:
        """A command was received in place of an announced data set."""
        self._note_missing()
        self._receiver = None
        if isinstance(receiver, IncomingData):
            receiver.end_unless_begun()
        else:
            receiver.failed(AssociationError("the announced data set does not follow"))

    def _note_missing(self) -> None:
        self.deviations.harmless("a message announces a data set that does not follow")

    def expect_dataset(self, data: IncomingData) -> None:
        """Let the data set of the message that was received last be empty if it does not begin soon."""

        def absent() -> None:
            self._note_missing()
            self._reader.end_without_dataset()

        data.may_be_absent(absent)

    def _receive_cancel(self, message: C_CANCEL_RQ) -> None:
        if message.dataset_follows:
            self._receiver = Discard()
        if self._provider is None or not self._provider.cancel(message.message_id_being_responded_to):
            self.deviations.harmless("C-CANCEL-RQ for no operation under way; ignored")  # PS3.7 9.3.2.3

    # Timers and figures

    def timer(self, name: str, doing: str, measure: Callable[[], Progress | None]) -> ProgressTimer:
        """A timer that aborts the association after the seconds of `Timeouts` under `name` without progress."""
        return ProgressTimer(self._seconds(name), measure, lambda: self._timed_out(name, doing))

    def _stalled(self, request: Named) -> None:
        self._timed_out("store", request.doing)

    def _timed_out(self, name: str, doing: str) -> None:
        error = AssociationTimeout(name, self._seconds(name) or 0, doing)
        self.telling.log(logger, logging.INFO, "%s; aborting", error.text)
        self.abort(error)

    def _seconds(self, name: str) -> float | None:
        seconds: float | None = getattr(self.options.timeouts, name)
        return seconds

    def progress(self) -> Progress:
        """The peer's progress."""
        return Progress(self._messages_received, self.connection.bytes_moved)

    def note_response(self, seconds: float) -> None:
        """A request got its one response, `seconds` after it was sent."""
        self.responses += 1
        self.response_seconds += seconds
