"""What one association tells: events for the callbacks of its options, and lines for the log.

Both are made at the same places, so that the log of `dimse -v` and the events of a program say the same. Without a
callback and below the level INFO, an operation costs one look at `is_wanted`, and a PDU one at `Machine.on_pdu`. The
levels of the loggers count when the association begins.

The context (`contextvars`) in which `on_event` is called is that of the operation: for one that this side requests a
copy of the context of the task that requests it, for one that the peer requests the context in which the handler runs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextvars import Context
from datetime import UTC, datetime
from itertools import count, islice
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from dimse.callbacks import Callback
from dimse.errors import AssociationAborted, AssociationRejected, ConnectionLost, DatasetError, DimseError, escaped
from dimse.messages.message import Message, Request, Response
from dimse.messages.suboperations import SubOperations
from dimse.network.connection import Connection
from dimse.options import AssociationOptions
from dimse.uids import name_of
from dimse.upper_layer.agreement import Agreement
from dimse.upper_layer.items import ContextResult
from dimse.upper_layer.pdu import A_ASSOCIATE_RJ

if TYPE_CHECKING:
    from dimse.access import VerifiedUser
    from dimse.events import (
        AssociationEvent,
        AssociationInfo,
        NegotiatedContext,
        OperationBegan,
        OperationEnded,
        PDUTransferred,
    )

logger = logging.getLogger("dimse.network")
_pdu_logger = logging.getLogger("dimse.upper_layer")
_LOGGER_OF: Final = {
    "C-STORE": logging.getLogger("dimse.storage"),
    "C-FIND": logging.getLogger("dimse.query_retrieve"),
    "C-GET": logging.getLogger("dimse.query_retrieve"),
    "C-MOVE": logging.getLogger("dimse.query_retrieve"),
}

_NAMES_IN_LINE: Final = 6
"""SOP classes that a line of the log names; DEBUG has a line for each."""

_MAXIMUM_IDENTIFIER: Final = 64 * 1024
"""Bytes of an identifier whose tags are logged: it must be decoded for that."""

_REASONS: Final[dict[int, str]] = {
    ContextResult.USER_REJECTION: "rejected by the user",
    ContextResult.NO_REASON: "no reason given",
    ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED: "abstract syntax not supported",
    ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED: "transfer syntaxes not supported",
}

_numbers = count(1)


class Telling:
    """What one association tells. `fields` go into each of its log records, as `extra`."""

    def __init__(self, connection: Connection, options: AssociationOptions) -> None:
        self.fields: dict[str, object] = {"association": next(_numbers)}
        self.is_wanted: Final = options.on_event is not None or any(
            each.isEnabledFor(logging.INFO) for each in (logger, *_LOGGER_OF.values())
        )
        """Whether any operation is to be told of."""
        self.wants_commands: Final = logger.isEnabledFor(logging.DEBUG)
        """Whether messages are to be told of."""
        self._connection: Final = connection
        self._on_event: Final = Callback("on_event", options.on_event, logger, stops=True)
        self._on_pdu: Final[Callback[PDUTransferred]] = Callback("on_pdu", options.on_pdu, logger, stops=True)
        self._titles: tuple[str, str] | None = None
        """The calling and the called AE title, when they are known."""
        self._info: AssociationInfo | None = None
        self._began = monotonic()
        """When the connection was requested or opened, and later when the association was established."""
        self.requested = self.served = 0
        """The operations so far that this side requested, and that the peer requested."""
        if options.on_pdu is not None or _pdu_logger.isEnabledFor(logging.DEBUG):
            connection.machine.on_pdu = self._pdu

    @property
    def _is_requestor(self) -> bool:
        return self._connection.machine.is_requestor

    @property
    def name(self) -> str:
        """The peer for a line of the log: its AE title, if it is known, and its address."""
        peer = str(self.fields.get("peer", ""))
        return peer if self._titles is None else f"{escaped(self._titles[self._is_requestor])}@{peer}"

    def _association(self) -> AssociationInfo:
        if self._info is None:
            from dimse.events import AssociationInfo

            calling, called = self._titles or ("", "")
            number, peer = self.fields["association"], self.fields.get("peer", "")
            assert isinstance(number, int)  # noqa: S101 - as `__init__` has set it
            self._info = AssociationInfo(
                id=number,
                peer=str(peer),
                calling_ae_title=calling,
                called_ae_title=called,
                is_requestor=self._is_requestor,
            )
        return self._info

    def log(self, to: logging.Logger, level: int, text: str, *arguments: object, **fields: object) -> None:
        """Log a line that begins with the peer, with the fields of the association and these."""
        to.log(level, f"%s: {text}", self.name, *arguments, extra={**self.fields, **fields}, stacklevel=2)

    def emit(self, event: AssociationEvent) -> None:
        """Call the callback."""
        self._on_event(event)

    # The association

    def connected(self, peer: str) -> None:
        """The host and port of the peer are known."""
        self.fields["peer"] = peer
        self._info = None

    def called(self, calling: str, called: str) -> None:
        """The AE titles are known."""
        self._titles, self._info = (calling, called), None
        self.fields |= {"calling_ae_title": escaped(calling), "called_ae_title": escaped(called)}

    def opened(self, agreement: Agreement, user: VerifiedUser | None, rule: str = "") -> None:
        """The association is established; `rule` is the rule that admitted the peer."""
        now = monotonic()
        seconds, self._began = now - self._began, now
        information = (agreement.acceptance if self._is_requestor else agreement.request).user_information
        implementation = information.implementation_version_name or information.implementation_class_uid or ""
        if self._on_event.is_wanted:
            from dimse.events import AssociationOpened

            self.emit(
                AssociationOpened(
                    association=self._association(),
                    time=datetime.now(UTC),
                    seconds=seconds,
                    contexts=tuple(_negotiated(agreement)),
                    operations_window=agreement.operations_window,
                    maximum_length=agreement.maximum_length_to_send,
                    implementation=implementation,
                    tls=self._tls,
                    user=None if user is None else user.name,
                )
            )
        if logger.isEnabledFor(logging.INFO):
            self._log_opened(agreement, seconds, escaped(implementation), user, rule)

    @property
    def _tls(self) -> str | None:
        return None if self._connection.tls is None else " ".join(self._connection.tls)

    def _log_opened(
        self, agreement: Agreement, seconds: float, implementation: str, user: VerifiedUser | None, rule: str
    ) -> None:
        parts = [
            f"association {'accepted by' if self._is_requestor else 'from'}"
            f" {escaped(agreement.peer_ae_title)!r}{'' if self._is_requestor else ' accepted'}"
            + ("" if user is None else f" for user {user.name!a}"),
            f"{len(agreement.contexts)} of {len(agreement.request.presentation_contexts)} contexts",
            *([f"rule {rule}"] if rule else ()),
            f"operations window {agreement.operations_window}",
            f"PDUs of at most {agreement.maximum_length_to_send} bytes",
            *([f"implementation {implementation}"] if implementation else ()),
            *([self._tls] if self._tls else ()),
        ]
        text = ", ".join(parts)
        fields = {"event": "association-opened", "seconds": round(seconds, 6), "implementation": implementation}
        self.log(logger, logging.INFO, "%s", text, **fields)
        contexts = list(_negotiated(agreement))
        lines = map(_context_in_words, contexts) if self.wants_commands else _contexts_in_words(contexts)
        for line in lines:
            self.log(logger, logging.INFO, "  %s", line)

    def failed(self, error: Exception, rejection: A_ASSOCIATE_RJ | None = None, why: str = "") -> None:
        """The association was not established: by an error or, for an acceptor, by its own rejection.

        Connections that end without a request, such as health checks, are no associations.
        """
        reason = why or _text(error)
        rejected = rejection or (error if isinstance(error, AssociationRejected) else None)
        if self._titles is None:
            if isinstance(error, ConnectionLost | AssociationAborted):
                self.log(logger, logging.INFO, "%s", reason)
            return
        seconds = monotonic() - self._began
        if self._on_event.is_wanted:
            from dimse.events import AssociationFailed

            self.emit(
                AssociationFailed(
                    association=self._association(),
                    time=datetime.now(UTC),
                    seconds=seconds,
                    rejection=None if rejected is None else (rejected.result, rejected.source, rejected.reason),
                    reason=reason,
                )
            )
        fields = {"event": "association-failed", "seconds": round(seconds, 6)}
        if rejection is not None:
            calling, called = self._titles
            text = "association from %a to %a rejected: %s"
            self.log(logger, logging.INFO, text, calling, called, reason, **fields)
        else:
            self.log(logger, logging.INFO, "no association after %s: %s", in_seconds(seconds), reason, **fields)

    def ended(self, error: Exception | None, *, by_peer: bool) -> None:
        """The association has ended; without an error, it was released. `by_peer` says by whom, or who aborted it."""
        if not self.is_wanted:
            return
        from dimse.events import AssociationEnd, AssociationEnded

        if error is None:
            end = AssociationEnd.RELEASED_BY_PEER if by_peer else AssociationEnd.RELEASED
        elif isinstance(error, ConnectionLost):
            end = AssociationEnd.LOST
        else:
            end = AssociationEnd.ABORTED_BY_PEER if by_peer else AssociationEnd.ABORTED
        event = AssociationEnded(
            association=self._association(),
            time=datetime.now(UTC),
            seconds=monotonic() - self._began,
            end=end,
            error=error,
            requested=self.requested,
            served=self.served,
            bytes_received=self._connection.bytes_received,
            bytes_sent=self._connection.bytes_sent,
        )
        self.emit(event)
        self.log(
            logger,
            logging.INFO,
            "association %s after %s, %s, %d bytes sent, %d received%s",
            event.end.value,
            in_seconds(event.seconds),
            _counted(event.requested + event.served, "operation", "operations"),
            event.bytes_sent,
            event.bytes_received,
            "" if error is None else f": {_text(error)}",
            event="association-ended",
            end=event.end.value,
            seconds=round(event.seconds, 6),
            bytes_sent=event.bytes_sent,
            bytes_received=event.bytes_received,
        )

    # Messages and PDUs

    def operation(self, request: Request, *, by_peer: bool, context: Context | None = None) -> OperationTelling:
        """An operation begins. Call it only if `is_wanted`."""
        if by_peer:
            self.served += 1
        else:
            self.requested += 1
        return OperationTelling(self, self._association(), request, by_peer=by_peer, context=context)

    def command(self, message: Message, *, is_sent: bool) -> None:
        """A message is sent or received. Call it only if `wants_commands`."""
        number = getattr(message, "message_id", getattr(message, "message_id_being_responded_to", None))
        text = f"{'>' if is_sent else '<'} {message.name}  {_command_in_words(message)}"
        self.log(logger, logging.DEBUG, "%s", text, operation=operation_of(message), message_id=number)

    def identifier(self, data: bytes, transfer_syntax_uid: str, *, is_sent: bool) -> None:
        """An identifier is sent or received. Call it only if `wants_commands`. Its values are not logged."""
        arrow = ">" if is_sent else "<"
        self.log(logger, logging.DEBUG, "%s identifier  %s", arrow, _tags(data, transfer_syntax_uid))

    def _pdu(self, is_sent: bool, name: str, length: int, context_id: int | None) -> None:
        if self._on_pdu.is_wanted:
            from dimse.events import PDUTransferred

            self._on_pdu(
                PDUTransferred(
                    association=self._association(),
                    is_sent=is_sent,
                    name=name,
                    length=length,
                    presentation_context_id=context_id,
                )
            )
        if _pdu_logger.isEnabledFor(logging.DEBUG):
            context = "" if context_id is None else f", context {context_id}"
            arrow = ">" if is_sent else "<"
            self.log(_pdu_logger, logging.DEBUG, "%s %s %d bytes%s", arrow, name, length, context)


class OperationTelling:
    """What one operation tells, from its request to its final response."""

    __slots__ = ("_began", "_context", "_event", "_telling", "bytes", "matches")

    def __init__(
        self,
        telling: Telling,
        association: AssociationInfo,
        request: Request,
        *,
        by_peer: bool,
        context: Context | None,
    ) -> None:
        from dimse.events import OperationBegan

        self.bytes = 0
        """Bytes of data sets and identifiers."""
        self.matches = 0
        """The matches of a C-FIND."""
        self._telling = telling
        self._context = context
        message: Any = request
        title = getattr(message, "move_originator_application_entity_title", None)
        self._event = OperationBegan(
            association=association,
            time=datetime.now(UTC),
            name=operation_of(request),
            is_requested_by_peer=by_peer,
            message_id=request.message_id,
            sop_class_uid=getattr(message, "affected_sop_class_uid", None) or message.requested_sop_class_uid,
            sop_instance_uid=getattr(message, "affected_sop_instance_uid", None) or None,
            move_destination=getattr(message, "move_destination", None),
            move_originator=None if title is None else (title.strip(), message.move_originator_message_id or 0),
        )
        self._began = monotonic()
        self._emit(self._event)

    def _emit(self, event: OperationBegan | OperationEnded) -> None:
        if self._context is None:
            self._telling.emit(event)
        else:
            self._context.run(self._telling.emit, event)

    def identifier(self, identifier: bytes, *, is_match: bool) -> None:
        """A response with an identifier was sent or received."""
        self.matches += is_match
        self.bytes += len(identifier)

    def ended(self, response: Response | None, error: BaseException | None = None) -> None:
        """The final response was sent or received, or there will be none because of `error`."""
        from dimse.events import OperationEnded

        has_counters = response is not None and hasattr(response, "number_of_completed_suboperations")
        message: Any = response
        event = OperationEnded(
            association=self._event.association,
            time=datetime.now(UTC),
            seconds=monotonic() - self._began,
            request=self._event,
            status=None if response is None else response.status,
            error=error if response is None else None,
            dataset_bytes=self.bytes,
            matches=self.matches,
            suboperations=SubOperations.of(message) if has_counters else None,
        )
        self._emit(event)
        self._log(event, None if response is None else response.error_comment)

    def _log(self, event: OperationEnded, comment: str | None) -> None:
        request, status = event.request, event.status
        to = _LOGGER_OF.get(request.name, logger)
        if not to.isEnabledFor(logging.INFO):
            return
        number = None if status is None else f"0x{int(status):04X}"
        self._telling.log(
            to,
            logging.INFO,
            "%s %s",
            "<" if request.is_requested_by_peer else ">",
            _operation_in_words(event, comment),
            event="operation-ended",
            operation=request.name,
            requested_by_peer=request.is_requested_by_peer,
            message_id=request.message_id,
            sop_class_uid=escaped(request.sop_class_uid),
            sop_instance_uid=None if request.sop_instance_uid is None else escaped(request.sop_instance_uid),
            status=number,
            seconds=round(event.seconds, 6),
            bytes=event.dataset_bytes,
            matches=event.matches,
        )


def operation_of(message: Message) -> str:
    """The operation that a message belongs to, such as C-STORE."""
    return message.name.removesuffix("-RQ").removesuffix("-RSP")


def _counted(number: int, noun: str, plural: str) -> str:
    return f"{number} {noun if number == 1 else plural}"


def _text(error: BaseException | None) -> str:
    """The text of an error, without the peer, which each line names."""
    return error.text if isinstance(error, DimseError) else str(error) or type(error).__name__


def in_seconds(seconds: float) -> str:
    """A time in words.

    >>> in_seconds(0.0123), in_seconds(83.21)
    ('12.3 ms', '83.2 s')
    """
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _operation_in_words(event: OperationEnded, comment: str | None) -> str:
    request, parts = event.request, list[str]()
    about = [request.name, escaped(name_of(request.sop_class_uid)) if request.name != "C-ECHO" else None]
    about += [request.sop_instance_uid and escaped(request.sop_instance_uid)]
    about += [request.move_destination and f"to {escaped(request.move_destination)}"]
    if event.status is None:
        parts.append(f"no response: {_text(event.error)}")
    else:
        parts.append(str(event.status) + (f" ({escaped(comment)})" if comment else ""))
    if request.name == "C-FIND":
        parts.append(_counted(event.matches, "match", "matches"))
    elif event.suboperations is not None:
        parts.append(str(event.suboperations))
    elif event.dataset_bytes:
        parts.append(f"{event.dataset_bytes} bytes")
    return f"{' '.join(filter(None, about))}: {', '.join(parts)} in {in_seconds(event.seconds)}"


def _negotiated(agreement: Agreement) -> Iterator[NegotiatedContext]:
    """Each proposed context with its result. A result that is missing is a rejection (see `accepted_contexts`)."""
    from dimse.events import NegotiatedContext

    results = {each.presentation_context_id: each.result for each in agreement.acceptance.presentation_contexts}
    for proposed in agreement.request.presentation_contexts:
        number = proposed.presentation_context_id
        accepted, result = agreement.contexts.get(number), results.get(number)
        reason = "no answer" if result is None else _REASONS.get(result, f"result {result}")
        yield NegotiatedContext(
            presentation_context_id=number,
            abstract_syntax=proposed.abstract_syntax,
            proposed=tuple(proposed.transfer_syntaxes),
            accepted=None if accepted is None else accepted.transfer_syntax,
            reason="" if accepted is not None else reason,
        )


def _contexts_in_words(contexts: Iterable[NegotiatedContext]) -> Iterator[str]:
    """Lines of contexts that have the same result."""
    groups: dict[str, list[str]] = {}
    for each in contexts:
        if each.accepted is not None:
            result = f"accepted in {escaped(name_of(each.accepted))}"
        else:
            result = f"rejected, {each.reason}"
            if each.reason == _REASONS[ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED]:
                result += f" ({', '.join(escaped(name_of(uid)) for uid in each.proposed)})"
        groups.setdefault(result, []).append(escaped(name_of(each.abstract_syntax)))
    for result, names in groups.items():
        more = f" and {len(names) - _NAMES_IN_LINE} more" if len(names) > _NAMES_IN_LINE else ""
        yield f"{result}: {', '.join(islice(names, _NAMES_IN_LINE))}{more}"


def _context_in_words(context: NegotiatedContext) -> str:
    proposed = ", ".join(escaped(name_of(uid)) for uid in context.proposed)
    result = f"accepted: {escaped(name_of(context.accepted))}" if context.accepted else f"rejected: {context.reason}"
    name = escaped(name_of(context.abstract_syntax))
    return f"context {context.presentation_context_id} {name}; proposed: {proposed}; {result}"


_WORDS: Final = {"id": "ID", "uid": "UID", "sop": "SOP", "of": "of", "to": "to", "suboperations": "Sub-operations"}


def _command_in_words(message: Message) -> str:
    """The elements of a command by name. None of them has patient data, but for what a peer writes as a comment."""
    parts = []
    for name, _ in message.layout:
        value = getattr(message, name)
        if value is None or value == "":
            continue
        words = " ".join(_WORDS.get(word, word.capitalize()) for word in name.split("_"))
        if isinstance(value, tuple):
            value = " ".join(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in value)
        elif name.endswith("class_uid"):
            value = name_of(value)
        parts.append(f"{words} {escaped(str(value))}")
    return ", ".join(parts)


def _tags(data: bytes, transfer_syntax_uid: str) -> str:
    size = f"{len(data)} bytes"
    if len(data) > _MAXIMUM_IDENTIFIER:
        return size
    from dimse.dataset.codec import decode

    try:
        dataset = decode(data, transfer_syntax_uid)
    except DatasetError:
        return f"{size}, which cannot be read"
    return f"{size}: {' '.join(f'({tag >> 16:04X},{tag & 0xFFFF:04X})' for tag in sorted(map(int, dataset.keys())))}"
