"""Whether a data set is complete, checked while it streams (PS3.5 7, 8, A.4).

The scanner keeps the metadata. The rest is followed to its end without keeping any of it. Values are skipped by their
lengths, so that the cost of a PDU inside pixel data does not depend on its size.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from dimse.dataset.encoding import (
    DOUBLE_FLOAT_PIXEL_DATA,
    EXTENDED_OFFSET_TABLE,
    FLOAT_PIXEL_DATA,
    ITEM,
    ITEM_END,
    ITEM_GROUP,
    LITTLE,
    PATIENT_ID,
    PIXEL_DATA,
    PIXEL_DATA_TAGS,
    SEQUENCE_END,
    SHORT_VRS,
    SPECIFIC_CHARACTER_SET,
    UNDEFINED_LENGTH,
    VRS,
    Buffer,
    Encoding,
    Inflater,
    tag_name,
)
from dimse.dataset.frames import JoinedFragments, NativeFrames
from dimse.dataset.scanner import (
    IN_ITEM,
    IS_ENTERED,
    IS_IMPLICIT,
    MAX_SEQUENCE_DEPTH,
    NAMING_TAGS,
    SURPLUS_BYTES,
    SURPLUS_TAGS,
    ElementScanner,
)
from dimse.errors import DatasetError

if TYPE_CHECKING:
    from dimse.dataset.frames import FrameSplitter

_SCAN_STEP: Final = 16 * 1024
"""Bytes given to the scanner at a time: at most this much of the bulk data is copied."""

MAX_INFLATED_HEADERS: Final = 500_000
"""Elements, items and fragments that are followed behind the metadata of a deflated data set.

