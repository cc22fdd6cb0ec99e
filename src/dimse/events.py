"""Events of associations and operations, for the callbacks `AssociationOptions.on_event` and `on_pdu`.

Imported by those who listen alone: the dataclasses would add to the start of each command.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from dimse.messages.suboperations import SubOperations
from dimse.records import record
from dimse.status import Status


@record(kw_only=True)
class AssociationInfo:
    """Which association an event belongs to."""

    id: int
    """A number that no other association of this process has; log records have it too."""
    peer: str
    """The peer's host and port."""
    calling_ae_title: str
    """The AE title of the requestor; empty until it is known."""
    called_ae_title: str
    """The AE title that the requestor called; empty until it is known."""
    is_requestor: bool
    """Whether this side requested the association."""


@record(kw_only=True)
class NegotiatedContext:
    """A proposed presentation context, and whether it was accepted (PS3.8 9.3.2.2, 9.3.3.2)."""

    presentation_context_id: int
    abstract_syntax: str
    proposed: tuple[str, ...]
    """The proposed transfer syntaxes."""
    accepted: str | None
    """The accepted transfer syntax; None if the context was not accepted."""
    reason: str
    """Why it was not accepted; empty if it was."""


@record(kw_only=True)
class AssociationOpened:
    """An association was established."""

    association: AssociationInfo
    time: datetime
    seconds: float
    """Since the connection was requested or, for an acceptor, since it was opened."""
    contexts: tuple[NegotiatedContext, ...]
    """The proposed contexts, in their order."""
    operations_window: int
    """How many operations of the requestor may be outstanding at once."""
    maximum_length: int
    """The longest P-DATA-TF that this side sends, in bytes."""
    implementation: str
    """Implementation Version Name of the peer, or Implementation Class UID if it sent none."""
    tls: str | None
    """Version and cipher suite of TLS; None without it."""
    user: str | None
    """The user that this side has verified."""


@record(kw_only=True)
class AssociationFailed:
    """An association was not established: it was rejected by one of the sides, or there was no connection."""

    association: AssociationInfo
    time: datetime
    seconds: float
    """As in `AssociationOpened`."""
    rejection: tuple[int, int, int] | None
    """Result, source and reason of the A-ASSOCIATE-RJ (PS3.8 Table 9-21), which the acceptor sent; None without one."""
    reason: str
    """Why, in words. An acceptor knows more than it tells the peer."""


class AssociationEnd(Enum):
    """How an association ended."""

    RELEASED = "released"
    """By A-RELEASE, which this side requested."""
    RELEASED_BY_PEER = "released by the peer"
    """By A-RELEASE, which the peer requested."""
    ABORTED = "aborted"
    """By an A-ABORT of this side; also when a timer expired or the peer violated the protocol."""
    ABORTED_BY_PEER = "aborted by the peer"
    """By an A-ABORT of the peer."""
    LOST = "lost"
    """The connection closed without either."""


@record(kw_only=True)
class AssociationEnded:
    """An association that was established has ended."""

    association: AssociationInfo
    time: datetime
    seconds: float
    """Since it was established."""
    end: AssociationEnd
    error: Exception | None
    """Why it ended; None after a release."""
    requested: int
    """Operations that this side requested."""
    served: int
    """Operations that the peer requested."""
    bytes_received: int
    """All bytes of the connection, including those of PDU headers and negotiation, without those of TLS."""
    bytes_sent: int


@record(kw_only=True)
class OperationBegan:
    """An operation was requested: by this side, when its request leaves; by the peer, when it is about to be served."""

    association: AssociationInfo
    time: datetime
    name: str
    """C-ECHO, C-STORE, C-FIND, C-GET or C-MOVE."""
    is_requested_by_peer: bool
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str | None
    """The instance of a C-STORE."""
    move_destination: str | None
    """The destination of a C-MOVE."""
    move_originator: tuple[str, int] | None
    """Calling AE title and Message ID of the C-MOVE that a C-STORE belongs to (PS3.7 9.3.1.1), if the SCU names it."""


@record(kw_only=True)
class OperationEnded:
    """The final response to an operation was sent or received, or there will be none."""

    association: AssociationInfo
    time: datetime
    seconds: float
    """Since the operation began."""
    request: OperationBegan
    """The event that this one follows: the same object."""
    status: Status | None
    """The status of the final response; None if there was none."""
    error: BaseException | None
    """Why there was no final response."""
    dataset_bytes: int
    """Bytes of data sets and identifiers, in both directions."""
    matches: int
    """The number of matches of a C-FIND."""
    suboperations: SubOperations | None
    """The counters of the final response to a C-GET or C-MOVE."""


AssociationEvent = AssociationOpened | AssociationFailed | AssociationEnded | OperationBegan | OperationEnded
"""What `AssociationOptions.on_event` is called with."""


@record(kw_only=True)
class PDUTransferred:
    """A PDU was sent or received (PS3.8 9.3). A received P-DATA-TF is told of when its header has arrived."""

    association: AssociationInfo
    is_sent: bool
    """Whether this side sent it."""
    name: str
    """Such as A-ASSOCIATE-RQ or P-DATA-TF."""
    length: int
    """The PDU-length: bytes after the first six."""
    presentation_context_id: int | None
    """That of a P-DATA-TF that was sent."""
