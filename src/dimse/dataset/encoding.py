"""How data sets are encoded: the facts of PS3.5 7.1, 7.5 and Annex A that the other modules build on."""

from __future__ import annotations

import zlib
from contextlib import suppress
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from dimse.errors import DatasetError
from dimse.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    is_compressed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

Buffer = bytes | bytearray | memoryview

# Tags

SPECIFIC_CHARACTER_SET: Final = 0x00080005
SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
QUERY_RETRIEVE_LEVEL: Final = 0x00080052
FAILED_SOP_INSTANCE_UID_LIST: Final = 0x00080058
STUDY_INSTANCE_UID: Final = 0x0020000D
PATIENT_ID: Final = 0x00100020
SERIES_INSTANCE_UID: Final = 0x0020000E
EXTENDED_OFFSET_TABLE: Final = 0x7FE00001
EXTENDED_OFFSET_TABLE_LENGTHS: Final = 0x7FE00002
FLOAT_PIXEL_DATA: Final = 0x7FE00008
DOUBLE_FLOAT_PIXEL_DATA: Final = 0x7FE00009
PIXEL_DATA: Final = 0x7FE00010

PIXEL_DATA_TAGS: Final = frozenset({FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA, PIXEL_DATA})
OFFSET_TABLES: Final = (EXTENDED_OFFSET_TABLE, EXTENDED_OFFSET_TABLE_LENGTHS)
"""The extended ones, which only encapsulated frames have (PS3.3 C.7.6.3.1.8)."""

ITEM_GROUP: Final = 0xFFFE
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD


def tag_name(tag: int) -> str:
    """The tag as the standard prints it: (7FE0,0010)."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


# Value representations and lengths

SHORT_VRS: Final = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
"""The VRs with a 16-bit length (PS3.5 7.1.2). All others, and future ones, have a 32-bit length."""

LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""The VRs with a 32-bit length."""

VRS: Final = SHORT_VRS.union(LONG_VRS)

UNDEFINED_LENGTH: Final = 0xFFFFFFFF
MAX_LENGTH: Final = 0xFFFFFFFE
"""The largest even length that a 32-bit length field can hold (PS3.5 7.1.1)."""


MAX_TEXT: Final = 64 * 1024
"""Bytes of a value that is used as text, such as in a file name."""


def unpadded_text(value: Buffer) -> str:
    """A value of the default character repertoire as text, without its padding (PS3.5 6.2)."""
    return bytes(value).decode("latin-1").strip(" \0")


# Headers


class Headers(NamedTuple):
    """The layouts of headers and their lengths in one byte order (PS3.5 7.1.2, 7.1.3, 7.5)."""

    plain: Struct
    """Tag and 32-bit length: an element in Implicit VR, an item or a delimiter in any syntax."""
    short: Struct
    """Tag, VR and 16-bit length: an element in Explicit VR."""
    long: Struct
    """Tag, VR, two reserved bytes and 32-bit length: an element in Explicit VR with one of the other VRs."""
    length_16: Struct
    length_32: Struct


LITTLE: Final = Headers(Struct("<HHL"), Struct("<HH2sH"), Struct("<HH2sxxL"), Struct("<H"), Struct("<L"))
BIG: Final = Headers(Struct(">HHL"), Struct(">HH2sH"), Struct(">HH2sxxL"), Struct(">H"), Struct(">L"))

PLAIN_SIZE: Final = 8
"""Bytes of a plain or short header."""
LONG_SIZE: Final = 12

ITEM_TAG: Final = b"\xfe\xff\x00\xe0"
"""The first bytes of an item in little endian."""
SEQUENCE_END_HEADER: Final = b"\xfe\xff\xdd\xe0\0\0\0\0"
"""A sequence delimitation item in little endian."""


def item_header(length: int) -> bytes:
    """The header of an item or fragment in little endian."""
    return LITTLE.plain.pack(ITEM_GROUP, ITEM & 0xFFFF, length)


# Transfer syntaxes

