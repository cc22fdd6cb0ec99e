"""The event loop of a command, and how its work is stopped."""

from __future__ import annotations

import asyncio

import pytest

from dimse.cli import runtime


@pytest.mark.parametrize("fast", [True, False])
def test_the_result_is_that_of_the_coroutine(fast: bool) -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert runtime.run(work(), fast=fast) == 7


@pytest.mark.parametrize("fast", [True, False])
def test_a_failure_leaves_no_event_loop_open(fast: bool) -> None:
    loops = []

    async def work() -> None:
        loops.append(asyncio.get_running_loop())
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        runtime.run(work(), fast=fast)
    assert loops[0].is_closed()


async def test_work_that_ends_by_itself_was_not_interrupted() -> None:
    async def work() -> None:
        await asyncio.sleep(0)

    assert await runtime.run_interruptibly(work()) is False


async def test_interrupted_work_gets_the_time_to_stop(capsys: pytest.CaptureFixture[str]) -> None:
    begun = asyncio.Event()
    steps: list[str] = []

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("stopped")

    async def command() -> None:
        steps.append("interrupted" if await runtime.run_interruptibly(work()) else "ended")

    task = asyncio.ensure_future(command())
    await begun.wait()
    task.cancel()
    await task
    assert steps == ["stopped", "interrupted"]
    assert capsys.readouterr().err.startswith("dimse: interrupted; cancelling")


async def test_a_closed_pipe_cancels_the_block() -> None:
    written: list[int] = []

    def write(value: int) -> None:
        if value > 1:
            raise BrokenPipeError
        written.append(value)

    async def job() -> None:
        with runtime.cancelled_by_closed_pipe(write) as callback:
            for value in (1, 2, 3):
                callback(value)
            await asyncio.Event().wait()

    with pytest.raises(BrokenPipeError):
        await asyncio.ensure_future(job())
    assert written == [1]


async def test_another_cancellation_passes() -> None:
    with pytest.raises(asyncio.CancelledError), runtime.cancelled_by_closed_pipe(print):
        raise asyncio.CancelledError
