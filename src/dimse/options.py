"""The options of associations, requestors and acceptors.

All options are frozen, keyword-only, and checked when they are made.
"""

from __future__ import annotations

import operator
import ssl as ssl_module
from dataclasses import dataclass, field, fields
from enum import Enum

from dimse.address import check_ae_title
from dimse.upper_layer.items import UserIdentityRQ
from dimse.upper_layer.negotiation import MINIMUM_MAXIMUM_LENGTH


class Strictness(Enum):
    """What to do with a message that breaks the standard, but whose meaning can be guessed."""

    STRICT = "strict"
    """End the association, and say why."""
    LENIENT = "lenient"
    """Log a warning and go on."""


class StoreMode(Enum):
    """When the handler of a C-STORE is called."""

    BUFFERED = "buffered"
    """With the whole data set, up to `ServerOptions.maximum_buffered` bytes."""
    STREAMING = "streaming"
    """When what comes before the pixel data has arrived; the handler reads the rest while it comes."""


class Duplicates(Enum):
    """What to do with an instance that is stored already with different content; the same content changes nothing."""

    KEEP = "keep"
    """Keep what is stored, and answer with a warning (0xB000)."""
    REPLACE = "replace"
    """Replace what is stored."""
    REFUSE = "refuse"
    """Keep what is stored, and answer with a failure (0x0111)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait, in seconds; None is for ever.

    `store`, `find`, `get`, `move` and `idle` are about progress and not about size. Progress is a whole message from
    the peer, and bytes in either direction, 1 KiB a second at least: a slow line lives, and a peer that sends a byte
    a second does not. A timer runs out between 1.0 and 1.1 of its value.
    """

    connect: float | None = 30
    """For the transport connection, its TLS handshake included."""
    association: float | None = 30
    """For the whole answer to A-ASSOCIATE-RQ, and to A-RELEASE-RQ."""
    store: float | None = 30
    """Without any progress of a C-STORE, its response included; also for a C-ECHO."""
    find: float | None = 10
    """Without any progress of a C-FIND; the time that its consumer takes does not count."""
    move: float | None = 120
    """Without any progress of a C-MOVE; a Pending response is progress."""
    get: float | None = 120
    """Without any progress of a C-GET; the time that its consumer takes does not count."""
    cancel: float | None = 10
    """For a cancelled operation to end, not counting the message under way; then the association is aborted."""
    artim: float | None = 30
    """The ARTIM timer: for the peer's A-ASSOCIATE-RQ and for its closing of the connection (PS3.8 9.1.5)."""
    idle: float | None = 60
    """As acceptor, for the next message, and without any progress of one under way."""

    def __post_init__(self) -> None:
        for timer in fields(self):
            seconds = getattr(self, timer.name)
            if seconds is not None and not seconds > 0:
                raise ValueError(f"timeout {timer.name} must be a positive number of seconds or None, not {seconds!r}")
            if seconds is not None and not isinstance(seconds, int):
                object.__setattr__(self, timer.name, float(seconds))  # it may be one of numpy's


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When to try again: `retries` times, after `delay` seconds, each time `factor` times longer."""

    retries: int = 3
    delay: float = 1.0
    factor: float = 2.0

    def __post_init__(self) -> None:
        if self.retries < 0 or self.delay < 0 or self.factor < 1:
            raise ValueError("a retry policy has retries >= 0, delay >= 0 and factor >= 1")

    def pause(self, attempt: int) -> float | None:
        """Seconds to wait after failed attempt number `attempt` (from 1); None when it was the last.

        >>> [RetryPolicy().pause(attempt) for attempt in (1, 2, 3, 4)]
        [1.0, 2.0, 4.0, None]
        """
        return self.delay * self.factor ** (attempt - 1) if attempt <= self.retries else None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationOptions:
    """What a requestor and an acceptor have in common."""

    maximum_length: int = 1024 * 1024
    """The P-DATA-TF PDU-length announced to the peer, in bytes; 0 is no limit. Memory does not depend on it."""
    maximum_length_to_send: int = 1024 * 1024
    """No larger PDU is sent, whatever the peer takes: this is the size of the one buffer in use."""
    operations_window: int = 16
    """How many operations a requestor may have outstanding on one association (PS3.7 D.3.3.3); 1 is one by one.

    A requestor proposes it where it has objects to send (see `connect`), and uses what the acceptor grants.
    """
    timeouts: Timeouts = field(default_factory=Timeouts)
    strictness: Strictness = Strictness.STRICT

    def __post_init__(self) -> None:
        for name in ("operations_window", "maximum_length", "maximum_length_to_send"):
            value = getattr(self, name)
            if not hasattr(value, "__index__"):
                raise TypeError(f"{name} must be an int, not {value!r}")
            object.__setattr__(self, name, operator.index(value))  # it may be one of numpy's
        if not 1 <= self.operations_window <= 0xFFFF:
            raise ValueError(f"operations_window must be 1 to 65535, not {self.operations_window}")
        if self.maximum_length != 0 and not MINIMUM_MAXIMUM_LENGTH <= self.maximum_length < 2**32:
            raise ValueError(
                f"maximum_length must be 0 or {MINIMUM_MAXIMUM_LENGTH} to 2**32-1, not {self.maximum_length}"
            )
        if not MINIMUM_MAXIMUM_LENGTH <= self.maximum_length_to_send <= 2**24:
            raise ValueError(f"maximum_length_to_send must be 8 to 2**24, not {self.maximum_length_to_send}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions(AssociationOptions):
    """How a requestor behaves."""

    calling_ae_title: str = "DIMSE"
    user_identity: UserIdentityRQ | None = None
    ssl: ssl_module.SSLContext | None = None
    """Makes the connection TLS (PS3.15 B)."""

    def __post_init__(self) -> None:
        # slots=True replaces the class that a bare super() would know
        super(ClientOptions, self).__post_init__()
        object.__setattr__(self, "calling_ae_title", check_ae_title(self.calling_ae_title))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions(AssociationOptions):
    """How an acceptor behaves. The limits say how much one peer, or all of them, can take."""

    timeouts: Timeouts = field(default_factory=lambda: Timeouts(artim=10))
    strictness: Strictness = Strictness.LENIENT
    store_mode: StoreMode = StoreMode.BUFFERED
    maximum_buffered: int = 512 * 1024 * 1024
    """A data set larger than this is refused with 0xA700 when the store mode is `BUFFERED`."""
    duplicates: Duplicates = Duplicates.KEEP
    """What `request.save` does with an instance that is stored already with different content."""
    fsync: bool = True
    """Whether what `request.save` wrote is forced to the disk before Success is answered."""
    require_called_ae_title: bool = False
    """Reject associations that call another title than the server's."""
    calling_ae_titles: frozenset[str] | None = None
    """Reject associations from any other title; None is anyone."""
    maximum_associations: int = 100
    maximum_associations_per_host: int | None = 20
    maximum_associations_per_title: int | None = 10
    """By calling AE title. What is over a limit is rejected as transient: it may be tried again."""
    stop_timeout: float = 30
    """How long `Server.stop` waits for associations to end by themselves, in seconds."""
    ssl: ssl_module.SSLContext | None = None

    def __post_init__(self) -> None:
        super(ServerOptions, self).__post_init__()
        object.__setattr__(self, "fsync", bool(self.fsync))
        if self.calling_ae_titles is not None:
            titles = frozenset(check_ae_title(title) for title in self.calling_ae_titles)
            object.__setattr__(self, "calling_ae_titles", titles)
        for name in ("maximum_associations", "maximum_associations_per_host", "maximum_associations_per_title"):
            limit = getattr(self, name)
            if limit is not None and limit < 1:
                raise ValueError(f"{name} must be at least 1, not {limit}")
