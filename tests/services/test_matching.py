"""C-FIND matching: PS3.4 C.2.2, clause by clause, and the responses."""

from __future__ import annotations

import struct
from datetime import datetime, timedelta
from functools import partial
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import DataElement, Dataset, dcmread
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from dimse import DatasetError, Matcher, Query, QueryFeatures
from dimse.dataset.codec import decode, encode
from dimse.services.query_models import LEVELS

EXPLICIT = "1.2.840.10008.1.2.1"


def dataset(**values: Any) -> Dataset:
    """A data set that holds what a peer may have sent; lists of dictionaries are sequences."""
    made = Dataset()
    for keyword, content in values.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None
        vr = dictionary_VR(tag)
        value = [dataset(**item) for item in content] if vr == "SQ" else content
        is_number = vr in ("IS", "DS")  # pydicom would refuse "1*"
        made.add(DataElement(tag, vr, value, validation_mode=IGNORE, already_converted=is_number))
    return made


def as_received(original: Dataset) -> Dataset:
    """With raw elements, as a peer's identifier and a file have them."""
    return decode(encode(original, EXPLICIT), EXPLICIT)


def matches(keyword: str, key: Any, value: Any) -> bool:
    keys, stored = (dataset(SpecificCharacterSet="ISO_IR 192", **{keyword: each}) for each in (key, value))
    found = Matcher(keys).matches(stored)
    assert Matcher(as_received(keys)).matches(as_received(stored)) == found
    return found


