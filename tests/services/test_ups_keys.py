"""The keys of a query for steps."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dimse import QueryRetrieveModel
from dimse.services.ups_keys import RETURNED, UPSKeys
from dimse.services.ups_states import UPSState


def test_without_keys_everything_is_asked_for() -> None:
    identifier = UPSKeys().query().find_identifier()
    assert set(RETURNED) <= {element.keyword for element in identifier}
    assert all(element.VR == "SQ" or element.value in (None, "") for element in identifier)


def test_each_key_goes_where_it_belongs() -> None:
    keys = UPSKeys(
        state=UPSState.IN_PROGRESS,
        input_readiness="READY",
        label="Lung*",
        worklist="AI",
        priority="HIGH",
        workitem=("110004", "DCM", "CAD"),
        station="x" * 17,
        start=(datetime(2024, 1, 31, tzinfo=UTC), None),
        patient_id="4711",
        sop_instance_uid="1.2.3",
        more={"AdmissionID": "7"},
    )
    found = keys.query(QueryRetrieveModel.UPS_WATCH).find_identifier()
    assert found.ProcedureStepState == "IN PROGRESS"
    assert (found.ProcedureStepLabel, found.WorklistLabel, found.InputReadinessState) == ("Lung*", "AI", "READY")
    assert found.ScheduledProcedureStepStartDateTime == "20240131000000+0000-"
    [workitem], [station] = found.ScheduledWorkitemCodeSequence, found.ScheduledStationNameCodeSequence
    assert (workitem.CodeValue, workitem.CodingSchemeDesignator) == ("110004", "DCM")
    assert (station.LongCodeValue, station.CodingSchemeDesignator) == ("x" * 17, None)
    assert (found.PatientID, found.SOPInstanceUID, found.AdmissionID) == ("4711", "1.2.3", "7")


def test_values_are_checked() -> None:
    with pytest.raises(ValueError, match="SOPInstanceUID"):
        UPSKeys(sop_instance_uid="one").query()
