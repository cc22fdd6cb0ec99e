"""The query: what it takes, what it refuses and why, and the identifiers that it becomes."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pytest
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dimse.dataset.codec import decode, encode
from dimse.services.query import Query, raw_identifier
from dimse.services.query_models import LEVELS, QueryRetrieveLevel, QueryRetrieveModel
from dimse.upper_layer.extended import QueryFeatures

PATIENT, STUDY, SERIES, IMAGE = LEVELS
PATIENT_ROOT, STUDY_ROOT = QueryRetrieveModel.PATIENT_ROOT, QueryRetrieveModel.STUDY_ROOT
IN_STUDY: dict[str, Any] = {"StudyInstanceUID": "1.2"}
IN_SERIES = {**IN_STUDY, "SeriesInstanceUID": "1.3"}
OF_PATIENT: dict[str, Any] = {"model": PATIENT_ROOT, "PatientID": "1"}
SYNTAXES = (str(ImplicitVRLittleEndian), str(ExplicitVRLittleEndian))


def over_the_wire(identifier: Dataset) -> list[Dataset]:
    """What the archive decodes, in each of two syntaxes."""
    return [decode(encode(identifier, syntax), syntax) for syntax in SYNTAXES]


def wire_values(query: Query) -> dict[str, str]:
    """The keys that have a value, as it is written, without padding."""
    (identifier, _) = over_the_wire(query.find_identifier())
    raw = {tag: identifier.get_item(tag).value for tag in list(identifier.keys())}
    texts = {keyword_for_tag(tag): value.decode().rstrip(" \0") for tag, value in raw.items() if value}
    del texts["QueryRetrieveLevel"]
    return texts


# Levels, models, identity


@pytest.mark.parametrize(
    ("make", "level"),
    [(Query.patients, PATIENT), (Query.studies, STUDY), (Query.series, SERIES), (Query.instances, IMAGE)],
)
def test_the_level_and_the_model(make: Callable[..., Query], level: QueryRetrieveLevel) -> None:
    query = make()
    assert (query.level, query.model) == (level, PATIENT_ROOT if level == PATIENT else STUDY_ROOT)
    assert query == Query.of(level, {})
    assert make(model=PATIENT_ROOT).model is PATIENT_ROOT


def test_there_are_no_patients_in_the_study_root_model() -> None:
    with pytest.raises(ValueError, match=r"no PATIENT level.*use the Patient Root"):
        Query.patients(model=STUDY_ROOT)


def test_it_is_immutable_and_a_value() -> None:
    query = Query.studies(PatientID="1")
    other = query.patient_name("A*")
    assert query == Query.studies(PatientID="1") != other
    assert other == Query.studies(PatientName="A*", PatientID="1")
    assert len({query, Query.studies(PatientID="1"), other, Query.studies(PatientID="1", model=PATIENT_ROOT)}) == 3
    assert pickle.loads(pickle.dumps(other)) == other  # noqa: S301 our own
    with pytest.raises(AttributeError):
        query.level = SERIES  # type: ignore[misc]


def test_its_repr_has_no_values() -> None:
    query = Query.studies(PatientName="SECRET*", ProcedureCodeSequence={"CodeValue": "SECRET"})
    query = query.returning("StudyDescription", "0018,0061")
    assert repr(query) == (
        "<Query STUDY_ROOT STUDY: StudyDescription, ProcedureCodeSequence.CodeValue=..., PatientName=..., (0018,0061)>"
    )
    assert repr(Query.patients()) == "<Query PATIENT_ROOT PATIENT>"


# The identifier of C-FIND

OF_STUDY = "StudyDate StudyTime AccessionNumber StudyInstanceUID StudyID"
OF_SERIES = "Modality SeriesNumber SeriesInstanceUID"
OF_INSTANCE = "SOPInstanceUID InstanceNumber"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query.patients(), "PatientName PatientID"),
        (Query.studies(), f"PatientName PatientID {OF_STUDY}"),
        (Query.studies(**OF_PATIENT), f"PatientID {OF_STUDY}"),
        (Query.series(**IN_STUDY), f"StudyInstanceUID {OF_SERIES}"),
        (Query.series(**OF_PATIENT, **IN_STUDY), f"PatientID StudyInstanceUID {OF_SERIES}"),
        (Query.instances(**IN_SERIES), f"StudyInstanceUID SeriesInstanceUID {OF_INSTANCE}"),
        (Query.instances(**OF_PATIENT, **IN_SERIES), f"PatientID StudyInstanceUID SeriesInstanceUID {OF_INSTANCE}"),
    ],
    ids=repr,
)
def test_it_asks_for_the_required_keys(query: Query, expected: str) -> None:
    for identifier in over_the_wire(query.find_identifier()):
        assert {element.keyword for element in identifier} == {"QueryRetrieveLevel", *expected.split()}
        assert identifier.QueryRetrieveLevel == query.level


@pytest.mark.parametrize(
    ("query", "missing"),
    [
        (Query.series(), "StudyInstanceUID"),
        (Query.series(StudyInstanceUID=None), "StudyInstanceUID"),
        (Query.series(StudyInstanceUID=["1.2", "1.3"]), "StudyInstanceUID"),
        (Query.instances(StudyInstanceUID="1.2"), "SeriesInstanceUID"),
        (Query.instances(SeriesInstanceUID="1.2"), "StudyInstanceUID"),
        (Query.studies(model=PATIENT_ROOT), "PatientID"),
        (Query.studies(model=PATIENT_ROOT, PatientID="1*"), "PatientID"),
        (Query.studies(model=PATIENT_ROOT, PatientID="1?"), "PatientID"),
        (Query.series(model=PATIENT_ROOT, StudyInstanceUID="1.2"), "PatientID"),
    ],
    ids=repr,
)
def test_the_unique_keys_above_must_have_one_value(query: Query, missing: str) -> None:
    with pytest.raises(ValueError, match=rf"query at {query.level} level needs one {missing} \(PS3.4 C.4.1.2.1\)"):
        query.find_identifier()
    with pytest.raises(ValueError, match=f"needs one {missing}"):
        query.retrieve_identifier()


def test_every_method_sets_its_key() -> None:
    study = Query.studies().patient_name("A^B").patient_id("17").study_date("20240102").modality("CT", "MR")
    study = study.accession_number("A1").study_instance_uid("1.2", "1.3").where(PatientSex="F")
    several = {"StudyInstanceUID": "1.2\\1.3", "ModalitiesInStudy": "CT\\MR"}
    values = {"PatientName": "A^B", "PatientID": "17", "StudyDate": "20240102", "AccessionNumber": "A1"}
    assert wire_values(study) == {**values, **several, "PatientSex": "F"}
    series = Query.series().study_instance_uid("1.2").series_instance_uid("1.3", "1.4").modality("CT")
    assert wire_values(series) == {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3\\1.4", "Modality": "CT"}
    instances = Query.instances().study_instance_uid("1.2").series_instance_uid("1.3").sop_instance_uid("1.4", "1.5")
    assert wire_values(instances)["SOPInstanceUID"] == "1.4\\1.5"
    with pytest.raises(ValueError, match=r"Modality is a key of the SERIES level.*but this is an IMAGE level query"):
        instances.modality("CT").find_identifier()


@pytest.mark.parametrize(
    ("range_of", "expected"),
    [
        (lambda query: query.study_date(date(2024, 1, 2)), "20240102"),
        (lambda query: query.study_date(date(2024, 1, 2), date(2024, 3, 4)), "20240102-20240304"),
        (lambda query: query.study_date("20240102", "20240102"), "20240102-20240102"),
        (lambda query: query.study_date(date(2024, 1, 2), None), "20240102-"),
        (lambda query: query.study_date(None, datetime(2024, 3, 4, 23)), "-20240304"),  # noqa: DTZ001
        (lambda query: query.study_date(None), ""),
    ],
)
def test_study_date(range_of: Callable[[Query], Query], expected: str) -> None:
    assert wire_values(range_of(Query.studies())).get("StudyDate", "") == expected


def test_a_key_that_is_set_again_is_replaced() -> None:
    query = Query.studies(PatientID="1")
    assert query.patient_id("2") == Query.studies(PatientID="2")
    assert query.where(PatientID=None) == Query.studies(PatientID=None) != Query.studies()


def test_returning_keeps_the_values_there_are() -> None:
    query = Query.studies(PatientID="1", ProcedureCodeSequence={"CodeValue": "X"})
    assert query.returning("PatientID", "ProcedureCodeSequence", "0010,0020") == query
    assert query.returning("PatientSex", "PatientAge") == query.where(PatientSex="", PatientAge=None)


# Names of keys


@pytest.mark.parametrize("key", ["AffectedSOPClassUID", "0002,0010", "TransferSyntaxUID", "FFFE,E000"])
def test_groups_that_are_not_in_an_identifier(key: str) -> None:
    with pytest.raises(ValueError, match=r"must not be in an identifier.*leave it out"):
        Query.of(STUDY, {key: None})


@pytest.mark.parametrize("key", ["QueryRetrieveLevel", "SpecificCharacterSet", "ProcedureCodeSequence.0008,0005"])
def test_what_the_library_sets(key: str) -> None:
    with pytest.raises(ValueError, match=r"(QueryRetrieveLevel|SpecificCharacterSet) is derived from.*leave it out"):
        Query.of(STUDY, {key: "X"})


@pytest.mark.parametrize(
    ("level", "of", "keys"),
    [
        (PATIENT, STUDY, "StudyDate StudyInstanceUID ModalitiesInStudy PatientAge"),
        (STUDY, SERIES, "SeriesDescription SeriesInstanceUID Modality"),
        (STUDY, IMAGE, "SOPClassUID SOPInstanceUID"),
        (SERIES, IMAGE, "SOPInstanceUID InstanceNumber"),
    ],
)
def test_the_keys_of_a_lower_level(level: QueryRetrieveLevel, of: QueryRetrieveLevel, keys: str) -> None:
    for key in keys.split():
        with pytest.raises(ValueError, match=rf"{key} is a key of the {of} level.*: query the {of} level"):
            Query.of(level, {key: None})


def test_a_key_of_series_hints_at_the_one_of_studies() -> None:
    with pytest.raises(ValueError, match=r"Modality is a key of the SERIES level.*, or use ModalitiesInStudy"):
        Query.studies(Modality="CT")


@pytest.mark.parametrize(
    ("level", "of", "keys"),
    [(SERIES, STUDY, "StudyDate PatientName PatientID"), (IMAGE, SERIES, "Modality SeriesNumber")],
)
def test_a_c_find_has_no_keys_of_a_higher_level(level: QueryRetrieveLevel, of: QueryRetrieveLevel, keys: str) -> None:
    for key in keys.split():
        query = Query.of(level, {**IN_SERIES, key: None})
        with pytest.raises(ValueError, match=rf"{key} is a key of the {of} level.*dimse.find asks level by level"):
            query.find_identifier()
        assert key in query.negotiating(relational=True).find_identifier()


@pytest.mark.parametrize(
    ("query", "level", "above"),
    [
        (Query.series(), STUDY, {}),
        (Query.series(**IN_STUDY, Modality="CT"), SERIES, IN_STUDY),
        (Query.series(**IN_STUDY, PatientName="A"), STUDY, {}),
        (Query.series(StudyInstanceUID=["1.2", "1.3"]), STUDY, {}),
        (Query.instances(**IN_SERIES), IMAGE, IN_SERIES),
        (Query.instances(**IN_STUDY), SERIES, IN_STUDY),
        (Query.instances(SeriesInstanceUID="1.3"), STUDY, {}),
        (Query.studies(model=PATIENT_ROOT, PatientName="A"), PATIENT, {}),
        (Query.studies(**OF_PATIENT), STUDY, {"PatientID": "1"}),
    ],
    ids=repr,
)
def test_the_steps_of_a_query(query: Query, level: QueryRetrieveLevel, above: dict[str, str]) -> None:
    assert query.first_step() == (level, above)
    for step in query.model.levels:
        query.step(step, {each.unique_key: "1" for each in query.model.levels_to(step)[:-1]}).find_identifier()


def test_a_step_has_the_keys_of_its_level() -> None:
    query = Query.series(PatientName="A", Modality="CT", StationName="X")
    assert query.step(STUDY, {}) == Query.studies(PatientName="A")
    assert query.step(SERIES, {"StudyInstanceUID": "1.2"}) == Query.series(**IN_STUDY, Modality="CT", StationName="X")
    assert query.step(IMAGE, IN_SERIES) == Query.instances(**IN_SERIES)


def test_the_keys_of_the_patient_in_the_patient_root_model() -> None:
    with pytest.raises(ValueError, match="PatientName is a key of the PATIENT level"):
        Query.studies(**OF_PATIENT, PatientName="A").find_identifier()
    assert Query.patients(PatientBirthDate=None).find_identifier()
    assert Query.instances(**OF_PATIENT, **IN_SERIES)


@pytest.mark.parametrize("level", QueryRetrieveLevel)
def test_all_other_attributes_are_taken_at_any_level(level: QueryRetrieveLevel) -> None:
    assert Query.of(level, {"StationName": "CT1", "InstanceAvailability": None, "TimezoneOffsetFromUTC": ""})


# Sequences


def test_a_sequence_that_is_set_again_is_replaced() -> None:
    query = Query.studies(ProcedureCodeSequence={"CodeValue": "X", "CodeMeaning": "Y"})
    changed = query.where(ProcedureCodeSequence={"CodeValue": "Z"})
    assert changed == Query.studies(ProcedureCodeSequence={"CodeValue": "Z"})
    assert query.where(ProcedureCodeSequence=None) == Query.studies(ProcedureCodeSequence="")
    returned = Query.studies(ProcedureCodeSequence=None)
    assert returned.where(**{"ProcedureCodeSequence.CodeValue": "Z"}) == changed


# Text of the command line


def test_keys_in_text() -> None:
    keys = ["PatientName=Smith*=X", "StudyDate=20200101-20201231", "ModalitiesInStudy=CT\\MR", "StudyDescription"]
    query = Query.parse(STUDY, [*keys, "ProcedureCodeSequence.CodeValue=Y", " 0010,0040 ="])
    expected = Query.studies(PatientName="Smith*=X", StudyDate=(date(2020, 1, 1), date(2020, 12, 31)))
    expected = expected.modality("CT", "MR").where(ProcedureCodeSequence={"CodeValue": "Y"})
    assert query == expected.returning("StudyDescription", "PatientSex")
    assert Query.parse(STUDY, [], PATIENT_ROOT) == Query.studies(model=PATIENT_ROOT)
    assert Query.parse(STUDY, ["StudyTime=08:00-12:30:00"]) == Query.studies(StudyTime="0800-123000")


# Values


def test_nothing_warns_of_values() -> None:
    query = Query.studies(PatientName="*", StudyDate="-20240101", ModalitiesInStudy="C?", PatientID="x" * 100)
    query = query.where(PatientSize="1.000000000000000000000", StudyTime="10-12")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        encode(query.find_identifier(), SYNTAXES[1])
    assert caught == []


# Character sets


# The identifier of C-MOVE and C-GET


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query.patients(PatientID="Ä1"), {"SpecificCharacterSet": "ISO_IR 100", "PatientID": "Ä1"}),
        (Query.studies(StudyInstanceUID="1.2", PatientName=None), {"StudyInstanceUID": "1.2"}),
        (Query.studies(StudyInstanceUID=["1.2", "1.3"]), {"StudyInstanceUID": ["1.2", "1.3"]}),
        (Query.series(**OF_PATIENT, **IN_SERIES), {"PatientID": "1", **IN_SERIES}),
        (Query.series(**IN_STUDY, SeriesInstanceUID="1.3\\1.4"), {**IN_STUDY, "SeriesInstanceUID": ["1.3", "1.4"]}),
        (Query.instances(**IN_SERIES, SOPInstanceUID="1.4", Rows=""), {**IN_SERIES, "SOPInstanceUID": "1.4"}),
    ],
    ids=repr,
)
def test_only_the_unique_keys_are_retrieved_by(query: Query, expected: dict[str, object]) -> None:
    for identifier in over_the_wire(query.retrieve_identifier()):
        values = {element.keyword: element.value for element in identifier}
        assert values == {"QueryRetrieveLevel": query.level, **expected}


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (
            Query.studies(StudyInstanceUID="1.2", PatientName="SECRET"),
            "^PatientName: C-MOVE and C-GET allow only unique",
        ),
        (Query.studies(StudyInstanceUID="1.2", PatientID="SECRET"), "PatientID: .*find first, then.*StudyInstanceUID"),
        (Query.studies(ProcedureCodeSequence={"CodeValue": "SECRET"}), "^ProcedureCodeSequence.CodeValue: "),
        (Query.studies(), "needs one StudyInstanceUID"),
        (Query.studies(StudyInstanceUID=None), "needs one StudyInstanceUID"),
        (Query.series(StudyInstanceUID="1.2"), "needs one SeriesInstanceUID"),
        (Query.patients(), "needs one PatientID"),
        (Query.patients(PatientID="1*"), "needs one PatientID"),
        (Query.patients(PatientID=["1", "2"]), "needs one PatientID"),
    ],
    ids=repr,
)
def test_what_cannot_be_retrieved_by(query: Query, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        query.retrieve_identifier()
    assert "SECRET" not in str(caught.value)


# The raw form


def test_a_raw_identifier_is_a_copy() -> None:
    dataset = Dataset()
    dataset.PatientName = "Müller"
    dataset.add_new(0x00090010, "LO", "PRIVATE")
    item = Dataset()
    item.CodeMeaning = "x"
    dataset.ProcedureCodeSequence = [item]
    before = dataset.to_json()
    identifier = raw_identifier(SERIES, dataset)
    assert dataset.to_json() == before
    for received in over_the_wire(identifier):
        assert received.QueryRetrieveLevel == "SERIES"
        assert received.SpecificCharacterSet == "ISO_IR 100"
        assert received.PatientName == "Müller"
        assert received[0x00090010].value in ("PRIVATE", b"PRIVATE ")


def test_a_raw_identifier_keeps_the_character_set_there_is() -> None:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 144"
    dataset.PatientName = "Иванов^Иван"
    for identifier in over_the_wire(raw_identifier(STUDY, dataset)):
        assert identifier.SpecificCharacterSet == "ISO_IR 144"
        assert identifier.PatientName == "Иванов^Иван"


def test_a_raw_identifier_in_ascii_has_no_character_set() -> None:
    assert list(raw_identifier(STUDY, Dataset()).keys()) == [0x00080052]


def test_what_a_query_negotiates() -> None:
    """What the caller asks for, and what the values of the keys need; each method keeps it."""
    query = Query.studies().negotiating(relational=True).negotiating(fuzzy_names=True, timezone=False)
    assert query.features.names == ("relational", "fuzzy_names")
    assert query.where(PatientName="Meier").returning("StudyDate").features == query.features
    assert Query.studies().features == QueryFeatures()
    assert Query.studies().modality("CT", "MR").features.names == ("multiple_values",)
    assert Query.studies().study_instance_uid("1.2", "1.3").features == QueryFeatures()  # a list of UIDs
    assert Query.studies(StudyDescription='""').features.names == ("empty_values",)
    with pytest.raises(TypeError, match="fuzzy"):
        Query.studies().negotiating(fuzzy=True)


def test_a_relational_query_needs_no_unique_keys_above_its_level() -> None:
    query = Query.instances(PatientID="4711", Modality="CT", SOPInstanceUID="1.2").negotiating(relational=True)
    identifier = query.find_identifier()
    assert (identifier.PatientID, identifier.Modality, identifier.StudyInstanceUID) == ("4711", "CT", None)
    assert identifier.QueryRetrieveLevel == "IMAGE"


def test_a_relational_retrieval_needs_no_unique_keys_above_its_level() -> None:
    query = Query.instances(SOPInstanceUID=["1.2", "1.3"])
    with pytest.raises(ValueError, match=r"needs one StudyInstanceUID .*, or add .negotiating\(relational=True\)"):
        query.retrieve_identifier()
    identifier = query.negotiating(relational=True).retrieve_identifier()
    assert {element.keyword for element in identifier} == {"QueryRetrieveLevel", "SOPInstanceUID"}
    with pytest.raises(ValueError, match=r"needs one SOPInstanceUID .* wild cards$"):
        Query.instances(StudyInstanceUID="1.2").negotiating(relational=True).retrieve_identifier()


def test_the_view_of_a_retrieval_is_negotiated() -> None:
    query = Query.studies(StudyInstanceUID="1.2", QueryRetrieveView="ENHANCED")
    with pytest.raises(ValueError, match="QueryRetrieveView: C-MOVE and C-GET allow only unique keys"):
        query.retrieve_identifier()
    assert query.negotiating(enhanced_multiframe=True).retrieve_identifier().QueryRetrieveView == "ENHANCED"
