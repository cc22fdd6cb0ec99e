"""The commands that the demo runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from dimse.demo.processes import receiver, run_command


def test_a_command_is_shown_and_its_exit_code_returned(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command("--version") == 0
    shown, printed = capfd.readouterr().out.strip().splitlines()
    assert shown == "$ dimse --version"
    assert printed.startswith("dimse ")


def test_a_receiver_that_does_not_start(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    with pytest.raises(OSError, match="did not start"), receiver(taken, "DEMO"):
        raise AssertionError
    assert "not a folder" in capfd.readouterr().err
