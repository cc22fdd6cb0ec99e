"""Worklist items, for several test files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydicom import Dataset


def scheduled(
    patient: str = "Smith^Ada", patient_id: str = "1", *, character_set: str | list[str] | None = None, **values: Any
) -> Dataset:
    """A worklist item that is complete, as wlmscpfs demands. `values` are of the item, or of its step."""
    step = Dataset()
    step.Modality, step.ScheduledStationAETitle, step.ScheduledStationName = "CT", "CT1", "Room 1"
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = "20240229", "083000"
    step.ScheduledPerformingPhysicianName = "Doe^Jane"
    step.ScheduledProcedureStepDescription, step.ScheduledProcedureStepID = "Chest", "S1"
    item = Dataset()
    if character_set is not None:
        item.SpecificCharacterSet = character_set
    item.PatientName, item.PatientID, item.AccessionNumber = patient, patient_id, "A1"
    item.PatientBirthDate, item.PatientSex, item.ReferringPhysicianName = "19700101", "O", "House"
    item.StudyInstanceUID, item.RequestedProcedureID = "1.2.3", "R1"
    item.RequestedProcedureDescription = "Chest CT"
    for keyword, value in values.items():
        setattr(step if keyword in step else item, keyword, value)
    item.ScheduledProcedureStepSequence = [step]
    return item


def save(item: Dataset, path: Path) -> Path:
    """Write it as dump2dcm -F does: without File Meta Information."""
    item.save_as(path, implicit_vr=False, little_endian=True)
    return path
