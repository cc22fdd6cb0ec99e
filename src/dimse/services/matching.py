"""Matching of C-FIND: which data sets match the keys of an identifier, and what a response returns (PS3.4 C.2.2).

The rules, by the VR of a key:

    zero length, or "*" alone         matches everything (C.2.2.2.3)
    UI                                any UID of the list (C.2.2.2.2)
    AE CS LO LT PN SH ST UC UR UT     wild cards: "*" is any text, "?" any one character (C.2.2.2.4)
    DA TM DT                          a moment, or a range whose ends may be open (C.2.2.2.1.3, C.2.2.2.5)
    SQ                                one item that matches all keys in the key's only item (C.2.2.2.6)
    all others                        the same value (C.2.2.2.1)

Where the standard leaves a choice:

1. Case matters, except in person names. A name without "=" is compared with each of the component groups.
2. A date or time of low precision is a span: 22:30 is the whole minute. Two spans match if they overlap.
3. A DT without an offset is in the timezone of its data set (0008,0201), else in UTC. DA and TM are compared as they
   are: timezone adjustment and combined date-time matching are not negotiated.
4. If a key has several values, any of them may match: multiple value matching (C.2.2.2.8) is not negotiated.
5. An attribute that a data set does not have, or has without a value, is unknown, and matches (C.2.2.1.2).
"""

from __future__ import annotations

import math
import re
import unicodedata
from calendar import isleap, monthrange
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from dimse.dataset.codec import PYDICOM_ERRORS
from dimse.dataset.encoding import QUERY_RETRIEVE_LEVEL, tag_name
from dimse.dataset.pydicom_names import DataElement, Dataset
from dimse.dataset.texts import TEXT_VRS, Texts, character_sets_of, vr_of
from dimse.errors import DatasetError
from dimse.services.query_keys import tag_of
from dimse.services.query_models import QueryRetrieveLevel

_SPECIFIC_CHARACTER_SET: Final = 0x00080005
_TIMEZONE_OFFSET_FROM_UTC: Final = 0x00080201
_NEVER_MATCHED: Final = frozenset((_SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL, _TIMEZONE_OFFSET_FROM_UTC))
_WILD: Final = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
_LEADING_SPACES_COUNT: Final = frozenset(("LT", "ST", "UC", "UT"))

_SUMMARIES: Final[Mapping[str, Mapping[str, str]]] = {
    QueryRetrieveLevel.PATIENT: {
        "NumberOfPatientRelatedStudies": "StudyInstanceUID",
        "NumberOfPatientRelatedSeries": "SeriesInstanceUID",
        "NumberOfPatientRelatedInstances": "SOPInstanceUID",
    },
    QueryRetrieveLevel.STUDY: {
        "ModalitiesInStudy": "Modality",
        "SOPClassesInStudy": "SOPClassUID",
        "NumberOfStudyRelatedSeries": "SeriesInstanceUID",
        "NumberOfStudyRelatedInstances": "SOPInstanceUID",
    },
    QueryRetrieveLevel.SERIES: {"NumberOfSeriesRelatedInstances": "SOPInstanceUID"},
}
"""By level: attributes of an entity as a whole, and the one of its instances that they list or count (PS3.4 C.3.4)."""

MAX_KEY_VALUES: Final = 1000
"""Values of a key other than a list of UIDs."""

MAX_KEY_LENGTH: Final = 1024
"""Characters of a value of a key; the longest with wild cards is a person name, with 3 times 64."""

_Test = Callable[[Any, int], bool]
"""Whether a value of a data set matches one of a key; DTs without an offset from UTC are at the given one."""


