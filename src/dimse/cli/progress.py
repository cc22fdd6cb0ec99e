"""Progress bars on standard error; without a terminal, nothing at all."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dimse.cli.output import size


class Bar:
    """Bytes and objects that go out."""

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


class Counters:
    """What comes, in numbers that the peer tells."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._progress: Any = None
        self._task: Any = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it inside the block, and nothing of it afterwards."""
        if not sys.stderr.isatty():
            yield
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        columns = (
            TextColumn(self._doing, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[counters]}", table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True),
        )
        with Progress(*columns, console=Console(stderr=True), expand=True, transient=True) as self._progress:
            self._task = self._progress.add_task("", total=None, counters="")
            yield
        self._progress = None

    def update(self, done: int, total: int | None, words: str) -> None:
        """So many of so many, and in words."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done, total=total, counters=words)