@pytest.mark.parametrize(
    ("clause", "keyword", "key", "value", "expected"),
    [
        # Single value matching
        ("C.2.2.2.1", "PatientID", "4711", "4711", True),
        ("C.2.2.2.1", "PatientID", "4711", "47110", False),
        ("C.2.2.2.1", "PatientID", "a", "A", False),
        ("C.2.2.2.1", "PatientID", " 4711 ", "4711", True),  # padding (PS3.5 6.2)
        ("C.2.2.2.1", "PatientComments", " a", "a", False),  # LT: leading spaces are significant
        ("C.2.2.2.1", "PatientComments", "a\\b", "a\\b", True),  # LT: a backslash is text
        ("C.2.2.2.1", "Modality", "CT", "CT", True),
        ("C.2.2.2.1", "Modality", "CT", "MR", False),
        ("C.2.2.2.1", "PatientAge", "018Y", "018Y", True),
        ("C.2.2.2.1", "SeriesNumber", "7", "7", True),
        ("C.2.2.2.1", "SeriesNumber", "7", "07", True),
        ("C.2.2.2.1", "SeriesNumber", "7", "70", False),
        ("C.2.2.2.1", "PatientWeight", "70", "70.0", True),
        ("C.2.2.2.1", "PatientWeight", "7e1", "70.5", False),
        ("C.2.2.2.1", "Rows", 512, 512, True),
        ("C.2.2.2.1", "Rows", 512, 256, False),
        ("C.2.2.2.1", "AccessionNumber", "[1]", "1", False),  # nothing else is special
        # PN
        ("C.2.2.2.1.1", "PatientName", "smith^ADA", "Smith^Ada", True),
        ("C.2.2.2.1.1", "PatientName", "Smith", "Smith^Ada", False),
        ("C.2.2.2.1.1", "PatientName", "Smith^Ada^^^", "Smith^Ada", True),
        ("C.2.2.2.1.1", "PatientName", "M\u00fcller", "Mu\u0308ller", True),
        ("C.2.2.2.1.1", "PatientName", "Muller", "M\u00fcller", True),
        ("C.2.2.2.1.1", "PatientName", "STRASSE", "Stra\u00dfe", True),
        ("C.2.2.2.1.1", "PatientName", "M?ller", "Mu\u0308ller", True),
        ("C.2.2.2.1.1", "PatientName", "Yamada^Tarou", "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce", True),
        ("C.2.2.2.1.1", "PatientName", "\u5c71\u7530^\u592a\u90ce", "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce", True),
        ("C.2.2.2.1.1", "PatientName", "=\u5c71\u7530*", "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce", True),
        ("C.2.2.2.1.1", "PatientName", "*=\u7530*", "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce", False),
        ("C.2.2.2.4", "PatientName", "*=*=*", "Yamada^Tarou", True),
        ("C.2.2.2.4", "PatientName", "Smith^*", "Smith^^^^", True),  # trailing empty components count for nothing
        ("C.2.2.2.4", "PatientName", "Smith^*", "Smith", True),
        ("C.2.2.2.4", "PatientName", "Smith*^*", "SMITHERS", True),
        ("C.2.2.2.4", "PatientName", "Smith^*^*", "Smith^Ada", True),
        ("C.2.2.2.4", "PatientName", "Smith^*^*=*", "Smith^Ada", True),
        ("C.2.2.2.4", "PatientName", "Smith^*", "Smithers^Ada", False),
        ("C.2.2.2.4", "PatientName", "Smith^^*", "Smith^^^^", True),
        ("C.2.2.2.4", "PatientName", "Smith^^*", "Smith^Ada", False),
        ("C.2.2.2.4", "PatientName", "Smith^A?^*", "Smith^A", False),
        ("C.2.2.2.4", "PatientName", "Smith?^*", "Smith", False),
        ("C.2.2.2.4", "PatientName", "Smith^?*", "Smith^", False),
        ("C.2.2.2.4", "PatientName", "Yamada^*", "Yamada=\u5c71\u7530^\u592a\u90ce", True),
        ("C.2.2.2.4", "PatientName", "\u5c71\u7530^*", "Yamada^Tarou=\u5c71\u7530", True),
        ("C.2.2.2.4", "PatientName", "*=\u5c71\u7530^*", "Yamada^Tarou=\u5c71\u7530", True),
        # Dates and times by their meaning: the examples of the standard, and precision
        ("C.2.2.2.1.3", "AcquisitionDateTime", "19980128103000.0000", "19980128103000", True),
        ("C.2.2.2.1.3", "AcquisitionDateTime", "19980128103000", "19980128073000-0300", True),
        ("C.2.2.2.1.3", "StudyTime", "2230", "223000", True),
        ("C.2.2.2.1.3", "StudyTime", "223000", "2230", True),
        ("C.2.2.2.1.3", "StudyTime", "2230", "223100", False),
        ("C.2.2.2.1.3", "StudyTime", "22:30:00", "223000", True),
        ("C.2.2.2.1.3", "StudyDate", "20240229", "20240229", True),
        ("C.2.2.2.1.3", "StudyDate", "20240229", "2024.02.29", True),
        ("C.2.2.2.1.3", "StudyDate", "20240229", "20240301", False),
        ("C.2.2.2.1.3", "StudyDate", "20240230", "20240301", False),  # there is no such day
        ("C.2.2.2.1.3", "StudyDate", "nonsense", "20240301", False),
        ("C.2.2.2.1.3", "AcquisitionDateTime", "20240101+0100", "20231231233000+0000", True),
        ("C.2.2.2.1.3", "AcquisitionDateTime", "20240101-0500", "20240102040000+0000", True),  # not a range
        # Lists of UIDs
        ("C.2.2.2.2", "StudyInstanceUID", "1.2", "1.2", True),
        ("C.2.2.2.2", "StudyInstanceUID", ["1.1", "1.2"], "1.2", True),
        ("C.2.2.2.2", "StudyInstanceUID", ["1.1", "1.2"], "1.20", False),
        ("C.2.2.2.2", "StudyInstanceUID", "1.*", "1.2", False),  # UI has no wild cards
        # Universal matching
        ("C.2.2.2.3", "PatientID", "", "4711", True),
        ("C.2.2.2.3", "PatientID", None, "4711", True),
        ("C.2.2.2.3", "Rows", None, 512, True),
        ("C.2.2.2.3", "ProcedureCodeSequence", [], [{"CodeValue": "1"}], True),
        ("C.2.2.2.3", "ProcedureCodeSequence", [{}], [{"CodeValue": "1"}], True),
        ("C.2.2.2.3", "StudyDate", "*", "20240229", True),
        ("C.2.2.2.3", "SeriesNumber", "*", "1", True),
        ("C.2.2.2.3", "StudyDate", "-", "20240229", True),  # a range that somebody left open at both ends
        ("C.2.2.2.3", "StudyTime", " - ", "10", True),
        ("C.2.2.2.3", "AcquisitionDateTime", "-", "20240229", True),
        ("C.2.2.2.3", "PatientID", "-", "1", False),
        # Wild cards
        ("C.2.2.2.4", "PatientName", "Smi*", "Smith^Ada", True),
        ("C.2.2.2.4", "PatientName", "*", "", True),
        ("C.2.2.2.4", "PatientName", "smi?h^*", "Smith^Ada", True),
        ("C.2.2.2.4", "PatientName", "Smith^?", "Smith^Ada", False),
        ("C.2.2.2.4", "PatientID", "47*1?", "47aaa11", True),
        ("C.2.2.2.4", "PatientID", "*1*1", "1", False),
        ("C.2.2.2.4", "PatientID", "a*", "Ab", False),
        ("C.2.2.2.4", "PatientID", "*", "x", True),
        ("C.2.2.2.4", "PatientComments", "a*z", "a\nz", True),
        ("C.2.2.2.4", "SeriesNumber", "1*", "12", False),  # IS has no wild cards
        # Ranges
        ("C.2.2.2.5.1", "StudyDate", "20240101-20240131", "20240101", True),
        ("C.2.2.2.5.1", "StudyDate", "20240101-20240131", "20240131", True),
        ("C.2.2.2.5.1", "StudyDate", "20240101-20240131", "20240201", False),
        ("C.2.2.2.5.1", "StudyDate", "20240101 - 20240131", "20240115", True),
        ("C.2.2.2.5.1", "StudyDate", "-20240131", "19000101", True),
        ("C.2.2.2.5.1", "StudyDate", "-20240131", "20240201", False),
        ("C.2.2.2.5.1", "StudyDate", "20240131-", "20240131", True),
        ("C.2.2.2.5.1", "StudyDate", "20240131-", "20240130", False),
        ("C.2.2.2.5.1", "StudyDate", "20240131-20240101", "20240115", False),
        ("C.2.2.2.5.1", "StudyDate", "20240101-", "unknown", False),
        ("C.2.2.2.5.2", "StudyTime", "0800-1200", "080000", True),
        ("C.2.2.2.5.2", "StudyTime", "0800-1200", "120059.999999", True),  # the whole minute
        ("C.2.2.2.5.2", "StudyTime", "0800-1200", "120100", False),
        ("C.2.2.2.5.2", "StudyTime", "-08", "000000", True),
        ("C.2.2.2.5.2", "StudyTime", "2200-", "235960", True),
        ("C.2.2.2.5.2", "StudyTime", "2200-0200", "2300", False),  # not across midnight
        ("C.2.2.2.5.3", "AcquisitionDateTime", "20240101-20240131", "20240131235959", True),
        ("C.2.2.2.5.3", "AcquisitionDateTime", "202401-", "20231231235959.9", False),
        ("C.2.2.2.5.3", "AcquisitionDateTime", "-2023", "20231231235959.9", True),
        ("C.2.2.2.5.3", "AcquisitionDateTime", "20240101-0500-20240102-0500", "20240103045959+0000", True),
        ("C.2.2.2.5.3", "AcquisitionDateTime", "20240101-0500-20240102-0500", "20240103050000+0000", False),
        ("C.2.2.2.5.3", "AcquisitionDateTime", "20240101-0500-", "20240101050000", True),
        ("C.2.2.2.5.3", "AcquisitionDateTime", "-20240101-0500", "20240102050000", False),
        # Sequences
        ("C.2.2.2.6", "ProcedureCodeSequence", [{"CodeValue": "2"}], [{"CodeValue": "1"}, {"CodeValue": "2"}], True),
        ("C.2.2.2.6", "ProcedureCodeSequence", [{"CodeValue": "3"}], [{"CodeValue": "1"}, {"CodeValue": "2"}], False),
        (
            "C.2.2.2.6",
            "ProcedureCodeSequence",
            [{"CodeValue": "1", "CodeMeaning": "b*"}],
            [{"CodeValue": "1", "CodeMeaning": "a"}, {"CodeValue": "2", "CodeMeaning": "b"}],
            False,  # all keys, in one item
        ),
        (
            "C.2.2.2.6",
            "RequestAttributesSequence",
            [{"ScheduledProtocolCodeSequence": [{"CodeValue": "1"}]}],
            [{"ScheduledProtocolCodeSequence": [{"CodeValue": "2"}, {"CodeValue": "1"}]}],
            True,
        ),
        # Several values in the data set, and in the key
        ("C.2.2.3", "ImageType", "PRIMARY", ["ORIGINAL", "PRIMARY"], True),
        ("C.2.2.3", "ImageType", "SEC*", ["ORIGINAL", "PRIMARY"], False),
        ("C.2.2.2.8", "ModalitiesInStudy", ["CT", "PT"], ["MR", "PT"], True),
        # Two quotation marks match what has no value
        ("C.2.2.2.7", "PatientID", '""', "4711", False),
        ("C.2.2.2.7", "PatientID", '""', "", True),
        ("C.2.2.2.7", "PatientName", '""', "Smith", False),
        ("C.2.2.2.7", "StudyDate", '""', "20240229", False),
        ("C.2.2.2.7", "StudyDate", '""', None, True),
        ("C.2.2.2.7", "StudyInstanceUID", '""', "1.2", False),
        # What is unknown matches
        ("C.2.2.1.2", "PatientName", "Smith*", "", True),
        ("C.2.2.1.2", "StudyDate", "20240101-", None, True),
        ("C.2.2.1.2", "ProcedureCodeSequence", [{"CodeValue": "1"}], [], True),
        ("C.2.2.1.2", "ProcedureCodeSequence", [{"CodeValue": "1"}], [{"CodeMeaning": "a"}], True),
    ],
)
def test_clause_by_clause(clause: str, keyword: str, key: Any, value: Any, expected: bool) -> None:
    assert matches(keyword, key, value) is expected, clause


