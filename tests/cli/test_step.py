"""`dimse step`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.ports import free_port
from tests.services.test_procedure_step import worklist_match

from dimse import ProcedureSteps, Server, StepChange

Beside = Callable[..., Any]
KEYS = ("Modality=CT", "PerformedStationAETitle=CT1", "StudyInstanceUID=1.2.3", "0010,0020=1")
UNSCHEDULED = [option for key in KEYS for option in ("-k", key)]


class Ris:
    def __init__(self) -> None:
        self.server = Server("RIS", port=0)
        self.changes: list[StepChange] = []
        ProcedureSteps(self.server, self.handle)

    async def handle(self, change: StepChange) -> None:
        self.changes.append(change)

    @property
    def address(self) -> str:
        return f"RIS@127.0.0.1:{self.server.port}"


@pytest.fixture
async def ris() -> AsyncIterator[Ris]:
    ris = Ris()
    async with ris.server:
        yield ris


async def test_a_step_from_its_start_to_its_end(beside: Beside, ris: Ris, ct: Path, tmp_path: Path) -> None:
    worklist = tmp_path / "match.json"
    worklist.write_text(worklist_match().to_json() + "\n", encoding="utf-8")
    done = await beside("step", "start", ris.address, "--worklist", str(worklist), "-k", "PerformedLocation=Room 1")
    assert (done.code, done.err) == (0, "")
    uid = done.out.strip()
    done = await beside("step", "update", ris.address, uid, "-k", "PerformedProcedureStepDescription=Head")
    assert (done.code, done.err) == (0, f"dimse: updated at {ris.address}\n")
    done = await beside("step", "complete", ris.address, uid, "--series", str(ct))
    assert (done.code, done.err) == (0, f"dimse: completed with 1 instance at {ris.address}\n")
    assert [(change.sop_instance_uid, change.status.value) for change in ris.changes] == [
        (uid, "IN PROGRESS"),
        (uid, "IN PROGRESS"),
        (uid, "COMPLETED"),
    ]
    step = ris.changes[-1].dataset
    assert (str(step.PatientName), step.PerformedLocation) == ("Müller^Ada", "Room 1")
    assert step.PerformedProcedureStepDescription == "Head"
    assert len(step.PerformedSeriesSequence[0].ReferencedImageSequence) == 1
    done = await beside("step", "update", ris.address, uid, "-k", "PerformedProcedureStepDescription=Foot")
    assert done.code == 1
    assert "may no longer be updated" in done.err


async def test_a_step_is_discontinued_with_a_reason(beside: Beside, ris: Ris) -> None:
    (started,) = (await beside("step", "start", ris.address, *UNSCHEDULED, "--json")).lines
    uid = started["sop_instance_uid"]
    assert started == {"address": ris.address, "sop_instance_uid": uid, "status": "IN PROGRESS"}
    (ended,) = (await beside("step", "discontinue", ris.address, uid, "--reason", "110501", "--json")).lines
    assert ended["status"] == "DISCONTINUED"
    step = ris.changes[-1].dataset
    assert step.PatientID == "1"
    assert step.PerformedProcedureStepDiscontinuationReasonCodeSequence[0].CodeMeaning == "Equipment failure"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("start", "RIS@localhost"), "needs PerformedStationAETitle, Modality"),
        (("start", "RIS@localhost", "1.2"), "start makes a new step: leave UID and --series out"),
        (("complete", "RIS@localhost"), "complete needs the UID that start has printed"),
        (("complete", "RIS@localhost", "x"), "'x' is not a UID"),
        (("update", "RIS@localhost", "1.2", "--worklist", "-"), "--worklist is for start"),
        (("update", "RIS@localhost", "1.2", "-k", "Modality"), "-k Modality: must be KEY=VALUE"),
        (("update", "RIS@localhost", "1.2", "-k", "ReferencedPatientSequence=1"), "sequences come from --worklist"),
        (("start", "RIS@localhost", "-k", "PatientSize=tall"), "PatientSize (DS): the value is not valid"),
        (("start", "RIS@localhost", "--worklist", __file__), "line 1 must be a match in the DICOM JSON Model"),
    ],
)
async def test_wrong_usage(beside: Beside, arguments: tuple[str, ...], why: str) -> None:
    done = await beside("step", *arguments)
    assert (done.code, done.out) == (2, "")
    assert why in done.err


async def test_nobody_there(beside: Beside) -> None:
    done = await beside("step", "start", f"RIS@127.0.0.1:{free_port()}", *UNSCHEDULED)
    assert (done.code, done.out) == (3, "")
    assert "Connection refused" in done.err
