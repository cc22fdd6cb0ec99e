"""A few seconds of the soak; `make soak` takes ten minutes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "soak.py"


def test_a_short_soak_is_flat() -> None:
    command = [sys.executable, str(SCRIPT), "--seconds", "2"]
    soaked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=55)  # noqa: S603 - our own
    assert (soaked.returncode, soaked.stdout.splitlines()[-1:]) == (0, ["flat"]), soaked.stdout + soaked.stderr
