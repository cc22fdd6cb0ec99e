"""One association: messages over a connection (PS3.7 over PS3.8), requests and their responses.

Whatever ends the association - a release, an A-ABORT of either side, a lost connection, a timer - goes
through `_end` once, and all tasks that wait on the association get the same reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

from dimse.errors import (
    AssociationAborted,
    AssociationError,
    AssociationRejected,
    AssociationTimeout,
    ConnectionLost,
    LocalProtocolError,
    PresentationContextError,
    RemoteProtocolError,
)
from dimse.messages.fragments import CommandReceived, DataReceived, Flaw, MessageReader
from dimse.messages.message import C_CANCEL_RQ, Request, Response
from dimse.network.connection import Connection
from dimse.network.incoming_data import Discard, Receiver
from dimse.network.invoking import Invoker
from dimse.network.operations import Stopping
from dimse.network.sender import Outgoing
from dimse.network.timers import Progress, ProgressTimer
from dimse.options import AssociationOptions, Strictness
from dimse.uids import name_of
from dimse.upper_layer.deviations import Deviations, invalid, out_of_step
from dimse.upper_layer.machine import Fragment, MachineEvent, Oddity, ProviderAbort
from dimse.upper_layer.negotiation import (
    AcceptedContext,
    acceptance_oddities,
    acceptance_refusal,
    acceptance_violations,
    accepted_contexts,
    maximum_length_to_send,
    no_context,
    operations_window,
    proposes_scp,
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

logger = logging.getLogger("dimse.network")

ABORT_GRACE: Final = 2.0
"""Seconds that a peer has to close the connection after an A-ABORT that someone waits for."""

R = TypeVar("R", bound=Response)


class Provider(Protocol):
    """Answers the peer's requests on an association. Called from the event loop; must not block."""

    def associate(self, request: A_ASSOCIATE_RQ) -> None:
        """The peer asks for an association."""

    def request(self, context: AcceptedContext, command: CommandReceived) -> Receiver:
        """The peer asks for an operation; its data set, if one follows, goes to the receiver given back."""

    def cancel(self, message_id: int) -> bool:
        """The peer cancels an operation. Returns whether it is under way."""

    def release(self) -> None:
        """The peer asks to end the association."""

    def ended(self) -> None:
        """The association has ended."""


