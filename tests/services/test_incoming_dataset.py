"""Data sets of more elements than the event loop has time for, as the handler of a C-STORE sees them."""

from __future__ import annotations

import asyncio
import struct
import threading
from itertools import count
from typing import Any, cast

import pytest
from tests.decoding_threads import decoding_threads
from tests.sample_objects import CT
from tests.services.test_store_scp import peer_of, serving, status_of

from dimse import Edits, Status, StoreMode, StoreRequest, Strictness
from dimse.dataset import codec, editing
from dimse.network.incoming_data import IncomingData
from dimse.services import incoming_dataset
from dimse.testing import message_pdvs, store_request

IMPLICIT = "1.2.840.10008.1.2"


def element(tag: int, value: bytes = b"") -> bytes:
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


KEYS = element(0x00080016, CT.encode() + b"\0") + element(0x00080018, b"1.2.3.4\0")
EMPTY = b"".join(element(0x00210010 + number) for number in range(5000))
PIXELS = element(0x7FE00010, bytes(1000))


async def stored(
    mode: StoreMode, data: bytes, *, looks: bool = True, strictness: Strictness = Strictness.LENIENT
) -> Status:
    """The response to the peer, by a handler that reads the data set, or does not."""

    async def handler(request: StoreRequest) -> int:
        if looks:
            assert request.dataset.SOPInstanceUID == "1.2.3.4"
        return Status.SUCCESS

    async with (
        serving(handler, mode=mode, strictness=strictness) as server,
        peer_of(server, (CT, [IMPLICIT])) as peer,
    ):
        await peer.send(message_pdvs(store_request("1.2.3.4"), data))
        status = await status_of(peer)
        await peer.release()
    return status


