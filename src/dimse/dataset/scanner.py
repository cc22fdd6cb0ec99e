"""An incremental scanner over an encoded data set (PS3.5 7).

A data set arrives in fragments that may end anywhere. The scanner follows its elements as they arrive, keeps the
metadata and stops where the bulk data begins. It reads headers only and never decodes a value.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from dimse.dataset.encoding import (
    INFLATE_STEP,
    ITEM,
    ITEM_END,
    ITEM_GROUP,
    ITEM_TAG,
    LITTLE,
    PIXEL_DATA_TAGS,
    SEQUENCE_END,
    SERIES_INSTANCE_UID,
    SHORT_VRS,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    UNDEFINED_LENGTH,
    VRS,
    Buffer,
    Encoding,
    Inflater,
    tag_name,
    unpadded_text,
)
from dimse.errors import DatasetError

# How the scanner keeps its place.
#
# `_position` is where the next header begins. It is set as soon as a header is read, so it may lie beyond the bytes
# that have arrived: then a value is still on its way, and nothing is done until the next header is complete. No byte
# of a value is ever looked at.
#
# At the top level `_stack` is empty, and `_scan_top_level` walks from element to element. It stops in front of the
# bulk data, and at an element of undefined length, whose end only its content shows. For such an element the stack
# gets a level, and `_scan_nested` walks inside: one level per sequence and one per item. A sequence or item with a
# defined length needs no level, as it is skipped like any other value.
#
# A level is an integer made of three flags:
#
#     IN_ITEM      the level is an item, which holds elements; otherwise it is a sequence, which holds items
#     IS_IMPLICIT  its elements are in Implicit VR
#     IS_ENTERED   the first element of the item has been seen and has confirmed IS_IMPLICIT
#
# An example in Explicit VR Little Endian: a sequence with one item, both of undefined length. The stack is shown after
# each header.
#
#     byte   header                                stack                   _position
#        0   (0008,0016) UI, 26 bytes              []                             34
#       34   (0008,1140) SQ, undefined length      [0]                            46
#       46     (FFFE,E000) item, undefined length  [0, IN_ITEM]                   54
#       54       (0008,1150) UI, 26 bytes          [0, IN_ITEM | IS_ENTERED]      88
#       88     (FFFE,E00D) end of the item         [0]                            96
#       96   (FFFE,E0DD) end of the sequence       []                            104
#      104   (7FE0,0010) OW, 524288 bytes          []                            116   bulk.header_offset is 104
#
# Three rules come from real data sets rather than from the standard:
#
# - The first header, of the data set and of each item, shows whether there are VRs, whatever the transfer syntax says.
#   Where the VR could also be a length, the header that follows decides.
# - Zeros or delimiters after the last element are surplus: some devices pad to a block or close too many sequences.
# - Elements may be larger than memory. Once `_position` passes `_max_metadata`, the current top-level element is bulk
#   data like pixel data.

if TYPE_CHECKING:
    from collections.abc import Iterable
    from struct import Struct

MAX_METADATA: Final = 16 * 1024 * 1024
"""Bytes of metadata kept in memory. The top-level element that exceeds them is passed on as bulk data."""

MAX_SEQUENCE_DEPTH: Final = 64
"""Sequences within sequences. Real objects stay under ten; without a bound the peer controls our stack depth."""

NAMING_TAGS: Final = frozenset({SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID})
"""The elements that identify an instance: the scanner keeps their values by default."""

_IMPLAUSIBLE_LENGTH: Final = 2**16
"""A first element that has no VR and is this long or longer is not in Implicit VR either."""

_PIXEL_DATA_TAG: Final = b"\xe0\x7f\x10\x00"
_CHECK_STEP: Final = 16 * 1024

SURPLUS_TAGS: Final = frozenset({0, ITEM_END, SEQUENCE_END})
_MAX_SURPLUS: Final = 1024 * 1024
SURPLUS_BYTES: Final = bytes.fromhex("00FEFF0DDDE0")
"""Zeros, and delimiters in either byte order."""

IN_ITEM: Final = 1
IS_IMPLICIT: Final = 2
IS_ENTERED: Final = 4
"""The flags of a level of the stack, explained above."""

_INCOMPLETE: Final = -1
"""In place of a position: the header at the current one has not arrived completely."""

_STOPS: Final = PIXEL_DATA_TAGS | SURPLUS_TAGS


class BulkHeader(NamedTuple):
    """The header of the element that ended the metadata. The offsets are into `ElementScanner.metadata`."""

    tag: int
    vr: str | None
    """None in Implicit VR."""
    length: int | None
    """None if undefined."""
    header_offset: int
    """The metadata ends here."""
    value_offset: int


def check_not_cut_short(beginning: memoryview, length: int, transfer_syntax_uid: str) -> BulkHeader | None:
    """Raise `DatasetError` if its beginning shows that a data set of `length` bytes is truncated.

    Returns the header of the bulk data if the end must still be checked. Other faults are left to the receiver.
    """
    if Encoding.of(transfer_syntax_uid).deflated or _ends_with_pixel_data(beginning, length):
        return None
    scanner = ElementScanner(transfer_syntax_uid, wanted=())
    try:
        for start in range(0, len(beginning), _CHECK_STEP):
            scanner.feed(beginning[start : start + _CHECK_STEP])
            if scanner.bulk is not None:
                break
    except DatasetError:
        return None
    bulk = scanner.bulk
    if bulk is None:
        if len(beginning) == length:
            scanner.finish()
    elif bulk.length is not None and bulk.value_offset + bulk.length > length:
        missing = bulk.value_offset + bulk.length - length
        raise DatasetError(f"truncated: {missing} bytes of {tag_name(bulk.tag)} missing")
    return bulk


def _ends_with_pixel_data(beginning: memoryview, length: int) -> bool:
    """A cheap test: whether the first Pixel Data ends exactly where the data set does, so that nothing is missing.

    Not applied after an item, as the Pixel Data may be that of an icon.
    """
    start = bytes(beginning[:_CHECK_STEP])
    position = start.find(_PIXEL_DATA_TAG)
    if not 0 <= position <= len(start) - 12 or ITEM_TAG in start[:position]:
        return False
    in_explicit_vr = start[position + 4 : position + 6].isalpha()
    value = position + (12 if in_explicit_vr else 8)
    return value + int.from_bytes(start[value - 4 : value], "little") == length


class _Phase(Enum):
    """How far a data set has been followed. Each phase leads to the next one; an empty data set skips the second."""

    BEGINNING = "beginning"
    """Too few bytes have arrived to tell whether there are VRs."""
    ELEMENTS = "elements"
    END = "end"
    """No further bytes will arrive."""


class ElementScanner:
    """Follows the elements of a data set that is fed to it in pieces, up to its bulk data.

    Feed it until `bulk` is set: then `metadata[:bulk.header_offset]` is the metadata, `metadata[bulk.value_offset:]`
    the beginning of the value, and the caller handles the bytes that follow. After a `DatasetError` do not feed it
    again; `raw` still holds everything that was fed.

    The metadata ends before the top-level (Float, Double Float) Pixel Data, and before a top-level element that
    would exceed `maximum_metadata`. `find` and `text` return the values of the top-level elements in `wanted`.

    The first header of the data set, and of each item, shows whether there are VRs. If that contradicts the transfer
    syntax, the scanner follows the data: see `is_mislabeled` and `mislabeled_items`.
    """

    def __init__(
        self,
        transfer_syntax_uid: str,
        *,
        wanted: Iterable[int] = NAMING_TAGS,
        maximum_metadata: int = MAX_METADATA,
    ) -> None:
        self.metadata = bytearray()
        self.raw = self.metadata
        """All bytes that were fed. The same object as `metadata` unless the transfer syntax is deflated."""
        self.bulk: BulkHeader | None = None
        encoding = Encoding.of(transfer_syntax_uid)
        self.implicit = encoding.implicit
        """Whether the top level is in Implicit VR: by the transfer syntax, then by its first header."""
        self.mislabeled_items: int | None = None
        """The first top-level element of undefined length with an item in the other VR form, or None."""
        self.surplus: int | None = None
        """Where zeros or stray delimiters begin after the last element of `metadata`, or None."""

        self._phase = _Phase.BEGINNING
        self._is_named_implicit = encoding.implicit
        self.inflater: Inflater | None = None
        if encoding.deflated:
            self.inflater = Inflater()
            self.raw = bytearray()
        self._is_big_endian = encoding.big_endian
        self._explicit_header = encoding.headers.short
        self._plain_header = encoding.headers.plain
        self._length = encoding.headers.length_32
        self._max_metadata = maximum_metadata
        # One look-up per element finds both the wanted ones and those to stop at.
        self._marked = _STOPS.union(wanted)
        self._values: dict[int, tuple[int, int]] = {}

        self._position = 0
        """Where the next header begins: beyond the end of `metadata` while a value is still arriving."""
        self._tag = 0
        self._header_offset = 0
        self._value_offset = 0
        self._vr: bytes | None = None
        self._stack: list[int] = []

    @property
    def is_mislabeled(self) -> bool:
        """Whether the VR form of the top level contradicts the transfer syntax."""
        return self.implicit != self._is_named_implicit

    def feed(self, data: Buffer) -> None:
        """Take the next bytes of the data set. Raises `DatasetError` if they are not a data set."""
        self.raw += data
        if self.inflater is None:
            self._scan()
        else:
            self._inflate(self.inflater, data)

    def finish(self) -> None:
        """Declare the data set complete. Raises `DatasetError` if it is truncated."""
        phase, self._phase = self._phase, _Phase.END
        if phase is _Phase.BEGINNING and self._detect_form():
            self._walk()
        if self.bulk is not None:
            return
        if self.inflater is not None and not self.inflater.ended:
            raise DatasetError("the deflated data set is truncated")
        if self._is_surplus():
            return
        if self._stack or self._position != len(self.metadata):
            raise DatasetError(f"truncated in or after {self._where(self._header_offset, self._tag)}")

    def find(self, tag: int) -> bytes | None:
        """The encoded value of a wanted top-level element, None until it has arrived."""
        start, end = self._values.get(tag, (0, -1))
        # A copy: a view would keep `metadata` from growing.
        return bytes(self.metadata[start:end]) if 0 <= end <= len(self.metadata) else None

    def text(self, tag: int) -> str | None:
        """The value of a wanted top-level element as text without its padding (PS3.5 6.2)."""
        value = self.find(tag)
        return None if value is None else unpadded_text(value)

    def passed(self, tag: int) -> bool:
        """Whether the scanner is past `tag`: elements are in ascending order (PS3.5 7.1)."""
        if self._phase is _Phase.END or self.bulk is not None or self.surplus is not None or self._tag > tag:
            return True
        return self._tag == tag and not self._stack and self._position <= len(self.metadata)

    def _inflate(self, inflater: Inflater, data: Buffer) -> None:
        for piece in inflater.pieces(data):
            self.metadata += piece
            self._scan()
            if self.bulk is not None:
                return
        # Empty blocks inflate to nothing and could continue forever.
        if len(self.raw) > self._max_metadata + INFLATE_STEP:
            raise DatasetError("the deflated data set is larger than the metadata it inflates to")

    def _scan(self) -> None:
        if self._phase is _Phase.BEGINNING:
            if not self._detect_form():
                return
            self._phase = _Phase.ELEMENTS
        self._walk()

    def _walk(self) -> None:
        while self.bulk is None and self.surplus is None:
            before = self._position
            if self._stack:
                self._scan_nested()
            else:
                self._scan_top_level()
            if self._position == before or self._position + 8 > len(self.metadata):
                break
        if self.surplus is not None:
            self._check_surplus(self.surplus)

    def _detect_form(self) -> bool:
        """Detect the VR form by the first header. Returns whether enough bytes have arrived to tell."""
        if len(self.metadata) < 8:
            return False
        implicit: bool | None = self._is_implicit(0, self.implicit, self._plain_header)
        if implicit is None:
            return False
        self.implicit = implicit
        return True

    def _is_implicit(self, position: int, expected: bool, layout: Struct) -> bool | None:
        """Whether the element at `position` is in Implicit VR; None until enough bytes have arrived to tell."""
        metadata = self.metadata
        vr = bytes(metadata[position + 4 : position + 6])
        if not expected:
            group, _, length = layout.unpack_from(metadata, position)
            # Two printable characters are a VR, or a misspelled one.
            is_length = not (32 <= vr[0] < 127 and 32 <= vr[1] < 127)
            return group != 0 and is_length and (length < _IMPLAUSIBLE_LENGTH or length == UNDEFINED_LENGTH)
        if vr not in SHORT_VRS:
            return vr not in VRS  # a 32-bit VR would be an odd length in Implicit VR
        after = position + 8 + int.from_bytes(metadata[position + 6 : position + 8], "little")
        following = bytes(metadata[after : after + 6])
        if len(following) < 6:
            return None if self._phase is not _Phase.END else after != len(metadata)
        return following[4:] not in VRS and following[:2] != ITEM_TAG[:2]

    def _scan_top_level(self) -> None:
        """Walk elements up to one that is incomplete, has an undefined length, or ends the metadata."""
        metadata, end, position, limit = self.metadata, len(self.metadata), self._position, self._max_metadata
        unpack, unpack_plain = self._explicit_header.unpack_from, self._plain_header.unpack_from
        implicit, marked, short_vrs = self.implicit, self._marked, SHORT_VRS
        tag, header, vr = self._tag, self._header_offset, None
        while position + 8 <= end:
            if implicit:
                group, element, length = unpack_plain(metadata, position)
                value = position + 8
            else:
                group, element, vr, length = unpack(metadata, position)
                value = position + 8
                if vr not in short_vrs:
                    value += 4
                    if vr == b"\0\0" and group << 16 | element in SURPLUS_TAGS:
                        self.surplus = position
                        break
                    if value > end:
                        break
                    length = self._long_length(position, group << 16 | element, vr)
            header, position, tag = position, value + length, group << 16 | element
            # An undefined length exceeds any limit.
            if position > limit or tag in marked:
                if tag in SURPLUS_TAGS and length == 0:
                    self.surplus = position = value - 8
                    break
                if self._stops_at(tag, length, position):
                    self._tag, self._header_offset, self._value_offset, self._vr = tag, header, value, vr
                    self._position = value
                    self._enter_or_end(length)
                    return
                self._values[tag] = (value, position)
        self._tag, self._header_offset, self._position = tag, header, position

    def _stops_at(self, tag: int, length: int, end: int) -> bool:
        """Whether the element that ends at `end` may be the bulk data, or must be entered to find its end."""
        return tag in PIXEL_DATA_TAGS or length == UNDEFINED_LENGTH or end > self._max_metadata

    def _is_surplus(self) -> bool:
        """Whether the bytes after the last element, fewer than a header, are zeros."""
        rest = self.metadata[self._position :]
        # One zero may be the first byte of a big endian tag.
        is_zeros = rest and not any(rest) and (len(rest) > 1 or not self._is_big_endian)
        if self.surplus is None and not self._stack and is_zeros:
            self.surplus = self._position
        return self.surplus is not None

    def _check_surplus(self, start: int) -> None:
        """Accept zeros and delimiters after the last element, up to a limit, and nothing else."""
        rest = self.metadata[self._position :]
        self._position = len(self.metadata)  # so that none of it is checked again
        if self._position - start > _MAX_SURPLUS or rest.translate(None, SURPLUS_BYTES):
            raise DatasetError(f"unexpected data after {self._where(start, self._tag)}")

    def _enter_or_end(self, length: int) -> None:
        """Enter the current top-level element if it is a sequence; otherwise it is the bulk data."""
        if self._tag in PIXEL_DATA_TAGS or length != UNDEFINED_LENGTH or self._position > self._max_metadata:
            self._end_metadata(length)
        else:
            # UN of undefined length contains Implicit VR Little Endian, whatever surrounds it (PS3.5 6.2.2 note 2).
            self._stack.append(IS_IMPLICIT if self.implicit or self._vr == b"UN" else 0)

    def _end_metadata(self, length: int) -> None:
        self.bulk = BulkHeader(
            tag=self._tag,
            vr=None if self._vr is None else self._vr.decode("ascii"),
            length=None if length == UNDEFINED_LENGTH else length,
            header_offset=self._header_offset,
            value_offset=self._value_offset,
        )

    def _scan_nested(self) -> None:
        """Walk the items and elements within a top-level element of undefined length (PS3.5 7.5)."""
        metadata, end, stack = self.metadata, len(self.metadata), self._stack
        while stack and self._position + 8 <= end:
            position, level = self._position, stack[-1]
            layout = LITTLE.plain if level & IS_IMPLICIT else self._plain_header
            group, element, length = layout.unpack_from(metadata, position)
            if group == ITEM_GROUP:
                self._position = self._item_or_end(group << 16 | element, length, level)
            elif not level & IN_ITEM:
                raise DatasetError(f"expected an item in {self._where(position, self._tag)}")
            elif not level & IS_ENTERED:
                if not self._detect_item_form(level, layout):
                    return
            elif (after := self._nested_element(group << 16 | element, length, level)) == _INCOMPLETE:
                return
            else:
                self._position = after
            if self._position > self._max_metadata:
                self._end_metadata(UNDEFINED_LENGTH)
                return

    def _detect_item_form(self, level: int, layout: Struct) -> bool:
        """Detect the VR form of an item by its first element. Returns whether enough bytes have arrived to tell."""
        expected = level & IS_IMPLICIT != 0
        implicit = self._is_implicit(self._position, expected, layout)
        if implicit is None:
            return False
        if implicit != expected and self.mislabeled_items is None:
            self.mislabeled_items = self._tag
        self._stack[-1] = IN_ITEM | IS_ENTERED | (IS_IMPLICIT if implicit else 0)
        return True

    def _item_or_end(self, tag: int, length: int, level: int) -> int:
        """Enter or skip an item, or leave an item or a sequence. Returns the next position."""
        after = self._position + 8
        if tag == ITEM and not level & IN_ITEM:
            if length != UNDEFINED_LENGTH:
                return after + length
            self._stack.append(level | IN_ITEM)
        elif tag == (ITEM_END if level & IN_ITEM else SEQUENCE_END):
            self._stack.pop()
        else:
            raise DatasetError(f"unexpected item or delimiter in {self._where(self._position, self._tag)}")
        return after

    def _nested_element(self, tag: int, length: int, level: int) -> int:
        """Skip an element within an item, or enter it. Returns the next position, or `_INCOMPLETE`."""
        position, vr = self._position, None
        value = position + 8
        if not level & IS_IMPLICIT:
            _, _, vr, length = self._explicit_header.unpack_from(self.metadata, position)
            if vr not in SHORT_VRS:
                value += 4
                if value > len(self.metadata):
                    return _INCOMPLETE
                length = self._long_length(position, tag, vr)
        if length != UNDEFINED_LENGTH:
            return value + length
        # Each sequence and each item has a level.
        if len(self._stack) >= 2 * MAX_SEQUENCE_DEPTH:
            raise DatasetError(f"sequences nested deeper than {MAX_SEQUENCE_DEPTH} at {self._where(position, tag)}")
        self._stack.append(IS_IMPLICIT if level & IS_IMPLICIT or vr == b"UN" else 0)
        return value

    def _long_length(self, position: int, tag: int, vr: bytes) -> int:
        if not (vr.isalpha() and vr.isupper()):
            raise DatasetError(f"invalid value representation at {self._where(position, tag)}")
        length: int = self._length.unpack_from(self.metadata, position + 8)[0]
        return length

    def _where(self, position: int, tag: int) -> str:
        return f"{tag_name(tag)}, byte {position}"
