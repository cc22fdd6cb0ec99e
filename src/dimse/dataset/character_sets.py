"""Text in the character sets of DICOM (PS3.5 6.1), including code extensions by ISO/IEC 2022.

pydicom leaves escape sequences in the text if the Specific Character Set does not list their target, and resets one
half of the code table when the other is switched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from pydicom.charset import convert_encodings, default_encoding, encode_string, python_encoding

REPLACEMENT: Final = "\ufffd"
"""Replaces bytes that are not in the character set of their text."""

DELIMITERS: Final = {"PN": b"\\^=", "LO": b"\\", "SH": b"\\", "UC": b"\\", "LT": b"", "ST": b"", "UT": b""}
"""The VRs whose texts have a character set, with the delimiters that end a code extension, as control characters do
(PS3.5 6.1.2.5.3)."""


@dataclass(frozen=True, slots=True)
class _Set:
    """The characters of one half of the code table."""

    codec: str
    is_double: bool = False
    """Whether a character has two bytes."""
    prefix: bytes = b""


_ASCII: Final = _Set("ascii")
_KATAKANA: Final = _Set("shift_jis")
_KANJI: Final = _Set("euc_jp", True)
_MORE_KANJI: Final = _Set("euc_jp", True, b"\x8f")
_HANGUL: Final = _Set("euc_kr", True)
_HANZI: Final = _Set("gb2312", True)
_SINGLE: Final = {
    b"A": _Set("latin_1"),
    b"B": _Set("iso8859_2"),
    b"C": _Set("iso8859_3"),
    b"D": _Set("iso8859_4"),
    b"F": _Set("iso8859_7"),
    b"G": _Set("iso8859_6"),
    b"H": _Set("iso8859_8"),
    b"L": _Set("iso8859_5"),
    b"M": _Set("iso8859_9"),
    b"T": _Set("tis_620"),
    b"b": _Set("iso8859_15"),
}

_LEFT: Final = {b"(B": _ASCII, b"(J": _ASCII, b"$B": _KANJI, b"$@": _KANJI, b"$(B": _KANJI, b"$(D": _MORE_KANJI}
_RIGHT: Final = {
    b")I": _KATAKANA,
    b"$)C": _HANGUL,
    b"$)A": _HANZI,
    **{b"-" + final: each for final, each in _SINGLE.items()},
}
"""The targets of escape sequences: `_LEFT` in the half of the code table below 80H, `_RIGHT` in the other half
(PS3.3 C.12.1.1.2)."""

_RIGHT_BY_NUMBER: Final = {
    "100": _SINGLE[b"A"],
    "101": _SINGLE[b"B"],
    "109": _SINGLE[b"C"],
    "110": _SINGLE[b"D"],
    "126": _SINGLE[b"F"],
    "127": _SINGLE[b"G"],
    "138": _SINGLE[b"H"],
    "144": _SINGLE[b"L"],
    "148": _SINGLE[b"M"],
    "166": _SINGLE[b"T"],
    "203": _SINGLE[b"b"],
    "13": _KATAKANA,
    "149": _HANGUL,
    "58": _HANZI,
}
"""Character sets of the right half, by the number at the end of a defined term."""

_ESCAPE: Final = re.compile(rb"\x1b(\$[()][A-D]|\$[@B]|[()][BIJ]|-[ABCDFGHLMTb])")
_HALVES: Final = re.compile(rb"[\0-\x7f]+|[\x80-\xff]+")
_CELLS: Final = re.compile(rb"(?:[\x21-\x7e]{2})+|[\x80-\xff]+|[\0-\x7f]")


def decode_text(value: bytes, character_sets: Sequence[str], vr: str = "LO") -> str:
    """Decode a value with the terms of (0008,0005). Bytes that are not in these character sets become U+FFFD."""
    first = character_sets[0] if character_sets else ""
    if b"\x1b" not in value and (len(character_sets) < 2 or value.isascii()):
        return value.decode(_codec(first), "replace")
    if first in ("ISO_IR 192", "GB18030", "GBK"):  # without code extensions (PS3.3 C.12.1.1.2)
        return value.decode(_codec(first), "replace")
    return _Extended(tuple(character_sets), DELIMITERS.get(vr, b"\\")).decode(value)


def encode_text(text: str, character_sets: Sequence[str], vr: str = "LO") -> bytes | None:
    """Encode a value with the first of the terms of (0008,0005), without code extensions.

    Returns None if that character set has not all of its characters.
    """
    if text.isascii():
        return text.encode("ascii")
    first = character_sets[0] if character_sets else ""
    try:
        value = text.encode(_codec(first)) if first else b""
    except UnicodeEncodeError:
        return None
    is_katakana = first.endswith(" 13")  # its codec has Kanji, too
    if is_katakana and len(value) > len(text):
        return None
    return value if decode_text(value, character_sets, vr) == text else None


def encode_extended(text: str, character_sets: Sequence[str], vr: str = "LO") -> bytes | None:
    """Encode a value with the terms of (0008,0005), with code extensions if there are several.

    Returns None if they have not all of its characters.
    """
    encoded = encode_text(text, character_sets, vr)
    if encoded is not None or len(character_sets) < 2 or not can_encode(text, character_sets):
        return encoded
    codecs = convert_encodings(list(character_sets))
    delimiters = DELIMITERS.get(vr, b"\\").decode("ascii") + "\t\n\f\r"
    pieces = re.split(f"([{re.escape(delimiters)}])", text)
    # each piece begins anew, as a delimiter ends a code extension
    encoded = b"".join(encode_string(piece, codecs) for piece in pieces)
    return encoded if decode_text(encoded, character_sets, vr) == text else None


def can_encode(text: str, character_sets: Sequence[str]) -> bool:
    """Whether pydicom can encode a text with the terms of (0008,0005), by code extensions if there are several."""
    if text.isascii():
        return True
    if not are_usual(character_sets):
        return False
    # pydicom would replace characters that no codec has, with a warning
    codecs = convert_encodings(list(character_sets))
    if not all(any(_has(codec, character) for codec in codecs) for character in set(text)):
        return False
    return decode_text(encode_string(text, codecs), character_sets) == text


def are_usual(terms: Sequence[str]) -> bool:
    """Whether it is one term of PS3.3 C.12.1.1.2, or several with code extensions, of which the first may be empty."""
    if len(terms) == 1:
        return terms[0] in python_encoding and terms[0] != ""
    extended = terms[1:] if terms and terms[0] == "" else terms
    return bool(extended) and all(each.startswith("ISO 2022 ") and each in python_encoding for each in extended)


def _has(codec: str, character: str) -> bool:
    try:
        character.encode(codec)
    except UnicodeEncodeError:
        return False
    return True


def is_garbled(text: str, value: bytes) -> bool:
    """Whether decoding `value` to `text` had to replace bytes."""
    return REPLACEMENT in text and REPLACEMENT.encode() not in value


@lru_cache(maxsize=64)
def _codec(term: str) -> str:
    codec = python_encoding.get(term)
    if codec is None:  # misspelled: ISO-IR 100, ISO_IR100, ISO IR 100
        number = re.search(r"(\d+)$", term)
        codec = python_encoding.get(f"ISO_IR {number[1]}") if number else None
    return codec or default_encoding


@dataclass(frozen=True, slots=True)
class _State:
    left: _Set
    right: _Set | None


class _Extended:
    """A decoder for text with code extensions."""

    def __init__(self, character_sets: tuple[str, ...], delimiters: bytes) -> None:
        numbers = [found[1] if (found := re.search(r"(\d+)$", term)) else "" for term in character_sets]
        rights = [_RIGHT_BY_NUMBER[number] for number in numbers if number in _RIGHT_BY_NUMBER]
        # Without an escape sequence, the right half has the first set that the terms name.
        self._initial = self._state = _State(_ASCII, rights[0] if rights else None)
        self._ends = re.compile(rb"[\t\n\f\r" + re.escape(delimiters) + rb"]")

    def decode(self, value: bytes) -> str:
        parts, position = [], 0
        for escape in _ESCAPE.finditer(value):
            parts.append(self._run(value[position : escape.start()]))
            self._switch(escape[1])
            position = escape.end()
        parts.append(self._run(value[position:]))
        return "".join(parts)

    def _switch(self, to: bytes) -> None:
        if to in _LEFT:
            self._state = replace(self._state, left=_LEFT[to])
        elif to in _RIGHT:
            self._state = replace(self._state, right=_RIGHT[to])

    def _run(self, run: bytes) -> str:
        """Decode the bytes between two escape sequences."""
        if not self._state.left.is_double:
            return "".join(self._half(half) for half in _HALVES.findall(run))
        return "".join(
            self._half(cells) if cells[0] > 0x7F or len(cells) == 1 else _double(self._state.left, cells)
            for cells in _CELLS.findall(run)
        )

    def _half(self, half: bytes) -> str:
        if half[0] < 0x80:
            if self._ends.search(half):
                self._state = self._initial
            return half.decode("ascii")
        right = self._state.right
        if right is None:
            return REPLACEMENT * len(half)
        return _double(right, half) if right.is_double else half.decode(right.codec, "replace")


def _double(characters: _Set, cells: bytes) -> str:
    """Decode pairs of bytes. A pair that is not in the set becomes one U+FFFD."""
    pairs = [bytes(byte | 0x80 for byte in cells[start : start + 2]) for start in range(0, len(cells), 2)]
    try:
        return b"".join(characters.prefix + pair for pair in pairs).decode(characters.codec)
    except UnicodeDecodeError:
        return "".join(_one(characters, pair) for pair in pairs)


def _one(characters: _Set, pair: bytes) -> str:
    try:
        return (characters.prefix + pair).decode(characters.codec)
    except UnicodeDecodeError:
        return REPLACEMENT
