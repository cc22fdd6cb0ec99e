"""The faults that a test injects into a fake archive."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass
from typing import Final, TypeAlias

from dimse.errors import AssociationAborted, StatusError
from dimse.network.association import Association, exchange_of
from dimse.status import Status

OPERATIONS: Final = ("A-ASSOCIATE", "C-ECHO", "C-STORE", "C-FIND", "C-GET", "C-MOVE")
"""The operations that can have faults; A-ASSOCIATE counts connections."""


@dataclass(frozen=True)
class Refuse:
    """Reject the association (PS3.8 9.3.4): permanently and without a reason, unless the fields say otherwise."""

    result: int = 1
    source: int = 1
    reason: int = 1


@dataclass(frozen=True)
class Delay:
    """Wait before going on."""

    seconds: float


@dataclass(frozen=True)
class Drop:
    """Close the connection, without an A-ABORT."""


@dataclass(frozen=True)
class Abort:
    """Send an A-ABORT and close the connection."""


@dataclass(frozen=True)
class Answer:
    """Answer the operation with a status, and do nothing else. A failure may have an Error Comment."""

    status: int
    comment: str | None = None


Fault: TypeAlias = Refuse | Delay | Drop | Abort | Answer


async def take_effect(fault: Fault, association: Association) -> None:
    """Let the fault of an operation take effect in its handler. Raises what ends the handler."""
    match fault:
        case Delay(seconds):
            await asyncio.sleep(seconds)
        case Answer(status, comment):
            raise StatusError(Status(status), comment=comment)
        case Abort():
            association.abort()
            raise AssociationAborted(0, 0, "aborted by an injected fault")
        case Drop():
            exchange_of(association).connection.kill()
            await exchange_of(association).connection.wait_closed()
            raise AssociationAborted(0, 0, "dropped by an injected fault")


@dataclass(frozen=True)
class _Order:
    operation: str
    fault: Fault
    number: int | None
    """The operation that it is for, counted from the first of its kind; None for each."""


class Faults:
    """The injected faults, and the count of the operations. Safe to use from several threads."""

    def __init__(self) -> None:
        self._orders: list[_Order] = []
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def order(self, operation: str, fault: Fault, nth: int | None = None) -> None:
        """Inject a fault into the `nth` operation of a kind from now on, or into each.

        Raises `ValueError` if that operation cannot have it.
        """
        if operation not in OPERATIONS:
            raise ValueError(f"the operation must be one of {', '.join(OPERATIONS)}, not {operation!r}")
        if isinstance(fault, Refuse) and operation != "A-ASSOCIATE":
            raise ValueError(f"Refuse is for A-ASSOCIATE, not for {operation}; Answer sends a status")
        if isinstance(fault, Answer) and operation == "A-ASSOCIATE":
            raise ValueError("Answer is for operations, not for A-ASSOCIATE; Refuse rejects an association")
        if nth is not None and nth < 1:
            raise ValueError(f"nth must be at least 1, not {nth}")
        with self._lock:
            number = None if nth is None else self._counts[operation] + nth
            self._orders.append(_Order(operation, fault, number))

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._orders.clear()

    def due(self, operation: str) -> list[Fault]:
        """Count an operation, and return the faults that affect it, oldest first."""
        with self._lock:
            self._counts[operation] += 1
            count = self._counts[operation]
            return [
                order.fault for order in self._orders if order.operation == operation and order.number in (None, count)
            ]
