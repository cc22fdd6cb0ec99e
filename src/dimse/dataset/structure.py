"""The structure of a whole encoded data set, checked before pydicom sees it (PS3.5 7).

pydicom accepts truncated data, parses sequences lazily and takes 300 bytes for an empty element. So all headers are
checked here first: in one pass, without recursion, within limits.
"""

# How the walk keeps its place.
#
# `_stack` begins with the data set itself and has a level for each open sequence and item. Every level knows where it
# must end, so a nested length can never reach beyond the one around it. A level of undefined length ends earlier, at
# its delimiter.
#
# The VR form may change on the way down, from Explicit to Implicit VR, and an element without a VR may stand among
# others that have one: pydicom reads both, so both are accepted.
#
# The hard case is a value of unknown VR (UN, or a private tag in Implicit VR) that begins like a sequence. pydicom may
# parse it as one, so it must be checked; but it may also be arbitrary bytes that only look like an item. Such a level
# is not `is_certain`. A `_Malformed` error inside it proves that it is not a sequence: `_leave_uncertain` drops the
# levels above it and continues after the value. A limit that is exceeded, a plain `DatasetError`, always counts.

from __future__ import annotations

import re
import sys
from collections.abc import Collection
from functools import lru_cache
from typing import Final, NamedTuple

from pydicom.datadict import dictionary_has_tag, dictionary_VR

from dimse.dataset.encoding import (
    ITEM,
    ITEM_END,
    ITEM_GROUP,
    LONG_VRS,
    PIXEL_DATA_TAGS,
    SEQUENCE_END,
    SHORT_VRS,
    SPECIFIC_CHARACTER_SET,
    UNDEFINED_LENGTH,
    Buffer,
    Encoding,
    tag_name,
)
from dimse.dataset.scanner import MAX_SEQUENCE_DEPTH
from dimse.errors import DatasetError

MAX_CHARACTER_SETS: Final = 1024
"""Bytes of a Specific Character Set. All terms together take a quarter. pydicom copies the list for each text."""

_SURPLUS: Final = re.compile(rb"(?:\xfe\xff[\x0d\xdd]\xe0\0{4}|\xff\xfe\xe0[\x0d\xdd]\0{4}|\0++)*+")
"""Delimiters of items and sequences, and zeros."""


class Structure(NamedTuple):
    """The result of checking the headers of a data set."""

    implicit: bool
    """Whether it is in Implicit VR by its first header, judged as pydicom does."""
    end: int
    """The end of its last element; only delimiters or zeros follow."""
    values: dict[int, tuple[int, int]]
    """Start and end of the values of the wanted elements, by tag."""


class Limits(NamedTuple):
    """The maximum counts of a data set, at all levels together."""

    elements: int = sys.maxsize
    """Fragments count as well."""
    items: int = sys.maxsize


def check_structure(data: Buffer, transfer_syntax_uid: str, limits: Limits, wanted: Collection[int] = ()) -> Structure:
    """Check all headers of a data set, including nested ones. `wanted` are tags of the top level.

    Raises `DatasetError` if a limit is exceeded, sequences are nested too deep, Pixel Data appears twice, or the data
    set is truncated or malformed.
    """
    return _Walk(data, transfer_syntax_uid, limits, wanted).run()


def shows_implicit(data: Buffer, position: int = 0) -> bool:
    """Whether the element at `position` is in Implicit VR: judged as pydicom does, by the absence of a VR."""
    vr = bytes(data[position + 4 : position + 6])
    return not (b"A" <= vr[:1] <= b"Z" and b"A" <= vr[1:] <= b"Z")


class _Malformed(DatasetError):
    """An element or item is missing or invalid. Inside an uncertain sequence this proves that it is not a sequence."""


class _Level(NamedTuple):
    """A sequence that holds items, or an item that holds elements."""

    holds_items: bool
    implicit: bool
    end: int
    """Where it must end at the latest."""
    is_undefined: bool = False
    is_certain: bool = True
    """Whether it is a sequence for sure; otherwise it is a value of unknown VR that begins like one."""


