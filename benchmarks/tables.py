"""Tables in Markdown, padded so that they can be read as text too."""

from __future__ import annotations

from collections.abc import Sequence


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
