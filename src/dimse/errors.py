"""What can go wrong, as one tree.

    DimseError
    ├── ProtocolError
    │   ├── LocalProtocolError          you called something the protocol does not allow in this state
    │   └── RemoteProtocolError         the peer broke the protocol; carries the A-ABORT reason to send
    ├── AssociationError
    │   ├── AssociationRejected         A-ASSOCIATE-RJ, with result, source and reason
    │   ├── AssociationAborted          A-ABORT, with source and reason
    │   ├── ConnectionLost              no connection, or it closed without A-RELEASE or A-ABORT
    │   └── AssociationTimeout          also a TimeoutError: says which timer and how long
    ├── PresentationContextError        no accepted context for this SOP class, syntax and role
    ├── StatusError                     the peer answered with a failure status
    ├── IncompleteAnswer                an archive cut its answer to a query: matches are missing
    ├── SubOperationFailed              one instance of a C-GET or C-MOVE did not arrive; says which
    ├── NotCommitted                    a peer is not committed to store an instance; says which, and why
    ├── RejectAssociation               raised by a handler of associations, to reject one
    ├── NothingRetrieved                a C-GET or C-MOVE ended with Success and delivered nothing
    ├── StepLeftOpen                    a procedure step whose end the peer did not confirm
    ├── OperationTimeout                also a TimeoutError: an operation exceeded its time limit and was cancelled
    ├── OperationCancelled              another task cancelled an operation: responses are missing
    ├── DatasetError                    cannot be read, encoded or re-encoded in the accepted transfer syntax
    └── JournalError                    the journal of another job, or one that cannot be used

The failures of one operation are raised at its end as an `ExceptionGroup` of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final, Self, overload

from dimse.status import Status

_THE_PEER: Final = "the peer"


def escaped(text: str) -> str:
    """Text of a peer for a message: characters outside printable ASCII could forge lines of a log, or steer a terminal.

    >>> print(escaped("no space\\nroot: all is well"))
    no space\\nroot: all is well
    """
    return text if text.isascii() and text.isprintable() else text.encode("unicode_escape").decode("ascii")


class DimseError(Exception):
    """Base class of the library's errors.

    If the text speaks of "the peer", or names no peer, `str` puts `address` in its place.
    """

    address: str | None = None
    """The peer: `TITLE@host:port`, or only host and port if it requested the association. None if there is no peer."""
    doing: str | None = None
    """What was under way with the peer, such as `C-FIND`; None between two operations."""

    @property
    def text(self) -> str:
        """The message without the address, for a place that names the peer itself."""
        return super().__str__()

    def __str__(self) -> str:
        text = self.text
        if self.address is None or self.address in text:
            return text
        if text.startswith(_THE_PEER):
            return self.address + text.removeprefix(_THE_PEER)
        return f"{self.address}: {text}"

    def at(self, address: str | None, doing: str | None = None) -> Self:
        """Name the peer and what was under way, unless that was done before. Returns the error."""
        if self.address is None:
            self.address, self.doing = address, self.doing or doing
        return self


class ProtocolError(DimseError):
    """Either side violated the protocol."""


class LocalProtocolError(ProtocolError):
    """You called something the protocol does not allow in this state."""


class RemoteProtocolError(ProtocolError):
    """The peer violated the protocol.

    `source` and `reason` are those of the A-ABORT that answers it (PS3.8 9.3.8).
    """

    def __init__(self, message: str, *, source: int = 2, reason: int = 0) -> None:
        super().__init__(message)
        self.source = source
        self.reason = reason


class AssociationError(DimseError):
    """The association could not be established, or has ended."""


_REJECT_RESULTS = {1: "permanently", 2: "transiently"}
_REJECT_REASONS = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}


def rejection_in_words(result: int, source: int, reason: int) -> str:
    """The numbers of an A-ASSOCIATE-RJ in words (PS3.8 Table 9-21)."""
    how = _REJECT_RESULTS.get(result, f"with result {result}")
    return f"{how}: {_REJECT_REASONS.get((source, reason), f'source {source}, reason {reason}')}"


_REJECTED = {
    (1, 1): "it gives no reason",
    (1, 2): "it does not know the application context of DICOM",
    (1, 3): "it does not know the calling AE title{calling}; register it there, or use another calling AE title",
    (1, 7): "it does not know the called AE title{called}; check the title",
    (2, 1): "it gives no reason; it may want another user identity",
    (2, 2): "it does not support the protocol version",
    (3, 1): "temporary congestion; try again later",
    (3, 2): "local limit exceeded; try again later",
}
_ABORT_REASONS = {
    0: "reason not specified",
    1: "unrecognized PDU",
    2: "unexpected PDU",
    4: "unrecognized PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter value",
}


def during(doing: str | None) -> str:
    """What was under way when an association ended, for its message."""
    return f" during {doing}" if doing else ""


class AssociationRejected(AssociationError):
    """The peer answered with A-ASSOCIATE-RJ (PS3.8 9.3.4).

    `result` is 1 (permanent) or 2 (transient); `source` and `reason` are the standard's numbers.
    """

    def __init__(
        self, result: int, source: int, reason: int, *, called_ae_title: str = "", calling_ae_title: str = ""
    ) -> None:
        titles = {"called": called_ae_title, "calling": calling_ae_title}
        words = _REJECTED.get((source, reason), f"result {result}, source {source}, reason {reason}")
        words = words.format(**{side: f" {title!r}" if title else "" for side, title in titles.items()})
        super().__init__(f"the peer rejected the association: {words}")
        self.result = result
        self.source = source
        self.reason = reason

    @property
    def transient(self) -> bool:
        """Whether the same request may be accepted later."""
        return self.result == 2


class Rejection(Enum):
    """How to reject an association: result, source and reason of the A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""

    NOT_AUTHENTICATED = (1, 2, 1)
    """The user is not who it says, or may not associate (PS3.7 D.3.3.7): permanent, no reason given."""
    NO_REASON_GIVEN = (1, 1, 1)
    """Permanent."""
    CALLING_AE_TITLE_NOT_RECOGNIZED = (1, 1, 3)
    """Permanent; also the answer to a peer that no rule of `Access` fits."""
    CALLED_AE_TITLE_NOT_RECOGNIZED = (1, 1, 7)
    """Permanent."""
    TEMPORARY_CONGESTION = (2, 3, 1)
    """Transient: the peer may try again."""
    LOCAL_LIMIT_EXCEEDED = (2, 3, 2)
    """Transient: the peer may try again."""


