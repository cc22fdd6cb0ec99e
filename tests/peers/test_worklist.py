"""The worklist of DCMTK, queried by the example."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

from pydicom import Dataset

from tests.ports import free_port

from .processes import Peer, need, run

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "worklist.py"


def item(name: str, station: str, day: str) -> Dataset:
    """A complete worklist item, as wlmscpfs demands."""
    step = Dataset()
    step.ScheduledStationAETitle, step.Modality = station, "CT"
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = day, "0830"
    step.ScheduledPerformingPhysicianName = "Doe"
    step.ScheduledProcedureStepDescription, step.ScheduledProcedureStepID = "Chest", "1"
    found = Dataset()
    found.PatientName, found.PatientID, found.AccessionNumber = name, name.upper(), "1"
    found.PatientBirthDate, found.PatientSex = "19700101", "O"
    found.StudyInstanceUID, found.RequestedProcedureID, found.RequestedProcedureDescription = "1.2.3", "1", "Chest"
    found.ScheduledProcedureStepSequence = [step]
    return found


async def test_the_example_shows_the_worklist_of_dcmtk(tmp_path: Path) -> None:
    folder = tmp_path / "RIS"
    folder.mkdir()
    (folder / "lockfile").touch()
    today = f"{date.today():%Y%m%d}"  # noqa: DTZ011 - a worklist has no time zone
    for each in (item("Here", "CT1", today), item("Elsewhere", "CT2", today), item("Before", "CT1", "20040119")):
        each.save_as(folder / f"{each.PatientID}.wl", implicit_vr=False, little_endian=True)
    port = free_port()
    with Peer([need("wlmscpfs"), "-dfp", str(tmp_path), str(port)], port, tmp_path / "peer", title="RIS") as peer:
        code, printed = await run(sys.executable, str(EXAMPLE), peer.address, "CT1", "CT")
    assert (code, printed) == (0, "0830 HERE Here\n")
