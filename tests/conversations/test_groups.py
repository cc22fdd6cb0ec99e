"""Hostile conversations: all through the machine, some of each group over sockets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.conversations import machine_driver
from tests.conversations.groups import GROUPS
from tests.conversations.run import main
from tests.conversations.socket_driver import Standing

SHOWN = 20
"""The most failures that are shown of a group."""


def test_through_the_machine() -> None:
    for name, group in GROUPS.items():
        assert machine_driver.check_all(group.cases(), thorough=group.is_thorough)[:SHOWN] == [], name


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # what it thinks of values
@pytest.mark.parametrize("part", [0, 1])
async def test_over_sockets(part: int, tmp_path: Path) -> None:
    async with Standing(tmp_path) as standing:
        for name, group in list(GROUPS.items())[part::2]:
            failures = await standing.run(list(group.cases())[:: group.every])
            assert failures[:SHOWN] == [], name


def test_the_script_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "silence", "ends"])
    assert main() == 0
    assert "silence" in capsys.readouterr().out
