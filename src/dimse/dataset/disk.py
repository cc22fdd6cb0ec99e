"""Writing received files beside an event loop that goes on."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from dimse.dataset.sinks import Part10File

_QUICK: Final = 0.001
"""Seconds that a disk access may hold up the event loop. Waking a thread and waiting for it takes a tenth of that."""

_SMALL: Final = 1024 * 1024
"""A larger file is forced to the disk in a thread, however quick the last one was."""


class _Pace:
    """Where one kind of disk access is done: in a thread, or at once where the last one took less than `_QUICK`.

    A disk that slows down holds the event loop up once, and then threads again.
    """

    def __init__(self) -> None:
        self._quick = False

    async def run(self, function: Callable[..., None], *arguments: object) -> None:
        if self._quick:
            self._time(function, *arguments)
        else:
            await in_worker(self._time, function, *arguments)

    def _time(self, function: Callable[..., None], *arguments: object) -> None:
        start = time.perf_counter()
        function(*arguments)
        self._quick = time.perf_counter() - start < _QUICK


class Disk:
    """Where received files are written, without blocking the event loop for long."""

    def __init__(self) -> None:
        self.writing = _Pace()
        """To the page cache."""
        self.syncing = _Pace()
        """A small file that is made, written and forced to the disk."""


class FileWriter:
    """Writes a Part 10 file; made, filled and named in one step if it comes in one piece."""

    def __init__(self, path: str | os.PathLike[str], header: bytes, disk: Disk, *, fsync: bool) -> None:
        self._path, self._header, self._disk, self._fsync = path, header, disk, fsync
        self._file: Part10File | None = None
        self._size = 0

    async def write(self, buffers: list[memoryview], *, is_last: bool) -> None:
        """Append; with `is_last` give the file its name too, in the same step."""
        if self._fsync:
            self._size += sum(map(len, buffers))
            if is_last and self._size > _SMALL:
                await in_worker(self._write, buffers, is_last)
                return
        pace = self._disk.syncing if is_last and self._fsync else self._disk.writing
        await pace.run(self._write, buffers, is_last)

    def _write(self, buffers: list[memoryview], is_last: bool) -> None:
        if self._file is None:
            self._file = Part10File(self._path, self._header, fsync=self._fsync)
        self._file.write(buffers)
        if is_last:
            self._file.commit()

    async def discard(self) -> None:
        """Leave nothing behind."""
        if self._file is not None:
            await in_worker(self._file.discard)


async def in_worker(function: Callable[..., None], *arguments: object) -> None:
    """Run in a thread, to its end: a cancelled caller must not give away what the thread still uses."""
    future = asyncio.get_running_loop().run_in_executor(None, function, *arguments)
    try:
        await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        raise