A thousandth of the bytes can make as many, so its sender would keep a processor busy almost for free.
"""

_FRAGMENTS: Final = 8
"""A fourth flag of a level, in addition to those of the scanner: encapsulated pixel data, whose items hold bytes."""

SAMPLES_PER_PIXEL: Final = 0x00280002
PHOTOMETRIC_INTERPRETATION: Final = 0x00280004
NUMBER_OF_FRAMES: Final = 0x00280008
ROWS: Final = 0x00280010
COLUMNS: Final = 0x00280011
BITS_ALLOCATED: Final = 0x00280100
_SIZE_TAGS: Final = (SAMPLES_PER_PIXEL, PHOTOMETRIC_INTERPRETATION, NUMBER_OF_FRAMES, ROWS, COLUMNS, BITS_ALLOCATED)
_WANTED: Final = NAMING_TAGS.union(_SIZE_TAGS, (EXTENDED_OFFSET_TABLE, SPECIFIC_CHARACTER_SET, PATIENT_ID))


class IncompleteDataset(DatasetError):
    """A data set with a missing part, or one that cannot be inflated: the receiver cannot repair it."""


class StreamedDataset:
    """Checks a data set that is fed to it in pieces, from its beginning to its end.

    A fault of form, such as an invalid VR, is kept in `malformed`, and the data set is not followed beyond it. A data
    set with a missing part raises `IncompleteDataset`, from `feed` or from `finish`.
    """

    # Up to the bulk data, the scanner does the work. Beyond, `_follow` does: it alternates between skipping `_skip`
    # bytes of a value and collecting a header of `_needed` bytes in `_head`: 8, or 12 once 8 have shown a VR with a
    # 32-bit length. `_read_header` acts on a complete header. `_stack` has the levels of the scanner's essay, and for
    # the fragments of encapsulated pixel data a single level _FRAGMENTS.

    def __init__(self, transfer_syntax_uid: str) -> None:
        self.scanner: Final = ElementScanner(transfer_syntax_uid, wanted=_WANTED)
        self.malformed: DatasetError | None = None
        self._is_deflated = self.scanner.inflater is not None
        encoding = Encoding.of(transfer_syntax_uid)
        self._is_big_endian = encoding.big_endian
        self._layout = encoding.headers.plain
        self._short_length = encoding.headers.length_16
        self._long_length = encoding.headers.length_32
        self._head = bytearray()
        self._needed = 8
        """Bytes of the current header, as far as is known: 8 or 12; 0 in the surplus, which has none."""
        self._skip = 0
        self._stack: list[int] = []
        self._tag = 0
        """The current top-level element after the metadata."""
        self._pixel_data: set[int] = set()
        """The tags of pixel data seen so far, each of which may appear once."""
        self._followed = 0
        self._headers = 0
        self.value_end: int | None = None
        """Bytes of the bulk data's value, known when it has ended; without the delimiter of an undefined length."""

    def feed(self, data: memoryview) -> int:
        """Take the next bytes. Returns the number of them that the scanner keeps in its `raw`."""
        scanner, kept, failure = self.scanner, 0, None
        try:
            while scanner.bulk is None and self.malformed is None and kept < len(data):
                start, kept = kept, min(kept + _SCAN_STEP, len(data))
                scanner.feed(data[start:kept])
                self._begin_following()
            if self.malformed is None and kept < len(data):
                self._follow_encoded(data[kept:])
        except IncompleteDataset:
            raise
        except DatasetError as error:
            failure = error
        if failure is not None:
            if self._is_deflated:
                raise IncompleteDataset(str(failure))
            self.malformed = failure
        return kept

    @property
    def to_pass(self) -> int:
        """Bytes of the current value that are still to arrive, and are not examined."""
        return self._skip

    def skip(self, most: int) -> int:
        """Leave out the bytes of `to_pass`, as far as `most` of them exist. Returns how many. Not for deflated data."""
        count = max(min(self._skip, most), 0)
        self._skip -= count
        self._followed += count
        return count

    @property
    def has_surplus(self) -> bool:
        """Whether zeros or delimiters follow the last element."""
        return not self._needed or self.scanner.surplus is not None

    def finish(self) -> None:
        """Declare the data set complete. Raises `IncompleteDataset` if it is not."""
        if self.malformed is not None:
            return
        if self.scanner.bulk is None:
            self._finish_scan()
        elif self.scanner.inflater is not None and not self.scanner.inflater.ended:
            raise IncompleteDataset("the deflated data set is truncated")
        elif self._skip:
            raise IncompleteDataset(f"truncated: {self._skip} bytes of {tag_name(self._tag)} missing")
        elif self._stack and self._stack[0] & _FRAGMENTS:
            raise IncompleteDataset(f"{tag_name(self._tag)} has no sequence delimiter")
        elif self._stack or not self._is_surplus(self._head):
            raise IncompleteDataset(f"truncated in or after {tag_name(self._tag)}")

    def _is_surplus(self, rest: bytearray) -> bool:
        """Whether the bytes after the last element, fewer than a header, are harmless."""
        # One zero may be the first byte of a big endian tag.
        return not self._needed or not (any(rest) or (len(rest) == 1 and self._is_big_endian))

    def _finish_scan(self) -> None:
        reason = ""
        try:
            self.scanner.finish()
        except DatasetError as error:
            reason = str(error)
        if reason:
            raise IncompleteDataset(reason)

    # After the metadata

    def _begin_following(self) -> None:
        scanner, bulk = self.scanner, self.scanner.bulk
        if bulk is None:
            return
        if bulk.length is None:
            self._followed = bulk.header_offset - bulk.value_offset
            self._follow(scanner.metadata[bulk.header_offset :])
        else:
            self._tag, self._skip, self.value_end = bulk.tag, bulk.length, bulk.length
            if bulk.tag in PIXEL_DATA_TAGS:
                self._check_pixels(bulk.tag, bulk.length)
            self._follow(scanner.metadata[bulk.value_offset :])
        if scanner.inflater is not None:
            self._inflate(scanner.inflater, b"")

    def _follow_encoded(self, data: Buffer) -> None:
        if self.scanner.inflater is None:
            self._follow(data)
        else:
            self._inflate(self.scanner.inflater, data)

    def _inflate(self, inflater: Inflater, data: Buffer) -> None:
        for piece in inflater.pieces(data):
            self._follow(piece)
            if self._headers > MAX_INFLATED_HEADERS:
                raise IncompleteDataset(f"more than {MAX_INFLATED_HEADERS} elements and items in a deflated data set")

    def _follow(self, data: Buffer) -> None:
        position, end = 0, len(data)
        while position < end and self._needed:
            passed = min(self._skip, end - position)
            self._skip -= passed
            position += passed
            if self._skip:
                break
            more = data[position : position + self._needed - len(self._head)]
            self._head += more
            position += len(more)
            if len(self._head) == self._needed:
                self._read_header()
                if self.value_end is None and not self._stack and self._needed == 8:
                    self.value_end = self._followed + position - 8
        self._followed += end
        if not self._needed and bytes(data[position:]).translate(None, SURPLUS_BYTES):
            raise DatasetError(f"unexpected data after {tag_name(self._tag)}")

    def _read_header(self) -> None:
        if self._stack:
            level = self._stack[-1]
            layout = LITTLE.plain if level & IS_IMPLICIT else self._layout
        else:
            level, layout = IS_IMPLICIT if self.scanner.implicit else 0, self._layout
        group, element, length = layout.unpack_from(self._head)
        tag = group << 16 | element
        self._needed = 8
        self._headers += 1
        if group == ITEM_GROUP or (not tag and not length and not self._stack):
            self._item_or_delimiter(tag, length, level)
        elif self._stack and not level & IN_ITEM:
            if level & _FRAGMENTS:
                raise IncompleteDataset(f"{tag_name(self._tag)} has no sequence delimiter")
            raise DatasetError(f"expected an item in {tag_name(self._tag)}")
        elif not self._element(tag, length, level):
            self._needed = 12
            return
        self._head.clear()

    def _item_or_delimiter(self, tag: int, length: int, level: int) -> None:
        if not self._stack:
            if tag not in SURPLUS_TAGS:
                raise DatasetError(f"unexpected item after {tag_name(self._tag)}")
            self._needed = 0
        elif tag == ITEM and not level & IN_ITEM:
            if length != UNDEFINED_LENGTH:
                self._skip = length
            elif level & _FRAGMENTS:
                raise IncompleteDataset(f"{tag_name(self._tag)} has a fragment of undefined length")
            else:
                self._stack.append(level | IN_ITEM)
        elif tag == (ITEM_END if level & IN_ITEM else SEQUENCE_END):
            self._stack.pop()
        elif level & _FRAGMENTS:
            raise IncompleteDataset(f"unexpected delimiter in {tag_name(self._tag)}")
        else:
            raise DatasetError(f"unexpected item or delimiter in {tag_name(self._tag)}")

    def _element(self, tag: int, length: int, level: int) -> bool:
        """Skip an element, or enter it. Returns whether its header is complete."""
        head, vr = self._head, None
        if self._stack and not level & IS_ENTERED:
            level = self._detect_item_form(level, bytes(head[4:6]))
        if not level & IS_IMPLICIT:
            vr = bytes(head[4:6])
            if not (vr.isalpha() and vr.isupper()):
                raise DatasetError(f"invalid value representation at {tag_name(tag)}")
            if vr not in SHORT_VRS and len(head) < 12:
                return False
            layout, offset = (self._short_length, 6) if vr in SHORT_VRS else (self._long_length, 8)
            length = layout.unpack_from(head, offset)[0]
        if not self._stack:
            self._tag = tag
            if tag in PIXEL_DATA_TAGS:
                self._check_pixels(tag, length)
        if length == UNDEFINED_LENGTH:
            self._enter(tag, vr, level)
        else:
            self._skip = length
        return True

    def _enter(self, tag: int, vr: bytes | None, level: int) -> None:
        """Enter an element of undefined length."""
        if len(self._stack) >= 2 * MAX_SEQUENCE_DEPTH:
            raise DatasetError(f"sequences nested deeper than {MAX_SEQUENCE_DEPTH} at {tag_name(tag)}")
        if not self._stack and tag in PIXEL_DATA_TAGS:
            self._stack.append(_FRAGMENTS)
        else:
            # UN of undefined length contains Implicit VR Little Endian (PS3.5 6.2.2 note 2).
            self._stack.append(IS_IMPLICIT if level & IS_IMPLICIT or vr == b"UN" else 0)

    def _detect_item_form(self, level: int, vr: bytes) -> int:
        """Detect the VR form of an item by its first element. Returns the new flags of its level."""
        implicit = vr not in VRS if level & IS_IMPLICIT else not all(32 <= byte < 127 for byte in vr)
        shown = IN_ITEM | IS_ENTERED | (IS_IMPLICIT if implicit else 0)
        self._stack[-1] = shown
        return shown

    # Pixel data

    def _check_pixels(self, tag: int, length: int) -> None:
        """Native pixel data is not shorter than Rows, Columns and similar attributes require (PS3.5 8.1, 8.2)."""
        if tag in self._pixel_data:
            raise DatasetError(f"{tag_name(tag)} appears twice")
        self._pixel_data.add(tag)
        if length == UNDEFINED_LENGTH:
            return
        expected = self.native_length(tag)
        if expected is not None and length < expected:
            raise IncompleteDataset(f"{tag_name(tag)} has {length} bytes, but its description requires {expected}")

    def native_length(self, tag: int = PIXEL_DATA) -> int | None:
        """Bytes of native pixel data according to its description; None if that is incomplete."""
        bits = {FLOAT_PIXEL_DATA: 32, DOUBLE_FLOAT_PIXEL_DATA: 64}.get(tag) or self._number(BITS_ALLOCATED)
        rows, columns = self._number(ROWS), self._number(COLUMNS)
        if bits is None or rows is None or columns is None:
            return None
        samples = (self._number(SAMPLES_PER_PIXEL) or 1) * rows * columns * self.frames
        kind = self.scanner.text(PHOTOMETRIC_INTERPRETATION) or ""
        # Chrominance of half the pixels, or a quarter (PS3.3 C.7.6.3.1.2).
        if kind.endswith("_422"):
            samples = samples * 2 // 3
        elif kind.endswith("_420"):
            samples //= 2
        return (samples * bits + 7) // 8

    def frame_splitter(self) -> FrameSplitter:
        """A splitter that cuts the bulk data, which must be pixel data, into frames."""
        bulk, frames = self.scanner.bulk, self.frames
        if bulk is None or bulk.length is None:
            table = self.scanner.find(EXTENDED_OFFSET_TABLE) or b""
            return JoinedFragments(frames, Struct(f"<{len(table) // 8}Q").unpack_from(table))
        length = self.native_length(bulk.tag)
        if length is None or length % frames or (self._number(BITS_ALLOCATED) == 1 and frames > 1):
            raise DatasetError(f"{tag_name(bulk.tag)}: its description does not determine where frames begin")
        return NativeFrames(frames, length // frames)

    @property
    def frames(self) -> int:
        """Number of Frames; 1 if absent, invalid or 0."""
        text = (self.scanner.text(NUMBER_OF_FRAMES) or "").removeprefix("+")  # allowed in an IS (PS3.5 6.2)
        return int(text) or 1 if text.isdecimal() and len(text) <= 12 else 1

    def _number(self, tag: int) -> int | None:
        value = self.scanner.find(tag)
        return None if value is None or len(value) != 2 else int(self._short_length.unpack(value)[0])