def test_all_keys_have_to_match() -> None:
    matcher = Matcher(dataset(PatientID="1", StudyDate="20240101"))
    assert matcher.matches(dataset(PatientID="1", StudyDate="20240101"))
    assert not matcher.matches(dataset(PatientID="1", StudyDate="20240102"))
    assert not matcher.matches(dataset(PatientID="2", StudyDate="20240101"))
    assert matcher.matches(dataset(PatientID="1"))  # C.2.2.1.2, also where the attribute is missing


def test_what_says_how_to_read_is_not_matched() -> None:
    keys = dataset(QueryRetrieveLevel="STUDY", SpecificCharacterSet="ISO_IR 192", TimezoneOffsetFromUTC="+0100")
    assert Matcher(keys).matches(
        dataset(QueryRetrieveLevel="IMAGE", SpecificCharacterSet="ISO_IR 100", TimezoneOffsetFromUTC="-0500")
    )


def test_a_timezone_is_that_of_the_data_set() -> None:
    keys = dataset(AcquisitionDateTime="202401011200", TimezoneOffsetFromUTC="+0100")
    assert Matcher(keys).matches(dataset(AcquisitionDateTime="202401011100"))
    assert Matcher(keys).matches(dataset(AcquisitionDateTime="202401010600", TimezoneOffsetFromUTC="-0500"))
    assert not Matcher(keys).matches(dataset(AcquisitionDateTime="202401011200"))


