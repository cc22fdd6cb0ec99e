"""Which instances the identifier of a C-GET names, and which identifiers are refused."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from sqlalchemy import select

from dimse import Association, QueryRetrieveLevel, QueryRetrieveModel, ServerOptions, Status
from dimse.node.index import Index
from dimse.node.retrieve_keys import RetrieveKeys
from dimse.node.schema import instance, series, study
from dimse.options import Strictness
from dimse.upper_layer.extended import QueryFeatures

from .retrievals import MODELS, Raw, getting, raw
from .retrievals import got as _got
from .rows import member, put, serving, uids_of

PATIENT, STUDY, SERIES, IMAGE, FRAME = QueryRetrieveLevel
KEYWORDS = {PATIENT: "PatientID", STUDY: "StudyInstanceUID", SERIES: "SeriesInstanceUID", IMAGE: "SOPInstanceUID"}
Keys = Mapping[str, str | Sequence[str]]

ARCHIVE = [
    member("1.1", "2", 1, PatientID="ADA", IssuerOfPatientID="NORTH"),
    member("1.1", "2", 2, PatientID="ADA", IssuerOfPatientID="NORTH"),
    member("1.1", "1", 3, PatientID="ADA", IssuerOfPatientID="NORTH"),
    member("1.2", "1", 1, PatientID="ADA", IssuerOfPatientID="SOUTH"),
    member("1.3", "1", 1, PatientID="ADA"),
    member("1.4", "1", 1, PatientID="BOB", IssuerOfPatientID="NORTH"),
    member("1.5", "1", 1, PatientID=""),
]


async def got(association: Association, query: Raw) -> tuple[int, list[str]]:
    """The status, and the UIDs in their order."""
    came = await _got(association, query)
    return came.status, came.uids


# The naive filter


def fits(model: QueryRetrieveModel, level: QueryRetrieveLevel, keys: Keys, dataset: Dataset) -> bool:
    """What a person who reads the rules would say."""
    wanted = {keyword: [value] if isinstance(value, str) else list(value) for keyword, value in keys.items()}
    for each in model.levels_to(level):
        values, own = wanted.get(KEYWORDS[each], []), dataset.get(KEYWORDS[each]) or None
        if each is PATIENT and level is not PATIENT and own is None:
            continue
        if values and values != ["*"] and own not in values:
            return False
    if PATIENT in model.levels and keys.get("PatientID", "*") != "*" and "IssuerOfPatientID" in wanted:
        return dataset.get("IssuerOfPatientID") in (None, "", *wanted["IssuerOfPatientID"])
    return True


def expected(model: QueryRetrieveModel, level: QueryRetrieveLevel, keys: Keys) -> list[str]:
    fitting = [dataset for dataset in ARCHIVE if fits(model, level, keys, dataset)]
    order = sorted(fitting, key=lambda each: (each.StudyInstanceUID, each.SeriesNumber, each.InstanceNumber))
    return uids_of(order)


VALUES: Mapping[str, Sequence[str | tuple[str, ...] | None]] = {
    "PatientID": (None, "ADA", "BOB", "NOBODY", "*"),
    "IssuerOfPatientID": (None, "NORTH"),
    "StudyInstanceUID": (None, "1.1", "1.5", ("1.1", "1.3", "1.4")),
    "SeriesInstanceUID": (None, "1.1.2", ("1.1.2", "1.1.1", "1.2.1")),
    "SOPInstanceUID": (None, "1.1.2.2", ("1.1.1.3", "1.2.1.1", "1.1.2.1", "9.9")),
}


def requests() -> Iterator[tuple[QueryRetrieveModel, QueryRetrieveLevel, dict[str, Any]]]:
    """All combinations of keys of each level of each model that name something."""
    for model in MODELS:
        for level in model.levels:
            above = model.levels_to(level)
            if level is FRAME:
                continue
            keywords = [KEYWORDS[each] for each in above]
            keywords += ["IssuerOfPatientID"] if PATIENT in above else []
            for values in itertools.product(*(VALUES[keyword] for keyword in keywords)):
                keys = {keyword: value for keyword, value in zip(keywords, values, strict=True) if value is not None}
                if keys.get(KEYWORDS[level], "*") != "*":
                    yield model, level, keys


async def test_each_level_of_each_model_is_what_a_naive_filter_says(index: Index, tmp_path: Path) -> None:
    put(index, tmp_path, *ARCHIVE)
    cases = 0
    async with serving(index, tmp_path) as server, getting(server.port) as association:
        for model, level, keys in requests():
            wanted = expected(model, level, keys)
            assert await got(association, raw(model, level, **keys)) == (Status.SUCCESS, wanted), (model, level, keys)
            cases += 1
    assert cases > 400


async def test_lists_of_thousands_of_uids(index: Index, tmp_path: Path) -> None:
    put(index, tmp_path, *ARCHIVE)
    absent = [f"2.25.{number}" for number in range(5000)]
    async with serving(index, tmp_path) as server, getting(server.port) as association:
        for level in (STUDY, SERIES, IMAGE):
            uids = {str(dataset.get(KEYWORDS[level])): None for dataset in reversed(ARCHIVE)}
            mixed = [*absent]
            for number, uid in enumerate(uids):
                mixed.insert(700 * number, uid)
            keys = {KEYWORDS[level]: tuple(mixed)}
            wanted = expected(QueryRetrieveModel.STUDY_ROOT, level, keys)
            assert len(wanted) == len(ARCHIVE)
            assert await got(association, raw(QueryRetrieveModel.STUDY_ROOT, level, **keys)) == (0, wanted)


async def test_lists_of_patients_and_long_lists_above_the_level(index: Index, tmp_path: Path) -> None:
    """Of two lists, each part of one would be looked up with each part of the other."""
    put(index, tmp_path, *ARCHIVE)
    many = tuple(f"2.25.{number}" for number in range(5000))
    features = QueryFeatures(relational=True)
    async with serving(index, tmp_path) as server, getting(server.port, features) as association:
        patients = raw(QueryRetrieveModel.PATIENT_ROOT, PATIENT, PatientID=(*map(str, range(5000)), "BOB"))
        assert await got(association, patients) == (Status.SUCCESS, ["1.4.1.1"])
        query = raw(QueryRetrieveModel.STUDY_ROOT, IMAGE, StudyInstanceUID=many, SOPInstanceUID="1.4.1.1")
        came = await _got(association, query)
        assert (came.status, came.uids) == (Status.DATASET_DOES_NOT_MATCH, [])


@pytest.mark.parametrize(
    ("model", "level", "keys"),
    [
        (QueryRetrieveModel.PATIENT_ROOT, PATIENT, {"PatientID": ""}),
        (QueryRetrieveModel.PATIENT_ROOT, PATIENT, {"PatientID": "*"}),
        (QueryRetrieveModel.PATIENT_ROOT, STUDY, {"PatientID": "ADA"}),
        (QueryRetrieveModel.STUDY_ROOT, STUDY, {}),
        (QueryRetrieveModel.STUDY_ROOT, STUDY, {"AccessionNumber": "1"}),
        (QueryRetrieveModel.STUDY_ROOT, SERIES, {"StudyInstanceUID": "1.1"}),
        (QueryRetrieveModel.STUDY_ROOT, IMAGE, {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.2"}),
        (QueryRetrieveModel.COMPOSITE_INSTANCE_ROOT, IMAGE, {"SOPInstanceUID": ""}),
        (QueryRetrieveModel.COMPOSITE_INSTANCE_ROOT, FRAME, {"SOPInstanceUID": "1.1.2.1", "SimpleFrameList": 1}),
    ],
)
async def test_a_request_that_names_nothing_is_refused(
    sqlite_index: Index, tmp_path: Path, model: QueryRetrieveModel, level: QueryRetrieveLevel, keys: dict[str, Any]
) -> None:
    put(sqlite_index, tmp_path, *ARCHIVE)
    async with serving(sqlite_index, tmp_path) as server, getting(server.port) as association:
        assert await got(association, raw(model, level, **keys)) == (Status.DATASET_DOES_NOT_MATCH, [])
        query = raw(QueryRetrieveModel.STUDY_ROOT, STUDY, StudyInstanceUID="1.3")
        assert await got(association, query) == (Status.SUCCESS, ["1.3.1.1"])


async def test_a_missing_key_above_is_said_once(
    sqlite_index: Index, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(sqlite_index, tmp_path, *ARCHIVE)
    query = raw(QueryRetrieveModel.STUDY_ROOT, SERIES, SeriesInstanceUID="1.1.2")
    async with serving(sqlite_index, tmp_path) as server, getting(server.port) as association:
        for _ in range(2):
            assert await got(association, query) == (Status.SUCCESS, ["1.1.2.1", "1.1.2.2"])
    assert caplog.text.count("C-GET-RQ: StudyInstanceUID has no value, above the SERIES level") == 1


@pytest.mark.parametrize("keys", [{}, {"StudyInstanceUID": ("1.1", "1.2")}])
async def test_a_strict_association_needs_one_key_of_each_level_above(
    sqlite_index: Index, tmp_path: Path, keys: dict[str, Any]
) -> None:
    put(sqlite_index, tmp_path, *ARCHIVE)
    query = raw(QueryRetrieveModel.STUDY_ROOT, SERIES, SeriesInstanceUID="1.1.2", **keys)
    options = ServerOptions(strictness=Strictness.STRICT)
    async with serving(sqlite_index, tmp_path, options) as server:
        async with getting(server.port) as association:
            assert await got(association, query) == (Status.DATASET_DOES_NOT_MATCH, [])
        async with getting(server.port, QueryFeatures(relational=True)) as association:
            assert await got(association, query) == (Status.SUCCESS, ["1.1.2.1", "1.1.2.2"])


async def test_values_have_padding_and_come_twice(sqlite_index: Index, tmp_path: Path) -> None:
    put(sqlite_index, tmp_path, *ARCHIVE)
    async with serving(sqlite_index, tmp_path) as server, getting(server.port) as association:
        query = raw(QueryRetrieveModel.PATIENT_ROOT, PATIENT, PatientID=" BOB ")
        assert await got(association, query) == (Status.SUCCESS, ["1.4.1.1"])
        query = raw(QueryRetrieveModel.STUDY_ROOT, IMAGE, SOPInstanceUID=("1.4.1.1", "1.4.1.1"))
        assert await got(association, query) == (Status.SUCCESS, ["1.4.1.1"])


KEYS = {
    "patient": RetrieveKeys(PATIENT, patient_ids=["A"], issuers=["X"]),
    "study": RetrieveKeys(STUDY, study_uids=["1.1", "1.2"]),
    "study of a patient": RetrieveKeys(STUDY, patient_ids=["A"], study_uids=["1.1", "1.2"]),
    "series": RetrieveKeys(SERIES, series_uids=["1.1", "1.2"]),
    "series of a study": RetrieveKeys(SERIES, study_uids=["1.1"], series_uids=["1.1.1", "1.1.2"]),
    "instances": RetrieveKeys(IMAGE, uids=["1.1", "1.2"]),
    "instances of a series": RetrieveKeys(IMAGE, study_uids=["1"], series_uids=["1.1"], uids=["1.1.1", "1.1.2"]),
}


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_no_table_is_read_through(sqlite_index: Index, keys: RetrieveKeys) -> None:
    (conditions,) = keys.conditions(unknown_matches=True)
    statement = select(instance.c.id).select_from(study.join(series).join(instance)).where(*conditions)
    compiled = statement.compile(sqlite_index.engine, compile_kwargs={"literal_binds": True})
    with sqlite_index.reading() as connection:
        plan = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")]
    assert len(plan) >= 3
    assert not [line for line in plan if line.startswith("SCAN")]
