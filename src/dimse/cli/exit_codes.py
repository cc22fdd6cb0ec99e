"""The exit codes of all commands. Each command's `EXIT_CODES` says what they mean there."""

from __future__ import annotations

from typing import Final

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NO_ASSOCIATION: Final = 3
INTERRUPTED: Final = 130

EXIT_CODES: Final = (
    "0 success; 1 at least one failure, reported on standard error; 2 wrong usage; 3 no association; 130 interrupted."
)
