"""C-FIND matching as PS3.4 C.2.2.2 says it, without regard to speed: the oracle of the property tests.

It knows keys and values as texts, by keyword: {"PatientID": ["4711"], "ProcedureCodeSequence": [{"CodeValue": ["1"]}]}.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydicom.datadict import dictionary_VR

Entity = Mapping[str, Sequence[Any]]

PLAIN = {"Ä": "a", "ä": "a", "ü": "u", "ß": "ss", "ﾔ": "ヤ"}
"""What the names of the tests have beyond ASCII, in its folded form."""
WILD = ("CS", "LO", "LT", "PN", "SH")
UNIVERSAL = "*"


def matches(keys: Entity, entity: Entity, *, combined: bool = False, fuzzy: bool = False) -> bool:
    """Whether an entity matches all keys."""
    keys = dict(keys)
    if combined and ranges(keys, "StudyDate") and ranges(keys, "StudyTime"):
        dates, times = keys.pop("StudyDate")[0], keys.pop("StudyTime")[0]
        if entity.get("StudyDate") and not in_combined_range(dates, times, entity):
            return False
    return all(matches_key(keyword, values, entity.get(keyword, []), fuzzy=fuzzy) for keyword, values in keys.items())


def matches_key(keyword: str, wanted: Sequence[Any], values: Sequence[Any], *, fuzzy: bool) -> bool:
    vr = dictionary_VR(keyword)
    if not wanted or UNIVERSAL in wanted or wanted == [{}]:
        return True
    if not values:
        return True  # unknown
    if vr == "SQ":
        return any(matches(wanted[0], item) for item in values)
    return any(RULES.get(vr, text)(vr, one, value) for one in wanted for value in values) or (
        fuzzy and vr == "PN" and any(in_words(one, value) for one in wanted for value in values)
    )


def text(vr: str, wanted: str, value: str) -> bool:
    return glob(wanted, value) if vr in WILD else wanted == value


def glob(pattern: str, value: str) -> bool:
    if not pattern:
        return not value
    if pattern[0] == "*":
        return glob(pattern[1:], value) or (value != "" and glob(pattern, value[1:]))
    return value != "" and pattern[0] in ("?", value[0]) and glob(pattern[1:], value[1:])


def name(vr: str, wanted: str, value: str) -> bool:
    wanted, value = folded(wanted), folded(value)
    if glob(wanted, value):
        return True
    groups, parts = wanted.split("="), value.split("=")
    if len(groups) == 1:
        return any(glob_name(wanted, part) for part in parts)
    parts += [""] * len(groups)
    return all(group == "" or glob_name(group, part) for group, part in zip(groups, parts, strict=False))


def glob_name(wanted: str, value: str) -> bool:
    """Of a group, "Smith" is "Smith^^^^" too."""
    rest = wanted[len(wanted.rstrip("^*")) :]
    return glob(wanted, value) or (rest.endswith("*") and glob(wanted, value + "^" * rest.count("^")))


def folded(value: str) -> str:
    plain = "".join(PLAIN.get(each, each.lower()) for each in value)
    return "=".join(group.rstrip("^") for group in plain.split("=")).rstrip("=")


def in_words(wanted: str, value: str) -> bool:
    words, there = (re.findall(r"[^\^=*? ]+", folded(each)) for each in (wanted, value))
    return bool(words) and all(any(each.startswith(word) for each in there) for word in words)


def number(vr: str, wanted: Any, value: Any) -> bool:
    return float(wanted) == float(value)


Span = tuple[datetime, datetime]
"""The first and the last microsecond."""
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
ZONE = r"[+-](?:0\d|1[0-4])[0-5]\d"
MOMENT = {"DA": r"\d{8}", "TM": r"\d{2,6}(?:\.\d+)?", "DT": rf"\d{{4,14}}(?:\.\d+)?(?:{ZONE})?"}


def moment(vr: str, wanted: str, value: str) -> bool:
    low, high = key_span(vr, wanted)
    first, last = span(vr, value)
    return first <= high and low <= last


def key_span(vr: str, wanted: str) -> Span:
    if re.fullmatch(MOMENT[vr], wanted):
        return span(vr, wanted)
    found = re.fullmatch(f"({MOMENT[vr]})?-({MOMENT[vr]})?", wanted)
    assert found is not None
    return span(vr, found[1])[0] if found[1] else FIRST, span(vr, found[2])[1] if found[2] else LAST


def span(vr: str, value: str) -> Span:
    zone = re.search(f"{ZONE}$", value) if vr == "DT" else None
    digits = value[: zone.start()] if zone else value
    digits = "20000101" + digits if vr == "TM" else digits
    whole, _, fraction = digits.partition(".")
    lowest = whole + "00000101000000"[len(whole) :]
    first = datetime.strptime(lowest, "%Y%m%d%H%M%S").replace(tzinfo=UTC, microsecond=int(fraction.ljust(6, "0")))
    last = after(first, len(whole), len(fraction)) - timedelta(microseconds=1)
    offset = timedelta(0)
    if zone:
        sign = -1 if zone[0][0] == "-" else 1
        offset = sign * timedelta(hours=int(zone[0][1:3]), minutes=int(zone[0][3:]))
    return first - offset, last - offset


def after(first: datetime, digits: int, fraction: int) -> datetime:
    """The first moment after a value that has so many digits."""
    if fraction:
        return first + timedelta(microseconds=10 ** (6 - fraction))
    if digits <= 6:
        year, month = (first.year, first.month + 1) if digits == 6 else (first.year + 1, 1)
        return first.replace(year=year + (month > 12), month=1 if month > 12 else month)
    return first + {8: timedelta(days=1), 10: timedelta(hours=1), 12: timedelta(minutes=1)}.get(
        digits, timedelta(seconds=1)
    )


def ranges(keys: Entity, keyword: str) -> bool:
    return len(keys.get(keyword, [])) == 1 and "-" in keys[keyword][0]


def in_combined_range(dates: str, times: str, entity: Entity) -> bool:
    (first_date, last_date), (first_time, last_time) = dates.split("-"), times.split("-")
    low = span("DT", first_date + first_time)[0] if first_date else FIRST
    high = span("DT", last_date + last_time)[1] if last_date else LAST
    first, last = span("DT", entity["StudyDate"][0] + "".join(entity.get("StudyTime", [])))
    return first <= high and low <= last


RULES: dict[str, Callable[[str, Any, Any], bool]] = {
    "PN": name,
    **dict.fromkeys(("IS", "DS", "US"), number),
    **dict.fromkeys(("DA", "TM", "DT"), moment),
}


def response(keys: Entity, entity: Entity) -> dict[str, list[Any]]:
    """What is returned for an entity that matches: the attributes asked for, and of sequences the items that match."""
    returned: dict[str, list[Any]] = {}
    for keyword, wanted in keys.items():
        values = list(entity.get(keyword, []))
        if dictionary_VR(keyword) == "SQ" and wanted and wanted != [{}]:
            values = [response(wanted[0], item) for item in values if matches(wanted[0], item)]
        returned[keyword] = values
    return returned