@pytest.mark.parametrize(
    ("data", "leaves_the_loop"),
    [
        (KEYS + element(0x00200013, b"1 ") + PIXELS, False),
        (KEYS + EMPTY + PIXELS, True),
        (KEYS + PIXELS + EMPTY.replace(b"\x21\0", b"\xf1\x7f"), True),
    ],
    ids=["small", "before the pixel data", "behind it"],
)
async def test_what_is_large_is_decoded_beside_the_loop(
    data: bytes, leaves_the_loop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = decoding_threads(monkeypatch)
    monkeypatch.setattr(codec, "decode_plain", lambda *_, **__: None)
    assert await stored(StoreMode.BUFFERED, data) == Status.SUCCESS
    assert {thread is not threading.current_thread() for thread in threads} == {leaves_the_loop}


async def test_while_streaming_a_handler_that_reads_large_ones_gets_them_decoded_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the first is decoded on the event loop; a handler that only saves costs no decoding at all."""
    threads = decoding_threads(monkeypatch)
    monkeypatch.setattr(codec, "decode_plain", lambda *_, **__: None)
    reads = False

    async def handler(request: StoreRequest) -> int:
        if reads:
            assert len(request.dataset) > 2
        return Status.SUCCESS

    async def beside(data: bytes) -> list[bool]:
        """Whether it was decoded beside the loop; empty if it was not decoded."""
        threads.clear()
        await peer.send(message_pdvs(store_request("1.2.3.4"), data))
        assert await status_of(peer) == Status.SUCCESS
        return [thread is not threading.current_thread() for thread in threads]

    small, large = KEYS + element(0x00200013, b"1 ") + PIXELS, KEYS + EMPTY + PIXELS
    async with serving(handler, mode=StoreMode.STREAMING) as server, peer_of(server, (CT, [IMPLICIT])) as peer:
        assert await beside(large) == []
        reads = True
        assert [await beside(data) for data in (small, large, large, small)] == [[False], [False], [True], [False]]
        await peer.release()


@pytest.mark.parametrize(
    ("mode", "elements", "looks", "expected"),
    [
        (StoreMode.BUFFERED, 500_000, True, Status.CANNOT_UNDERSTAND),
        (StoreMode.STREAMING, 100_000, True, Status.CANNOT_UNDERSTAND),
        (StoreMode.STREAMING, 100_000, False, Status.SUCCESS),
    ],
    ids=["buffered", "streaming", "not looked at"],
)
async def test_more_elements_than_there_may_be(mode: StoreMode, elements: int, looks: bool, expected: int) -> None:
    assert await stored(mode, KEYS + element(0x00210010) * elements + PIXELS, looks=looks) == expected


@pytest.mark.parametrize("mode", StoreMode)
async def test_pixel_data_that_come_twice(mode: StoreMode) -> None:
    """A form that no data set has: a strict acceptor refuses it, a lenient one keeps it as it came."""
    data = KEYS + PIXELS * 2
    assert await stored(mode, data, looks=False, strictness=Strictness.STRICT) == Status.CANNOT_UNDERSTAND
    assert await stored(mode, data, looks=False) == Status.SUCCESS


class Given:
    """In place of `IncomingData`: all views at once."""

    exhausted = False
    waiting = False

    def __init__(self, views: list[memoryview]) -> None:
        self._views = views

    async def pull(self) -> list[memoryview]:
        self.exhausted = True
        return self._views


@pytest.mark.parametrize("size", [8, 1000, 1_000_000])
async def test_other_tasks_run_between_small_views_too(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    now = count()  # each look at the clock is a second later
    monkeypatch.setattr(incoming_dataset, "perf_counter", lambda: next(now))
    turns = count()
    data = memoryview(KEYS + EMPTY)
    views = [data[start : start + size] for start in range(0, len(data), size)]
    incoming = incoming_dataset.IncomingDataset(cast("IncomingData", Given(views)), IMPLICIT, is_strict=False)

    async def others() -> None:
        while True:
            next(turns)
            await asyncio.sleep(0)

    running = asyncio.create_task(others())
    await incoming.pull()
    running.cancel()
    assert next(turns) >= len(data) / max(min(size, 16384), 1) - 1


@pytest.mark.parametrize("mode", StoreMode)
@pytest.mark.parametrize(("elements", "leaves_the_loop"), [(b"", False), (EMPTY, True)], ids=["small", "large"])
async def test_a_large_header_is_edited_beside_the_loop(
    mode: StoreMode, elements: bytes, leaves_the_loop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set[threading.Thread]()
    edited = editing.edited

    def noting(*arguments: Any, **more: Any) -> bytes:
        threads.add(threading.current_thread())
        return edited(*arguments, **more)

    monkeypatch.setattr(editing, "edited", noting)
    pixels = element(0x7FE00010, bytes(3_000_000))

    async def handler(request: StoreRequest) -> int:
        chunks = [chunk async for chunk in request.dataset_chunks(edits=Edits({"PatientID": "A1"}))]
        assert b"".join(chunks) == KEYS + element(0x00100020, b"A1") + elements + pixels
        return Status.SUCCESS

    async with serving(handler, mode=mode) as server, peer_of(server, (CT, [IMPLICIT])) as peer:
        await peer.send(message_pdvs(store_request("1.2.3.4"), KEYS + elements + pixels))
        assert await status_of(peer) == Status.SUCCESS
        await peer.release()
    assert {thread is not threading.current_thread() for thread in threads} == {leaves_the_loop}


class Waiting:
    """A data set of which the rest does not come."""

    exhausted = False

    def __init__(self) -> None:
        self.is_waited_for = asyncio.Event()

    def check_wanted(self) -> None: ...

    async def pull(self) -> list[memoryview]:
        self.is_waited_for.set()
        await asyncio.Event().wait()
        return []


async def test_a_reader_that_waits_for_more_keeps_no_receive_buffer() -> None:
    """Each association has as many buffers as it fills, and not the one that was read."""
    data, buffer = Waiting(), bytearray(600_000)
    reading = incoming_dataset.IncomingDataset(cast(IncomingData, data), IMPLICIT, is_strict=False).everything(
        [memoryview(buffer)[:300_000], memoryview(buffer)[300_000:]]
    )
    assert sum([len(await anext(reading)) for _ in range(4)]) == len(buffer)
    waiting = asyncio.ensure_future(anext(reading))
    await data.is_waited_for.wait()
    buffer.append(0)  # a BufferError, if there is a view of it
    waiting.cancel()
    await asyncio.wait([waiting])
