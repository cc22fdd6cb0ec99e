"""Runs the coroutine of a command: its event loop, Ctrl-C, and a closed output pipe."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any, TypeVar

from dimse.cli.output import print_error

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], *, fast: bool = True) -> T:
    """Run `main`, on uvloop if it is installed and `fast`; its import takes longer than a short command."""
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if fast and find_spec("uvloop") is not None:
        import uvloop

        loop_factory = uvloop.new_event_loop
    # Imported modules stay until the end. A full collection that skips them is 10 ms shorter.
    gc.freeze()
    runner = asyncio.Runner(loop_factory=loop_factory)
    try:
        return runner.run(main)
    finally:
        if not isinstance(sys.exception(), KeyboardInterrupt):  # when it would wait for blocked threads
            runner.close()


async def run_interruptibly(work: Coroutine[Any, Any, None]) -> bool:
    """Run `work` until it ends or Ctrl-C cancels it. Returns whether it was cancelled.

    A cancelled operation sends C-CANCEL and gets the time that takes. The caller continues, so that it can release the
    association instead of aborting it.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        print_error("dimse: interrupted; cancelling (press Ctrl-C again to quit at once)")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return True
    return False


@contextmanager
def cancelled_by_closed_pipe(write: Callable[[T], object]) -> Iterator[Callable[[T], None]]:
    """`write` as a callback for the block. When the output pipe is closed, the block's task is cancelled.

    The block then ends with `BrokenPipeError`.
    """
    task, broken = asyncio.current_task(), list[BrokenPipeError]()

    def write_or_cancel(value: T) -> None:
        try:
            if not broken:
                write(value)
        except BrokenPipeError as error:
            broken.append(error)
            if task is not None:
                task.cancel()

    try:
        yield write_or_cancel
    except asyncio.CancelledError:
        if not broken:
            raise
    if broken:
        raise broken[0]