IN_ZONE = {"TimezoneOffsetFromUTC": "-0500", "StudyDate": "20240229", "StudyTime": "2330"}


@pytest.mark.parametrize(
    ("keys", "agreed", "expected"),
    [
        ({"StudyDate": "20240301", "TimezoneOffsetFromUTC": "+0100"}, True, True),
        ({"StudyDate": "20240229", "TimezoneOffsetFromUTC": "+0100"}, True, False),
        ({"StudyTime": "0500-0600", "TimezoneOffsetFromUTC": "+0100"}, True, True),
        ({"StudyTime": "2330", "TimezoneOffsetFromUTC": "+0100"}, True, False),
        ({"StudyDate": "20240301", "TimezoneOffsetFromUTC": "+0100"}, False, False),
        ({"StudyDate": "20240229", "TimezoneOffsetFromUTC": "+0100"}, False, True),
        ({"StudyDate": "20240229", "StudyTime": "2330"}, True, True),  # no timezone to adjust to
        ({"StudyDate": "20240229", "TimezoneOffsetFromUTC": "west"}, True, True),
        ({"StudyDate": "20240229-20240229", "StudyTime": "0000-0400", "TimezoneOffsetFromUTC": "+0000"}, True, False),
        ({"StudyDate": "20240301-20240301", "StudyTime": "0400-0500", "TimezoneOffsetFromUTC": "+0000"}, True, True),
    ],
)
def test_dates_and_times_are_adjusted_to_the_timezone_of_the_query_if_that_was_agreed_on(
    keys: dict[str, Any], agreed: bool, expected: bool
) -> None:
    features = QueryFeatures(timezone=agreed, combined_date_time=True)
    assert Matcher(dataset(**keys), features).matches(dataset(**IN_ZONE)) is expected
    keys = {"TimezoneOffsetFromUTC": keys.pop("TimezoneOffsetFromUTC", ""), "ReferencedStudySequence": [keys]}
    stored = {"TimezoneOffsetFromUTC": "-0500", "ReferencedStudySequence": [IN_ZONE]}
    assert Matcher(as_received(dataset(**keys)), features).matches(as_received(dataset(**stored))) is expected


def test_a_data_set_without_a_timezone_is_in_that_of_the_query() -> None:
    keys = dataset(StudyDate="20240229", AcquisitionDateTime="202402291200", TimezoneOffsetFromUTC="+0100")
    stored = dataset(StudyDate="20240229", StudyTime="0030", AcquisitionDateTime="202402291200")
    assert Matcher(keys, QueryFeatures(timezone=True)).matches(stored)


