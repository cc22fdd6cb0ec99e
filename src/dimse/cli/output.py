"""Words and JSON: what the commands share of telling what happened."""

from __future__ import annotations

import json
import sys
from typing import Any

from dimse.errors import DimseError


def emit(**fields: Any) -> None:
    """One JSON object on a line of standard output, at once."""
    print(json.dumps(fields), flush=True)


def complain(text: str) -> None:
    """A line on standard error."""
    print(printable(text), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """`text` with what a terminal would obey, and what it can't encode, escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def reason(error: BaseException) -> str:
    """Why, in words, without the class of an error that says enough by itself."""
    if isinstance(error, OSError) and not isinstance(error, DimseError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    if isinstance(error, DimseError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def about(name: str, error: BaseException) -> str:
    """The file and the reason, the file named once."""
    notes = [note for note in getattr(error, "__notes__", ()) if name not in note]
    why = "; ".join([reason(error), *notes])
    return why if name in why else f"{name}: {why}"


def size(count: float) -> str:
    """Bytes, as people say them.

    >>> size(105_000_000)
    '105.0 MB'
    """
    if count < 1000:
        return f"{count:.0f} bytes"
    for unit in ("KB", "MB", "GB"):
        count /= 1000
        if count < 999.95:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """`1 object`, `2 objects`."""
    return f"{count} {noun}" if count == 1 else f"{count} {plural or noun + 's'}"
