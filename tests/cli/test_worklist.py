"""`dimse worklist`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.worklist_items import scheduled

from dimse import Matcher, QueryRequest, QueryRetrieveModel, Server, Status, StatusError

Beside = Callable[..., Any]


class Worklist:
    """Has two steps, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.server = Server("RIS", port=0)
        self.requests: list[QueryRequest] = []
        items = [
            scheduled("Yamada^Tarou=山田^太郎", "2", character_set="ISO_IR 192", Modality="MR"),
            scheduled(ScheduledProcedureStepStartTime="1400"),
        ]

        @self.server.on_c_find(QueryRetrieveModel.MODALITY_WORKLIST)
        async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
            self.requests.append(request)
            for match in Matcher(request.identifier).find(items):
                yield match
            if failure is not None:
                raise failure

    @property
    def address(self) -> str:
        return f"RIS@127.0.0.1:{self.server.port}"


async def test_a_table_of_what_is_scheduled(beside: Beside) -> None:
    worklist = Worklist()
    async with worklist.server:
        done = await beside("worklist", worklist.address)
    assert (done.code, done.err) == (0, "")
    header, _, *rows, count = done.out.splitlines()
    assert header.split() == ["Scheduled", "Station", "Modality", "Patient", "ID", "Accession", "Procedure"]
    assert [row.split() for row in rows] == [
        ["2024-02-29", "08:30", "CT1", "MR", "Yamada^Tarou=山田^太郎", "2", "A1", "Chest", "CT"],
        ["2024-02-29", "14:00", "CT1", "CT", "Smith^Ada", "1", "A1", "Chest", "CT"],
    ]
    assert count == "2 matches"


async def test_csv_has_the_keys_of_the_step_without_their_sequence(beside: Beside) -> None:
    worklist = Worklist()
    async with worklist.server:
        usual = await beside("worklist", worklist.address, "--modality", "CT,US", "--csv")
        chosen = await beside("worklist", worklist.address, "--columns", "Modality,PatientID", "--csv")
        formed = await beside("worklist", worklist.address, "--format", "{Modality:<4}{PatientID}")
    header, row = usual.out.splitlines()
    assert header.startswith("ScheduledProcedureStepStartDate,ScheduledProcedureStepStartTime,ScheduledStationAETitle,")
    assert row.startswith("20240229,1400,CT1,CT,Smith^Ada,1,A1,Chest CT,")
    assert chosen.out.splitlines() == ["Modality,PatientID", "MR,2", "CT,1"]
    assert formed.out.splitlines() == ["MR  2", "CT  1"]
    asked = [request.identifier.ScheduledProcedureStepSequence[0].Modality for request in worklist.requests[:2]]
    assert asked == ["CT", "US"], "one query for each"


async def test_json_is_nested(beside: Beside) -> None:
    worklist = Worklist()
    async with worklist.server:
        model = await beside("worklist", worklist.address, "--patient", "yamada*", "--json")
        flat = await beside("worklist", worklist.address, "--patient-id", "2", "--json-flat")
    [match] = model.lines
    assert match["00400100"]["Value"][0]["00080060"] == {"vr": "CS", "Value": ["MR"]}
    assert json.loads(flat.out)["ScheduledProcedureStepSequence"][0]["Modality"] == "MR"


async def test_each_option_is_a_key(beside: Beside) -> None:
    worklist = Worklist()
    options = {
        "--station": "CT1",
        "--station-name": "Room 1",
        "--date": "2024-02",
        "--time": "08:00-12:00",
        "--modality": "MR",
        "--physician": "Doe*",
        "--patient": "Y*",
        "--patient-id": "2",
        "--accession": "A1",
        "--procedure-id": "R1",
    }
    more = ["-k", "ScheduledProcedureStepID=S1", "-k", "PatientComments"]
    async with worklist.server:
        done = await beside("worklist", worklist.address, *sum(options.items(), ()), *more, "--csv")
    assert len(done.out.splitlines()) == 2, done.out + done.err
    [request] = worklist.requests
    [step] = request.identifier.ScheduledProcedureStepSequence
    assert (step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepID) == ("20240201-20240229", "S1")
    assert (request.identifier.AccessionNumber, "PatientComments" in request.identifier) == ("A1", True)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--date", "someday"], "ScheduledProcedureStepStartDate (DA): invalid value"),
        (["-k", "NoKeyword=1"], "unknown keyword 'NoKeyword'"),
        (["--columns", "NoKeyword"], "unknown keyword 'NoKeyword'"),
        (["--json", "--csv"], "not allowed with argument"),
    ],
)
async def test_wrong_usage(beside: Beside, options: list[str], error: str) -> None:
    done = await beside("worklist", "RIS@127.0.0.1:1", *options)
    assert done.code == 2
    assert error in done.err


async def test_how_it_ends(beside: Beside) -> None:
    worklist = Worklist(StatusError(Status.OUT_OF_RESOURCES, "too busy"))
    async with worklist.server:
        failed = await beside("worklist", worklist.address, "--csv")
        limited = await beside("worklist", worklist.address, "--csv", "--limit", "1")
    archive = Server("ARCHIVE", port=0)
    async with archive:
        refused = await beside("worklist", f"RIS@127.0.0.1:{archive.port}")
    assert (failed.code, len(failed.out.splitlines())) == (1, 3)
    assert "too busy" in failed.err
    assert (limited.code, len(limited.out.splitlines())) == (0, 2)
    assert "ended by --limit 1" in limited.err
    assert refused.code == 1
    assert "Modality Worklist" in refused.err
    assert (await beside("worklist", "RIS@127.0.0.1:1")).code == 3
