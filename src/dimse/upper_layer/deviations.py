"""What peers do against the standard, in three classes. Everything that reads what a peer sent uses these.

Harmless: it has one safe reading, so it is accepted, strict or lenient, and logged once per association.
Strictness: its meaning is a guess. Strict ends the association and says why; lenient warns and goes on.
Out of step: it has no safe reading, as the message to which the bytes belong is not known. It ends the association.

`docs/conformance.md` lists what is in which class.
"""

from __future__ import annotations

import logging
from typing import Final, Protocol

from dimse.errors import DimseError, RemoteProtocolError

logger = logging.getLogger("dimse.network")

_UNEXPECTED_PARAMETER: Final = 5  # A-ABORT reasons of PS3.8 Table 9-26
_INVALID_PARAMETER: Final = 6


def invalid(message: str) -> RemoteProtocolError:
    """The error for what is malformed; answered with A-ABORT (2, 6)."""
    return RemoteProtocolError(message, source=2, reason=_INVALID_PARAMETER)


def out_of_step(message: str) -> RemoteProtocolError:
    """The error for a message or a part of one that cannot come here; answered with A-ABORT (2, 5)."""
    return RemoteProtocolError(message, source=2, reason=_UNEXPECTED_PARAMETER)


class Named(Protocol):
    """A connection, which knows the name of its peer once it is made."""

    peer_name: str


class Deviations:
    """What the peer of one association does against the standard, and how it is treated.

    What is out of step is raised as `out_of_step` makes it.
    """

    def __init__(self, peer: Named, *, strict: bool) -> None:
        self.is_strict: Final = strict
        self._peer: Final = peer
        self._told: set[str] = set()

    def harmless(self, message: str) -> None:
        """Log `message` once. It must be the same text each time."""
        if message not in self._told:
            self._told.add(message)
            logger.info("%s: %s", self._peer.peer_name, message)

    def tolerated(self, message: str) -> None:
        """Warn once of what is accepted although it is malformed. `message` as in `harmless`."""
        if message not in self._told:
            self._told.add(message)
            logger.warning("%s: %s", self._peer.peer_name, message)

    def malformed(self, error: DimseError) -> None:
        """Raise `error` where strict; else warn of it, once."""
        if self.is_strict:
            raise error
        self.tolerated(str(error))
