"""What becomes of the instances that are on their way when a C-GET is cancelled."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from tests.sample_objects import dataset_bytes, encoded, instance
from tests.services.leaving import ALL, STORAGE, STUDY, Consumer, answered, asked, by_break, usable, use

from dimse import (
    AssociationAborted,
    AssociationTimeout,
    CancelBehavior,
    CEchoSCU,
    CGetSCU,
    ClientOptions,
    DimseError,
    OperationCancelled,
    OperationTimeout,
    Status,
    StoreRequest,
    Timeouts,
    connect,
)
from dimse.services.get_scu import GetResults
from dimse.testing import Script, ScriptedPeer, listening, message_pdvs, response, store_request, wire

SHORT = ClientOptions(timeouts=Timeouts(cancel=0.2))
LARGE = 3_000_000
"""Bytes of pixel data that do not come in one piece."""


def sent(uid: str) -> bytes:
    return wire(message_pdvs(store_request(uid), encoded(instance(uid, pixels=LARGE)), context=STORAGE))


def in_flight(status: int, *, after: Sequence[str] = ()) -> Script:
    """Sends an instance of which one half comes after the C-CANCEL, and more instances `after` it.

    All are answered with `status`.
    """

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(sent("1.2.1")[: LARGE // 2])
        await peer.expect_cancel(received)
        await peer.send(sent("1.2.1")[LARGE // 2 :])
        await answered(peer, received, status)
        for uid in after:
            await peer.send(sent(uid))
            await answered(peer, received, status)
        await peer.send(response(received, Status.CANCEL))
        await usable(peer)

    return script


class Folder:
    """A handler that saves, and says when it has begun to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.begun = asyncio.Event()

    async def __call__(self, request: StoreRequest) -> int:
        self.begun.set()
        await request.save_under(self.path, "{SOPInstanceUID}")
        return Status.SUCCESS

    def check(self, *uids: str) -> None:
        """These are there, whole, and nothing else is."""
        assert sorted(path.name for path in self.path.iterdir()) == sorted(uids)
        for uid in uids:
            assert dataset_bytes(self.path / uid) == encoded(instance(uid, pixels=LARGE))


def uids(instances: Sequence[StoreRequest]) -> list[str]:
    return [each.sop_instance_uid for each in instances]


REJECT, COMPLETE = CancelBehavior


async def cancel_while_saving(results: GetResults, folder: Folder) -> None:
    consumer = Consumer(results, folder.begun)
    await folder.begun.wait()
    consumer.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer.task
    assert consumer.items == []


async def test_what_is_in_flight_is_rejected(tmp_path: Path) -> None:
    script = in_flight(Status.OUT_OF_RESOURCES, after=["1.2.2"])
    async with listening(script) as address, connect(address, contexts=ALL) as association:
        results = CGetSCU(association).get(STUDY, handler=(folder := Folder(tmp_path)))
        await cancel_while_saving(results, folder)
        folder.check()
        assert results.completed_in_flight == []
        await use(association)


async def test_what_is_in_flight_is_completed(tmp_path: Path) -> None:
    script = in_flight(Status.SUCCESS, after=["1.2.2"])
    async with listening(script) as address, connect(address, contexts=ALL) as association:
        results = CGetSCU(association).get(STUDY, handler=(folder := Folder(tmp_path)), on_cancel=COMPLETE)
        await cancel_while_saving(results, folder)
        folder.check("1.2.1", "1.2.2")
        assert uids(results.completed_in_flight) == ["1.2.1", "1.2.2"]
        await use(association)


