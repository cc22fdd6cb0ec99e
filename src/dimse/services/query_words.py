"""Dates as people write them, as the values of keys (PS3.4 C.2.2.2.5, PS3.5 6.2).

    2024-01-31, 2024-01, 2024        a day, all of a month, all of a year
    2024-01..2024-06, 2024.., ..2024 a range; both ends are included, and may be left out
    >=2024-06, >2024-06              from the first of June on; after June
    <=2024-06, <2024-06              up to the end of June; before June
    today, yesterday                 by the clock of this computer
    -7d, -2w                         since 7 days, 2 weeks ago; as an end of a range, that day

Everything else stays as it is, so dates as DICOM has them are values too: 20240131, 20240101-20240630.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date, timedelta
from typing import Final

_DAY: Final = timedelta(days=1)
_ISO: Final = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)
_AGO: Final = re.compile(r"-(\d{1,5})([dw])", re.ASCII)

_Span = tuple[date, date]
"""The first and the last day."""


def date_value(text: str, today: date) -> str:
    """The value of a key for dates in words; `text` itself if it is none. Raises `ValueError` for an empty range.

    >>> date_value("2024-01..2024-02", date.today())
    '20240101-20240229'
    """
    words = text.strip()
    start, is_range, end = words.partition("..")
    if is_range:
        return _range(start.strip(), end.strip(), today) or text
    if words[:1] in ("<", ">"):
        return _compared(words, today) or text
    span = _span(words, today)
    if span is None:
        return text
    if _AGO.fullmatch(words):
        return f"{_written(span[0])}-"
    first, last = map(_written, span)
    return first if first == last else f"{first}-{last}"


def _range(start: str, end: str, today: date) -> str | None:
    first, last = _span(start, today), _span(end, today)
    if (start and first is None) or (end and last is None) or not (first or last):
        return None
    if first and last and first[0] > last[1]:
        raise ValueError("the range ends before it begins")
    return f"{_written(first[0]) if first else ''}-{_written(last[1]) if last else ''}"


def _compared(words: str, today: date) -> str | None:
    sign = words[:2] if words[1:2] == "=" else words[0]
    span = _span(words[len(sign) :].strip(), today)
    if span is None:
        return None
    first, last = span
    try:
        match sign:
            case ">=":
                return f"{_written(first)}-"
            case ">":
                return f"{_written(last + _DAY)}-"
            case "<=":
                return f"-{_written(last)}"
            case _:
                return f"-{_written(first - _DAY)}"
    except OverflowError:
        return None


def _span(word: str, today: date) -> _Span | None:
    """The days that a word means; None if it is none."""
    ago = _AGO.fullmatch(word)
    try:
        if ago:
            day = today - int(ago[1]) * (7 if ago[2] == "w" else 1) * _DAY
            return day, day
        if word.lower() in ("today", "yesterday"):
            day = today if word.lower() == "today" else today - _DAY
            return day, day
        if re.fullmatch(r"\d{8}", word, re.ASCII):
            day = date.fromisoformat(word)
            return day, day
        return _iso_span(word)
    except (ValueError, OverflowError):
        return None


def _iso_span(word: str) -> _Span | None:
    found = _ISO.fullmatch(word)
    if found is None:
        return None
    year, month, day = int(found[1]), int(found[2] or 0), int(found[3] or 0)
    first = date(year, month or 1, day or 1)
    if day:
        return first, first
    return first, date(year, month or 12, monthrange(year, month)[1] if month else 31)


def _written(day: date) -> str:
    return day.isoformat().replace("-", "")
