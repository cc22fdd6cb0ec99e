"""The fuzz targets run, and their invariants hold for what they begin with and for a few changes of it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from fuzz import guided
from fuzz.run import fuzz
from fuzz.targets import TARGETS, Target


@pytest.mark.parametrize("name", TARGETS)
def test_the_invariant_holds(name: str) -> None:
    target = TARGETS[name]
    assert (target.check.__doc__ or "").endswith(".")
    for seed in target.seeds:
        target.check(seed)
    fuzz(target, examples=50)


def test_guided_by_coverage(tmp_path: Path) -> None:
    """The same inputs each time; without atheris it says what is missing."""
    command = [sys.executable, str(guided.__file__), "--inputs", "1000", "--folder", str(tmp_path), "acceptor"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    if find_spec("atheris") is None:
        assert (done.returncode, done.stderr.count("atheris")) == (2, 1)
    else:
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.startswith("acceptor: 1000 inputs")


def test_a_broken_invariant_is_found() -> None:
    def check(data: bytes) -> None:
        assert b"x" not in data

    with pytest.raises(AssertionError):
        fuzz(Target(check, (b"wyz",)), examples=1000)