def slowly(status: int) -> Script:
    """Sends an instance, half of it after the C-CANCEL and more slowly than `SHORT` as a whole, but not in any part."""

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(sent("1.2.1")[: LARGE // 2])
        await peer.expect_cancel(received)
        rest = sent("1.2.1")[LARGE // 2 :]
        step = len(rest) // 10
        for start in range(0, len(rest), step):
            await asyncio.sleep(0.05)
            await peer.send(rest[start : start + step])
        await answered(peer, received, status)
        await peer.send(response(received, Status.CANCEL))
        await usable(peer)

    return script


@pytest.mark.parametrize("on_cancel", CancelBehavior)
async def test_what_comes_slowly_has_the_time_that_it_takes(tmp_path: Path, on_cancel: CancelBehavior) -> None:
    completes = on_cancel is COMPLETE
    script = slowly(Status.SUCCESS if completes else Status.OUT_OF_RESOURCES)
    async with listening(script) as address, connect(address, contexts=ALL, options=SHORT) as association:
        results = CGetSCU(association).get(STUDY, handler=(folder := Folder(tmp_path)), on_cancel=on_cancel)
        await cancel_while_saving(results, folder)
        folder.check(*(["1.2.1"] if completes else []))
        await use(association)


async def test_what_comes_after_it_has_not(tmp_path: Path) -> None:
    """A peer that goes on sending takes no notice of the C-CANCEL."""

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(sent("1.2.1")[: LARGE // 2])
        await peer.expect_cancel(received)
        await peer.send(sent("1.2.1")[LARGE // 2 :])
        await answered(peer, received, Status.SUCCESS)
        aborted = asyncio.create_task(peer.expect_abort(0, 0))
        late = sent("1.2.2")
        for start in range(0, len(late), LARGE // 40):
            if aborted.done():
                break
            with suppress(ConnectionError):
                await peer.send(late[start : start + LARGE // 40])
            await asyncio.sleep(0.05)
        await aborted

    async with listening(script) as address, connect(address, contexts=ALL, options=SHORT) as association:
        results = CGetSCU(association).get(STUDY, handler=(folder := Folder(tmp_path)), on_cancel=COMPLETE)
        await cancel_while_saving(results, folder)
        assert isinstance(association.error, AssociationTimeout)
        folder.check("1.2.1")


async def test_what_is_in_flight_is_completed_when_time_is_up(tmp_path: Path) -> None:
    async with listening(in_flight(Status.SUCCESS)) as address, connect(address, contexts=ALL) as association:
        folder = Folder(tmp_path)
        results = CGetSCU(association).get(STUDY, handler=folder, on_cancel=COMPLETE, total_timeout=0.2)
        with pytest.raises(OperationTimeout):
            async with results:
                await anext(results)
        folder.check("1.2.1")
        assert uids(results.completed_in_flight) == ["1.2.1"]
        await use(association)


async def test_without_a_place_to_go_nothing_can_be_completed() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=ALL) as association:
        with pytest.raises(ValueError, match="COMPLETE_IN_FLIGHT needs `into` or `handler`"):
            CGetSCU(association).get(STUDY, on_cancel=COMPLETE)


def late(status: int, waits: asyncio.Event) -> Script:
    """Sends a whole instance before the C-CANCEL, and another after it, which is answered with `status`."""

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(sent("1.2.1"))
        await answered(peer, received, Status.SUCCESS)
        waits.set()
        await peer.expect_cancel(received)
        await peer.send(sent("1.2.2"))
        await answered(peer, received, status)
        await peer.send(response(received, Status.CANCEL))
        await usable(peer)

    return script


@pytest.mark.parametrize(
    ("on_cancel", "by_another"),
    [(REJECT, False), (REJECT, True), (COMPLETE, False), (COMPLETE, True)],
)
async def test_what_comes_late(tmp_path: Path, on_cancel: CancelBehavior, by_another: bool) -> None:
    """Also where another task cancels, and the consumer waits for the next."""
    completes = on_cancel is COMPLETE
    script = late(Status.SUCCESS if completes else Status.OUT_OF_RESOURCES, waits := asyncio.Event())
    options = ClientOptions(timeouts=Timeouts(cancel=1, store=1))
    async with listening(script) as address, connect(address, contexts=ALL, options=options) as association:
        results = CGetSCU(association).get(STUDY, handler=(folder := Folder(tmp_path)), on_cancel=on_cancel)
        if by_another:
            consumer = Consumer(results, waits)
            await consumer.waiting()
            await results.cancel()
            with pytest.raises(OperationCancelled):
                await consumer.task
            assert len(consumer.items) == 1
        else:
            await by_break(results)
        folder.check("1.2.1", *(["1.2.2"] if completes else []))
        assert uids(results.completed_in_flight) == (["1.2.2"] if completes else [])
        await use(association)


async def test_what_is_stored_is_told_of(tmp_path: Path) -> None:
    """The task is cancelled when its instance is stored, and not given yet."""

    folder = Folder(tmp_path)

    async def keep(request: StoreRequest) -> int:
        status = await folder(request)
        if request.sop_instance_uid == "1.2.1":
            consumer.task.cancel()
        return status

    script = late(Status.SUCCESS, waits := asyncio.Event())
    async with listening(script) as address, connect(address, contexts=ALL) as association:
        consumer = Consumer(results := CGetSCU(association).get(STUDY, handler=keep, on_cancel=COMPLETE), waits)
        with pytest.raises(asyncio.CancelledError):
            await consumer.task
        folder.check("1.2.1", "1.2.2")
        assert (consumer.items, uids(results.completed_in_flight)) == ([], ["1.2.1", "1.2.2"])
        await use(association)


@pytest.mark.parametrize("twice", [True, False], ids=["cancelled again", "the rest never comes"])
async def test_what_cannot_be_completed_leaves_nothing(tmp_path: Path, twice: bool) -> None:
    told = asyncio.Event()

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(sent("1.2.1")[: LARGE // 2])
        await peer.expect_cancel(received)
        told.set()
        await peer.expect_abort(0, 0)

    options = ClientOptions() if twice else SHORT
    async with listening(script) as address, connect(address, contexts=ALL, options=options) as association:
        results = CGetSCU(association).get(STUDY, handler=(folder := Folder(tmp_path)), on_cancel=COMPLETE)
        consumer = Consumer(results, folder.begun)
        await folder.begun.wait()
        consumer.task.cancel()
        await told.wait()
        if twice:
            consumer.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consumer.task
        assert not association.is_open
        assert results.completed_in_flight == []
        folder.check()


async def test_left_in_the_loop() -> None:
    """What is read no further is refused, and read to its end."""

    async def leave(results: GetResults) -> None:
        async with results:
            async for each in results:
                async for _ in each.pixels():
                    return

    script = in_flight(Status.OUT_OF_RESOURCES)
    async with listening(script) as address, connect(address, contexts=ALL) as association:
        await leave(CGetSCU(association).get(STUDY))
        await use(association)


class BusyDisk:
    """Keeps what the caller writes waiting until it is `free`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.free, self._writev = threading.Event(), threading.Event(), os.writev
        monkeypatch.setattr(os, "writev", self._write)

    def _write(self, descriptor: int, buffers: Sequence[memoryview]) -> int:
        self.begun.set()
        self.free.wait(20)
        return self._writev(descriptor, buffers)


@pytest.mark.parametrize("pixels", [LARGE, 1000], ids=["the first of several writes", "the only write"])
async def test_cancelled_while_the_loop_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pixels: int) -> None:
    """What comes next is not received into the buffer that is being written: a file is whole, or not there."""
    data = encoded(instance("1.2.1", pixels=pixels))

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(message_pdvs(store_request("1.2.1"), data, context=STORAGE))
        await peer.expect_cancel(received)
        await answered(peer, received, Status.OUT_OF_RESOURCES)
        await peer.send(message_pdvs(store_request("1.2.2"), bytes(len(data)), context=STORAGE))
        await answered(peer, received, Status.OUT_OF_RESOURCES)
        await peer.send(response(received, Status.CANCEL))
        await usable(peer)

    disk = BusyDisk(monkeypatch)
    async with listening(script) as address, connect(address, contexts=ALL) as association:
        results = CGetSCU(association).get(STUDY)
        saving = asyncio.create_task((await anext(results)).save(tmp_path / "1.2.1"))
        await asyncio.to_thread(disk.begun.wait, 20)
        cancelling = asyncio.create_task(results.cancel())
        for _ in range(100):
            await asyncio.sleep(0)
        assert not cancelling.done()
        disk.free.set()
        await cancelling
        await use(association)
        if pixels == LARGE:
            with pytest.raises(DimseError):
                await saving
            Folder(tmp_path).check()
        else:
            assert dataset_bytes(await saving) == data


@pytest.mark.parametrize("leave", ["break", "cancel"])
async def test_what_is_saved_is_not_refused_for_leaving(tmp_path: Path, leave: str) -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(sent("1.2.1"))
        await answered(peer, received, Status.SUCCESS)
        await peer.expect_cancel(received)
        await peer.send(response(received, Status.CANCEL))
        await usable(peer)

    async with listening(script) as address, connect(address, contexts=ALL) as association:
        results = CGetSCU(association).get(STUDY)
        async for each in results:
            await each.save(tmp_path / each.sop_instance_uid)
            if leave == "break":
                break
            await results.cancel()
        Folder(tmp_path).check("1.2.1")
        await use(association)


async def test_cancelled_while_the_loop_reads() -> None:
    """The reading task gets the reason why no more arrives."""
    script = in_flight(Status.OUT_OF_RESOURCES)
    async with listening(script) as address, connect(address, contexts=ALL) as association:
        results = CGetSCU(association).get(STUDY)
        given = await anext(results)
        pieces = given.pixels()
        await anext(pieces)
        reading = asyncio.create_task(to_the_end(pieces))
        await asyncio.sleep(0)
        await results.cancel()
        with pytest.raises(OperationCancelled):
            await reading
        await use(association)


async def to_the_end(pieces: AsyncIterator[bytes]) -> None:
    async for _ in pieces:
        pass


async def test_a_save_that_is_left_to_a_task_is_waited_for(tmp_path: Path) -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        for uid in ("1.2.1", "1.2.2"):
            await peer.send(sent(uid))
            await answered(peer, received, Status.SUCCESS)
        await peer.send(response(received, Status.SUCCESS))
        await usable(peer)

    async with listening(script) as address, connect(address, contexts=ALL) as association:
        results = CGetSCU(association).get(STUDY)
        saving = [asyncio.create_task(each.save(tmp_path / each.sop_instance_uid)) async for each in results]
        await asyncio.gather(*saving)
        Folder(tmp_path).check("1.2.1", "1.2.2")
        await use(association)


async def test_left_in_the_loop_after_the_end_of_the_association() -> None:
    """The operation ends too: the next one does not wait for it, and raises the reason."""

    async def script(peer: ScriptedPeer) -> None:
        await asked(peer)
        await peer.send(message_pdvs(store_request(), encoded(instance()), context=STORAGE))
        await peer.closed()

    async with asyncio.timeout(5), listening(script) as address, connect(address, contexts=ALL) as association:
        async for got in CGetSCU(association).get(STUDY):
            async for _ in got.pixels():
                pass
            association.abort()
            break
        del got
        gc.collect()
        with pytest.raises(AssociationAborted):
            await CEchoSCU(association).echo()
