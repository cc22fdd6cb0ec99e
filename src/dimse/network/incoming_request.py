"""A request of the peer, and the responses to it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from dimse.access import ANYONE, Peer
from dimse.errors import LocalProtocolError
from dimse.messages.fragments import Flaw
from dimse.messages.message import C_STORE_RSP, MESSAGES, NormalizedResponse, Request, Response
from dimse.network.association import Association, exchange_of
from dimse.network.incoming_data import IncomingData
from dimse.network.telling import OperationTelling, operation_of
from dimse.status import Status, StatusCategory
from dimse.uids import RELATED
from dimse.upper_layer.negotiation import AcceptedContext

R = TypeVar("R", bound=Response, covariant=True)


class Answer(Generic[R]):
    """A response, and the identifier that goes with it in the transfer syntax of its context."""

    __slots__ = ("identifier", "message")

    def __init__(self, message: R, identifier: bytes | None = None) -> None:
        self.message: Final = message
        self.identifier: Final = identifier


_ABOUT_ATTRIBUTES: Final = (0x0105, 0x0106, 0x0107, 0x0116, 0x0120, 0x0121)
"""Statuses of DIMSE-N whose responses may have an Attribute Identifier List, in place of C's Offending Element."""

_NOT_IN_LO: Final = re.compile(r"[^ -\[\]-~]")


def _error_comment(text: str) -> str:
    """`text` as an LO of the default repertoire (PS3.5 6.2): 64 characters, one line, no backslash."""
    return _NOT_IN_LO.sub("?", " ".join(text.split()))[:64]


def _details(message: Request, kind: type[Response], status: Status) -> dict[str, object]:
    """The fields of a response of this kind that repeat those of its request, and the tags that its status names."""
    # Mandatory with a data set (PS3.7 10.1.1.1.7, 10.1.4.1.8), and harmless without.
    repeated = {name: getattr(message, name) for name in ("event_type_id", "action_type_id") if hasattr(kind, name)}
    names_attributes = issubclass(kind, NormalizedResponse) and status in _ABOUT_ATTRIBUTES
    tags = "attribute_identifier_list" if names_attributes else "offending_element"
    return {**repeated, tags: status.offending or None}


class CancelRequested(Exception):
    """The requestor sent C-CANCEL, or its association has ended."""


class Cancellation:
    """A C-CANCEL of the peer, and where it may interrupt (PS3.7 9.3.2.3).

    A handler need not know of it. A service marks the blocks in which it awaits the handler with `interrupts`; between
    them, as in the middle of a C-STORE, it looks at `requested`.

    A C-CANCEL interrupts by `task.cancel()`, the only way to wake a task that may await anything. Three rules keep that
    apart from a real cancellation of the same task, as by a server that stops:

    1. Only a marked block is cancelled, and only once: no block is entered once it is requested.
    2. Each `cancel()` that we call has one `uncancel()`, however the block is left: with the CancelledError, with
       another exception that the block made of it, or without any, having ignored it.
    3. The block is left with `CancelRequested` only if after that no cancellation is left that the task did not have
       when it entered. Otherwise another caller has cancelled it too, and the CancelledError propagates.
    """

    def __init__(self) -> None:
        self.requested = False
        """Whether the peer has cancelled the operation, or the association has ended."""
        self._interruptible: asyncio.Task[Any] | None = None
        """The task that is in a marked block, as long as it was not interrupted."""

    def request(self) -> None:
        """Interrupt the block that is marked by `interrupts`, if a task is in one."""
        if self.requested:
            return
        self.requested = True
        task, self._interruptible = self._interruptible, None
        if task is not None:
            task.cancel()

    @contextmanager
    def interrupts(self) -> Iterator[None]:
        """Mark a block. It is left with `CancelRequested`, at its present or first await, once it is requested."""
        if self.requested:
            raise CancelRequested
        task = self._interruptible = asyncio.current_task()
        assert task is not None  # noqa: S101 - requests are served by a task
        cancelling = task.cancelling()
        try:
            yield
        except asyncio.CancelledError:
            if self._interruptible is not task and task.uncancel() <= cancelling:
                raise CancelRequested from None
            raise
        except BaseException:
            if self._interruptible is not task:
                task.uncancel()
            raise
        else:
            if self._interruptible is not task:
                task.uncancel()
                raise CancelRequested
        finally:
            self._interruptible = None


