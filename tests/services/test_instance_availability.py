"""Instance Availability Notification: its data set, and a peer that gets it."""

from __future__ import annotations

import pytest
from tests.sample_objects import CT, instance

from dimse import (
    InstanceAvailability,
    NormalizedRequest,
    Server,
    Status,
    StatusError,
    availability_notification,
    notify_availability,
    uids,
)


async def test_a_peer_is_notified() -> None:
    server, received = Server("RIS", port=0), []

    @server.on_n_create(uids.INSTANCE_AVAILABILITY)
    async def notified(request: NormalizedRequest) -> int:
        received.append(request)
        return Status.SUCCESS if len(received) == 1 else Status.DUPLICATE_SOP_INSTANCE

    notification = availability_notification(
        [instance("1.1", pixels=0), instance("1.2", pixels=0)],
        "ARCHIVE",
        availability=InstanceAvailability.NEARLINE,
        procedure_step_uid="1.9",
    )
    async with server:
        result = await notify_availability(f"RIS@127.0.0.1:{server.port}", notification)
        with pytest.raises(StatusError, match="Duplicate SOP instance"):
            await notify_availability(f"RIS@127.0.0.1:{server.port}", notification)
    got = received[0].dataset
    assert result.sop_instance_uid == received[0].sop_instance_uid
    assert got.StudyInstanceUID == "1.2.3.1"
    (series,) = got.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == "1.2.3.2"
    references = [
        (each.ReferencedSOPClassUID, each.ReferencedSOPInstanceUID, each.InstanceAvailability, each.RetrieveAETitle)
        for each in series.ReferencedSOPSequence
    ]
    assert references == [(CT, "1.1", "NEARLINE", "ARCHIVE"), (CT, "1.2", "NEARLINE", "ARCHIVE")]
    (step,) = got.ReferencedPerformedProcedureStepSequence
    assert (step.ReferencedSOPClassUID, step.ReferencedSOPInstanceUID) == (uids.PERFORMED_PROCEDURE_STEP, "1.9")


def test_one_study_is_in_a_notification() -> None:
    other = instance("1.2", pixels=0)
    other.StudyInstanceUID = "1.9"
    with pytest.raises(ValueError, match="of one study, not of 2"):
        availability_notification([instance("1.1", pixels=0), other], "ARCHIVE")
    with pytest.raises(ValueError, match="of one study, not of 0"):
        availability_notification([], "ARCHIVE")
    del other.SeriesInstanceUID
    with pytest.raises(ValueError, match="an instance must have Study, Series"):
        availability_notification([other], "ARCHIVE")
