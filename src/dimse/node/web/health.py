"""Whether the node can store: what `/readyz` says, and the metrics of problems."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from dimse.node.index import Index

WITHIN: Final = 3.0
"""Seconds in which a transaction of the index must be possible."""


class Health:
    """Looks whether the index can be written, and whether there is room; `ingest` says what keeps it from storing."""

    def __init__(
        self, index: Index, data: Path, minimum_free: int, ingest: Callable[[], Awaitable[str | None]]
    ) -> None:
        self._index = index
        self._data = data
        self._minimum_free = minimum_free
        self._ingest = ingest
        self._probe: asyncio.Task[dict[str, str | None]] | None = None

    async def problems(self) -> dict[str, str]:
        """What is wrong, by where: "index", "disk" or "ingest". Empty if the node can store."""
        found = {"disk": self._disk_problem(), **await self._probed()}
        return {where: problem for where, problem in found.items() if problem}

    def free(self) -> int:
        """Bytes that are free on the file system of the data folder. Raises `OSError`."""
        return shutil.disk_usage(self._data).free

    def _disk_problem(self) -> str | None:
        try:
            free = self.free()
        except OSError as error:
            return f"the data folder cannot be read: {error.strerror}"
        if free >= self._minimum_free:
            return None
        return f"{free} bytes are free on the disk; minimum_free is {self._minimum_free}: make room"

    async def _probed(self) -> dict[str, str | None]:
        """What a look at the index and at ingest says; there is one look at a time, as each may wait for the writer."""
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._look())
        done, _ = await asyncio.wait([self._probe], timeout=WITHIN)
        return self._probe.result() if done else {"index": f"the index could not be written within {WITHIN:g} s"}

    async def _look(self) -> dict[str, str | None]:
        try:
            await self._index.write(lambda _: None)
        except (SQLAlchemyError, OSError, RuntimeError) as error:
            return {"index": f"the index cannot be written: {type(error).__name__}"}
        return {"ingest": await self._ingest()}

    async def close(self) -> None:
        """End the look that is under way."""
        if self._probe is not None and not self._probe.done():
            self._probe.cancel()
            await asyncio.wait([self._probe])
