"""C-FIND from the index, over an association and by `search`."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from sqlalchemy import event
from tests.node.archived import finder, found, keys, put, search
from tests.node.many_studies import fill
from tests.node.rows import member
from tests.sample_objects import EXPLICIT, IMPLICIT
from tests.server_options import server_options

import dimse
from dimse import uids
from dimse.node import finding
from dimse.node.finding import FIRST_PAGE, OFFERED, PAGE, Finder
from dimse.node.index import Index
from dimse.node.matching import Plan, Range
from dimse.services.query_models import LEVELS
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


async def test_the_studies_of_a_patient_are_counted_once(index: Index, tmp_path: Path) -> None:
    """Many an archive has one Patient ID for all whose names were removed."""
    with index.writing() as connection:
        fill(connection, range(2 * PAGE), lambda _: {"PatientID": "ANON"})
    counting: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        counting.extend([statement] if "count(" in statement else [])

    event.listen(index.engine, "before_cursor_execute", note)
    matches = await found(finder(index, tmp_path), "STUDY", PatientID="ANON", NumberOfPatientRelatedStudies="")
    assert {match.NumberOfPatientRelatedStudies for match in matches} == {2 * PAGE}
    assert (len(matches), len(counting)) == (2 * PAGE, 1)


async def test_counts_of_patients_without_id_and_with_several_issuers(index: Index, tmp_path: Path) -> None:
    ids = [("P", "A"), ("P", "A"), ("P", "B"), ("P", ""), ("", "A"), ("", "")]
    put(index, tmp_path, [member(f"1.{n}", "1", 1, PatientID=i, IssuerOfPatientID=o) for n, (i, o) in enumerate(ids)])
    matches = await found(finder(index, tmp_path), "STUDY", StudyInstanceUID="", NumberOfPatientRelatedStudies="")
    counts = {str(match.StudyInstanceUID): match.NumberOfPatientRelatedStudies for match in matches}
    assert counts == {"1.0": 2, "1.1": 2, "1.2": 1, "1.3": 1, "1.4": None, "1.5": None}


async def test_the_event_loop_does_not_wait_for_long_lists(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The conditions of 250 000 UIDs take seconds: they are made in a thread, and when it is their turn."""
    threads, made = set[int](), list[Range]()

    class Noted(Plan):
        def ranges(self) -> Iterator[Range]:
            threads.add(threading.get_ident())
            for each in super().ranges():
                made.append(each)
                threads.add(threading.get_ident())
                yield each

    monkeypatch.setattr(finding, "Plan", Noted)
    put(index, tmp_path, DATA)
    uids = ["1.1", *(f"9.{number}" for number in range(1000))]
    assert await search(finder(index, tmp_path), keys("IMAGE", StudyInstanceUID=uids), LEVELS[-1], limit=1)
    assert threading.get_ident() not in threads
    assert len(made) < len(uids)


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


PAGED: Sequence[tuple[dict[str, Any], Sequence[int]]] = [
    ({}, range(COUNT)),
    ({"StudyDate": "20240101-20240215"}, [n for n in range(COUNT) if n % 3 < 2]),
    ({"StudyDate": "20240101"}, range(0, COUNT, 3)),
    ({"PatientName": "n*"}, range(COUNT)),
    ({"PatientID": "P3"}, range(3, COUNT, 7)),
    ({"PatientID": ["P3", "P4"]}, [n for n in range(COUNT) if n % 7 in (3, 4)]),
    ({"StudyInstanceUID": [f"1.2.{n}" for n in range(0, COUNT, 2)]}, range(0, COUNT, 2)),
]
"""Keys, and the studies that match; one test of each would fill the index for each."""


