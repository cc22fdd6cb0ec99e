"""The elements of an encoded data set, found by their headers and left encoded (PS3.5 7).

1. The first element, and the first of each item, shows whether there are VRs, as pydicom has it.
2. A value of undefined length is a sequence; its items are followed to their delimiters.
3. What is malformed ends the walk: the elements before it are kept.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from dimse.dataset.byteorder import Swapper
from dimse.dataset.encoding import (
    ITEM,
    ITEM_END,
    ITEM_GROUP,
    LITTLE,
    SEQUENCE_END,
    SHORT_VRS,
    SPECIFIC_CHARACTER_SET,
    UNDEFINED_LENGTH,
    Encoding,
)
from dimse.dataset.scanner import MAX_SEQUENCE_DEPTH
from dimse.dataset.structure import MAX_CHARACTER_SETS, dictionary_vr, shows_implicit
from dimse.errors import DatasetError

Element = tuple[bytes, int, int]
"""The VR, empty in Implicit VR, and where the value begins and ends."""

MALFORMED: Final = (struct.error, DatasetError)
"""What following malformed elements raises."""

_UNKNOWN: Final = b"UN"


class Header:
    """The elements of a data set that are before its pixel data, in any transfer syntax, inflated if it is deflated.

    Those with tags above `last` are not looked at.
    """

    def __init__(self, encoded: bytes, transfer_syntax_uid: str, last: int = UNDEFINED_LENGTH) -> None:
        if Encoding.of(transfer_syntax_uid).big_endian:
            encoded = Swapper().feed(encoded)
        self.data: Final = encoded
        self.elements: dict[int, Element] = {}
        """Those of the top level, by tag."""
        self.end = 0
        """Where the elements end that were looked at; 0 if one of them is malformed."""
        with suppress(*MALFORMED):
            self.end = _walk(encoded, 0, len(encoded), shows_implicit(encoded), self.elements, last)
        self.character_sets: Final = character_sets_in(encoded, self.elements)

    def value(self, tag: int) -> bytes:
        """The encoded value of an element; empty if it is missing."""
        element = self.elements.get(tag)
        return b"" if element is None else self.data[element[1] : element[2]]


def vr_of(tag: int, vr: bytes) -> str:
    """The VR of an element: its own, or that of PS3.6 in Implicit VR or if it is UN."""
    if vr and vr != _UNKNOWN:
        return vr.decode("latin-1")
    known = dictionary_vr(tag) or "UN"
    return known if len(known) == 2 else "US" if known == "US or SS" else "OW"  # where it is a choice


def character_sets_in(data: bytes, elements: dict[int, Element], outer: list[str] | None = None) -> list[str]:
    """The terms of Specific Character Set (0008,0005); `outer`, those of the enclosing data set, if it is missing."""
    if SPECIFIC_CHARACTER_SET not in elements:
        return outer or []
    _, start, end = elements[SPECIFIC_CHARACTER_SET]
    text = data[start : min(end, start + MAX_CHARACTER_SETS)].decode("latin-1")
    return [term.strip(" \0") for term in text.split("\\")]


def items(data: bytes, element: Element) -> Iterator[dict[int, Element]]:
    """The elements of each item of a sequence. Raises one of `MALFORMED`."""
    vr, position, end = element
    while position + 8 <= end:
        length, position = _item(data, position)
        if length is None:
            return
        found: dict[int, Element] = {}
        limit = end if length == UNDEFINED_LENGTH else position + length
        if limit > end:
            raise DatasetError("an item ends after its sequence")
        position = _walk(data, position, limit, not vr or shows_implicit(data, position), found)
        yield found


def _walk(
    data: bytes,
    position: int,
    end: int,
    implicit: bool,
    found: dict[int, Element],
    last: int = UNDEFINED_LENGTH,
    depth: int = 0,
) -> int:
    """Note the elements up to `end`, to the delimiter of their item, or to the first tag above `last`.

    Returns the position after them.
    """
    unpack = LITTLE.short.unpack_from
    while position + 8 <= end:
        group, number, vr, length = unpack(data, position)
        tag = group << 16 | number
        if tag > last:
            break
        position += 8
        if implicit or vr not in SHORT_VRS:
            if tag == ITEM_END:
                break
            vr, position, length = _long(data, position, vr, implicit)
            if length == UNDEFINED_LENGTH:
                start, position = position, _end_of_sequence(data, position, not vr, depth)
                found[tag] = vr, start, position - 8
                continue
        start, position = position, position + length
        if position > end:
            raise DatasetError("a value ends after its data set")
        found[tag] = vr, start, position
    return position


def _long(data: bytes, position: int, vr: bytes, implicit: bool) -> tuple[bytes, int, int]:
    """VR, beginning and length of the value of an element that has no VR, or one with a 32-bit length."""
    if implicit or not (vr.isalpha() and vr.isupper()):  # one in Implicit VR among the others
        return b"", position, LITTLE.length_32.unpack_from(data, position - 4)[0]
    return vr, position + 4, LITTLE.length_32.unpack_from(data, position)[0]


def _item(data: bytes, position: int) -> tuple[int | None, int]:
    """The length of the item whose header is at `position`, None for the end of the sequence; and where it begins."""
    group, number, length = LITTLE.plain.unpack_from(data, position)
    tag = group << 16 | number
    if tag == SEQUENCE_END:
        return None, position + 8
    if tag != ITEM or group != ITEM_GROUP:
        raise DatasetError("expected an item")
    return length, position + 8


def _end_of_sequence(data: bytes, position: int, implicit: bool, depth: int) -> int:
    """The position after the delimiter of the sequence whose items begin at `position`."""
    if depth > MAX_SEQUENCE_DEPTH:
        raise DatasetError(f"sequences nested deeper than {MAX_SEQUENCE_DEPTH}")
    while True:
        length, position = _item(data, position)
        if length is None:
            return position
        if length == UNDEFINED_LENGTH:
            has_no_vrs = implicit or shows_implicit(data, position)
            position = _walk(data, position, len(data), has_no_vrs, {}, depth=depth + 1)
        else:
            position += length