class Matcher:
    """The keys of an identifier, to be matched against data sets: instances, or records of a database.

    Raises `DatasetError` for keys that would take long to match; a handler that does not catch it answers 0xC000.

    >>> keys, instance = Dataset(), Dataset()
    >>> keys.PatientName, keys.StudyDate, keys.StudyDescription = "smith*", "2024", None
    >>> instance.PatientName, instance.StudyDate, instance.StudyTime = "Smith^Ada", "20240229", "1200"
    >>> matcher = Matcher(keys)
    >>> matcher.matches(instance)
    True
    >>> sorted(element.keyword for element in matcher.response(instance))
    ['PatientName', 'StudyDate', 'StudyDescription']
    """

    def __init__(self, identifier: Dataset) -> None:
        level = _text(identifier, QUERY_RETRIEVE_LEVEL)
        self._level = QueryRetrieveLevel(level) if level in list(QueryRetrieveLevel) else None
        self._summaries = {
            tag: of_instances
            for keyword, of_instances in _SUMMARIES.get(level, {}).items()
            if (tag := tag_of(keyword)) in identifier
        }
        self._keys = _Keys(identifier, (), _offset_of(identifier, 0))

    def matches(self, dataset: Dataset) -> bool:
        """Whether `dataset` matches all keys."""
        return self._keys.match(dataset)

    def response(self, dataset: Dataset) -> Dataset:
        """The identifier of the response for a matching `dataset`: the requested attributes, empty if it lacks them.

        A sequence has the items that match, with the requested attributes. Specific Character Set is that of `dataset`.
        """
        response = self._keys.trimmed(dataset)
        if self._level is not None:
            response.QueryRetrieveLevel = str(self._level)
        if _SPECIFIC_CHARACTER_SET in dataset:
            response[_SPECIFIC_CHARACTER_SET] = _copied(dataset, _SPECIFIC_CHARACTER_SET, "CS")
        return response

    def find(self, datasets: Iterable[Dataset]) -> Iterator[Dataset]:
        """The identifiers of all responses: one for each patient, study, series or instance, by the identifier's level.

        If `datasets` are instances, Modalities in Study and the numbers of related instances are computed from those
        that match the other keys. An identifier without a level has one response for each matching data set.
        """
        if self._level is None:
            yield from (self.response(dataset) for dataset in datasets if self.matches(dataset))
            return
        unique_key = tag_of(self._level.unique_key)
        entities: dict[str, list[Dataset]] = {}
        for dataset in datasets:
            if self.matches(dataset):
                members = entities.setdefault(_text(dataset, unique_key), [])
                if not members and not self._summaries:
                    yield self.response(dataset)
                if not members or self._summaries:
                    members.append(dataset)
        if self._summaries:
            for members in entities.values():
                response = self._summarized(members)
                if self._keys.match(response):
                    yield response

    def _summarized(self, members: Sequence[Dataset]) -> Dataset:
        response = self.response(members[0])
        for tag, of_instances in self._summaries.items():
            if response[tag].is_empty:
                distinct = sorted({text for member in members if (text := _text(member, tag_of(of_instances)))})
                response[tag].value = len(distinct) if response[tag].VR == "IS" else distinct
        return response


class _Keys:
    """The keys of an identifier, or of an item in it."""

    def __init__(self, keys: Dataset, character_sets: Sequence[str], offset: int) -> None:
        character_sets = character_sets_of(keys, character_sets)
        self._vrs: dict[int, str] = {}
        self._tests: dict[int, list[_Test]] = {}
        self._items: dict[int, _Keys] = {}
        for tag in sorted(keys.keys()):
            if tag in _NEVER_MATCHED or tag & 0xFFFF == 0:
                continue
            vr = self._vrs[tag] = vr_of(keys, tag)
            if vr == "SQ":
                items = _items(keys, tag)
                if items and len(items[0]):
                    self._items[tag] = _Keys(items[0], character_sets, offset)
                continue
            values = _values(keys, tag, character_sets)
            tests = _uid_tests(values) if vr == "UI" else [_test(vr, value, offset) for value in _few(tag, values)]
            wanted = [test for test in tests if test is not None]
            if wanted and len(wanted) == len(tests):
                self._tests[tag] = wanted

    def match(self, dataset: Dataset, character_sets: Sequence[str] = (), offset: int = 0) -> bool:
        """Whether all keys match. The character sets and the offset from UTC are those of the enclosing data set."""
        character_sets, offset = character_sets_of(dataset, character_sets), _offset_of(dataset, offset)
        for tag, tests in self._tests.items():
            values = _values(dataset, tag, character_sets)
            if values and not any(test(value, offset) for value in values for test in tests):
                return False
        for tag, keys in self._items.items():
            items = _items(dataset, tag)
            if items and not any(keys.match(item, character_sets, offset) for item in items):
                return False
        return True

    def trimmed(self, dataset: Dataset, character_sets: Sequence[str] = (), offset: int = 0) -> Dataset:
        """The attributes of `dataset` that have a key here."""
        character_sets, offset = character_sets_of(dataset, character_sets), _offset_of(dataset, offset)
        trimmed = Dataset()
        for tag, vr in self._vrs.items():
            if tag in self._items:
                keys = self._items[tag]
                matching = [item for item in _items(dataset, tag) if keys.match(item, character_sets, offset)]
                items = [keys.trimmed(item, character_sets, offset) for item in matching]
                trimmed[tag] = DataElement(tag, "SQ", items)
            else:
                trimmed[tag] = _copied(dataset, tag, vr)
        return trimmed


