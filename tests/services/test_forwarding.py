"""Store and forward: what `add` has taken arrives, and where it is until then."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from tests.services.destinations import QUICK, Destinations, Results, archive, given, spooled

import dimse
from dimse import ForwardDestination, Forwarder, Status


async def test_an_instance_is_one_file_until_each_destination_has_it(tmp_path: Path) -> None:
    results, spool = Results(), tmp_path / "spool"
    async with archive() as first, archive() as second:
        second.may_answer.clear()
        destinations: Destinations = {"first": first.address, "second": second.destination()}
        async with Forwarder(spool, destinations, on_result=results) as forwarder:
            await forwarder.add(given(tmp_path, "1.2.1"))
            assert await results.next() == [("first", "delivered", "1.2.1")]
            await second.began.wait()
            assert spooled(spool) == ["waiting/second/000000000/000000000001.dcm"]
            state = forwarder.state()
            assert (state["first"].waiting, state["first"].delivered) == (0, 1)
            assert (state["second"].waiting, state["second"].in_work, state["second"].delivered) == (1, 1, 0)
            assert state["second"].waiting_bytes == (tmp_path / "1.2.1.dcm").stat().st_size
            second.may_answer.set()
            assert await results.next() == [("second", "delivered", "1.2.1")]
            assert forwarder.state()["second"].reachable_since is not None
        assert (first.stored, second.stored, spooled(spool)) == (["1.2.1"], ["1.2.1"], [])
    assert (tmp_path / "1.2.1.dcm").stat().st_nlink == 1


async def test_a_request_is_on_the_disk_when_its_sender_gets_success(tmp_path: Path) -> None:
    spool, results = tmp_path / "spool", Results()
    server = dimse.Server("ROUTER", port=0)
    async with archive() as gone:
        address = gone.address
    async with Forwarder(spool, {"gone": address}) as forwarder, server:

        @server.on_c_store
        async def store(request: dimse.StoreRequest) -> int:
            await forwarder.add(request)
            return Status.SUCCESS

        await dimse.send(f"ROUTER@localhost:{server.port}", given(tmp_path, "1.2.1"))
        assert spooled(spool) == ["waiting/gone/000000000/000000000001.dcm"]
    async with archive() as there, Forwarder(spool, {"gone": there.address}, on_result=results):
        assert await results.next() == [("gone", "delivered", "1.2.1")]
        assert there.stored == ["1.2.1"]


async def test_a_saved_request_is_linked(tmp_path: Path) -> None:
    spool, results, kept = tmp_path / "spool", Results(), list[Path]()
    server = dimse.Server("ROUTER", port=0)
    async with archive() as there, Forwarder(spool, {"a": there.address}, on_result=results) as forwarder, server:
        there.may_answer.clear()

        @server.on_c_store
        async def store(request: dimse.StoreRequest) -> int:
            kept.append(await request.save_under(tmp_path / "kept"))
            await forwarder.add(request)
            return Status.SUCCESS

        await dimse.send(f"ROUTER@localhost:{server.port}", given(tmp_path, "1.2.1"))
        assert kept[0].stat().st_nlink == 2
        there.may_answer.set()
        assert await results.next() == [("a", "delivered", "1.2.1")]
        assert kept[0].stat().st_nlink == 1


async def test_the_end_of_the_block_waits_for_what_is_in_transit_and_leaves_the_rest(tmp_path: Path) -> None:
    results, spool = Results(), tmp_path / "spool"
    async with archive() as slow:
        slow.may_answer.clear()
        async with Forwarder(spool, {"slow": slow.destination()}, on_result=results) as forwarder:
            await forwarder.add(given(tmp_path, "1.2.1"))
            await slow.began.wait()
            await forwarder.add(given(tmp_path, "1.2.2"))
            asyncio.get_running_loop().call_soon(slow.may_answer.set)
        assert await results.next() == [("slow", "delivered", "1.2.1")]
        assert slow.stored == ["1.2.1"]
        assert len(spooled(spool)) == 1


async def test_what_does_not_end_in_time_is_sent_again(tmp_path: Path) -> None:
    results, spool = Results(), tmp_path / "spool"
    async with archive() as slow:
        slow.may_answer.clear()
        async with Forwarder(spool, {"slow": slow.destination()}, stop_timeout=0.01) as forwarder:
            await forwarder.add(given(tmp_path, "1.2.1"))
            await slow.began.wait()
        assert len(spooled(spool)) == 1
        slow.may_answer.set()
        async with Forwarder(spool, {"slow": slow.destination()}, on_result=results):
            assert await results.next() == [("slow", "delivered", "1.2.1")]


async def test_a_full_spool_answers_out_of_resources(tmp_path: Path) -> None:
    server = dimse.Server("ROUTER", port=0)
    async with archive() as gone:
        address = gone.address
    async with Forwarder(tmp_path / "spool", {"a": address}, maximum_bytes=1) as forwarder, server:

        @server.on_c_store
        async def store(request: dimse.StoreRequest) -> int:
            await forwarder.add(request)
            return Status.SUCCESS

        sent = [given(tmp_path, "1.2.1"), given(tmp_path, "1.2.2")]
        report = await dimse.send(
            f"ROUTER@localhost:{server.port}",
            sent,
            options=dimse.ClientOptions(operations_window=1),
            retry=QUICK,
            raise_failures=False,
        )
        assert [(result.status, result.comment) for result in report.failures] == [(0xA700, "the spool is full")]
        assert len(spooled(tmp_path / "spool")) == 1


async def test_a_disk_that_is_almost_full_takes_nothing(tmp_path: Path) -> None:
    async with Forwarder(tmp_path / "spool", {"a": "A@localhost:1"}, minimum_free=2**62) as forwarder:
        with pytest.raises(dimse.StatusError, match="almost full") as raised:
            await forwarder.add(given(tmp_path, "1.2.1"))
    assert raised.value.status == Status.OUT_OF_RESOURCES
    assert spooled(tmp_path / "spool") == []


async def test_add_says_what_is_wrong(tmp_path: Path) -> None:
    forwarder = Forwarder(tmp_path / "spool", {"a": "A@localhost:1", "b": "B@localhost:1"})
    file = given(tmp_path, "1.2.1")
    with pytest.raises(dimse.LocalProtocolError, match="async with"):
        await forwarder.add(file)
    async with forwarder:
        with pytest.raises(ValueError, match="must be of a, b, not 'c'"):
            await forwarder.add(file, ["a", "c"])
        with pytest.raises(ValueError, match="must be of a, b, not none"):
            await forwarder.add(file, [])
        (tmp_path / "notes.txt").write_text("not DICOM")
        with pytest.raises(dimse.DatasetError, match=r"notes\.txt"):
            await forwarder.add(tmp_path / "notes.txt")
        with pytest.raises(FileNotFoundError):
            await forwarder.add(tmp_path / "missing.dcm")
        assert spooled(tmp_path / "spool") == []
        await forwarder.add(file, "b")
        await forwarder.add(file, ["b", "b"])
        assert (forwarder.state()["a"].waiting, forwarder.state()["b"].waiting) == (0, 2)
    with pytest.raises(dimse.LocalProtocolError, match="async with"):
        await forwarder.add(file)


async def test_the_second_forwarder_on_a_spool_is_refused(tmp_path: Path) -> None:
    async with Forwarder(tmp_path, {"a": "A@localhost:1"}):
        with pytest.raises(OSError, match="another process forwards from this spool"):
            async with Forwarder(tmp_path, {"a": "A@localhost:1"}):
                pass
    async with Forwarder(tmp_path, {"a": "A@localhost:1"}):
        pass


async def test_a_forwarder_that_is_cancelled_at_its_beginning_leaves_the_spool_to_others(tmp_path: Path) -> None:
    task = asyncio.create_task(Forwarder(tmp_path, {"a": "A@localhost:1"}).__aenter__())
    await asyncio.sleep(0)  # the task begins
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with Forwarder(tmp_path, {"a": "A@localhost:1"}):
        pass


async def test_a_queue_without_a_destination_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Forwarder(tmp_path / "spool", {"old": "A@localhost:1"}) as forwarder:
        await forwarder.add(given(tmp_path, "1.2.1"))
    async with Forwarder(tmp_path / "spool", {"new": "A@localhost:1"}):
        assert "queue 'old', but there is no destination of that name" in caplog.text


@pytest.mark.parametrize(
    ("destinations", "error"),
    [
        ({}, "at least one"),
        ({"": "A@localhost:1"}, "each a name"),
        ({"a": "not an address"}, "is not an address"),
        ({"a": ForwardDestination("A@localhost:1"), "A b": "x@y:0"}, "port must be 1"),
    ],
)
def test_destinations_are_checked(tmp_path: Path, destinations: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        Forwarder(tmp_path, destinations)
    assert os.listdir(tmp_path) == []  # noqa: PTH208
