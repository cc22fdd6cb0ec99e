"""The asynchronous operations window as SCU (PS3.7 D.3.3.3): what is negotiated, and what that allows on the wire."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from pydicom.dataset import Dataset
from tests.sample_objects import CT, EXPLICIT, IMPLICIT, VERIFICATION, encoded, instance
from tests.silence import nothing_more

from dimse import (
    Association,
    AssociationAborted,
    AssociationError,
    AssociationTimeout,
    CEchoSCU,
    CFindSCU,
    ClientOptions,
    ConnectionLost,
    CStoreSCU,
    DatasetError,
    DimseError,
    LocalProtocolError,
    Query,
    RemoteProtocolError,
    Server,
    ServerOptions,
    Status,
    Timeouts,
    connect,
)
from dimse.dataset.sources import PiecesSource
from dimse.messages.message import C_ECHO_RQ, C_FIND_RQ, C_STORE_RQ, C_STORE_RSP
from dimse.network.association import exchange_of
from dimse.testing import INFORMATION, Received, Script, ScriptedPeer, listening, message_pdvs, response, wire
from dimse.uids import STUDY_ROOT_FIND
from dimse.upper_layer.items import AsynchronousOperationsWindow as Window
from dimse.upper_layer.pdu import A_ABORT, A_ASSOCIATE_RQ, A_RELEASE_RP, A_RELEASE_RQ, P_DATA_TF

CONTEXTS = [(VERIFICATION, [IMPLICIT]), (CT, [EXPLICIT]), (STUDY_ROOT_FIND, [EXPLICIT])]
LARGE = 100_000
"""Bytes of pixel data that make a data set too large to be read before its turn."""


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dimse.network.exchange.ABORT_GRACE", 0.2)


async def granted(peer: ScriptedPeer, window: Window | None) -> A_ASSOCIATE_RQ:
    """Accept with this answer to the window that was proposed."""
    return await peer.accept(information=replace(INFORMATION, asynchronous_operations_window=window))


@asynccontextmanager
async def associated(script: Script, **options: object) -> AsyncIterator[Association]:
    async with (
        listening(script) as address,
        connect(address, contexts=CONTEXTS, options=ClientOptions(**options)) as association,  # type: ignore[arg-type]
    ):
        yield association


def uid_of(received: Received) -> str:
    assert isinstance(received.message, C_STORE_RQ), received.message
    return received.message.affected_sop_instance_uid


async def stores(peer: ScriptedPeer, count: int) -> list[Received]:
    """The C-STOREs that come next, none of them answered."""
    return [await peer.receive_message() for _ in range(count)]


def storing(association: Association, *numbers: int, pixels: int = 1000) -> list[asyncio.Task[C_STORE_RSP]]:
    """Objects under way, in this order."""
    scu = CStoreSCU(association)
    return [asyncio.create_task(scu.send(instance(f"1.2.{number}", pixels=pixels))) for number in numbers]


async def errors_of(tasks: Iterable[asyncio.Task[C_STORE_RSP]]) -> list[BaseException]:
    results = await asyncio.gather(*tasks, return_exceptions=True)
    return [result for result in results if isinstance(result, BaseException)]


def a_source(number: int, pieces: Callable[[], AsyncIterator[bytes]], length: int | None) -> PiecesSource:
    return PiecesSource(
        pieces,
        sop_class_uid=CT,
        sop_instance_uid=f"1.2.{number}",
        transfer_syntax_uid=EXPLICIT,
        length=length,
        repeatable=True,
        name=f"source {number}",
    )


# Negotiation


@pytest.mark.parametrize(("ours", "theirs", "window"), [(16, 16, 16), (4, 16, 4), (16, 4, 4), (1, 16, 1), (16, 1, 1)])
async def test_it_is_the_smaller_of_what_both_want(ours: int, theirs: int, window: int) -> None:
    server = Server("ARCHIVE", port=0, options=ServerOptions(operations_window=theirs))
    options = ClientOptions(operations_window=ours)
    async with (
        server,
        connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=CONTEXTS, options=options) as association,
    ):
        (other,) = server.associations
        assert association.operations_window == other.operations_window == window
        proposed = exchange_of(association).agreement.request.user_information.asynchronous_operations_window
        answered = exchange_of(association).agreement.acceptance.user_information.asynchronous_operations_window
        # 1 and 1 is the default, which goes without saying (PS3.7 D.3.3.3.1)
        assert (proposed, answered) == ((None, None) if ours == 1 else (Window(ours, 1), Window(window, 1)))


@pytest.mark.parametrize(
    ("answered", "window"),
    [(None, 1), (Window(1, 1), 1), (Window(3, 1), 3), (Window(3, 0), 3), (Window(9, 9), 4), (Window(0, 0), 4)],
)
async def test_never_more_are_outstanding_than_were_granted(answered: Window | None, window: int) -> None:
    async def script(peer: ScriptedPeer) -> None:
        asked = await granted(peer, answered)
        assert asked.user_information.asynchronous_operations_window == Window(4, 1)
        outstanding = await stores(peer, window)
        for following in range(window + 1, 8):
            await nothing_more(peer)
            await peer.send(response(outstanding.pop()))  # each answer lets one more go
            outstanding += await stores(peer, 1)
            assert uid_of(outstanding[-1]) == f"1.2.{following}"
        await peer.send(*map(response, outstanding))
        await peer.answer_release()

    async with associated(script, operations_window=4) as association:
        assert association.operations_window == window
        assert not await errors_of(storing(association, *range(1, 8)))


async def test_a_window_of_1_is_not_proposed() -> None:
    async def script(peer: ScriptedPeer) -> None:
        asked = await peer.accept()
        assert asked.user_information.asynchronous_operations_window is None
        (first,) = await stores(peer, 1)
        await nothing_more(peer)
        await peer.send(response(first))
        await peer.send(response((await stores(peer, 1))[0]))
        await peer.answer_release()

    async with associated(script, operations_window=1) as association:
        assert not await errors_of(storing(association, 1, 2))


# Requests and responses


async def test_responses_in_any_order_go_to_their_own_requests() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await granted(peer, Window(4, 1))
        received = [*await stores(peer, 3), await peer.receive_message()]
        assert isinstance(received[3].message, C_ECHO_RQ)
        answers = [response(one, status) for one, status in zip(received, [0xB000, 0xB006, 0xB007, 0], strict=True)]
        await peer.send(wire(*answers[::-1]))
        await peer.answer_release()

    async with associated(script) as association:
        tasks = storing(association, 1, 2, 3)
        await asyncio.sleep(0)
        echo = await CEchoSCU(association).echo()
        assert [(await task).status for task in tasks] == [0xB000, 0xB006, 0xB007]
        assert echo.status == Status.SUCCESS


@pytest.mark.parametrize("window", [2, 16])
async def test_requests_go_out_in_their_order_and_each_whole(window: int) -> None:
    """Large ones, of which the socket takes only a part at a time, between small ones and a C-ECHO."""
    pixels = [1000, 700_000, 10, 900_000, 1000]

    async def script(peer: ScriptedPeer) -> None:
        await granted(peer, Window(window, 1))
        for number, size in enumerate(pixels, 1):
            received = await peer.receive_message()  # it does not take another message within
            assert received.data == encoded(instance(f"1.2.{number}", pixels=size))
            await peer.send(response(received))
        await peer.answer_echo()
        await peer.answer_release()

    async with associated(script) as association:
        tasks = [storing(association, number, pixels=size)[0] for number, size in enumerate(pixels, 1)]
        await asyncio.sleep(0)
        await CEchoSCU(association).echo()
        assert not await errors_of(tasks)


# Reading before the turn

HALF = instance("1.2.9")


async def fails() -> AsyncIterator[bytes]:
    yield encoded(HALF)[:100]
    raise ZeroDivisionError("no more")


async def ends_early() -> AsyncIterator[bytes]:
    yield encoded(HALF)[:100]


async def goes_on() -> AsyncIterator[bytes]:
    yield encoded(HALF) + b"\0\0"


async def is_odd() -> AsyncIterator[bytes]:
    yield encoded(HALF)[:-1]


@pytest.mark.parametrize(
    ("pieces", "length", "kind", "message"),
    [
        (fails, len(encoded(HALF)), ZeroDivisionError, "no more"),
        (ends_early, len(encoded(HALF)), DatasetError, "source 9: fewer than"),
        (goes_on, len(encoded(HALF)), DatasetError, "source 9: more than"),
        (is_odd, None, DatasetError, "odd length"),
    ],
)
async def test_a_small_source_that_fails_costs_only_itself(
    pieces: Callable[[], AsyncIterator[bytes]], length: int | None, kind: type[Exception], message: str
) -> None:
    """It is found out before a byte of it is sent, with another one outstanding."""

    async def script(peer: ScriptedPeer) -> None:
        await granted(peer, Window(4, 1))
        received = await stores(peer, 2)
        assert [uid_of(one) for one in received] == ["1.2.1", "1.2.2"]
        await peer.send(*map(response, received))
        await peer.answer_echo()
        await peer.answer_release()

    async with associated(script) as association:
        (first,) = storing(association, 1)
        await asyncio.sleep(0)
        bad = asyncio.create_task(CStoreSCU(association).send(a_source(9, pieces, length)))
        with pytest.raises(kind, match=message):
            await bad
        assert not await errors_of([first, *storing(association, 2)])
        await CEchoSCU(association).echo()


async def test_a_small_one_is_read_whole_while_it_waits_and_a_large_one_is_not() -> None:
    opened = {number: asyncio.Event() for number in (2, 3)}
    large = instance("1.2.3", pixels=LARGE)

    def pieces(number: int, data: bytes) -> Callable[[], AsyncIterator[bytes]]:
        async def read() -> AsyncIterator[bytes]:
            opened[number].set()
            yield data

        return read

    async def script(peer: ScriptedPeer) -> None:
        await granted(peer, Window(1, 1))
        (received,) = await stores(peer, 1)
        await opened[2].wait()
        await nothing_more(peer)
        await peer.send(response(received))
        (received,) = await stores(peer, 1)
        await nothing_more(peer)
        assert not opened[3].is_set()
        await peer.send(response(received))
        (received,) = await stores(peer, 1)
        assert received.data == encoded(large)
        await peer.send(response(received))
        await peer.answer_release()

    async with associated(script) as association:
        tasks = storing(association, 1)
        for number, dataset in ((2, instance("1.2.2")), (3, large)):
            source = a_source(number, pieces(number, encoded(dataset)), len(encoded(dataset)))
            tasks.append(asyncio.create_task(CStoreSCU(association).send(source)))
        assert not await errors_of(tasks)


async def test_a_large_one_is_on_its_way_before_it_is_read_to_its_end() -> None:
    data, arrived = encoded(instance("1.2.1", pixels=LARGE)), asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield data[:80_000]
        await arrived.wait()
        yield data[80_000:]

    async def script(peer: ScriptedPeer) -> None:
        await granted(peer, Window(4, 1))
        await peer.expect(P_DATA_TF)
        arrived.set()
        await peer.expect_abort(0, 0)

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        task = asyncio.create_task(CStoreSCU(association).send(a_source(1, pieces, len(data))))
        await arrived.wait()
        association.abort()
        with pytest.raises(AssociationAborted):
            await task


async def test_a_small_source_that_gives_nothing_runs_out_of_time() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        await asyncio.get_running_loop().create_future()
        yield b""

    async def script(peer: ScriptedPeer) -> None:
        await granted(peer, Window(4, 1))
        await peer.expect_abort(0, 0)

    async with listening(script) as address, connect(address, contexts=CONTEXTS, options=QUICK) as association:
        async with asyncio.timeout(1):
            with pytest.raises(AssociationTimeout, match=r"Timeouts\.store"):
                await CStoreSCU(association).send(a_source(1, pieces, 1000))


# Ends

QUICK = ClientOptions(timeouts=Timeouts(store=0.2))


async def aborts(peer: ScriptedPeer) -> None:
    await peer.send(A_ABORT(0, 0))
    await peer.closed()


async def vanishes(peer: ScriptedPeer) -> None:
    peer.reset()


async def releases(peer: ScriptedPeer) -> None:
    await peer.send(A_RELEASE_RQ())
    await peer.expect(A_RELEASE_RP)


async def answers_another(peer: ScriptedPeer) -> None:
    unasked = C_STORE_RSP(message_id_being_responded_to=999, status=Status.SUCCESS)
    await peer.send(message_pdvs(unasked, context=3))
    await peer.expect_abort(2, 5)


async def says_nothing(peer: ScriptedPeer) -> None:
    await peer.expect_abort(0, 0)


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (aborts, AssociationAborted),
        (vanishes, ConnectionLost),
        (releases, AssociationError),
        (says_nothing, AssociationTimeout),
        (answers_another, RemoteProtocolError),
    ],
)
async def test_the_end_of_the_association_is_told_to_each(
    end: Callable[[ScriptedPeer], Awaitable[None]], kind: type[DimseError]
) -> None:
    """To the three that are outstanding, and to the two that wait for their turn."""

    async def script(peer: ScriptedPeer) -> None:
        await granted(peer, Window(3, 1))
        await stores(peer, 3)
        await end(peer)

    async with listening(script) as address, connect(address, contexts=CONTEXTS, options=QUICK) as association:
        errors = await errors_of(storing(association, *range(5)))
        assert [isinstance(error, kind) for error in errors] == [True] * 5
        assert not association.is_open


async def test_cancelling_one_of_several_aborts_and_the_others_learn_why() -> None:
    outstanding = asyncio.Event()

    async def script(peer: ScriptedPeer) -> None:
        await granted(peer, Window(3, 1))
        await stores(peer, 3)
        outstanding.set()
        await peer.expect_abort(0, 0)

    async with associated(script) as association:
        tasks = storing(association, *range(4))
        await outstanding.wait()
        tasks[1].cancel()
        cancelled = (await asyncio.gather(*tasks, return_exceptions=True)).pop(1)
        assert isinstance(cancelled, asyncio.CancelledError)
        for task in (tasks[0], tasks[2], tasks[3]):
            with pytest.raises(AssociationAborted, match="aborted by this side"):
                task.result()


async def test_cancelling_one_that_waits_for_its_turn_harms_nothing() -> None:
    outstanding, go_on = asyncio.Event(), asyncio.Event()

    async def script(peer: ScriptedPeer) -> None:
        await granted(peer, Window(2, 1))
        received = await stores(peer, 2)
        outstanding.set()
        await go_on.wait()
        await peer.send(*map(response, received))
        (received[0],) = await stores(peer, 1)
        assert uid_of(received[0]) == "1.2.4"
        await peer.send(response(received[0]))
        await peer.answer_release()

    async with associated(script) as association:
        tasks = storing(association, 1, 2, 3, 4)
        await outstanding.wait()
        tasks[2].cancel()
        await asyncio.wait({tasks[2]})
        go_on.set()
        cancelled = (await asyncio.gather(*tasks, return_exceptions=True)).pop(2)
        assert isinstance(cancelled, asyncio.CancelledError)
        assert [tasks[number].result().status for number in (0, 1, 3)] == [0, 0, 0]


async def test_a_source_that_breaks_half_way_tells_the_others() -> None:
    """What is half sent cannot be taken back."""
    data = encoded(instance("1.2.9", pixels=LARGE * 6))

    async def pieces() -> AsyncIterator[bytes]:
        yield data[: LARGE * 5]
        raise ZeroDivisionError("no more")

    async def script(peer: ScriptedPeer) -> None:
        await granted(peer, Window(3, 1))
        await stores(peer, 1)
        await peer.expect_abort(0, 0)

    async with associated(script) as association:
        (first,) = storing(association, 1)
        await asyncio.sleep(0)
        with pytest.raises(ZeroDivisionError):
            await CStoreSCU(association).send(a_source(9, pieces, len(data)))
        with pytest.raises(AssociationAborted, match="aborted by this side"):
            await first


# Together with a C-FIND


async def test_a_find_cannot_begin_while_stores_are_outstanding_nor_they_while_it_is() -> None:
    outstanding, refused = asyncio.Event(), asyncio.Event()

    async def script(peer: ScriptedPeer) -> None:
        await granted(peer, Window(4, 1))
        received = await stores(peer, 2)
        outstanding.set()
        await refused.wait()
        await peer.send(*map(response, received))
        find = await peer.receive_message()
        assert isinstance(find.message, C_FIND_RQ)
        await peer.send(response(find, Status.PENDING, b""), response(find))
        await peer.send(response((await stores(peer, 1))[0]))
        await peer.answer_release()

    query = Query.studies(StudyInstanceUID="1.2.3")
    async with associated(script) as association:
        tasks = storing(association, 1, 2)
        await outstanding.wait()
        with pytest.raises(LocalProtocolError, match="C-FIND cannot begin while other operations are under way"):
            await anext(aiter(CFindSCU(association).find(query)))
        refused.set()
        assert not await errors_of(tasks)
        async with CFindSCU(association).find(query) as matches:
            assert await anext(aiter(matches)) == Dataset()
            with pytest.raises(LocalProtocolError, match="C-FIND is under way on this association"):
                await CStoreSCU(association).send(instance("1.2.3"))
            assert [match async for match in matches] == []
        assert not await errors_of(storing(association, 3))


# Places that must not be lost, nor given twice


async def one_at_a_time(peer: ScriptedPeer, count: int) -> None:
    """Answer this many C-STOREs; each must arrive after the response to the one before."""
    for _ in range(count):
        (received,) = await stores(peer, 1)
        await nothing_more(peer)
        await peer.send(response(received))


async def test_a_request_that_cannot_be_encoded_leaves_the_window_as_it_was() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await granted(peer, Window(1, 1))
        await one_at_a_time(peer, 4)
        await peer.answer_release()

    async with associated(script) as association:
        for _ in range(3):
            with pytest.raises(struct.error):
                await CStoreSCU(association).send(instance(), move_originator=("WS1", 70000))
        assert not await errors_of(storing(association, 1, 2, 3, 4))


@pytest.mark.parametrize("pixels", [1000, LARGE])
async def test_who_is_cancelled_when_its_turn_has_just_come_gives_one_place_back(
    monkeypatch: pytest.MonkeyPatch, pixels: int
) -> None:
    """Before it has sent anything, if it is large; a small one is sent at once, which ends the association."""

    async def script(peer: ScriptedPeer) -> None:
        await granted(peer, Window(1, 1))
        await one_at_a_time(peer, 1)
        if pixels == LARGE:
            await one_at_a_time(peer, 3)
            await peer.answer_release()
        else:
            (_,) = await stores(peer, 1)
            await peer.expect_abort(0, 0)

    async with associated(script) as association:
        (first,) = storing(association, 1)
        (second,) = storing(association, 2, pixels=pixels)
        # Called for the first response, which starts the second in the same turn of the loop.
        monkeypatch.setattr(
            exchange_of(association), "note_response", lambda _: asyncio.get_running_loop().call_soon(second.cancel)
        )
        await first
        with pytest.raises(asyncio.CancelledError):
            await second
        monkeypatch.undo()
        if pixels == LARGE:
            assert not await errors_of(storing(association, 3, 4, 5))
        assert association.is_open is (pixels == LARGE)


async def test_a_success_to_what_is_not_sent_yet_is_no_success() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await granted(peer, Window(2, 1))
        first, second = await stores(peer, 2)
        assert isinstance(second.message, C_STORE_RQ)
        third = replace(second, message=replace(second.message, message_id=3))
        await peer.send(wire(*map(response, (first, third, second))))
        await peer.expect_abort(2, 5)

    async with associated(script) as association:
        tasks = storing(association, 1, 2, 3, pixels=LARGE)
        errors = await errors_of(tasks)
        assert tasks[0].result().status == Status.SUCCESS
        assert ["to a request that is not sent yet" in str(error) for error in errors] == [True, True]
        assert not association.is_open


async def test_sends_that_wait_when_the_association_is_released_are_told_so() -> None:
    outstanding = asyncio.Event()

    async def script(peer: ScriptedPeer) -> None:
        await granted(peer, Window(1, 1))
        (received,) = await stores(peer, 1)
        outstanding.set()
        await peer.expect(A_RELEASE_RQ)
        await peer.send(response(received), A_RELEASE_RP())
        await peer.closed()

    async with associated(script) as association:
        tasks = storing(association, 1, 2)
        await outstanding.wait()
        await association.release()
        (error,) = await errors_of(tasks)
        assert isinstance(error, LocalProtocolError)
        assert "is being released" in str(error)
