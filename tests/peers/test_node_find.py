"""Queries of a node: the answers of Orthanc and dcmqrscp are the same; findscu and pynetdicom ask."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread

import dimse
from dimse import CFindSCU, QueryRetrieveModel
from dimse.node.finding import Finder
from dimse.node.index import Index
from dimse.services.query_models import LEVELS, QueryRetrieveLevel
from tests.node.archived import finder, keys, put

from .archive import NAMES, SOME, SOME_COUNT, TREE, Archive, named, numbered, study_uid, tree
from .processes import PYNETDICOM_PEER, names_in, need, need_pynetdicom, run

PATIENT_ROOT, STUDY_ROOT = QueryRetrieveModel.PATIENT_ROOT, QueryRetrieveModel.STUDY_ROOT
PATIENT, STUDY, SERIES, IMAGE = LEVELS


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finder]:
    data = tmp_path_factory.mktemp("data")
    index = Index.at(data / "index.sqlite")
    put(index, data, [*named(), *tree(), *numbered(SOME, "2.25.55100", SOME_COUNT)])
    yield finder(index, data)
    index.close()


@asynccontextmanager
async def serving(filled: Finder) -> AsyncIterator[dimse.Server]:
    server = dimse.Server("DIMSE", host="127.0.0.1", port=0)
    filled.register(server)
    async with server:
        yield server


async def ask(address: str, level: QueryRetrieveLevel, model: QueryRetrieveModel, identifier: Dataset) -> list[Dataset]:
    async with dimse.connect(address) as association:
        return [match async for match in CFindSCU(association).find(level, identifier, model=model)]


# The same as other archives

ALL = {"StudyInstanceUID": "", "PatientName": "", "PatientID": "", "StudyDate": "", "AccessionNumber": ""}
SERIES_OF_TREE = {"PatientID": "TREE", "StudyInstanceUID": TREE, "SeriesInstanceUID": "2.25.51100"}
SAME: list[tuple[QueryRetrieveLevel, dict[str, Any]]] = [
    (STUDY, {**ALL, "PatientID": "NAME-*"}),
    (STUDY, {**ALL, "PatientID": "NAME-?????se"}),
    (STUDY, {**ALL, "PatientID": "name-*"}),
    (STUDY, {**ALL, "PatientID": "NAME-*", "StudyDate": "20200229"}),
    (STUDY, {**ALL, "PatientID": "NAME-*", "StudyDate": "20200101-20200301"}),
    (STUDY, {**ALL, "PatientID": "NAME-*", "StudyDate": "20210101-"}),
    (STUDY, {**ALL, "PatientID": "NAME-*", "StudyDate": "-20200101"}),
    (STUDY, {**ALL, "StudyInstanceUID": f"{study_uid('korean')}\\{study_uid('russian')}\\2.25.1"}),
    (STUDY, {**ALL, "StudyInstanceUID": "2.25.1"}),
    (STUDY, {**ALL, "PatientName": "Tree^*"}),
    (STUDY, {**ALL, "PatientName": "Tree^*^*", "PatientID": "NAME-*"}),
    (STUDY, {**ALL, "StudyDate": "-", "PatientID": "NAME-*"}),
    (PATIENT, {"PatientID": "*", "PatientName": "?angX*"}),
    (SERIES, {"PatientID": "TREE", "StudyInstanceUID": TREE, "SeriesInstanceUID": "", "SeriesNumber": ""}),
    (STUDY, {**ALL, "AccessionNumber": "A-1", "PatientID": "TREE"}),
    (STUDY, {**ALL, "AccessionNumber": "A-?", "PatientID": "TREE", "StudyTime": "101500"}),
    (PATIENT, {"PatientID": "TREE", "PatientName": ""}),
    (PATIENT, {"PatientID": "NAME-*", "PatientName": ""}),
    (SERIES, {"PatientID": "TREE", "StudyInstanceUID": TREE, "SeriesInstanceUID": "", "Modality": ""}),
    (SERIES, {"PatientID": "TREE", "StudyInstanceUID": TREE, "SeriesInstanceUID": "", "Modality": "MR"}),
    (IMAGE, {**SERIES_OF_TREE, "SOPInstanceUID": "", "InstanceNumber": ""}),
    (IMAGE, {**SERIES_OF_TREE, "SOPInstanceUID": "2.25.51100.1\\2.25.51200.1", "InstanceNumber": ""}),
]


@pytest.mark.parametrize(("level", "values"), SAME)
async def test_the_same_queries_at_other_archives(
    archive: Archive, filled: Finder, level: QueryRetrieveLevel, values: dict[str, Any]
) -> None:
    identifier, model = keys(str(level), **values), STUDY_ROOT if level is STUDY else PATIENT_ROOT
    theirs = await ask(archive.address, level, model, identifier)
    async with serving(filled) as server:
        ours = await ask(f"DIMSE@127.0.0.1:{server.port}", level, model, identifier)
    assert described(ours, values) == described(theirs, values)


def described(matches: list[Dataset], values: dict[str, Any]) -> list[dict[str, str]]:
    """What was asked for, of each answer."""
    found = [{keyword: str(match.get(keyword, "")).strip() for keyword in values} for match in matches]
    return sorted(found, key=repr)


# They ask


async def findscu(port: str, folder: Path, *wanted: str) -> list[Dataset]:
    options = [option for each in wanted for option in ("-k", each)]
    code, output = await run(
        need("findscu"), "-v", "-S", *options, "-X", "-od", str(folder), "-aec", "DIMSE", "127.0.0.1", port
    )
    assert code == 0, output
    return [dcmread(folder / name) for name in sorted(names_in(folder))]


async def pynetdicom(port: str, level: str, *wanted: str) -> list[Dataset]:
    command = [need_pynetdicom(), str(PYNETDICOM_PEER), "find", port, STUDY_ROOT.sop_class("find"), level]
    code, output = await run(*command, "--cancel", "0", *wanted)
    assert code == 0, output
    *matches, status = map(json.loads, output.splitlines())
    assert status == 0
    return [Dataset.from_json(match) for match in matches]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("program", ["findscu", "pynetdicom"])
@pytest.mark.parametrize("is_own", [True, False], ids=["own character set", "UTF-8"])
async def test_names_of_the_world(filled: Finder, tmp_path: Path, program: str, name: str, is_own: bool) -> None:
    """The answer is in the character set of the request, if it has all characters of the answer."""
    character_set, patient, wild, _ = NAMES[name]
    asked = character_set if is_own and program == "pynetdicom" else "ISO_IR 192"
    wanted = [f"SpecificCharacterSet={asked}", f"PatientName={wild}", "StudyInstanceUID="]
    async with serving(filled) as server:
        if program == "findscu":
            (match,) = await findscu(str(server.port), tmp_path, "QueryRetrieveLevel=STUDY", *wanted)
            assert match.SpecificCharacterSet == "ISO_IR 192"
        else:
            (match,) = await pynetdicom(str(server.port), "STUDY", *wanted)
    assert (match.PatientName, match.StudyInstanceUID) == (patient, study_uid(name))


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_that_the_character_set_of_the_request_lacks(filled: Finder, tmp_path: Path, name: str) -> None:
    async with serving(filled) as server:
        wanted = ("QueryRetrieveLevel=STUDY", f"PatientID=NAME-{name}", "PatientName", "SpecificCharacterSet=ISO_IR 13")
        (match,) = await findscu(str(server.port), tmp_path, *wanted)
    assert (match.PatientName, match.SpecificCharacterSet) == (NAMES[name][1], "ISO_IR 192")


@pytest.mark.parametrize(("step", "count"), [("STEP-1", 2), ("STEP-?", 2), ("STEP-2", 0), ("", 2)])
async def test_findscu_asks_with_a_sequence(filled: Finder, tmp_path: Path, step: str, count: int) -> None:
    wanted = ("QueryRetrieveLevel=SERIES", f"StudyInstanceUID={TREE}", "SeriesInstanceUID")
    async with serving(filled) as server:
        sequence = f"RequestAttributesSequence[0].ScheduledProcedureStepID={step}"
        matches = await findscu(str(server.port), tmp_path, *wanted, sequence)
    steps = [match.RequestAttributesSequence[0].ScheduledProcedureStepID for match in matches]
    assert steps == ["STEP-1"] * count
