"""The lock of a data folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dimse.node.data_folder import alone, served, worked_on

HOLD = """
import sys
from pathlib import Path
from dimse.node.data_folder import served
with served(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_has_it_until_it_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "data")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:  # noqa: S603 - our own
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(OSError, match="another node serves"), served(tmp_path / "data"):
            pass
        other.kill()
        other.wait()
    with served(tmp_path / "data"):
        pass


def test_commands_work_beside_one_another_and_the_node(tmp_path: Path) -> None:
    with served(tmp_path), worked_on(tmp_path), worked_on(tmp_path):
        pass


def test_who_must_be_alone_is_told_what_to_end(tmp_path: Path) -> None:
    with served(tmp_path), pytest.raises(OSError, match="stop it first"), alone(tmp_path):
        pass
    with worked_on(tmp_path), pytest.raises(OSError, match="another command is at work"), alone(tmp_path):
        pass


def test_nothing_begins_beside_who_is_alone(tmp_path: Path) -> None:
    with alone(tmp_path):
        with pytest.raises(OSError, match="another node serves"), served(tmp_path):
            pass
        with pytest.raises(OSError, match="being rebuilt"), worked_on(tmp_path):
            pass