class IncomingRequest:
    """An operation that the peer requested."""

    __slots__ = (
        "_told",
        "answered",
        "association",
        "cancellation",
        "context",
        "data",
        "exchange",
        "flaw",
        "message",
        "rule",
    )

    def __init__(
        self,
        association: Association,
        context: AcceptedContext,
        message: Request,
        data: IncomingData | None,
        flaw: Flaw | None = None,
        rule: Peer = ANYONE,
    ) -> None:
        self.association = association
        self.exchange = exchange_of(association)
        """The machinery of the association, for services."""
        self.context = context
        self.message = message
        self.data = data
        self.flaw = flaw
        self.rule = rule
        """What the peer may do."""
        self.cancellation = Cancellation()
        self.answered = False
        """Whether it was one of our sub-operations and its final response was sent."""
        self._told: OperationTelling | None = None

    @property
    def fields(self) -> dict[str, object]:
        """The fields of log records about it, as `extra`."""
        message = self.message
        return self.exchange.telling.fields | {"operation": operation_of(message), "message_id": message.message_id}

    def begin(self) -> None:
        """It is about to be served, in this task."""
        telling = self.exchange.telling
        if telling.is_wanted:
            self._told = telling.operation(self.message, by_peer=True)

    def end(self, response: Response | None, error: BaseException | None = None) -> None:
        """Its final response was sent, or will not be because of `error`. May be called again."""
        told, self._told = self._told, None
        if told is not None:
            told.bytes += 0 if self.data is None else self.data.length
            told.ended(response, error)

    @property
    def sop_class_uid(self) -> str:
        """The SOP class that the request is about, which may be called affected or requested."""
        message: Any = self.message
        try:
            return cast("str", message.affected_sop_class_uid)
        except AttributeError:
            return cast("str", message.requested_sop_class_uid)

    @property
    def sop_instance_uid(self) -> str | None:
        """The SOP instance that the request is about, called affected or requested, if it names one."""
        message = self.message
        uid: str | None = getattr(message, "affected_sop_instance_uid", None)
        return uid or getattr(message, "requested_sop_instance_uid", None)

    @property
    def objection(self) -> tuple[int, str] | None:
        """The status and Error Comment to refuse the request with, before any service sees it, or None."""
        if self.flaw is not None and self.exchange.deviations.is_strict:
            return Status.PROCESSING_FAILURE, self.flaw
        if not self._is_negotiated:
            return Status.SOP_CLASS_NOT_SUPPORTED, "its SOP class is not that of its context"
        return None

    @property
    def _is_negotiated(self) -> bool:
        """Whether the SOP class is its context's, or related to it, or, if lenient, was accepted on any context."""
        if self.sop_class_uid == self.context.abstract_syntax:
            return True
        if self.sop_class_uid in RELATED.get(self.context.abstract_syntax, ()):
            return True
        if self.exchange.deviations.is_strict:
            return False
        return self.exchange.agreement.accepts(self.sop_class_uid)

    def response(
        self, status: int, *, error_comment: str | None = None, identifier: bytes | None = None, **fields: Any
    ) -> Answer[Response]:
        """The response to the request, with the comment of `status`. Raises `ValueError` if `status` is not one."""
        if not isinstance(status, int) or not 0 <= status <= 0xFFFF:
            raise ValueError(f"a status must be an int of 16 bits, not {status!r}")
        status = status if isinstance(status, Status) else Status(status)
        comment = status.comment if error_comment is None else error_comment
        kind = MESSAGES[self.message.command_field | 0x8000]
        if not issubclass(kind, Response):
            raise LocalProtocolError(f"{self.message.name} has no response")
        if issubclass(kind, C_STORE_RSP | NormalizedResponse):
            fields.setdefault("affected_sop_instance_uid", self.sop_instance_uid)
        fields |= _details(self.message, kind, status)
        message = kind(
            message_id_being_responded_to=self.message.message_id,
            status=status,
            affected_sop_class_uid=self.sop_class_uid,
            error_comment=None if comment is None else _error_comment(comment),
            dataset_follows=identifier is not None,
            **fields,
        )
        return Answer(message, identifier)

    async def send(self, answer: Answer[Response]) -> None:
        """Send a response: a Pending one, or the final one."""
        sender = self.exchange.sender
        if answer.identifier is not None:
            self._note_identifier(answer)
        if not sender.send_now(self.context, answer.message, answer.identifier):
            await sender.send(self.context, answer.message, answer.identifier)

    def _note_identifier(self, answer: Answer[Response]) -> None:
        identifier = answer.identifier or b""
        if self._told is not None:
            self._told.identifier(identifier, is_match=answer.message.status.category is StatusCategory.PENDING)
        if self.exchange.telling.wants_commands:
            self.exchange.telling.identifier(identifier, self.context.transfer_syntax, is_sent=True)


class Service(Protocol):
    """Answers one kind of request."""

    def supports(self, abstract_syntax: str) -> bool:
        """Whether presentation contexts for this SOP class are accepted."""

    def sends(self, abstract_syntax: str) -> bool:
        """Whether it sends this SOP class to the requestor, on the same association (C-GET)."""

    async def serve(self, request: IncomingRequest) -> Answer[Response]:
        """Perform the request and return the final response. The service sends Pending responses itself.

        Data that are not read are drained afterwards; an exception becomes Processing Failure.
        """
