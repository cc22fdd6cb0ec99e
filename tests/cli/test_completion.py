"""`dimse completion`. Real shells run its scripts in `tests/peers/test_shells.py`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from dimse.cli.app import run


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_has_commands_options_choices_and_keywords(capfd: pytest.CaptureFixture[str], shell: str) -> None:
    assert run(["completion", shell]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    for word in ("retrieve", "calling", "STUDY", "jpeg2000-lossless", "bcp195", "PatientName="):
        assert word in out


def test_without_shtab_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert run(["completion", "bash"]) == 1
    assert capfd.readouterr() == ("", 'dimse: completion needs shtab; install it with: pip install "dimse[cli]"\n')


def test_a_shell_that_is_not_known(dimse: Callable[..., Any]) -> None:
    done = dimse("completion", "csh")
    assert done.code == 2
    assert "invalid choice: 'csh'" in done.err
