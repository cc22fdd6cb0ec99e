"""What can go wrong, as one tree.

    DimseError
    ├── ProtocolError
    │   ├── LocalProtocolError          you asked for what the protocol does not allow now
    │   └── RemoteProtocolError         the peer broke the protocol; carries the A-ABORT reason to send
    ├── AssociationError
    │   ├── AssociationRejected         A-ASSOCIATE-RJ, with result, source and reason
    │   ├── AssociationAborted          A-ABORT, with source and reason
    │   ├── ConnectionLost              no connection, or it ended without a word
    │   └── AssociationTimeout          also a TimeoutError: says which timer and how long
    ├── PresentationContextError        no accepted context for this SOP class, syntax and role
    ├── StatusError                     the peer answered with a failure status
    ├── SubOperationFailed              one instance of a C-GET or C-MOVE did not arrive; says which
    ├── NothingRetrieved                a C-GET or C-MOVE ended with Success and brought nothing
    ├── OperationTimeout                also a TimeoutError: an operation took too long and was cancelled
    ├── OperationCancelled              another task cancelled an operation: answers are missing
    └── DatasetError                    cannot be read, encoded or put into the accepted transfer syntax

Many failures at the end of one operation are an `ExceptionGroup` of these.
"""

from __future__ import annotations

from typing import Final, overload

from dimse.status import Status


class DimseError(Exception):
    """Everything that this library raises by itself."""


class ProtocolError(DimseError):
    """The protocol was broken, by either side."""


class LocalProtocolError(ProtocolError):
    """You asked for something that the protocol does not allow in the present state."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol.

    `source` and `reason` are those of the A-ABORT that answers it (PS3.8 9.3.8).
    """

    def __init__(self, message: str, *, source: int = 2, reason: int = 0) -> None:
        super().__init__(message)
        self.source = source
        self.reason = reason


class AssociationError(DimseError):
    """There is no association, or there is none any more."""


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
_ABORT_REASONS = {
    0: "reason not specified",
    1: "unrecognized PDU",
    2: "unexpected PDU",
    4: "unrecognized PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter value",
}


class AssociationRejected(AssociationError):
    """The peer answered with A-ASSOCIATE-RJ (PS3.8 9.3.4).

    `result` is 1 (permanent) or 2 (transient); `source` and `reason` are the standard's numbers.
    """

    def __init__(self, result: int, source: int, reason: int) -> None:
        why = _REJECT_REASONS.get((source, reason), f"source {source}, reason {reason}")
        super().__init__(f"association rejected {_REJECT_RESULTS.get(result, '')}: {why}".replace(" :", ":"))
        self.result = result
        self.source = source
        self.reason = reason

    @property
    def transient(self) -> bool:
        """Whether the same request may be accepted later."""
        return self.result == 2


class AssociationAborted(AssociationError):
    """The association ended with an A-ABORT (PS3.8 9.3.8).

    `source` is 0 for the service user and 2 for the service provider.
    """

    def __init__(self, source: int, reason: int, message: str = "") -> None:
        if not message:
            why = f": {_ABORT_REASONS.get(reason, f'reason {reason}')}" if source == 2 else ""
            message = f"association aborted by the peer{why}"
        super().__init__(message)
        self.source = source
        self.reason = reason


class ConnectionLost(AssociationError):
    """There is no connection to the peer: refused, reset, or closed without a release."""


class AssociationTimeout(AssociationError, TimeoutError):
    """A timer ran out. `timer` is its name in `Timeouts`, `seconds` its length."""

    def __init__(self, timer: str, seconds: float, doing: str) -> None:
        super().__init__(f"{doing}: nothing for {seconds:g} s ({timer} timeout)")
        self.timer = timer
        self.seconds = seconds


class PresentationContextError(DimseError):
    """No accepted presentation context fits; the message names what was proposed and accepted."""


_NOT_GIVEN: Final[str] = "\0"


class StatusError(DimseError):
    """The peer answered an operation with a failure status (PS3.7 Annex C).

    A handler raises `StatusError(status, comment)` to answer with that status and Error Comment. Where a peer has
    answered with it, `doing` names the operation.
    """

    @overload
    def __init__(self, status: Status, comment: str | None, /) -> None: ...

    @overload
    def __init__(self, status: Status, *, comment: str | None = None) -> None: ...

    @overload
    def __init__(self, status: Status, doing: str, comment: str | None) -> None: ...

    def __init__(self, status: Status, doing: str | None = "", comment: str | None = _NOT_GIVEN) -> None:
        if comment is _NOT_GIVEN:
            doing, comment = "", doing or None
        super().__init__((f"{doing}: " if doing else "") + str(status) + (f" ({comment})" if comment else ""))
        self.status = status
        self.comment = comment


class SubOperationFailed(DimseError):
    """One instance of a C-GET or C-MOVE did not arrive (PS3.4 C.4.2.3.2, C.4.3.3.2).

    `sop_instance_uid` is None where the peer counted a failure without saying of what.
    """

    def __init__(self, sop_instance_uid: str | None, why: str) -> None:
        # The text is made when it is asked for: there may be hundreds of thousands of these.
        super().__init__(sop_instance_uid, why)

    def __str__(self) -> str:
        return f"{self.sop_instance_uid or 'an instance'}: {self.args[1]}"

    @property
    def sop_instance_uid(self) -> str | None:
        """The instance, as the peer names it."""
        uid: str | None = self.args[0]
        return uid


class NothingRetrieved(DimseError):
    """A C-GET or C-MOVE ended with Success and brought nothing, most often because nothing matches."""


class OperationTimeout(DimseError, TimeoutError):
    """An operation took longer than it was given. It was cancelled; its association goes on."""

    def __init__(self, doing: str, seconds: float) -> None:
        super().__init__(f"{doing}: not finished after {seconds:g} s; it was cancelled")
        self.seconds = seconds


class OperationCancelled(DimseError):
    """Another task cancelled the operation before its end: answers are missing.

    Its association goes on.
    """

    def __init__(self, doing: str) -> None:
        super().__init__(f"{doing}: it was cancelled before its end; answers are missing")


def without_frames(error: Exception) -> Exception:
    """`error` without its traceback, whose frames may hold a whole object, for errors that are kept for long."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error


class DatasetError(DimseError):
    """A data set cannot be read, encoded, decoded or put into the accepted transfer syntax."""