def test_a_timezone_that_is_requested_is_that_of_the_data_set() -> None:
    """Dates and times are returned as they are stored."""
    for keys, expected in (
        (dataset(StudyDate=None, TimezoneOffsetFromUTC="+0100"), "-0500"),
        (dataset(StudyDate=None), None),
    ):
        response = Matcher(keys, QueryFeatures(timezone=True)).response(dataset(**IN_ZONE))
        assert (response.StudyDate, response.get("TimezoneOffsetFromUTC")) == ("20240229", expected)
    keys = dataset(TimezoneOffsetFromUTC="+0100")
    assert Matcher(keys).response(dataset(StudyDate="20240229")).TimezoneOffsetFromUTC is None, "also without a value"


def test_a_date_and_its_time_are_one_range_if_that_was_agreed_on() -> None:
    matcher_of = partial(Matcher, dataset(StudyDate="20240101-20240103", StudyTime="2200-0200"))
    matcher = matcher_of(QueryFeatures(combined_date_time=True))
    found = [
        matcher.matches(dataset(StudyDate=date, StudyTime=time))
        for date in ("20240101", "20240102", "20240103")
        for time in ("0100", "1200", "2300")
    ]
    assert found == [False, False, True, True, True, True, True, False, False]
    assert not matcher_of().matches(dataset(StudyDate="20240102", StudyTime="1200"))


def test_several_ranges_are_matched_each_alone() -> None:
    keys = dataset(StudyDate=["20240101-20240103", "20250101-20250103"], StudyTime="1000-1200")
    matcher = Matcher(keys, QueryFeatures(combined_date_time=True))
    assert [matcher.matches(dataset(StudyDate=date, StudyTime="1100")) for date in ("20240102", "20250102")] == [
        True
    ] * 2
    assert not matcher.matches(dataset(StudyDate="20250102", StudyTime="0900"))


def test_names_are_fuzzy_if_that_was_agreed_on() -> None:
    keys, stored = dataset(PatientName="ada smi"), dataset(PatientName="Smith^Ada^Maria")
    assert Matcher(keys, QueryFeatures(fuzzy_names=True)).matches(stored)
    assert not Matcher(keys).matches(stored)
    assert not Matcher(dataset(PatientName="ada jones"), QueryFeatures(fuzzy_names=True)).matches(stored)


def test_keys_that_are_not_matched_are_named() -> None:
    identifier = dataset(
        PatientID="1",
        StudyDescription="a",
        StudyID=None,
        ProcedureCodeSequence=[{"CodeValue": "1"}],
        RequestAttributesSequence=[{"RequestedProcedureID": "1"}, {"RequestedProcedureID": "2"}],
        ReferencedStudySequence=[{}],
    )
    matcher = Matcher(identifier, supported=["PatientID", 0x00400275])
    named = {keyword_for_tag(tag) for tag in matcher.unsupported}
    assert named == {"StudyDescription", "ProcedureCodeSequence", "RequestAttributesSequence"}
    assert matcher.matches(dataset(PatientID="1", StudyDescription="b", ProcedureCodeSequence=[{"CodeValue": "2"}]))
    assert not matcher.matches(dataset(PatientID="2"))
    assert Matcher(identifier).unsupported == {0x00400275}


def private(block: int, creator: str | None, value: str) -> Dataset:
    made = dataset(PatientID="1")
    if creator is not None:
        made.add_new(0x00090000 | block, "LO", creator)
    made.add_new(0x00090001 | block << 8, "LO", value)
    return made


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", EXPLICIT])
def test_a_private_key_is_that_of_its_creator(syntax: str) -> None:
    """In whichever block the data set has it, and without VRs."""
    matcher = Matcher(decode(encode(private(0x10, "ACME", "a"), syntax), syntax))
    stored = as_received(private(0x20, "ACME", "a"))
    assert matcher.matches(stored)
    assert not matcher.matches(private(0x20, "ACME", "b"))
    assert matcher.matches(private(0x10, "OTHER", "b"))  # the attribute is unknown
    response = matcher.response(stored)
    assert (response[0x00090010].value, response[0x00091001].value) == ("ACME", "a")
    assert matcher.response(dataset(PatientID="1"))[0x00091001].is_empty


def test_a_private_key_without_its_creator_is_not_matched() -> None:
    matcher = Matcher(private(0x10, None, "a"))
    assert matcher.matches(private(0x10, "ACME", "b"))
    assert matcher.unsupported == {0x00091001}
    sequence = Dataset()
    sequence.ProcedureCodeSequence = [private(0x10, None, "a")]
    assert Matcher(sequence).unsupported == {0x00081032}, "also in an item"


