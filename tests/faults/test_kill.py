"""Receivers that are killed at each named point; `make kill` kills 500 times, at random too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kill.py"


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--kills", "8", "--named", "--calls", "10", "--into", str(tmp_path)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=55)  # noqa: S603 - our own
    assert (killed.returncode, killed.stderr) == (0, ""), killed.stdout + killed.stderr
    assert ": 8 kills, " in killed.stdout
