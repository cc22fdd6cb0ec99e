"""The rules of C-FIND matching: any keys and any entity, against a matcher that is too simple to be wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from tests.services import naive_matching

from dimse import Matcher, QueryFeatures
from dimse.dataset.codec import decode, encode
from dimse.services.matching_rules import folded, later, name_words, ranges_test, value_tests

EXPLICIT = "1.2.840.10008.1.2.1"

texts = st.text("aA", min_size=1, max_size=3)
wild_texts = st.text("aA*?", min_size=1, max_size=5)
components = st.lists(st.text("aäÄß", max_size=2), min_size=1, max_size=2).map("^".join)
names = st.lists(components, min_size=1, max_size=3).map("=".join).filter(lambda name: name.strip("^="))
wild_components = st.lists(st.text("aAä*?", max_size=2), min_size=1, max_size=3).map("^".join)
wild_names = st.lists(wild_components, min_size=1, max_size=2).map("=".join).filter(lambda name: name.strip("^="))
uids = st.sampled_from(["1.2", "1.2.3", "1.20"])
days = st.sampled_from(["20231231", "20240101", "20240102", "20240229", "20240301"])
clock = st.sampled_from(["000000", "000059", "000100", "005959", "010000", "235959"])
times = st.one_of(
    st.builds(lambda time, digits: time[:digits], clock, st.sampled_from([2, 4, 6])),
    st.builds("{}.{}".format, clock, st.sampled_from(["0", "5", "999999"])),
)
zones = st.sampled_from(["", "", "+0000", "-0500", "+0930"])
date_times = st.builds(
    lambda day, time, digits, zone: (day + time)[:digits] + zone,
    days,
    clock,
    st.sampled_from([4, 6, 8, 10, 12, 14]),
    zones,
)


def or_ranges(moments: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """A moment, or a range from the earlier to the later with ends that may be open."""

    def as_range(first: str, last: str, form: str) -> str:
        vr = "DA" if moments is days else "TM" if moments is times else "DT"
        first, last = sorted((first, last), key=lambda each: naive_matching.span(vr, each))
        return {"single": first, "from": f"{first}-", "until": f"-{last}", "both": f"{first}-{last}"}[form]

    return st.builds(as_range, moments, moments, st.sampled_from(["single", "from", "until", "both"]))


def some(values: st.SearchStrategy[Any], most: int = 1) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, max_size=most)


def keys_and(values: dict[str, st.SearchStrategy[list[Any]]]) -> st.SearchStrategy[dict[str, list[Any]]]:
    return st.fixed_dictionaries({}, optional=values)


item_keys = keys_and({"CodeValue": some(wild_texts), "CodeMeaning": some(wild_texts)})
items = keys_and({"CodeValue": some(texts), "CodeMeaning": some(texts)})
all_keys = keys_and(
    {
        "PatientID": some(st.one_of(texts, wild_texts), 2),
        "PatientName": some(st.one_of(names, wild_names)),
        "PatientComments": some(wild_texts),
        "ImageType": some(st.sampled_from(["A", "B*", "?"]), 2),
        "StudyInstanceUID": some(uids, 3),
        "StudyDate": some(or_ranges(days)),
        "StudyTime": some(or_ranges(times)),
        "AcquisitionDateTime": some(or_ranges(date_times)),
        "SeriesNumber": some(st.sampled_from(["1", "01", "2"])),
        "Rows": some(st.sampled_from([1, 2])),
        "ProcedureCodeSequence": some(item_keys),
    }
)
entities = keys_and(
    {
        "PatientID": some(texts),
        "PatientName": some(names),
        "PatientComments": some(texts),
        "ImageType": some(st.sampled_from(["A", "B", "BC"]), 3),
        "StudyInstanceUID": some(uids),
        "StudyDate": some(days),
        "StudyTime": some(times),
        "AcquisitionDateTime": some(date_times),
        "SeriesNumber": some(st.sampled_from(["1", "2"])),
        "Rows": some(st.sampled_from([1, 2])),
        "ProcedureCodeSequence": some(items, 3),
    }
)


def dataset(values: naive_matching.Entity, *, encoded: bool) -> Dataset:
    made = Dataset()
    for keyword, each in values.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None
        vr = dictionary_VR(tag)
        value: Any = [dataset(item, encoded=False) for item in each] if vr == "SQ" else list(each) or None
        if isinstance(value, list) and len(value) == 1 and vr != "SQ":
            value = value[0]
        made.add(DataElement(tag, vr, value, validation_mode=IGNORE))
    if not encoded:
        return made
    made.SpecificCharacterSet = "ISO_IR 192"
    return decode(encode(made, EXPLICIT), EXPLICIT)


RULES = {
    "text": ("PatientID", st.one_of(texts, wild_texts), texts, QueryFeatures()),
    "name": ("PatientName", st.one_of(names, wild_names), names, QueryFeatures()),
    "words": ("PatientName", st.one_of(names, wild_names), names, QueryFeatures(fuzzy_names=True)),
    "date": ("StudyDate", or_ranges(days), days, QueryFeatures()),
    "time": ("StudyTime", or_ranges(times), times, QueryFeatures()),
    "date and time": ("AcquisitionDateTime", or_ranges(date_times), date_times, QueryFeatures()),
}


@pytest.mark.parametrize("rule", RULES)
@given(st.data())
@settings(max_examples=80)
def test_each_rule_is_that_of_the_standard(rule: str, data: st.DataObject) -> None:
    keyword, keys, values, features = RULES[rule]
    key, value = data.draw(keys), data.draw(values)
    tag = tag_for_keyword(keyword)
    assert tag is not None
    tests = value_tests(dictionary_VR(tag), tag, [key], 0, features)
    found = not tests or any(test(value, 0) for test in tests)
    assert found == naive_matching.matches_key(keyword, [key], [value], fuzzy=features.fuzzy_names)


@given(or_ranges(days), or_ranges(times), days, st.one_of(st.none(), times))
@settings(max_examples=80)
def test_two_ranges_are_one(dates: str, wanted_times: str, date: str, time: str | None) -> None:
    test = ranges_test(dates, wanted_times)
    keys = {"StudyDate": [dates], "StudyTime": [wanted_times]}
    entity = {"StudyDate": [date], "StudyTime": [] if time is None else [time]}
    if test is None:
        assert "-" not in dates or "-" not in wanted_times
    else:
        assert test(date, time) == naive_matching.matches(keys, entity, combined=True)


@given(all_keys, entities, st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=40)
def test_any_keys_match_as_in_the_standard(
    keys: dict[str, list[Any]], entity: dict[str, list[Any]], combined: bool, fuzzy: bool, encoded: bool
) -> None:
    features = QueryFeatures(combined_date_time=combined, fuzzy_names=fuzzy)
    matcher, stored = Matcher(dataset(keys, encoded=encoded), features), dataset(entity, encoded=encoded)
    expected = naive_matching.matches(keys, entity, combined=combined, fuzzy=fuzzy)
    assert matcher.matches(stored) == expected
    if expected and not encoded:
        assert matcher.response(stored) == dataset(naive_matching.response(keys, entity), encoded=False)


# The rules that are beyond a naive matcher


@pytest.mark.parametrize(
    ("name", "others"),
    [("Müller", ["Mu\u0308ller", "MULLER", "muller"]), ("Straße", ["STRASSE"]), ("ﾔﾏﾀﾞ", ["ヤマダ"]), ("김", ["김"])],
)
def test_names_are_folded(name: str, others: list[str]) -> None:
    assert {folded(name), *map(folded, others)} == {folded(name)}


def test_a_syllable_is_one_character() -> None:
    assert Matcher(dataset({"PatientName": ["?^??"]}, encoded=True)).matches(
        dataset({"PatientName": ["김^희중"]}, encoded=True)
    )


def test_words_of_a_name() -> None:
    assert name_words("Müller-Lüd*^Ada Maria=山田^太郎") == ("muller", "lud", "ada", "maria", "山田", "太郎")


@pytest.mark.parametrize(
    ("moment", "minutes", "expected"),
    [
        (("20240229", "2330"), 60, ("20240301", "0030")),
        (("20240301", "00"), -60, ("20240229", "23")),
        (("20240301", "00"), 330, ("20240301", "0530")),
        (("2024.03.01", "00:00:00.5"), -60, ("20240229", "230000.5")),
        (("20241231", "235959.25"), 1, ("20250101", "000059.25")),
        (("202403", "12"), 60, None),
        (("20240301", ""), 60, None),
        (("20240301", "noon"), 60, None),
        (("00010101", "0000"), -60, None),
        (("99991231", "2359"), 60, None),
    ],
)
def test_a_moment_that_is_moved_keeps_its_precision(
    moment: tuple[str, str], minutes: int, expected: tuple[str, str] | None
) -> None:
    assert later(*moment, minutes * 60_000_000) == expected
