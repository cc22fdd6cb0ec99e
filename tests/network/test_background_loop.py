"""An event loop in a thread: results and exceptions come back, and nothing is left running."""

from __future__ import annotations

import asyncio
import signal
import threading
from types import FrameType

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


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Windows has no such signal")
def test_the_exception_of_a_signal_handler_cancels() -> None:
    ended = []

    def handle(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(3)

    async def wait() -> None:
        try:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            await asyncio.Event().wait()
        finally:
            ended.append("wait")

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with BackgroundLoop() as loop:
            with pytest.raises(SystemExit):
                loop.run(wait())
            assert ended == ["wait"]
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("end", [SystemExit, KeyboardInterrupt])
def test_an_exit_reaches_the_caller_and_the_loop_goes_on(end: type[BaseException]) -> None:
    async def leave() -> None:
        raise end

    with BackgroundLoop() as loop:
        with pytest.raises(end):
            loop.run(leave())
        assert loop.run(thread_name()) == "dimse"
