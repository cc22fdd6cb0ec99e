"""Where a C-CANCEL interrupts, and that it is never taken for a cancellation of the task."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from dimse.network.incoming_request import Cancellation, CancelRequested


async def waiting(cancellation: Cancellation, begun: asyncio.Event) -> None:
    with cancellation.interrupts():
        begun.set()
        await asyncio.Event().wait()


async def started(cancellation: Cancellation) -> asyncio.Task[None]:
    begun = asyncio.Event()
    task = asyncio.create_task(waiting(cancellation, begun))
    await begun.wait()
    return task


async def test_a_marked_block_is_left_at_its_await() -> None:
    cancellation = Cancellation()
    task = await started(cancellation)
    cancellation.request()
    cancellation.request()
    with pytest.raises(CancelRequested):
        await task
    assert task.cancelling() == 0


async def test_no_block_is_entered_after_the_request() -> None:
    cancellation = Cancellation()
    cancellation.request()
    with pytest.raises(CancelRequested), cancellation.interrupts():
        pytest.fail("the block was entered")


async def test_between_two_blocks_nothing_is_interrupted() -> None:
    cancellation = Cancellation()
    with cancellation.interrupts():
        await asyncio.sleep(0)
    cancellation.request()
    await asyncio.sleep(0)
    assert cancellation.requested


@pytest.mark.parametrize("is_before", [False, True])
async def test_a_task_that_is_cancelled_too_stays_cancelled(is_before: bool) -> None:
    cancellation = Cancellation()
    task = await started(cancellation)
    if is_before:
        task.cancel()
    cancellation.request()
    if not is_before:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_block_that_raises_another_error_keeps_it() -> None:
    cancellation = Cancellation()

    async def serve() -> None:
        with cancellation.interrupts():
            try:
                cancellation.request()
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                raise ValueError("the handler's own") from None

    task = asyncio.create_task(serve())
    with pytest.raises(ValueError, match="the handler's own"):
        await task
    assert task.cancelling() == 0


async def test_a_block_that_ignores_it_is_left_nevertheless() -> None:
    cancellation = Cancellation()

    async def serve() -> None:
        with cancellation.interrupts():
            with suppress(asyncio.CancelledError):
                cancellation.request()
                await asyncio.sleep(0)
            await asyncio.sleep(0)

    task = asyncio.create_task(serve())
    with pytest.raises(CancelRequested):
        await task
    assert task.cancelling() == 0