def test_a_private_sequence_is_matched_by_its_items() -> None:
    keys, stored = private(0x10, "ACME", "a"), private(0x20, "ACME", "a")
    keys.add_new(0x00091002, "SQ", [dataset(CodeValue="2", CodeMeaning=None)])
    stored.add_new(0x00092002, "SQ", [dataset(CodeValue="1"), dataset(CodeValue="2")])
    assert Matcher(keys).matches(stored)
    assert [item.CodeValue for item in Matcher(keys).response(stored)[0x00091002].value] == ["2"]


@pytest.mark.parametrize(("ours", "theirs"), [("ISO_IR 192", "ISO_IR 100"), ("ISO_IR 144", "ISO_IR 192")])
def test_texts_are_compared_in_unicode(ours: str, theirs: str) -> None:
    name = "M\u00fcller^\u00c4da" if theirs == "ISO_IR 100" else "\u041b\u044e\u043ace\u0434"
    stored = as_received(dataset(SpecificCharacterSet=ours, PatientName=name))
    keys = as_received(dataset(SpecificCharacterSet=theirs, PatientName=name[:-1] + "*"))
    assert Matcher(keys).matches(stored)
    response = as_received(Matcher(keys).response(stored))
    assert (response.SpecificCharacterSet, response.PatientName) == (ours, name)


def test_texts_in_items_have_the_character_set_of_the_data_set() -> None:
    item = {"CodeMeaning": "Sch\u00e4del"}
    stored = as_received(dataset(SpecificCharacterSet="ISO_IR 100", ProcedureCodeSequence=[item]))
    keys = as_received(dataset(SpecificCharacterSet="ISO_IR 192", ProcedureCodeSequence=[item]))
    assert Matcher(keys).matches(stored)
    response = as_received(Matcher(keys).response(stored))
    assert response.ProcedureCodeSequence[0].CodeMeaning == "Sch\u00e4del"


# The response


def test_the_response_has_what_was_asked_for() -> None:
    keys = dataset(
        QueryRetrieveLevel="STUDY",
        SpecificCharacterSet="ISO_IR 192",
        PatientName="smith*",
        StudyDescription=None,
        ImageType="PRIMARY",
        ProcedureCodeSequence=[{"CodeValue": "1", "CodingSchemeVersion": None}],
        RequestAttributesSequence=[],
        ReferencedSeriesSequence=[{"Modality": None}],
    )
    stored = dataset(
        SpecificCharacterSet="ISO_IR 100",
        PatientName="Smith^Ada",
        PatientID="4711",
        ImageType=["ORIGINAL", "PRIMARY"],
        ProcedureCodeSequence=[{"CodeValue": "1", "CodeMeaning": "a"}, {"CodeValue": "2"}, {"CodeValue": "1"}],
        RequestAttributesSequence=[{"RequestedProcedureID": "1"}],
    )
    expected = dataset(
        QueryRetrieveLevel="STUDY",
        SpecificCharacterSet="ISO_IR 100",
        PatientName="Smith^Ada",
        StudyDescription=None,
        ImageType=["ORIGINAL", "PRIMARY"],
        ProcedureCodeSequence=[{"CodeValue": "1", "CodingSchemeVersion": None}] * 2,
        RequestAttributesSequence=[{"RequestedProcedureID": "1"}],
        ReferencedSeriesSequence=[],
    )
    for received in (stored, as_received(stored)):
        assert Matcher(keys).response(received) == expected


def test_a_response_may_be_changed() -> None:
    stored = dataset(PatientName="Smith", ProcedureCodeSequence=[{"CodeValue": "1"}])
    response = Matcher(dataset(PatientName=None, ProcedureCodeSequence=[{"CodeValue": None}])).response(stored)
    response.PatientName, response.ProcedureCodeSequence[0].CodeValue = "Jones", "2"
    response.RetrieveAETitle = "ARCHIVE"
    assert stored == dataset(PatientName="Smith", ProcedureCodeSequence=[{"CodeValue": "1"}])


def test_a_value_that_cannot_be_read_is_unknown() -> None:
    three_bytes = b"\x28\x00\x10\x00US\x03\x00\x01\x02\x03"
    stored = dcmread(BytesIO(three_bytes), force=True)
    assert Matcher(dataset(Rows=512)).matches(stored)
    assert Matcher(dataset(Rows=512)).response(stored)["Rows"].is_empty


# Entities


