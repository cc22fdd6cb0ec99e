"""Work that a node does again and again, while it runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

logger = logging.getLogger("dimse.node")


class Recurring:
    """Calls `work` inside its block: at once, and again after the seconds that it returns, or when it is woken.

    What it raises is logged, once for each reason, and it is called again after `pace` seconds.
    """

    def __init__(self, name: str, work: Callable[[], Awaitable[float]], pace: float) -> None:
        self._name = name
        self._work = work
        self._pace = pace
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Call it soon."""
        self._woken.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.get_running_loop().create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._task is not None  # noqa: S101 - it was entered
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        trouble = ""
        while True:
            self._woken.clear()
            try:
                pause, trouble = await self._work(), ""
            except Exception as error:
                pause, former, trouble = self._pace, trouble, reason(error)
                if trouble != former:
                    unforeseen = None if isinstance(error, SQLAlchemyError) else error
                    logger.warning("%s is waiting, as it failed: %s", self._name, trouble, exc_info=unforeseen)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()


def reason(error: Exception) -> str:
    """Why something failed, in a line; of an error of the database without the statement, which has values."""
    if isinstance(error, OSError) and error.strerror:
        file = error.filename2 or error.filename
        return error.strerror if file is None else f"{file}: {error.strerror}"
    lines = str(error).splitlines()
    return lines[0] if lines and lines[0] else type(error).__name__
