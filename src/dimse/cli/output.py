"""Text and JSON: the only way to the terminal for the commands' output, which may quote a peer."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from typing import Any, Final, TextIO

from dimse.errors import (
    AssociationError,
    AssociationTimeout,
    DimseError,
    PresentationContextError,
    RemoteProtocolError,
    StatusError,
)
from dimse.status import StatusCategory

_GIVEN_BY_TIMEOUT: Final = ("connect", "association", "store", "find", "get", "move")
"""The timers that --timeout sets."""

_ALL_OF_THEM: Final = "dimse find --complete --csv finds all, for dimse retrieve --from -"

_JOINERS: Final = "\u200c\u200d"
"""Format characters of Persian and Indic names; terminals do not act on them."""


def print_json(**fields: Any) -> None:
    """Print one JSON object on a line of standard output, and flush it."""
    print(json.dumps(fields).replace("\x7f", "\\u007f"), flush=True)


def print_line(text: str) -> None:
    """Print a line on standard output, and flush it."""
    print(printable(text), flush=True)


def print_verbatim(text: str) -> None:
    """Print a text of our own, which quotes nobody, as it is."""
    print(text, end="", flush=True)


def print_error(text: str) -> None:
    """Print a line on standard error. If its reader has exited, the line is lost, and the command goes on."""
    try:
        print(printable(text), file=sys.stderr, flush=True)
    except BrokenPipeError:
        drop_output(sys.stderr)


def print_failure(why: str, exit_code: int, error: BaseException | None = None, *, json: bool) -> None:
    """Print why the command fails; with `json` also as its last JSON object, which has the peer and the exit code."""
    print_error(f"dimse: {why}{'' if error is None else next_step(error)}")
    if json:
        peer = error if isinstance(error, DimseError) else DimseError()
        print_json(event="error", error=why, address=peer.address, doing=peer.doing, exit_code=exit_code)


def drop_output(stream: TextIO) -> None:
    """Drop what is written from now on: the reader has exited, and the interpreter must not fail when it flushes."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


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


def reason(error: BaseException, *, with_peer: bool = True) -> str:
    """The text of an error; with the name of its class if the text alone is not clear.

    `with_peer` names the peer in it; one line of many about the same peer need not.
    """
    if isinstance(error, OSError) and not isinstance(error, DimseError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    if isinstance(error, DimseError) and str(error):
        text = str(error) if with_peer else error.text
        return text.replace(*_in_words(error.timer)) if isinstance(error, AssociationTimeout) else text
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _in_words(timer: str) -> tuple[str, str]:
    """The option of Python that an error names, and that of the command line."""
    return f" (Timeouts.{timer})", " (--timeout)" if timer in _GIVEN_BY_TIMEOUT else ""


def next_step(error: BaseException) -> str:
    """What to do about an error whose text does not say it, to append to it; empty if nothing general helps."""
    if isinstance(error, AssociationError | RemoteProtocolError | PresentationContextError):
        is_requestor = error.address is not None and "@" in error.address
        return f" (see dimse explain {error.address})" if is_requestor else ""
    if isinstance(error, StatusError) and error.doing == "C-FIND":
        is_cut = error.status.is_out_of_resources or error.status.category is StatusCategory.CANCEL
        return f" (the archive limits its answers; {_ALL_OF_THEM})" if is_cut else ""
    return ""


def reason_with_name(name: str, error: BaseException) -> str:
    """The reason of an error about the file `name`, which is named only once. The peer is named in the summary."""
    notes = [note for note in getattr(error, "__notes__", ()) if name not in note]
    why = "; ".join([reason(error, with_peer=False), *notes])
    return why if name in why else f"{name}: {why}"


def reason_with_causes(error: BaseException) -> str:
    """The reason of an error, of each of its causes that the text does not mention yet, and its advice."""
    why, cause = reason(error), error.__cause__
    while cause is not None:
        why = why if reason(cause) in why else f"{why}: {reason(cause)}"
        cause = cause.__cause__
    return "; ".join([why, *getattr(error, "__notes__", ())])


def reason_of_end(error: BaseException) -> str:
    """The reason why a whole command ended early."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    from asyncio import CancelledError  # help does without it

    return "interrupted" if isinstance(error, CancelledError) else reason(error)


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


def duration(seconds: float) -> str:
    """A time in a readable unit.

    >>> duration(0.012), duration(3.14)
    ('12 ms', '3.1 s')
    """
    return f"{seconds:.1f} s" if seconds >= 0.9995 else f"{seconds * 1000:.0f} ms"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """`1 object`, `2 objects`."""
    return f"{count} {noun}" if count == 1 else f"{count} {plural or noun + 's'}"
