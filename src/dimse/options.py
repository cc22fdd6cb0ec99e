"""Options of requestors, acceptors and received instances. They are frozen, keyword-only and checked when made."""

from __future__ import annotations

import operator
import ssl
from collections.abc import Callable, Collection, Sequence
from dataclasses import field, fields, replace
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, TypeVar

from dimse.access import Access, checked_networks
from dimse.address import check_ae_title
from dimse.callbacks import check_callback
from dimse.messages.message import Priority
from dimse.rate_limit import MINIMUM as MINIMUM_RATE_LIMIT
from dimse.rate_limit import RateLimit
from dimse.records import record
from dimse.tls import TLSOptions
from dimse.uids import is_uid
from dimse.upper_layer.extended import StorageFeatures
from dimse.upper_layer.items import UserIdentityRQ
from dimse.upper_layer.negotiation import MINIMUM_MAXIMUM_LENGTH

if TYPE_CHECKING:
    from dimse.audit import AuditLog
    from dimse.events import AssociationEvent, PDUTransferred

T = TypeVar("T")


def with_fields_of(base: type) -> Callable[[type[T]], type[T]]:
    """Add the fields that a class inherits to its docstring, which help and editors show."""

    def decorated(cls: type[T]) -> type[T]:
        if cls.__doc__ and base.__doc__:  # python -OO removes them
            _, parameter, rest = base.__doc__.partition("    :param")
            paragraph = "" if parameter in cls.__doc__ else "\n"
            cls.__doc__ = f"{cls.__doc__.rstrip()}\n{paragraph}{parameter}{rest}"
        return cls

    return decorated


def check_type(options: object, name: str, kind: type, *, or_none: bool = False) -> None:
    """Raise `TypeError` for an option of another type, which would be ignored: a str never is a member of an Enum."""
    value = getattr(options, name)
    if not isinstance(value, kind) and not (or_none and value is None):
        article = "an" if kind.__name__[0] in "AEIO" else "a"
        expected = f"{article} {kind.__name__}" + (" or None" if or_none else "")
        # The type alone: the value may be secret.
        raise TypeError(f"{name} must be {expected}, not {type(value).__name__}")


def _check_tls(tls: object, *, server_side: bool) -> None:
    """Read the files, so that an error comes now and not with the first connection."""
    if isinstance(tls, TLSOptions):
        tls.context(server_side=server_side)
    elif tls is not None and not isinstance(tls, ssl.SSLContext):
        raise TypeError(f"tls must be a TLSOptions, an SSLContext or None, not {type(tls).__name__}")
    elif tls is not None and tls.protocol is (ssl.PROTOCOL_TLS_CLIENT if server_side else ssl.PROTOCOL_TLS_SERVER):
        side = "an acceptor" if server_side else "a requestor"
        raise ValueError(f"tls must be a context for {side}, not one of {tls.protocol.name}")


def _make_int(options: object, name: str) -> None:
    """Replace numpy's integers by Python's, which compiled modules need; raise `TypeError` for other types."""
    value = getattr(options, name)
    if not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int, not {value!r}")
    object.__setattr__(options, name, operator.index(value))


def _check_uids(options: object, name: str) -> None:
    """Make a tuple of UIDs, or leave None; raise `TypeError` for a single text and `ValueError` for no UID."""
    value = getattr(options, name)
    if value is None:
        return
    if isinstance(value, str):
        raise TypeError(f"{name} must be a sequence of UIDs, not a str")
    wrong = [each for each in value if not is_uid(each)]
    if wrong:
        raise ValueError(f"{name} must be UIDs, not {wrong[0]!r}; dimse.uids.transfer_syntaxes converts short names")
    object.__setattr__(options, name, tuple(map(str, value)))


class Strictness(Enum):
    """How to treat input that violates the standard but can still be interpreted."""

    STRICT = "strict"
    """Refuse it: abort the association, or answer the operation with a failure."""
    LENIENT = "lenient"
    """Accept it, and log one warning for each kind of violation."""


class StoreMode(Enum):
    """When the C-STORE handler is called."""

    STREAMING = "streaming"
    """As soon as everything before the pixel data has arrived; the handler reads the rest while it arrives."""
    BUFFERED = "buffered"
    """When the whole data set has arrived, at most `StoreOptions.maximum_buffered` bytes."""


class Duplicates(Enum):
    """How `StoreRequest.save` treats an instance that is already stored with different content."""

    KEEP = "keep"
    """Keep the stored instance, and answer with a warning (0xB000)."""
    REPLACE = "replace"
    """Replace the stored instance."""
    REFUSE = "refuse"
    """Keep the stored instance, and answer with a failure (0x0111)."""


