"""Which AE title an archive does not accept: it is tried with a few others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dimse.services.explanation import ExplainAdvice, ExplainStep, ExplainStepName, ExplainVerdict, here, on_archive
from dimse.upper_layer.pdu import A_ASSOCIATE_RJ

MAXIMUM_TITLES: Final = 6
"""Pairs of titles that are tried after a rejection: more would look like an attack."""

ANY_TITLE: Final = "ANY-SCP"
"""The called title that many archives accept."""

_CALLING: Final = (1, 3)
_CALLED: Final = (1, 7)


@dataclass(frozen=True, slots=True)
class Titles:
    """A called and a calling AE title, and how the archive answered."""

    called: str
    calling: str
    words: str
    is_accepted: bool = False


def others(
    called: str, calling: str, more_called: Iterable[str], more_calling: Iterable[str], rejection: A_ASSOCIATE_RJ
) -> list[tuple[str, str]]:
    """The pairs of titles to try: first those that change the title which the archive complains about."""
    by_called = [(title, calling) for title in (*more_called, called.upper(), ANY_TITLE)]
    by_calling = [(called, title) for title in (*more_calling, calling.upper())]
    both = [(title, other) for title in more_called for other in more_calling]
    is_calling = (rejection.source, rejection.reason) == _CALLING
    pairs = [*by_calling, *by_called, *both] if is_calling else [*by_called, *by_calling, *both]
    return [pair for pair in dict.fromkeys(pairs) if pair != (called, calling)][:MAXIMUM_TITLES]


def step(first: Titles, rejection: A_ASSOCIATE_RJ | None, tried: Sequence[Titles]) -> ExplainStep:
    """The result. Without `rejection` the archive has accepted the `first` titles."""
    facts = _facts(first, rejection, tried)
    asked = f"called title {first.called}, calling title {first.calling}"
    if rejection is None:
        return ExplainStep(ExplainStepName.TITLES, ExplainVerdict.OK, "both titles are accepted", asked, facts=facts)
    found = next((each for each in tried if each.is_accepted), None)
    words, advice = _refused(first, rejection) if found is None else _found(first, found)
    others_tried = f"; then {len(tried)} other pairs" if len(tried) > 1 else "; then another pair" if tried else ""
    return ExplainStep(ExplainStepName.TITLES, ExplainVerdict.FAILED, words, asked + others_tried, advice, facts)


def _facts(first: Titles, rejection: A_ASSOCIATE_RJ | None, tried: Sequence[Titles]) -> dict[str, Any]:
    numbers = (None, None, None) if rejection is None else (rejection.result, rejection.source, rejection.reason)
    return {
        "called": first.called,
        "calling": first.calling,
        "accepted": rejection is None,
        **dict(zip(("result", "source", "reason"), numbers, strict=True)),
        "tried": [
            {"called": each.called, "calling": each.calling, "accepted": each.is_accepted, "answer": each.words}
            for each in (first, *tried)
        ],
    }


def user_refused(given: Titles, rejection: A_ASSOCIATE_RJ) -> ExplainStep:
    """The archive rejects these titles with a user identity, and accepts them without one."""
    advice = (
        here("check the user, and the password or token; or connect without a user"),
        on_archive(f"permit this user to connect as {given.calling}"),
    )
    words = f"the archive accepts these titles, but not with this user identity: {given.words}"
    facts = _facts(given, rejection, ())
    return ExplainStep(ExplainStepName.TITLES, ExplainVerdict.FAILED, words, "with a user and without", advice, facts)


def _found(first: Titles, found: Titles) -> tuple[str, tuple[ExplainAdvice, ...]]:
    words, advice = [], []
    if found.called != first.called:
        words.append(f"as its own title it accepts {found.called}, not {first.called}")
        advice.append(here(f"write {found.called} as the title in the address"))
    if found.calling != first.calling:
        words.append(f"it knows the calling title {found.calling}, not {first.calling}")
        advice += [
            here(
                f"use the calling title {found.calling} (--calling {found.calling}), if it is yours to use",
            ),
            on_archive(f"or register the calling title {first.calling}"),
        ]
    return f"the archive rejects these titles: {', and '.join(words)}", tuple(advice)


def _refused(first: Titles, rejection: A_ASSOCIATE_RJ) -> tuple[str, tuple[ExplainAdvice, ...]]:
    if (rejection.source, rejection.reason) == _CALLED:
        return f"the archive does not know its own title as {first.called}: {first.words}", (
            here("write the archive's AE title in the address, in its exact case: TITLE@host:port"),
            on_archive(
                f"look up its title; some answer this for an unknown calling title too: then register {first.calling}",
            ),
        )
    if (rejection.source, rejection.reason) == _CALLING:
        return f"the archive does not know our title {first.calling}: {first.words}", (
            on_archive(
                f"register the calling AE title {first.calling}, with the address of this host if it asks for that",
            ),
            here("or use a title that is registered there: --calling TITLE"),
        )
    if rejection.result == 2:
        return first.words, (
            on_archive("see whether it is at its limit of associations, starting or stopping"),
            here("try again later, and with fewer associations at once"),
        )
    return first.words, (
        on_archive(
            f"its log says why; first see whether it knows the calling title {first.calling} and this host's address",
        ),
        here(f"check that {first.called} is its title"),
    )
