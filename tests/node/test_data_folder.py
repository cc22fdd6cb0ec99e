"""The lock of a data folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dimse.node.data_folder import served

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
