"""`Worklist`: the identifier that it makes."""

from __future__ import annotations

from datetime import date, time, timedelta
from typing import Any

import pytest
from pydicom import Dataset

from dimse import QueryRetrieveModel, Worklist
from dimse.services.worklist import worklist_key


def step_of(worklist: Worklist) -> Dataset:
    [step] = worklist.find_identifier().ScheduledProcedureStepSequence
    assert isinstance(step, Dataset)
    return step


def test_every_argument_is_a_key_at_its_place() -> None:
    worklist = Worklist(
        station_ae_title="CT1",
        station_name="Room 1",
        date=(date(2024, 1, 1), date(2024, 1, 31)),
        time="08:00-12:00",
        modality="CT",
        performing_physician="Doe*",
        patient_name="Smith*",
        patient_id="4711",
        accession_number="A1",
        requested_procedure_id="R1",
    )
    step, identifier = step_of(worklist), worklist.find_identifier()
    assert {element.keyword: str(element.value) for element in step if element.value and element.VR != "SQ"} == {
        "Modality": "CT",
        "ScheduledStationAETitle": "CT1",
        "ScheduledProcedureStepStartDate": "20240101-20240131",
        "ScheduledProcedureStepStartTime": "0800-1200",
        "ScheduledPerformingPhysicianName": "Doe*",
        "ScheduledStationName": "Room 1",
    }
    assert {element.keyword: str(element.value) for element in identifier if element.value and element.VR != "SQ"} == {
        "AccessionNumber": "A1",
        "PatientName": "Smith*",
        "PatientID": "4711",
        "RequestedProcedureID": "R1",
    }
    assert "QueryRetrieveLevel" not in identifier
    assert worklist.query().model is QueryRetrieveModel.MODALITY_WORKLIST


def test_what_a_modality_needs_is_asked_for() -> None:
    identifier = Worklist().find_identifier()
    [step] = identifier.ScheduledProcedureStepSequence
    assert {"PatientName", "PatientID", "StudyInstanceUID", "RequestedProcedureID", "PatientSex"} <= set(
        identifier.dir()
    )
    assert {"ScheduledProcedureStepID", "ScheduledStationAETitle", "Modality"} <= set(step.dir())
    [code] = identifier.RequestedProcedureCodeSequence
    [protocol] = step.ScheduledProtocolCodeSequence
    assert set(code.dir()) == set(protocol.dir())
    assert "CodeMeaning" in code
    assert not any(element.value for element in identifier.iterall() if element.VR != "SQ")


@pytest.mark.parametrize(
    "keys",
    [
        {"ScheduledProcedureStepStatus": "SCHEDULED"},
        {"0040,0020": "SCHEDULED"},
        {"ScheduledProcedureStepSequence.ScheduledProcedureStepStatus": "SCHEDULED"},
        {"ScheduledProcedureStepSequence": {"ScheduledProcedureStepStatus": "SCHEDULED"}},
    ],
)
def test_a_key_of_the_step_may_be_written_in_any_way(keys: dict[str, Any]) -> None:
    step = step_of(Worklist(modality="CT", keys=keys))
    assert (step.ScheduledProcedureStepStatus, step.Modality) == ("SCHEDULED", "CT")
    assert step.ScheduledStationAETitle is None or step.ScheduledStationAETitle == ""


def test_a_key_in_another_sequence_leaves_the_return_keys() -> None:
    worklist = Worklist(keys={"RequestedProcedureCodeSequence": {"CodeValue": "24627-2"}, "PatientComments": None})
    [code] = worklist.find_identifier().RequestedProcedureCodeSequence
    assert (code.CodeValue, "CodeMeaning" in code) == ("24627-2", True)
    assert "PatientComments" in worklist.find_identifier()


def test_dates_may_be_in_words() -> None:
    today = date.today()  # noqa: DTZ011 - as the query has it
    allowed = {f"{day:%Y%m%d}" for day in (today, today + timedelta(1))}  # midnight may pass
    assert step_of(Worklist(date="today")).ScheduledProcedureStepStartDate in allowed
    assert step_of(Worklist(date="2024-02")).ScheduledProcedureStepStartDate == "20240201-20240229"
    assert step_of(Worklist(time=(time(8), time(12)))).ScheduledProcedureStepStartTime == "080000-120000"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"date": "2024-02..2024-01"}, r"ScheduledProcedureStepStartDate: the range ends before it begins"),
        ({"date": "soon"}, r"ScheduledProcedureStepStartDate \(DA\): invalid value"),
        ({"station_ae_title": "Röntgen"}, r"ScheduledStationAETitle \(AE\): the value must be ASCII"),
        ({"keys": {"NoKeyword": "1"}}, r"unknown keyword 'NoKeyword'"),
    ],
)
def test_what_is_not_valid_is_refused_at_once(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Worklist(**given)


def test_it_can_be_shown_without_patient_data() -> None:
    shown = repr(Worklist(patient_name="Smith", keys={"PatientAge": "045Y"}))
    assert shown == "<Worklist: patient_name=..., PatientAge>"
    assert repr(Worklist()) == "<Worklist>"


def test_keys_of_the_step_are_known() -> None:
    assert worklist_key("0008,0060") == "ScheduledProcedureStepSequence.0008,0060"
    assert worklist_key("ScheduledProtocolCodeSequence.CodeValue").startswith("ScheduledProcedureStepSequence.")
    assert worklist_key("PatientID") == "PatientID"
