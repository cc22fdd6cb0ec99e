"""The rules by which a value of a data set matches a value of a key, by the VR of the key (PS3.4 C.2.2.2)."""

from __future__ import annotations

import math
import re
import unicodedata
from calendar import isleap, monthrange
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from dimse.dataset.encoding import tag_name
from dimse.errors import DatasetError
from dimse.upper_layer.extended import QueryFeatures

_WILD: Final = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
_LEADING_SPACES_COUNT: Final = frozenset(("LT", "ST", "UC", "UT"))
_ACCENTS: Final = frozenset(map(chr, range(0x0300, 0x0370)))
_WORD: Final = re.compile(r"[^\s^=,.*?-]+")
_REST: Final = re.compile(r"(?:\^+\*+)+(?==|$)")
"""The end of a group of a name, for components that may all be empty."""

MAX_KEY_VALUES: Final = 1000
"""Values of a key other than a list of UIDs."""

MAX_KEY_LENGTH: Final = 1024
"""Characters of a value of a key; the longest with wild cards is a person name, with 3 times 64."""

Test = Callable[[Any, int], bool]
"""Whether a value of a data set matches one of a key; DTs without an offset from UTC are at the given one."""


def significant(texts: Iterable[str], vr: str) -> list[str]:
    """The texts of an attribute that are compared: without padding, and none of them empty (PS3.5 6.2)."""
    stripped = (text.rstrip(" \0") for text in texts)
    return [text if vr in _LEADING_SPACES_COUNT else text.lstrip(" ") for text in stripped if text]


def value_tests(vr: str, tag: int, values: list[Any], offset: int, features: QueryFeatures) -> list[Test]:
    """The tests for the values of a key, of which one must be met; none if every value matches.

    Raises `DatasetError` for a key that would take long to match.
    """
    if vr == "UI":
        return _uid_tests(frozenset(values))
    if "*" in values or (vr in _SPANS and "-" in values):
        return []  # even if the VR has no wild cards, or the range no end: it can mean nothing else
    return [_test(vr, value, offset, features) for value in _few(tag, values)]


def _few(tag: int, values: list[Any]) -> list[Any]:
    """The values of a key, within limits: a peer chose them, and each takes time for each data set."""
    if len(values) > MAX_KEY_VALUES:
        raise DatasetError(f"the key {tag_name(tag)} has more than {MAX_KEY_VALUES} values")
    if any(isinstance(value, str) and len(value) > MAX_KEY_LENGTH for value in values):
        raise DatasetError(f"the key {tag_name(tag)} has more than {MAX_KEY_LENGTH} characters")
    return values


def _uid_tests(wanted: frozenset[Any]) -> list[Test]:
    """One test for the whole list, which may be long."""
    return [] if not wanted or "*" in wanted else [lambda value, _: value in wanted]


def _test(vr: str, wanted: Any, offset: int, features: QueryFeatures) -> Test:
    """The test for one value of a key."""
    if vr in _SPANS:
        return _moment_test(vr, wanted, offset)
    if vr == "PN":
        words = name_words(wanted) if features.fuzzy_names else ()
        return _words_test(words) if words else _name_test(wanted)
    if vr in _WILD and ("*" in wanted or "?" in wanted):
        pattern = _pattern(wanted)
        return lambda value, _: pattern.fullmatch(str(value)) is not None
    if vr == "UN":
        return lambda value, _: _plain(value) == _plain(wanted)
    if vr in ("DS", "IS"):
        return lambda value, _: _number(value) == _number(wanted)
    return lambda value, _: bool(value == wanted)


def _plain(value: Any) -> str:
    """The text of a value whose VR one of the sides does not know."""
    return (value.decode("latin-1") if isinstance(value, bytes) else str(value)).strip(" \0")


