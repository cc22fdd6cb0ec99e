"""Pictures of images and elements of files, from other processes, so that a hostile file harms neither node nor loop.

1. There are at most `PROCESSES`, begun when first needed, which draw one picture after another (see `drawing`).
2. One that takes longer than `MAX_SECONDS`, or dies, is replaced; its picture is an error.
3. `MAX_WAITING` pictures may wait; beyond, `Busy` is raised. One that is not wanted any more when its turn comes is
   not drawn: a browser that has left a study waits for none of its thumbnails.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dimse.errors import DatasetError

logger = logging.getLogger("dimse.node")

PROCESSES: Final = 2
"""Processes that draw pictures."""
MAX_SECONDS: Final = 20.0
"""Seconds that a picture may take."""
MAX_WAITING: Final = 200
"""Pictures that wait to be drawn."""
MAX_SIZE: Final = 4096
"""Width and height of a picture."""
MAX_ANSWER: Final = 64 * 1024 * 1024
"""Bytes of a picture, and of the elements of a file."""

Json = dict[str, Any]


class Busy(Exception):
    """Too many pictures wait to be drawn, or this one is not wanted any more."""


IsWanted = Callable[[], Awaitable[bool]]
"""Whether a picture is still wanted."""


async def _yes() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a frame."""

    jpeg: bytes
    window: tuple[float, float] | None
    """Center and width of the window that it has, or that comes nearest to its VOI LUT; None if it is in color."""


class Renderer:
    """Draws frames of images."""

    def __init__(self) -> None:
        self._idle: asyncio.LifoQueue[_Process] = asyncio.LifoQueue()
        self._processes = [_Process() for _ in range(PROCESSES)]
        for process in self._processes:
            self._idle.put_nowait(process)
        self._waiting = 0

    async def render(
        self,
        path: Path,
        frame: int = 0,
        *,
        window: tuple[float, float] | None = None,
        size: int = MAX_SIZE,
        is_wanted: IsWanted = _yes,
    ) -> Picture:
        """The picture of frame `frame`, from 0, in `window` (center and width) or in the image's own.

        Neither width nor height exceeds `size`. Raises `DatasetError` if there is no picture, and `Busy`.
        """
        request = {"path": str(path), "frame": frame, "window": window, "size": size}
        answer, jpeg = await self._ask(request, is_wanted)
        window = answer["window"]
        return Picture(jpeg, None if window is None else (window[0], window[1]))

    async def tags(self, path: Path, *, is_wanted: IsWanted = _yes) -> bytes:
        """The elements of a file (see `displaying.tags_of`) as JSON. Raises `DatasetError`, and `Busy`."""
        return (await self._ask({"path": str(path)}, is_wanted))[1]

    async def _ask(self, request: Json, is_wanted: IsWanted) -> tuple[Json, bytes]:
        if self._waiting >= MAX_WAITING:
            raise Busy(f"{MAX_WAITING} pictures wait to be drawn already; try again later")
        self._waiting += 1
        try:
            process = await self._idle.get()
        finally:
            self._waiting -= 1
        try:
            if not await is_wanted():
                raise Busy("it is not wanted any more")
            return await process.ask(request)
        finally:
            self._idle.put_nowait(process)

    async def end(self) -> None:
        """End the processes. Another picture begins new ones."""
        for process in self._processes:
            await process.end()


class _Process:
    """A process that draws one picture at a time."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def ask(self, request: Json) -> tuple[Json, bytes]:
        try:
            async with asyncio.timeout(MAX_SECONDS):
                answer, body = await self._ask(request)
        except TimeoutError:
            logger.warning("a picture took longer than %g s; its process was ended", MAX_SECONDS)
            await self.end()
            raise DatasetError(f"it takes longer than {MAX_SECONDS:g} s") from None
        except (OSError, EOFError, ValueError):
            logger.warning("a process that draws pictures died")
            await self.end()
            raise DatasetError("the process that drew it died") from None
        except BaseException:
            await self.end()  # cancelled: its answer must not be taken for that to the next request
            raise
        if "error" in answer:
            raise DatasetError(answer["error"])
        return answer, body

    async def _ask(self, request: Json) -> tuple[Json, bytes]:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await _begin()
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - both are pipes
        process.stdin.write(json.dumps(request).encode() + b"\n")
        await process.stdin.drain()
        answer = json.loads(await process.stdout.readuntil(b"\n"))
        if answer["length"] > MAX_ANSWER:
            raise ValueError("the answer is too large")
        return answer, await process.stdout.readexactly(answer["length"])

    async def end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()  # reads to the end, and closes the pipes


async def _begin() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dimse.node.web.drawing"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # what decoders print may have data of patients
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,  # Ctrl-C is for the node
    )
