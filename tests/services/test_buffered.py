"""What is received into memory has a limit over all associations, and is free again however they end."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable

import pytest
from pydicom import Dataset
from tests.sample_objects import CT, EXPLICIT, encoded, instance, pixel_bytes
from tests.server_options import buffered

import dimse
from dimse import (
    CFindSCU,
    CGetSCU,
    CMoveSCU,
    CStoreSCU,
    Query,
    QueryRequest,
    RetryPolicy,
    Server,
    Status,
    StatusError,
    StoreMode,
    StoreOptions,
    StoreRequest,
    presentation_contexts,
    retrieval_contexts,
)
from dimse.messages.message import C_STORE_RSP
from dimse.services import buffered as buffered_bytes
from dimse.services.buffered import Claim, _freed, bytes_in_memory
from dimse.services.given import Source
from dimse.testing import ScriptedPeer, associate_request, message_pdvs, store_request

WHOLE = encoded(instance(pixels=1_000_000))
LIMIT = len(WHOLE) * 3 // 2
STUDY = Query.studies(StudyInstanceUID="1.2.3.1")
NO_RETRY = RetryPolicy(retries=0)


@pytest.fixture(autouse=True)
def _nothing_is_counted_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier test left, as in the traceback of an exception that it kept, is not this one's."""
    gc.collect()
    bytes_in_memory()
    monkeypatch.setattr(buffered_bytes, "_taken", 0)


async def _status(peer: ScriptedPeer) -> int:
    message = (await peer.receive_message()).message
    assert isinstance(message, C_STORE_RSP)
    return int(message.status)


async def _associated(server: Server) -> ScriptedPeer:
    peer = await ScriptedPeer.connect(server.port)
    await peer.associate(associate_request((CT, [EXPLICIT])))
    return peer


def test_a_claim_counts_until_nothing_refers_to_it() -> None:
    one, two = Claim(), Claim()
    assert one.grow(60, 100)
    assert one.grow(70, 100)
    assert not two.grow(31, 100)
    assert two.grow(30, 100)
    assert bytes_in_memory() == 100
    assert two.grow(20, 100)
    assert bytes_in_memory() == 90
    one.free()
    one.free()
    assert bytes_in_memory() == 20
    del two
    assert bytes_in_memory() == 0
    Claim().free()
    assert not _freed, "a claim of nothing leaves nothing"


async def test_one_more_than_fits_is_refused_until_another_is_done() -> None:
    seen, go_on = asyncio.Event(), asyncio.Event()

    async def handler(request: StoreRequest) -> Status:
        assert len(request.data) == len(WHOLE)
        seen.set()
        await go_on.wait()
        return Status.SUCCESS

    server = Server("ARCHIVE", port=0, options=buffered(maximum_buffered_in_process=LIMIT))
    server.on_c_store(handler)
    async with server, await _associated(server) as first, await _associated(server) as second:
        await first.send(message_pdvs(store_request("1.2.3.4"), WHOLE))
        await seen.wait()
        for _ in range(2):  # what was refused does not count
            await second.send(message_pdvs(store_request("1.2.3.4"), WHOLE))
            assert await _status(second) == Status.OUT_OF_RESOURCES
            assert bytes_in_memory() == len(WHOLE)
        go_on.set()
        assert await _status(first) == Status.SUCCESS
        await second.send(message_pdvs(store_request("1.2.3.4"), WHOLE))
        assert await _status(second) == Status.SUCCESS
    assert bytes_in_memory() == 0


async def test_what_was_received_is_free_however_it_ends() -> None:
    begun, endless = asyncio.Event(), asyncio.Event()

    async def handler(request: StoreRequest) -> Status:
        begun.set()
        match request.dataset.get("StationName"):
            case "RAISE":
                raise ValueError("a fault of the handler")
            case "REFUSE":
                raise StatusError(Status.OUT_OF_RESOURCES, "no")
            case "HANG":
                await endless.wait()
        return Status.SUCCESS

    def named(name: str) -> bytes:
        dataset = instance(pixels=1_000_000)
        dataset.StationName = name
        return encoded(dataset)

    server = Server("ARCHIVE", port=0, options=buffered(maximum_buffered_in_process=LIMIT, stop_timeout=0.1))
    server.on_c_store(handler)
    left: dict[str, int] = {}
    async with server:
        for name in ("", "RAISE", "REFUSE"):
            async with await _associated(server) as peer:
                await peer.send(message_pdvs(store_request(), named(name)))
                await _status(peer)
            left[name] = bytes_in_memory()
        for name, data in (("cut", WHOLE[:900_000]), ("longer than its pixel data", WHOLE + b"\0" * 100_000)):
            async with await _associated(server) as peer:
                await peer.send(message_pdvs(store_request(), data))
                await _status(peer)
            left[name] = bytes_in_memory()
        for name, pdvs in (
            ("reset in the middle", message_pdvs(store_request(), named("HANG"))[:-5]),
            ("reset while it is handled", message_pdvs(store_request(), named("HANG"))),
        ):
            begun.clear()
            async with await _associated(server) as peer:
                await peer.send(pdvs)
                if name == "reset while it is handled":
                    await begun.wait()
                peer.reset()
            if name == "reset in the middle":
                await _until(lambda: bytes_in_memory() == 0)
    left["stopped"] = bytes_in_memory()
    assert set(left.values()) == {0}, left


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the server sets no event
            await asyncio.sleep(0)


