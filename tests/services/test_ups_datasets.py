"""The data sets of steps: complete, checked, and never shared with what they were made from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydicom import Dataset

from dimse.dataset.codec import decode, encode
from dimse.services.ups_datasets import (
    cancel_request,
    code_sequence,
    copied,
    date_time,
    fill_cancellation,
    missing_when_completed,
    never_set,
    patient_of,
    references,
    scheduled,
    with_cancellation,
    with_performed,
    with_progress,
)
from dimse.uids import EXPLICIT_VR_LITTLE_ENDIAN

CODE = ("1", "L", "something")


def attributes(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def test_a_step_gets_what_it_must_have() -> None:
    step = scheduled(attributes(ProcedureStepLabel="Chest", ScheduledProcedureStepPriority="HIGH"))
    assert (step.ProcedureStepState, step.ScheduledProcedureStepPriority, step.InputReadinessState) == (
        "SCHEDULED",
        "HIGH",
        "READY",
    )
    assert step.ScheduledProcedureStepStartDateTime.startswith("20")
    assert (step.PatientName, step.TransactionUID, len(step.ProcedureStepProgressInformationSequence)) == ("", "", 0)
    assert decode(encode(step, EXPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN) == step


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, r"needs ProcedureStepLabel \(0074,1204\)"),
        ({"ProcedureStepLabel": "x", "ProcedureStepState": "COMPLETED"}, "must be SCHEDULED"),
        ({"ProcedureStepLabel": "x", "TransactionUID": "1.2"}, r"TransactionUID \(0008,1195\) must be empty"),
    ],
)
def test_a_step_that_must_not_be_created(values: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        scheduled(attributes(**values))


def test_texts_get_their_character_set() -> None:
    assert scheduled(attributes(ProcedureStepLabel="Müller")).SpecificCharacterSet == "ISO_IR 100"
    assert with_progress(1, "胸部").SpecificCharacterSet == "ISO_IR 192"
    assert "SpecificCharacterSet" not in cancel_request("why")


def test_codes() -> None:
    [short, long] = code_sequence(("110004", "DCM", "CAD"), ("x" * 17, "L", "long"))
    assert (short.CodeValue, short.CodingSchemeDesignator, short.CodeMeaning) == ("110004", "DCM", "CAD")
    assert (long.LongCodeValue, "CodeValue" in long) == ("x" * 17, False)


@pytest.mark.parametrize("code", ["110004", ("1", "L"), ("1", "", "x")])
def test_what_is_no_code(code: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        code_sequence(code)


def test_references_are_grouped_by_series() -> None:
    def instance(series: str, uid: str) -> Dataset:
        return attributes(StudyInstanceUID="1", SeriesInstanceUID=series, SOPClassUID="1.2", SOPInstanceUID=uid)

    items = references([instance("1.1", "1.1.1"), instance("1.2", "1.2.1"), instance("1.1", "1.1.2")], "ARCHIVE")
    uids = [[each.ReferencedSOPInstanceUID for each in item.ReferencedSOPSequence] for item in items]
    assert uids == [["1.1.1", "1.1.2"], ["1.2.1"]]
    with pytest.raises(ValueError, match="must have SeriesInstanceUID, SOPClassUID"):
        references([attributes(StudyInstanceUID="1", SOPInstanceUID="1.2")], "ARCHIVE")


def test_the_patient_of_an_image() -> None:
    image = attributes(PatientName="Doe", PatientID="1", StudyInstanceUID="1.2", Modality="CT")
    assert patient_of(image) == attributes(PatientName="Doe", PatientID="1")


def test_progress() -> None:
    parameter = attributes(ValueType="TEXT")
    step = with_progress(100 / 3, "x" * 2000, parameters=[parameter], contact="tel:1", contact_name="Jane")
    [item] = step.ProcedureStepProgressInformationSequence
    assert (str(item.ProcedureStepProgress), len(item.ProcedureStepProgressDescription)) == ("33.33", 1024)
    assert item.ProcedureStepProgressParametersSequence == [parameter]
    assert item.ProcedureStepCommunicationsURISequence[0].ContactDisplayName == "Jane"


@pytest.mark.parametrize("percent", [-1, 100.5, float("nan")])
def test_progress_that_is_not_valid(percent: float) -> None:
    with pytest.raises(ValueError, match="percent must be 0 to 100"):
        with_progress(percent)


def test_a_cancellation_keeps_the_progress() -> None:
    before = with_progress(50, "half")
    step = with_cancellation("why", since=before)
    [item] = step.ProcedureStepProgressInformationSequence
    assert (item.ProcedureStepProgress, item.ReasonForCancellation) == (50, "why")
    assert "ReasonForCancellation" not in before.ProcedureStepProgressInformationSequence[0]


def test_filling_a_cancellation_leaves_what_is_there() -> None:
    step = with_cancellation("why", CODE)
    then = step.ProcedureStepProgressInformationSequence[0].ProcedureStepCancellationDateTime
    fill_cancellation(step, attributes(ProcedureStepDiscontinuationReasonCodeSequence=code_sequence(("2", "L", "x"))))
    [item] = step.ProcedureStepProgressInformationSequence
    assert item.ProcedureStepDiscontinuationReasonCodeSequence[0].CodeValue == "1"
    assert item.ProcedureStepCancellationDateTime == then


@pytest.mark.parametrize(
    "keyword",
    [
        "PerformedStationNameCodeSequence",
        "PerformedWorkitemCodeSequence",
        "PerformedProcedureStepStartDateTime",
        "PerformedProcedureStepEndDateTime",
        "OutputInformationSequence",
    ],
)
def test_what_a_completed_step_needs(keyword: str) -> None:
    step = with_performed(station=CODE, workitem=[CODE], start="2024", description="x" * 100)
    [item] = step.UnifiedProcedureStepPerformedProcedureSequence
    assert (missing_when_completed(step), len(item.PerformedProcedureStepDescription)) == ([], 64)
    tag = item[keyword].tag
    del item[keyword]
    assert missing_when_completed(step) == [tag]


def test_what_no_n_set_may_change() -> None:
    assert never_set(attributes(PatientID="1", ProcedureStepLabel="x", ProcedureStepState="COMPLETED")) == [
        0x00100020,
        0x00741000,
    ]


def test_a_copy_is_independent() -> None:
    step = attributes(ProcedureStepLabel="before")
    copied(step).ProcedureStepLabel = "after"
    assert step.ProcedureStepLabel == "before"


def test_moments() -> None:
    assert date_time(datetime(2024, 1, 31, 12, 30, tzinfo=UTC)) == "20240131123000+0000"
    assert date_time(datetime(2024, 1, 31)) == "20240131000000"  # noqa: DTZ001 - the caller's own
