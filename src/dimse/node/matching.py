"""How the keys of a query are matched: which index leads, what SQL narrows, and what is compared row by row.

1. The driving key decides index and order: the first of UIDs, of the requests of a series, of Accession Number,
   Patient ID, Patient's Name, Study Date, Patient's Birth Date and Study ID that has a value which narrows. Without one
   it is the newest study first, and at the PATIENT level the Patient ID.
2. Its values are ranges of the index, read one after another. A range is read in pages: the next one begins behind
   the last row, by the key and then by the number of the row, so that no page is dearer than the first.
3. An unknown value may match (PS3.4 C.2.2.1.2): the rows with NULL are the last range.
4. All other keys with a column narrow the ranges. Each row that is left is compared by the tests of `Matcher`.
5. A row is a study, a series or an instance: as deep as the deepest key with a value, and not above the level. An
   answer is for the first row of its entity that matches: so a study may be found by a key of its series.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from sqlalchemy import and_, or_, select, true, tuple_

from dimse.dataset.encoding import SERIES_INSTANCE_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID
from dimse.dataset.pydicom_names import Dataset
from dimse.node import attributes
from dimse.node.found_rows import Private
from dimse.node.keys import uid_hash
from dimse.node.schema import instance, request, series, study
from dimse.node.terms import (
    ACCESSION_NUMBER,
    FIELDS,
    NAME_GROUPS,
    PATIENT_NAME,
    PROCEDURE_ID,
    REQUEST_ATTRIBUTES,
    REQUESTS,
    STEP_ID,
    Column,
    Condition,
    Term,
    beginning,
    days,
    literal_prefix,
    request_term,
    term,
    with_word,
)
from dimse.services.matching import Keys
from dimse.services.matching_rules import broad_name, name_words
from dimse.services.query_models import LEVELS, QueryRetrieveLevel
from dimse.upper_layer.extended import QueryFeatures

UIDS_AT_ONCE: Final = 200
"""UIDs of a list that are looked up in one statement."""

PATIENT_ID: Final = 0x00100020
STUDY_DATE: Final = 0x00080020
BIRTH_DATE: Final = 0x00100030
STUDY_ID: Final = 0x00200010

_TIMEZONE_OFFSET_FROM_UTC: Final = 0x00080201

_PATIENT, _STUDY, _SERIES, _IMAGE = LEVELS
_UIDS: Final = ((SOP_INSTANCE_UID, _IMAGE), (SERIES_INSTANCE_UID, _SERIES), (STUDY_INSTANCE_UID, _STUDY))
_AFTER_REQUESTS: Final = (ACCESSION_NUMBER, PATIENT_ID, PATIENT_NAME, STUDY_DATE, BIRTH_DATE, STUDY_ID)
_TABLES: Final = {_STUDY: study, _SERIES: series, _IMAGE: instance}
_WITHIN: Final[Mapping[QueryRetrieveLevel, Column]] = {_SERIES: series.c.uid, _IMAGE: instance.c.uid}
"""The order of the rows within one of the level above, as its unique index has it."""


@dataclass(frozen=True, slots=True)
class Range:
    """A part of an index, in its order; without an order it has few rows, which are read at once."""

    level: QueryRetrieveLevel
    """Of the table with the index."""
    where: Condition
    order: tuple[Column, ...]
    newest_first: bool = False
    low: Condition | None = None
    """Where it begins. A later page has a higher beginning, of which a database would not know that it is higher."""

    @property
    def whole(self) -> Condition:
        """All of it."""
        return self.where if self.low is None else and_(self.low, self.where)

    def after(self, last: Sequence[Any], within: Sequence[Column]) -> Condition:
        """The rows behind the one with the values `last` of its order, and of `within`, the order below its level."""
        head, tail = last[: len(self.order)], last[len(self.order) :]
        ours = self.order[0] if len(self.order) == 1 else tuple_(*self.order)
        there: Any = head[0] if len(head) == 1 else tuple(head)
        behind: Condition = ours < there if self.newest_first else ours > there
        if not within:
            return behind
        inner = within[0] if len(within) == 1 else tuple_(*within)
        deeper = inner > (tail[0] if len(tail) == 1 else tuple(tail))
        # The first condition is one that the index can use.
        return and_(ours <= there if self.newest_first else ours >= there, or_(behind, deeper))


class Plan:
    """What the identifier of a query means for the index.

    Raises `DatasetError` for keys that would take long to match.
    """

    def __init__(
        self, identifier: Dataset, level: QueryRetrieveLevel, features: QueryFeatures, *, unknown_matches: bool
    ) -> None:
        self.level: Final = level
        self.keys: Final = Keys.of(identifier, features, unknown_matches=unknown_matches)
        left_out = self._not_matched()
        self.unsupported = {*self.keys.unsupported, *left_out}
        self.leave_out(left_out)
        self._terms: dict[int, Term] = {tag: found for tag in self._matched if (found := self._term(tag)) is not None}
        self._drivers = set[int]()
        """The key that drives, if its ranges have an order."""
        self.scanned: Final = self._matched - self._terms.keys() - {tag for tag, _ in _UIDS}
        """The keys that only a look at each row decides."""

    @cached_property
    def depth(self) -> QueryRetrieveLevel:
        """What a row is."""
        return max((_STUDY, self.level, *map(level_of, self._matched)), key=LEVELS.index)

    @property
    def private(self) -> Mapping[int, Private]:
        """The private attributes, as their keys have them."""
        keys = self.keys
        return {tag: Private(creator, keys.vrs[tag]) for tag, creator in keys.creators.items() if tag in keys.vrs}

    @property
    def tags(self) -> frozenset[int]:
        """The attributes that are matched, and the offset from UTC of their times."""
        combined = (tag for pair in self.keys.combined for tag in pair[:2])
        return frozenset((*self.keys.tests, *self.keys.items, *combined, _TIMEZONE_OFFSET_FROM_UTC))

    def ranges(self) -> Iterator[Range]:
        """Where the rows are, in order; a peer may ask for hundreds of thousands."""
        return self._driving()

    @property
    def has_one_row(self) -> bool:
        """Whether each entity has one row."""
        return self.depth is self.level

    def statement(self, place: Range, columns: Sequence[Any], last: Sequence[Any] | None, most: int) -> Any:
        """The rows of a range behind `last`; each begins with the values of its `order`."""
        order = self.order(place)
        where = [place.whole if last is None else and_(place.where, place.after(last, order[len(place.order) :]))]
        for tag, each in self._terms.items():
            # As an alternative, it is no second beginning of the range
            where.append(or_(each.known, each.unknown) if tag in self._drivers else each.condition)
        found = select(*order, *columns).select_from(self._joined(place.level)).where(*where)
        if not order:
            return found
        head = [each.desc() if place.newest_first else each for each in place.order]
        return found.order_by(*head, *order[len(place.order) :]).limit(most)

    def order(self, place: Range) -> tuple[Column, ...]:
        """The order of the rows of a range; none if they are read at once."""
        if not place.order:
            return ()
        below = LEVELS[LEVELS.index(place.level) + 1 : LEVELS.index(self.depth) + 1]
        return (*place.order, *(_WITHIN[each] for each in below))

    def _joined(self, level: QueryRetrieveLevel) -> Any:
        """The tables down to the depth, that of the driving key first."""
        joined: Any = _TABLES[level]
        if level is _IMAGE:
            joined = joined.join(series, instance.c.series_id == series.c.id)
        if level is not _STUDY:
            joined = joined.join(study, series.c.study_id == study.c.id)
        elif self.depth is not _STUDY:
            joined = joined.join(series, series.c.study_id == study.c.id)
        if self.depth is _IMAGE and level is not _IMAGE:
            joined = joined.join(instance, instance.c.series_id == series.c.id)
        return joined

    # Keys

    @property
    def _matched(self) -> set[int]:
        """The keys with values."""
        sequences = (tag for tag, keys in self.keys.items.items() if not keys.is_universal)
        return {*self.keys.tests, *sequences, *(day for day, _, _ in self.keys.combined)}

    def leave_out(self, tags: Collection[int]) -> None:
        """Match some keys no more."""
        keys = self.keys
        for tag in tags:
            keys.tests.pop(tag, None)
            keys.items.pop(tag, None)
        keys.combined[:] = [each for each in keys.combined if each[0] not in tags]

    def _not_matched(self) -> set[int]:
        """The keys of instances that have no column: only a query for instances looks at their files.

        There, those are left whose VR nobody knows: that of the file may be another one.
        """
        if self.level is _IMAGE:
            return {tag for tag in self._matched if tag in self.keys.creators and self.keys.vrs[tag] == "UN"}
        return {tag for tag in self._matched if level_of(tag) is _IMAGE and tag not in FIELDS}

    def _term(self, tag: int) -> Term | None:
        if tag == REQUEST_ATTRIBUTES:
            return request_term(self.keys.items[tag])
        return term(self.keys, tag) if tag in self.keys.values else None

    # The driving key

    def _driving(self) -> Iterator[Range]:
        for tag, level in _UIDS:
            if tag in self._terms or (tag in self.keys.tests and self.keys.vrs[tag] == "UI"):
                return self._of_uids(tag, level)
        found = self._of_requests()
        for tag in _AFTER_REQUESTS:
            if not found and tag in self._terms:
                self._drivers = {tag}
                found = self._of_name() if tag == PATIENT_NAME else self._of_column(tag)
        return iter(found or self._of_all())

    def _of_uids(self, tag: int, level: QueryRetrieveLevel) -> Iterator[Range]:
        uids = [value for value in dict.fromkeys(self.keys.values[tag]) if "\0" not in value]
        column, identity = _TABLES[level].c.uid, _TABLES[level].c.id
        if self.depth is level:
            for start in range(0, len(uids), UIDS_AT_ONCE):
                yield Range(level, _is_one(column, uids[start : start + UIDS_AT_ONCE]), ())
            return
        for uid in uids:
            yield Range(level, _is_one(column, [uid]), (identity,))

    def _of_requests(self) -> list[Range]:
        keys = self.keys.items.get(REQUEST_ATTRIBUTES)
        if keys is None or REQUEST_ATTRIBUTES not in self._terms:
            return []
        for tag in (STEP_ID, PROCEDURE_ID):
            values = keys.values.get(tag, [])
            if len(values) == 1 and keys.vrs[tag] in ("SH", "LO") and (found := _narrow(REQUESTS[tag], values[0])):
                known = series.c.id.in_(select(request.c.series_id).where(found.whole))
                ranges = [Range(_SERIES, known, (series.c.id,))]
                if self._terms[REQUEST_ATTRIBUTES].unknown_matches:
                    its = select(request.c.series_id).where(request.c.series_id == series.c.id)
                    unknown = or_(~its.exists(), its.where(REQUESTS[tag].is_(None)).exists())
                    ranges.append(Range(_SERIES, and_(~known, unknown), (series.c.id,)))
                return ranges
        return []

    def _of_column(self, tag: int) -> list[Range]:
        values, column = self.keys.values[tag], FIELDS[tag].column
        if FIELDS[tag].vr == "DA":  # two values may mean the same day
            found = [_narrow_days(column, each) for each in dict.fromkeys(map(days, values))]
        else:
            found = [_narrow(column, value) for value in dict.fromkeys(values)]
        ranges = [each for each in found if each is not None]
        if len(ranges) < len(found) or (len(ranges) > 1 and any(len(each.order) > 1 for each in ranges)):
            return []
        return [*ranges, *self._unknown(tag, column.is_(None))]

    def _of_name(self) -> list[Range]:
        """A name without "=" may be any of the groups, each with an index."""
        values = self.keys.values[PATIENT_NAME]
        if len(values) > 1:
            return []
        if self.keys.features.fuzzy_names and (words := name_words(values[0])):
            found = study.c.id.in_(with_word(max(words, key=len)))
            return [Range(_STUDY, found, _ID), *self._unknown(PATIENT_NAME, and_(study.c.name_key.is_(None), ~found))]
        groups = broad_name(values[0]).split("=")
        columns: Sequence[Column] = NAME_GROUPS
        if len(groups) > 1:
            first = next(number for number, group in enumerate(groups) if group)
            columns, groups = NAME_GROUPS[first : first + 1], groups[first:]
        ranges, before = list[Range](), list[Condition]()
        for column in columns:
            narrow = _narrow(column, groups[0])
            if narrow is None:
                return []
            there = true() if column is study.c.name_key else study.c.name_key.is_not(None)
            ranges.append(replace(narrow, where=and_(narrow.where, there, *before)))
            before.append(or_(column.is_(None), ~narrow.whole))
        return [*ranges, Range(_STUDY, study.c.name_key.is_(None), _ID)]

    def _unknown(self, tag: int, where: Condition) -> list[Range]:
        return [Range(_STUDY, where, _ID)] if self._terms[tag].unknown_matches else []

    def _of_all(self) -> list[Range]:
        if self.level is not _PATIENT:
            return [Range(_STUDY, true(), _ID, newest_first=True)]
        column = study.c.patient_id
        there = Range(_STUDY, true(), (column, study.c.id), low=column.is_not(None))
        return [there, Range(_STUDY, column.is_(None), _ID)]


_ID: Final = (study.c.id,)


def level_of(tag: int) -> QueryRetrieveLevel:
    """The level of the row that has an attribute."""
    field = FIELDS.get(tag)
    if field is not None:
        return field.level
    if tag in ALWAYS_KNOWN or attributes.is_of_study(tag):
        return _STUDY
    return _SERIES if attributes.is_of_series(tag) else _IMAGE


ALWAYS_KNOWN: Final = frozenset((0x00080052, 0x00080054, 0x00080056, 0x00201200, 0x00201202, 0x00201204))
"""What is known of each row: the level, where to retrieve it, and the counts of its patient."""


def _is_one(column: Column, uids: Sequence[str]) -> Condition:
    if column is instance.c.uid:
        return and_(instance.c.uid_hash.in_([uid_hash(uid) for uid in uids]), column.in_(uids))
    return column == uids[0] if len(uids) == 1 else column.in_(uids)


def _narrow(column: Column, value: str) -> Range | None:
    """A text as a range of its index; None if a wild card comes first."""
    prefix = literal_prefix(value)
    if not prefix or "\0" in prefix:
        return None
    if prefix == value:
        return Range(_STUDY, column == value, _ID)
    low, end = beginning(column, prefix)
    return Range(_STUDY, end, (column, study.c.id), low=low)


def _narrow_days(column: Column, found: tuple[int, int] | None) -> Range | None:
    """The days of a key as a range of their index; None if its value is not valid."""
    if found is None:
        return None
    if found[0] == found[1]:
        return Range(_STUDY, column == found[0], _ID)
    return Range(_STUDY, column <= found[1], (column, study.c.id), low=column >= found[0])
