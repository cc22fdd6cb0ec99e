"""The help of every command. It runs in this process, as there is much of it."""

from __future__ import annotations

import re

import pytest

from dimse.cli.app import COMMANDS, run
from dimse.cli.parser import width


@pytest.mark.parametrize(("columns", "widest"), [("60", 60), ("200", 100)])
@pytest.mark.parametrize("command", [[], *(name.split() for name in COMMANDS)])
def test_help_fits_the_terminal_and_is_never_wide(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    columns: str,
    widest: int,
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert run([*command, "-h"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert max(map(len, lines)) <= widest


def test_the_width_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for columns, expected in (("60", 60), ("1000", 100), ("x", 80), ("0", 80)):
        monkeypatch.setenv("COLUMNS", columns)
        assert width() == expected


def test_the_usage_has_what_must_be_given_and_options_are_in_groups(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for command, usage, groups in (
        ("send", "TITLE@HOST:PORT PATH [PATH ...]", ["positional arguments", "options", "TLS", "user identity", "log"]),
        (
            "receive",
            "DIR",
            [
                *("positional arguments", "options", "access and limits", "TLS"),
                *("commands on arrival", "forwarding", "faults, to test senders", "log"),
            ],
        ),
        ("get", "TITLE@HOST:PORT -o DIR", ["positional arguments", "options", "TLS", "user identity", "log"]),
    ):
        assert run([command, "--help"]) == 0
        text = capfd.readouterr().out
        assert text.startswith(f"usage: dimse {command} [options] {usage}\n\n")
        assert re.findall(r"^(\S.*):$", text, re.MULTILINE) == groups
