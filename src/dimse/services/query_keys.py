"""The keys of a query: their paths, their values as text, and the identifier they make (PS3.4 C.2.2.2, PS3.5 6.2)."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from typing import Final

from dimse import uids
from dimse.dataset.encoding import QUERY_RETRIEVE_LEVEL, tag_name
from dimse.dataset.pydicom_names import IGNORE, DataElement, Dataset, dictionary_VR, keyword_for_tag, tag_for_keyword

QueryValue = (
    str
    | int
    | float
    | date
    | time
    | Sequence[str | int | float]
    | tuple[str | date | time | None, str | date | time | None]
    | Mapping[str, "QueryValue"]
    | None
)
"""The value of a key.

None or "" matches everything and is returned. A sequence holds several values; if the VR is DA, TM or DT, a tuple of
two is a range, either end of which may be None. A mapping holds the keys of the only item of a sequence. In text, a
backslash separates values, and a hyphen the ends of a range.
"""

Path = tuple[int, ...]
"""The tags of a key: one, or more if it is in a sequence."""

_SPECIFIC_CHARACTER_SET: Final = 0x00080005


# Keys: paths of tags


def tag_of(keyword: str) -> int:
    """The tag of a keyword. Raises `ValueError` if PS3.6 has no such keyword."""
    tag = tag_for_keyword(keyword) if keyword else None
    if tag is None:
        raise ValueError(f"unknown keyword {keyword!r}; a key must be a keyword of PS3.6 or a tag such as 0010,0010")
    return tag


_TAG = re.compile(r"\(([0-9A-F]{4}),([0-9A-F]{4})\)|([0-9A-F]{4}),?([0-9A-F]{4})", re.IGNORECASE)


def path_of(key: str, above: Path = ()) -> Path:
    """Parse a keyword, a tag, or a path of those, below the sequence at `above`."""
    path = above
    *sequences, last = key.split(".")
    for name in (*(sequence.removesuffix("[0]") for sequence in sequences), last):
        if "[" in name:
            raise ValueError(f"{key}: a sequence key must have one item (PS3.4 C.2.2.2.6); leave the index out")
        if path and _vr(path[-1]) != "SQ":
            raise ValueError(f"{key}: {name_of(*path)} is not a sequence; it cannot contain keys")
        path = (*path, _key_tag(name))
    return path


def _key_tag(name: str) -> int:
    match = _TAG.fullmatch(name)
    tag = int("".join(filter(None, match.groups())), 16) if match else tag_of(name)
    try:
        _vr(tag)
    except KeyError:
        raise ValueError(
            f"{tag_name(tag)} is not in the data dictionary (PS3.6); pass a level and a Dataset for private keys"
        ) from None
    if tag >> 16 in (0x0000, 0x0002, 0xFFFE):
        raise ValueError(f"{tag_name(tag)} must not be in an identifier (PS3.4 C.4.1.1.3); leave it out")
    if tag in (QUERY_RETRIEVE_LEVEL, _SPECIFIC_CHARACTER_SET):
        raise ValueError(f"{name_of(tag)} is derived from the level and the texts of the query; leave it out")
    return tag


def overlap(path: Path, other: Path) -> bool:
    """Whether one is the other, or a sequence that contains it."""
    return path[: len(other)] == other[: len(path)]


def with_key(keys: Mapping[Path, str], path: Path, value: QueryValue) -> dict[Path, str]:
    """`keys` with the one at `path` replaced; a sequence loses all its former keys."""
    changed = {other: text for other, text in keys.items() if not overlap(path, other)}
    if isinstance(value, Mapping) and value and _vr(path[-1]) == "SQ":
        for key, inner in value.items():
            changed = with_key(changed, path_of(key, path), inner)
        return changed
    return changed | {path: _text(path, value)}


def name_of(*path: int) -> str:
    """The path as the user writes it: keywords, or tags without one."""
    return ".".join(keyword_for_tag(tag) or tag_name(tag) for tag in path)


def vr_of_key(path: Path) -> str:
    """The VR of its values."""
    return _vr(path[-1])


def _vr(tag: int) -> str:
    """The VR; the first one if PS3.6 lists several, as in `US or SS`."""
    return dictionary_VR(tag).split()[0]


# Values: texts, as they are encoded


def _one_or_range(one: str) -> Callable[[str], object]:
    return re.compile(f"{one}|{one}-({one})?|-{one}", re.ASCII).fullmatch


def _each(is_valid: Callable[[str], object]) -> Callable[[str], object]:
    return lambda text: all(map(is_valid, text.split("\\")))


def _is_date_or_range(text: str) -> bool:
    ends = text.split("-")
    dates = [end for end in ends if end]
    return len(ends) <= 2 and dates != [] and all(map(_is_date, dates)) and dates == sorted(dates)


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return re.fullmatch(r"\d{8}", text) is not None  # ISO 8601 has other forms, too


def _is_number(vr: str) -> Callable[[str], bool]:
    read, form = _NUMBERS[vr]

    def is_number(text: str) -> bool:
        try:
            struct.pack(form, read(text))
        except (ValueError, OverflowError, struct.error):
            return False
        return _NUMBER.fullmatch(text) is not None  # Python also accepts 1_000 and nan

    return is_number


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGERS: Final = {"IS": "<l", "SS": "<h", "US": "<H", "SL": "<l", "UL": "<L", "SV": "<q", "UV": "<Q"}
_DECIMALS: Final = {"DS": "<d", "FL": "<f", "FD": "<d"}
_NUMBERS: Final[dict[str, tuple[Callable[[str], int | float], str]]] = {
    **{vr: (int, form) for vr, form in _INTEGERS.items()},
    **{vr: (float, form) for vr, form in _DECIMALS.items()},
}
"""By VR: the function that parses a text, and the struct format whose range the number must fit."""

_TIME = r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?"
_DATETIME = rf"\d{{4}}((0[1-9]|1[0-2])((0[1-9]|[12]\d|3[01])({_TIME})?)?)?([+-](0\d|1[0-4])[0-5]\d)?"
_FORMS: Final[dict[str, tuple[Callable[[str], object], str]]] = {
    "DA": (
        _is_date_or_range,
        "a date YYYYMMDD, or a range from the earlier to the later: 20240101-20240630, 20240101-",
    ),
    "TM": (_one_or_range(_TIME), "a time HHMMSS, or a range: 0800-1200, 0800-, -1200"),
    "DT": (_one_or_range(_DATETIME), "a date and time YYYYMMDDHHMMSS+ZZXX, or a range: 20240101-20240630, 202401-"),
    "UI": (_each(uids.has_uid_characters), "a UID or a list of UIDs"),
    "AS": (_each(re.compile(r"\d{3}[DWMY]", re.ASCII).fullmatch), "an age: 018M, 045Y"),
    **{vr: (_each(_is_number(vr)), "a number in the range of the VR") for vr in _NUMBERS},
}
"""By VR: the check of a value that is not free text (PS3.5 6.2, PS3.4 C.2.2.2), and its description."""

_WITH_CHARACTER_SET: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_ASCII: Final = frozenset({"AE", "CS", "UR"})
_ONE_VALUE: Final = frozenset({"LT", "ST", "UR", "UT"})
"""VRs with one value, in which a backslash is ordinary text or not allowed (PS3.5 6.2)."""


def _text(path: Path, value: QueryValue) -> str:
    vr = _vr(path[-1])
    try:
        text = _on_the_wire(vr, value)
        if text:
            _check(vr, text)
    except ValueError as error:
        # without the value, which may be a patient's name
        raise ValueError(f"{name_of(*path)} ({vr}): {error}") from None
    return text


def _on_the_wire(vr: str, value: QueryValue) -> str:
    if value is None:
        return ""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        return _one_on_the_wire(vr, value)
    if isinstance(value, tuple) and len(value) == 2 and vr in ("DA", "TM", "DT"):
        return "-".join("" if end is None else _one_on_the_wire(vr, end) for end in value)
    return _several_on_the_wire(vr, value)


def _several_on_the_wire(vr: str, values: Sequence[object]) -> str:
    if not values:
        raise ValueError("no values; leave the key out, or pass None to match everything and have it returned")
    if len(values) > 1 and vr in _ONE_VALUE:
        raise ValueError("several values are not allowed for this VR (PS3.5 6.2); pass one text")
    return "\\".join(_one_on_the_wire(vr, one) for one in values)


def _one_on_the_wire(vr: str, value: object) -> str:
    match value:
        case str():
            return value
        case int() | float() if vr in _NUMBERS:
            return str(value)
        case datetime() if vr == "DT":
            return re.sub("[-:T]", "", value.replace(tzinfo=None).isoformat()) + f"{value:%z}"
        case date() if vr in ("DA", "DT"):
            return value.isoformat()[:10].replace("-", "")
        case time() if vr == "TM":
            return value.isoformat().replace(":", "")
    raise ValueError(f"{type(value).__name__} is not accepted here; expected {_expected(vr)}")


def _check(vr: str, text: str) -> None:
    if vr in _FORMS:
        is_valid, expected = _FORMS[vr]
        if "*" in text or "?" in text:
            raise ValueError(f"wild cards are not allowed for this VR (PS3.4 C.2.2.2.4); expected {expected}")
        if not is_valid(text):
            raise ValueError(f"invalid value; expected {expected}")
    elif vr in _ASCII:
        if not text.isascii():
            raise ValueError("the value must be ASCII, whatever the character set (PS3.5 6.1.2.2)")
    elif vr not in _WITH_CHARACTER_SET:
        raise ValueError(f"a text cannot match this VR; expected {_expected(vr)}")
    elif any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("half a surrogate pair cannot be encoded in any character set; pass Unicode text")


def _expected(vr: str) -> str:
    if vr in _FORMS:
        return _FORMS[vr][1]
    if vr == "SQ":
        return "a mapping of keywords to values, or a key in the sequence: Sequence.Keyword"
    return "a text" if vr in _ASCII | _WITH_CHARACTER_SET else "None, to have it returned"


# Identifiers


def dataset_of(keys: Mapping[Path, str]) -> Dataset:
    """The data set of the keys; those in a sequence share its only item."""
    dataset = Dataset()
    for path, text in keys.items():
        item = dataset
        for tag in path[:-1]:
            if tag not in item:
                item.add(_element(tag, ""))
            item = item[tag].value[0]
        item.add(_element(path[-1], text))
    return dataset


def _element(tag: int, text: str) -> DataElement:
    """Not validated: pydicom would warn about wild cards and ranges, and show the value in the warning."""
    vr = _vr(tag)
    value: object = text or None
    if vr == "SQ":
        value = [Dataset()]  # PS3.4 C.2.2.2.6: an item without keys matches everything
    elif text and vr in _NUMBERS and vr not in ("DS", "IS"):
        value = [_NUMBERS[vr][0](number) for number in text.split("\\")]
    return DataElement(tag, vr, value, validation_mode=IGNORE)


def texts_of(dataset: Dataset) -> Iterator[str]:
    """The values to which Specific Character Set applies, also those in items."""
    for element in dataset.iterall():
        if element.VR in _WITH_CHARACTER_SET:
            yield from map(str, element.value if element.VM > 1 else [element.value])


def character_set_for(text: str) -> str | None:
    """None for the default repertoire, Latin-1, which most archives support, or UTF-8 (PS3.3 C.12.1.1.2)."""
    if text.isascii():
        return None
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return "ISO_IR 192"
    return "ISO_IR 100"
