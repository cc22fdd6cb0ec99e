"""When the reports for a requestor are tried, and given up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from dimse import ConnectionLost, RetryPolicy, StatusError
from dimse.services.commitment_delivery import DeliveryQueue


class Deliveries:
    """Settles transactions; each fails in the ways that were given for it, one after the other."""

    def __init__(self, failures: Mapping[str, list[Exception]], retries: int = 5) -> None:
        self.tried: list[str] = []
        self.given_up: list[str] = []
        self.again: set[str] = set()
        """What is requested again while it is delivered."""
        self.count = asyncio.Semaphore(0)
        """Released for each that is tried."""
        self._failures = failures
        self.queue = DeliveryQueue("WS1", RetryPolicy(retries=retries, delay=0), 60, self.settle, self.surrender)

    async def settle(self, uid: str) -> None:
        self.tried.append(uid)
        if uid in self.again:
            self.again.remove(uid)
            self.queue.add(uid)
        self.count.release()
        if self._failures.get(uid):
            raise self._failures[uid].pop(0)

    async def surrender(self, uid: str) -> None:
        self.given_up.append(uid)


def away() -> Exception:
    return ConnectionLost("nothing listens there")


def refused() -> Exception:
    return StatusError(0x0110, "N-EVENT-REPORT", None)


async def test_each_is_delivered_in_its_turn() -> None:
    deliveries = Deliveries({})
    for uid in ("1", "2", "1"):
        deliveries.queue.add(uid)
    await deliveries.queue.run()
    assert deliveries.tried == ["1", "2"]
    assert deliveries.queue.is_empty


async def test_what_was_refused_is_tried_again_after_the_others() -> None:
    deliveries = Deliveries({"1": [refused(), refused()]})
    for uid in ("1", "2"):
        deliveries.queue.add(uid)
    await deliveries.queue.run()
    assert deliveries.tried == ["1", "2", "1", "1"]


async def test_while_the_requestor_is_away_those_that_have_waited_are_not_tried() -> None:
    deliveries = Deliveries({"1": [away()]})
    for uid in ("1", "2", "3"):
        deliveries.queue.add(uid, attempts=1)
    await deliveries.queue.run()
    assert deliveries.tried == ["1", "1", "2", "3"]


async def test_one_that_has_just_come_is_tried_although_the_requestor_is_away() -> None:
    deliveries = Deliveries({"1": [away()]})
    deliveries.queue.add("1", attempts=1)
    deliveries.queue.add("2")
    await deliveries.queue.run()
    assert deliveries.tried == ["1", "2", "1"]


async def test_after_the_last_retry_it_is_given_up() -> None:
    deliveries = Deliveries({"1": [away() for _ in range(9)], "2": [ValueError("a bug") for _ in range(9)]}, retries=2)
    for uid in ("1", "2", "3"):
        deliveries.queue.add(uid)
    await deliveries.queue.run()
    assert sorted(deliveries.given_up) == ["1", "2"]
    assert deliveries.tried.count("1") == 3


async def test_a_new_transaction_ends_the_pause() -> None:
    deliveries = Deliveries({"1": [away()]})
    deliveries.queue = DeliveryQueue(
        "WS1", RetryPolicy(retries=5, delay=1e6), 1e6, deliveries.settle, deliveries.surrender
    )
    deliveries.queue.add("1")
    running = asyncio.create_task(deliveries.queue.run())
    await deliveries.count.acquire()
    deliveries.queue.add("2")
    await deliveries.count.acquire()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert deliveries.tried == ["1", "2"]


async def test_what_is_requested_again_while_it_is_delivered_is_looked_at_again() -> None:
    deliveries = Deliveries({})
    deliveries.again = {"1"}
    deliveries.queue.add("1")
    await deliveries.queue.run()
    assert deliveries.tried == ["1", "1"]


async def test_the_same_transaction_again_ends_its_pause() -> None:
    deliveries = Deliveries({"1": [away()]})
    deliveries.queue = DeliveryQueue(
        "WS1", RetryPolicy(retries=5, delay=1e6), 1e6, deliveries.settle, deliveries.surrender
    )
    deliveries.queue.add("1")
    running = asyncio.create_task(deliveries.queue.run())
    await deliveries.count.acquire()
    deliveries.queue.add("1")
    await running
    assert deliveries.tried == ["1", "1"]


@pytest.mark.parametrize(("factor", "attempts"), [(1.0, 10**6), (2.0, 10**6), (10.0, 10**6)])
async def test_pauses_are_bounded(factor: float, attempts: int) -> None:
    deliveries = Deliveries({})
    queue = DeliveryQueue(
        "WS1", RetryPolicy(retries=5, delay=0, factor=factor), 60, deliveries.settle, deliveries.surrender
    )
    queue.add("1", attempts=attempts)
    await queue.run()
    assert deliveries.tried == ["1"]
