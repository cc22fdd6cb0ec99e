"""Receivers and an archive that are killed; `make kill` does so 800 times."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.peers.processes import need, need_pynetdicom

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def kill(script: str, *options: str) -> str:
    """Run a script that kills; what it says."""
    command = [sys.executable, str(BENCHMARKS / script), *options]
    killed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=55)  # noqa: S603 - our own
    assert (killed.returncode, killed.stderr) == (0, ""), killed.stdout + killed.stderr
    return killed.stdout


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    """By receivers, each killed at another point."""
    said = kill("kill.py", "--kills", "8", "--named", "--calls", "10", "--into", str(tmp_path))
    assert ": 8 kills, " in said


def test_nothing_that_an_archive_acknowledged_is_lost(tmp_path: Path) -> None:
    for program in ("storescu", "dcmsend"):
        need(program)
    need_pynetdicom()
    said = kill("kill_node.py", "--kills", "2", "--seed", "1", "--into", str(tmp_path))
    assert ": 2 kills, 1 of them at random, " in said
    assert " 0 faults" in said
