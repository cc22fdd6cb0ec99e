"""Unified Procedure Steps without asyncio."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
from tests.server_options import server_options

from dimse import Server, UPSCancelRequested, UPSKeys, UPSManager, UPSState, sync
from dimse.network.background_loop import BackgroundLoop, new_event_loop


@pytest.fixture
def worklist() -> Iterator[str]:
    """The address of a worklist manager."""
    server = Server("WORKLIST", port=0, options=server_options())
    manager = UPSManager(server)
    with BackgroundLoop(new_event_loop) as loop:
        loop.run(manager.__aenter__())
        loop.run(server.start())
        yield f"WORKLIST@localhost:{server.port}"
        loop.run(server.stop())
        loop.run(manager.__aexit__(None, None, None))


def test_a_worker(worklist: str) -> None:
    with sync.UPS(worklist, calling_ae_title="AI1") as ups:
        for label in "abc":
            ups.create(label)
        claims, done = ups.claim(), list[str]()
        for step in claims:
            with suppress(ZeroDivisionError), step:
                step.progress(50)
                assert 1 / (step.dataset.ProcedureStepLabel != "b")
            done.append(f"{step.dataset.ProcedureStepLabel} {step.state}")
            if len(done) == 3:
                claims.stop()
        assert sorted(done) == ["a COMPLETED", "b CANCELED", "c COMPLETED"]
        assert len(list(ups.find(UPSKeys(state=UPSState.COMPLETED)))) == 2


def test_a_step_and_its_events(worklist: str) -> None:
    with sync.UPS(worklist, calling_ae_title="AI1") as ups:
        ups.subscribe()
        events, uid = ups.events(), ups.create("Chest")
        with ups.start(uid) as step:
            assert (step.sop_instance_uid, step.cancel_requested) == (uid, None)
            ups.request_cancel(uid, "no longer wanted")
            while next(events).type != 2:
                pass
            with pytest.raises(UPSCancelRequested):
                step.progress(60)
            step.cancel("as was asked")
        assert any(event.state == UPSState.CANCELED for event in events)
        assert ups.get(uid).ProcedureStepState == "CANCELED"


def test_a_step_that_another_process_goes_on_with(worklist: str) -> None:
    with sync.UPS(worklist) as ups:
        uid = ups.create("Chest")
        step = ups.start(uid)
        step.hand_over()
    with sync.UPS(worklist) as ups, ups.start(uid, transaction_uid=step.transaction_uid) as again:
        again.add_output([], retrieve_ae_title="ARCHIVE")
    assert repr(again) == f"<ClaimedUPS {uid} COMPLETED>"
