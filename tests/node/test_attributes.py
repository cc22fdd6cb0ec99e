"""The attributes of a study or series as the index keeps them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from tests.node.instances import encoded_header, header
from tests.node.test_keys import SYNTAXES, headers

from dimse.dataset.codec import decode
from dimse.node.attributes import (
    MAX_SEQUENCE,
    MAX_VALUE,
    encode,
    is_of_series,
    is_of_study,
    of_series,
    of_study,
    parse,
)
from dimse.node.headers import Header
from dimse.services.query_keys import tag_of

UTF_8 = b"\x08\0\x05\0CS\x0a\0ISO_IR 192"


def kept(made: Dataset, syntax: str = ExplicitVRLittleEndian) -> tuple[Dataset, Dataset]:
    """What is kept of study and series, read by pydicom."""
    encoded = Header(encoded_header(made, syntax), syntax)
    study, series = (decode(UTF_8 + each, ExplicitVRLittleEndian) for each in (of_study(encoded), of_series(encoded)))
    return study, series


@given(made=headers(), syntax=st.sampled_from(SYNTAXES))
def test_all_attributes_of_study_and_series_are_kept(made: Dataset, syntax: str) -> None:
    read = decode(encoded_header(made, syntax), syntax if syntax in SYNTAXES[:3] else ExplicitVRLittleEndian)
    study, series = kept(made, syntax)
    for belongs, found in ((is_of_study, study), (is_of_series, series)):
        del found.SpecificCharacterSet
        expected = {element.tag: element for element in read if belongs(element.tag)}
        assert {element.tag: element for element in found} == expected


@given(made=headers())
def test_what_is_parsed_is_encoded_to_the_same_bytes(made: Dataset) -> None:
    attributes = of_study(Header(encoded_header(made), ExplicitVRLittleEndian))
    assert encode(parse(attributes)) == attributes


def test_each_attribute_belongs_to_one_level_at_most() -> None:
    tags = [
        group << 16 | number
        for group in (0x8, 0x10, 0x12, 0x18, 0x20, 0x28, 0x32, 0x38, 0x40)
        for number in range(0x10000)
    ]
    assert not [tag for tag in tags if is_of_study(tag) and is_of_series(tag)]
    assert all(map(is_of_study, map(tag_of, ("PatientName", "StudyDate", "ClinicalTrialSubjectID", "AdmissionID"))))
    assert all(
        map(is_of_series, map(tag_of, ("Modality", "StationName", "ClinicalTrialSeriesID", "FrameOfReferenceUID")))
    )
    assert not any(
        is_of_study(tag) or is_of_series(tag)
        for tag in (tag_of("Rows"), tag_of("SOPInstanceUID"), 0x00110010, 0x00100000)
    )


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_what_is_too_long_is_left_out(syntax: str) -> None:
    item = {"CodeValue": "1", "LongCodeValue": "x" * 1000}
    made = header(
        PatientComments="x" * (MAX_VALUE + 1),
        AdditionalPatientHistory="y" * MAX_VALUE,
        ProcedureCodeSequence=[item] * (MAX_SEQUENCE // 1000 - 1),
        AdmittingDiagnosesCodeSequence=[item] * (MAX_SEQUENCE // 1000 + 1),
        ReasonForPerformedProcedureCodeSequence=[{"CodeValue": "1", "LongCodeValue": "x" * (MAX_VALUE + 1)}],
    )
    study, _ = kept(made, syntax)
    assert "PatientComments" not in study
    assert study.AdditionalPatientHistory == "y" * MAX_VALUE
    assert len(study.ProcedureCodeSequence) == MAX_SEQUENCE // 1000 - 1
    assert "AdmittingDiagnosesCodeSequence" not in study
    assert [element.keyword for element in study.ReasonForPerformedProcedureCodeSequence[0]] == ["CodeValue"]


def test_an_item_with_its_own_character_set_is_in_utf_8() -> None:
    item = {"SpecificCharacterSet": "ISO_IR 100", "CodeMeaning": "Schädel"}
    made = header(SpecificCharacterSet="ISO_IR 144", PatientName="Дж", ProcedureCodeSequence=[item])
    study, _ = kept(made)
    assert study.PatientName == "Дж"
    assert study.ProcedureCodeSequence[0].CodeMeaning == "Schädel"
    assert "SpecificCharacterSet" not in study.ProcedureCodeSequence[0]