class Association:
    """An association with a peer, in either role.

    As a context manager it is released on leaving, or aborted when left by an exception. What it is for is
    in the service classes: `CEchoSCU(association)`, `CStoreSCU(association)`.
    """

    def __init__(self, connection: Connection, options: AssociationOptions, provider: Provider | None = None) -> None:
        self.connection = connection
        self.options = options
        self.deviations = Deviations(connection, strict=options.strictness is Strictness.STRICT)
        """What the peer does against the standard."""
        self.request: A_ASSOCIATE_RQ | None = None
        self.answer: A_ASSOCIATE_AC | None = None
        self.contexts: dict[int, AcceptedContext] = {}
        """The accepted presentation contexts by ID."""
        self.maximum_length_to_send = 0
        """The P-DATA-TF PDU-length that is sent to the peer at most; 0 before there is an association."""
        self.error: Exception | None = None
        """Why the association ended; None while it lives, and after a release."""
        self._provider = provider
        self._established: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when there is an association, or will never be one."""
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the association has ended; `error` then says why."""
        self._released_by_peer = False
        self._releasing = False
        self._reader = MessageReader()
        self._messages_received = 0
        """Commands, and data sets that have come to their end."""
        self._receiver: Receiver | None = None
        self.outgoing = Outgoing(self)
        self.clock = asyncio.get_running_loop().time
        self.invoker = Invoker(self)
        self.stopping = Stopping()
        connection.owner = self

    # What is known about it

    @property
    def called_ae_title(self) -> str:
        """The title that the requestor called."""
        return self.request.called_ae_title if self.request is not None else ""

    @property
    def calling_ae_title(self) -> str:
        """The title of the requestor."""
        return self.request.calling_ae_title if self.request is not None else ""

    @property
    def peer_ae_title(self) -> str:
        """The title of the other side."""
        return self.called_ae_title if self.connection.machine.is_requestor else self.calling_ae_title

    @property
    def own_ae_title(self) -> str:
        """The title of this side."""
        return self.calling_ae_title if self.connection.machine.is_requestor else self.called_ae_title

    @property
    def is_open(self) -> bool:
        """Whether operations can be asked for."""
        return self.answer is not None and not self._ended

    @property
    def _ended(self) -> bool:
        return self.over.done()

    @property
    def in_message(self) -> bool:
        """Whether the peer is in the middle of sending a message."""
        return self._reader.in_message

    @property
    def operations_window(self) -> int:
        """How many operations of the requestor's may be outstanding at once."""
        return self.invoker.window.size

    def context_for(self, abstract_syntax: str, transfer_syntaxes: Iterable[str] | None = None) -> AcceptedContext:
        """The accepted context for a SOP class on which we are SCU: the first of `transfer_syntaxes` that has one.

        Raises `PresentationContextError`, which names what was offered and accepted.
        """
        requestor = self.connection.machine.is_requestor
        usable = [
            context
            for context in self.contexts.values()
            if context.abstract_syntax == abstract_syntax
            and (context.requestor_is_scu if requestor else context.requestor_is_scp)
        ]
        if transfer_syntaxes is None:
            if usable:
                return usable[0]
        else:
            transfer_syntaxes = list(transfer_syntaxes)
            for syntax in transfer_syntaxes:
                for context in usable:
                    if context.transfer_syntax == syntax:
                        return context
        wanted = transfer_syntaxes[0] if transfer_syntaxes else None
        if self.request is None:
            raise PresentationContextError("there is no association")
        is_accepted = any(context.abstract_syntax == abstract_syntax for context in self.contexts.values())
        if not requestor and is_accepted and not proposes_scp(self.request, abstract_syntax):
            raise PresentationContextError(f"the requestor proposed no SCP role for {name_of(abstract_syntax)}")
        raise no_context(abstract_syntax, wanted, self.request, self.contexts.values())

    # Establishing

    async def establish(self, request: A_ASSOCIATE_RQ) -> None:
        """Request the association and wait for the answer (PS3.8 7.1)."""
        self.request = request
        self.connection.machine.associate(request)
        self.connection.machine.transport_connected()
        self.connection.flush()
        await self._answered(self._established, "waiting for the answer to A-ASSOCIATE-RQ")

    def accept(self, request: A_ASSOCIATE_RQ, answer: A_ASSOCIATE_AC) -> None:
        """Accept the peer's request."""
        self._agree(request, answer)
        self.connection.machine.accept(answer)

    def _agree(self, request: A_ASSOCIATE_RQ, answer: A_ASSOCIATE_AC) -> None:
        self.request, self.answer = request, answer
        self.contexts = accepted_contexts(request, answer)
        self.invoker.window.size = operations_window(request, answer)
        peer = answer if self.connection.machine.is_requestor else request
        announced = peer.user_information.maximum_length
        self.maximum_length_to_send = maximum_length_to_send(announced, self.options.maximum_length_to_send)

    def reject(self, answer: A_ASSOCIATE_RJ) -> None:
        """Reject the peer's request."""
        self.connection.machine.reject(answer, asyncio.get_running_loop().time())
        self._end(AssociationRejected(answer.result, answer.source, answer.reason))

    # Ending

    async def release(self) -> None:
        """End the association in order (PS3.8 7.2). Does nothing if it has ended already.

        A peer that ends it in another way then leaves nothing undone. Raises `AssociationTimeout` where it does not.
        """
        if self.invoker.operation is not None and not self._ended:
            await self.invoker.operation.cancel()
        if self._ended:
            await self.closed()
            return
        self._releasing = True
        self.connection.machine.release()
        self.connection.flush()
        try:
            await self._answered(self.over, "waiting for the answer to A-RELEASE-RQ")
        except (AssociationAborted, ConnectionLost) as error:
            self.deviations.harmless(f"in place of an A-RELEASE-RP: {error}")
        await self.closed()

    async def _answered(self, future: asyncio.Future[None], doing: str) -> None:
        """Wait for the peer's answer, `Timeouts.association` in all. Raises why the association ended instead."""
        seconds = self.options.timeouts.association
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(future)
        except TimeoutError:
            self.abort(AssociationTimeout("association", seconds or 0, doing))
        except asyncio.CancelledError:
            self.abort()
            raise
        if self.error is not None:
            raise self.error

    def abort(self, error: Exception | None = None) -> None:
        """End the association at once with an A-ABORT (PS3.8 7.3); `error` is the reason that waiting tasks get."""
        source, reason = (error.source, error.reason) if isinstance(error, RemoteProtocolError) else (0, 0)
        self.connection.machine.abort(asyncio.get_running_loop().time(), source=source, reason=reason)
        self.connection.flush()
        self._end(error or AssociationAborted(0, 0, "the association was aborted by this side"))

    async def closed(self, grace: float | None = ABORT_GRACE) -> None:
        """Wait until the connection is closed too; a peer that does not close it in `grace` seconds is cut off.

        None leaves it to ARTIM (PS3.8 9.1.5), unless the peer does not even read. A peer that let a timer of the
        requestor's run out gets no more time.
        """
        if self.connection.machine.is_requestor and isinstance(self.error, AssociationTimeout):
            grace = 0
        elif self.connection.is_blocked:
            grace = ABORT_GRACE
        try:
            async with asyncio.timeout(grace):
                await self.connection.wait_closed()
        except TimeoutError:
            logger.info("%s: the peer does not close the connection; cut off", self.connection.peer_name)
        finally:
            self.connection.kill()
            await self.stopping.wait()

    def __repr__(self) -> str:
        state = "open" if self.is_open else "ended" if self._ended else "not established"
        return (
            f"<Association {self.calling_ae_title} -> {self.called_ae_title} at {self.connection.peer_name}, {state}>"
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                await self.release()
            finally:
                await self.closed()
        else:
            self.abort()
            await self.closed()

    def _end(self, error: Exception | None) -> None:
        """End the association, once, and give all that wait the reason."""
        if self._ended:
            return
        self.error = error
        self.over.set_result(None)
        if not self._established.done():
            self._established.set_result(None)
        reason = error or AssociationError("the association was released")
        self.invoker.fail(reason)
        self.connection.fail_writing(reason)
        if self._receiver is not None:
            self._receiver.failed(reason)
            self._receiver = None
        if self._provider is not None:
            self._provider.ended()

    # What the connection tells

    def connected(self) -> None:
        """As `ConnectionOwner`: an acceptor waits for A-ASSOCIATE-RQ from now on."""
        if not self.connection.machine.is_requestor:
            self.connection.machine.transport_accepted(asyncio.get_running_loop().time())
            self.connection.flush()

    def handle_event(self, event: MachineEvent) -> None:
        """As `ConnectionOwner`."""
        try:
            self._dispatch(event)
        except RemoteProtocolError as error:
            logger.warning("%s: %s; aborting", self.connection.peer_name, error)
            self.abort(error)

    def buffer_used(self) -> None:
        """As `ConnectionOwner`."""
        if self._receiver is not None:
            self._receiver.buffer_used()

    @property
    def awaits_more(self) -> bool:
        """As `ConnectionOwner`: the rest of a message, or a response, unless a sub-operation is answered first."""
        return self._reader.in_message or self.invoker.awaits_response

    def disconnected(self, error: Exception | None) -> None:
        """As `ConnectionOwner`."""
        self._end(ConnectionLost(f"the connection was lost: {error}" if error else self._closed_by_peer()))

    def _dispatch(self, event: MachineEvent) -> None:
        match event:
            case Fragment():
                if not self._ended:
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
                self._end(self._reason(event))

    def _reason(self, event: MachineEvent) -> Exception | None:
        """Why the association ends with `event`; None for a release."""
        match event:
            case A_RELEASE_RP():
                return None
            case A_ASSOCIATE_RJ():
                return AssociationRejected(event.result, event.source, event.reason)
            case A_ABORT():
                return AssociationAborted(event.source, event.reason)
            case ProviderAbort(error) if error is not None:
                logger.warning("%s: %s; aborted", self.connection.peer_name, error)
                return error
        return ConnectionLost(self._closed_by_peer())

    def _closed_by_peer(self) -> str:
        if self.answer is None and not self.connection.machine.is_requestor:
            return "the connection was closed before there was an association"
        if self.answer is None:
            return "the peer closed the connection without an answer; does a DICOM application entity listen there?"
        return "the peer closed the connection without a release"

    def _accepted(self, answer: A_ASSOCIATE_AC) -> None:
        assert self.request is not None  # noqa: S101 - the machine takes an answer in Sta5 only
        refusal = acceptance_refusal(answer)
        if refusal is not None:
            raise refusal
        for violation in acceptance_violations(answer, self.request):
            self.deviations.malformed(violation)
        for oddity in acceptance_oddities(answer, self.request):
            self.deviations.harmless(f"A-ASSOCIATE-AC: {oddity}")
        self._agree(self.request, answer)
        if not self._established.done():
            self._established.set_result(None)

    def _release_requested(self) -> None:
        """A release in the middle of a message is answered; the half object is dropped, never acknowledged."""
        if self._reader.in_message and self._receiver is not None:
            self._receiver.failed(AssociationError("the peer released the association in the middle of a message"))
            self._receiver = None
        if self.connection.machine.state is State.STA10:
            return  # a collision: the acceptor waits for the answer to its own request first (PS3.8 7.2.2.7)
        if self._provider is not None:
            self._provider.release()
        else:
            self.answer_release()

    def answer_release(self) -> None:
        """Answer the peer's A-RELEASE-RQ."""
        if self._ended:
            return
        self._released_by_peer = True
        self.connection.machine.release_response(asyncio.get_running_loop().time())
        self.connection.flush()
        if self.connection.machine.state is State.STA13:
            self._end(None)

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
        context = self.contexts.get(command.presentation_context_id)
        if context is None:
            raise out_of_step(f"a message on context {command.presentation_context_id}, which was not accepted")
        if self._receiver is not None:
            self._miss_dataset(self._receiver)
        if command.flaw is Flaw.DATA_SET_TYPE and not (self.deviations.is_strict and isinstance(message, Request)):
            self.deviations.malformed(invalid(f"{message.name}: {command.flaw}"))
        if isinstance(message, Response):
            self._receiver = self.invoker.receive(message)
        elif isinstance(message, C_CANCEL_RQ):
            self._receive_cancel(message)
        elif self._provider is not None:
            self._receiver = self._provider.request(context, command)
        elif (operation := self.invoker.operation) is not None and operation.has_suboperations:
            self._receiver = operation.request(context, command)
        else:
            raise out_of_step(f"{message.name} to a requestor that offered no SCP role")

    def _miss_dataset(self, receiver: Receiver) -> None:
        """A command has come in place of a data set that was announced."""
        self.deviations.harmless("a message announces a data set that does not come")
        self._receiver = None
        receiver.failed(AssociationError("the data set that was announced does not come"))

    def _receive_cancel(self, message: C_CANCEL_RQ) -> None:
        if message.dataset_follows:
            self._receiver = Discard()
        if self._provider is None or not self._provider.cancel(message.message_id_being_responded_to):
            self.deviations.harmless("C-CANCEL-RQ for no operation under way; ignored")  # PS3.7 9.3.2.3

    # What others need of it

    def check_open(self) -> None:
        """Raise why no operation is possible, if none is."""
        if self._releasing and not self._ended:
            raise LocalProtocolError("the association is being released")
        if self._ended and self.error is None and self._released_by_peer:
            raise AssociationError("the peer has released the association")
        if self._ended:
            raise self.error or LocalProtocolError("the association has been released")

    def timer(self, name: str, doing: str, measure: Callable[[], Progress | None]) -> ProgressTimer:
        """Ends the association when there is no progress for the seconds that `Timeouts` has under `name`."""
        return ProgressTimer(self._seconds(name), measure, lambda: self.timed_out(name, doing))

    def timed_out(self, name: str, doing: str) -> None:
        """End the association, as the timer `name` has run out."""
        error = AssociationTimeout(name, self._seconds(name) or 0, doing)
        logger.info("%s: %s; aborting", self.connection.peer_name, error)
        self.abort(error)

    def _seconds(self, name: str) -> float | None:
        seconds: float | None = getattr(self.options.timeouts, name)
        return seconds

    def progress(self) -> Progress:
        """How far the peer has come."""
        return Progress(self._messages_received, self.connection.bytes_moved)
