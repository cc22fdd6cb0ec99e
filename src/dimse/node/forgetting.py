"""Forgetting what is kept for a time: events, and procedure steps. It is a job that defers itself."""

from __future__ import annotations

import time
from functools import partial
from typing import Final

from sqlalchemy import Connection

from dimse.node import events, procedure_steps
from dimse.node.index import Index
from dimse.node.jobs import Job, defer

KIND: Final = "forget"
"""The kind of its job, and its key."""

PAUSE: Final = 3600.0
"""Seconds between two times."""


def defer_forgetting(connection: Connection, not_before: float = 0) -> None:
    """Let what is old be forgotten, and again each hour."""
    defer(connection, KIND, {}, key=KIND, not_before=not_before)


class Forgetting:
    """The handler of "forget"."""

    def __init__(self, index: Index) -> None:
        self._index = index

    async def __call__(self, _: Job) -> None:
        """Forget what is old, in transactions that others need not wait for."""
        now = time.time()
        while await self._index.write(partial(events.forget, now=now)):
            pass
        await self._index.write(partial(procedure_steps.forget_old, now=now))
        await self._index.write(partial(defer_forgetting, not_before=now + PAUSE))
