"""Progress bars on standard error. They are shown only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dimse.cli.output import size


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
            self._task = self._progress.add_task("", total=total_bytes, rate="", objects=self._objects())
            yield
        self._progress = None

    def update(self, bytes_sent: int, bytes_per_second: float) -> None:
        """Show the number of bytes sent so far, and the rate."""
        if self._progress is not None:
            self._progress.update(self._task, completed=bytes_sent, rate=f"{size(bytes_per_second)}/s")

    def add_object(self) -> None:
        """Count one more object as done."""
        self._done += 1
        if self._progress is not None:
            self._progress.update(self._task, objects=self._objects())

    def _objects(self) -> str:
        return f"{self._done}/{self._total} objects"


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
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        columns = (
            TextColumn(self._title, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[text]}", table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        )
        console = Console(stderr=True)
        with Progress(*columns, console=console, expand=True, transient=not self._stays) as self._progress:
            self._task = self._progress.add_task("", total=None, text="")
            yield
            if self._progress.tasks[0].total is None:  # it would seem to go on
                self._progress.update(self._task, total=1, completed=1)
        self._progress = None

    def update(self, done: int, total: int | None, text: str) -> None:
        """Show that `done` of `total` are done, and `text`."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done, total=total, text=text)