@record(kw_only=True)
class Timeouts:
    """How long to wait, in seconds. None waits forever.

    `store`, `find`, `get`, `move` and `idle` measure progress, not total time. Progress is a whole message from the
    peer, or bytes in either direction at 1 KiB per second or more: a slow line is fine, a peer that sends one byte per
    second is not. A timer expires after 1.0 to 1.1 times its value.

    :param connect: To open the transport connection, including the TLS handshake.
    :param association: To receive the whole response to A-ASSOCIATE-RQ, and to A-RELEASE-RQ.
    :param store: Without progress of a C-STORE, including its response; also used for C-ECHO and DIMSE-N.
    :param find: Without progress of a C-FIND; the time that the consumer takes does not count.
    :param move: Without progress of a C-MOVE; a Pending response is progress.
    :param get: Without progress of a C-GET; the time that the consumer takes does not count.
    :param cancel: For a cancelled operation to end, after the message in transit; then the association is aborted.
    :param artim: The ARTIM timer: to receive A-ASSOCIATE-RQ, and for the peer to close the connection (PS3.8 9.1.5).
    :param idle: Acceptor only: until the next message begins, and without progress of a message in transit.
    :param admission: Acceptor only: for the handler of associations; then the association is rejected as transient.
    """

    connect: float | None = 30
    association: float | None = 30
    store: float | None = 30
    find: float | None = 10
    move: float | None = 120
    get: float | None = 120
    cancel: float | None = 10
    artim: float | None = 30
    idle: float | None = 60
    admission: float | None = 10

    @classmethod
    def all(cls, seconds: float | None) -> Timeouts:
        """The same time to connect, to associate, and without progress of each operation.

        >>> Timeouts.all(5).find
        5
        """
        return cls(connect=seconds, association=seconds, store=seconds, find=seconds, move=seconds, get=seconds)

    def __post_init__(self) -> None:
        for timer in fields(self):
            seconds = getattr(self, timer.name)
            if isinstance(seconds, str | bytes) or not hasattr(seconds or 0, "__float__"):
                raise TypeError(f"timeout {timer.name} must be a number of seconds or None, not {seconds!r}")
            if seconds is not None and not seconds > 0:
                raise ValueError(f"timeout {timer.name} must be a positive number of seconds or None, not {seconds!r}")
            if seconds is not None and not isinstance(seconds, int):
                object.__setattr__(self, timer.name, float(seconds))  # it may be one of numpy's


@record(kw_only=True)
class RetryPolicy:
    """When to try again what failed and may succeed later.

    :param retries: Maximum number of retries.
    :param delay: Seconds before the first retry.
    :param factor: The delay is multiplied by it after each retry.
    """

    retries: int = 3
    delay: float = 1.0
    factor: float = 2.0

    def __post_init__(self) -> None:
        _make_int(self, "retries")
        if self.retries < 0 or self.delay < 0 or self.factor < 1:
            raise ValueError(
                "retries must be >= 0, delay >= 0 and factor >= 1, "
                f"not {self.retries}, {self.delay:g} and {self.factor:g}"
            )

    def pause(self, attempt: int) -> float | None:
        """Seconds to wait after failed attempt number `attempt`, counted from 1; None after the last.

        >>> [RetryPolicy().pause(attempt) for attempt in (1, 2, 3, 4)]
        [1.0, 2.0, 4.0, None]
        """
        return self.delay * self.factor ** (attempt - 1) if attempt <= self.retries else None


