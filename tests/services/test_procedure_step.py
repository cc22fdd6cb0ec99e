"""The data sets of performed procedure steps: what a worklist match becomes, and what PS3.4 F.7.2 requires."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword

from dimse import StepStatus, started_step
from dimse.dataset.codec import decode, encode
from dimse.services.procedure_step import SCHEDULED, STEP, TRANSITIONS, final_step

EXPLICIT = "1.2.840.10008.1.2.1"


def dataset(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, content in values.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None
        value = [dataset(**item) for item in content] if dictionary_VR(tag) == "SQ" else content
        made.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE))
    return made


def worklist_match(step: str = "S1") -> Dataset:
    return dataset(
        SpecificCharacterSet="ISO_IR 100",
        PatientName="Müller^Ada",
        PatientID="4711",
        PatientBirthDate="19700101",
        IssuerOfPatientID="HOSPITAL",
        AccessionNumber="A1",
        StudyInstanceUID="1.2.3",
        RequestedProcedureID="R1",
        RequestedProcedureCodeSequence=[{"CodeValue": "CT1", "CodeMeaning": "Schädel"}],
        ScheduledProcedureStepSequence=[
            {
                "Modality": "CT",
                "ScheduledStationAETitle": "CT1",
                "ScheduledProcedureStepID": step,
                "ScheduledProcedureStepDescription": "Schädel nativ",
                "ScheduledProtocolCodeSequence": [{"CodeValue": "P1"}],
            }
        ],
    )


@pytest.mark.parametrize("received", [False, True])
def test_a_step_has_what_was_scheduled(received: bool) -> None:
    match = worklist_match()
    if received:
        match = decode(encode(match, EXPLICIT), EXPLICIT)
    step = decode(encode(started_step(match, PerformedStationName="Room 1"), EXPLICIT), EXPLICIT)
    assert (str(step.PatientName), step.PatientID, step.IssuerOfPatientID) == ("Müller^Ada", "4711", "HOSPITAL")
    assert (step.Modality, step.PerformedStationAETitle, step.PerformedStationName) == ("CT", "CT1", "Room 1")
    assert step.PerformedProcedureStepDescription == "Schädel nativ"
    assert step.ProcedureCodeSequence[0].CodeMeaning == "Schädel"
    assert step.PerformedProtocolCodeSequence[0].CodeValue == "P1"
    (scheduled,) = step.ScheduledStepAttributesSequence
    assert (scheduled.StudyInstanceUID, scheduled.AccessionNumber) == ("1.2.3", "A1")
    assert (scheduled.RequestedProcedureID, scheduled.ScheduledProcedureStepID) == ("R1", "S1")
    assert step.PerformedProcedureStepStatus == StepStatus.IN_PROGRESS
    assert len(step.PerformedProcedureStepID) <= 16


def test_everything_required_is_there() -> None:
    step = started_step(worklist_match())
    absent = {keyword: requirement for keyword, requirement in STEP.items() if keyword not in step}
    assert all(requirement.type == 3 and not requirement.may_change for requirement in absent.values())
    assert {keyword for keyword in SCHEDULED if keyword not in step.ScheduledStepAttributesSequence[0]} == set()
    assert all(not step[keyword].is_empty for keyword, requirement in STEP.items() if requirement.type == 1)


def test_several_scheduled_steps_are_performed_at_once() -> None:
    step = started_step(worklist_match("S1"), worklist_match("S2"), AccessionNumber="B")
    assert [item.ScheduledProcedureStepID for item in step.ScheduledStepAttributesSequence] == ["S1", "S2"]
    assert {item.AccessionNumber for item in step.ScheduledStepAttributesSequence} == {"B"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "needs PerformedStationAETitle, Modality"),
        ({"Modality": "CT", "PerformedStationAETitle": "CT1"}, "needs StudyInstanceUID"),
        ({"NoKeyword": "1"}, "unknown keyword 'NoKeyword'"),
        ({"PatientWeight": "heavy"}, r"PatientWeight \(DS\): the value is not valid"),
    ],
)
def test_a_step_that_was_not_scheduled_needs_what_identifies_it(values: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        started_step(**values)


def test_a_step_is_of_one_patient() -> None:
    other = worklist_match("S2")
    other.PatientID = "4712"
    with pytest.raises(ValueError, match="of one patient: the matches have different Patient IDs"):
        started_step(worklist_match("S1"), other)


def test_a_step_ends_with_its_series_and_a_reason() -> None:
    end = final_step(
        StepStatus.DISCONTINUED, [dataset(SeriesInstanceUID="1.2")], ("110501", "DCM", "Equipment failure")
    )
    assert end.PerformedProcedureStepStatus == "DISCONTINUED"
    assert end.PerformedSeriesSequence[0].SeriesInstanceUID == "1.2"
    assert end.PerformedProcedureStepDiscontinuationReasonCodeSequence[0].CodeValue == "110501"
    assert end.PerformedProcedureStepEndDate
    assert end.PerformedProcedureStepEndTime
    assert "PerformedProcedureStepDiscontinuationReasonCodeSequence" not in final_step(StepStatus.COMPLETED, [], None)


def test_states() -> None:
    assert [status.is_final for status in StepStatus] == [False, True, True]
    assert set(TRANSITIONS) == set(StepStatus)
