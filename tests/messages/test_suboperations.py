"""The counters of sub-operations."""

from __future__ import annotations

from typing import Any

import pytest

from dimse import C_MOVE_RSP, Status, SubOperations


def response(*counters: int | None) -> C_MOVE_RSP:
    names = ("remaining", "completed", "failed", "warning")
    given: dict[str, Any] = {
        f"number_of_{name}_suboperations": each for name, each in zip(names, counters, strict=True)
    }
    return C_MOVE_RSP(message_id_being_responded_to=1, status=Status.PENDING, **given)


@pytest.mark.parametrize(
    ("counters", "total", "words"),
    [
        ((3, 4, 2, 1), 10, "5 of 10 instances retrieved, 2 failed"),
        ((0, 2, 0, 0), 2, "2 of 2 instances retrieved"),
        ((None, 2, 0, None), None, "2 instances retrieved"),
        ((0, 0xFFFF, 0, 0), None, "65535 instances retrieved"),
    ],
)
def test_the_counters_of_a_response(counters: tuple[int | None, ...], total: int | None, words: str) -> None:
    suboperations = SubOperations.of(response(*counters))
    assert suboperations == SubOperations(*counters)
    assert suboperations.total == total
    assert str(suboperations) == words
