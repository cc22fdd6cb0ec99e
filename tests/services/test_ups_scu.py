"""Claiming steps: what is said of the performer, and what a worker may be told."""

from __future__ import annotations

import pytest
from tests.services.test_ups_performing import dataset_of, working

from dimse import NormalizedRequest, StatusError, uids
from dimse.services.ups_scu import UPS


async def test_what_was_performed_where_nothing_was_scheduled() -> None:
    async with working() as (manager, ups):
        uid = await ups.create("Chest")
        async with await ups.start(uid):
            pass
        [performed] = (await dataset_of(manager, uid)).UnifiedProcedureStepPerformedProcedureSequence
        assert performed.PerformedWorkitemCodeSequence[0].CodeMeaning == "Image Processing"
        assert performed.PerformedStationNameCodeSequence[0].CodeValue == "AI1"


async def test_a_step_is_gone_on_with_after_a_crash() -> None:
    async with working() as (manager, ups):
        uid = await ups.create("Chest")
        before = await ups.start(uid)
        before.hand_over()  # as if the process had been killed
        async with await ups.start(uid, transaction_uid=before.transaction_uid):
            pass
        assert (await dataset_of(manager, uid)).ProcedureStepState == "COMPLETED"


async def test_a_step_that_cannot_be_read_stays_in_progress_for_its_performer() -> None:
    async with working() as (manager, ups):
        before = await ups.start(await ups.create("Chest"))
        before.hand_over()

        async def refuse(_: NormalizedRequest) -> int:
            return 0x0110

        manager._server.on_n_get(uids.UPS_PUSH)(refuse)
        with pytest.raises(StatusError, match="0x0110"):
            await ups.start(before.sop_instance_uid, transaction_uid=before.transaction_uid)
        assert (await dataset_of(manager, before.sop_instance_uid)).ProcedureStepState == "IN PROGRESS"
        uid = await ups.create("Head")
        with pytest.raises(StatusError, match="0x0110"):
            await ups.start(uid)
        assert (await dataset_of(manager, uid)).ProcedureStepState == "CANCELED"


@pytest.mark.parametrize(("pause", "maximum"), [(0, 1), (2, 1), (float("nan"), 1)])
async def test_pauses_that_are_not_valid(pause: float, maximum: float) -> None:
    with pytest.raises(ValueError, match="pause must be positive"):
        UPS("WORKLIST@localhost:1").claim(pause=pause, maximum_pause=maximum)
