"""The places of the operations window: who has one, who is next, and that none is ever lost."""

from __future__ import annotations

import asyncio

import pytest

from dimse.network.window import Window


def nothing() -> None: ...


async def test_free_places_are_taken_at_once() -> None:
    window, started = Window(2), list[int]()
    for number in range(2):
        await window.enter(lambda number=number: started.append(number))  # type: ignore[misc]
    assert started == [0, 1]


async def test_who_is_ready_is_started_before_its_task_has_its_turn() -> None:
    window, started = Window(), list[str]()
    await window.enter(nothing)
    waiting = asyncio.create_task(window.enter(lambda: started.append("next")))
    await asyncio.sleep(0)
    assert started == []
    window.leave()
    assert started == ["next"]
    assert not waiting.done()
    await waiting


async def test_a_start_that_fails_gives_its_place_back() -> None:
    def fail() -> None:
        raise ValueError("not now")

    window = Window()
    with pytest.raises(ValueError, match="not now"):
        await window.enter(fail)
    await window.enter(nothing)
    waiting = asyncio.create_task(window.enter(fail))
    await asyncio.sleep(0)
    window.leave()
    with pytest.raises(ValueError, match="not now"):
        await waiting
    await asyncio.wait_for(window.enter(nothing), 5)


@pytest.mark.parametrize("is_started", [False, True])
async def test_who_is_cancelled_has_no_place(is_started: bool) -> None:
    window, started = Window(), list[str]()
    await window.enter(nothing)
    waiting = asyncio.create_task(window.enter(lambda: started.append("cancelled")))
    await asyncio.sleep(0)
    if is_started:
        window.leave()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    if not is_started:
        window.leave()
    assert started == (["cancelled"] if is_started else [])
    await asyncio.wait_for(window.enter(nothing), 5)


async def test_a_place_beyond_the_size_is_not_given_on() -> None:
    """Not before an association is established is it known how many there are."""
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
