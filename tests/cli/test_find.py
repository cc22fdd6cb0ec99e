"""`dimse find`."""

from __future__ import annotations

import asyncio
import csv
import json
import re
import signal
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from tests.sample_objects import IMPLICIT
from tests.services.limited_archive import LimitedArchive
from tests.services.limited_archive import study as instances_of

from dimse import Association, QueryFeatures, QueryRequest, QueryRetrieveModel, Server, Status, StatusError
from dimse.network.association import exchange_of
from dimse.testing import ScriptedPeer, listening, response

Beside = Callable[..., Any]

LONG_UID = "1.2.840.113619.2.55.3.2831868886.123.1234567890.456.7890123456.8"


def study(name: str = "Doe^Jane", uid: str = LONG_UID, **values: Any) -> Dataset:
    match = Dataset()
    match.PatientName, match.PatientID, match.StudyDate = name, "4711", "20240229"
    match.ModalitiesInStudy, match.StudyDescription, match.StudyInstanceUID = ["CT", "SR"], "Head", uid
    for keyword, value in values.items():
        setattr(match, keyword, value)
    return match


class Archive:
    """Finds the same for everyone."""

    def __init__(self, *matches: Dataset, failure: Exception | None = None) -> None:
        self.server = Server("ARCHIVE", port=0)
        self.requests: list[QueryRequest] = []

        @self.server.on_c_find
        async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
            self.requests.append(request)
            for match in matches:
                yield match
            if failure is not None:
                raise failure

    @property
    def address(self) -> str:
        return f"ARCHIVE@127.0.0.1:{self.server.port}"


async def test_a_table_of_what_there_is(beside: Beside) -> None:
    archive = Archive(study(), study("Yamada^Tarou", "1.2.3", StudyDescription="Thorax"))
    async with archive.server:
        done = await beside("find", archive.address)
    assert (done.code, done.err) == (0, "")
    header, _, *rows, count = done.out.splitlines()[-5:]
    assert header.split()[-3:] == ["Study", "Instance", "UID"]
    assert [row.split() for row in rows] == [
        ["Doe^Jane", "4711", "20240229", "CT\\SR", "Head", LONG_UID],
        ["Yamada^Tarou", "4711", "20240229", "CT\\SR", "Thorax", "1.2.3"],
    ]
    assert count == "2 matches"


async def test_the_table_fits_the_terminal(beside: Beside) -> None:
    archive = Archive(study("山田^太郎" * 9, StudyDescription="long " * 12, SpecificCharacterSet="ISO_IR 192"))
    async with archive.server:
        narrow = await beside("find", archive.address, COLUMNS="60")
        roomy = await beside("find", archive.address, COLUMNS="130")
    *table, count = narrow.out.splitlines()
    assert all(len(line) <= 60 for line in table)
    assert "…" in table[-1]
    assert "20240229" in table[-1]
    assert count == "1 match; cut to the width of the terminal (--csv and --json show everything)"
    assert LONG_UID in roomy.out, "text gives way before UIDs do"
    assert "long…" in roomy.out or "long …" in roomy.out


async def test_the_keys_asked_for_are_the_columns(beside: Beside) -> None:
    archive = Archive(study())
    async with archive.server:
        done = await beside("find", archive.address, "-k", "PatientID=47*", "-k", "0008,0020", "--csv")
    assert done.out.splitlines() == ['PatientID,"0008,0020"', "4711,20240229"]
    (request,) = archive.requests
    assert (request.level, request.model) == ("STUDY", QueryRetrieveModel.STUDY_ROOT)
    assert request.identifier.PatientID == "47*"


async def test_what_only_chooses_is_shown_with_the_columns_of_the_level(beside: Beside) -> None:
    archive = Archive(study(AccessionNumber="A1"))
    async with archive.server:
        done = await beside("find", archive.address, "-k", "AccessionNumber=A1", "--csv", "--level", "patient")
        other = await beside("find", archive.address, "-k", "AccessionNumber=A1", "--csv")
    assert done.code == 2
    assert other.out.splitlines()[0] == (
        "PatientName,PatientID,StudyDate,ModalitiesInStudy,StudyDescription,StudyInstanceUID,AccessionNumber"
    )
    assert "StudyDescription" in archive.requests[-1].identifier


