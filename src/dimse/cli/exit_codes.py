"""The exit codes of all commands. Each command's `EXIT_CODES` says what they mean there."""

from __future__ import annotations

from typing import Final

from dimse.errors import AssociationError, RemoteProtocolError, StepLeftOpen

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NO_ASSOCIATION: Final = 3
INTERRUPTED: Final = 130

EXIT_CODES: Final = (
    "0 success; 1 at least one failure, reported on standard error; 2 wrong usage; 3 no association; 130 interrupted."
)


def code_of(error: BaseException | None) -> int:
    """The exit code of a command that fails because of `error`. A step that is left open has that of its cause."""
    if isinstance(error, StepLeftOpen):
        error = error.__cause__
        if isinstance(error, TimeoutError):
            return NO_ASSOCIATION
        if not isinstance(error, Exception):  # it was cancelled
            return INTERRUPTED
    return NO_ASSOCIATION if isinstance(error, AssociationError | RemoteProtocolError) else FAILED
