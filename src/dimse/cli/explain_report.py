"""What `dimse explain` prints: the result in one sentence, the steps, and what to change; or all of it as JSON."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from dimse.address import Address
from dimse.cli.output import printable
from dimse.services.explanation import ExplainSide, ExplainStep, ExplainVerdict, Explanation

_MARKS: Final = {ExplainVerdict.OK: "ok", ExplainVerdict.NOTE: "note", ExplainVerdict.FAILED: "FAILED"}
_SIDES: Final = {ExplainSide.HERE: "Here", ExplainSide.ARCHIVE: "On the archive", ExplainSide.NETWORK: "In between"}
_WIDEST: Final = 100


def as_json(explanation: Explanation) -> dict[str, Any]:
    """All of it, with the same keys whatever was found."""
    return {
        "address": str(explanation.address),
        "outcome": explanation.outcome.value,
        "summary": explanation.summary,
        "advice": [{"side": each.side.value, "text": each.text} for each in explanation.advice],
        "steps": [
            {
                "step": step.name.value,
                "verdict": step.verdict.value,
                "tried": step.tried,
                "result": step.result,
                "advice": [{"side": each.side.value, "text": each.text} for each in step.advice],
                "facts": step.facts,
            }
            for step in explanation.steps
        ],
        "seconds": round(explanation.seconds, 3),
    }


def as_lines(explanation: Explanation, width: int) -> Iterator[str]:
    """Lines of text, at most `width` columns wide where words allow it."""
    yield from _wrapped(explanation.summary, "", "", width)
    yield ""
    for step in explanation.steps:
        if step.verdict is not ExplainVerdict.NOT_TRIED:
            yield from _wrapped(step.result, f"{_MARKS[step.verdict]:7}{step.name.value:12}", " " * 19, width)
    missing = [step.name.value for step in explanation.steps if step.verdict is ExplainVerdict.NOT_TRIED]
    if missing:
        yield from _wrapped(f"not tried, because of that: {', '.join(missing)}", "       ", " " * 7, width)
    if explanation.advice:
        yield ""
        yield (
            "What to change:"
            if any(step.verdict is ExplainVerdict.FAILED for step in explanation.steps)
            else "Worth knowing:"
        )
        for advice in explanation.advice:
            yield from _wrapped(f"{_SIDES[advice.side]}: {advice.text}", "- ", "  ", width)


def _wrapped(text: str, first: str, rest: str, width: int) -> Iterator[str]:
    yield from textwrap.wrap(
        printable(text),
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
        break_long_words=False,
    )


@contextmanager
def waiting(address: Address) -> Iterator[Callable[[ExplainStep], None]]:
    """Show on the terminal which step has ended last, until the block ends. Yields what to call with each step."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(f"talking to {address}")) as status:

        def ended(step: ExplainStep) -> None:
            status.update(Text(f"talking to {address}; {step.name.value}: {_MARKS[step.verdict]}"))

        yield ended


def width() -> int:
    """Columns of the terminal."""
    columns = 0
    with suppress(ValueError, OSError):
        columns = int(os.environ.get("COLUMNS") or os.get_terminal_size().columns)
    return min(columns if columns > 0 else 80, _WIDEST)
