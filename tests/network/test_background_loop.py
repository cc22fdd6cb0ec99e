"""An event loop in a thread: results and exceptions come back, and nothing is left running."""

from __future__ import annotations

import asyncio
import threading

import pytest

from dimse.network.background_loop import BackgroundLoop


async def thread_name() -> str:
    return threading.current_thread().name


async def fail() -> None:
    raise KeyError("name")


def test_a_result_and_an_exception_come_back() -> None:
    with BackgroundLoop() as loop:
        assert loop.run(thread_name()) == "dimse"
        with pytest.raises(KeyError, match="name"):
            loop.run(fail())


def test_what_still_runs_at_the_end_is_cancelled() -> None:
    ended = []

    async def begin() -> None:
        begun = asyncio.Event()
        tasks.append(asyncio.create_task(run(begun)))
        await begun.wait()

    async def run(begun: asyncio.Event) -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.append("run")

    tasks: list[asyncio.Task[None]] = []
    with BackgroundLoop() as loop:
        loop.run(begin())
    assert ended == ["run"]
    assert tasks[0].cancelled()
