"""What the index keeps of an instance."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from tests.node.instances import dataset, described, encoded_header, header

from dimse import DatasetError, Matcher, QueryFeatures
from dimse.dataset.codec import decode
from dimse.node.keys import MAX_REQUESTS, MAX_TEXT, MAX_WORD, describe, uid_hash
from dimse.services.matching_rules import name_words, normal_name

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
ALPHABETS = {
    (): "Aa -^",
    ("ISO_IR 100",): "Aaé Ü^",
    ("ISO_IR 144",): "Aa Дж^",
    ("ISO_IR 192",): "Aaé山田ДÅ^ ﬁ",
    ("GB18030",): "Aa 王小^",
    ("", "ISO 2022 IR 87"): "Aa山田^",
    ("", "ISO 2022 IR 149"): "Aa김희^",
}
NAME_COLUMNS = ("name_key", "name_ideographic_key", "name_phonetic_key")


@st.composite
def headers(draw: st.DrawFn) -> Dataset:
    """Headers with texts in a character set, dates, times and numbers, some of them missing."""
    terms = draw(st.sampled_from(list(ALPHABETS)))
    text = st.text(ALPHABETS[terms], min_size=1, max_size=12)
    name = st.lists(text, min_size=1, max_size=3).map("=".join)
    number = st.integers(-(2**31) + 1, 2**31 - 1)
    values: dict[str, st.SearchStrategy[Any]] = {
        "PatientID": text,
        "IssuerOfPatientID": text,
        "AccessionNumber": text,
        "StudyDescription": text,
        "SeriesDescription": text,
        "PatientName": name,
        "ReferringPhysicianName": name,
        "PerformingPhysicianName": name,
        "StudyDate": st.dates().map(lambda each: f"{each.year:04}{each:%m%d}"),
        "StudyTime": st.times().map(lambda each: f"{each:%H%M%S.%f}"),
        "SeriesNumber": number,
        "NumberOfStudyRelatedInstances": number,
        "InstanceNumber": number,
        "NumberOfFrames": number,
        "Rows": st.integers(0, 65535),
        "BitsAllocated": st.integers(1, 64),
        "ProcedureCodeSequence": st.lists(st.fixed_dictionaries({"CodeMeaning": text}), max_size=2),
    }
    made = header(**draw(st.fixed_dictionaries({}, optional=values)))
    if terms:
        made.SpecificCharacterSet = list(terms)
    if "ProcedureCodeSequence" in made and draw(st.booleans()):
        made["ProcedureCodeSequence"].is_undefined_length = True
        for item in made.ProcedureCodeSequence:
            item.is_undefined_length_sequence_item = draw(st.booleans())
    return made


@given(made=headers(), syntax=st.sampled_from(SYNTAXES))
def test_columns_are_what_pydicom_reads(made: Dataset, syntax: str) -> None:
    encoded = encoded_header(made, syntax)
    description = describe(encoded, syntax)
    read = decode(encoded, ExplicitVRLittleEndian if syntax == DeflatedExplicitVRLittleEndian else syntax)

    def text(keyword: str) -> str | None:
        return str(read.get(keyword) or "").strip(" ") or None

    def name(keyword: str) -> str:
        return normal_name(str(read.get(keyword) or ""))

    study, series, own = description.study().columns, description.series().columns, description.instance()
    assert study["patient_id"] == text("PatientID")
    assert study["issuer"] == text("IssuerOfPatientID")
    assert study["accession_number"] == text("AccessionNumber")
    assert study["description"] == text("StudyDescription")
    assert series["description"] == text("SeriesDescription")
    assert [study[each] or "" for each in NAME_COLUMNS] == [*name("PatientName").split("="), "", ""][:3]
    assert study["referring_key"] == (name("ReferringPhysicianName") or None)
    assert series["performing_key"] == (name("PerformingPhysicianName") or None)
    assert study["date"] == (int(read.StudyDate) if "StudyDate" in read else None)
    assert study["time"] == (_milliseconds(read.StudyTime) if "StudyTime" in read else None)
    assert study["announced"] == read.get("NumberOfStudyRelatedInstances")
    assert series["number"] == read.get("SeriesNumber")
    assert own == {
        "number": read.get("InstanceNumber"),
        "frames": read.get("NumberOfFrames"),
        "rows": read.get("Rows"),
        "columns": None,
        "bits": read.get("BitsAllocated"),
    }
    names = (str(read.get(each) or "") for each in ("PatientName", "ReferringPhysicianName"))
    assert description.name_words() == {word[:MAX_WORD] for name in names for word in name_words(name)}


def _milliseconds(time: str) -> int:
    return (int(time[:2]) * 60 + int(time[2:4])) * 60_000 + int(time[4:6]) * 1000 + int(time[7:10])


@given(made=headers(), key=st.sampled_from(["a", "aa", "é", "山", "a^a", "дж"]))
def test_a_name_that_matches_has_a_column_and_words(made: Dataset, key: str) -> None:
    """Names are folded as `Matcher` folds them."""
    description = describe(encoded_header(made), ExplicitVRLittleEndian)
    columns = description.study().columns
    names = [columns[each] for each in NAME_COLUMNS if columns[each]]
    if not names:
        return
    keys = dataset(SpecificCharacterSet="ISO_IR 192", PatientName=key)
    read = decode(encoded_header(made), ExplicitVRLittleEndian)
    assert Matcher(keys).matches(read) == (normal_name(key) in names)
    if Matcher(keys, QueryFeatures(fuzzy_names=True)).matches(read):
        assert all(any(each.startswith(word) for each in description.name_words()) for word in name_words(key))


@pytest.mark.parametrize(
    ("column", "keyword", "value"),
    [
        ("patient_id", "PatientID", "1" * (MAX_TEXT + 1)),
        ("patient_id", "PatientID", "A\\B"),
        ("patient_id", "PatientID", "A\0B"),
        ("date", "StudyDate", "2024-1-1"),
        ("date", "StudyDate", "20240230"),
        ("date", "StudyDate", "2024"),
        ("birth_date", "PatientBirthDate", "19700101-19701231"),
        ("time", "StudyTime", "2500"),
        ("name_key", "PatientName", "A=B=C=D"),
        ("name_key", "PatientName", "A\\B"),
        ("name_key", "PatientName", "A" * (MAX_TEXT + 1)),
    ],
)
def test_what_a_column_cannot_hold_is_null_and_among_the_attributes(column: str, keyword: str, value: str) -> None:
    study = described(**{keyword: value}).study()
    assert study.columns[column] is None
    assert value.encode() in study.attributes


@pytest.mark.parametrize(
    ("column", "keyword", "value", "expected"),
    [
        ("date", "StudyDate", "2024.02.29", 20240229),
        ("date", "StudyDate", " 20240229 ", 20240229),
        ("time", "StudyTime", "10", 36_000_000),
        ("time", "StudyTime", "10:30:01", 37_801_000),
        ("patient_id", "PatientID", " 47 11 ", "47 11"),
        ("patient_id", "PatientID", "A\\", "A"),
        ("patient_id", "PatientID", "", None),
        ("patient_id", "PatientID", " \\ ", None),
        ("name_key", "PatientName", "MÜLLER ^ Jürgen^^^", "muller^jurgen"),
        ("name_key", "PatientName", "^^", None),
        ("name_key", "PatientName", "=山田", None),
        ("name_ideographic_key", "PatientName", "=山田", "山田"),
    ],
)
def test_columns_are_normal_forms(column: str, keyword: str, value: str, expected: object) -> None:
    made = described(**{"SpecificCharacterSet": "ISO_IR 192", keyword: value})
    assert made.study().columns[column] == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"3", 3), (b"3.0 ", 3), (b"99999999999", None), (b"NaN ", None), (b"1\\2 ", None), (b"1e999999999 ", None)],
)
def test_numbers_that_are_no_integers_are_null(value: bytes, expected: int | None) -> None:
    encoded = encoded_header(header()) + b"\x20\x00\x13\x00IS" + len(value).to_bytes(2, "little") + value
    assert describe(encoded, ExplicitVRLittleEndian).instance()["number"] == expected


def test_requests_are_rows_once_each_and_within_a_limit() -> None:
    first = {"AccessionNumber": "A1", "RequestedProcedureID": "R1", "ScheduledProcedureStepID": "S1"}
    rows = described(RequestAttributesSequence=[first, first, {"RequestedProcedureID": "R2"}, {}]).requests()
    assert rows == [
        {"accession_number": "A1", "requested_procedure_id": "R1", "scheduled_step_id": "S1"},
        {"accession_number": None, "requested_procedure_id": "R2", "scheduled_step_id": None},
        {"accession_number": None, "requested_procedure_id": None, "scheduled_step_id": None},
    ]
    many = described(RequestAttributesSequence=[{"RequestedProcedureID": str(each)} for each in range(500)])
    assert len(many.requests()) == MAX_REQUESTS
    assert described().requests() == []


@pytest.mark.parametrize(
    ("elements", "tag"),
    [
        ({"StudyInstanceUID": ""}, "0020,000D"),
        ({"SeriesInstanceUID": "../../etc"}, "0020,000E"),
        ({"StudyInstanceUID": "-rf"}, "0020,000D"),
        ({"SeriesInstanceUID": "-1"}, "0020,000E"),
        ({"SOPInstanceUID": "."}, "0008,0018"),
        ({"StudyInstanceUID": "1." * 33}, "0020,000D"),
    ],
)
def test_a_uid_that_cannot_name_a_file_is_refused(elements: dict[str, str], tag: str) -> None:
    with pytest.raises(DatasetError, match=tag):
        described(**elements)


@given(
    encoded=st.binary(max_size=200),
    cut=st.integers(0, 100),
    syntax=st.sampled_from((ExplicitVRLittleEndian, ImplicitVRLittleEndian)),
)
def test_malformed_elements_are_left_out(encoded: bytes, cut: int, syntax: str) -> None:
    """Whatever follows the UIDs, an instance is described: by what is before the fault."""
    whole = encoded_header(header(PatientID="4711"), syntax)
    sequence = encoded_header(dataset(RequestAttributesSequence=[{"RequestedProcedureID": "R"}]), syntax)
    description = describe(whole + sequence[:cut] + encoded, syntax)
    assert description.study().columns["patient_id"] == "4711"
    description.series()
    description.requests()
    description.name_words()
    description.instance()


def test_the_hash_of_a_uid_never_changes() -> None:
    """It is in the index; and it fits a BIGINT."""
    assert uid_hash("1.2.840.10008.1.1") == -1174645151247305395
    assert all(-(2**63) <= uid_hash(f"1.2.{number}") < 2**63 for number in range(100))