@pytest.mark.parametrize(
    ("level", "options", "model"),
    [
        ("PATIENT", [], QueryRetrieveModel.PATIENT_ROOT),
        ("series", ["-k", "StudyInstanceUID=1.2"], QueryRetrieveModel.STUDY_ROOT),
        ("STUDY", ["-k", "PatientID=1", "--model", "patient"], QueryRetrieveModel.PATIENT_ROOT),
    ],
)
async def test_levels_and_models(beside: Beside, level: str, options: list[str], model: QueryRetrieveModel) -> None:
    archive = Archive()
    async with archive.server:
        done = await beside("find", archive.address, "--level", level, *options)
    assert (done.code, done.out, done.err) == (0, "0 matches\n", "")
    (request,) = archive.requests
    assert (request.level, request.model) == (level.upper(), model)


@pytest.mark.parametrize("name", ["hanging-protocol", "color-palette"])
async def test_models_without_levels(beside: Beside, name: str) -> None:
    model = QueryRetrieveModel.HANGING_PROTOCOL if name == "hanging-protocol" else QueryRetrieveModel.COLOR_PALETTE
    archive, found = Archive(), Dataset()
    found.SOPInstanceUID, found.HangingProtocolName = "1.2.3.4", "Chest"

    @archive.server.on_c_find(model)
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        archive.requests.append(request)
        yield found

    async with archive.server:
        done = await beside("find", archive.address, "--model", name, "-k", "HangingProtocolName", "--json")
        refused = await beside("find", archive.address, "--model", name, "--level", "STUDY")
    (request,) = archive.requests
    assert (request.level, request.model, "QueryRetrieveLevel" in request.identifier) == (None, model, False)
    assert "HangingProtocolName" in request.identifier
    (line,) = done.lines
    assert line["00720002"]["Value"] == ["Chest"]
    assert (refused.code, "has no levels" in refused.err) == (2, True)


async def test_json_is_the_dicom_json_model_a_line_each(beside: Beside) -> None:
    archive = Archive(study("Müller^Jörg", SpecificCharacterSet="ISO_IR 100"), study(uid="1.2.3"))
    async with archive.server:
        done = await beside("find", archive.address, "--json")
    assert (done.code, done.err) == (0, "")
    first, second = done.lines
    assert first["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jörg"}]}
    assert first["00080005"]["Value"] == ["ISO_IR 192"], "JSON is UTF-8"
    assert first["00080061"] == {"vr": "CS", "Value": ["CT", "SR"]}
    assert second["0020000D"]["Value"] == ["1.2.3"]


async def test_json_comes_as_the_matches_come(start: Beside) -> None:
    server, shown = Server("ARCHIVE", port=0), asyncio.Event()

    @server.on_c_find
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        yield study(uid="1.2.1")
        await shown.wait()
        yield study(uid="1.2.2")

    async with server:
        process = await start("find", f"ARCHIVE@127.0.0.1:{server.port}", "--json")
        first = json.loads(await process.stdout.readline())
        shown.set()
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert [first["0020000D"]["Value"], json.loads(out)["0020000D"]["Value"]] == [["1.2.1"], ["1.2.2"]]


async def test_csv_with_sequences_and_commas(beside: Beside) -> None:
    codes = [Dataset(), Dataset()]
    codes[0].CodeValue, codes[1].CodeValue = "P1", "P2"
    archive = Archive(study("Doe, Jane", ProcedureCodeSequence=codes), study(), study(PatientName=None))
    keys = ("PatientName", "ProcedureCodeSequence.CodeValue", "ModalitiesInStudy")
    async with archive.server:
        done = await beside("find", archive.address, "--csv", *(each for key in keys for each in ("-k", key)))
        items = await beside("find", archive.address, "--csv", "-k", "ProcedureCodeSequence")
    assert list(csv.reader(done.out.splitlines())) == [
        list(keys),
        ["Doe, Jane", "P1\\P2", "CT\\SR"],
        ["Doe^Jane", "", "CT\\SR"],
        ["", "", "CT\\SR"],
    ]
    assert items.out.splitlines()[:3] == ["ProcedureCodeSequence", "2 items", '""']
    (item,) = archive.requests[0].identifier.ProcedureCodeSequence
    assert "CodeValue" in item


@pytest.mark.parametrize(
    ("option", "out"), [("--csv", "PatientID\n"), ("--json", ""), ("--level=study", "0 matches\n")]
)
async def test_nothing_matches(beside: Beside, option: str, out: str) -> None:
    archive = Archive()
    async with archive.server:
        done = await beside("find", archive.address, "-k", "PatientID", option)
    assert (done.code, done.out, done.err) == (0, out, "")


