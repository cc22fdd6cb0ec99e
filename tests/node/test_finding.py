"""C-FIND from the index, over an association and by `Finder.search`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.node.archived import finder, found, keys, put
from tests.node.many_studies import fill
from tests.node.rows import member
from tests.sample_objects import EXPLICIT, IMPLICIT
from tests.server_options import server_options

import dimse
from dimse import uids
from dimse.node.finding import FIRST_PAGE, OFFERED, PAGE, Finder
from dimse.node.index import Index
from dimse.upper_layer.extended import QueryFeatures

DATA = [
    member("1.1", "1", 1, PatientID="P1", PatientName="Doe^Jane", StudyDate="20240101", AccessionNumber="A1"),
    member("1.1", "1", 2, PatientID="P1", PatientName="Doe^Jane", StudyDate="20240101", AccessionNumber="A1"),
    member("1.1", "2", 3, PatientID="P1", PatientName="Doe^Jane", StudyDate="20240101", Modality="SR"),
    member("1.2", "1", 1, PatientID="P1", PatientName="Doe^Jane", StudyDate="20240202", ContentDate="20240203"),
    member("1.3", "1", 1, PatientID="P2", PatientName="Roe^Rick", StudyDate="20240303"),
]


@pytest.fixture
def archived(index: Index, tmp_path: Path) -> Finder:
    put(index, tmp_path, DATA)
    return finder(index, tmp_path)


@asynccontextmanager
async def serving(
    archived: Finder, strictness: dimse.Strictness = dimse.Strictness.LENIENT
) -> AsyncIterator[dimse.Server]:
    server = dimse.Server("DIMSE", host="127.0.0.1", port=0, options=server_options(strictness=strictness))
    archived.register(server)
    async with server:
        yield server


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, uids.EXPLICIT_VR_BIG_ENDIAN])
async def test_answers_are_in_the_syntax_of_the_context(archived: Finder, syntax: str) -> None:
    async with (
        serving(archived) as server,
        dimse.connect(f"DIMSE@127.0.0.1:{server.port}", contexts=[(uids.STUDY_ROOT_FIND, [syntax])]) as association,
    ):
        identifier = keys("IMAGE", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1", SOPInstanceUID="", Rows=None)
        level = dimse.QueryRetrieveLevel.IMAGE
        (match,) = [match async for match in dimse.CFindSCU(association).find(level, identifier)]
    expected = identifier
    expected.RetrieveAETitle, expected.InstanceAvailability = "DIMSE", "ONLINE"
    expected.SOPInstanceUID, expected.Rows = DATA[3].SOPInstanceUID, DATA[3].Rows
    assert match == expected


@pytest.mark.parametrize(
    ("level", "values", "answered"),
    [
        ("PATIENT", {"PatientID": ""}, ["P1", "P2"]),
        ("STUDY", {"StudyInstanceUID": "", "PatientName": "doe*"}, ["1.1", "1.2"]),
        ("SERIES", {"SeriesInstanceUID": "", "StudyInstanceUID": "1.1"}, ["1.1.1", "1.1.2"]),
        ("IMAGE", {"SOPInstanceUID": "", "Modality": "SR"}, ["1.1.2.3"]),
        ("STUDY", {"StudyInstanceUID": "", "Modality": "SR"}, ["1.1"]),
        ("STUDY", {"StudyInstanceUID": "", "ModalitiesInStudy": ["SR", "MR"]}, ["1.1"]),
        ("PATIENT", {"PatientID": "", "StudyDate": "20240201-"}, ["P1", "P2"]),
        ("PATIENT", {"PatientID": "", "SOPInstanceUID": "1.3.1.1"}, ["P2"]),
        ("IMAGE", {"SOPInstanceUID": "", "ContentDate": "20240203"}, ["1.2.1.1"]),
    ],
)
async def test_each_level(archived: Finder, level: str, values: dict[str, Any], answered: list[str]) -> None:
    matches = await found(archived, level, unknown_matches=False, **values)
    (unique,) = [each for each in values if each.endswith(("UID", "ID")) and (not values[each] or level == "PATIENT")][
        :1
    ]
    assert sorted(str(match[unique].value) for match in matches) == answered


async def test_counts(archived: Finder) -> None:
    asked: dict[str, Any] = dict.fromkeys(("NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries"), "")
    (match,) = await found(archived, "PATIENT", PatientID="P1", NumberOfPatientRelatedInstances="", **asked)
    assert (match.NumberOfPatientRelatedStudies, match.NumberOfPatientRelatedSeries) == (2, 3)
    assert match.NumberOfPatientRelatedInstances == 4
    asked = dict.fromkeys(("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "ModalitiesInStudy"), "")
    (match,) = await found(archived, "STUDY", StudyInstanceUID="1.1", SOPClassesInStudy="", **asked)
    assert (match.NumberOfStudyRelatedSeries, match.NumberOfStudyRelatedInstances) == (2, 3)
    assert (match.ModalitiesInStudy, match.SOPClassesInStudy) == (["CT", "SR"], DATA[0].SOPClassUID)
    (match,) = await found(archived, "SERIES", SeriesInstanceUID="1.1.1", NumberOfSeriesRelatedInstances="")
    assert match.NumberOfSeriesRelatedInstances == 2


async def test_extended_negotiation(archived: Finder) -> None:
    everything = QueryFeatures(**{**dict.fromkeys(OFFERED.names, True), "timezone": True})
    async with (
        serving(archived) as server,
        dimse.connect(
            f"DIMSE@127.0.0.1:{server.port}",
            contexts=[dimse.ProposedContext(uids.STUDY_ROOT_FIND, uids.LITTLE_ENDIAN, features=everything)],
        ) as association,
    ):
        assert association.query_features(uids.STUDY_ROOT_FIND) == OFFERED


async def test_the_newest_study_comes_first(archived: Finder) -> None:
    assert [each.StudyInstanceUID for each in await found(archived, "STUDY", StudyInstanceUID="")] == [
        "1.3",
        "1.2",
        "1.1",
    ]


async def test_a_patient_is_found_by_each_of_its_names(index: Index, tmp_path: Path) -> None:
    put(index, tmp_path, [member(f"1.{n}", "1", 1, PatientID="P", PatientName=name) for n, name in enumerate("AB")])
    for name in "AB":
        (match,) = await found(finder(index, tmp_path), "PATIENT", PatientName=name, PatientID="")
        assert match.PatientName == name
    (match,) = await found(finder(index, tmp_path), "PATIENT", PatientName="", PatientID="P")
    assert match.PatientName == "A"


COUNT = FIRST_PAGE + PAGE + 30


@pytest.fixture
def many(index: Index, tmp_path: Path) -> Finder:
    """Studies for more than two pages, of which some share their values."""

    def texts(number: int) -> dict[str, str]:
        return {
            "PatientID": f"P{number % 7}",
            "StudyDate": f"2024{number % 3 + 1:02}01",
            "PatientName": f"N{number % 5}",
        }

    with index.writing() as connection:
        fill(connection, range(COUNT), texts)
    return finder(index, tmp_path)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, range(COUNT)),
        ({"StudyDate": "20240101-20240215"}, [n for n in range(COUNT) if n % 3 < 2]),
        ({"StudyDate": "20240101"}, range(0, COUNT, 3)),
        ({"PatientName": "n*"}, range(COUNT)),
        ({"PatientID": "P3"}, range(3, COUNT, 7)),
        ({"PatientID": ["P3", "P4"]}, [n for n in range(COUNT) if n % 7 in (3, 4)]),
        ({"StudyInstanceUID": [f"1.2.{n}" for n in range(0, COUNT, 2)]}, range(0, COUNT, 2)),
    ],
)
@pytest.mark.parametrize("level", ["STUDY", "SERIES"])
async def test_pages_leave_nothing_out(
    many: Finder, level: str, values: dict[str, Any], expected: Sequence[int]
) -> None:
    matches = await found(many, level, **{"StudyInstanceUID": "", **values})
    assert sorted(str(each.StudyInstanceUID) for each in matches) == sorted(f"1.2.{n}" for n in expected)