async def test_pages_of_long_answers_are_short_and_leave_nothing_out(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """19 000 keys of one identifier would make 114 MB of a page of 500 rows."""
    with index.writing() as connection:
        fill(connection, range(20), lambda number: {"PatientID": f"P{number % 3}"})
    monkeypatch.setattr(finding, "PAGE_ELEMENTS", 20)
    identifier = keys("STUDY", StudyInstanceUID="", PatientID="")
    begun = await finder(index, tmp_path)._search(identifier, LEVELS[1], OFFERED, EXPLICIT)
    pages = list[int]()
    while not begun.is_done:
        pages.append(len(await index.read(begun.page)))
    assert sum(pages) == 20
    assert max(pages) < 10


@pytest.mark.parametrize("level", ["STUDY", "SERIES"])
async def test_pages_leave_nothing_out(many: Finder, level: str) -> None:
    for values, expected in PAGED:
        matches = await found(many, level, **{"StudyInstanceUID": "", **values})
        assert sorted(str(each.StudyInstanceUID) for each in matches) == sorted(f"1.2.{n}" for n in expected), values


async def test_keys_that_are_not_matched(archived: Finder) -> None:
    """PS3.4 C.4.1.1.4: Pending (0xFF01), exactly if a key with a value is not matched."""

    async def statuses(level: str, private: tuple[str, Any] | None = None, **values: Any) -> set[int]:
        identifier = keys(level, **values)
        if private is not None:
            identifier.add_new(0x00190010, "LO", "ACME")
            identifier.add_new(0x00191001, *private)
        async with (
            serving(archived) as server,
            dimse.connect(f"DIMSE@127.0.0.1:{server.port}") as association,
            dimse.CFindSCU(association).find(dimse.QueryRetrieveLevel(level), identifier) as matches,
        ):
            return {matches.unsupported_keys async for _ in matches}

    assert await statuses("STUDY", StudyInstanceUID="1.1", PatientComments="x") == {0}
    assert await statuses("STUDY", StudyInstanceUID="1.1", ContentDate="") == {0}
    assert await statuses("STUDY", StudyInstanceUID="1.1", ContentDate="20240101") == {1}
    assert await statuses("IMAGE", SOPInstanceUID="1.1.1.1", ContentDate="20240101") == {0}
    assert await statuses("STUDY", ("LO", ""), StudyInstanceUID="1.1") == {0}
    assert await statuses("STUDY", ("LO", "x"), StudyInstanceUID="1.1") == {1}
    assert await statuses("IMAGE", ("LO", "x"), SOPInstanceUID="1.1.1.1") == {0}
    assert await statuses("IMAGE", ("UN", b"x "), SOPInstanceUID="1.1.1.1") == {1}
    item = Dataset()
    item.CodeValue = "1"
    for expected, asked in ((0, [item]), (1, [item, item]), (1, [private(item)])):
        assert await statuses("STUDY", StudyInstanceUID="1.1", ProcedureCodeSequence=asked) == {expected}


def private(dataset: Dataset) -> Dataset:
    """The data set with a private key without its Private Creator."""
    changed = deepcopy(dataset)
    changed.add_new(0x00191001, "LO", "x")
    return changed


@pytest.mark.parametrize(
    "value", ["20240101-20240101", "2024.01.01", "20240101\\2024.01.01", "20240101\\20240101-20240101"]
)
async def test_a_day_that_a_key_names_twice_is_answered_once(archived: Finder, value: str) -> None:
    matches = await found(archived, "STUDY", StudyInstanceUID="", StudyDate=value)
    assert [match.StudyInstanceUID for match in matches] == ["1.1"]


async def test_keys_without_a_column_are_matched_up_to_a_limit(index: Index, tmp_path: Path) -> None:
    put(index, tmp_path, DATA)
    asked = {"StudyInstanceUID": "", "PatientComments": "x"}
    for limit, count in ((3, 0), (2, 1), (0, 3)):
        archived = finder(index, tmp_path, scan_limit=limit)
        assert len(await found(archived, "STUDY", unknown_matches=False, **asked)) == count


@pytest.mark.parametrize("features", [QueryFeatures(), QueryFeatures(relational=True)])
@pytest.mark.parametrize("strictness", list(dimse.Strictness))
async def test_a_strict_node_wants_the_keys_of_the_levels_above(
    archived: Finder, strictness: dimse.Strictness, features: QueryFeatures
) -> None:
    async with (
        serving(archived, strictness) as server,
        dimse.connect(
            f"DIMSE@127.0.0.1:{server.port}",
            contexts=[dimse.ProposedContext(uids.STUDY_ROOT_FIND, uids.LITTLE_ENDIAN, features=features)],
        ) as association,
    ):
        is_refused = strictness is dimse.Strictness.STRICT and not features.relational
        level = dimse.QueryRetrieveLevel.SERIES
        results = dimse.CFindSCU(association).find(level, keys("SERIES", Modality="SR"), raise_failures=False)
        assert len([match async for match in results]) == (0 if is_refused else 1)
        assert results.status == (0xA900 if is_refused else 0)


async def test_an_index_that_cannot_be_read_is_out_of_resources(archived: Finder) -> None:
    async with (
        serving(archived) as server,
        dimse.connect(f"DIMSE@127.0.0.1:{server.port}") as association,
    ):
        with archived.index.writing() as connection:
            for table in ("instance", "name_word", "request", "series", "study"):
                connection.exec_driver_sql(f"DROP TABLE {table}")
        results = dimse.CFindSCU(association).find(dimse.Query.studies(), raise_failures=False)
        assert not [match async for match in results]
        assert results.status == 0xA700


async def test_names_in_all_component_groups(index: Index, tmp_path: Path) -> None:
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    put(index, tmp_path, [member("1.1", "1", 1, PatientName=name, SpecificCharacterSet="ISO_IR 192")])
    for wanted in ("yamada*", "山田*", "やまだ^たろう", "=山田*", "yam*=山*", "*太郎", "Yamada^Tarou", "y*う"):
        assert len(await found(finder(index, tmp_path), "STUDY", PatientName=wanted)) == 1, wanted
    for wanted in ("tarou*", "太郎*", "=yamada*", "yam*=太*"):
        assert not await found(finder(index, tmp_path), "STUDY", PatientName=wanted), wanted


async def test_fuzzy_matching_of_names(archived: Finder) -> None:
    """The words of the key begin words of the name, in any order."""
    for wanted, count in (("jan do", 1), ("DOE^J*", 1), ("roe ric", 1), ("an", 0), ("do ric", 0)):
        asked = keys("PATIENT", PatientName=wanted, PatientID="")
        level, fuzzy = dimse.QueryRetrieveLevel.PATIENT, QueryFeatures(fuzzy_names=True)
        assert len(await search(archived, asked, level, features=fuzzy, limit=10)) == count, wanted


async def test_the_timezone_that_is_asked_for_is_returned(index: Index, tmp_path: Path) -> None:
    """PS3.4 C.4.1.1.3.2: an answer has each attribute of the request; this one is never matched."""
    zones = ("+0100", "")
    put(index, tmp_path, [member(f"1.{n}", "1", 1, TimezoneOffsetFromUTC=zone) for n, zone in enumerate(zones)])
    matches = await found(finder(index, tmp_path), "STUDY", StudyInstanceUID="", TimezoneOffsetFromUTC="-0500")
    assert {match.StudyInstanceUID: match.TimezoneOffsetFromUTC for match in matches} == {"1.0": "+0100", "1.1": ""}


@pytest.mark.parametrize(("zone", "count"), [("+0100", 1), ("-0500", 0), ("", 0)])
async def test_a_moment_is_in_the_timezone_of_the_identifier(
    index: Index, tmp_path: Path, zone: str, count: int
) -> None:
    codes = [Dataset(), Dataset()]
    codes[0].ContextGroupVersion, codes[1].ContextGroupVersion = "20240229060000", "20240101"
    stored = member("1.1", "1", 1, TimezoneOffsetFromUTC="-0500", AcquisitionDateTime="20240229060000")
    stored.ProcedureCodeSequence = codes
    put(index, tmp_path, [stored])
    asked: dict[str, Any] = {"SOPInstanceUID": "", "TimezoneOffsetFromUTC": zone}
    matches = await found(finder(index, tmp_path), "IMAGE", AcquisitionDateTime="202402291200", **asked)
    assert len(matches) == count
    item = Dataset()
    item.ContextGroupVersion = "202402291200"
    matches = await found(finder(index, tmp_path), "IMAGE", ProcedureCodeSequence=[item], **asked)
    assert [each.ContextGroupVersion for match in matches for each in match.ProcedureCodeSequence] == (
        ["20240229060000"] * count
    )


@pytest.mark.parametrize(
    ("wanted", "studies"),
    [("1045-1050", ["1.0"]), ("1030", ["1.0", "1.1"]), ("-095959", []), ("103059.5", ["1.0", "1.1"]), ("11-", [])],
)
async def test_a_time_may_mean_a_whole_hour(index: Index, tmp_path: Path, wanted: str, studies: list[str]) -> None:
    put(index, tmp_path, [member(f"1.{n}", "1", 1, StudyTime=time) for n, time in enumerate(("10", "1030"))])
    matches = await found(finder(index, tmp_path), "STUDY", StudyInstanceUID="", StudyTime=wanted)
    assert sorted(match.StudyInstanceUID for match in matches) == studies
