"""Matching of C-FIND: which data sets match the keys of an identifier, and what a response returns (PS3.4 C.2.2).

The rules, by the VR of a key:

    zero length, or "*" alone         matches everything (C.2.2.2.3)
    UI                                any UID of the list (C.2.2.2.2)
    AE CS LO LT PN SH ST UC UR UT     wild cards: "*" is any text, "?" any one character (C.2.2.2.4)
    DA TM DT                          a moment, or a range whose ends may be open (C.2.2.2.1.3, C.2.2.2.5)
    SQ                                one item that matches all keys in the key's only item (C.2.2.2.6)
    all others                        the same value (C.2.2.2.1)

Where the standard leaves a choice:

1. Case matters, except in person names, where accents and the width of characters do not matter either. A name without
   "=" is compared with each of the component groups. Fuzzy matching, if it was agreed on, compares the beginnings of
   words.
2. A date or time of low precision is a span: 22:30 is the whole minute. Two spans match if they overlap.
3. A DT without an offset is in the timezone of its data set (0008,0201), else in UTC. DA and TM are compared as they
   are, each alone unless combined date-time matching was agreed on and both keys are ranges. If timezone query
   adjustment was agreed on and the identifier has a timezone, a date with its time is moved from that of the data set
   into that of the identifier; a data set without one is in the same.
4. If a key has several values, any of them may match (C.2.2.2.8), whether or not it was agreed on.
5. An attribute that a data set does not have, or has without a value, is unknown, and matches (C.2.2.1.2). So a key of
   two quotation marks matches these only (C.2.2.2.7): there is no such value. Without `unknown_matches` only that key
   matches them.
6. A private key is that of its Private Creator, in whichever block the data set has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from dimse.dataset.codec import PYDICOM_ERRORS
from dimse.dataset.encoding import QUERY_RETRIEVE_LEVEL
from dimse.dataset.pydicom_names import IGNORE, DataElement, Dataset
from dimse.dataset.texts import TEXT_VRS, Texts, character_sets_of, vr_of
from dimse.services.matching_rules import OFFSET, Test, later, offset_of, ranges_test, significant, value_tests
from dimse.services.query_keys import tag_of
from dimse.services.query_models import QueryRetrieveLevel
from dimse.upper_layer.extended import QueryFeatures

_SPECIFIC_CHARACTER_SET: Final = 0x00080005
_TIMEZONE_OFFSET_FROM_UTC: Final = 0x00080201
_NO_KEYS: Final = frozenset((_SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL))
EMPTY_VALUE: Final = '""'
"""The value of a key that only attributes without a value match."""
_NOWHERE: Final = 0
"""The place of an attribute that a data set does not have."""
_DATES_AND_TIMES: Final = (
    (0x00080012, 0x00080013),  # Instance Creation
    (0x00080020, 0x00080030),  # Study
    (0x00080021, 0x00080031),  # Series
    (0x00080022, 0x00080032),  # Acquisition
    (0x00080023, 0x00080033),  # Content
    (0x00100030, 0x00100032),  # Patient's Birth
    (0x00400002, 0x00400003),  # Scheduled Procedure Step Start
    (0x00400004, 0x00400005),  # Scheduled Procedure Step End
    (0x00400244, 0x00400245),  # Performed Procedure Step Start
    (0x00400250, 0x00400251),  # Performed Procedure Step End
)

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


class Matcher:
    """The keys of an identifier, to be matched against data sets: instances, or records of a database.

    `features` are those that both sides agreed on for the query; of them, `combined_date_time`, `fuzzy_names` and
    `timezone` change the rules. `supported` are the keywords or tags of the keys that may be matched, all by default:
    every value matches the others. `unknown_matches` is whether an attribute without a value matches a key that has
    one.

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

    def __init__(
        self,
        identifier: Dataset,
        features: QueryFeatures | None = None,
        *,
        supported: Iterable[int | str] | None = None,
        unknown_matches: bool = True,
    ) -> None:
        level = _text(identifier, QUERY_RETRIEVE_LEVEL)
        self._level = QueryRetrieveLevel(level) if level in list(QueryRetrieveLevel) else None
        self._summaries = {
            tag: of_instances
            for keyword, of_instances in _SUMMARIES.get(level, {}).items()
            if (tag := tag_of(keyword)) in identifier
        }
        chosen = None
        if supported is not None:
            chosen = frozenset(each if isinstance(each, int) else tag_of(each) for each in supported)
        self._keys = Keys.of(identifier, features or QueryFeatures(), unknown_matches=unknown_matches, supported=chosen)

    @property
    def unsupported(self) -> frozenset[int]:
        """The tags of keys that have a value and are not matched; a handler answers matches with 0xFF01 then.

        They are those not in `supported`, private ones without their Private Creator, sequences with such a one in
        their item, and those with several items, of which the first is matched.
        """
        return frozenset(self._keys.unsupported)

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
        tag = _SPECIFIC_CHARACTER_SET
        if tag in dataset:
            response[tag] = _copied(dataset, tag, "CS", tag)
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
            if self._keys.match(dataset, computed=self._summaries.keys()):
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