async def test_a_requestor_that_gets_has_the_same_limit() -> None:
    held = Claim()
    server = Server("ARCHIVE", port=0)

    @server.on_c_get
    async def get(request: QueryRequest) -> AsyncIterator[Dataset]:
        yield instance("1.1", pixels=1_000_000)
        yield instance("1.2", pixels=1000)

    taken: list[str] = []
    options = StoreOptions(mode=StoreMode.BUFFERED, maximum_buffered_in_process=LIMIT)
    async with server:
        address = f"ARCHIVE@127.0.0.1:{server.port}"
        async with dimse.connect(address, contexts=retrieval_contexts([CT])) as association:
            for in_use in (900_000, 0):
                held.grow(in_use, LIMIT)
                results = CGetSCU(association, store=options).get(STUDY, raise_failures=False)
                async with results:
                    async for request in results:
                        taken.append(f"{request.sop_instance_uid}, {len(request.data)}")
                        del request
                if in_use:
                    (failure,) = results.failures
                    assert "0xA700" in str(failure)
    sizes = {uid: len(encoded(instance(uid, pixels=pixels))) for uid, pixels in (("1.1", 1_000_000), ("1.2", 1000))}
    assert taken == [f"{uid}, {sizes[uid]}" for uid in ("1.2", "1.1", "1.2")]
    del results, held
    assert bytes_in_memory() == 0


async def test_identifiers_count_too() -> None:
    held = Claim()
    counted: list[int] = []
    server = Server("ARCHIVE", port=0, options=buffered(maximum_buffered_in_process=1000))

    @server.on_c_find
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        counted.append(bytes_in_memory())
        for nothing in list[Dataset]():
            yield nothing

    statuses: list[int | None] = []
    async with server, dimse.connect(f"ARCHIVE@127.0.0.1:{server.port}") as association:
        for in_use in (990, 0):
            held.grow(in_use, 1000)
            async with CFindSCU(association).find(STUDY, raise_failures=False) as matches:
                async for _ in matches:
                    pass
            statuses.append(matches.status)
    assert statuses == [Status.OUT_OF_RESOURCES, Status.SUCCESS]
    assert [0 < each < 100 for each in counted] == [True], "until the request is answered"
    assert bytes_in_memory() == 0


def _fails() -> Dataset:
    raise MemoryError


async def test_a_handler_that_runs_out_of_memory_is_answered_out_of_resources() -> None:
    server = Server("ARCHIVE", port=0, destinations={"WS": "WS@127.0.0.1:1"})

    @server.on_c_store
    async def store(request: StoreRequest) -> Status:
        raise MemoryError

    @server.on_c_find
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        yield _fails()

    @server.on_c_get
    @server.on_c_move
    async def retrieve(request: QueryRequest) -> AsyncIterator[Source]:
        yield _fails()

    statuses: list[int | None] = []
    async with server:
        address = f"ARCHIVE@127.0.0.1:{server.port}"
        async with dimse.connect(address, contexts=presentation_contexts([instance()])) as association:
            with pytest.raises(StatusError) as refused:
                await CStoreSCU(association, retry=NO_RETRY).send(instance())
            assert (int(refused.value.status), refused.value.comment) == (0xA700, "out of memory")
        async with dimse.connect(address, contexts=retrieval_contexts([CT])) as to:
            for results in (
                CFindSCU(to).find(STUDY, raise_failures=False),
                CGetSCU(to).get(STUDY, raise_failures=False),
            ):
                async with results:
                    async for _ in results:
                        pass
                statuses.append(results.status)
        async with dimse.connect(address, contexts=[(STUDY.model.sop_class("move"), [EXPLICIT])]) as to:
            async with CMoveSCU(to).move(STUDY, "WS", raise_failures=False) as moving:
                async for _ in moving:
                    pass
            statuses.append(moving.status)
    assert statuses == [0xA700, 0xA702, 0xA702]


_LIMITED = """
import resource, sys
from dimse import Server, ServerOptions, Status, StoreMode, StoreOptions
server = Server("ARCHIVE", port=0, options=ServerOptions(store=StoreOptions(mode=StoreMode.BUFFERED)))
@server.on_c_store
async def store(request):
    return Status.SUCCESS
async def tell():
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 32 * 1024 * 1024,) * 2)
    print(server.port, flush=True)
server.run(tell)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is set from /proc")
async def test_a_process_at_its_memory_limit_refuses_an_object_and_stores_the_next() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _LIMITED, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        address = f"ARCHIVE@127.0.0.1:{int(await process.stdout.readline())}"
        async with dimse.connect(address, contexts=presentation_contexts([instance()])) as association:
            large = instance(pixels=0)
            large.PixelData = pixel_bytes(100_000_000)
            large["PixelData"].VR = "OW"
            with pytest.raises(StatusError) as refused:
                await CStoreSCU(association, retry=NO_RETRY).send(large)
            assert (int(refused.value.status), refused.value.comment) == (0xA700, "out of memory")
            assert (await CStoreSCU(association).send(instance())).status == Status.SUCCESS
    finally:
        process.terminate()
        await process.wait()
