"""Identifiers of C-FIND responses, made from elements without decoding them (PS3.4 C.4.1.1.3.2). Pure.

1. A response has each attribute that the request has, empty if there is no value. Of a sequence with keys it has the
   items that match, with the attributes of those keys.
2. Query/Retrieve Level, Retrieve AE Title and Instance Availability are always there.
3. Texts are in the character set of the request, if it has all of their characters, else in UTF-8; it is named as soon
   as one of them is not ASCII.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dimse import uids
from dimse.dataset.character_sets import DELIMITERS, are_usual, encode_extended
from dimse.dataset.codec import decode, encode
from dimse.dataset.encoding import (
    LITTLE,
    QUERY_RETRIEVE_LEVEL,
    SHORT_VRS,
    SPECIFIC_CHARACTER_SET,
    item_header,
)
from dimse.node.candidates import Elements, items, match, offset_in
from dimse.services.matching import Keys

RETRIEVE_AE_TITLE: Final = 0x00080054
INSTANCE_AVAILABILITY: Final = 0x00080056

_ALWAYS: Final = {QUERY_RETRIEVE_LEVEL: "CS", RETRIEVE_AE_TITLE: "AE", INSTANCE_AVAILABILITY: "CS"}
_CODES: Final = {vr.decode("ascii"): vr for vr in SHORT_VRS}
_UTF_8: Final = ("ISO_IR 192",)

Chosen = dict[int, "tuple[str, bytes | list[Chosen]]"]
"""The attributes of a response, or of an item in it: VR and value, of a sequence the items."""


class Answers:
    """Makes the responses to one request.

    `character_sets` are the terms of Specific Character Set (0008,0005) of the request.
    """

    def __init__(self, keys: Keys, character_sets: Sequence[str], transfer_syntax_uid: str) -> None:
        self._keys = keys
        self._character_sets = tuple(character_sets)
        self._syntax = transfer_syntax_uid
        self._is_implicit = transfer_syntax_uid == uids.IMPLICIT_VR_LITTLE_ENDIAN
        self._is_native = transfer_syntax_uid in uids.LITTLE_ENDIAN
        self._creators = {
            tag: ("LO", _padded(creator.encode())) for tag, creator in keys.creators.items() if tag not in keys.vrs
        }
        self._vrs = dict(sorted((keys.vrs | _ALWAYS | dict.fromkeys(self._creators, "LO")).items()))
        self._plain = [
            (tag, tag >> 16, tag & 0xFFFF, _encoded(tag, vr, b"", implicit=self._is_implicit))
            for tag, vr in self._vrs.items()
        ]

    @property
    def tags(self) -> frozenset[int]:
        """The attributes that a response has."""
        return frozenset(self._vrs)

    def encoded(self, elements: Elements) -> bytes:
        """The response with these elements, in the transfer syntax of the request."""
        elements = {**elements, **self._creators}
        plain = self._encoded_plain(elements) if self._is_native else None
        if plain is not None:
            return plain
        chosen = self._in_character_set(_chosen(self._keys, self._vrs, elements, offset_in(elements)))
        if self._is_native:
            return _joined(chosen, implicit=self._is_implicit)
        explicit = _joined(chosen, implicit=False)
        return encode(decode(explicit, uids.EXPLICIT_VR_LITTLE_ENDIAN), self._syntax)

    def _encoded_plain(self, elements: Elements) -> bytes | None:
        """The response, if it has only ASCII texts and no sequence, as most have."""
        parts = list[bytes]()
        find, is_implicit, short, plain = elements.get, self._is_implicit, LITTLE.short.pack, LITTLE.plain.pack
        for tag, group, number, empty in self._plain:
            element = find(tag)
            if element is None:
                parts.append(empty)
                continue
            vr, value = element
            if vr == "SQ" or (vr in DELIMITERS and not value.isascii()):
                return None
            if is_implicit:
                parts.append(plain(group, number, len(value)))
                parts.append(value)
            elif vr in _CODES:
                parts.append(short(group, number, _CODES[vr], len(value)))
                parts.append(value)
            else:
                parts.append(_encoded(tag, vr, value, implicit=False))
        return b"".join(parts)

    def _in_character_set(self, chosen: Chosen) -> Chosen:
        """The attributes with texts in a character set that has all of their characters, and its name if needed."""
        if _is_ascii(chosen):
            return chosen
        terms = self._character_sets
        found = _recoded(chosen, terms) if are_usual(terms) and terms != _UTF_8 else None
        if found is None:
            terms, found = _UTF_8, chosen
        name = "\\".join(terms).encode("latin-1", "replace")
        return dict(sorted({**found, SPECIFIC_CHARACTER_SET: ("CS", _padded(name))}.items()))


def _chosen(keys: Keys, vrs: dict[int, str], elements: Elements, offset: int) -> Chosen:
    """The attributes that the keys ask for, of sequences the items that match; `offset` is that of the elements."""
    chosen: Chosen = {}
    for tag, vr in vrs.items():
        element = elements.get(tag, (vr, b""))
        inner = keys.items.get(tag)
        if inner is not None:
            found = (item for item in items(elements, tag) if match(inner, item, offset))
            wanted = dict(sorted(inner.vrs.items()))
            chosen[tag] = "SQ", [_chosen(inner, wanted, item, offset_in(item, offset)) for item in found]
        elif element[0] == "SQ":
            chosen[tag] = "SQ", [_whole(item) for item in items(elements, tag)]
        else:
            chosen[tag] = element
    return chosen


def _whole(elements: Elements) -> Chosen:
    return {
        tag: ("SQ", [_whole(item) for item in items(elements, tag)]) if element[0] == "SQ" else element
        for tag, element in elements.items()
    }


def _is_ascii(chosen: Chosen) -> bool:
    return all(
        all(map(_is_ascii, value)) if isinstance(value, list) else vr not in DELIMITERS or value.isascii()
        for vr, value in chosen.values()
    )


def _recoded(chosen: Chosen, terms: Sequence[str]) -> Chosen | None:
    """The attributes with texts in these character sets; None if they lack one of the characters."""
    recoded: Chosen = {}
    for tag, (vr, value) in chosen.items():
        if isinstance(value, list):
            inner = [_recoded(item, terms) for item in value]
            if None in inner:
                return None
            recoded[tag] = vr, [item for item in inner if item is not None]
        elif vr in DELIMITERS and not value.isascii():
            encoded = encode_extended(value.decode("utf-8", "replace"), terms, vr)
            if encoded is None:
                return None
            recoded[tag] = vr, _padded(encoded)
        else:
            recoded[tag] = vr, value
    return recoded


def _padded(text: bytes) -> bytes:
    return text + b" " * (len(text) % 2)


def _joined(chosen: Chosen, *, implicit: bool) -> bytes:
    return b"".join(_encoded(tag, vr, value, implicit=implicit) for tag, (vr, value) in chosen.items())


def _encoded(tag: int, vr: str, value: bytes | list[Chosen], *, implicit: bool) -> bytes:
    """An element with its header (PS3.5 7.1)."""
    if isinstance(value, list):
        found = [_joined(item, implicit=implicit) for item in value]
        value = b"".join(item_header(len(each)) + each for each in found)
    if implicit:
        return LITTLE.plain.pack(tag >> 16, tag & 0xFFFF, len(value)) + value
    if vr in _CODES:
        return LITTLE.short.pack(tag >> 16, tag & 0xFFFF, _CODES[vr], len(value)) + value
    return LITTLE.long.pack(tag >> 16, tag & 0xFFFF, vr.encode("ascii"), len(value)) + value