class Keys:
    """The keys of an identifier, or of an item in it.

    Others match them against what is no data set, such as the rows of a database: by `tests`, `items` and `combined`.
    """

    def __init__(
        self,
        keys: Dataset,
        character_sets: Sequence[str],
        offset: int,
        features: QueryFeatures,
        *,
        unknown_matches: bool = True,
    ) -> None:
        self.unknown_matches = unknown_matches
        self._character_sets = character_sets_of(keys, character_sets)
        self._offset = offset
        self._outer_offset = offset if features.timezone else 0
        """That of data sets that do not have one."""
        self.features = features
        self.unsupported: set[int] = set()
        self.vrs: dict[int, str] = {}
        """The VR of each key, by tag."""
        self.values: dict[int, list[Any]] = {}
        """The values of the keys that have `tests`, or are `combined`."""
        self.tests: dict[int, list[Test]] = {}
        """By tag: the tests of which one must be met."""
        self.items: dict[int, Keys] = {}
        """By tag of a sequence: the keys in its item."""
        self.creators: dict[int, str] = {}
        """By tag of a private key, and of a Private Creator itself: the creator."""
        self.combined: list[tuple[int, int, Callable[[str, str | None], bool]]] = []
        """A date, its time, and the test of both, which none of `tests` has then."""
        self._moved: list[tuple[int, int]] = []
        """The dates and times that have a key and are matched in its timezone."""

    @classmethod
    def of(
        cls,
        identifier: Dataset,
        features: QueryFeatures,
        *,
        unknown_matches: bool = True,
        supported: frozenset[int] | None = None,
    ) -> Keys:
        """The keys of an identifier, whose moments without an offset from UTC are in its own timezone."""
        offset = _own_offset(identifier)
        if offset is None:
            offset, features = 0, features - QueryFeatures(timezone=True)
        return cls(identifier, (), offset, features, unknown_matches=unknown_matches).add(identifier, supported)

    def add(self, keys: Dataset, supported: frozenset[int] | None = None) -> Keys:
        """Add the keys of a data set, those that are not supported without their values."""
        for tag in sorted(map(int, keys.keys())):  # those of pydicom are slow to compare
            if tag in _NO_KEYS or tag & 0xFFFF == 0 or (tag & 0x10000 and self._is_creator(keys, tag)):
                continue
            if tag == _TIMEZONE_OFFSET_FROM_UTC:
                self.vrs[tag] = "SH"  # it says how to read the others, and is returned
            else:
                self._add_key(keys, tag, is_supported=supported is None or tag in supported)
        if self.features.timezone:
            self._moved = [pair for pair in _DATES_AND_TIMES if not self.tests.keys().isdisjoint(pair)]
        if self.features.combined_date_time:
            self._combine(keys)
        return self

    def _add_key(self, keys: Dataset, tag: int, *, is_supported: bool) -> None:
        self.vrs[tag] = vr_of(keys, tag)
        has_no_creator = tag & 0x10000 and tag not in self.creators
        if has_no_creator or not is_supported:
            if not _is_universal(keys, tag):
                self.unsupported.add(tag)
        elif self.vrs[tag] == "SQ":
            self._add_sequence(tag, _items(keys, tag))
        else:
            values = _values(keys, tag, self._character_sets)
            tests = value_tests(self.vrs[tag], tag, values, self._offset, self.features)
            if tests:
                self.tests[tag], self.values[tag] = tests, values

    def _add_sequence(self, tag: int, items: Sequence[Dataset]) -> None:
        if items and len(items[0]):
            known = self.unknown_matches
            keys = Keys(items[0], self._character_sets, self._offset, self.features, unknown_matches=known)
            self.items[tag] = keys.add(items[0])
        if len(items) > 1 or (tag in self.items and self.items[tag].unsupported):
            self.unsupported.add(tag)

    def _is_creator(self, keys: Dataset, tag: int) -> bool:
        """Whether the tag is that of a Private Creator, which says whose the private keys are (PS3.5 7.8.1)."""
        element = tag & 0xFFFF
        creator_tag = tag if element < 0x100 else (tag & 0xFFFF0000) | (element >> 8)
        if creator := _text(keys, creator_tag):
            self.creators[tag] = creator
        return 0x10 <= element < 0x100

    def _combine(self, keys: Dataset) -> None:
        """Make one test of a date and its time, where both are ranges."""
        for date_tag, time_tag in _DATES_AND_TIMES:
            if date_tag in self.tests and time_tag in self.tests:
                test = ranges_test(_text(keys, date_tag), _text(keys, time_tag))
                if test is not None and len(self.values[date_tag]) == len(self.values[time_tag]) == 1:
                    self.combined.append((date_tag, time_tag, test))
                    del self.tests[date_tag], self.tests[time_tag]

    def match(
        self,
        dataset: Dataset,
        character_sets: Sequence[str] = (),
        offset: int | None = None,
        computed: Collection[int] = (),
    ) -> bool:
        """Whether all keys match. The character sets and the offset from UTC are those of the enclosing data set.

        The keys with tags in `computed` match if `dataset` lacks them: they are computed later.
        """
        character_sets, offset = character_sets_of(dataset, character_sets), self._offset_of(dataset, offset)
        moved = self._moved_times(dataset, offset) if self._moved else {}
        for tag, tests in self.tests.items():
            values = moved.get(tag) or _values(dataset, self._place(dataset, tag), character_sets)
            if not values:
                if tag not in computed and not self.match_unknown(tag):
                    return False
            elif not any(test(value, offset) for value in values for test in tests):
                return False
        return self._match_combined(dataset, moved) and self._match_items(dataset, character_sets, offset)

    @property
    def is_universal(self) -> bool:
        """Whether they match everything."""
        return not (self.tests or self.combined) and all(keys.is_universal for keys in self.items.values())

    def match_unknown(self, tag: int) -> bool:
        """Whether an attribute without a value matches its key (PS3.4 C.2.2.1.2, C.2.2.2.7)."""
        return self.unknown_matches or EMPTY_VALUE in self.values.get(tag, ())

    def _match_combined(self, dataset: Dataset, moved: Mapping[int, list[str]]) -> bool:
        for date_tag, time_tag, ranges in self.combined:
            date, time = (moved.get(tag, [_text(dataset, tag)])[0] for tag in (date_tag, time_tag))
            if not (ranges(date, time or None) if date else self.unknown_matches):
                return False
        return True

    def _match_items(self, dataset: Dataset, character_sets: Sequence[str], offset: int) -> bool:
        for tag, keys in self.items.items():
            items = _items(dataset, self._place(dataset, tag))
            if not items:
                if not (self.unknown_matches or keys.is_universal):
                    return False
            elif not any(keys.match(item, character_sets, offset) for item in items):
                return False
        return True

    def _offset_of(self, dataset: Dataset, outer: int | None) -> int:
        own = _own_offset(dataset)
        if own is not None:
            return own
        return self._outer_offset if outer is None else outer

    def _moved_times(self, dataset: Dataset, offset: int) -> dict[int, list[str]]:
        """The dates and times of a data set in another timezone than that of the keys, moved into theirs."""
        moved: dict[int, list[str]] = {}
        for date_tag, time_tag in self._moved if offset != self._offset else ():
            pair = later(_text(dataset, date_tag), _text(dataset, time_tag), self._offset - offset)
            if pair is not None:
                moved[date_tag], moved[time_tag] = [pair[0]], [pair[1]]
        return moved

    def _place(self, dataset: Dataset, tag: int) -> int:
        """Where a data set has the attribute of a key: its creator may have reserved another block of the group."""
        if tag not in self.creators:
            return tag
        group, creator = tag & 0xFFFF0000, self.creators[tag]
        for block in dataset.keys():  # noqa: SIM118 - iterating decodes
            if group + 0x10 <= block < group + 0x100 and _text(dataset, block) == creator:
                return group | (block & 0xFF) << 8 | tag & 0xFF
        return _NOWHERE

    def trimmed(self, dataset: Dataset, character_sets: Sequence[str] = (), offset: int | None = None) -> Dataset:
        """The attributes of `dataset` that have a key here."""
        character_sets, offset = character_sets_of(dataset, character_sets), self._offset_of(dataset, offset)
        trimmed = list[DataElement]()
        for tag, vr in self.vrs.items():
            place = self._place(dataset, tag)
            if tag in self.items:
                keys = self.items[tag]
                matching = [item for item in _items(dataset, place) if keys.match(item, character_sets, offset)]
                items = [keys.trimmed(item, character_sets, offset) for item in matching]
                trimmed.append(DataElement(tag, "SQ", items))
            else:
                trimmed.append(_copied(dataset, place, vr, tag))
        for tag, creator in self.creators.items():
            if tag not in self.vrs:
                trimmed.append(DataElement(tag, "LO", creator, validation_mode=IGNORE))
        return Dataset({element.tag: element for element in trimmed})  # at once, as each `__setitem__` takes long


