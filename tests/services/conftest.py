"""Archives that several test files ask."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.services.member_archive import Archive


@pytest.fixture(params=["C-GET", "C-MOVE"])
async def archive(request: pytest.FixtureRequest) -> AsyncIterator[Archive]:
    async with Archive(get=request.param == "C-GET", move=request.param == "C-MOVE") as server:
        yield server


@pytest.fixture
async def getting() -> AsyncIterator[Archive]:
    async with Archive(get=True) as server:
        yield server


@pytest.fixture
async def moving() -> AsyncIterator[Archive]:
    async with Archive(move=True) as server:
        yield server
