"""Dividing a query into parts that have everything together, for archives that limit their answers.

A part has one key narrower: half of a range of dates or times, or a prefix that is a character longer. The keys are
tried in the order of `_KEYS`. A key is no use where a known match has no value for it: that match would be in no part.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Protocol

from dimse.services.query import Query
from dimse.services.query_keys import tag_of
from dimse.services.query_models import QueryRetrieveLevel

_PRINTABLE: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in "\\*?%")
"""Without "%", which no identifier contains, and which an archive may take for a wild card of its database."""
_OF_CODES: Final = " 0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_"
_LONGEST_PREFIX: Final = 64


class _Key(Protocol):
    """How the values of a key are divided."""

    def divide(self, text: str, values: Sequence[str], *, apart: bool) -> list[str] | None:
        """The values of the parts of a query with the value `text`; None if it cannot be divided.

        `values` are those of known matches.
        """


@dataclass(frozen=True, slots=True)
class _Range(_Key):
    """Days or seconds, by number."""

    number: Callable[[str], int | None]
    first: Callable[[int], str]
    """The text of its beginning."""
    last: Callable[[int], str]
    """The text of its end."""
    low: int
    high: int
    """Where to look first if an end of the range is open."""

    def divide(self, text: str, values: Sequence[str], *, apart: bool) -> list[str] | None:
        """Two ranges that make up the range `text`."""
        if text and "-" not in text:
            return None
        low_text, _, high_text = text.partition("-")
        points = [self.number(value) for value in values]
        numbers = sorted({point for point in points if point is not None})
        if None in points or (apart and len(numbers) < 2):
            return None
        low, high = self.number(low_text), self.number(high_text)
        low = min([self.low, *numbers]) if low is None else low
        high = max([self.high, *numbers]) if high is None else high
        if low >= high:
            return None
        middle = _middle(numbers, low, high)
        return [f"{low_text}-{self.last(middle - 1)}", f"{self.first(middle)}-{high_text}"]


def _middle(numbers: Sequence[int], low: int, high: int) -> int:
    """Where the second half begins. If known matches differ, there is one in each half."""
    if len(numbers) > 1:
        return min(max(numbers[len(numbers) // 2], low + 1), high)
    if not numbers:
        return (low + high) // 2 + 1
    return min(numbers[0] if numbers[0] > low else low + 1, high)


@dataclass(frozen=True, slots=True)
class _Prefix(_Key):
    """Texts of these characters."""

    characters: str

    def divide(self, text: str, values: Sequence[str], *, apart: bool) -> list[str] | None:
        """The prefix `text` as a whole value, and with each character behind it."""
        prefix = text.removesuffix("*")
        if not _can_be_longer(text) or set("".join(values)) - set(self.characters):
            return None
        if _is_elsewhere(prefix, values):
            return []
        if apart and len({value[: len(prefix) + 1].upper() for value in values}) < 2:
            return None
        longer = [f"{prefix}{each}*" for each in self.characters]
        return [prefix, *longer] if prefix else [each for each in longer if each != " *"]


def _can_be_longer(text: str) -> bool:
    """Whether it matches all values with a prefix."""
    prefix = text.removesuffix("*")
    return (not text or prefix != text) and not set(prefix) & set("*?") and len(prefix) < _LONGEST_PREFIX


def _is_elsewhere(prefix: str, values: Sequence[str]) -> bool:
    """Whether the matches of a prefix, if any, are also those of another one.

    Either the archive ignores case, and the known matches begin with the same letters in another case. Or none is
    known, and it takes "_" for the wild card of SQL and counted candidates.
    """
    if not values:
        return prefix.endswith("_")
    return not any(value.startswith(prefix) for value in values)


def _day(text: str) -> int | None:
    try:
        return date.fromisoformat(text.replace(".", "")).toordinal()
    except ValueError:
        return None


def _day_text(number: int) -> str:
    return date.fromordinal(number).isoformat().replace("-", "")


def _second(text: str) -> int | None:
    found = re.fullmatch(r"(\d\d)(?:(\d\d)(?:(\d\d)(?:\.\d*)?)?)?", text.replace(":", ""), re.ASCII)
    if found is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds


def _second_text(number: int) -> str:
    return f"{number // 3600:02}{number // 60 % 60:02}{number % 60:02}"


_DAYS: Final = _Range(_day, _day_text, _day_text, date(1900, 1, 1).toordinal(), date(2100, 1, 1).toordinal())
_SECONDS: Final = _Range(_second, _second_text, lambda number: f"{_second_text(number)}.999999", 0, 24 * 3600 - 1)
_TEXT: Final = _Prefix(_PRINTABLE)

_KEYS: Final[Mapping[QueryRetrieveLevel | None, Mapping[str, _Key]]] = {
    None: {},
    QueryRetrieveLevel.PATIENT: {"PatientID": _TEXT, "PatientName": _TEXT},
    QueryRetrieveLevel.STUDY: {
        "StudyDate": _DAYS,
        "StudyTime": _SECONDS,
        "PatientID": _TEXT,
        "PatientName": _TEXT,
    },
    QueryRetrieveLevel.SERIES: {"Modality": _Prefix(_OF_CODES)},
    QueryRetrieveLevel.IMAGE: {},
}


def keys_of(level: QueryRetrieveLevel | None) -> list[str]:
    """The keywords by which a query of a level can be divided."""
    return list(_KEYS[level])


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a query, and the key by which they are divided."""

    key: str
    queries: list[Query]


def parts_of(query: Query, known: Sequence[Mapping[str, str]], *, last: str = "", apart: bool = False) -> Parts | None:
    """Divide a query of which some matches are `known`, by keyword; None if no key can.

    If none is known, the key by which the query was divided `last` is tried first. With `apart`, at least two parts
    have a known match each.

    >>> known = [{"StudyDate": "20240101"}, {"StudyDate": "20240301"}]
    >>> [part.find_identifier().StudyDate for part in parts_of(Query.studies(), known).queries]
    ['-20240229', '20240301-']
    """
    keys = _KEYS[query.level]
    for keyword in sorted(keys, key=lambda keyword: keyword != last) if not known else keys:
        tag = tag_of(keyword)
        values = [match.get(keyword, "") for match in known]
        if query.level_of(tag) != query.level or "" in values:
            continue
        texts = keys[keyword].divide(query.text_of(tag), values, apart=apart)
        if texts is not None:
            return Parts(keyword, [query.where(**{keyword: text}) for text in texts])
    return None
