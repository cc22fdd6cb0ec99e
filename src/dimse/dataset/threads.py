"""Three ways to run a blocking function in a thread: bounded work, unbounded waits, and file access."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Final, TypeVar, cast

AT_ONCE: Final = 2
"""Threads for decoding in the process. More would not be faster, and each decoding takes memory."""

T = TypeVar("T")


async def beside_the_loop(function: Callable[[], T]) -> T:
    """Run a long but finite function in one of `AT_ONCE` threads; not at all if cancelled before it begins."""
    return await _submitted(_threads(), function)


def _submitted(executor: ThreadPoolExecutor | None, function: Callable[[], T]) -> asyncio.Future[T]:
    """Run a function in an executor. Raises `MemoryError` if there is no memory for another thread."""
    token = [True]

    def run() -> T:
        token.pop()  # fails if it is gone: an executor keeps, and runs later, what it could not start a thread for
        return function()

    try:
        return asyncio.get_running_loop().run_in_executor(executor, run)
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        token.clear()
        raise MemoryError("no thread can be started") from None


def begun(number: int, name: str, initializer: Callable[[], object] = lambda: None) -> ThreadPoolExecutor:
    """An executor whose threads have all begun: when they are needed, there may be no memory for them.

    Raises `MemoryError` if there is not enough now.
    """
    executor, all_run = ThreadPoolExecutor(number, name, initializer), threading.Barrier(number)
    try:
        for _ in range(number):
            executor.submit(all_run.wait)
    except RuntimeError:
        all_run.abort()
        executor.shutdown()
        raise MemoryError("no thread can be started") from None
    return executor


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, "dimse-decoding")


async def in_thread(function: Callable[[], T]) -> T:
    """Run a function of unbounded duration in a thread of its own.

    The thread is a daemon, unlike those of an executor: a read from a silent pipe must not keep the process from
    ending. If the caller is cancelled, the thread continues. Raises `MemoryError` if there is no memory for it.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def resolve(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast("T", result))

    def run() -> None:
        result, error = None, None
        try:
            result = function()
        except BaseException as raised:  # noqa: BLE001 - it is raised again where it is awaited
            error = raised
        with suppress(RuntimeError):  # the loop is closed: no task is waiting
            loop.call_soon_threadsafe(resolve, result, error)

    try:
        threading.Thread(target=run, name="dimse", daemon=True).start()
    except RuntimeError:
        raise MemoryError("no thread can be started") from None
    return await future


async def in_worker(function: Callable[..., object], *arguments: object) -> None:
    """Run a function in a thread, and wait for its end even if cancelled: the thread may still use the buffers."""
    future = _submitted(None, lambda: function(*arguments))
    try:
        await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        raise