def instance(study: str, series: str, number: int, modality: str, patient: str = "1") -> Dataset:
    return dataset(
        PatientID=patient,
        StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.{series}",
        SOPInstanceUID=f"{study}.{series}.{number}",
        SOPClassUID="1.2",
        Modality=modality,
    )


INSTANCES = [
    instance("1.1", "1", 1, "CT"),
    instance("1.1", "1", 2, "CT"),
    instance("1.1", "2", 1, "SR"),
    instance("1.2", "1", 1, "MR"),
    instance("1.3", "1", 1, "CT", patient="2"),
]


@pytest.mark.parametrize(
    ("level", "keys", "expected"),
    [
        ("PATIENT", {"PatientID": None}, [("1",), ("2",)]),
        (
            "PATIENT",
            {
                "PatientID": "1",
                "NumberOfPatientRelatedStudies": None,
                "NumberOfPatientRelatedSeries": None,
                "NumberOfPatientRelatedInstances": None,
            },
            [("1", 2, 3, 4)],
        ),
        ("STUDY", {"StudyInstanceUID": None}, [("1.1",), ("1.2",), ("1.3",)]),
        ("STUDY", {"StudyInstanceUID": ["1.2", "1.1"]}, [("1.1",), ("1.2",)]),
        (
            "STUDY",
            {"StudyInstanceUID": None, "ModalitiesInStudy": "CT", "NumberOfStudyRelatedInstances": None},
            [("1.1", ["CT", "SR"], 3), ("1.3", "CT", 1)],
        ),
        (
            "STUDY",
            {"StudyInstanceUID": "1.1", "NumberOfStudyRelatedSeries": None, "SOPClassesInStudy": None},
            [("1.1", 2, "1.2")],
        ),
        ("STUDY", {"StudyInstanceUID": None, "NumberOfStudyRelatedInstances": "1"}, [("1.2", 1), ("1.3", 1)]),
        (
            "SERIES",
            {"StudyInstanceUID": "1.1", "SeriesInstanceUID": None, "NumberOfSeriesRelatedInstances": None},
            [("1.1", "1.1.1", 2), ("1.1", "1.1.2", 1)],
        ),
        ("SERIES", {"StudyInstanceUID": "1.1", "SeriesInstanceUID": None, "Modality": "SR"}, [("1.1", "1.1.2", "SR")]),
        ("IMAGE", {"SeriesInstanceUID": "1.1.1", "SOPInstanceUID": None}, [("1.1.1", "1.1.1.1"), ("1.1.1", "1.1.1.2")]),
        (None, {"PatientID": "2"}, [("2",)]),
        (None, {"PatientID": "1"}, [("1",)] * 4),  # as a worklist, whose identifiers have no level
    ],
)
def test_one_response_for_each_entity(level: str | None, keys: dict[str, Any], expected: list[tuple[Any, ...]]) -> None:
    identifier = dataset(**keys, **({"QueryRetrieveLevel": level} if level else {}))
    responses = list(Matcher(identifier).find(iter(INSTANCES)))
    assert [tuple(response[keyword].value for keyword in keys) for response in responses] == expected
    assert {response.get("QueryRetrieveLevel") for response in responses} == {level}
    assert "ModalitiesInStudy" not in INSTANCES[0]


def test_a_record_of_a_study_keeps_its_own_summary() -> None:
    record = dataset(StudyInstanceUID="1.1", ModalitiesInStudy=["CT", "SR"], NumberOfStudyRelatedInstances=300)
    query = Query.studies(ModalitiesInStudy="SR").returning("NumberOfStudyRelatedInstances").find_identifier()
    (response,) = Matcher(query).find([record])
    assert (response.ModalitiesInStudy, response.NumberOfStudyRelatedInstances) == (["CT", "SR"], 300)


def test_unique_keys_of_the_levels() -> None:
    patient, study, series, image = LEVELS
    assert [level.below for level in LEVELS] == [study, series, image, None]
    assert [level.unique_key for level in LEVELS] == [
        "PatientID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SOPInstanceUID",
    ]
    assert patient.below is study


# Properties

MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1))  # noqa: DTZ001 - the offset is added as a text


@given(MOMENTS, st.integers(-840, 840))
def test_a_moment_is_the_same_in_every_timezone(moment: datetime, minutes: int) -> None:
    sign, size = "-" if minutes < 0 else "+", abs(minutes)
    local = moment + timedelta(minutes=minutes)
    stored = f"{local:%Y%m%d%H%M%S.%f}{sign}{size // 60:02}{size % 60:02}"
    key = f"{moment:%Y%m%d%H%M%S.%f}"
    assert Matcher(dataset(AcquisitionDateTime=key)).matches(dataset(AcquisitionDateTime=stored))
    assert Matcher(dataset(AcquisitionDateTime=f"{key}-{key}")).matches(dataset(AcquisitionDateTime=stored))


