"""What `dimse explain` prints fits the terminal, and nothing of the peer's gets to it unescaped."""

from __future__ import annotations

import pytest

from dimse import Address, ExplainOutcome, ExplainStep, ExplainStepName, ExplainVerdict, Explanation
from dimse.cli.explain_report import as_json, as_lines, waiting
from dimse.services.explanation import here, on_archive

EVIL = "\x1b[2Jevil\u202e"


def explained(verdict: ExplainVerdict) -> Explanation:
    steps = [ExplainStep(name, ExplainVerdict.NOT_TRIED, "") for name in ExplainStepName]
    advice = (here("word " * 30), on_archive(EVIL))
    steps[0] = ExplainStep(ExplainStepName.NAME, verdict, f"{EVIL} " * 9, "tried", advice, {"a": 1})
    return Explanation(Address.parse("A@b"), ExplainOutcome.REFUSED, f"It does not work: {EVIL}", tuple(steps), 1.23456)


def test_lines() -> None:
    lines = list(as_lines(explained(ExplainVerdict.FAILED), 60))
    assert lines[0] == r"It does not work: \x1b[2Jevil\u202e"
    assert lines[2].startswith(r"FAILED name        \x1b[2Jevil\u202e \x1b")
    assert all(len(line) <= 60 and line.isprintable() for line in lines)
    assert "       not tried, because of that: connection, tls, answer," in lines
    assert "What to change:" in lines
    assert r"- On the archive: \x1b[2Jevil\u202e" in lines
    assert "Worth knowing:" in list(as_lines(explained(ExplainVerdict.NOTE), 60))


def test_what_need_not_be_changed_stands_apart() -> None:
    steps = (
        ExplainStep(ExplainStepName.ECHO, ExplainVerdict.NOTE, "slow", "", (here("no"), on_archive("hurry"))),
        ExplainStep(ExplainStepName.TITLES, ExplainVerdict.FAILED, "bad", "", (here("no"), on_archive("register"))),
    )
    lines = list(as_lines(Explanation(Address.parse("A@b"), ExplainOutcome.REFUSED, "", steps, 1), 60))
    assert lines[-6:] == [
        "What to change:",
        "- Here: no",
        "- On the archive: register",
        "",
        "Worth knowing:",
        "- On the archive: hurry",
    ]


def test_json() -> None:
    found = as_json(explained(ExplainVerdict.FAILED))
    assert list(found) == ["address", "outcome", "summary", "advice", "steps", "seconds"]
    assert (found["address"], found["outcome"], found["seconds"]) == ("A@b:11112", "refused", 1.235)
    assert [step["step"] for step in found["steps"]] == [name.value for name in ExplainStepName]
    assert list(found["steps"][0]) == ["step", "verdict", "tried", "result", "advice", "facts"]
    assert found["advice"][1] == {"side": "archive", "text": EVIL}


def test_nothing_is_shown_while_waiting_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with waiting(Address.parse("A@b")) as ended:
        ended(explained(ExplainVerdict.OK).steps[0])
    assert capfd.readouterr() == ("", "")


def test_contexts_are_listed_by_reason_and_by_syntaxes() -> None:
    jpeg, odd = "1.2.840.10008.1.2.4.50", "1.2.3"

    def context(name: str, accepted: str | None, *proposed: str) -> dict[str, object]:
        return {"name": name, "proposed": list(proposed), "accepted": accepted, "reason": None if accepted else "why"}

    services = [context(f"S{number}", None, "a", "b") for number in range(6)]
    detail = [context("CT", jpeg, jpeg), context("CT", None, odd), context("MR", jpeg, jpeg), context("MR", None, odd)]
    facts = {"accepted": ["C-ECHO"], "contexts": [*services, *detail, context("US", None, jpeg)]}
    step = ExplainStep(ExplainStepName.SERVICES, ExplainVerdict.FAILED, "refused: x", facts=facts)
    found = Explanation(Address.parse("A@b"), ExplainOutcome.REFUSED, "", (step,), 0)
    assert [line.strip() for line in as_lines(found, 100)][1:6] == [
        "FAILED services    refused: x",
        "accepted: C-ECHO",
        "why: S0; S1; S2; S3 and 2 more (--json has all)",
        "CT; MR: in jpeg-baseline; not in 1.2.3",
        "US: in no transfer syntax",
    ]