class RejectAssociation(DimseError):
    """A handler of associations raises it to reject one (see `Server.on_association`).

    `why` is for the log. The peer gets `rejection` alone, for no field of an A-ASSOCIATE-RJ has a text.
    """

    def __init__(self, why: str, rejection: Rejection = Rejection.NOT_AUTHENTICATED) -> None:
        if not isinstance(rejection, Rejection):
            raise TypeError(f"rejection must be a Rejection, not {type(rejection).__name__}")
        super().__init__(why)
        self.why = why
        self.rejection = rejection


class AssociationAborted(AssociationError):
    """The association ended with an A-ABORT (PS3.8 9.3.8).

    `source` is 0 for the service user and 2 for the service provider.
    """

    def __init__(self, source: int, reason: int, message: str = "", *, doing: str | None = None) -> None:
        if not message:
            why = f": {_ABORT_REASONS.get(reason, f'reason {reason}')}" if source == 2 else ""
            message = f"the peer aborted the association{during(doing)}{why}"
        super().__init__(message)
        self.doing = doing
        self.source = source
        self.reason = reason


class ConnectionLost(AssociationError):
    """The connection to the peer was refused, reset, or closed without a release."""


class AssociationTimeout(AssociationError, TimeoutError):
    """A timer expired. `timer` is its name in `Timeouts`, `seconds` its value."""

    def __init__(self, timer: str, seconds: float, doing: str, message: str = "{doing}: no progress") -> None:
        super().__init__(f"{message.format(doing=doing)} for {seconds:g} s (Timeouts.{timer})")
        self.timer = timer
        self.seconds = seconds
        self.doing = doing


class PresentationContextError(DimseError):
    """No accepted presentation context fits; the message names what was proposed and accepted."""


_NOT_GIVEN: Final[str] = "\0"


class StatusError(DimseError):
    """The peer answered an operation with a failure status (PS3.7 Annex C).

    A handler raises `StatusError(status, comment)` to answer with that status and Error Comment. If it comes from a
    peer's response, `doing` names the operation. `comment` is as it was received; the message has it in printable
    ASCII, with other characters escaped. `offending` has the tags of the Offending Element (0000,0901), or of the
    Attribute Identifier List (0000,1005) of a DIMSE-N operation. `error_id` is the Error ID (0000,0903), and `dataset`
    the `Dataset` of the response, if it has one.
    """

    error_id: int | None = None
    dataset: Any = None

    @overload
    def __init__(self, status: int, comment: str | None, /) -> None: ...

    @overload
    def __init__(self, status: int, *, comment: str | None = None) -> None: ...

    @overload
    def __init__(self, status: int, doing: str, comment: str | None, offending: Sequence[int] = ()) -> None: ...

    def __init__(
        self,
        status: int,
        doing: str | None = "",
        comment: str | None = _NOT_GIVEN,
        offending: Sequence[int] = (),
    ) -> None:
        if comment is _NOT_GIVEN:
            doing, comment = "", doing or None
        if not isinstance(status, int) or isinstance(status, bool):
            raise TypeError(f"status must be a Status or an int, not {type(status).__name__}")
        self.status = status if isinstance(status, Status) else Status(status)
        self.comment = comment
        self.offending = tuple(offending) or self.status.offending
        tags = " ".join(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in self.offending)
        text = escaped("; ".join(filter(None, [comment, f"offending element {tags}" if tags else None])))
        super().__init__((f"{doing}: " if doing else "") + str(self.status) + (f" ({text})" if text else ""))
        if doing:
            self.doing = doing