def _number(text: str) -> Decimal | str:
    """ "1.50" and "1.5" are the same number."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    return text if number.is_nan() else number  # a signaling NaN cannot be compared


def _pattern(wanted: str) -> re.Pattern[str]:
    """A text with wild cards as a pattern. A peer chose the text, so the groups are atomic: no "*" is tried twice."""
    first, *others = ("".join("." if each == "?" else re.escape(each) for each in part) for part in wanted.split("*"))
    between = "".join(f"(?>.*?{part})" for part in others[:-1] if part)
    last = f".*{others[-1]}" if others else ""
    return re.compile(f"{first}{between}{last}", re.DOTALL)


# Person names


def folded(text: str) -> str:
    """A text without case, accents and other forms of the same characters, in which person names are compared.

    >>> folded("M\u00fcLLER") == folded("Mu\u0308ller") == "muller"
    True
    """
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFC", "".join(each for each in plain if each not in _ACCENTS))


def name_words(name: str) -> tuple[str, ...]:
    """The folded words of a name with all its component groups, without wild cards."""
    return tuple(_WORD.findall(folded(name)))


def _words_test(words: tuple[str, ...]) -> Test:
    """Fuzzy matching: each word begins one of the name, in whatever order."""

    def test(value: Any, _: int) -> bool:
        there = name_words(str(value))
        return all(any(each.startswith(word) for each in there) for word in words)

    return test


def _name_test(wanted: str) -> Test:
    """A name without "=" is compared with each component group (PS3.4 C.2.2.2.1.1)."""
    name = normal_name(wanted)
    groups = name.split("=")
    whole, tests = _group_test(name), [_group_test(group) for group in groups]

    def test(value: Any, _: int) -> bool:
        there = normal_name(str(value))
        if whole(there):
            return True
        parts = there.split("=")
        if len(groups) == 1:
            return len(parts) > 1 and any(map(tests[0], parts))
        parts += [""] * (len(groups) - len(parts))
        return all(not group or fits(part) for group, fits, part in zip(groups, tests, parts, strict=False))

    return test


def _group_test(wanted: str) -> Callable[[str], bool]:
    """The test of a group of a name: it may lack the "^" of empty components at its end."""
    pattern, rest = _pattern(wanted), _REST.search(wanted)
    if rest is None or "=" in wanted:
        return lambda group: pattern.fullmatch(group) is not None
    padding = "^" * rest[0].count("^")
    return lambda group: pattern.fullmatch(group) is not None or pattern.fullmatch(group + padding) is not None


def broad_name(wanted: str) -> str:
    """The normal name of a key, whose wild cards match what the key matches and more.

    >>> broad_name("SMITH^*")
    'smith*'
    """
    return _REST.sub("*", normal_name(wanted))


def normal_name(name: str) -> str:
    """A folded person name without padding and trailing empty components (PS3.5 6.2.1.1)."""
    groups = (group.split("^") for group in folded(name).split("="))
    return "=".join("^".join([each.strip(" ") for each in group]).rstrip("^") for group in groups).rstrip("=")


# Dates and times


def ranges_test(dates: str, times: str) -> Callable[[str, str | None], bool] | None:
    """Combined date-time matching: the test of a date and a time, if both keys are ranges (PS3.4 C.2.2.2.5)."""
    first_date, is_range, last_date = dates.replace(" ", "").partition("-")
    first_time, is_range_too, last_time = times.replace(" ", "").partition("-")
    if not (is_range and is_range_too):
        return None
    low, high = _EVER
    if first_date:
        day, time = date_span(first_date, 0), time_span(first_time, 0) if first_time else (0, 0)
        if day is None or time is None:
            return None
        low = day[0] + time[0]
    if last_date:
        day, time = date_span(last_date, 0), time_span(last_time, 0) if last_time else (0, DAY)
        if day is None or time is None:
            return None
        high = day[1] - DAY + time[1]

    def test(date: str, time: str | None) -> bool:
        day, within = date_span(date, 0), time_span(time, 0) if time else None
        if day is None:
            return False
        span = day if within is None else (day[0] + within[0], day[0] + within[1])
        return span[0] < high and low < span[1]

    return test


def later(date_text: str, time_text: str, by: int) -> tuple[str, str] | None:
    """A date and its time some microseconds later, as precise as before; None if one of them is not a whole one.

    >>> later("20240229", "2330", 3600 * 1_000_000)
    ('20240301', '0030')
    """
    day, within = date_span(date_text, 0), time_span(time_text, 0)
    if day is None or day[1] - day[0] != DAY or within is None:
        return None
    days, rest = divmod(int(day[0] + within[0]) + by, DAY)
    if not 0 < days <= date.max.toordinal():
        return None
    seconds, fraction = divmod(rest, _SECOND)
    whole, _, digits = time_text.replace(":", "").partition(".")
    text = f"{seconds // 3600:02}{seconds // 60 % 60:02}{seconds % 60:02}"[: max(len(whole), 4 if by % HOUR else 2)]
    return f"{date.fromordinal(days):%Y%m%d}", f"{text}.{fraction:06}"[
        : len(text) + len(digits) + 1
    ] if digits else text


def _moment_test(vr: str, wanted: str, offset: int) -> Test:
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


def range_of(vr: str, wanted: str) -> tuple[float, float] | None:
    """The microseconds that a value of a key means, a DA from the first day of the year 1 on; None if it is not valid.

    >>> range_of("TM", "10-") == (10 * HOUR, math.inf)
    True
    """
    low, high = _bounds(wanted, lambda text: _SPANS[vr](text, 0))
    return (low, high) if low < high else None


# Dates and times as spans: the microsecond in which one begins, and the first one after its end


_Span = tuple[float, float]

_EVER: Final = (-math.inf, math.inf)
_SECOND: Final = 1_000_000
_MINUTE: Final = 60 * _SECOND
HOUR: Final = 60 * _MINUTE
DAY: Final = 24 * HOUR

OFFSET: Final = r"[+-](?:0\d|1[0-4])[0-5]\d"
_TIME = re.compile(r"([01]\d|2[0-3])(?:([0-5]\d)(?:([0-5]\d|60)(?:\.(\d{1,6}))?)?)?", re.ASCII)
_DATE = re.compile(r"(\d{4})(?:(\d\d)(\d\d)?)?", re.ASCII)
_DATE_AND_TIME = re.compile(rf"(\d{{4,8}}?)(?:(?<=\d{{8}})({_TIME.pattern}))?({OFFSET})?", re.ASCII)


def date_span(text: str, _: int = 0) -> _Span | None:
    """The microseconds of a DA, since the first day of the year 1; None if it is not valid."""
    found = _DATE.fullmatch(text.replace(".", ""))  # as in ACR-NEMA: 2024.02.29
    if found is None:
        return None
    year, month, day = int(found[1]), int(found[2] or 0), int(found[3] or 0)
    try:
        first = date(year, month or 1, day or 1)
        days = 1 if day else (monthrange(year, month)[1] if month else 365 + isleap(year))
    except ValueError:
        return None
    start = first.toordinal() * DAY
    return start, start + days * DAY


def time_span(text: str, _: int = 0) -> _Span | None:
    """The microseconds of a TM, since midnight; None if it is not valid."""
    found = _TIME.fullmatch(text.replace(":", ""))  # as in ACR-NEMA: 12:30:00
    if found is None:
        return None
    hour, minute, second, fraction = found.groups()
    start = int(hour) * HOUR + int(minute or 0) * _MINUTE + int(second or 0) * _SECOND
    if fraction:
        unit = 10 ** (6 - len(fraction))
        start += int(fraction) * unit
        return start, start + unit
    return start, start + (_SECOND if second else _MINUTE if minute else HOUR)


def _date_time_span(text: str, offset: int) -> _Span | None:
    found = _DATE_AND_TIME.fullmatch(text)
    days = None if found is None else date_span(found[1], 0)
    if found is None or days is None:
        return None
    offset = offset_of(found[7]) if found[7] else offset
    if not found[2]:
        return days[0] - offset, days[1] - offset
    within = time_span(found[2], 0)
    return None if within is None else (days[0] + within[0] - offset, days[0] + within[1] - offset)


def offset_of(text: str) -> int:
    """An offset from UTC in microseconds."""
    minutes = int(text[1:3]) * HOUR + int(text[3:]) * _MINUTE
    return -minutes if text[0] == "-" else minutes


_SPANS: Final[Mapping[str, Callable[[str, int], _Span | None]]] = {
    "DA": date_span,
    "TM": time_span,
    "DT": _date_time_span,
}
