"""Text and JSON: the one way to the terminal for all output of the commands, which may quote a peer."""

from __future__ import annotations

import json
import sys
import unicodedata
from typing import Any, Final

from dimse.errors import DimseError

_JOINERS: Final = "\u200c\u200d"
"""Format characters of Persian and Indic names; terminals do not act on them."""


def emit(**fields: Any) -> None:
    """One JSON object on a line of standard output, at once."""
    print(json.dumps(fields).replace("\x7f", "\\u007f"), flush=True)


def tell(text: str) -> None:
    """A line on standard output, at once."""
    print(printable(text), flush=True)


def complain(text: str) -> None:
    """A line on standard error."""
    print(printable(text), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """`text` in one line, with control characters, marks of direction and surrogates escaped."""
    return text if text.isprintable() else "".join(map(_shown, text))


def printable_lines(text: str) -> str:
    """`printable` for a text of several lines, such as a traceback."""
    return "\n".join(map(printable, text.split("\n")))


def _shown(character: str) -> str:
    if character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape", "backslashreplace").decode()


def reason(error: BaseException) -> str:
    """The text of an error, with its class if the text alone does not say enough."""
    if isinstance(error, OSError) and not isinstance(error, DimseError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    if isinstance(error, DimseError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def about(name: str, error: BaseException) -> str:
    """The file name and the reason; the file is named only once."""
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
