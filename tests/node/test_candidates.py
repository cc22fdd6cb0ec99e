"""Elements of rows: their values, and whether keys match them."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from pydicom import Dataset

from dimse import QueryFeatures, uids
from dimse.dataset.codec import encode
from dimse.node.attributes import parse
from dimse.node.candidates import Element, items, match, pick, text, values
from dimse.services.matching import Keys


def elements(**given: Any) -> dict[int, Element]:
    return parse(encode(dataset(**given), uids.EXPLICIT_VR_LITTLE_ENDIAN))


def dataset(**given: Any) -> Dataset:
    made = Dataset()
    for keyword, value in given.items():
        setattr(made, keyword, value)
    return made


def matches(keys: Dataset, found: dict[int, Element], *, combined: bool = False, unknown: bool = True) -> bool:
    made = Keys(keys, (), 0, QueryFeatures(combined_date_time=combined), unknown_matches=unknown).add(keys)
    return match(made, found)


def test_only_wanted_elements_are_picked() -> None:
    encoded = encode(dataset(PatientID="1", PatientComments="c", StudyID="2"), uids.EXPLICIT_VR_LITTLE_ENDIAN)
    assert pick(encoded, {0x00100020, 0x00200010, 0x00104000}, 0x00104000) == {
        0x00100020: ("LO", b"1 "),
        0x00104000: ("LT", b"c "),
    }


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        (None, []),
        (("LO", b"  a \\b "), ["a", "b"]),
        (("LT", b"  a\\b "), ["  a\\b"]),
        (("PN", "山田^太郎".encode()), ["山田^太郎"]),
        (("US", struct.pack("<2H", 1, 2)), [1, 2]),
        (("SS", struct.pack("<h", -1)), [-1]),
        (("FD", struct.pack("<d", 0.5)), [0.5]),
        (("AT", struct.pack("<2H", 0x10, 0x20)), [0x00100020]),
        (("US", b"\1"), []),
        (("AT", b"\1\0"), []),
        (("OB", b"\1\2"), [b"\1\2"]),
        (("OB", b""), []),
    ],
)
def test_values(element: Element | None, expected: list[Any]) -> None:
    assert values(element) == expected


def test_an_offset_from_utc_is_that_of_the_data_set() -> None:
    keys = dataset(AcquisitionDateTime="20240101100000+0000")
    assert matches(keys, elements(AcquisitionDateTime="20240101120000", TimezoneOffsetFromUTC="+0200"))
    assert not matches(keys, elements(AcquisitionDateTime="20240101120000"))


def test_a_date_and_its_time_together() -> None:
    keys = dataset(StudyDate="20240101-20240102", StudyTime="1200-1300")
    evening = elements(StudyDate="20240101", StudyTime="2200")
    assert matches(keys, evening, combined=True)
    assert not matches(keys, evening)
    assert matches(keys, {}, combined=True)
    assert not matches(keys, {}, combined=True, unknown=False)


def test_items() -> None:
    found = elements(ProcedureCodeSequence=[dataset(CodeValue="1"), dataset(CodeValue="2", CodeMeaning="x")])
    assert [text(item, 0x00080100) for item in items(found, 0x00081032)] == ["1", "2"]
    assert matches(dataset(ProcedureCodeSequence=[dataset(CodeValue="2", CodeMeaning="x")]), found)
    assert not matches(dataset(ProcedureCodeSequence=[dataset(CodeValue="3")]), found)
    assert matches(dataset(ProcedureCodeSequence=[dataset(CodeValue="3")]), {})
    assert not matches(dataset(ProcedureCodeSequence=[dataset(CodeValue="3")]), {}, unknown=False)
    assert matches(dataset(ProcedureCodeSequence=[dataset(CodeValue=None)]), {}, unknown=False)
