"""What the tests of a `Forwarder` share: a destination that does as it is told, and the results as they come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.sample_objects import instance, save

import dimse
from dimse import ForwardDestination, ForwardResult, RetryPolicy, ServerOptions, Status

Destinations = dict[str, str | dimse.Address | dimse.ApplicationEntity | ForwardDestination]
QUICK = RetryPolicy(retries=0, delay=0.01)


class Archive:
    """A storage SCP that keeps the UIDs of what it stores, and answers as a test says."""

    def __init__(self, port: int = 0) -> None:
        options = ServerOptions(maximum_connections_per_second=None)
        self.server = dimse.Server("ARCHIVE", port=port, options=options)
        self.stored: list[str] = []
        self.answers: dict[str, int] = {}
        """The status by SOP Instance UID, where it is not Success."""
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.began = asyncio.Event()

        @self.server.on_c_store
        async def store(request: dimse.StoreRequest) -> int:
            self.began.set()
            await self.may_answer.wait()
            status = self.answers.get(request.sop_instance_uid, Status.SUCCESS)
            if status == 0:
                self.stored.append(request.sop_instance_uid)
            return status

    @property
    def address(self) -> str:
        return f"ARCHIVE@127.0.0.1:{self.server.port}"

    def destination(self, retry: RetryPolicy = QUICK, **more: Any) -> ForwardDestination:
        return ForwardDestination(self.address, retry=retry, **more)


@asynccontextmanager
async def archive(port: int = 0) -> AsyncIterator[Archive]:
    made = Archive(port)
    async with made.server:
        yield made


class Results:
    """What a forwarder reports, as it comes."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[ForwardResult] = asyncio.Queue()

    def __call__(self, result: ForwardResult) -> None:
        self._queue.put_nowait(result)

    async def next(self, count: int = 1) -> list[tuple[str, str, str | None]]:
        """The destination, the outcome and the UID of the next ones."""
        async with asyncio.timeout(30):
            found = [await self._queue.get() for _ in range(count)]
        return [(each.destination, each.outcome.value, each.sop_instance_uid) for each in found]


class Warned(logging.Handler):
    """Sets an event at a log message."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text
        self.event = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self._text in record.getMessage():
            self.event.set()

    async def __aenter__(self) -> None:
        logging.getLogger("dimse.storage").addHandler(self)

    async def __aexit__(self, *_: object) -> None:
        logging.getLogger("dimse.storage").removeHandler(self)


def given(folder: Path, uid: str) -> Path:
    return save(instance(uid), folder / f"{uid}.dcm")


def spooled(folder: Path) -> list[str]:
    """The files in a spool, but for its lock."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != "lock")
