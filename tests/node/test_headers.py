"""The elements of an encoded data set, found by their headers."""

from __future__ import annotations

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from tests.node.instances import encoded_header, header

from dimse.dataset.encoding import ITEM_TAG, SEQUENCE_END_HEADER, item_header
from dimse.errors import DatasetError
from dimse.node.headers import Header, items
from dimse.services.query_keys import tag_of

PATIENT_ID = tag_of("PatientID")
CODES = tag_of("ProcedureCodeSequence")
UNDEFINED = b"\xff\xff\xff\xff"
ITEM_END_HEADER = b"\xfe\xff\x0d\xe0\0\0\0\0"
CODE = b"\x08\0\0\x01SH\x02\0A1"
IMPLICIT_CODE = b"\x08\0\0\x01\x02\0\0\0A1"


def found(encoded: bytes, syntax: str = ExplicitVRLittleEndian) -> Header:
    """The elements of an encoded data set that has a Patient ID behind it."""
    patient_id = b"\x10\0\x20\0LO\x04\x004711"
    if syntax == ImplicitVRLittleEndian:
        patient_id = b"\x10\0\x20\0\x04\0\0\x004711"
    return Header(encoded + patient_id, syntax)


@pytest.mark.parametrize("vr", [b"SQ", b"UN"])
@pytest.mark.parametrize("code", [CODE, IMPLICIT_CODE])
@pytest.mark.parametrize("item", [item_header(10) + b"%s", ITEM_TAG + UNDEFINED + b"%s" + ITEM_END_HEADER])
def test_sequences_of_undefined_length_are_followed_in_either_form(vr: bytes, code: bytes, item: bytes) -> None:
    """Some devices send items in Implicit VR among elements in Explicit VR; in UN they are so by the standard."""
    sequence = b"\x08\0\x32\x10" + vr + b"\0\0" + UNDEFINED + item % code + item % code + SEQUENCE_END_HEADER
    walked = found(sequence)
    assert walked.value(PATIENT_ID) == b"4711"
    values = [
        walked.data[start:end] for each in items(walked.data, walked.elements[CODES]) for _, start, end in each.values()
    ]
    assert values == [b"A1", b"A1"]


def test_an_element_without_a_vr_among_others_is_followed() -> None:
    assert found(b"\x08\0\x50\0\x02\0\0\0A1", ExplicitVRLittleEndian).value(tag_of("AccessionNumber")) == b"A1"
    mixed = Header(
        encoded_header(header()) + b"\x20\0\x10\0\x02\0\0\0S1\x20\0\x11\0IS\x02\0007 ", ExplicitVRLittleEndian
    )
    assert (mixed.value(tag_of("StudyID")), mixed.value(tag_of("SeriesNumber"))) == (b"S1", b"7 ")


def test_the_data_set_shows_whether_it_has_vrs() -> None:
    assert found(b"\x08\0\x50\0\x02\0\0\0A1", ImplicitVRLittleEndian).value(PATIENT_ID) == b"4711"
    assert Header(encoded_header(header(PatientID="4711")), ImplicitVRLittleEndian).value(PATIENT_ID) == b"4711"


def test_elements_beyond_the_last_tag_are_not_looked_at() -> None:
    encoded = encoded_header(header(PatientID="4711"))
    assert PATIENT_ID in Header(encoded, ExplicitVRLittleEndian, PATIENT_ID).elements
    assert PATIENT_ID not in Header(encoded, ExplicitVRLittleEndian, PATIENT_ID - 1).elements


@pytest.mark.parametrize("item", [item_header(11) + CODE, CODE, ITEM_TAG + b"\x0a\0\0\0"])
def test_items_that_are_none_are_said_to_be(item: bytes) -> None:
    with pytest.raises(DatasetError):
        list(items(item, (b"SQ", 0, len(item))))


def test_many_levels_are_refused_without_recursion_without_end() -> None:
    level = b"\x08\0\x32\x10SQ\0\0" + UNDEFINED + ITEM_TAG + UNDEFINED
    walked = found(b"\x08\0\x50\0SH\x02\0A1" + level * 5000)
    assert list(walked.elements) == [tag_of("AccessionNumber")]