class _Walk:
    def __init__(self, data: Buffer, transfer_syntax_uid: str, limits: Limits, wanted: Collection[int]) -> None:
        encoding = Encoding.of(transfer_syntax_uid)
        headers = encoding.headers
        self._unpack = headers.plain.unpack_from
        self._unpack_short, self._unpack_long = headers.length_16.unpack_from, headers.length_32.unpack_from
        self._item_tag = headers.plain.pack(ITEM_GROUP, ITEM & 0xFFFF, 0)[:4]
        self._data, self._position = data, 0
        self._limits, self._elements, self._items = limits, 0, 0
        self._wanted, self._values = wanted, dict[int, tuple[int, int]]()
        self._pixel_data: set[int] = set()
        self._surplus_ends = 0
        """The end of the surplus found at an earlier position, so that no byte is checked twice."""
        self._tag = 0
        """The element that was checked last, for error messages."""
        implicit = self._is_implicit(0, len(data), expected=encoding.implicit)
        self._stack = [_Level(holds_items=False, implicit=implicit, end=len(data))]

    def run(self) -> Structure:
        top = self._stack[0]
        while self._stack:
            level = self._stack[-1]
            try:
                if self._position == level.end and not level.is_undefined:
                    self._stack.pop()
                elif level is top and self._is_surplus():
                    break
                elif self._position + 8 > level.end:
                    raise self._ends_early()
                elif level.holds_items:
                    self._item(level)
                else:
                    self._element(level)
            except _Malformed as error:
                self._leave_uncertain(str(error))
        return Structure(top.implicit, self._position, self._values)

    def _is_implicit(self, position: int, end: int, *, expected: bool) -> bool:
        return shows_implicit(self._data, position) if position + 6 <= end else expected

    def _is_surplus(self) -> bool:
        """Whether only delimiters and zeros follow the last element."""
        if self._position >= self._surplus_ends:
            surplus = _SURPLUS.match(self._data, self._position)
            self._surplus_ends = self._position if surplus is None else surplus.end()
        return self._surplus_ends == len(self._data)

    def _count_element(self) -> None:
        self._elements += 1
        if self._elements > self._limits.elements:
            raise DatasetError(f"more than {self._limits.elements} elements")

    def _ends_early(self) -> DatasetError:
        return _Malformed(f"truncated in or after {tag_name(self._tag)}, byte {self._position}")

    def _element(self, level: _Level) -> None:
        position = self._position
        group, number, length = self._unpack(self._data, position)
        tag, vr, value = group << 16 | number, b"", position + 8
        if group == ITEM_GROUP:
            self._end_item(level, tag)
            return
        self._count_element()
        self._tag = tag
        if not level.implicit:
            vr = bytes(self._data[position + 4 : position + 6])
            if vr in SHORT_VRS:
                (length,) = self._unpack_short(self._data, position + 6)
            elif vr in LONG_VRS and value + 4 <= level.end:
                (length,) = self._unpack_long(self._data, value)
                value += 4
            elif b"AA" <= vr <= b"ZZ":
                raise _Malformed(f"unknown value representation at {tag_name(tag)}")
            else:
                vr = b""  # an element in Implicit VR among the others, as pydicom reads it
        if len(self._stack) == 1:
            self._note(tag, value, length)
        if tag == SPECIFIC_CHARACTER_SET and length > MAX_CHARACTER_SETS:
            raise DatasetError(f"{tag_name(tag)} has more than {MAX_CHARACTER_SETS} bytes")
        self._value(level, vr, value, length)

    def _note(self, tag: int, value: int, length: int) -> None:
        if tag in PIXEL_DATA_TAGS:
            if tag in self._pixel_data:
                raise DatasetError(f"{tag_name(tag)} appears twice")
            self._pixel_data.add(tag)
        if tag in self._wanted:
            self._values[tag] = value, value + length

    def _value(self, level: _Level, vr: bytes, value: int, length: int) -> None:
        """Skip the value, or enter it."""
        self._position = value
        is_undefined = length == UNDEFINED_LENGTH
        end = level.end if is_undefined else value + length
        if end > level.end:
            raise _Malformed(f"truncated in {tag_name(self._tag)}")
        is_sequence, is_certain = vr == b"SQ", True
        if vr in (b"", b"UN"):
            is_sequence, is_certain = self._judge_unknown(vr, value, is_undefined)
        if is_sequence and length:
            # Each sequence and each item has a level.
            if len(self._stack) > 2 * MAX_SEQUENCE_DEPTH:
                raise DatasetError(f"sequences nested deeper than {MAX_SEQUENCE_DEPTH} at {tag_name(self._tag)}")
            self._stack.append(_Level(True, level.implicit, end, is_undefined, is_certain))
        elif is_undefined:
            self._fragments(level.end)
        else:
            self._position = end

    def _judge_unknown(self, vr: bytes, value: int, is_undefined: bool) -> tuple[bool, bool]:
        """Whether a value without a VR, or of VR UN, is a sequence, and whether that is certain."""
        if is_undefined and vr == b"UN":
            return True, True
        known = dictionary_vr(self._tag)
        if known is None:
            return is_undefined or self._data[value : value + 4] == self._item_tag, is_undefined
        return known == "SQ", True

    def _fragments(self, end: int) -> None:
        """Encapsulated pixel data (PS3.5 A.4)."""
        while self._position + 8 <= end:
            group, number, length = self._unpack(self._data, self._position)
            tag = group << 16 | number
            self._position += 8
            if tag == SEQUENCE_END:
                return
            if tag != ITEM:
                raise _Malformed(f"expected a fragment in {tag_name(self._tag)}")
            self._count_element()
            self._position += length
        raise self._ends_early()

    def _item(self, level: _Level) -> None:
        group, number, length = self._unpack(self._data, self._position)
        tag = group << 16 | number
        self._position += 8
        if tag == SEQUENCE_END and (level.is_undefined or self._position == level.end):
            self._stack.pop()
        elif tag != ITEM:
            raise _Malformed(f"expected an item in or after {tag_name(self._tag)}")
        else:
            self._items += 1
            if self._items > self._limits.items:
                raise DatasetError(f"more than {self._limits.items} items")
            is_undefined = length == UNDEFINED_LENGTH
            end = level.end if is_undefined else self._position + length
            if end > level.end:
                raise self._ends_early()
            # Explicit VR may contain sequences in Implicit VR, but not the other way round.
            implicit = level.implicit or self._is_implicit(self._position, end, expected=False)
            self._stack.append(_Level(False, implicit, end, is_undefined))

    def _end_item(self, level: _Level, tag: int) -> None:
        self._position += 8
        if tag != ITEM_END or len(self._stack) == 1 or not (level.is_undefined or self._position == level.end):
            raise _Malformed(f"unexpected item or delimiter after {tag_name(self._tag)}")
        self._stack.pop()

    def _leave_uncertain(self, why: str) -> None:
        """Continue after the innermost uncertain sequence, which is not one; raise the error if all are certain."""
        while self._stack and self._stack[-1].is_certain:
            self._stack.pop()
        if not self._stack:
            raise DatasetError(why)
        self._position = self._stack.pop().end


@lru_cache(maxsize=4096)
def dictionary_vr(tag: int) -> str | None:
    """The VR of a tag in PS3.6, None if it has none."""
    return dictionary_VR(tag) if dictionary_has_tag(tag) else None
