"""Progress bars on standard error. They are shown only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dimse.cli.output import size


@contextmanager
def _shown(*columns: Any, stays: bool = True) -> Iterator[Any]:
    """Show the columns on one line inside the block. A bar that did not move vanishes.

    What is printed stays above the bar if it is on the same terminal, and goes to its file or pipe if not.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(*columns, console=console, expand=True, redirect_stdout=sys.stdout.isatty()) as progress:
        try:
            yield progress
        finally:
            progress.live.transient = not stays or not any(task.completed for task in progress.tasks)


class TransferBar:
    """Bytes and objects that were sent."""

    def __init__(self) -> None:
        self._progress: Any = None
        self._task: Any = None
        self._total = 0
        self._done = 0

    @contextmanager
    def shown(self, total_bytes: int | None, objects: int) -> Iterator[None]:
        """Show the bar inside the block, for a transfer of `objects` objects."""
        self._total = objects
        self._done = 0  # results before the transfer, such as unreadable files, are not part of it
        if not sys.stderr.isatty():
            yield
            return
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.table import Column

        def one_line() -> Column:
            return Column(no_wrap=True)

        columns = (
            TextColumn("Sending", table_column=one_line()),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[amount]}", style="progress.download", table_column=one_line()),
            TextColumn("{task.fields[rate]}", style="progress.data.speed", table_column=one_line()),
            TextColumn("{task.fields[objects]}", table_column=one_line()),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        )
        with _shown(*columns) as self._progress:
            fields = {"amount": _amount(0, total_bytes), "rate": "", "objects": self._objects()}
            self._task = self._progress.add_task("", total=total_bytes, **fields)
            yield
        self._progress = None

    def update(self, bytes_sent: int, bytes_per_second: float, total: int | None) -> None:
        """Show the number of bytes sent so far, the rate, and the total as it is known now."""
        if self._progress is not None:
            amount, rate = _amount(bytes_sent, total), f"{size(bytes_per_second)}/s"
            self._progress.update(self._task, completed=bytes_sent, total=total, amount=amount, rate=rate)

    def add_object(self) -> None:
        """Count one more object as done."""
        self._done += 1
        if self._progress is not None:
            self._progress.update(self._task, objects=self._objects())

    def _objects(self) -> str:
        return f"{self._done}/{self._total} objects"


def _amount(count: int, total: float | None) -> str:
    """Bytes of a total, in its unit: `1.5/5.8 MB`."""
    if total is None:
        return size(count)
    of_total, unit = size(total).split()
    exponent = ("bytes", "KB", "MB", "GB", "TB").index(unit)
    return f"{count / 1000**exponent:.{min(exponent, 1)}f}/{of_total} {unit}"


class CounterBar:
    """Progress of an operation by its counters. It stays at the end, unless the result itself shows the counters."""

    def __init__(self, title: str, *, stays: bool = True) -> None:
        self._title = title
        self._stays = stays
        self._progress: Any = None
        self._task: Any = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the bar inside the block."""
        if not sys.stderr.isatty():
            yield
            return
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.table import Column

        columns = (
            TextColumn(self._title, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[text]}", table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        )
        with _shown(*columns, stays=self._stays) as self._progress:
            self._task = self._progress.add_task("", total=None, text="")
            yield
            if self._progress.tasks[0].total is None:  # it would seem to go on
                self._progress.update(self._task, total=1, completed=1)
        self._progress = None

    def update(self, done: int, total: int | None, text: str) -> None:
        """Show that `done` of `total` are done, and `text`."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done, total=total, text=text)
