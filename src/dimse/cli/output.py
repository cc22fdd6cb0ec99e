"""Text and JSON: the only way to the terminal for the commands' output, which may quote a peer."""

from __future__ import annotations

import asyncio
import json
import sys
import unicodedata
from typing import Any, Final

from dimse.errors import DimseError

_JOINERS: Final = "\u200c\u200d"
"""Format characters of Persian and Indic names; terminals do not act on them."""


def print_json(**fields: Any) -> None:
    """Print one JSON object on a line of standard output, and flush it."""
    print(json.dumps(fields).replace("\x7f", "\\u007f"), flush=True)


def print_line(text: str) -> None:
    """Print a line on standard output, and flush it."""
    print(printable(text), flush=True)


def print_error(text: str) -> None:
    """Print a line on standard error."""
    print(printable(text), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """`text` on one line, with control characters, direction marks and surrogates escaped."""
    if text.isprintable():
        return text
    return text.translate({ord(each): _escaped(each) for each in set(text) if not each.isprintable()})


def printable_lines(text: str) -> str:
    """`printable` for a text of several lines, such as a traceback."""
    return "\n".join(map(printable, text.split("\n")))


def _escaped(character: str) -> str:
    if character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape", "backslashreplace").decode()


def reason(error: BaseException) -> str:
    """The text of an error; with the name of its class if the text alone is not clear."""
    if isinstance(error, OSError) and not isinstance(error, DimseError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    if isinstance(error, DimseError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def reason_with_name(name: str, error: BaseException) -> str:
    """The reason of an error about the file `name`, which is named only once."""
    notes = [note for note in getattr(error, "__notes__", ()) if name not in note]
    why = "; ".join([reason(error), *notes])
    return why if name in why else f"{name}: {why}"


def reason_with_causes(error: BaseException) -> str:
    """The reason of an error, and of each of its causes that the text does not mention yet."""
    why, cause = reason(error), error.__cause__
    while cause is not None:
        why = why if reason(cause) in why else f"{why}: {reason(cause)}"
        cause = cause.__cause__
    return why


def reason_of_end(error: BaseException) -> str:
    """The reason why a whole command ended early."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return "interrupted" if isinstance(error, asyncio.CancelledError) else reason(error)


def size(count: float) -> str:
    """A number of bytes in a readable unit.

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
