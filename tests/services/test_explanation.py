"""The result of `explain`."""

from __future__ import annotations

from dimse import Address, ExplainOutcome, ExplainStep, ExplainStepName, ExplainVerdict, Explanation
from dimse.services.explanation import here, in_between, on_archive


def test_what_failed_is_advised_first_and_nothing_twice() -> None:
    steps = (
        ExplainStep(ExplainStepName.CONNECTION, ExplainVerdict.NOTE, "", advice=(in_between("b"), here("c"))),
        ExplainStep(ExplainStepName.TITLES, ExplainVerdict.FAILED, "", advice=(on_archive("a"),)),
        ExplainStep(ExplainStepName.SERVICES, ExplainVerdict.NOTE, "", advice=(here("c"),)),
    )
    found = Explanation(Address.parse("A@b"), ExplainOutcome.REFUSED, "", steps, 0)
    assert found.advice == (on_archive("a"), in_between("b"), here("c"))
    assert found[ExplainStepName.TITLES] is steps[1]
