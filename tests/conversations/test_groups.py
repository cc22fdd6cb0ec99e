"""Hostile conversations, all through the machine."""

from __future__ import annotations

import sys

import pytest
from tests.conversations import machine_driver
from tests.conversations.groups import GROUPS
from tests.conversations.run import main

SHOWN = 20
"""The most failures that are shown of a group."""


@pytest.mark.parametrize("name", GROUPS)
def test_through_the_machine(name: str) -> None:
    group = GROUPS[name]
    assert machine_driver.check_all(group.cases(), thorough=group.is_thorough)[:SHOWN] == []


def test_the_script_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "silence", "ends"])
    assert main() == 0
    assert "silence" in capsys.readouterr().out
