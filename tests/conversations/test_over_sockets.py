"""Hostile conversations, some of each group over sockets."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conversations.groups import GROUPS
from tests.conversations.socket_driver import Standing

SHOWN = 20
"""The most failures that are shown of a group."""


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # what it thinks of values
@pytest.mark.parametrize("name", GROUPS)
async def test_over_sockets(name: str, tmp_path: Path) -> None:
    group = GROUPS[name]
    async with Standing(tmp_path) as standing:
        failures = await standing.run(list(group.cases())[:: group.every])
    assert failures[:SHOWN] == []
