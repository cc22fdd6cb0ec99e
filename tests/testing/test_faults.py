"""Faults are due for the operation that they were ordered for, and for no other."""

from __future__ import annotations

import pytest

from dimse.testing.faults import Answer, Delay, Drop, Fault, Faults, Refuse


def test_a_fault_is_due_for_the_nth_from_now_or_for_each() -> None:
    faults = Faults()
    faults.order("C-ECHO", Delay(1))
    assert faults.due("C-ECHO") == [Delay(1)]
    faults.order("C-ECHO", Drop(), nth=2)
    assert [faults.due(operation) for operation in ("C-ECHO", "C-STORE", "C-ECHO", "C-ECHO")] == [
        [Delay(1)],
        [],
        [Delay(1), Drop()],
        [Delay(1)],
    ]
    faults.clear()
    assert faults.due("C-ECHO") == []


@pytest.mark.parametrize(
    ("operation", "fault", "nth", "reason"),
    [
        ("C-PRINT", Drop(), None, "must be one of A-ASSOCIATE, C-ECHO"),
        ("C-STORE", Refuse(), None, "Refuse is for A-ASSOCIATE"),
        ("A-ASSOCIATE", Answer(0), None, "Answer is for operations"),
        ("C-STORE", Drop(), 0, "nth must be at least 1"),
    ],
)
def test_a_fault_that_cannot_be_is_not_ordered(operation: str, fault: Fault, nth: int | None, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Faults().order(operation, fault, nth)
