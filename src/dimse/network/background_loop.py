"""An event loop in a thread, for programs that have none, or that block theirs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from contextlib import suppress
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's, if that is installed: it is faster."""
    if find_spec("uvloop") is None:
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


class BackgroundLoop:
    """An event loop that runs in a thread of its own inside a `with` block."""

    def __init__(self, factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop) -> None:
        self._loop = factory()
        self._thread = threading.Thread(target=self._serve, name="dimse", daemon=True)

    def _serve(self) -> None:
        """Run the loop until the block ends, also after a `SystemExit`, which asyncio lets through."""
        while True:
            with suppress(SystemExit, KeyboardInterrupt):  # the task has it, and so whoever waits for that
                self._loop.run_forever()
                return

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, wait for its end, and return its result.

        Ctrl-C cancels it, as does the exception of another signal handler; a second one does not wait for its end. It
        has a copy of the caller's context variables. Raises `RuntimeError` in the loop itself, which cannot wait.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("a function that waits for its event loop was called in this loop, which it would block")
        outcome, tasks = Future[T](), list[asyncio.Task[T]]()

        def begin() -> None:
            tasks.append(self._loop.create_task(coroutine))
            tasks[0].add_done_callback(lambda task: _settle(outcome, task))

        def cancel() -> None:
            if tasks:
                tasks[0].cancel()
            else:  # the exception came before it could begin
                coroutine.close()
                outcome.set_exception(asyncio.CancelledError())

        try:
            self._loop.call_soon_threadsafe(begin)
            wait([outcome])
        except BaseException:
            self._loop.call_soon_threadsafe(cancel)
            wait([outcome])
            raise
        return outcome.result()

    def drop(self, holder: list[Any]) -> None:
        """Clear a list in the loop's thread, to which the finalizers of the objects in it belong."""
        self._loop.call_soon_threadsafe(holder.clear)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.run(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _finish(self) -> None:
        """End what still runs, as `asyncio.run` does."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()


def _settle(outcome: Future[T], task: asyncio.Task[T]) -> None:
    if task.cancelled():
        outcome.set_exception(asyncio.CancelledError())
    elif (error := task.exception()) is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())