@record(kw_only=True)
class AssociationOptions:
    """Options common to requestor and acceptor: see `ClientOptions` and `ServerOptions`.

    :param maximum_length: Maximum length of a received P-DATA-TF PDU, in bytes, as announced to the peer; 0 means
        unlimited. Memory use does not depend on it.
    :param maximum_length_to_send: Maximum length of a sent PDU, in bytes, even if the peer accepts larger ones. The
        send buffer has this size.
    :param operations_window: Maximum number of outstanding operations on one association (PS3.7 D.3.3.3); 1 means one
        at a time. A requestor proposes it if it has instances to send (see `connect`), and an acceptor grants no more
        than its own.
    :param timeouts: How long to wait for the peer.
    :param strictness: How to treat input that violates the standard; it applies to all services of the association.
    :param audit: The audit trail to write (PS3.15 A.5); None writes none.
    :param on_event: Called when an association opens, fails or ends, and when an operation begins or ends. It is
        called on the event loop, so it must be quick; it cannot be an `async def`. One that fails is logged, and not
        called again for that association.
    :param on_pdu: Called in the same way for each PDU that is sent or received, without its content. It slows
        transfers down.
    :param rate_limit: The limit on bytes per second that all associations with it share; None sets none.
    """

    maximum_length: int = 1024 * 1024
    maximum_length_to_send: int = 1024 * 1024
    operations_window: int = 16
    timeouts: Timeouts = field(default_factory=Timeouts)
    strictness: Strictness = Strictness.STRICT
    audit: AuditLog | None = None
    on_event: Callable[[AssociationEvent], object] | None = None
    on_pdu: Callable[[PDUTransferred], object] | None = None
    rate_limit: RateLimit | None = None

    def __post_init__(self) -> None:
        if self.audit is not None:
            from dimse.audit import AuditLog  # few have one

            check_type(self, "audit", AuditLog, or_none=True)
        check_callback("on_event", self.on_event)
        check_callback("on_pdu", self.on_pdu)
        check_type(self, "rate_limit", RateLimit, or_none=True)
        for name in ("operations_window", "maximum_length", "maximum_length_to_send"):
            _make_int(self, name)
        check_type(self, "timeouts", Timeouts)
        check_type(self, "strictness", Strictness)
        if not 1 <= self.operations_window <= 0xFFFF:
            raise ValueError(f"operations_window must be 1 to 65535, not {self.operations_window}")
        if self.maximum_length != 0 and not MINIMUM_MAXIMUM_LENGTH <= self.maximum_length < 2**32:
            raise ValueError(
                f"maximum_length must be 0 or {MINIMUM_MAXIMUM_LENGTH} to 2**32-1, not {self.maximum_length}"
            )
        if not MINIMUM_MAXIMUM_LENGTH <= self.maximum_length_to_send <= 2**24:
            raise ValueError(
                f"maximum_length_to_send must be {MINIMUM_MAXIMUM_LENGTH} to 2**24, not {self.maximum_length_to_send}"
            )


@with_fields_of(AssociationOptions)
@record(kw_only=True)
class ClientOptions(AssociationOptions):
    """Options of a requestor.

    :param calling_ae_title: Our AE title, by which the peer knows us.
    :param priority: The priority of requests (PS3.7 9.1.1.1). Many peers ignore it; of what shares a `rate_limit` it
        decides here.
    :param user_identity: The user to name to the peer (PS3.7 D.3.3.7).
    :param tls: TLS (PS3.15 B), or a context with certificates and ciphers of your own; None connects without TLS.
    """

    calling_ae_title: str = "DIMSE"
    priority: Priority = Priority.MEDIUM
    user_identity: UserIdentityRQ | None = None
    tls: TLSOptions | ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "calling_ae_title", check_ae_title(self.calling_ae_title))
        check_type(self, "user_identity", UserIdentityRQ, or_none=True)
        check_type(self, "priority", Priority)
        _check_tls(self.tls, server_side=False)


def client_options(
    options: ClientOptions | None, calling_ae_title: str | None = None, timeout: float | None = None
) -> ClientOptions:
    """The given options or the default ones, with the calling AE title and `Timeouts.all` of `timeout`, if given."""
    options = options or ClientOptions()
    if calling_ae_title is not None:
        options = replace(options, calling_ae_title=calling_ae_title)
    return options if timeout is None else replace(options, timeouts=Timeouts.all(timeout))


@record(kw_only=True)
class StoreOptions:
    """How instances are received, by C-STORE as acceptor and by C-GET as requestor.

    :param mode: When the handler is called.
    :param fsync: Whether `StoreRequest.save` forces the file to the disk before Success is sent.
    :param duplicates: How `StoreRequest.save` treats an instance that is already stored with different content.
    :param maximum_buffered: Maximum size of a data set in bytes, with `StoreMode.BUFFERED`; a larger one is refused
        with 0xA700.
    :param maximum_buffered_in_process: Maximum size of all buffered data sets and identifiers in the process, in
        bytes. What goes beyond is refused with 0xA700, and the peer may try again. A data set counts until it is
        answered.
    """

    mode: StoreMode = StoreMode.STREAMING
    fsync: bool = True
    duplicates: Duplicates = Duplicates.KEEP
    maximum_buffered: int = 512 * 1024 * 1024
    maximum_buffered_in_process: int = 2 * 1024 * 1024 * 1024

    def __post_init__(self) -> None:
        check_type(self, "mode", StoreMode)
        check_type(self, "duplicates", Duplicates)
        object.__setattr__(self, "fsync", bool(self.fsync))
        for name in ("maximum_buffered", "maximum_buffered_in_process"):
            _make_int(self, name)
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