# Values


def _values(dataset: Dataset, tag: int, character_sets: Sequence[str]) -> list[Any]:
    """The values of an element, texts without padding; none if it is missing, empty or unreadable."""
    if tag not in dataset:
        return []
    try:
        vr = vr_of(dataset, tag)
        if vr in TEXT_VRS:
            return list[Any](significant(Texts().of(dataset, tag, character_sets), vr))
        element = dataset[tag]
    except PYDICOM_ERRORS:
        return []
    if element.is_empty:
        return []
    return list(element.value) if element.VM > 1 else [element.value]


def _is_universal(dataset: Dataset, tag: int) -> bool:
    """Whether a key matches everything, as it has no value."""
    items = _items(dataset, tag)
    return not any(len(item) for item in items) and (bool(items) or not _values(dataset, tag, ()))


def _items(dataset: Dataset, tag: int) -> Sequence[Dataset]:
    try:
        element = dataset.get(tag)
    except PYDICOM_ERRORS:
        return ()
    return element.value if element is not None and element.VR == "SQ" and element.value else ()


def _copied(dataset: Dataset, place: int, vr: str, tag: int) -> DataElement:
    """A copy, which the caller may change; empty if the data set lacks the element, or it is unreadable."""
    try:
        if place in dataset:
            element = dataset[place]
            return DataElement(tag, element.VR, element.value, already_converted=True)
    except PYDICOM_ERRORS:
        pass
    return DataElement(tag, vr, [] if vr == "SQ" else None)


def _text(dataset: Dataset, tag: int) -> str:
    values = _values(dataset, tag, ())
    return str(values[0]) if values else ""


def _own_offset(dataset: Dataset) -> int | None:
    """Timezone Offset From UTC (0008,0201) in microseconds; None if a data set has none."""
    text = _text(dataset, _TIMEZONE_OFFSET_FROM_UTC)
    return offset_of(text) if text and re.fullmatch(OFFSET, text, re.ASCII) else None
