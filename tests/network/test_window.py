"""The slots of the operations window: which task has one, which is next, and that no slot is ever lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from dimse.network.window import Window


def nothing() -> None: ...


async def test_free_slots_are_taken_at_once() -> None:
    window, started = Window(2), list[int]()
    for number in range(2):
        await window.enter(lambda number=number: started.append(number))  # type: ignore[misc]
    assert started == [0, 1]


async def test_the_first_in_the_queue_is_started_before_its_task_runs() -> None:
    window, started = Window(), list[str]()
    await window.enter(nothing)
    waiting = asyncio.create_task(window.enter(lambda: started.append("next")))
    await asyncio.sleep(0)
    assert started == []
    window.leave()
    assert started == ["next"]
    assert not waiting.done()
    await waiting


def fail() -> None:
    raise ValueError("not now")


async def is_free(window: Window) -> bool:
    """Whether exactly one slot is free."""
    async with asyncio.timeout(5):
        await window.enter(nothing)
    second = asyncio.create_task(window.enter(nothing))
    await asyncio.sleep(0)
    return not second.done() and second.cancel()


async def test_a_start_that_fails_has_its_slot_until_it_leaves() -> None:
    window = Window()
    with pytest.raises(ValueError, match="not now"):
        await window.enter(fail)
    window.leave()
    await window.enter(nothing)
    waiting = asyncio.create_task(window.enter(fail))
    await asyncio.sleep(0)
    window.leave()
    with pytest.raises(ValueError, match="not now"):
        await waiting
    window.leave()
    assert await is_free(window)


@pytest.mark.parametrize("start", [nothing, fail])
async def test_a_task_cancelled_after_its_start_has_its_slot_until_it_leaves(start: Callable[[], None]) -> None:
    window = Window()
    await window.enter(nothing)
    waiting = asyncio.create_task(window.enter(start))
    await asyncio.sleep(0)
    window.leave()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    window.leave()
    assert await is_free(window)


async def test_a_task_cancelled_before_its_start_never_has_a_slot() -> None:
    window = Window()
    await window.enter(nothing)
    waiting = asyncio.create_task(window.enter(fail))
    await asyncio.sleep(0)
    waiting.cancel()
    window.leave()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await is_free(window)


async def test_a_slot_beyond_the_size_is_not_given_on() -> None:
    """How many there are is known only when the association is established."""
    window, started = Window(2), list[str]()
    await window.enter(nothing)
    await window.enter(nothing)
    window.size = 1
    waiting = asyncio.create_task(window.enter(lambda: started.append("next")))
    await asyncio.sleep(0)
    window.leave()
    assert started == []
    window.leave()
    assert started == ["next"]
    await waiting
