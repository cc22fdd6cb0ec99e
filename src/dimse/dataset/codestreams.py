"""The transfer syntax of encapsulated pixel data, detected by its first fragment (PS3.5 8.2, A.4)."""

from __future__ import annotations

from typing import Final

from dimse.dataset.encoding import ITEM_TAG, Buffer
from dimse.uids import RLE_LOSSLESS

_JPEG: Final = b"\xff\xd8\xff"
_JPEG_FRAMES: Final = {0xC0: "50", 0xC1: "51", 0xC2: "55"}
"""Start of Frame, by the process (ISO/IEC 10918-1 B.1): baseline, extended, progressive."""
_LOSSLESS, _JPEG_LS = 0xC3, 0xF7
_START_OF_SCAN: Final = 0xDA

_JPEG_2000: Final = b"\xff\x4f\xff\x51"
_CAPABILITIES, _CODING_STYLE, _START_OF_TILE = 0x50, 0x52, 0x90
_JPEG_XL: Final = b"\xff\x0a"


def shown_syntax(value: Buffer) -> str | None:
    """The transfer syntax of encapsulated pixel data by its beginning; None if it cannot be detected."""
    fragment = _first_fragment(bytes(value))
    if fragment.startswith(_JPEG_2000):
        return _jpeg_2000(fragment)
    if fragment.startswith(_JPEG):
        return _jpeg(fragment)
    if fragment.startswith(_JPEG_XL):
        return _syntax("112")
    return RLE_LOSSLESS if _is_rle(fragment) else None


def _syntax(tail: str) -> str:
    return f"1.2.840.10008.1.2.4.{tail}"


def _first_fragment(value: bytes) -> bytes:
    """The available bytes of the first fragment, after the item with the offset table."""
    length = int.from_bytes(value[4:8], "little")
    start = 8 + length + 8
    return value[start:] if value[:4] == ITEM_TAG == value[start - 8 : start - 4] else b""


def _segments(codestream: bytes, position: int) -> list[tuple[int, bytes]]:
    """The complete marker segments up to the first scan or tile, as (marker, parameters)."""
    found = []
    while position + 4 <= len(codestream) and codestream[position] == 0xFF:
        marker = codestream[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        end = position + 2 + int.from_bytes(codestream[position + 2 : position + 4])
        if end > len(codestream):
            break
        found.append((marker, codestream[position + 4 : end]))
        if marker in (_START_OF_SCAN, _START_OF_TILE):
            break
        position = end
    return found


def _jpeg(codestream: bytes) -> str | None:
    kind = None
    for marker, segment in _segments(codestream, 2):
        if marker in _JPEG_FRAMES:
            return _syntax(_JPEG_FRAMES[marker])
        if marker in (_LOSSLESS, _JPEG_LS):
            kind = marker
        if marker == _START_OF_SCAN and kind is not None and segment:
            # After the components: the predictor, or the maximum error of JPEG-LS.
            parameter = segment[1 + 2 * segment[0]] if 1 + 2 * segment[0] < len(segment) else 0
            if kind == _JPEG_LS:
                return _syntax("81" if parameter else "80")
            return _syntax("70" if parameter == 1 else "57")
    return None


def _jpeg_2000(codestream: bytes) -> str | None:
    is_high_throughput = False
    for marker, segment in _segments(codestream, 2):
        is_high_throughput = is_high_throughput or marker == _CAPABILITIES
        if marker == _CODING_STYLE and len(segment) > 9:
            is_reversible = segment[9] == 1  # the 5-3 wavelet
            if is_high_throughput:
                return _syntax("201" if is_reversible else "203")
            return _syntax("90" if is_reversible else "91")
    return None


def _is_rle(fragment: bytes) -> bool:
    """Whether it begins with an RLE header: up to 15 segments, the first at byte 64 (PS3.5 G.5)."""
    count = int.from_bytes(fragment[:4], "little")
    return len(fragment) >= 64 and 1 <= count <= 15 and fragment[4:8] == b"\x40\0\0\0"
