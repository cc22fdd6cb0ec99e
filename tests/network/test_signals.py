"""SIGINT and SIGTERM end a coroutine; without a signal, nothing of it is seen."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dimse.network.signals import on_signals, run_until_signal

unix = pytest.mark.skipif(os.name != "posix", reason="on Windows a signal goes to a whole group of processes")
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@unix
@SIGNALS
def test_a_signal_cancels(number: signal.Signals) -> None:
    seen: list[str] = []

    async def main() -> None:
        try:
            signal.raise_signal(number)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned up")

    run_until_signal(main)
    assert seen == ["cleaned up"]


@unix
@SIGNALS
def test_a_second_signal_interrupts_the_cleaning_up(number: signal.Signals) -> None:
    seen: list[str] = []

    async def main() -> None:
        try:
            signal.raise_signal(number)
            await asyncio.Event().wait()
        finally:
            seen.append("cleans up")
            signal.raise_signal(number)
            await asyncio.Event().wait()
            seen.append("is not reached")

    run_until_signal(main)
    assert seen == ["cleans up"]


def test_it_returns_and_raises_as_the_coroutine_does() -> None:
    seen: list[str] = []

    async def returns() -> None:
        seen.append("ran")

    async def fails() -> None:
        raise ValueError("of main")

    run_until_signal(returns)
    assert seen == ["ran"]
    with pytest.raises(ValueError, match="of main"):
        run_until_signal(fails)


def test_it_runs_in_the_loop_that_is_given() -> None:
    made: list[asyncio.AbstractEventLoop] = []

    def make() -> asyncio.AbstractEventLoop:
        made.append(asyncio.new_event_loop())
        return made[-1]

    async def main() -> None:
        assert asyncio.get_running_loop() is made[0]

    run_until_signal(main, make)
    assert made[0].is_closed()


def test_the_handlers_of_before_are_back_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    async def main() -> None:
        assert signal.getsignal(signal.SIGTERM) not in before

    run_until_signal(main)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@unix
async def test_each_signal_calls_back_inside_the_loop() -> None:
    called: asyncio.Queue[int] = asyncio.Queue()
    with on_signals(asyncio.get_running_loop(), lambda: called.put_nowait(threading.get_ident())):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
            assert await called.get() == threading.get_ident()


async def never() -> None:
    raise AssertionError("it is not begun")


async def test_it_does_not_run_inside_a_loop() -> None:
    with pytest.raises(RuntimeError, match="await serve_forever"):
        run_until_signal(never)


def test_it_does_not_run_in_another_thread() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="only in the main thread"):
        pool.submit(run_until_signal, never).result()