@given(MOMENTS, st.integers(-840, 840), st.integers(-840, 840))
def test_a_date_with_its_time_is_the_same_in_every_timezone(moment: datetime, theirs: int, ours: int) -> None:
    def in_zone(minutes: int) -> Dataset:
        local, (hours, rest) = moment + timedelta(minutes=minutes), divmod(abs(minutes), 60)
        zone = f"{'-' if minutes < 0 else '+'}{hours:02}{rest:02}"
        return dataset(StudyDate=f"{local:%Y%m%d}", StudyTime=f"{local:%H%M%S.%f}", TimezoneOffsetFromUTC=zone)

    keys, stored = in_zone(ours), in_zone(theirs)
    assert Matcher(keys, QueryFeatures(timezone=True)).matches(stored)
    assert Matcher(keys).matches(stored) is (ours == theirs)


@given(st.dictionaries(st.sampled_from(["PatientID", "PatientName", "StudyDate", "StudyTime", "Modality"]), st.text()))
def test_a_data_set_matches_its_own_values(values: dict[str, str]) -> None:
    """Whatever they are: a peer may send anything."""
    assert Matcher(dataset(**values)).response(dataset(**values)).keys() == dataset(**values).keys()
    Matcher(dataset(**values)).matches(dataset(**values))
    plain = {keyword: value for keyword, value in values.items() if value.isalnum()}
    assert Matcher(dataset(**plain)).matches(dataset(**plain))


def test_many_wild_cards_are_tried_once() -> None:
    """With a pattern that goes back over them, this would not end."""
    assert not matches("PatientComments", "*a" * 30 + "*b", "a" * 5000)


@pytest.mark.parametrize(
    ("keyword", "key"),
    [
        ("PatientName", "a*" * 1000),
        ("StudyDescription", "?" * 2000),
        ("SeriesNumber", "1\\" * 2000),
        ("StudyDate", "2024\\" * 2000),
    ],
)
def test_a_key_that_would_take_long(keyword: str, key: str) -> None:
    encoded = key.encode() + b" " * (len(key) % 2)
    tag = tag_for_keyword(keyword) or 0
    keys = decode(struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(encoded)) + encoded, "1.2.840.10008.1.2")
    with pytest.raises(DatasetError, match="has more than"):
        Matcher(keys)


def test_a_long_list_of_uids() -> None:
    keys = dataset(SOPInstanceUID=[f"1.2.{number}" for number in range(20_000)])
    matcher = Matcher(keys)
    found = [matcher.matches(dataset(SOPInstanceUID=f"1.2.{number}")) for number in range(0, 40_000, 400)]
    assert found == [True] * 50 + [False] * 50


@pytest.mark.parametrize("number", ["NaN", "sNaN", "-Infinity", "1E999999999"])
def test_a_number_that_is_none(number: str) -> None:
    assert not matches("PatientWeight", number, "70")


@pytest.mark.parametrize(
    ("keyword", "value", "matches"),
    [("PatientID", "1", False), ("PatientID", '""', True), ("PatientID", "*", True), ("StudyDate", "20240101-", False)],
)
def test_without_unknown_matches_an_attribute_without_a_value_matches_no_value(
    keyword: str, value: str, matches: bool
) -> None:
    keys = Dataset()
    setattr(keys, keyword, value)
    assert Matcher(keys, unknown_matches=False).matches(Dataset()) is matches
    assert Matcher(keys).matches(Dataset())


def test_without_unknown_matches_a_missing_sequence_matches_only_an_item_without_values() -> None:
    keys, item = Dataset(), Dataset()
    item.CodeValue = None
    keys.ProcedureCodeSequence = [item]
    assert Matcher(keys, unknown_matches=False).matches(Dataset())
    item.CodeValue = "1"
    assert not Matcher(keys, unknown_matches=False).matches(Dataset())


def test_without_unknown_matches_what_is_computed_is_matched_when_it_is_known() -> None:
    keys, instance = Dataset(), Dataset()
    keys.QueryRetrieveLevel, keys.ModalitiesInStudy = "STUDY", "CT"
    instance.StudyInstanceUID, instance.Modality = "1.2", "CT"
    assert len([*Matcher(keys, unknown_matches=False).find([instance])]) == 1
    instance.Modality = "MR"
    assert not [*Matcher(keys, unknown_matches=False).find([instance])]
