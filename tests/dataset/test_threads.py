"""Decoding outside the event loop."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Awaitable, Callable
from unittest.mock import Mock

import pytest
from tests.decoding_threads import decoding_threads

from dimse.dataset import codec, threads
from dimse.dataset.threads import AT_ONCE, begun, beside_the_loop, in_thread, in_worker
from dimse.uids import IMPLICIT_VR_LITTLE_ENDIAN


@pytest.mark.parametrize("run", [beside_the_loop, in_worker])
async def test_without_memory_for_a_thread_nothing_runs_later(
    run: Callable[[Callable[[], object]], Awaitable[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = list[int]()
    threads._threads.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", Mock(side_effect=RuntimeError("can't start new thread")))
        with pytest.raises(MemoryError):
            await run(lambda: ran.append(1))
    await run(lambda: ran.append(2))
    await run(lambda: ran.append(3))
    assert ran == [2, 3]


async def test_threads_that_have_begun_need_no_memory_later(monkeypatch: pytest.MonkeyPatch) -> None:
    executor, all_run = begun(3, "test"), threading.Barrier(3)
    started = [threading.Thread.start]

    def start(thread: threading.Thread) -> None:
        if not started:
            raise RuntimeError("can't start new thread")
        started.pop()(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(MemoryError):
        begun(2, "test")
    with pytest.raises(MemoryError):
        await in_thread(lambda: None)
    assert {future.result() for future in [executor.submit(all_run.wait) for _ in range(3)]} == {0, 1, 2}
    executor.shutdown()


async def test_what_was_cancelled_before_its_turn_never_begins() -> None:
    go_on, ran = threading.Event(), list[int]()
    busy = [asyncio.ensure_future(beside_the_loop(go_on.wait)) for _ in range(AT_ONCE)]
    unwanted = asyncio.ensure_future(beside_the_loop(lambda: ran.append(1)))
    await asyncio.sleep(0)
    unwanted.cancel()
    with pytest.raises(asyncio.CancelledError):
        await unwanted
    go_on.set()
    await asyncio.gather(*busy)
    await beside_the_loop(lambda: ran.append(2))
    assert ran == [2]


@pytest.mark.parametrize(("items", "leaves_the_loop"), [(100, False), (2000, True)])
async def test_a_large_identifier_leaves_the_loop(
    items: int, leaves_the_loop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = decoding_threads(monkeypatch)
    data = struct.pack("<HHL", 8, 0x1140, items * 8) + struct.pack("<HHL", 0xFFFE, 0xE000, 0) * items
    match = await codec.decode_identifier(data, IMPLICIT_VR_LITTLE_ENDIAN)
    assert len(match.ReferencedImageSequence) == items
    assert (threads != [threading.current_thread()]) == leaves_the_loop