@record(kw_only=True)
class SendOptions:
    """How an acceptor sends the instances of C-GET and C-MOVE; the same as the arguments of `dimse.send`.

    :param allow_decompression: Whether to decompress an instance that the peer does not accept compressed.
    :param associations: C-MOVE only: number of associations to the destination.
    :param retry: C-MOVE only: when to retry after a failure that may be temporary.
    """

    allow_decompression: bool = False
    associations: int = 1
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def __post_init__(self) -> None:
        _make_int(self, "associations")
        check_type(self, "retry", RetryPolicy)
        if self.associations < 1:
            raise ValueError(f"associations must be at least 1, not {self.associations}")


@with_fields_of(AssociationOptions)
@record(kw_only=True)
class ServerOptions(AssociationOptions):
    """Options of an acceptor. The limits bound what one peer, and all peers together, may use.

    :param store: How the instances of C-STORE requests are received.
    :param send: How the instances of C-GET and C-MOVE requests are sent.
    :param transfer_syntaxes: The UIDs of the transfer syntaxes to accept for instances that peers send, the best
        first; None accepts any. Then the peer's order decides, unless one is preferred. Every implementation supports
        Implicit VR Little Endian (PS3.5 10.1): without it, some peers cannot send at all.
    :param prefer: The UIDs of the transfer syntaxes to choose first where a presentation context has several.
    :param storage_features: What to answer to extended negotiation of storage classes (PS3.4 B.3.1); None answers
        nothing.
    :param access: Who may associate, and what each peer may do; by default every peer, and everything.
    :param maximum_associations: Maximum number of associations; one more is rejected as transient, so the peer may
        retry.
    :param maximum_associations_per_host: Maximum number of associations from one IP address, unless its rule has a
        maximum; None sets no such limit.
    :param maximum_associations_per_title: Maximum number of associations with one calling AE title, unless its rule
        has one; None sets no such limit.
    :param maximum_connections_per_second: Maximum number of new connections per second from one host; more are closed
        at once. None sets no limit. The IPv6 addresses of a network (/64) count as one host.
    :param maximum_rate_per_host: Maximum number of bytes per second of all associations with one host, in both
        directions together. The IPv6 addresses of a network (/64) count as one host.
    :param maximum_rate_per_association: Maximum number of bytes per second of one association, in both directions
        together.
    :param proxy_networks: The networks, or single addresses, of trusted proxies, each of whose connections begins
        with a PROXY header. Versions 1 and 2 are understood. The address in the header is the peer's for all rules,
        limits and logs. From other addresses such a header is not accepted.
    :param stop_timeout: How long `Server.stop` waits for associations to end before it aborts them, in seconds.
    :param tls: TLS (PS3.15 B), or a context with certificates and ciphers of your own; None accepts connections
        without TLS.
    """

    timeouts: Timeouts = field(default_factory=lambda: Timeouts(artim=10))
    strictness: Strictness = Strictness.LENIENT
    store: StoreOptions = field(default_factory=StoreOptions)
    send: SendOptions = field(default_factory=SendOptions)
    transfer_syntaxes: Sequence[str] | None = None
    prefer: Sequence[str] = ()
    storage_features: StorageFeatures | None = None
    access: Access = field(default_factory=Access)
    maximum_associations: int = 100
    maximum_associations_per_host: int | None = 20
    maximum_associations_per_title: int | None = 10
    maximum_connections_per_second: int | None = 50
    maximum_rate_per_host: int | None = None
    maximum_rate_per_association: int | None = None
    proxy_networks: Collection[str | IPv4Network | IPv6Network] = frozenset()
    stop_timeout: float = 30
    tls: TLSOptions | ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_type(self, "store", StoreOptions)
        check_type(self, "send", SendOptions)
        check_type(self, "storage_features", StorageFeatures, or_none=True)
        check_type(self, "access", Access)
        _check_tls(self.tls, server_side=True)
        if not self.stop_timeout >= 0:
            raise ValueError(f"stop_timeout must be at least 0 seconds, not {self.stop_timeout!r}")
        for name in ("maximum_rate_per_host", "maximum_rate_per_association"):
            if getattr(self, name) is not None:
                _make_int(self, name)
                if getattr(self, name) < MINIMUM_RATE_LIMIT:
                    raise ValueError(f"{name} must be at least {MINIMUM_RATE_LIMIT}, not {getattr(self, name)}")
        for name in ("transfer_syntaxes", "prefer"):
            _check_uids(self, name)
        proxies = checked_networks("proxy_networks", self.proxy_networks)
        object.__setattr__(self, "proxy_networks", proxies or frozenset())
        for name in (
            "maximum_associations",
            "maximum_associations_per_host",
            "maximum_associations_per_title",
            "maximum_connections_per_second",
        ):
            if getattr(self, name) is None and name != "maximum_associations":
                continue
            _make_int(self, name)
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
