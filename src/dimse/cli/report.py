"""The report of a job: each result as soon as it is known, and a summary, as text or as JSON lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from time import perf_counter
from typing import Any, Protocol

from dimse.cli.output import print_error, print_json, print_line


class Writer(Protocol):
    """Writes an event of a job in one of the forms that it has."""

    def write(self, event: str, fields: Mapping[str, Any], text: str | None, *, is_problem: bool) -> None:
        """Write the event. `text` is None for an event that only a program needs."""


class TextWriter:
    """Writes lines of text: problems to standard error, everything else to standard output."""

    def write(self, event: str, fields: Mapping[str, Any], text: str | None, *, is_problem: bool) -> None:  # noqa: ARG002
        if text is not None:
            (print_error if is_problem else print_line)(text)


class JsonWriter:
    """Writes one JSON object per event to standard output."""

    def write(self, event: str, fields: Mapping[str, Any], text: str | None, *, is_problem: bool) -> None:  # noqa: ARG002
        print_json(event=event, **fields)


class Report:
    """Counts the results of a job, and writes them.

    A subclass for a kind of job decides about the fields and the text of each event.
    """

    def __init__(self, *, json: bool) -> None:
        self.counts: Counter[str] = Counter()
        """Results by outcome."""
        self.bytes = 0
        self.is_json = json
        """Whether the output is for a program, which needs no progress bar."""
        self._writer: Writer = JsonWriter() if json else TextWriter()
        self._start = perf_counter()

    @property
    def seconds(self) -> float:
        """Time since the job began."""
        return perf_counter() - self._start

    def begin(self) -> None:
        """Restart the clock: the steps before this are not part of the job."""
        self._start = perf_counter()

    def write(self, event: str, fields: Mapping[str, Any], text: str | None, *, is_problem: bool = False) -> None:
        """Write an event: its fields as JSON, or its text."""
        self._writer.write(event, fields, text, is_problem=is_problem)