# Values


def _values(dataset: Dataset, tag: int, character_sets: Sequence[str]) -> list[Any]:
    """The values of an element, texts without padding; none if it is missing, empty or unreadable."""
    if tag not in dataset:
        return []
    try:
        vr = vr_of(dataset, tag)
        if vr in TEXT_VRS:
            texts = (text.rstrip(" \0") for text in Texts().of(dataset, tag, character_sets))
            return [text if vr in _LEADING_SPACES_COUNT else text.lstrip(" ") for text in texts if text]
        element = dataset[tag]
    except PYDICOM_ERRORS:
        return []
    if element.is_empty:
        return []
    return list(element.value) if element.VM > 1 else [element.value]


def _items(dataset: Dataset, tag: int) -> Sequence[Dataset]:
    try:
        element = dataset.get(tag)
    except PYDICOM_ERRORS:
        return ()
    return element.value if element is not None and element.VR == "SQ" and element.value else ()


def _copied(dataset: Dataset, tag: int, vr: str) -> DataElement:
    """A copy, which the caller may change; empty if the data set lacks the element, or it is unreadable."""
    try:
        if tag in dataset:
            element = dataset[tag]
            return DataElement(tag, element.VR, element.value, already_converted=True)
    except PYDICOM_ERRORS:
        pass
    return DataElement(tag, vr, [] if vr == "SQ" else None)


def _text(dataset: Dataset, tag: int) -> str:
    values = _values(dataset, tag, ())
    return str(values[0]) if values else ""


def _offset_of(dataset: Dataset, outer: int) -> int:
    """Timezone Offset From UTC (0008,0201) in microseconds, or that of the enclosing data set."""
    text = _text(dataset, _TIMEZONE_OFFSET_FROM_UTC)
    return _offset(text) if re.fullmatch(_OFFSET, text, re.ASCII) else outer


# Tests: whether a value of a data set matches a value of a key


def _few(tag: int, values: list[Any]) -> list[Any]:
    """The values of a key, within limits: a peer chose them, and each takes time for each data set."""
    if len(values) > MAX_KEY_VALUES:
        raise DatasetError(f"the key {tag_name(tag)} has more than {MAX_KEY_VALUES} values")
    if any(isinstance(value, str) and len(value) > MAX_KEY_LENGTH for value in values):
        raise DatasetError(f"the key {tag_name(tag)} has more than {MAX_KEY_LENGTH} characters")
    return values


def _uid_tests(uids: list[str]) -> list[_Test | None]:
    """One test for the whole list, which may be long."""
    wanted = frozenset(uids)
    return [None if "*" in wanted else lambda value, _: value in wanted] if wanted else []


def _test(vr: str, wanted: Any, offset: int) -> _Test | None:
    """The test for one value of a key; None if every value matches."""
    if wanted == "*":
        return None  # even if the VR has no wild cards: it can mean nothing else
    if vr in _SPANS:
        return _moment_test(vr, wanted, offset)
    if vr == "PN":
        return _name_test(wanted)
    if vr in _WILD and ("*" in wanted or "?" in wanted):
        pattern = _pattern(wanted)
        return lambda value, _: pattern.fullmatch(str(value)) is not None
    if vr in ("DS", "IS"):
        return lambda value, _: _number(value) == _number(wanted)
    return lambda value, _: bool(value == wanted)


