"""Hostile conversations with our commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from tests.conversations.cases import Case, State, Then
from tests.conversations.command_driver import COMMANDS, cases_for, check
from tests.conversations.groups import GROUPS

FILE = Path(str(get_testdata_file("CT_small.dcm", download=False)))
EVERY = {"echo": 41}
"""Each so many-th case is had with a command; 131st if it is not here."""

SILENCE = [
    Case("silence", b"", "", state=State.REQUESTED, then=Then.STALL),
    Case("silence in a header", b"\2\0", "", state=State.REQUESTED, then=Then.STALL),
    Case("silence", b"", "", state=State.ECHOING, then=Then.STALL),
    Case(
        "silence in a fragment",
        bytes.fromhex("04 00 00000050 0000004C 01 03"),
        "",
        state=State.ECHOING,
        then=Then.STALL,
    ),
]


@pytest.fixture(scope="module")
def all_cases() -> list[Case]:
    """Not made when the tests are collected, which each process does: they take seconds, and 150 MB."""
    return [case for group in GROUPS.values() for case in group.cases()]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: str, all_cases: list[Case], tmp_path: Path) -> None:
    cases = cases_for(command, all_cases)[:: EVERY.get(command, 131)]
    cases += SILENCE if command == "echo" else SILENCE[-1:]
    failures = [failure for case in cases for failure in check(case, command, tmp_path / "out", FILE)]
    assert failures[:20] == []
