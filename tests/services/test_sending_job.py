"""Jobs with several objects outstanding and as many associations as are worthwhile: everything is sent once."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from tests.sample_objects import instance, save
from tests.server_options import server_options

import dimse
from dimse import ClientOptions, RetryPolicy, Server, Status, StoreRequest, StreamSource
from dimse.messages.message import C_STORE_RQ
from dimse.testing import INFORMATION, Received, ScriptedPeer, listening, response
from dimse.upper_layer.items import AsynchronousOperationsWindow as Window
from dimse.upper_layer.pdu import A_ABORT, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ

QUICK = RetryPolicy(delay=0.01, factor=1)


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dimse.network.exchange.ABORT_GRACE", 0.2)


def study(folder: Path, count: int) -> list[Path]:
    return [save(instance(f"1.2.{i}"), folder / f"{i:03}.dcm") for i in range(1, count + 1)]


class SlowArchive(Server):
    """Takes its time for the first eight; the others it answers when there are `wanted` associations."""

    def __init__(self, wanted: int, **options: object) -> None:
        super().__init__("ARCHIVE", port=0, options=server_options(**options))
        self.wanted = wanted
        self.times: Counter[str] = Counter()
        self.seen: set[object] = set()
        self.most = 0
        self.enough = asyncio.Event()
        self.on_c_store(self.keep)

    async def keep(self, request: StoreRequest) -> int:
        self.times[request.sop_instance_uid] += 1
        self.seen.add(request.association)
        self.most = max(self.most, len(self.associations))
        if len(self.seen) >= self.wanted:
            self.enough.set()
        if self.times.total() <= 8:
            await asyncio.sleep(0.03)  # which is what it is like, and not what the test waits for
        else:
            await self.enough.wait()
        return Status.SUCCESS

    @property
    def address(self) -> str:
        return f"ARCHIVE@127.0.0.1:{self.port}"


async def test_a_slow_peer_gets_more_associations_up_to_the_cap(tmp_path: Path) -> None:
    async with asyncio.timeout(15), SlowArchive(3, operations_window=1) as server:
        report = await dimse.send(server.address, study(tmp_path, 30), associations=3, auto_associations=True)
    assert (report.associations, report.operations_window) == (3, 1)
    assert server.most == 3
    assert server.times == Counter({f"1.2.{i}": 1 for i in range(1, 31)})
    assert len(report.stored) == 30


async def test_a_single_object_opens_one(tmp_path: Path) -> None:
    async with SlowArchive(1) as server:
        report = await dimse.send(server.address, study(tmp_path, 1), associations=4, auto_associations=True)
    assert (report.associations, report.operations_window, server.most) == (1, 16, 1)


async def test_the_window_that_was_granted_is_reported(tmp_path: Path) -> None:
    async with SlowArchive(1, operations_window=5) as server:
        report = await dimse.send(server.address, study(tmp_path, 1))
        assert report.operations_window == 5
        options = ClientOptions(operations_window=1)
        assert (await dimse.send(server.address, study(tmp_path, 1), options=options)).operations_window == 1


async def test_a_peer_that_refuses_more_still_gets_everything(tmp_path: Path) -> None:
    async with SlowArchive(1, operations_window=1, maximum_associations=1) as server:
        report = await dimse.send(
            server.address, study(tmp_path, 20), associations=4, auto_associations=True, retry=QUICK
        )
    assert server.most == 1
    assert server.times == Counter({f"1.2.{i}": 1 for i in range(1, 21)})
    assert len(report.stored) == 20


async def test_refused_associations_are_not_reported(tmp_path: Path) -> None:
    async with SlowArchive(1, maximum_associations=1) as server:
        report = await dimse.send(server.address, study(tmp_path, 20), associations=4, retry=QUICK)
    assert report.associations == server.most == 1


@pytest.mark.parametrize("auto_associations", [True, False])
@pytest.mark.parametrize("refuses", ["rejects", "aborts", "resets", "closes", "does not answer"])
async def test_a_peer_that_takes_three_of_eight(refuses: str, auto_associations: bool, tmp_path: Path) -> None:
    """The three stay, no other is tried after the first that is refused, and nothing fails."""
    asked, stored, done = 0, list[str](), asyncio.Event()

    async def script(peer: ScriptedPeer) -> None:
        nonlocal asked
        asked += 1
        if asked > 3:
            await refuse(peer, refuses)
            return
        await peer.accept()
        while await peer.goes_on():
            received = await peer.receive_message()
            stored.append(uid_of(received))
            if len(stored) <= 8:
                await asyncio.sleep(0.03)  # as a slow peer, for which more are worthwhile
            elif asked < 4:
                await done.wait()
            await peer.send(response(received))

    async def refuse(peer: ScriptedPeer, how: str) -> None:
        done.set()
        if how == "rejects":
            await peer.expect(A_ASSOCIATE_RQ)
            await peer.send(A_ASSOCIATE_RJ(2, 3, 2))
        elif how == "aborts":
            await peer.accept(A_ABORT(0, 0))
        elif how == "resets":
            peer.reset()
        if how in ("rejects", "aborts", "does not answer"):
            await peer.closed()

    options = ClientOptions(operations_window=1)
    paths = study(tmp_path, 60)
    async with asyncio.timeout(20), listening(script) as address:
        report = await dimse.send(
            address,
            paths,
            associations=8,
            auto_associations=auto_associations,
            retry=RetryPolicy(retries=0),
            options=options,
        )
    assert sorted(stored) == sorted(f"1.2.{i}" for i in range(1, 61))
    assert len(report.stored) == 60
    assert asked == 4


async def test_it_is_tuned_after_the_first_association_was_lost(tmp_path: Path) -> None:
    async with asyncio.timeout(10), SlowArchive(3, operations_window=1) as server:
        lost = False

        @server.on_c_store
        async def handler(request: StoreRequest) -> int:
            nonlocal lost
            if not lost:
                lost = True
                request.association.abort()
                return Status.SUCCESS
            return await server.keep(request)

        await dimse.send(server.address, study(tmp_path, 30), associations=3, auto_associations=True, retry=QUICK)


# Several outstanding


def uid_of(received: Received) -> str:
    assert isinstance(received.message, C_STORE_RQ), received.message
    return received.message.affected_sop_instance_uid


async def outstanding(peer: ScriptedPeer, count: int) -> list[Received]:
    await peer.accept(information=replace(INFORMATION, asynchronous_operations_window=Window(count, 1)))
    return [await peer.receive_message() for _ in range(count)]


async def test_exactly_what_was_not_acknowledged_is_sent_again(tmp_path: Path) -> None:
    again: list[str] = []

    async def aborts(peer: ScriptedPeer) -> None:
        received = await outstanding(peer, 4)
        await peer.send(response(received[2]), response(received[0]))
        assert [uid_of(await peer.receive_message()) for _ in range(2)] == ["1.2.5", "1.2.6"]
        peer.writer.close()

    async def takes_the_rest(peer: ScriptedPeer) -> None:
        await peer.accept()
        for _ in range(6):
            received = await peer.receive_message()
            again.append(uid_of(received))
            await peer.send(response(received))
        await peer.answer_release()

    async with listening(aborts, takes_the_rest) as address:
        report = await dimse.send(address, study(tmp_path, 8), retry=QUICK)
    assert again == ["1.2.2", "1.2.4", "1.2.5", "1.2.6", "1.2.7", "1.2.8"]
    assert [one.sop_instance_uid for one in report.results] == ["1.2.3", "1.2.1", *again]


async def vanishes(peer: ScriptedPeer) -> None:
    await outstanding(peer, 3)
    peer.reset()


async def takes_four(peer: ScriptedPeer) -> None:
    await peer.accept()
    for _ in range(4):
        await peer.send(response(await peer.receive_message()))
    await peer.answer_release()


async def test_what_was_cut_off_together_is_not_called_not_tried(tmp_path: Path) -> None:
    async def at_each(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.receive_message()
        peer.reset()

    async with asyncio.timeout(5), listening(vanishes, at_each, at_each, at_each) as address:
        report = await dimse.send(address, study(tmp_path, 3), retry=RetryPolicy(retries=0), raise_failures=False)
    assert len(report.failures) == 3
    assert not any("not attempted" in str(failure.error) for failure in report.failures)


class Pipe(BytesIO):
    def seekable(self) -> bool:
        return False


async def test_what_can_be_read_once_and_waited_for_its_turn_is_sent(tmp_path: Path) -> None:
    paths = study(tmp_path, 4)
    pipe = StreamSource(Pipe(paths[3].read_bytes()), "pipe")

    async with asyncio.timeout(5), listening(vanishes, takes_four) as address:
        report = await dimse.send(address, [*paths[:3], pipe], retry=QUICK, raise_failures=False)
        assert report.failures == ()
