"""SIGINT and SIGTERM: a coroutine that runs until one of them ends it."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def run_until_signal(
    main: Callable[[], Coroutine[Any, Any, None]], loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
) -> None:
    """Run `main` in an event loop of its own until it returns, or until SIGINT or SIGTERM cancels it.

    Each signal cancels it again: the first lets it clean up, the second interrupts that. Returns normally in either
    case; raises what `main` raises. Raises `RuntimeError` inside an event loop, and outside the main thread.
    """
    if _is_in_event_loop():
        raise RuntimeError("run() cannot be called inside an event loop: await serve_forever() instead")
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("run() handles signals, and works only in the main thread: use serve_forever() in others")
    with asyncio.Runner(loop_factory=loop_factory) as runner, suppress(asyncio.CancelledError):
        loop = runner.get_loop()
        task = loop.create_task(main())

        with on_signals(loop, task.cancel):
            loop.run_until_complete(task)


@contextmanager
def on_signals(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> Iterator[None]:
    """Inside the block, which must be in the main thread, `loop` calls `callback` at each SIGINT and SIGTERM."""

    def call(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(callback)

    # loop.add_signal_handler does not exist on Windows.
    previous = {number: signal.signal(number, call) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
