"""Tables in Markdown, padded so that they can be read as text too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


def target(text: str, wanted: str = "", measured: str = "", *, reached: bool | None = None) -> str:
    """A line of the table of targets. Where none was set, `reached` is None."""
    verdict = {None: "", True: "reached", False: "**NOT reached**"}[reached]
    return f"| {text} | {wanted} | {measured} | {verdict} |"


@dataclass(frozen=True)
class Section:
    """One part of the benchmark: what was measured, and what was to be reached."""

    title: str
    about: str
    """How it was measured."""
    table: str
    targets: list[str] = field(default_factory=list)
    numbers: Sequence[Mapping[str, Any]] = ()
    """For the JSON file."""


class Table:
    """Columns of text, with `widths`, and after them columns of numbers with theirs."""

    def __init__(self, texts: Sequence[str], numbers: Sequence[tuple[str, int]], *, widths: Sequence[int]) -> None:
        self._widths = [*widths, *(width for _, width in numbers)]
        self._texts = len(texts)
        rules = ["-" * width for width in widths] + ["-" * (width - 1) + ":" for _, width in numbers]
        self.header = f"{self.line(*texts, *(title for title, _ in numbers))}\n{self.line(*rules)}"

    def line(self, *cells: str) -> str:
        """One row."""
        padded = (
            cell.ljust(width) if number < self._texts else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(cells, self._widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"