def _number(text: str) -> Decimal | str:
    """ "1.50" and "1.5" are the same number."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    return text if number.is_nan() else number  # a signaling NaN cannot be compared


def _pattern(wanted: str, flags: int = 0) -> re.Pattern[str]:
    """A text with wild cards as a pattern. A peer chose the text, so the groups are atomic: no "*" is tried twice."""
    first, *others = ("".join("." if each == "?" else re.escape(each) for each in part) for part in wanted.split("*"))
    between = "".join(f"(?>.*?{part})" for part in others[:-1] if part)
    last = f".*{others[-1]}" if others else ""
    return re.compile(f"{first}{between}{last}", flags | re.DOTALL)


def _name_test(wanted: str) -> _Test:
    """Case does not matter, nor whether an accent is a character of its own (PS3.4 C.2.2.2.1.1)."""
    groups = [_pattern(group, re.IGNORECASE) for group in _normal_name(wanted).split("=")]
    whole = _pattern(_normal_name(wanted), re.IGNORECASE)

    def test(value: Any, _: int) -> bool:
        name = _normal_name(value)
        parts = name.split("=")
        if whole.fullmatch(name):
            return True
        if len(groups) == 1:
            return any(map(groups[0].fullmatch, parts))
        parts += [""] * (len(groups) - len(parts))
        return all(not group.pattern or group.fullmatch(part) for group, part in zip(groups, parts, strict=False))

    return test


def _normal_name(name: str) -> str:
    """A person name without padding and trailing empty components (PS3.5 6.2.1.1)."""
    groups = unicodedata.normalize("NFC", str(name)).split("=")
    components = ([component.strip(" ") for component in group.split("^")] for group in groups)
    return "=".join("^".join(each).rstrip("^") for each in components).rstrip("=")


def _moment_test(vr: str, wanted: str, offset: int) -> _Test:
    span_of = _SPANS[vr]
    low, high = _bounds(wanted, lambda text: span_of(text, offset))

    def test(value: Any, offset: int) -> bool:
        span = span_of(str(value), offset)
        if span is None or low >= high:
            return str(value) == wanted
        return span[0] < high and low < span[1]

    return test


def _bounds(wanted: str, span_of: Callable[[str], _Span | None]) -> _Span:
    """The span of a single value or a range; an empty one if it is neither.

    A hyphen may also be the sign of an offset from UTC: "20240101-0500" would be a range that ends before it begins.
    """
    ends = [(wanted[:at].strip(" "), wanted[at + 1 :].strip(" ")) for at, each in enumerate(wanted) if each == "-"]
    for start, end in ends:
        first, last = span_of(start) if start else _EVER, span_of(end) if end else _EVER
        if first and last and first[0] < last[1] and (start or end):
            return first[0], last[1]
    return span_of(wanted) or (0, 0)


# Dates and times as spans: the microsecond in which one begins, and the first one after its end


_Span = tuple[float, float]

_EVER: Final = (-math.inf, math.inf)
_SECOND: Final = 1_000_000
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR

_OFFSET = r"[+-](?:0\d|1[0-4])[0-5]\d"
_TIME = re.compile(r"([01]\d|2[0-3])(?:([0-5]\d)(?:([0-5]\d|60)(?:\.(\d{1,6}))?)?)?", re.ASCII)
_DATE = re.compile(r"(\d{4})(?:(\d\d)(\d\d)?)?", re.ASCII)
_DATE_AND_TIME = re.compile(rf"(\d{{4,8}}?)(?:(?<=\d{{8}})({_TIME.pattern}))?({_OFFSET})?", re.ASCII)


def _date_span(text: str, _: int) -> _Span | None:
    found = _DATE.fullmatch(text.replace(".", ""))  # as in ACR-NEMA: 2024.02.29
    if found is None:
        return None
    year, month, day = int(found[1]), int(found[2] or 0), int(found[3] or 0)
    try:
        first = date(year, month or 1, day or 1)
        days = 1 if day else (monthrange(year, month)[1] if month else 365 + isleap(year))
    except ValueError:
        return None
    start = first.toordinal() * _DAY
    return start, start + days * _DAY


def _time_span(text: str, _: int) -> _Span | None:
    found = _TIME.fullmatch(text.replace(":", ""))  # as in ACR-NEMA: 12:30:00
    if found is None:
        return None
    hour, minute, second, fraction = found.groups()
    start = int(hour) * _HOUR + int(minute or 0) * _MINUTE + int(second or 0) * _SECOND
    if fraction:
        unit = 10 ** (6 - len(fraction))
        start += int(fraction) * unit
        return start, start + unit
    return start, start + (_SECOND if second else _MINUTE if minute else _HOUR)


def _date_time_span(text: str, offset: int) -> _Span | None:
    found = _DATE_AND_TIME.fullmatch(text)
    days = None if found is None else _date_span(found[1], 0)
    if found is None or days is None:
        return None
    offset = _offset(found[7]) if found[7] else offset
    if not found[2]:
        return days[0] - offset, days[1] - offset
    within = _time_span(found[2], 0)
    return None if within is None else (days[0] + within[0] - offset, days[0] + within[1] - offset)


def _offset(text: str) -> int:
    minutes = int(text[1:3]) * _HOUR + int(text[3:]) * _MINUTE
    return -minutes if text[0] == "-" else minutes


_SPANS: Final[Mapping[str, Callable[[str, int], _Span | None]]] = {
    "DA": _date_span,
    "TM": _time_span,
    "DT": _date_time_span,
}
