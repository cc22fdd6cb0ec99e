"""How a C-FIND, C-MOVE or C-GET is left before its end: with a C-CANCEL, and never with a broken association."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from tests.services.leaving import (
    ALL,
    OPERATIONS,
    Ask,
    Consumer,
    answered,
    asked,
    by_break,
    cancelled,
    item,
    usable,
    use,
)

from dimse import (
    AssociationAborted,
    AssociationTimeout,
    ClientOptions,
    OperationCancelled,
    Status,
    StoreRequest,
    SubOperations,
    Timeouts,
    connect,
)
from dimse.services.results import Results
from dimse.testing import Script, ScriptedPeer, listening, response, wire
from dimse.upper_layer.pdu import A_ABORT


@pytest.fixture(params=list(OPERATIONS))
def ask(request: pytest.FixtureRequest) -> Ask:
    return OPERATIONS[request.param]


async def by_an_exception(results: Results[Any, Any]) -> None:
    async def leave() -> None:
        async with results:
            async for _ in results:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await leave()


async def by_cancel_in_the_loop(results: Results[Any, Any]) -> None:
    async for _ in results:
        await results.cancel()


async def by_closing(results: Results[Any, Any]) -> None:
    async with aclosing(results):
        await anext(results)


async def cancel_of_another_task(results: Results[Any, Any]) -> None:
    await asyncio.create_task(results.cancel())


async def cancel_twice_at_once(results: Results[Any, Any]) -> None:
    await asyncio.gather(results.cancel(), results.cancel())


LEFT = pytest.mark.parametrize("leave", [by_break, by_an_exception, by_cancel_in_the_loop, by_closing])
LATE = pytest.mark.parametrize(("late", "status"), [(0, Status.CANCEL), (3, Status.CANCEL), (1, Status.SUCCESS)])


@LEFT
@LATE
async def test_left_in_the_loop(
    ask: Ask, leave: Callable[[Results[Any, Any]], Awaitable[None]], late: int, status: int
) -> None:
    script = cancelled(late=late, status=status)
    async with listening(script) as address, connect(address, contexts=ALL) as association:
        results = ask(association)
        await leave(results)
        assert results.status == status
        await use(association)
        with pytest.raises(StopAsyncIteration):
            await anext(results)


@pytest.mark.parametrize("cancel", [cancel_of_another_task, cancel_twice_at_once])
@LATE
async def test_cancelled_under_the_loop(
    ask: Ask, cancel: Callable[[Results[Any, Any]], Awaitable[None]], late: int, status: int
) -> None:
    script = cancelled(late=late, status=status)
    async with listening(script) as address, connect(address, contexts=ALL) as association:
        results = ask(association)
        async for _ in results:
            await cancel(results)
            with pytest.raises(OperationCancelled, match="responses are missing"):
                await anext(results)
            break
        assert results.status == status
        await use(association)
        with pytest.raises(OperationCancelled):
            await anext(results)


@pytest.mark.parametrize("entered", [True, False], ids=["async with", "async for"])
@LATE
async def test_the_task_is_cancelled(ask: Ask, entered: bool, late: int, status: int) -> None:
    script = cancelled(waits := asyncio.Event(), late, status)
    async with listening(script) as address, connect(address, contexts=ALL) as association:
        consumer = Consumer(ask(association), waits, entered=entered)
        await consumer.waiting()
        consumer.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consumer.task
        await use(association)


@LATE
async def test_cancelled_by_another_task(ask: Ask, late: int, status: int) -> None:
    """The one that waits for the next learns that answers are missing, and nothing that came late is given."""
    script = cancelled(waits := asyncio.Event(), late, status)
    async with listening(script) as address, connect(address, contexts=ALL) as association:
        consumer = Consumer(results := ask(association), waits)
        await consumer.waiting()
        await results.cancel()
        with pytest.raises(OperationCancelled, match="responses are missing"):
            await consumer.task
        is_move = isinstance(consumer.items[0], SubOperations)
        assert len(consumer.items) == (2 if is_move else 1)  # the final counters are an item too
        assert results.failures == []
        await use(association)


async def test_a_timeout_of_asyncio(ask: Ask) -> None:
    script = cancelled(waits := asyncio.Event(), late=2)
    limit = asyncio.timeout(None)

    async with listening(script) as address, connect(address, contexts=ALL) as association:
        consumer = Consumer(ask(association), waits, within=limit)
        await consumer.waiting()
        limit.reschedule(asyncio.get_running_loop().time())
        with pytest.raises(TimeoutError):
            await consumer.task
        await use(association)


async def test_cancelled_before_anything_came(ask: Ask) -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        begun.set()
        await peer.expect_cancel(received)
        await peer.send(response(received, Status.CANCEL))
        await usable(peer)

    begun = asyncio.Event()
    async with listening(script) as address, connect(address, contexts=ALL) as association:
        consumer = Consumer(ask(association), begun)
        await begun.wait()
        consumer.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consumer.task
        await use(association)


@pytest.mark.parametrize("entered", [True, False], ids=["async with", "async for"])
async def test_cancelled_while_it_waits_for_the_end_of_another(ask: Ask, entered: bool) -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(item(received))
        await peer.expect_cancel(received)
        cancelling.set()
        await answered(peer, received, Status.OUT_OF_RESOURCES)
        await go_on.wait()
        await peer.send(response(received, Status.CANCEL))
        await usable(peer)

    cancelling, go_on = asyncio.Event(), asyncio.Event()
    async with listening(script) as address, connect(address, contexts=ALL) as association:
        async for _ in ask(association):
            break
        del _
        await cancelling.wait()
        consumer = Consumer(results := ask(association), asyncio.Event(), entered=entered)
        await asyncio.sleep(0)
        await results.cancel()
        go_on.set()
        with pytest.raises(OperationCancelled):
            await consumer.task
        await use(association)


async def test_what_was_not_begun_or_has_ended_is_not_cancelled(ask: Ask) -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(item(received))
        await answered(peer, received, Status.SUCCESS)
        await peer.send(response(received, 0))
        await usable(peer)

    async with listening(script) as address, connect(address, contexts=ALL) as association:
        never = ask(association)
        await never.cancel()
        with pytest.raises(StopAsyncIteration):
            await anext(never)
        async with ask(association) as results:
            async for each in results:
                if isinstance(each, StoreRequest):
                    async for _ in each.pixels():
                        pass
            await results.cancel()
        await use(association)


@pytest.mark.parametrize("name", ["C-FIND", "C-MOVE"])
async def test_no_cancel_goes_out_when_the_final_response_is_there(name: str) -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(wire(item(received), response(received, 0)))
        await usable(peer)

    async with listening(script) as address, connect(address, contexts=ALL) as association:
        async with OPERATIONS[name](association) as results:
            await anext(results)
            assert results.status == Status.SUCCESS  # it came in one piece with the item, and is not taken yet
        await use(association)


async def test_leaving_the_association_cancels(ask: Ask) -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(item(received))
        await peer.expect_cancel(received)
        await answered(peer, received, Status.OUT_OF_RESOURCES)
        await peer.send(response(received, Status.CANCEL))
        await peer.answer_release()

    async with listening(script) as address:
        async with connect(address, contexts=ALL) as association:
            results = ask(association)
            await anext(results)
        with pytest.raises(OperationCancelled):
            await anext(results)


# A peer that does not end it

SHORT = ClientOptions(timeouts=Timeouts(cancel=0.2))


def silent(waits: asyncio.Event | None = None, told: asyncio.Event | None = None) -> Script:
    """Gives one item, and takes no notice of the C-CANCEL."""

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(item(received))
        if waits is not None:
            await answered(peer, received, Status.SUCCESS)
            waits.set()
        await peer.expect_cancel(received)
        if told is not None:
            told.set()
        await peer.expect_abort(0, 0)

    return script


async def test_a_match_that_comes_slowly_has_the_time_that_it_takes() -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        match = wire(response(received, Status.PENDING, bytes(100_000)))
        await peer.send(wire(item(received)) + match[:1000])
        await peer.expect_cancel(received)
        for start in range(1000, len(match), 10_000):
            await asyncio.sleep(0.05)
            await peer.send(match[start : start + 10_000])
        await peer.send(response(received, Status.CANCEL))
        await usable(peer)

    async with listening(script) as address, connect(address, contexts=ALL, options=SHORT) as association:
        await by_break(OPERATIONS["C-FIND"](association))
        await use(association)


async def never_tired(peer: ScriptedPeer) -> None:
    """Sends more and more items."""
    received = await asked(peer)

    async def more() -> None:
        while True:
            await peer.send(item(received))
            await asyncio.sleep(0)

    sending = asyncio.create_task(more())
    await peer.expect_abort(0, 0)
    sending.cancel()
    await asyncio.wait({sending})


@pytest.mark.parametrize("script", [silent(), never_tired], ids=["silent", "never tired"])
async def test_a_peer_that_does_not_end_it_is_aborted(ask: Ask, script: Script) -> None:
    async with listening(script) as address, connect(address, contexts=ALL, options=SHORT) as association:
        with pytest.raises(AssociationTimeout, match=r"no progress for 0.2 s \(Timeouts.cancel\)") as caught:
            await by_break(ask(association))
        assert caught.value is association.error


async def test_what_is_raised_already_is_not_hidden_by_that(ask: Ask) -> None:
    async with listening(silent()) as address, connect(address, contexts=ALL, options=SHORT) as association:
        await by_an_exception(ask(association))
        assert isinstance(association.error, AssociationTimeout)
    script = silent(waits := asyncio.Event())
    async with listening(script) as address, connect(address, contexts=ALL, options=SHORT) as association:
        consumer = Consumer(ask(association), waits)
        await consumer.waiting()
        consumer.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consumer.task
        assert isinstance(association.error, AssociationTimeout)


async def test_everyone_learns_of_it(ask: Ask) -> None:
    script = silent(waits := asyncio.Event())
    async with listening(script) as address, connect(address, contexts=ALL, options=SHORT) as association:
        consumer = Consumer(results := ask(association), waits)
        await consumer.waiting()
        with pytest.raises(AssociationTimeout):
            await results.cancel()
        with pytest.raises(AssociationTimeout):
            await consumer.task


async def test_leaving_the_association_does_not_wait_for_ever(ask: Ask) -> None:
    async with listening(silent()) as address:
        with pytest.raises(AssociationTimeout):
            async with connect(address, contexts=ALL, options=SHORT) as association:
                await anext(ask(association))


async def test_cancelled_a_second_time(ask: Ask) -> None:
    """Who is in such a hurry does not wait for the peer."""
    script = silent(waits := asyncio.Event(), told := asyncio.Event())
    async with listening(script) as address, connect(address, contexts=ALL) as association:
        consumer = Consumer(ask(association), waits)
        await consumer.waiting()
        consumer.task.cancel()
        await told.wait()
        consumer.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consumer.task
        assert not association.is_open


async def test_the_peer_ends_the_association_instead(ask: Ask) -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(item(received))
        await peer.expect_cancel(received)
        await peer.send(A_ABORT(0, 0))

    async with listening(script) as address, connect(address, contexts=ALL) as association:
        with pytest.raises(AssociationAborted):
            await by_break(ask(association))
    async with listening(script) as address, connect(address, contexts=ALL) as association:
        await by_an_exception(ask(association))
