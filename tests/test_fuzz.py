"""The fuzz targets run, and their invariants hold for what they begin with and for a few changes of it."""

from __future__ import annotations

import pytest
from fuzz.run import fuzz
from fuzz.targets import TARGETS, Target


@pytest.mark.parametrize("name", TARGETS)
def test_the_invariant_holds(name: str) -> None:
    target = TARGETS[name]
    assert (target.check.__doc__ or "").endswith(".")
    for seed in target.seeds:
        target.check(seed)
    fuzz(target, examples=50)


def test_a_broken_invariant_is_found() -> None:
    def check(data: bytes) -> None:
        assert b"x" not in data

    with pytest.raises(AssertionError):
        fuzz(Target(check, (b"wyz",)), examples=1000)