class IncompleteAnswer(DimseError):
    """An archive cut its answer to a query after `count` matches, as it limits their number: matches are missing.

    `status` is that of its final response; None if the archive ended with Success, and the query in parts found more.
    `parts` is the number of parts of the query that were cut and could not be divided, if it was asked in parts.
    """

    def __init__(
        self, count: int, status: Status | None = None, comment: str | None = None, *, parts: int | None = None
    ) -> None:
        why = "" if status is None else f": {status}" + (f" ({escaped(comment)})" if comment else "")
        matches = "1 match" if count == 1 else f"{count} matches"
        if parts is None:
            text = f"the archive cut its answer after {matches}"
        else:
            text = (
                f"{matches}, but not all: the archive cut {parts} of its answers, and no key divides the query further"
            )
        super().__init__(text + why)
        self.count = count
        self.status = status
        self.comment = comment
        self.parts = parts


class SubOperationFailed(DimseError):
    """One instance of a C-GET or C-MOVE did not arrive (PS3.4 C.4.2.3.2, C.4.3.3.2).

    `sop_instance_uid` is None if the peer counted a failure without naming the instance.
    """

    def __init__(self, sop_instance_uid: str | None, why: str) -> None:
        super().__init__(sop_instance_uid, why)

    @property
    def text(self) -> str:
        """The message: there may be hundreds of thousands of these, and few are shown."""
        return f"{escaped(self.sop_instance_uid or 'an instance')}: {self.args[1]}"

    @property
    def sop_instance_uid(self) -> str | None:
        """The instance, as the peer names it."""
        uid: str | None = self.args[0]
        return uid


class NotCommitted(DimseError):
    """A peer is not committed to store an instance (PS3.4 J.3.3): it says so, or did not say that it is.

    `reason` is its Failure Reason (PS3.3 C.14.1.1); None if the report has none, or there is no report.
    """

    def __init__(self, sop_instance_uid: str, why: str, reason: int | None = None) -> None:
        super().__init__(sop_instance_uid, why, reason)

    @property
    def text(self) -> str:
        """The message: there may be hundreds of thousands of these, and few are shown."""
        return f"{escaped(self.sop_instance_uid)}: {self.args[1]}"

    @property
    def sop_instance_uid(self) -> str:
        """The instance."""
        uid: str = self.args[0]
        return uid

    @property
    def reason(self) -> int | None:
        """The Failure Reason."""
        reason: int | None = self.args[2]
        return reason


class NothingRetrieved(DimseError):
    """A C-GET or C-MOVE ended with Success and delivered nothing, most often because nothing matches."""


class PrintFailed(DimseError):
    """A film was not printed: its print job failed, or was not done in time, or the printer gave it too few places."""


class StepLeftOpen(DimseError):
    """A peer did not confirm the end of a procedure step, which may be IN PROGRESS there for ever.

    `sop_instance_uid` names the step, and `status` is the final state that was to be reported. The cause says why.
    """

    def __init__(self, sop_instance_uid: str, status: str, why: str) -> None:
        super().__init__(f"procedure step {sop_instance_uid} may be left open: {status} was not confirmed: {why}")
        self.sop_instance_uid = sop_instance_uid
        self.status = status


class OperationTimeout(DimseError, TimeoutError):
    """An operation exceeded its time limit and was cancelled. Its association is still usable."""

    def __init__(self, doing: str, seconds: float) -> None:
        super().__init__(f"{doing}: not finished after {seconds:g} s; it was cancelled")
        self.doing = doing
        self.seconds = seconds


class OperationCancelled(DimseError):
    """Another task cancelled the operation before its end: responses are missing.

    Its association is still usable.
    """

    def __init__(self, doing: str) -> None:
        super().__init__(f"{doing}: cancelled before its end; responses are missing")
        self.doing = doing


class DatasetError(DimseError):
    """A data set cannot be read, encoded, decoded or re-encoded in the accepted transfer syntax."""


def without_frames(error: Exception) -> Exception:
    """Drop the tracebacks of `error` and its causes, so that keeping it does not keep whole objects alive."""
    link: BaseException | None = error
    seen: set[int] = set()  # an error may be among its own causes
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error


class JournalError(DimseError):
    """A journal that cannot be used: it is that of another job, or no journal, or another process uses it."""