async def test_a_terminal_obeys_no_value_of_the_peer(beside: Beside) -> None:
    archive = Archive(study("\x1b[31mred\x07", StudyDescription="[bold]x[/bold]"))
    async with archive.server:
        table = await beside("find", archive.address)
        rows = await beside("find", archive.address, "--csv")
    assert "\x1b" not in table.out + rows.out
    assert "\x07" not in table.out + rows.out
    assert "\\x1b[31mred\\x07" in table.out
    assert "[bold]x[/bold]" in table.out


async def test_a_value_that_is_none_of_its_vr_is_shown_as_it_came(beside: Beside) -> None:
    match = study()
    match.add(DataElement(0x00201208, "LO", "a\x1bb"))
    match[0x00201208].VR = "IS"
    archive = Archive(match)
    async with archive.server:
        rows = await beside("find", archive.address, "--csv", "-k", "PatientID", "-k", "NumberOfStudyRelatedInstances")
        lines = await beside("find", archive.address, "--json")
    assert (rows.code, rows.out.splitlines()[1]) == (0, "4711,a\\x1bb")
    assert (lines.code, lines.err) == (0, "")
    (line,) = lines.lines
    assert line["00100020"]["Value"] == ["4711"]
    assert line["00201208"] == {"vr": "IS", "Value": ["a\x1bb"]}


@pytest.mark.parametrize("option", ["--json", "--csv", "--level=study"])
async def test_names_in_any_character_set_and_in_the_wrong_one(beside: Beside, option: str) -> None:
    def match(term: bytes, name: bytes) -> bytes:
        values = ((0x00080005, term), (0x00100010, name))
        return b"".join(struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value for tag, value in values)

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept(syntaxes=[IMPLICIT])
        received = await peer.receive_message()
        await peer.send(response(received, 0xFF00, match(b"\\ISO 2022 IR 149 ", b"A=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce ")))
        for name in (b"M\xfcller", b"J\xf6rg  "):
            await peer.send(response(received, 0xFF00, match(b"ISO_IR 192", name)))
        await peer.send(response(received))
        await peer.answer_release()

    async with listening(script) as address:
        done = await beside("find", address, "-k", "PatientName", option)
    assert done.code == 0
    assert done.err == "dimse: (0010,0010) is not in the Specific Character Set of the match; shown with \ufffd\n"
    names = ("A=洪^吉", "M\ufffdller", "J\ufffdrg")
    if option == "--json":
        shown = [line["00100010"]["Value"] for line in done.lines]
        assert shown == [[{"Alphabetic": "A", "Ideographic": "洪^吉"}], *([{"Alphabetic": each}] for each in names[1:])]
    else:
        assert all(name in done.out for name in names)


async def test_what_came_before_a_failure_is_shown(beside: Beside) -> None:
    archive = Archive(study(), failure=StatusError(Status(0xA700), "C-FIND", "too much"))
    async with archive.server:
        done = await beside("find", archive.address)
    assert done.code == 1
    assert LONG_UID in done.out
    assert done.out.endswith("1 match\n")
    assert done.err.startswith(f"dimse: {archive.address}: the archive cut its answer after 1 match: 0xA700 ")
    assert done.err.endswith("(too much); --complete finds the others\n")


async def test_a_lost_association(beside: Beside) -> None:
    server = Server("ARCHIVE", port=0)

    @server.on_c_find
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        yield study()
        request.association.abort()

    async with server:
        done = await beside("find", f"ARCHIVE@127.0.0.1:{server.port}")
    assert done.code == 3
    assert "1 match\n" in done.out
    assert done.err.startswith("dimse: ")
    assert "aborted" in done.err


def test_no_association(dimse: Beside, closed_port: int, refused: str) -> None:
    for option in ("--csv", "--json", "--timeout=9"):
        done = dimse("find", f"A@127.0.0.1:{closed_port}", option)
        assert (done.code, done.err) == (3, refused)
        assert bool(done.out) == (option == "--json")


