"""Limits on bytes per second on associations, in both directions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file

import dimse
from dimse import (
    AssociationAborted,
    CEchoSCU,
    ClientOptions,
    CStoreSCU,
    Priority,
    RateLimit,
    Server,
    ServerOptions,
    Status,
    StoreRequest,
    Timeouts,
    presentation_contexts,
)
from dimse.network.throttle import ServerLimits
from dimse.rate_limit import Turn

BYTES = 300_000


class Recorder(RateLimit):
    """Lets everything pass that it records; or nothing, while it is shut."""

    def __init__(self, bytes_per_second: int = 1_000_000) -> None:
        super().__init__(bytes_per_second)
        self.taken: list[tuple[int, Priority]] = []
        self.waiting: list[Callable[[], None]] = []
        self.is_shut = False
        self.asked = asyncio.Event()

    def _take(self, size: int, priority: Priority, go: Callable[[], None]) -> Turn:
        turn = Turn(size, go)
        self.taken.append((size, priority))
        self.asked.set()
        if self.is_shut:
            self.waiting.append(lambda: None if turn.go is None else turn.go())
        else:
            go()
        return turn

    def open(self) -> None:
        self.is_shut = False
        for go in self.waiting:
            go()


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    dataset.PixelData = bytes(BYTES)
    dataset.save_as(tmp_path / "ct.dcm")
    return tmp_path / "ct.dcm"


def receiving(**options: Any) -> Server:
    server = Server(port=0, options=ServerOptions(maximum_connections_per_second=None, **options))

    @server.on_c_store
    async def store(request: StoreRequest) -> int:
        async for _ in request.pixels():
            pass
        return Status.SUCCESS

    return server


async def test_a_sender_passes_its_limit_piece_by_piece_with_its_priority(ct: Path) -> None:
    limit, server = Recorder(), receiving()
    options = ClientOptions(rate_limit=limit, priority=Priority.LOW)
    async with server:
        report = await dimse.send(f"ANY@127.0.0.1:{server.port}", [ct], options=options)
    assert len(report.stored) == 1
    assert sum(size for size, _ in limit.taken) >= BYTES
    assert max(size for size, _ in limit.taken) <= limit.bytes_per_second / 20
    assert {priority for _, priority in limit.taken} == {Priority.LOW}


async def test_a_receiver_passes_what_it_reads_with_the_priority_of_the_request(ct: Path) -> None:
    limit = Recorder()
    server = receiving(rate_limit=limit)
    async with server:
        for priority in Priority:
            limit.taken.clear()
            options = ClientOptions(priority=priority)
            await dimse.send(f"ANY@127.0.0.1:{server.port}", [ct], options=options)
            assert sum(size for size, _ in limit.taken) >= BYTES
            assert max(size for size, _ in limit.taken) <= limit.bytes_per_second / 20
            assert limit.taken[-2][1] is priority


async def test_a_peer_without_a_limit_goes_on_while_another_waits(ct: Path) -> None:
    limit = Recorder()
    limit.is_shut = True
    server = receiving()
    async with server:
        address = f"ANY@127.0.0.1:{server.port}"
        waiting = asyncio.create_task(dimse.send(address, [ct], options=ClientOptions(rate_limit=limit)))
        await limit.asked.wait()
        assert len((await dimse.send(address, [ct])).stored) == 1
        assert not waiting.done()
        limit.open()
        assert len((await waiting).stored) == 1


@pytest.mark.parametrize("side", ["sender", "receiver"])
async def test_no_timer_runs_out_because_of_our_own_limit(ct: Path, side: str) -> None:
    short = Timeouts(store=0.2, idle=0.2) if side == "receiver" else Timeouts(store=0.2)
    limit = Recorder()
    limited: dict[str, Any] = {"timeouts": short, "rate_limit": limit}
    server = receiving(**limited if side == "receiver" else {})
    options = ClientOptions(**limited if side == "sender" else {})
    async with server, AsyncExitStack() as stack:
        address, contexts = f"ANY@127.0.0.1:{server.port}", presentation_contexts([ct])
        association = await stack.enter_async_context(dimse.connect(address, contexts=contexts, options=options))
        limit.is_shut = True
        sending = asyncio.create_task(CStoreSCU(association).send(ct))
        await limit.asked.wait()
        for _ in range(3):  # longer than the timer
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await asyncio.shield(sending)
        limit.open()
        assert (await sending).status == Status.SUCCESS


async def test_an_association_that_ends_waits_no_more(ct: Path) -> None:
    limit, server = Recorder(), receiving()
    async with server:
        address, options = f"ANY@127.0.0.1:{server.port}", ClientOptions(rate_limit=limit)
        async with dimse.connect(address, contexts=presentation_contexts([ct]), options=options) as association:
            limit.is_shut = True
            sending = asyncio.create_task(CStoreSCU(association).send(ct))
            await limit.asked.wait()
            association.abort()
            with pytest.raises(AssociationAborted):
                await sending
    limit.open()


async def test_a_server_ends_while_a_peer_waits_for_its_limit(ct: Path) -> None:
    limit = Recorder()
    server = receiving(rate_limit=limit, stop_timeout=0.1)
    async with server:
        address = f"ANY@127.0.0.1:{server.port}"
        async with dimse.connect(address) as association:
            await CEchoSCU(association).echo()
            limit.is_shut = True
            limit.asked.clear()
            echo = asyncio.create_task(CEchoSCU(association).echo())
            await limit.asked.wait()
            await server.stop()
            with pytest.raises(dimse.AssociationError):
                await echo


async def test_the_limits_of_an_association_of_a_host_and_of_all() -> None:
    shared = RateLimit(5000)
    limits = ServerLimits(
        ServerOptions(maximum_rate_per_association=2000, maximum_rate_per_host=3000, rate_limit=shared)
    )
    first, second, other = limits.of("10.0.0.1"), limits.of("10.0.0.1"), limits.of("10.0.0.2")
    assert [limit.bytes_per_second for limit in first] == [2000, 3000, 5000]
    assert first[0] is not second[0]
    assert first[1] is second[1]
    assert first[1] is not other[1]
    assert first[2] is other[2] is shared
    assert ServerLimits(ServerOptions()).of("10.0.0.1") == []
