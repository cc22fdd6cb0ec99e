"""Rows of the index as the tests of `Matcher` and answers need them: elements by tag. Pure.

An element is its VR and its encoded value, as `attributes` keeps them: in little endian, texts in UTF-8.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from dimse.dataset.encoding import LITTLE, LONG_SIZE, PLAIN_SIZE, SHORT_VRS
from dimse.dataset.texts import TEXT_VRS, split_values
from dimse.node.attributes import parse
from dimse.services.matching import Keys
from dimse.services.matching_rules import OFFSET, offset_of, significant

Element = tuple[str, bytes]
"""VR and value."""

Elements = Mapping[int, Element]

_SHORT: Final = {vr: vr.decode("ascii") for vr in SHORT_VRS}
_TIMEZONE_OFFSET_FROM_UTC: Final = 0x00080201
_NUMBERS: Final = {
    "US": ("H", 2),
    "SS": ("h", 2),
    "UL": ("L", 4),
    "SL": ("l", 4),
    "FL": ("f", 4),
    "FD": ("d", 8),
    "UV": ("Q", 8),
    "SV": ("q", 8),
}


def pick(encoded: bytes, wanted: Collection[int], last: int) -> dict[int, Element]:
    """The wanted elements of encoded attributes; none has a tag above `last`."""
    found: dict[int, Element] = {}
    read, position, end = LITTLE.short.unpack_from, 0, len(encoded)
    while position < end:
        group, number, letters, length = read(encoded, position)
        tag = group << 16 | number
        if tag > last:
            break
        vr = _SHORT.get(letters)
        if vr is None:
            vr, length = letters.decode("latin-1"), LITTLE.length_32.unpack_from(encoded, position + 8)[0]
            position += LONG_SIZE
        else:
            position += PLAIN_SIZE
        if tag in wanted:
            found[tag] = vr, encoded[position : position + length]
        position += length
    return found


def values(element: Element | None) -> list[Any]:
    """The values of an element as the tests of `Matcher` take them; none if it is missing or empty."""
    if element is None or not element[1]:
        return []
    vr, value = element
    if vr in TEXT_VRS:
        return significant(split_values(value.decode("utf-8", "replace"), vr), vr)
    try:
        if vr in _NUMBERS:
            form, size = _NUMBERS[vr]
            return list(struct.unpack(f"<{len(value) // size}{form}", value))
        if vr == "AT":
            pairs = struct.unpack(f"<{len(value) // 2}H", value)
            return [group << 16 | number for group, number in zip(pairs[::2], pairs[1::2], strict=True)]
    except (struct.error, ValueError):
        return []
    return [value]


def text(elements: Elements, tag: int) -> str:
    """The first value of an element, empty if it has none."""
    found = values(elements.get(tag))
    return str(found[0]) if found else ""


def items(elements: Elements, tag: int) -> Iterator[dict[int, Element]]:
    """The elements of each item of a sequence."""
    vr, value = elements.get(tag, ("", b""))
    position = 0
    while vr == "SQ" and position < len(value):
        end = position + PLAIN_SIZE + LITTLE.length_32.unpack_from(value, position + 4)[0]
        yield parse(value[position + PLAIN_SIZE : end])
        position = end


def offset_in(elements: Elements, outer: int = 0) -> int:
    """The offset from UTC of a data set, or of an item in one with the offset `outer`."""
    own = text(elements, _TIMEZONE_OFFSET_FROM_UTC)
    return offset_of(own) if own and re.fullmatch(OFFSET, own, re.ASCII) else outer


def match(keys: Keys, elements: Elements, outer: int = 0) -> bool:
    """Whether all keys match. `outer` is the offset from UTC of the data set around an item."""
    offset = offset_in(elements, outer)
    for tag, tests in keys.tests.items():
        found = values(elements.get(tag))
        if not found:
            if not keys.match_unknown(tag):
                return False
        elif not any(test(value, offset) for value in found for test in tests):
            return False
    return _match_combined(keys, elements) and _match_items(keys, elements, offset)


def _match_combined(keys: Keys, elements: Elements) -> bool:
    for date_tag, time_tag, ranges in keys.combined:
        day = text(elements, date_tag)
        if not (ranges(day, text(elements, time_tag) or None) if day else keys.unknown_matches):
            return False
    return True


def _match_items(keys: Keys, elements: Elements, offset: int) -> bool:
    for tag, inner in keys.items.items():
        found = [*items(elements, tag)]
        if not found:
            if not (keys.unknown_matches or inner.is_universal):
                return False
        elif not any(match(inner, item, offset) for item in found):
            return False
    return True
