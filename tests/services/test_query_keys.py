"""The keys of a query: paths and values, as they go out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import UID
from tests.services.test_query import (
    IN_SERIES,
    SERIES,
    STUDY,
    over_the_wire,
    wire_values,
)

from dimse.services.query import Query
from dimse.services.query_keys import QueryValue


def study_value(keyword: str, value: QueryValue) -> str:
    return wire_values(Query.of(STUDY, {keyword: value})).get(keyword, "")


@pytest.mark.parametrize("key", ["StudyInstanceUID", "0020,000d", "(0020,000D)", "0020000d", "0020000D"])
def test_a_keyword_or_a_tag(key: str) -> None:
    assert Query.of(STUDY, {key: "1.2"}) == Query.studies(StudyInstanceUID="1.2")


@pytest.mark.parametrize(
    "key", ["Patient", "patientname", "", " ", "0010", "0010,001", "001G0010", "Sequence.", ".PatientName", "Smith^J"]
)
def test_what_is_no_keyword(key: str) -> None:
    with pytest.raises(ValueError, match=r"unknown keyword.*must be a keyword of PS3.6 or a tag such as 0010,0010"):
        Query.of(STUDY, {key: "X"})


@pytest.mark.parametrize("key", ["0009,0010", "0010,0000", "12345678"])
def test_tags_that_are_not_in_the_dictionary(key: str) -> None:
    with pytest.raises(
        ValueError, match=r"\([0-9]{4},[0-9]{4}\) is not in the data dictionary.*pass a level and a Dataset"
    ):
        Query.of(STUDY, {key: "X"})


@pytest.mark.parametrize(
    "keys",
    [
        {"RequestAttributesSequence.ScheduledProcedureStepID": "S1"},
        {"RequestAttributesSequence[0].ScheduledProcedureStepID": "S1"},
        {"0040,0275.00400009": "S1"},
        {"RequestAttributesSequence": {"ScheduledProcedureStepID": "S1"}},
        {"RequestAttributesSequence": {"(0040,0009)": "S1"}},
    ],
)
def test_a_key_in_a_sequence(keys: Mapping[str, QueryValue]) -> None:
    query = Query.of(SERIES, {"StudyInstanceUID": "1.2", **keys})
    for identifier in over_the_wire(query.find_identifier()):
        (item,) = identifier.RequestAttributesSequence
        assert [(element.keyword, element.value) for element in item] == [("ScheduledProcedureStepID", "S1")]


def test_sequences_in_sequences_and_several_keys_of_one_item() -> None:
    nested: Mapping[str, QueryValue] = {
        "ScheduledProtocolCodeSequence": {"CodeValue": "X", "CodeMeaning": None},
        "RequestedProcedureID": "R",
    }
    query = Query.of(SERIES, {"StudyInstanceUID": "1.2", "RequestAttributesSequence": nested})
    for identifier in over_the_wire(query.find_identifier()):
        (item,) = identifier.RequestAttributesSequence
        (code,) = item.ScheduledProtocolCodeSequence
        assert (item.RequestedProcedureID, code.CodeValue, code.CodeMeaning) == ("R", "X", "")
    code_key = "RequestAttributesSequence.ScheduledProtocolCodeSequence"
    flat = {f"{code_key}.CodeValue": "X", f"{code_key}.CodeMeaning": ""}
    flat["RequestAttributesSequence.RequestedProcedureID"] = "R"
    assert Query.of(SERIES, {"StudyInstanceUID": "1.2", **flat}) == query


def test_a_whole_sequence_is_asked_for_with_an_empty_item() -> None:
    for identifier in over_the_wire(Query.studies(ProcedureCodeSequence=None).find_identifier()):
        assert list(identifier.ProcedureCodeSequence) == [Dataset()]


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("ProcedureCodeSequence[1].CodeValue", "X", "one item.*leave the index out"),
        ("ProcedureCodeSequence[0]", None, "leave the index out"),
        ("PatientName.CodeValue", "X", "PatientName is not a sequence"),
        ("ProcedureCodeSequence.CodeValue.CodeMeaning", "X", "ProcedureCodeSequence.CodeValue is not a sequence"),
        ("ProcedureCodeSequence", "X", r"\(SQ\).*expected a mapping of keywords to values, or a key in the sequence"),
        ("ProcedureCodeSequence", {}, "expected a mapping of keywords"),
        ("ProcedureCodeSequence", ["X"], "expected a mapping of keywords"),
        ("PatientName", {"CodeValue": "X"}, r"PatientName \(PN\): dict is not accepted here; expected a text"),
        ("ProcedureCodeSequence.CodeValueX", "X", "unknown keyword 'CodeValueX'"),
        ("ProcedureCodeSequence.InstanceCreationDate", "1", r"^ProcedureCodeSequence.InstanceCreationDate \(DA\)"),
    ],
)
def test_what_is_no_key_in_a_sequence(key: str, value: QueryValue, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Query.of(STUDY, {key: value})


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("PatientName", "Smith^J?n*", "Smith^J?n*"),
        ("StudyDescription", ["A", "B"], "A\\B"),
        ("PatientID", " ", ""),
        ("StudyInstanceUID", (UID("1.2"), UID("1.3")), "1.2\\1.3"),
        ("ModalitiesInStudy", ("CT", "MR"), "CT\\MR"),
        ("PatientAge", "045Y", "045Y"),
        ("NumberOfStudyRelatedInstances", 5, "5"),
        ("NumberOfStudyRelatedInstances", [5, "+6"], "5\\+6"),
        ("PatientSize", 1.75, "1.75"),
        ("PatientWeight", "7e1\\.5", "7e1\\.5"),
        ("StudyDate", date(724, 1, 2), "07240102"),
        ("StudyDate", ["20240229"], "20240229"),
        ("StudyDate", "-20240229", "-20240229"),
        ("StudyTime", time(1, 2), "010200"),
        ("StudyTime", (time(1, 2, 3, 4000), None), "010203.004000-"),
        ("StudyTime", (None, "18"), "-18"),
        ("StudyTime", "235960.5-", "235960.5-"),
        ("InstanceCoercionDateTime", date(2024, 1, 2), "20240102"),
        ("InstanceCoercionDateTime", datetime(2024, 1, 2, 3, 4, 5), "20240102030405"),  # noqa: DTZ001
        ("InstanceCoercionDateTime", "2024-202506+0100", "2024-202506+0100"),
        ("InstanceCoercionDateTime", (datetime(2024, 1, 2, tzinfo=UTC), None), "20240102000000+0000-"),
        ("RetrieveURL", "https://pacs/?a=*", "https://pacs/?a=*"),
        ("PatientComments", "a\\b", "a\\b"),
        ("PatientID", "x" * 300, "x" * 300),
    ],
)
def test_values(keyword: str, value: QueryValue, expected: str) -> None:
    assert study_value(keyword, value) == expected


def test_binary_numbers() -> None:
    query = Query.instances(Rows=512, RecommendedDisplayFrameRate=3, **IN_SERIES)
    query = query.where(Columns="512\\1024", RealWorldValueSlope=0.5, SmallestImagePixelValue=7, BitsAllocated=None)
    for identifier in over_the_wire(query.find_identifier()):
        assert (identifier.Rows, list(identifier.Columns)) == (512, [512, 1024])
        assert (identifier.RealWorldValueSlope, identifier.BitsAllocated) == (0.5, None)
        assert identifier.RecommendedDisplayFrameRate == 3
        assert identifier.SmallestImagePixelValue == 7


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize(
    "keyword", ["PatientName", "StudyInstanceUID", "StudyDate", "PatientAge", "PixelData", "BitsStored"]
)
def test_a_return_key_has_no_length(keyword: str, value: str | None) -> None:
    for identifier in over_the_wire(Query.of(STUDY, {keyword: value}).find_identifier()):
        assert keyword in identifier
        assert identifier[keyword].is_empty


@pytest.mark.parametrize("wild_card", ["*", "1*", "1?"])
@pytest.mark.parametrize(
    "keyword", ["StudyTime", "StudyDate", "StudyInstanceUID", "PatientAge", "PatientSize", "NumberOfStudyRelatedSeries"]
)
def test_wild_cards_where_there_are_none(keyword: str, wild_card: str) -> None:
    with pytest.raises(
        ValueError, match=rf"^{keyword} \(..\): wild cards are not allowed for this VR \(PS3.4 C.2.2.2.4\); expected a"
    ):
        Query.of(STUDY, {keyword: wild_card})


A_DATE, THE_EARLIER, A_TIME = "a date YYYYMMDD", "from the earlier to the later", "a time HHMMSS"


MIDNIGHT = datetime(2024, 1, 1)  # noqa: DTZ001 a study's is local time


DAYS = [date(2024, 1, 2), date(2024, 1, 3)]


REFUSED: Sequence[tuple[str, str, Sequence[object]]] = [
    ("StudyInstanceUID", "a UID or a list", ["Smith", ["1.2", ""], "1.2a", "1." + "2" * 63, "1.2 ", 12, 1.2]),
    ("StudyInstanceUID", "no values; leave the key out, or pass None", [[], ()]),
    ("StudyDate", A_DATE, ["2024-01-02", "2024W011", "20240230", "202401", "20240101 ", "-", (None, None)]),
    ("StudyDate", A_DATE, ["20240101-20240102-20240103", ("20240101-20240102", None), DAYS, 20240101]),
    ("StudyDate", THE_EARLIER, ["20240102-20240101", (DAYS[1], DAYS[0])]),
    ("StudyDate", "time is not accepted here; expected a date", [time(1), (time(1), None)]),
    (
        "StudyTime",
        A_TIME,
        ["10:30", "2400", "1060", "102", "-", "08\\09", DAYS[0], MIDNIGHT, time(1, tzinfo=UTC)],
    ),
    ("InstanceCoercionDateTime", "a date and time", ["20241301", "٢٠٢٤", "20240101+1500", "-", time(10, 11, 12)]),
    ("PatientAge", "an age", ["45", "45Y", 45]),
    ("PatientSize", "a number", ["tall", float("nan"), "1_0", "1\\", ["1", None]]),
    ("NumberOfStudyRelatedSeries", "a number in the range", ["1.5", 1.5, 2**31, True, b"1"]),
    ("LargestImagePixelValue", "a number in the range", [2**16, -1]),
    ("RegionFlags", "a number in the range", [2**32]),
    ("ExaminedBodyThickness", "a number in the range", [1e300]),
    ("PatientID", "(int|bool|bytes) is not accepted here; expected a text", [17, True, b"1"]),
    ("PatientID", "NoneType is not accepted here; expected a text", [["1", None]]),
    ("PatientID", "surrogate", ["\udc80"]),
    ("PatientSex", "ASCII", ["Ä"]),
    ("PatientComments", "several values are not allowed", [["a", "b"]]),
    ("PixelData", "expected None, to have it returned", ["x"]),
    ("FrameIncrementPointer", "expected None, to have it returned", ["00181063", 0x00181063]),
]


@pytest.mark.parametrize(
    ("keyword", "hint", "value"), [(keyword, hint, value) for keyword, hint, values in REFUSED for value in values]
)
def test_what_is_no_value(keyword: str, hint: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{keyword} \(..\): .*{hint}") as caught:
        Query.of(STUDY, {keyword: value})  # type: ignore[dict-item]
    assert caught.value.__cause__ is None


@given(st.text(min_size=4))
def test_an_error_never_says_the_value(value: str) -> None:
    for keyword in ("StudyDate", "StudyTime", "StudyInstanceUID", "PatientAge", "PatientSize", "PixelData"):
        try:
            Query.of(STUDY, {keyword: f"Secret{value}"})
        except ValueError as error:
            assert "Secret" not in str(error)  # noqa: PT017 it is not always raised in the same way
        else:
            pytest.fail(f"{keyword} took it")


@given(st.dates(), st.dates())
def test_any_dates(one: date, other: date) -> None:
    start, end = sorted((one, other))
    query = Query.studies().study_date(start, end)
    text = study_value("StudyDate", (start, end))
    assert [date.fromisoformat(part) for part in text.split("-")] == [start, end]
    assert Query.studies(StudyDate=text) == query


OFFSETS = [timezone(timedelta(minutes=minutes)) for minutes in (-720, -90, 0, 345, 840)]


@given(st.datetimes(timezones=st.sampled_from([None, *OFFSETS])))
def test_any_datetime_and_time(moment: datetime) -> None:
    text = study_value("InstanceCoercionDateTime", moment)
    digits = text[:14] + (text[14:21] if "." in text else "")
    form = "%Y%m%d%H%M%S" + (".%f" if "." in text else "") + ("%z" if moment.tzinfo else "")
    assert datetime.strptime(text, form) == moment  # noqa: DTZ007 as the moment is
    assert len(digits) in (14, 21)
    assert study_value("StudyTime", moment.time()) == digits[8:]
    assert study_value("StudyDate", moment) == digits[:8]
    assert study_value("InstanceCoercionDateTime", (moment, moment)) == f"{text}-{text}"


NAMES = {
    "Smith^John*": None,
    "Müller^Jörg": "ISO_IR 100",
    "Yamada^Tarou=山田^太郎=やまだ^たろう": "ISO_IR 192",
    "Hong^Gildong=洪^吉洞=홍^길동": "ISO_IR 192",
    "Wang^XiaoDong=王^小东": "ISO_IR 192",
    "Иванов^Иван*": "ISO_IR 192",
    "Łukasz\\Müller": "ISO_IR 192",
}


@pytest.mark.parametrize(("name", "character_set"), NAMES.items())
def test_the_character_set(name: str, character_set: str | None) -> None:
    query = Query.studies(PatientName=name, StudyDescription=name, ProcedureCodeSequence={"CodeMeaning": name})
    for identifier in over_the_wire(query.find_identifier()):
        assert identifier.get("SpecificCharacterSet") == character_set
        values = name.split("\\") if "\\" in name else name
        assert identifier.PatientName == values
        assert identifier.StudyDescription == values
        assert identifier.ProcedureCodeSequence[0].CodeMeaning == values


def test_the_character_set_of_a_text_in_a_sequence_or_of_several() -> None:
    nested = Query.studies(ProcedureCodeSequence={"CodeMeaning": "é"}).find_identifier()
    assert nested.SpecificCharacterSet == "ISO_IR 100"
    assert Query.studies(StudyDescription=["a", "\xa0b"]).find_identifier().SpecificCharacterSet == "ISO_IR 100"
    two = Query.studies(PatientName="é", StudyDescription="ж").find_identifier()
    assert two.SpecificCharacterSet == "ISO_IR 192"


LETTERS = st.text(st.characters(categories=["L", "N", "M"]), min_size=1, max_size=20)


@given(LETTERS, LETTERS)
def test_any_text_survives(name: str, description: str) -> None:
    for identifier in over_the_wire(Query.studies(PatientName=name, StudyDescription=description).find_identifier()):
        assert identifier.PatientName == name
        assert identifier.StudyDescription == description
