"""Whether the node can store: what `/readyz` says, and the metrics of problems."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from dimse.dataset.threads import in_thread
from dimse.node.index import Index, try_to_write
from dimse.node.ingest import problem_of

T = TypeVar("T")

WITHIN: Final = 3.0
"""Seconds in which a transaction of the index must be possible, and the file system must answer."""


@dataclass(frozen=True, slots=True)
class State:
    """What a look has found."""

    problems: Mapping[str, str]
    """What is wrong, by where: "index", "disk" or "ingest". Empty if the node can store."""
    free: int | None
    """Bytes that are free on the file system of the data folder; None if it does not say."""


class Health:
    """Looks whether the index can be written, and whether there is room; `ingest` says what keeps it from storing.

    The file system is asked in a thread: one of a network may not answer for minutes.
    """

    def __init__(
        self, index: Index, data: Path, minimum_free: int, ingest: Callable[[], Awaitable[str | None]]
    ) -> None:
        self._index = index
        self._data = data
        self._minimum_free = minimum_free
        self._ingest = ingest
        self._disk = _Look(self._look_at_disk)
        self._storing = _Look(self._look_at_storing)

    async def state(self) -> State:
        """What there is to say now."""
        disk, storing = await asyncio.gather(self._disk.outcome(), self._storing.outcome())
        if disk is None:
            disk = None, {"disk": f"the data folder did not answer within {WITHIN:g} s"}
        if storing is None:
            storing = {"index": f"the index could not be written within {WITHIN:g} s"}
        free, problems = disk
        return State({**problems, **storing}, free)

    async def _look_at_disk(self) -> tuple[int | None, dict[str, str]]:
        try:
            free = await in_thread(lambda: shutil.disk_usage(self._data).free)
        except OSError as error:
            return None, {"disk": f"the data folder cannot be read: {error.strerror}"}
        except MemoryError as error:
            return None, {"disk": f"the data folder cannot be looked at: {error}"}
        if free >= self._minimum_free:
            return free, {}
        least = self._minimum_free
        return free, {"disk": f"{free} bytes are free on the disk; minimum_free is {least}: make room"}

    async def _look_at_storing(self) -> dict[str, str]:
        try:
            await self._index.write(try_to_write)
        except (SQLAlchemyError, OSError, RuntimeError) as error:
            return {"index": problem_of(error)}
        problem = await self._ingest()
        return {"ingest": problem} if problem else {}

    async def close(self) -> None:
        """End the looks that are under way."""
        await asyncio.gather(self._disk.end(), self._storing.end())


class _Look(Generic[T]):
    """One look at a time, as each may wait for long: all that ask meanwhile wait for the same one."""

    def __init__(self, look: Callable[[], Coroutine[None, None, T]]) -> None:
        self._look = look
        self._task: asyncio.Task[T] | None = None

    async def outcome(self) -> T | None:
        """What it has found; None if it takes longer than `WITHIN`."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())
        task = self._task  # when it has ended, another caller may begin the next one before this one goes on
        done, _ = await asyncio.wait([task], timeout=WITHIN)
        return task.result() if done else None

    async def end(self) -> None:
        """End the look that is under way."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
