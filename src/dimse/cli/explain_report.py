"""What `dimse explain` prints: the result in one sentence, the steps, and what to change; or all of it as JSON."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from dimse.address import Address
from dimse.cli.output import printable
from dimse.services.explanation import ExplainSide, ExplainStep, ExplainStepName, ExplainVerdict, Explanation
from dimse.uids import TRANSFER_SYNTAXES

_MARKS: Final = {ExplainVerdict.OK: "ok", ExplainVerdict.NOTE: "note", ExplainVerdict.FAILED: "FAILED"}
_SHORT_NAMES: Final = {uid: name for name, uid in TRANSFER_SYNTAXES.items()}
_SIDES: Final = {ExplainSide.HERE: "Here", ExplainSide.ARCHIVE: "On the archive", ExplainSide.NETWORK: "In between"}
_INDENT: Final = " " * 19
_NAMED: Final = 4
"""Refused services or SOP classes that are named; more are counted."""

Contexts = Sequence[Mapping[str, Any]]


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
            yield from _wrapped(step.result, f"{_MARKS[step.verdict]:7}{step.name.value:12}", _INDENT, width)
            for text in _details(step):
                yield from _wrapped(text, _INDENT, _INDENT + "  ", width)
    missing = [step.name.value for step in explanation.steps if step.verdict is ExplainVerdict.NOT_TRIED]
    if missing:
        yield from _wrapped(f"not tried, because of that: {', '.join(missing)}", "       ", " " * 7, width)
    failed = {advice for step in explanation.steps if step.verdict is ExplainVerdict.FAILED for advice in step.advice}
    for title, is_needed in (("What to change:", True), ("Worth knowing:", False)):
        chosen = [advice for advice in explanation.advice if (advice in failed) is is_needed]
        if chosen:
            yield ""
            yield title
        for advice in chosen:
            yield from _wrapped(f"{_SIDES[advice.side]}: {advice.text}", "- ", "  ", width)


def _details(step: ExplainStep) -> Iterator[str]:
    if step.name is ExplainStepName.SERVICES and step.verdict is ExplainVerdict.FAILED:
        yield f"accepted: {'; '.join(step.facts.get('accepted', ()))}"
    yield from _context_lines(step.facts.get("contexts", ()))


def _context_lines(contexts: Contexts) -> Iterator[str]:
    """What is refused for which reason, and the transfer syntaxes of the SOP classes that were asked for in detail."""
    refused: dict[str, list[str]] = {}
    syntaxes: dict[str, tuple[list[str], list[str]]] = {}
    for context in contexts:
        if len(context["proposed"]) > 1 and context["accepted"] is None:
            refused.setdefault(context["reason"], []).append(context["name"])
        elif len(context["proposed"]) == 1:
            (proposed,) = context["proposed"]
            both = syntaxes.setdefault(context["name"], ([], []))
            both[context["accepted"] is None].append(_SHORT_NAMES.get(proposed, proposed))
    for reason, names in refused.items():
        yield f"{reason}: {_listed(names)}"
    alike: dict[str, list[str]] = {}
    for name, (accepted, not_accepted) in syntaxes.items():
        text = f"in {', '.join(accepted)}" if accepted else "in no transfer syntax"
        text += f"; not in {', '.join(not_accepted)}" if accepted and not_accepted else ""
        alike.setdefault(text, []).append(name)
    for text, names in alike.items():
        yield f"{_listed(names)}: {text}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return "; ".join(names) if more <= 0 else f"{'; '.join(names[:_NAMED])} and {more} more (--json has all)"


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
