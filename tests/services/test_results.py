"""The shapes in which a C-FIND, C-MOVE or C-GET is iterated outside of an `async with`, or by several tasks."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.services.leaving import ALL, OPERATIONS, STUDY, Ask, answered, asked, cancelled, item, usable, use

from dimse import (
    Association,
    AssociationAborted,
    CEchoSCU,
    CFindSCU,
    CGetSCU,
    LocalProtocolError,
    OperationCancelled,
    Status,
    StoreRequest,
    connect,
)
from dimse.dataset.codec import encode
from dimse.testing import Script, ScriptedPeer, listening, response
from dimse.upper_layer.pdu import A_ABORT


@pytest.fixture(params=list(OPERATIONS))
def ask(request: pytest.FixtureRequest) -> Ask:
    return OPERATIONS[request.param]


def matches(count: int) -> Script:
    """Gives as many matches, numbered, and the final response."""

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        for number in range(count):
            match = Dataset()
            match.PatientID = str(number)
            await peer.send(response(received, Status.PENDING, encode(match, "1.2.840.10008.1.2.1")))
        await peer.send(response(received, 0))
        await usable(peer)

    return script


# Left


async def by_break(ask: Ask, association: Association) -> None:
    async for _ in ask(association):
        break


async def by_break_where_it_is_kept(ask: Ask, association: Association) -> None:
    results = ask(association)
    async for _ in results:
        break
    association.kept = results  # type: ignore[attr-defined]


async def by_an_exception(ask: Ask, association: Association) -> None:
    async def leave() -> None:
        async for _ in ask(association):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await leave()


async def by_an_exception_in_a_comprehension(ask: Ask, association: Association) -> None:
    with pytest.raises(ZeroDivisionError):
        _ = [1 / 0 async for _ in ask(association)]


async def by_taking_one(ask: Ask, association: Association) -> None:
    assert await anext(ask(association), None) is not None


async def by_a_generator_that_is_closed(ask: Ask, association: Association) -> None:
    async def generator() -> AsyncGenerator[Any]:
        async for each in ask(association):
            yield each

    async with aclosing(generator()) as each:
        await anext(each)


async def by_a_collector_in_a_thread(ask: Ask, association: Association) -> None:
    results = ask(association)
    cycle: list[object] = [results]
    cycle.append(cycle)
    await anext(results)
    del results, cycle
    await asyncio.to_thread(gc.collect)
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    "leave",
    [
        by_break,
        by_break_where_it_is_kept,
        by_an_exception,
        by_an_exception_in_a_comprehension,
        by_taking_one,
        by_a_generator_that_is_closed,
        by_a_collector_in_a_thread,
    ],
)
async def test_what_is_left_is_cancelled(ask: Ask, leave: Callable[[Ask, Association], Awaitable[None]]) -> None:
    """What is asked for next needs no care."""
    async with listening(cancelled(late=1)) as address, connect(address, contexts=ALL) as association:
        await leave(ask, association)
        gc.collect()
        await use(association)


async def test_asking_for_more_of_what_was_left(ask: Ask) -> None:
    async with listening(cancelled(late=1)) as address, connect(address, contexts=ALL) as association:
        results = ask(association)
        async for _ in results:
            break
        with pytest.raises(OperationCancelled):
            _ = [each async for each in results]
        await use(association)


async def test_the_cancel_goes_out_at_once(ask: Ask) -> None:
    """Also where nothing is asked for next."""
    stopped = asyncio.Event()

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(item(received))
        await peer.expect_cancel(received)
        stopped.set()
        await answered(peer, received, Status.OUT_OF_RESOURCES)
        await peer.send(response(received, Status.CANCEL))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=ALL) as association:
        await by_break(ask, association)
        await stopped.wait()


@pytest.mark.parametrize("aborted", [True, False])
async def test_the_association_is_left_too(ask: Ask, aborted: bool) -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(item(received))
        if aborted:
            await peer.expect_abort(0, 0)
            return
        await peer.expect_cancel(received)
        await answered(peer, received, Status.OUT_OF_RESOURCES)
        await peer.send(response(received, Status.CANCEL))
        await peer.answer_release()

    async def both() -> None:
        async with connect(address, contexts=ALL) as association:
            async for _ in ask(association):
                break
            if aborted:
                raise ZeroDivisionError

    async with listening(script) as address:
        if aborted:
            with pytest.raises(ZeroDivisionError):
                await both()
        else:
            await both()


async def test_the_next_operation_waits_for_a_cancel_of_another_task(ask: Ask) -> None:
    async with listening(cancelled(late=1)) as address, connect(address, contexts=ALL) as association:
        results = ask(association)
        await anext(results)
        cancelling = asyncio.create_task(results.cancel())
        await asyncio.sleep(0)
        await use(association)
        await cancelling


# Iterated to the end


async def test_all_of_them_in_a_comprehension() -> None:
    async with listening(matches(3)) as address, connect(address, contexts=ALL) as association:
        results = CFindSCU(association).find(STUDY)
        assert [match.PatientID async for match in results] == ["0", "1", "2"]
        assert [match async for match in results] == []  # as of any iterator that has ended
        assert await anext(results, None) is None
        await use(association)


async def test_a_loop_goes_on_where_another_was_left_in_the_block() -> None:
    async with listening(matches(3)) as address, connect(address, contexts=ALL) as association:
        async with CFindSCU(association).find(STUDY) as results:
            async for match in results:
                assert match.PatientID == "0"
                break
            assert [match.PatientID async for match in results] == ["1", "2"]
        await use(association)


async def test_two_tasks_share_what_comes() -> None:
    """One that leaves stops it for the other no more than one that ends."""
    found: list[str] = []

    async def take(count: int) -> None:
        async for match in results:
            found.append(match.PatientID)
            count -= 1
            if not count:
                break
            await asyncio.sleep(0)

    async with listening(matches(20)) as address, connect(address, contexts=ALL) as association:
        results = CFindSCU(association).find(STUDY)
        await asyncio.gather(take(3), take(-1))
        assert sorted(map(int, found)) == list(range(20))
        await use(association)


async def test_what_could_not_be_asked_for_can_be_later() -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(item(received), response(received, 0))
        await usable(peer)

    async with listening(script) as address, connect(address, contexts=ALL) as association:
        first = CFindSCU(association).find(STUDY)
        second = CFindSCU(association).find(STUDY)
        assert await anext(first) == Dataset()
        with pytest.raises(LocalProtocolError, match="C-FIND is under way"):
            await anext(second)
        assert [match async for match in first] == []
        await CEchoSCU(association).echo()
        assert [match async for match in second] == [Dataset()]


async def test_everyone_learns_that_the_association_was_lost() -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(item(received))
        await peer.send(A_ABORT(0, 0))

    async with listening(script) as address, connect(address, contexts=ALL) as association:
        results = CFindSCU(association).find(STUDY)
        await anext(results)
        both = await asyncio.gather(anext(results), anext(results), return_exceptions=True)
        assert [type(each) for each in both] == [AssociationAborted] * 2
        with pytest.raises(AssociationAborted):
            await anext(results)


async def test_a_handler_cancels_what_it_is_called_by() -> None:
    async def handler(request: StoreRequest) -> int:
        await results.cancel()
        with pytest.raises(LocalProtocolError, match="C-GET is under way"):  # and does not wait for itself
            await CEchoSCU(association).echo()
        return Status.SUCCESS

    async with (
        listening(cancelled(late=1, in_transit=Status.SUCCESS)) as address,
        connect(address, contexts=ALL) as association,
    ):
        results = CGetSCU(association).get(STUDY, handler=handler)
        assert isinstance(await anext(results), StoreRequest)
        with pytest.raises(OperationCancelled):
            await anext(results)
        await use(association)


async def test_an_instance_that_is_saved_too_late(tmp_path: Path) -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(item(received))
        await answered(peer, received, Status.OUT_OF_RESOURCES)
        await peer.send(response(received, Status.SUCCESS))
        await usable(peer)

    async with listening(script) as address, connect(address, contexts=ALL) as association:
        results = CGetSCU(association).get(STUDY, raise_failures=False)
        (given,) = [each async for each in results]
        with pytest.raises(LocalProtocolError, match="refused: it was neither saved nor read to its end"):
            await given.save(tmp_path / "late")
        assert [str(failure) for failure in results.failures] == [
            "1.2.3.4: refused with 0xA700 Out of resources: it was neither saved nor read to its end"
        ]
        await use(association)
