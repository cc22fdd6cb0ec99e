"""The keys of a query as conditions of SQL, which leave out only rows that cannot match. Pure.

1. A column has a value or NULL, which is unknown: the attribute is missing, or not what its column can hold (see
   `keys`). So each key is two conditions: `known` for the rows with a value, among which are all that match, and
   `unknown` for the others.
2. `known` may be true for rows that do not match: `LIKE` of SQLite ignores case, a time is no more than a minute or an
   hour, a name has groups. The tests of `Matcher` decide about each row that is left.
3. A text with wild cards is a range of its column up to the first of them, which an index can find.
4. A key that its column cannot express has no condition.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, and_, false, func, or_, select, true

from dimse.node.keys import MAX_WORD, uid_hash
from dimse.node.schema import instance, name_word, request, series, study, uid
from dimse.services.matching import Keys
from dimse.services.matching_rules import DAY, HOUR, broad_name, name_words, range_of
from dimse.services.query_models import QueryRetrieveLevel

MAX_VALUES: Final = 500
"""Values of a key in one condition, not counting texts without wild cards."""

MAX_STARS: Final = 3
"""Wild cards "*" of one condition: each takes a database as much longer as the text is long."""

NAME_GROUPS: Final = (study.c.name_key, study.c.name_ideographic_key, study.c.name_phonetic_key)
PATIENT_NAME: Final = 0x00100010
REQUEST_ATTRIBUTES: Final = 0x00400275
STEP_ID: Final = 0x00400009
PROCEDURE_ID: Final = 0x00401001
ACCESSION_NUMBER: Final = 0x00080050

_LARGEST: Final = 2**63 - 1
_SURROGATES: Final = range(0xD800, 0xE000)
_ESCAPE: Final = "!"
_WILD: Final = re.compile(r"[*?]")

Condition = ColumnElement[bool]
Column = ColumnElement[Any]


@dataclass(frozen=True, slots=True)
class Term:
    """The conditions of a key."""

    level: QueryRetrieveLevel
    """Of the table that they are about."""
    known: Condition
    unknown: Condition
    unknown_matches: bool

    @property
    def condition(self) -> Condition:
        """What a row that matches fulfills."""
        return or_(self.known, self.unknown) if self.unknown_matches else self.known


class Field(NamedTuple):
    """An attribute with a column."""

    level: QueryRetrieveLevel
    vr: str
    column: Column
    known: Callable[[Column, Sequence[Any]], Condition]


def term(keys: Keys, tag: int) -> Term | None:
    """The conditions of the key with this tag, which has values; None if its column, or a lack of it, cannot say."""
    values = list(dict.fromkeys(keys.values[tag]))
    field = FIELDS.get(tag)
    if field is None or keys.vrs[tag] != field.vr or _dear(field, values) > MAX_VALUES:
        return None
    unknown = field.column == "" if field.known is _listed else field.column.is_(None)
    if tag == PATIENT_NAME:
        known = or_(*(_of_words(value) if keys.features.fuzzy_names else _of_name(value) for value in values))
    elif field.vr == "PN" and keys.features.fuzzy_names:
        return None
    else:
        known = field.known(field.column, values)
    return Term(field.level, known, unknown, keys.match_unknown(tag))


def _dear(field: Field, values: Sequence[Any]) -> int:
    """How many values take a condition each: texts without wild cards share one."""
    return sum(map(bool, map(_WILD.search, values))) if field.known is texts and field.vr != "PN" else len(values)


def request_term(keys: Keys) -> Term | None:
    """The conditions of the keys in an item of Request Attributes Sequence."""
    conditions = list[Condition]()
    for tag in keys.tests.keys() & REQUESTS.keys():
        column = REQUESTS[tag]
        if keys.vrs[tag] in ("SH", "LO") and len(keys.values[tag]) <= MAX_VALUES:
            known = texts(column, keys.values[tag])
            conditions.append(or_(known, column.is_(None)) if keys.match_unknown(tag) else known)
    if not conditions:
        return None
    its_requests = request.c.series_id == series.c.id
    known = select(request.c.series_id).where(its_requests, *conditions).exists()
    return Term(_SERIES, known, ~select(request.c.series_id).where(its_requests).exists(), keys.unknown_matches)


# Texts


def texts(column: Column, values: Sequence[str]) -> Condition:
    """One of some values, which may have wild cards."""
    exact = [value for value in values if not _WILD.search(value) and "\0" not in value]
    wild = [like(column, value) for value in values if _WILD.search(value) and "\0" not in value]
    return or_(false(), *wild, *([column.in_(exact)] if exact else ()))


def literal_prefix(value: str) -> str:
    """What is before the first wild card.

    >>> literal_prefix("smi?h*")
    'smi'
    """
    return _WILD.split(value, maxsplit=1)[0]


def begins(column: Column, prefix: str) -> Condition:
    """A text that begins so, as a range of its index."""
    return and_(*beginning(column, prefix))


def beginning(column: Column, prefix: str) -> tuple[Condition, Condition]:
    """The two ends of the range of texts that begin so."""
    end = _after(prefix)
    return column >= prefix, true() if end is None else column < end


def _after(prefix: str) -> str | None:
    """The first text behind all that begin with `prefix`, by code points; None if there is none."""
    for length in range(len(prefix), 0, -1):
        number = ord(prefix[length - 1]) + 1
        if number <= 0x10FFFF:
            return prefix[: length - 1] + chr(0xE000 if number in _SURROGATES else number)
    return None


def like(column: Column, value: str) -> Condition:
    """A text with wild cards."""
    prefix = literal_prefix(value)
    conditions = [begins(column, prefix) if prefix else column.is_not(None)]
    if value != f"{prefix}*":
        conditions.append(column.like(pattern(value), escape=_ESCAPE))
    return and_(*conditions)


def pattern(value: str) -> str:
    """A text with wild cards as a pattern of `LIKE`.

    >>> pattern("50%*?")
    '50!%%_'
    """
    parts = re.split(r"\*+", value)
    if len(parts) > MAX_STARS + 1:
        parts = [*parts[: MAX_STARS + 1][:-1], ""]
    return "%".join(re.sub(r"[!%_]", r"!\g<0>", part).replace("?", "_") for part in parts)


def _uids(column: Column, values: Sequence[str]) -> Condition:
    return column.in_([value for value in values if "\0" not in value])


def _listed(column: Column, values: Sequence[str]) -> Condition:
    r"""One of the values of a study, which are kept as \CT\SR\ ."""
    return or_(
        false(), *(column.like(f"%\\{pattern(value)}\\%", escape=_ESCAPE) for value in values if "\0" not in value)
    )


# Person names


def _of_name(wanted: str) -> Condition:
    """A name without "=" may be any of the groups; wild cards may stand for an "=", too."""
    name = broad_name(wanted)
    groups = name.split("=")
    if "\0" in name:
        return false()
    if len(groups) > 1:
        return _of_groups(groups)
    whole: Column = func.coalesce(NAME_GROUPS[0], "")
    for column in NAME_GROUPS[1:]:
        whole = whole + "=" + func.coalesce(column, "")
    across = [whole.like(f"{pattern(name)}%", escape=_ESCAPE)] if _WILD.search(name[:-1]) else []
    return or_(*(texts(column, [name]) for column in NAME_GROUPS), *across)


def _of_groups(groups: Sequence[str]) -> Condition:
    if not any(_WILD.search(group) for group in groups):
        return and_(true(), *(column == group for column, group in zip(NAME_GROUPS, groups, strict=False) if group))
    prefix = literal_prefix(groups[0])
    if prefix:
        return begins(study.c.name_key, prefix)
    if groups[0] or not groups[1].strip("*"):  # which a name without this group matches, too
        return true()
    return or_(study.c.name_key.is_(None), like(study.c.name_ideographic_key, groups[1]))


def _of_words(wanted: str) -> Condition:
    """Fuzzy matching."""
    words = name_words(wanted)
    return and_(*(study.c.id.in_(with_word(word)) for word in words)) if words else _of_name(wanted)


def with_word(word: str) -> Any:
    """The studies in whose names a word begins so."""
    found = false() if "\0" in word else begins(name_word.c.word, word[:MAX_WORD])
    return select(name_word.c.study_id).where(found)


def _whole_names(column: Column, values: Sequence[str]) -> Condition:
    """A name whose groups are in one column."""
    return or_(*(_whole_name(column, broad_name(value)) for value in values))


def _whole_name(column: Column, name: str) -> Condition:
    groups = name.split("=")
    part = pattern(name) if len(groups) == 1 else pattern(literal_prefix(next(filter(None, groups), "")))
    return false() if "\0" in part else column.like(f"%{part}%", escape=_ESCAPE)


# Dates, times, numbers, UIDs


def days(value: str) -> tuple[int, int] | None:
    """The first and the last day that a value of a key means, as yyyymmdd; None if it is not valid.

    >>> days("202402"), days("-20240229")
    ((20240201, 20240229), (10101, 20240229))
    """
    found = range_of("DA", value)
    if found is None:
        return None
    first = date.min.toordinal() if found[0] == -math.inf else int(found[0] // DAY)
    last = date.max.toordinal() if found[1] == math.inf else int(found[1] // DAY) - 1
    return _number_of(first), _number_of(last)


def _number_of(ordinal: int) -> int:
    day = date.fromordinal(ordinal)
    return day.year * 10000 + day.month * 100 + day.day


def _dates(column: Column, values: Sequence[str]) -> Condition:
    ranges = [found for value in values if (found := days(value))]
    return or_(false(), *(column == first if first == last else column.between(first, last) for first, last in ranges))


def _times(column: Column, values: Sequence[str]) -> Condition:
    ranges = [found for value in values if (found := range_of("TM", value))]
    return or_(false(), *(_within(column, low, high) for low, high in ranges))


def _within(column: Column, low: float, high: float) -> Condition:
    """A time of which the column has the first millisecond; it may be as long as an hour."""
    conditions = list[Condition]()
    if low != -math.inf:
        conditions.append(column >= int(low - HOUR) // 1000)
    if high != math.inf:
        conditions.append(column <= int(high) // 1000)
    return and_(true(), *conditions)


def _numbers(column: Column, values: Sequence[Any]) -> Condition:
    numbers = (_integer(value) for value in values)
    return column.in_([number for number in numbers if number is not None])


def _integer(value: Any) -> int | None:
    try:
        number = Decimal(value)
        whole = int(number) if -_LARGEST <= number <= _LARGEST else None
    except (ArithmeticError, TypeError, ValueError):
        return None
    return whole if whole == number else None


def _hashes(column: Column, values: Sequence[str]) -> Condition:
    return and_(instance.c.uid_hash.in_([uid_hash(value) for value in values]), _uids(column, values))


def _numbered(column: Column, values: Sequence[str]) -> Condition:
    """A UID of which the column has the number."""
    return column.in_(select(uid.c.id).where(_uids(uid.c.uid, values)))


_STUDY, _SERIES, _IMAGE = QueryRetrieveLevel.STUDY, QueryRetrieveLevel.SERIES, QueryRetrieveLevel.IMAGE

REQUESTS: Final[Mapping[int, Column]] = {
    ACCESSION_NUMBER: request.c.accession_number,
    PROCEDURE_ID: request.c.requested_procedure_id,
    STEP_ID: request.c.scheduled_step_id,
}
"""The attributes in Request Attributes Sequence that have a column."""

FIELDS: Final[Mapping[int, Field]] = {
    0x00080020: Field(_STUDY, "DA", study.c.date, _dates),
    0x00080030: Field(_STUDY, "TM", study.c.time, _times),
    ACCESSION_NUMBER: Field(_STUDY, "SH", study.c.accession_number, texts),
    0x00080061: Field(_STUDY, "CS", study.c.modalities, _listed),
    0x00080062: Field(_STUDY, "UI", study.c.sop_classes, _listed),
    0x00080090: Field(_STUDY, "PN", study.c.referring_key, _whole_names),
    0x00081030: Field(_STUDY, "LO", study.c.description, texts),
    PATIENT_NAME: Field(_STUDY, "PN", study.c.name_key, texts),
    0x00100020: Field(_STUDY, "LO", study.c.patient_id, texts),
    0x00100021: Field(_STUDY, "LO", study.c.issuer, texts),
    0x00100030: Field(_STUDY, "DA", study.c.birth_date, _dates),
    0x00100040: Field(_STUDY, "CS", study.c.sex, texts),
    0x0020000D: Field(_STUDY, "UI", study.c.uid, _uids),
    0x00200010: Field(_STUDY, "SH", study.c.dicom_study_id, texts),
    0x00201206: Field(_STUDY, "IS", study.c.series_count, _numbers),
    0x00201208: Field(_STUDY, "IS", study.c.instance_count, _numbers),
    0x00080060: Field(_SERIES, "CS", series.c.modality, texts),
    0x00080080: Field(_SERIES, "LO", series.c.institution, texts),
    0x00081010: Field(_SERIES, "SH", series.c.station, texts),
    0x0008103E: Field(_SERIES, "LO", series.c.description, texts),
    0x00081050: Field(_SERIES, "PN", series.c.performing_key, _whole_names),
    0x00180015: Field(_SERIES, "CS", series.c.body_part, texts),
    0x0020000E: Field(_SERIES, "UI", series.c.uid, _uids),
    0x00200011: Field(_SERIES, "IS", series.c.number, _numbers),
    0x00200060: Field(_SERIES, "CS", series.c.laterality, texts),
    0x00201209: Field(_SERIES, "IS", series.c.instance_count, _numbers),
    0x00400244: Field(_SERIES, "DA", series.c.step_date, _dates),
    0x00400245: Field(_SERIES, "TM", series.c.step_time, _times),
    0x00080016: Field(_IMAGE, "UI", instance.c.sop_class, _numbered),
    0x00080018: Field(_IMAGE, "UI", instance.c.uid, _hashes),
    0x00083002: Field(_IMAGE, "UI", instance.c.transfer_syntax, _numbered),
    0x00200013: Field(_IMAGE, "IS", instance.c.number, _numbers),
    0x00280008: Field(_IMAGE, "IS", instance.c.frames, _numbers),
    0x00280010: Field(_IMAGE, "US", instance.c.rows, _numbers),
    0x00280011: Field(_IMAGE, "US", instance.c.columns, _numbers),
    0x00280100: Field(_IMAGE, "US", instance.c.bits, _numbers),
}
"""The attributes with a column, by tag."""
