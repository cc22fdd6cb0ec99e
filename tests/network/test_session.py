"""The asynchronous operations window as SCP (PS3.7 D.3.3.3): handlers side by side, as many as were granted."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from tests.sample_objects import CT, EXPLICIT, IMPLICIT, VERIFICATION, dataset_bytes, encoded, instance
from tests.server_options import server_options
from tests.silence import nothing_more

from dimse import EchoRequest, LocalProtocolError, QueryRequest, Server, Status, StoreRequest, Timeouts
from dimse.dataset.codec import encode
from dimse.messages.message import C_CANCEL_RQ, C_ECHO_RSP, C_FIND_RQ, C_FIND_RSP, C_STORE_RSP, Response
from dimse.network.association import exchange_of
from dimse.testing import INFORMATION, ScriptedPeer, associate_request, echo_request, message_pdvs, store_request, wire
from dimse.uids import STUDY_ROOT_FIND
from dimse.upper_layer.items import AsynchronousOperationsWindow as Window
from dimse.upper_layer.pdu import A_ABORT, A_RELEASE_RP, A_RELEASE_RQ, PDV

CONTEXTS = ((VERIFICATION, [IMPLICIT]), (CT, [EXPLICIT]), (STUDY_ROOT_FIND, [EXPLICIT]))
LARGE = 3_000_000
"""Bytes of pixel data: more than a receive buffer holds."""
IDENTIFIER = Dataset()
IDENTIFIER.QueryRetrieveLevel = "STUDY"
IDENTIFIER.StudyInstanceUID = ""


def data_of(number: int, pixels: int = 1000) -> bytes:
    return encoded(instance(f"1.2.{number}", pixels=pixels))


def storing(number: int, pixels: int = 1000) -> list[PDV]:
    """C-STORE of 1.2.`number`, with that as its message ID."""
    return message_pdvs(store_request(f"1.2.{number}", number), data_of(number, pixels), context=3)


def finding(message_id: int) -> list[PDV]:
    message = C_FIND_RQ(message_id=message_id, affected_sop_class_uid=STUDY_ROOT_FIND)
    return message_pdvs(message, encode(IDENTIFIER, EXPLICIT), context=5)


async def answer(peer: ScriptedPeer, *kinds: type[Response]) -> tuple[int, int]:
    """Message ID and status of the response that comes next."""
    message = (await peer.receive_message()).message
    assert isinstance(message, kinds or C_STORE_RSP)
    assert isinstance(message, Response)
    return message.message_id_being_responded_to, message.status


class Archive(Server):
    """Has a handler of C-STORE in which each object waits until the test lets it go."""

    def __init__(self, window: int = 16, **options: object) -> None:
        super().__init__("ARCHIVE", port=0, options=server_options(operations_window=window, **options))
        self.begun = {number: asyncio.Event() for number in range(10)}
        self.go_on = {number: asyncio.Event() for number in range(10)}
        self.at_once: list[int] = []
        self.most = 0
        self.ended: list[int] = []
        self.on_c_store(self.keep)
        self.on_c_find(self.find)  # a test may give another one when the association is there

    async def find(self, request: QueryRequest) -> AsyncIterator[Dataset]:  # noqa: ARG002
        yield Dataset()

    async def keep(self, request: StoreRequest) -> Status:
        async for _ in request.pixels():
            pass
        return await self.waits(request)

    async def waits(self, request: StoreRequest) -> Status:
        number = int(request.sop_instance_uid.removeprefix("1.2."))
        self.at_once.append(number)
        self.most = max(self.most, len(self.at_once))
        self.begun[number].set()
        try:
            await self.go_on[number].wait()
        finally:
            self.at_once.remove(number)
            self.ended.append(number)
        return Status.SUCCESS

    def let_all_go(self) -> None:
        for event in self.go_on.values():
            event.set()


@asynccontextmanager
async def peer_of(server: Server, window: int = 16) -> AsyncIterator[ScriptedPeer]:
    """A scripted requestor on an association with this window."""
    information = replace(INFORMATION, asynchronous_operations_window=Window(window, 1))
    async with asyncio.timeout(20), await ScriptedPeer.connect(server.port) as peer:
        answered = await peer.associate(replace(associate_request(*CONTEXTS), user_information=information))
        agreed = Window(min(window, server.options.operations_window), 1)
        assert answered.user_information.asynchronous_operations_window == agreed
        yield peer


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() <= before | {asyncio.current_task()}


async def test_a_flood_of_requests_leaves_others_their_turn() -> None:
    """Another peer is answered long before the first buffer of them is, though nothing of it ever waits."""
    floods = {
        "C-ECHO": wire(message_pdvs(echo_request())),
        "C-FIND": wire(finding(1)),
        "C-CANCEL": wire(message_pdvs(C_CANCEL_RQ(message_id_being_responded_to=9))),
    }
    for name, one in floods.items():
        async with Archive(1) as server, peer_of(server, 1) as other, peer_of(server, 1) as peer:
            exchange = next(exchange_of(each) for each in server.associations if each.peer_name == name_of(peer))
            peer.writer.write(one * 6000)
            await other.send(message_pdvs(echo_request()))
            assert await answer(other, C_ECHO_RSP) == (1, Status.SUCCESS)
            assert exchange.progress().messages < 2000, name


def name_of(peer: ScriptedPeer) -> str:
    """Its address, as the server sees it."""
    host, port, *_ = peer.writer.get_extra_info("sockname")
    return f"{host}:{port}"


# Side by side


async def test_a_later_request_may_be_answered_first() -> None:
    async with Archive() as server, peer_of(server) as peer:
        await peer.send(wire(storing(1), storing(2), storing(3)))
        for number in (1, 2, 3):
            await server.begun[number].wait()
        for number in (3, 1, 2):
            server.go_on[number].set()
            assert await answer(peer) == (number, Status.SUCCESS)
        await peer.release()


@pytest.mark.parametrize("window", [1, 2, 3])
async def test_no_more_are_served_at_once_than_were_granted(window: int) -> None:
    """What is too much waits in the socket; each answer lets one more in."""
    async with Archive(window) as server, peer_of(server) as peer:
        await peer.send(wire(*(storing(number) for number in range(1, 9))))
        for number in range(1, window + 1):
            await server.begun[number].wait()
        for number in range(1, 9):
            await nothing_more(peer)
            assert server.at_once == list(range(number, min(number + window, 9)))
            server.go_on[number].set()
            assert await answer(peer) == (number, Status.SUCCESS)
            if number + window < 9:
                await server.begun[number + window].wait()
        assert server.most == window
        await peer.release()


@pytest.mark.parametrize("window", [1, 2, 3, 8])
async def test_requests_without_data_are_served_side_by_side_too(window: int) -> None:
    """All that were granted at once, and no more, though nothing of them waits in the receive buffer to be read."""
    count, go_on = 0, asyncio.Semaphore(0)
    changed = asyncio.Condition()
    async with Archive(window) as server, peer_of(server) as peer:

        @server.on_c_echo
        async def handler(_: object) -> Status:
            nonlocal count
            async with changed:
                count += 1
                changed.notify_all()
            await go_on.acquire()
            count -= 1
            return Status.SUCCESS

        await peer.send(wire(*(message_pdvs(echo_request(number)) for number in range(1, 20))))
        for answered in range(19):
            async with changed:
                await changed.wait_for(lambda now=answered: count == min(window, 19 - now))  # type: ignore[misc]
            await nothing_more(peer)
            assert count == min(window, 19 - answered)
            go_on.release()
            await answer(peer, C_ECHO_RSP)
        await peer.release()


async def test_an_echo_goes_past_a_find() -> None:
    go_on = asyncio.Event()
    async with Archive() as server, peer_of(server) as peer:

        @server.on_c_find
        async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
            yield Dataset()
            await go_on.wait()
            yield Dataset()

        await peer.send(finding(1))
        assert await answer(peer, C_FIND_RSP) == (1, Status.PENDING)
        await peer.send(message_pdvs(echo_request(2)))
        assert await answer(peer, C_ECHO_RSP) == (2, Status.SUCCESS)
        go_on.set()
        assert await answer(peer, C_FIND_RSP) == (1, Status.PENDING)
        assert await answer(peer, C_FIND_RSP) == (1, Status.SUCCESS)
        await peer.release()


@pytest.mark.parametrize("cancelled", [1, 2])
async def test_a_cancel_ends_the_right_one_of_two_finds(cancelled: int) -> None:
    other, go_on, closed = 3 - cancelled, asyncio.Event(), list[int]()
    async with Archive() as server, peer_of(server) as peer:

        @server.on_c_find
        async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
            number = len(closed_by) + 1
            closed_by.append(number)
            try:
                yield Dataset()
                await go_on.wait()
            finally:
                closed.append(number)

        closed_by: list[int] = []
        await peer.send(finding(1))
        assert await answer(peer, C_FIND_RSP) == (1, Status.PENDING)
        await peer.send(finding(2))
        assert await answer(peer, C_FIND_RSP) == (2, Status.PENDING)
        await peer.send(message_pdvs(C_CANCEL_RQ(message_id_being_responded_to=cancelled), context=5))
        assert await answer(peer, C_FIND_RSP) == (cancelled, Status.CANCEL)
        assert closed == [cancelled]
        go_on.set()
        assert await answer(peer, C_FIND_RSP) == (other, Status.SUCCESS)
        await peer.release()


async def test_a_handler_that_fails_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async with Archive() as server, peer_of(server) as peer:

        @server.on_c_store
        async def handler(request: StoreRequest) -> int:
            if request.sop_instance_uid == "1.2.2":
                raise ZeroDivisionError
            return await server.keep(request)

        await peer.send(wire(storing(1), storing(2), storing(3)))
        assert await answer(peer) == (2, Status.PROCESSING_FAILURE)
        server.let_all_go()
        assert {await answer(peer), await answer(peer)} == {(1, Status.SUCCESS), (3, Status.SUCCESS)}
        await peer.release()
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1


# The data sets


async def test_a_handler_that_does_not_read_holds_the_rest() -> None:
    read, begun, go_on = asyncio.Event(), list[str](), asyncio.Event()
    async with Archive() as server, peer_of(server) as peer:

        @server.on_c_store
        async def handler(request: StoreRequest) -> int:
            begun.append(request.sop_instance_uid)
            await read.wait()
            async for _ in request.pixels():
                pass
            await go_on.wait()
            return Status.SUCCESS

        await peer.send(storing(1, LARGE)[0])
        sending = asyncio.create_task(peer.send(wire(storing(1, LARGE)[1:], message_pdvs(echo_request(2)))))
        await nothing_more(peer)
        assert begun == ["1.2.1"]
        read.set()
        assert await answer(peer, C_ECHO_RSP) == (2, Status.SUCCESS)
        go_on.set()
        assert await answer(peer) == (1, Status.SUCCESS)
        await sending
        await peer.release()


async def test_two_are_saved_at_once_while_they_stream(tmp_path: Path) -> None:
    """The second comes while the first, which is written, waits for what its handler does after that."""
    saved, go_on = list[str](), asyncio.Event()
    async with Archive(fsync=False) as server, peer_of(server) as peer:

        @server.on_c_store
        async def handler(request: StoreRequest) -> int:
            await request.save(tmp_path / request.sop_instance_uid)
            saved.append(request.sop_instance_uid)
            if len(saved) == 2:
                go_on.set()
            await go_on.wait()
            return Status.SUCCESS

        await peer.send(wire(storing(1, LARGE), storing(2, LARGE)))
        assert {await answer(peer), await answer(peer)} == {(1, Status.SUCCESS), (2, Status.SUCCESS)}
        await peer.release()
    assert saved == ["1.2.1", "1.2.2"]
    assert dataset_bytes(tmp_path / "1.2.1") == data_of(1, LARGE)
    assert dataset_bytes(tmp_path / "1.2.2") == data_of(2, LARGE)


# Ends


async def test_a_release_is_answered_when_all_are_served() -> None:
    async with Archive() as server, peer_of(server) as peer:
        await peer.send(wire(storing(1), storing(2), storing(3)), A_RELEASE_RQ())
        for number in (2, 1, 3):
            await server.begun[number].wait()
            await nothing_more(peer)
            server.go_on[number].set()
            assert await answer(peer) == (number, Status.SUCCESS)
        await peer.expect(A_RELEASE_RP)


async def test_a_handler_cannot_release_before_its_request_is_answered() -> None:
    refused = 0

    async def release(request: EchoRequest | StoreRequest | QueryRequest) -> int:
        nonlocal refused
        with pytest.raises(LocalProtocolError, match="before the peer's request is answered"):
            await request.association.release()
        refused += 1
        return Status.SUCCESS

    async with Archive() as server, peer_of(server) as peer:
        server.on_c_echo(release)
        server.on_c_store(release)

        @server.on_c_find
        async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
            await release(request)
            for match in list[Dataset]():
                yield match

        for message, kind in (
            (message_pdvs(echo_request(1)), C_ECHO_RSP),
            (storing(1), C_STORE_RSP),
            (finding(1), C_FIND_RSP),
        ):
            await peer.send(message)
            assert await answer(peer, kind) == (1, Status.SUCCESS)
        (association,) = server.associations
        await asyncio.gather(association.release(), peer.answer_release())  # between requests
    assert refused == 3


async def ends_by(how: str, peer: ScriptedPeer) -> None:
    if how == "abort":
        await peer.send(A_ABORT(0, 0))
        await peer.closed()
    elif how == "close":
        peer.writer.close()
    else:
        peer.reset()


@pytest.mark.parametrize("how", ["abort", "close", "reset"])
async def test_the_end_in_the_middle_ends_all_finds(how: str) -> None:
    ended, all_ended = 0, asyncio.Event()
    async with Archive() as server, peer_of(server) as peer:

        @server.on_c_find
        async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
            nonlocal ended
            try:
                yield Dataset()
                await asyncio.get_running_loop().create_future()
            finally:
                ended += 1
                if ended == 3:
                    all_ended.set()

        for number in (1, 2, 3):
            await peer.send(finding(number))
            assert await answer(peer, C_FIND_RSP) == (number, Status.PENDING)
        await ends_by(how, peer)
        await all_ended.wait()


@pytest.mark.parametrize("how", ["abort", "close", "reset"])
async def test_the_end_in_mid_object_with_another_under_way(how: str, tmp_path: Path) -> None:
    """The half object is not kept; the other, whose handler has it all, is."""
    failed = asyncio.Event()
    async with Archive(fsync=False) as server, peer_of(server) as peer:

        @server.on_c_store
        async def handler(request: StoreRequest) -> int:
            try:
                await request.save(tmp_path / request.sop_instance_uid)
            except BaseException:
                failed.set()
                raise
            return await server.waits(request)

        await peer.send(storing(1))
        await server.begun[1].wait()
        await peer.send(storing(2, LARGE)[:-1])
        await ends_by(how, peer)
        await failed.wait()
        assert os.listdir(tmp_path) == ["1.2.1"]  # noqa: PTH208 - hidden ones too
        server.let_all_go()


@pytest.mark.parametrize("last", [1, 2])
async def test_an_abort_is_seen_while_all_handlers_work_on(last: int) -> None:
    """As with one at a time: what a handler has begun with a whole object it may finish."""
    finished = list[int]()
    async with Archive(stop_timeout=1) as server, peer_of(server) as peer:

        @server.on_c_store
        async def handler(request: StoreRequest) -> int:
            await server.keep(request)
            finished.append(request.command.message_id)
            return Status.SUCCESS

        await peer.send(wire(storing(1), storing(2)))
        await server.begun[2].wait()
        (association,) = server.associations
        await peer.send(A_ABORT(0, 0))
        await exchange_of(association).closed()
        server.go_on[3 - last].set()
        await nothing_in_the_way()
        server.go_on[last].set()
    assert finished == [3 - last, last]


async def nothing_in_the_way() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


# Stopping


async def test_stop_waits_for_all_that_are_under_way() -> None:
    server = Archive(stop_timeout=10)
    await server.start()
    async with peer_of(server) as peer:
        await peer.send(wire(storing(1), storing(2)))
        await server.begun[2].wait()
        stopping = asyncio.create_task(server.stop())
        await nothing_more(peer)
        server.let_all_go()
        assert {await answer(peer), await answer(peer)} == {(1, Status.SUCCESS), (2, Status.SUCCESS)}
        await peer.release()
        peer.writer.close()
        await stopping


async def test_stop_at_the_deadline_ends_all_that_are_under_way() -> None:
    server = Archive(stop_timeout=0.05)
    await server.start()
    async with peer_of(server) as peer:
        await peer.send(wire(storing(1), storing(2), storing(3)))
        await server.begun[3].wait()
        await server.stop()
        assert sorted(server.ended) == [1, 2, 3]
        await peer.closed()


async def test_a_peer_that_says_nothing_while_it_waits_is_not_idle() -> None:
    """It is not its turn."""
    async with Archive(timeouts=Timeouts(idle=0.05)) as server, peer_of(server) as peer:
        await peer.send(wire(storing(1), storing(2)))
        await server.begun[2].wait()
        server.go_on[1].set()
        assert await answer(peer) == (1, Status.SUCCESS)
        asyncio.get_running_loop().call_later(0.2, server.go_on[2].set)
        assert await answer(peer) == (2, Status.SUCCESS)
        await peer.expect_abort(0, 0)  # now it is