DEFLATED_SYNTAXES: Final = frozenset(
    # Deflated Explicit VR LE, and the two JPIP referenced ones that are deflated as well (PS3.5 A.5, A.7, A.9).
    {DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
)


class Encoding(NamedTuple):
    """What a transfer syntax says about the encoding of a data set (PS3.5 A)."""

    implicit: bool
    big_endian: bool
    deflated: bool
    encapsulated: bool
    """Whether its pixel data is encapsulated, as in all private transfer syntaxes."""
    headers: Headers

    @staticmethod
    def of(transfer_syntax_uid: str) -> Encoding:
        """The encoding of a transfer syntax. All that PS3.5 A.1 and A.3 do not name are Explicit VR Little Endian."""
        return _encoding_of(transfer_syntax_uid)


@lru_cache(maxsize=256)
def _encoding_of(transfer_syntax_uid: str) -> Encoding:
    big_endian = transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN
    return Encoding(
        implicit=transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN,
        big_endian=big_endian,
        deflated=transfer_syntax_uid in DEFLATED_SYNTAXES,
        encapsulated=is_compressed(transfer_syntax_uid),
        headers=BIG if big_endian else LITTLE,
    )


# Encapsulated pixel data (PS3.5 A.4)


def fragment_length(header: Buffer) -> int | None:
    """The length of the fragment, or offset table, with this item header; None for the delimiter after the last."""
    group, element, length = LITTLE.plain.unpack(header)
    tag: int = group << 16 | element
    if tag == SEQUENCE_END:
        return None
    if tag != ITEM or length == UNDEFINED_LENGTH:
        raise DatasetError(f"expected a fragment or a sequence delimiter in {tag_name(PIXEL_DATA)}")
    return int(length)


def end_of_fragments(data: Buffer, position: int) -> int:
    """Walk the fragments from `position` on. Returns the position after the delimiter.

    Raises `DatasetError` if the delimiter is missing or something else is found.
    """
    while position + PLAIN_SIZE <= len(data):
        length = fragment_length(data[position : position + PLAIN_SIZE])
        position += PLAIN_SIZE
        if length is None:
            return position
        position += length
    raise DatasetError(f"truncated in {tag_name(PIXEL_DATA)}")


# Deflated data sets (PS3.5 A.5)

INFLATE_STEP: Final = 64 * 1024


class Inflater:
    """Inflates a deflated data set in steps of at most 64 KiB, so that a decompression bomb stays bounded."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._total = 0

    @property
    def ended(self) -> bool:
        """Whether the deflated data has been inflated to its end."""
        return self._inflater.eof

    def pieces(self, data: Buffer = b"") -> Iterator[bytes]:
        """Inflate the next bytes. A consumer that stopped early continues with `pieces()`.

        Raises `DatasetError` for data that is not deflated.
        """
        if self._inflater.unconsumed_tail:
            data = self._inflater.unconsumed_tail + bytes(data)
        while not self._inflater.eof:
            piece = self._step(data)
            yield piece
            data = self._inflater.unconsumed_tail
            # After a full step there may be more inside the inflater.
            if not data and len(piece) < INFLATE_STEP:
                return

    def _step(self, data: Buffer) -> bytes:
        piece = None
        with suppress(zlib.error):
            piece = self._inflater.decompress(data, INFLATE_STEP)
        if piece is None:
            raise DatasetError(f"invalid deflated data, after {self._total} inflated bytes")
        self._total += len(piece)
        return piece


def inflate(data: Buffer, maximum_length: int) -> bytes:
    """Inflate a deflated data set into at most `maximum_length` bytes."""
    inflater, inflated = Inflater(), bytearray()
    for piece in inflater.pieces(data):
        inflated += piece
        if len(inflated) > maximum_length:
            raise DatasetError(f"the deflated data set inflates to more than {maximum_length} bytes")
    if not inflater.ended:
        raise DatasetError("the deflated data set is truncated")
    return bytes(inflated)
