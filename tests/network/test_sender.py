"""Messages leave whole and in order, and a small data set is read before its turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.sample_objects import CT, EXPLICIT, IMPLICIT, VERIFICATION

from dimse import DatasetError, Server, connect
from dimse.dataset.sources import MemorySource
from dimse.network.association import exchange_of
from dimse.network.sender import Sender, SendLock


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with (
        Server("ARCHIVE", port=0) as server,
        connect(f"ARCHIVE@localhost:{server.port}", contexts=[(VERIFICATION, [IMPLICIT])]) as association,
    ):
        yield exchange_of(association).sender


def source(data: bytes) -> MemorySource:
    return MemorySource([data], sop_class_uid=CT, sop_instance_uid="1.2.3", transfer_syntax_uid=EXPLICIT)


async def test_the_lock_is_served_in_the_order_of_the_requests() -> None:
    lock, order = SendLock(), list[int]()

    async def send(number: int) -> None:
        async with lock:
            await asyncio.sleep(0)
            order.append(number)

    await asyncio.gather(*map(send, range(5)))
    assert order == [0, 1, 2, 3, 4]
    assert lock.is_free


async def test_the_lock_is_not_free_while_a_task_waits_for_it() -> None:
    """Between its release and the turn of the next task an `asyncio.Lock` is free."""
    lock, seen = SendLock(), list[bool]()

    async def wait() -> None:
        async with lock:
            seen.append(lock.is_free)

    async with lock:
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
    assert not lock.is_free
    await waiting
    assert seen == [False]
    assert lock.is_free


async def test_a_task_that_is_cancelled_while_it_waits_leaves_no_trace() -> None:
    lock = SendLock()

    async def wait() -> None:
        async with lock:
            pytest.fail("it had the lock")

    async with lock:
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert lock.is_free


async def test_a_small_data_set_is_read_ahead(sender: Sender) -> None:
    assert await sender.prepare(source(b"12345678")) == b"12345678"


async def test_a_large_data_set_is_not(sender: Sender) -> None:
    large = source(bytes(1 << 20))
    assert await sender.prepare(large) is large


async def test_an_odd_length_is_refused_before_anything_is_sent(sender: Sender) -> None:
    with pytest.raises(DatasetError, match="odd length"):
        await sender.prepare(source(b"123"))
