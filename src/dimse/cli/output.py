"""Words and JSON: what the commands share of telling what happened."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


def counted(count: int, noun: str) -> str:
    """`1 object`, `2 objects`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


class Bar:
    """A progress bar on standard error; without a terminal, nothing at all."""

    def __init__(self) -> None:
        self._progress: Any = None
        self._task: Any = None
        self._objects = 0
        self._done = 0

    @contextmanager
    def over(self, total_bytes: int | None, objects: int) -> Iterator[None]:
        """Show it inside the block."""
        self._objects, self._done = objects, 0  # what was told of before is not on its way
        if not sys.stderr.isatty():
            yield
            return
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        def one_line() -> Column:
            return Column(no_wrap=True)

        columns = (
            TextColumn("Sending", table_column=one_line()),
            BarColumn(bar_width=None),
            DownloadColumn(table_column=one_line()),
            TextColumn("{task.fields[rate]}", style="progress.data.speed", table_column=one_line()),
            TextColumn("{task.fields[objects]}", table_column=one_line()),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        )
        with Progress(*columns, console=Console(stderr=True), expand=True) as self._progress:
            self._task = self._progress.add_task("", total=total_bytes, rate="", objects=self._count())
            yield
        self._progress = None

    def moved(self, done: int, bytes_per_second: float) -> None:
        """So many bytes are there."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done, rate=f"{size(bytes_per_second)}/s")

    def finished_one(self) -> None:
        """One more object is through."""
        self._done += 1
        if self._progress is not None:
            self._progress.update(self._task, objects=self._count())

    def _count(self) -> str:
        return f"{self._done}/{self._objects} objects"