def test_a_peer_without_the_service(dimse: Beside, receiver: Any) -> None:
    done = dimse("find", receiver.address)
    assert (done.code, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert line.startswith("dimse: ")
    assert "Study Root" in line


async def test_ctrl_c_after_a_cut_answer_gives_no_hint_of_what_was_given(start: Beside) -> None:
    server, began = Server("ARCHIVE", port=0), asyncio.Event()

    @server.on_c_find
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        if request.identifier.StudyInstanceUID == "1.1":
            raise StatusError(Status.OUT_OF_RESOURCES)
        began.set()
        await asyncio.Event().wait()
        yield study()

    async with server:
        keys = "StudyInstanceUID=1.1 StudyInstanceUID=1.2 PatientID=A StudyDate=20240101 StudyTime=12 PatientName=A"
        given = [f"-k{key}" for key in keys.split()]
        process = await start("find", f"ARCHIVE@127.0.0.1:{server.port}", *given, "--complete")
        await began.wait()
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert process.returncode == 130
    assert b"no key divides the query" in err
    assert b"--complete" not in err


@pytest.mark.parametrize("option", ["--json", "--csv", "--level=study"])
async def test_ctrl_c_cancels_and_says_what_had_come(start: Beside, option: str) -> None:
    server, began, closed = Server("ARCHIVE", port=0), asyncio.Event(), asyncio.Event()
    associations: list[Association] = []

    @server.on_c_find
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        associations.append(request.association)
        try:
            while True:
                yield study()
                began.set()
        finally:
            closed.set()

    async with server:
        process = await start("find", f"ARCHIVE@127.0.0.1:{server.port}", option)
        await began.wait()
        first = b"" if option == "--level=study" else await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
        await closed.wait()
        await exchange_of(associations[0]).closed()
    assert associations[0].error is None, "it was released"
    assert process.returncode == 130
    interrupted, cancelled = err.decode().splitlines()
    assert interrupted.startswith("dimse: interrupted; ")
    found = re.fullmatch(r"dimse: cancelled after (\d+) match(es)?", cancelled)
    assert found is not None
    shown = (first + out).count(LONG_UID.encode())
    assert shown == int(found[1])
    if option == "--json":
        last = json.loads(out.splitlines()[-1])
        assert (last["event"], last["exit_code"]) == ("error", 130)
    if option == "--level=study":
        assert re.search(rf"^{shown} match(es)?$", out.decode(), re.MULTILINE)


# Levels, lists and limits


async def test_series_without_uids(beside: Beside) -> None:
    async with LimitedArchive([instances_of(1, series=2), instances_of(2)]) as archive:
        keys = ("-k", "QueryRetrieveLevel=SERIES", "-k", "PatientID=ID00*", "-k", "Modality=CT")
        done = await beside("find", archive.address, *keys, "--csv")
        related = await beside("find", archive.address, *keys, "--csv", "--relational")
    rows = list(csv.DictReader(done.out.splitlines()))
    assert [(row["PatientName"], row["StudyDate"], row["SeriesInstanceUID"]) for row in rows] == [
        ("Doe^ID001", "20240101", "1.1.1"),
        ("Doe^ID002", "20240101", "1.2.1"),
    ]
    assert (done.code, done.err, related.out) == (0, "", done.out)
    assert related.err.strip() == (
        f"dimse: {archive.address}: it did not agree to these features of C-FIND: relational; it is asked all the same"
    )
    assert archive.levels == ["STUDY", "SERIES", "SERIES", "SERIES"]


async def test_what_is_negotiated(beside: Beside) -> None:
    """As DCMTK's users ask; an archive that agrees, and one that says which keys it does not support."""
    keys = ("--level", "IMAGE", "-k", "StudyInstanceUID=", "--relational", "--negotiate", "fuzzy-names,timezone")
    features = QueryFeatures(relational=True, fuzzy_names=True, timezone=True, empty_values=True)
    async with LimitedArchive([instances_of(1, series=2)], features=features, unsupported_keys=True) as archive:
        done = await beside("find", archive.address, *keys, "--format", "{SOPInstanceUID}")
    assert (done.code, done.out) == (0, "1.1.1.1\n1.1.2.1\n")
    assert archive.agreed == [QueryFeatures(relational=True, fuzzy_names=True, timezone=True)]
    assert "it does not support all of the keys (0xFF01)" in done.err
    wrong = await beside("find", archive.address, "-k", "PatientID", "--negotiate", "sound")
    assert wrong.code == 2
    assert "'sound' is not a feature; it must be one of combined-date-time, fuzzy-names" in wrong.err


async def test_lists(beside: Beside, tmp_path: Path) -> None:
    table, keys = tmp_path / "studies.csv", tmp_path / "keys.txt"
    keys.write_text("PatientID=ID001\nPatientID=ID003\n")
    options = ("--format", "{StudyInstanceUID}")
    async with LimitedArchive([instances_of(1), instances_of(2), instances_of(3)]) as archive:
        twice = await beside("find", archive.address, "-k", "PatientID=ID001", "-k", "PatientID=ID001*", *options)
        listed = await beside("find", archive.address, "-k", f"@{keys}", "--csv")
        table.write_text(listed.out)
        again = await beside("find", archive.address, "--from", table, *options)
    assert twice.out == "1.1\n"
    assert again.out == "1.1\n1.3\n"
    assert [each.get("StudyInstanceUID") for each in archive.asked[-2:]] == ["1.1", "1.3"]


async def test_a_limit(beside: Beside) -> None:
    async with LimitedArchive([instances_of(number) for number in range(1, 9)]) as archive:
        done = await beside("find", archive.address, "--limit", "3", "--csv", "-k", "StudyInstanceUID")
    assert (done.code, done.out) == (0, "StudyInstanceUID\n1.1\n1.2\n1.3\n")
    assert done.err == "dimse: ended by --limit 3; there may be more matches\n"


async def test_a_cut_answer_and_a_complete_one(beside: Beside) -> None:
    async with LimitedArchive([instances_of(number, f"2024010{number}") for number in range(1, 9)], limit=3) as archive:
        cut = await beside("find", archive.address, "--format", "{StudyInstanceUID}")
        whole = await beside("find", archive.address, "--format", "{StudyInstanceUID}", "--complete")
    assert (cut.code, len(cut.out.splitlines())) == (1, 3)
    assert "the archive cut its answer after 3 matches: 0xA700" in cut.err
    assert (whole.code, len(whole.out.splitlines())) == (0, 8)
    assert whole.err == "dimse: complete, as far as the answers tell; queried in parts by StudyDate\n"


async def test_a_key_of_series_in_a_query_of_studies(beside: Beside) -> None:
    done = await beside("find", "A@127.0.0.1:1", "-k", "Modality=CT")
    assert done.code == 2
    assert "or use ModalitiesInStudy, the key of the study" in done.err


# Output


async def test_flat_json(beside: Beside) -> None:
    code = Dataset()
    code.CodeValue = "P1"
    match = study("Müller^Jörg", SpecificCharacterSet="ISO_IR 100", StudyTime="101500", ProcedureCodeSequence=[code])
    match.NumberOfStudyRelatedSeries, match.AccessionNumber = "3", None
    async with (archive := Archive(match)).server:
        done = await beside("find", archive.address, "--json-flat")
        chosen = await beside("find", archive.address, "--json-flat", "--columns", "PatientID,StudyDate")
    (line,) = done.lines
    assert line == {
        "StudyDate": "2024-02-29",
        "StudyTime": "10:15:00",
        "AccessionNumber": None,
        "ModalitiesInStudy": ["CT", "SR"],
        "StudyDescription": "Head",
        "ProcedureCodeSequence": [{"CodeValue": "P1"}],
        "PatientName": "Müller^Jörg",
        "PatientID": "4711",
        "StudyInstanceUID": LONG_UID,
        "NumberOfStudyRelatedSeries": 3,
        "QueryRetrieveLevel": "STUDY",
    }
    assert chosen.lines == [{"StudyDate": "2024-02-29", "PatientID": "4711"}]


async def test_a_format(beside: Beside) -> None:
    async with (archive := Archive(study())).server:
        done = await beside("find", archive.address, "--format", "{PatientID:<6}|{0008,0020}\\t{ModalitiesInStudy}")
        wrong = [await beside("find", archive.address, "--format", form) for form in ("{}", "{Patient}", "{PatientID")]
    assert (done.code, done.out) == (0, "4711  |20240229\tCT\\SR\n")
    assert [each.code for each in wrong] == [2, 2, 2]
    assert "must name a key" in wrong[0].err


async def test_columns(beside: Beside) -> None:
    async with (archive := Archive(study())).server:
        columns = ("--columns", "StudyDate,PatientSex")
        done = await beside("find", archive.address, "-k", "PatientID=4711", *columns, "--csv")
    assert done.out == "StudyDate,PatientSex\n20240229,\n"
    assert "PatientSex" in archive.requests[0].identifier


def test_one_output_at_a_time(dimse: Beside) -> None:
    for other in ("--csv", "--json-flat", "--format={PatientID}"):
        assert dimse("find", "A@127.0.0.1:1", "--json", other).code == 2
