"""Each command's help says what its exit codes mean."""

from __future__ import annotations

import pytest

from dimse.cli import exit_codes
from dimse.cli.app import COMMANDS, run


@pytest.mark.parametrize("command", [[], *(name.split() for name in COMMANDS)])
def test_help_of_each_command_tells_the_exit_codes(capfd: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert run([*command, "--help"]) == 0
    text = " ".join(capfd.readouterr().out.split())
    assert "Exit codes: 0 " in text
    assert "; 1 " in text
    assert "; 2 wrong usage" in text
    assert "130 " in text


def test_the_codes_are_those_of_the_help() -> None:
    codes = {exit_codes.OK, exit_codes.FAILED, exit_codes.USAGE, exit_codes.NO_ASSOCIATION, exit_codes.INTERRUPTED}
    assert {int(part.split()[0]) for part in exit_codes.EXIT_CODES.split("; ")} == codes
