"""One destination: what becomes of each instance, and when it is tried again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.services.destinations import QUICK, Destinations, Results, Warned, archive, given, spooled

import dimse
from dimse import ForwardDestination, Forwarder, ForwardOutcome, RetryPolicy, ServerOptions, Status
from dimse.services import forwarding_destination


async def test_one_that_is_down_delays_no_other_and_gets_all_in_order_when_it_is_back(tmp_path: Path) -> None:
    results, uids = Results(), [f"1.2.{number}" for number in range(20)]
    async with archive() as gone:
        port = gone.server.port
    entity = dimse.ApplicationEntity(f"ARCHIVE@127.0.0.1:{port}", dimse.ClientOptions(operations_window=1))
    down = ForwardDestination(entity, retry=QUICK)
    warned = Warned("cannot be reached")
    async with archive() as up, warned:
        destinations: Destinations = {"up": up.address, "down": down}
        async with Forwarder(tmp_path / "spool", destinations, on_result=results) as both:
            for uid in uids:
                await both.add(given(tmp_path, uid))
            assert [each[0] for each in await results.next(20)] == ["up"] * 20
            await warned.event.wait()
            state = both.state()["down"]
            assert (state.waiting, state.delivered, state.reachable_since) == (20, 0, None)
            assert "cannot connect" in str(state.error)
            async with archive(port) as back:
                await results.next(20)
                assert back.stored == uids
            assert both.state()["down"].error is None


async def test_pauses_have_a_maximum_and_retry_ends_them(tmp_path: Path) -> None:
    results, warned = Results(), Warned("cannot be reached")
    async with archive() as gone:
        port = gone.server.port
    down = ForwardDestination(f"ARCHIVE@127.0.0.1:{port}", retry=RetryPolicy(delay=1000), maximum_pause=500)
    async with warned, Forwarder(tmp_path / "spool", {"down": down}, on_result=results) as forwarder:
        await forwarder.add(given(tmp_path, "1.2.1"))
        await warned.event.wait()
        async with archive(port) as back:
            attempt = forwarder.state()["down"].next_attempt
            assert attempt is not None
            assert attempt - datetime.now(UTC) < timedelta(seconds=501)
            await forwarder.retry("down")
            assert await results.next() == [("down", "delivered", "1.2.1")]
            assert back.stored == ["1.2.1"]


@pytest.mark.parametrize(
    ("status", "outcome"), [(Status.PROCESSING_FAILURE, "failed"), (Status.OUT_OF_RESOURCES, "waiting")]
)
async def test_a_batch_that_is_never_stored_does_not_block_the_next(
    tmp_path: Path, status: int, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarding_destination, "BATCH_BYTES", 1)
    results, outcomes = Results(), set[tuple[str, str, str | None]]()
    expected = {("a", outcome, "1.2.1"), ("a", "delivered", "1.2.2"), ("a", "delivered", "1.2.3")}
    async with archive() as choosy:
        choosy.answers["1.2.1"] = status
        async with Forwarder(tmp_path / "spool", {"a": choosy.destination()}, on_result=results) as forwarder:
            for uid in ("1.2.1", "1.2.2", "1.2.3"):
                await forwarder.add(given(tmp_path, uid))
            while not expected <= outcomes:
                outcomes.update(await results.next())
    assert ("a", "failed", "1.2.1") in expected or ("a", "failed", "1.2.1") not in outcomes


async def test_out_of_resources_waits_for_ever(tmp_path: Path) -> None:
    results = Results()
    async with archive() as full:
        full.answers["1.2.1"] = Status.OUT_OF_RESOURCES
        async with Forwarder(tmp_path / "spool", {"full": full.destination()}, on_result=results) as forwarder:
            await forwarder.add(given(tmp_path, "1.2.1"))
            assert await results.next(5) == [("full", "waiting", "1.2.1")] * 5
            assert "0xA700" in str(forwarder.state()["full"].error)
            full.answers.clear()
            while await results.next() != [("full", "delivered", "1.2.1")]:
                pass
            assert forwarder.state()["full"].failed == 0


@pytest.mark.parametrize("status", [0xC000, 0xA900, Status.SOP_CLASS_NOT_SUPPORTED, Status.NOT_AUTHORIZED])
async def test_what_is_refused_is_set_aside_after_the_retries(tmp_path: Path, status: int) -> None:
    results, spool = Results(), tmp_path / "spool"
    retry = RetryPolicy(retries=2, delay=0.01)
    async with archive() as picky:
        picky.answers["1.2.1"] = status
        async with Forwarder(spool, {"picky": picky.destination(retry)}, on_result=results) as forwarder:
            await forwarder.add(given(tmp_path, "1.2.1"))
            outcomes = [outcome for _, outcome, _ in await results.next(3)]
            assert outcomes == ["waiting", "waiting", "failed"]
            state = forwarder.state()["picky"]
            assert (state.waiting, state.waiting_bytes, state.failed) == (0, 0, 1)
            assert spooled(spool) == [f"failed/picky/000000000/000000000001.{kind}" for kind in ("dcm", "json")]
            why = (spool / "failed/picky/000000000/000000000001.json").read_text()
            assert f"0x{status:04X}" in why
            assert '"1.2.1"' in why
            assert "SECRET" not in why
        async with Forwarder(spool, {"picky": picky.destination(retry)}, on_result=results) as forwarder:
            assert forwarder.state()["picky"].failed == 1
            picky.answers.clear()
            await forwarder.retry()
            assert await results.next() == [("picky", "delivered", "1.2.1")]
            assert forwarder.state()["picky"].failed == 0
        assert spooled(spool) == []


async def test_one_that_is_refused_blocks_no_other(tmp_path: Path) -> None:
    results, uids = Results(), [f"1.2.{number}" for number in range(6)]
    async with archive() as picky:
        picky.answers["1.2.0"] = Status.PROCESSING_FAILURE
        picky.may_answer.clear()
        retry = RetryPolicy(retries=1, delay=0.01)
        async with Forwarder(tmp_path / "spool", {"a": picky.destination(retry)}, on_result=results) as forwarder:
            for uid in uids:
                await forwarder.add(given(tmp_path, uid))
            picky.may_answer.set()
            while ("a", "delivered", "1.2.5") not in await results.next():
                pass
            assert forwarder.state()["a"].failed == 0  # others were not stored beside it often enough
            assert sorted(picky.stored) == uids[1:]
            for uid in ("1.2.8", "1.2.9"):
                await forwarder.add(given(tmp_path, uid))
                while ("a", "delivered", uid) not in await results.next():
                    pass
            while forwarder.state()["a"].failed == 0:
                await forwarder.add(given(tmp_path, "1.2.10"))
                await results.next()
        assert "1.2.9" in picky.stored


async def test_one_that_ends_associations_is_set_aside_and_the_others_arrive(tmp_path: Path) -> None:
    results, stored = Results(), list[str]()
    server = dimse.Server("ARCHIVE", port=0, options=ServerOptions(maximum_connections_per_second=None))

    @server.on_c_store
    async def store(request: dimse.StoreRequest) -> int:
        if request.sop_instance_uid == "1.2.3":
            request.association.abort()
        stored.append(request.sop_instance_uid)
        return Status.SUCCESS

    async with server:
        there = ForwardDestination(f"ARCHIVE@localhost:{server.port}", retry=QUICK)
        async with Forwarder(tmp_path / "spool", {"a": there}, on_result=results) as forwarder:
            for number in range(1, 9):
                await forwarder.add(given(tmp_path, f"1.2.{number}"))
            number = 9
            while forwarder.state()["a"].failed == 0:
                await forwarder.add(given(tmp_path, f"1.2.{number}"))
                await results.next()
                number += 1
            while forwarder.state()["a"].waiting:
                await results.next()
    assert {f"1.2.{each}" for each in range(1, 9)} - {"1.2.3"} <= set(stored)
    [aside] = list((tmp_path / "spool" / "failed").rglob("*.json"))
    assert '"1.2.3"' in aside.read_text()


async def test_what_is_not_dicom_any_more_is_set_aside(tmp_path: Path) -> None:
    results, spool = Results(), tmp_path / "spool"
    async with archive() as gone:
        address = gone.address
    async with Forwarder(spool, {"a": address}) as forwarder:
        await forwarder.add(given(tmp_path, "1.2.1"))
        await forwarder.add(given(tmp_path, "1.2.2"))
        broken = next(spool.rglob("*1.dcm"))
    broken.unlink()
    broken.write_bytes(b"not DICOM")
    async with archive() as there, Forwarder(spool, {"a": there.address}, on_result=results) as forwarder:
        assert set(await results.next(2)) == {("a", "failed", None), ("a", "delivered", "1.2.2")}
        assert "not a DICOM file" in next(spool.rglob("*.json")).read_text()


async def test_what_somebody_removed_from_a_queue_is_not_counted(tmp_path: Path) -> None:
    results, spool = Results(), tmp_path / "spool"
    async with archive() as slow, Forwarder(spool, {"a": slow.address}, on_result=results) as forwarder:
        slow.may_answer.clear()
        await forwarder.add(given(tmp_path, "1.2.1"))
        await slow.began.wait()
        await forwarder.add(given(tmp_path, "1.2.2"))
        next(spool.rglob("*2.dcm")).unlink()
        slow.may_answer.set()
        await results.next()
        while forwarder.state()["a"].waiting:
            await forwarder.retry()
        await forwarder.add(given(tmp_path, "1.2.3"))
        assert await results.next() == [("a", "delivered", "1.2.3")]


def test_outcomes_are_words() -> None:
    assert [outcome.value for outcome in ForwardOutcome] == ["delivered", "waiting", "failed"]
