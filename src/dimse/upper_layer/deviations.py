"""Deviations of peers from the standard, in three classes. All code that reads received bytes uses them.

Harmless: there is only one safe interpretation. It is accepted, strict or lenient, and logged once per association.
Malformed: the meaning is a guess. Strict ends the association with the reason; lenient warns and continues.
Out of step: it cannot be known to which message the bytes belong. It ends the association.

`docs/conformance.md` lists which deviation is in which class.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, Protocol

from dimse.errors import DimseError, RemoteProtocolError

logger = logging.getLogger("dimse.network")

_UNEXPECTED_PARAMETER: Final = 5  # A-ABORT reasons of PS3.8 Table 9-26
_INVALID_PARAMETER: Final = 6


def invalid(message: str) -> RemoteProtocolError:
    """The error for malformed input; answered with A-ABORT (2, 6)."""
    return RemoteProtocolError(message, source=2, reason=_INVALID_PARAMETER)


def out_of_step(message: str) -> RemoteProtocolError:
    """The error for an unexpected message, or part of one; answered with A-ABORT (2, 5)."""
    return RemoteProtocolError(message, source=2, reason=_UNEXPECTED_PARAMETER)


_MAXIMUM_LOGGED: Final = 100
"""Texts of an association that are logged, and remembered: a peer can vary them, as they name tags."""


class Named(Protocol):
    """A connection, which knows the name of its peer once it is made."""

    peer_name: str


class Deviations:
    """How the deviations of one association's peer are treated, except those out of step, which are raised."""

    def __init__(self, peer: Named, *, strict: bool, fields: Mapping[str, object] | None = None) -> None:
        self.is_strict: Final = strict
        self._peer: Final = peer
        self._fields: Final = fields
        """The fields of log records, as `extra`."""
        self._logged: set[str] = set()

    def harmless(self, message: str) -> None:
        """Log `message`, once per association and text."""
        if self._is_new(message):
            logger.info("%s: %s", self._peer.peer_name, message, extra=self._fields)

    def tolerated(self, message: str) -> None:
        """Warn of malformed input that is accepted, once per association and text."""
        if self._is_new(message):
            logger.warning("%s: %s", self._peer.peer_name, message, extra=self._fields)

    def malformed(self, error: DimseError) -> None:
        """Raise `error` if strict; else warn of it, once."""
        if self.is_strict:
            raise error
        self.tolerated(str(error))

    def _is_new(self, message: str) -> bool:
        if message in self._logged or len(self._logged) >= _MAXIMUM_LOGGED:
            return False
        self._logged.add(message)
        return True
