"""Fast path for little endian data sets of short values, such as most identifiers; sequences are only encoded by it.

Both functions return None for a data set that is not plain, which is then left to pydicom. pydicom's results are the
reference: tests/dataset/test_fast_codec.py compares each result with pydicom's.

Two shortcuts use the private layout of pydicom's classes, as their constructors take longer than all the rest: a
`RawDataElement` is made as the named tuple that it is, and a `Dataset` by filling in the instance attributes `_dict`
and `_read_charset`. If a new version of pydicom changes these, the comparison in the tests fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from functools import lru_cache, partial
from typing import Any, Final

from pydicom import DataElement, Dataset
from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import RawDataElement, empty_value_for_VR
from pydicom.tag import BaseTag
from pydicom.valuerep import IS, DSfloat, PersonName

from dimse.dataset.encoding import (
    ITEM_TAG,
    LITTLE,
    QUERY_RETRIEVE_LEVEL,
    SHORT_VRS,
    SPECIFIC_CHARACTER_SET,
    Buffer,
    item_header,
    unpadded_text,
)
from dimse.dataset.structure import MAX_CHARACTER_SETS

_TEXT: Final = frozenset(("AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UI"))
"""VRs whose ASCII values are encoded unchanged in any character set (PS3.5 6.1.2.1)."""
_NUMBERS: Final = {"US": LITTLE.length_16, "UL": LITTLE.length_32}
_SHORT: Final = {vr: vr.decode("ascii") for vr in SHORT_VRS}
_ENCODED: Final = frozenset((*_SHORT.values(), "SQ"))

_tag: Final = lru_cache(maxsize=4096)(BaseTag)
_raw_element: Final[Callable[[tuple[Any, ...]], RawDataElement]] = partial(tuple.__new__, RawDataElement)
"""Like `RawDataElement._make`: makes the named tuple without its slow `__new__`."""
_DEFAULTS: Final = tuple(RawDataElement._field_defaults.values())


def decode_plain(data: Buffer, *, implicit: bool) -> Dataset | None:
    """Decode a little endian data set to raw elements, whose values pydicom decodes on access."""
    data = bytes(data)
    unpack, position, end = (LITTLE.plain if implicit else LITTLE.short).unpack_from, 0, len(data)
    last = -1
    elements: MutableMapping[BaseTag, DataElement | RawDataElement] = {}
    while position < end:
        if position + 8 > end:
            return None
        vr = None
        if implicit:
            group, element, length = unpack(data, position)
        else:
            group, element, letters, length = unpack(data, position)
            vr = _SHORT.get(letters)
            if vr is None:
                return None
        tag, position = group << 16 | element, position + 8
        # In Implicit VR only its items reveal a sequence. An undefined length exceeds any end.
        if tag <= last or position + length > end or (implicit and data[position : position + 4] == ITEM_TAG):
            return None
        value: Any = data[position : position + length] if length else empty_value_for_VR(vr, raw=True)
        key = _tag(tag)
        elements[key] = _raw_element((key, vr, length, value, position, implicit, True, *_DEFAULTS))
        last, position = tag, position + length
    character_sets = _character_sets(elements)
    if len(character_sets) > MAX_CHARACTER_SETS:
        return None
    return _dataset(elements, _python_encodings(character_sets), implicit=implicit)


def _dataset(
    elements: MutableMapping[BaseTag, DataElement | RawDataElement], character_set: Any, *, implicit: bool
) -> Dataset:
    """`Dataset(elements)` with its original encoding.

    `Dataset.__setattr__` looks up each attribute in pydicom's dictionary of keywords, which takes longer than reading
    the elements. So this copies the instance attributes of an empty data set, as `copy.copy` would.
    """
    dataset, empty = Dataset.__new__(Dataset), _empty(implicit=implicit)
    vars(dataset).update(
        {name: value.copy() if isinstance(value, dict) else value for name, value in empty.items()},
        _dict=elements,
        _read_charset=character_set,
    )
    return dataset


@lru_cache
def _empty(*, implicit: bool) -> dict[str, Any]:
    dataset = Dataset()
    dataset.set_original_encoding(implicit, True)
    return vars(dataset)


def _character_sets(elements: Mapping[BaseTag, DataElement | RawDataElement]) -> bytes:
    """The value of Specific Character Set, empty if it is absent."""
    element = elements.get(BaseTag(SPECIFIC_CHARACTER_SET))
    return b"" if element is None else element.value or b""


def _python_encodings(character_sets: bytes) -> Any:
    if not character_sets:
        return default_encoding
    names = [unpadded_text(name) for name in character_sets.split(b"\\")]
    return convert_encodings(names if len(names) > 1 else names[0])


def encode_plain(dataset: Dataset, *, implicit: bool, level: str | None = None) -> bytes | None:
    """Encode a data set in little endian if it has only ASCII texts and small numbers, and sequences of such ones.

    `level` is a Query/Retrieve Level (0008,0052) that overrides the one of the data set.
    """
    parts = list[bytes]()
    tags = dataset.keys() if level is None else {*dataset.keys(), QUERY_RETRIEVE_LEVEL}
    for tag in sorted(tags):
        if level is not None and tag == QUERY_RETRIEVE_LEVEL:
            vr, value = "CS", _encoded("CS", level)
        else:
            element = dataset.get_item(tag)
            vr = element.VR
            if element.is_raw or vr not in _ENCODED or tag < 0x00080000 or not tag & 0xFFFF:
                return None
            value = _encoded_items(element, implicit=implicit) if vr == "SQ" else _encoded(vr, element.value)
        encoded = _with_header(tag, vr, value, implicit=implicit)
        if encoded is None:
            return None
        parts.append(encoded)
    return b"".join(parts)


def _with_header(tag: int, vr: str, value: bytes | None, *, implicit: bool) -> bytes | None:
    """An encoded element; None if its value could not be encoded, or is too long for its header."""
    if value is None:
        return None
    if implicit:
        return LITTLE.plain.pack(tag >> 16, tag & 0xFFFF, len(value)) + value
    if vr == "SQ":
        return LITTLE.long.pack(tag >> 16, tag & 0xFFFF, b"SQ", len(value)) + value
    if len(value) >= 0x10000:
        return None
    return LITTLE.short.pack(tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


def _encoded_items(element: DataElement, *, implicit: bool) -> bytes | None:
    """The items of a sequence; None if it, or one of them, is to have an undefined length."""
    parts = list[bytes]()
    for item in element.value or ():
        encoded = encode_plain(item, implicit=implicit)
        if encoded is None or item.is_undefined_length_sequence_item:
            return None
        parts += item_header(len(encoded)), encoded
    return None if element.is_undefined_length else b"".join(parts)


def _encoded(vr: str, value: Any) -> bytes | None:
    if vr in _TEXT or vr in ("IS", "DS"):
        text = _text(value)
        if text is None or not text.isascii():
            return None
        encoded = text.encode("ascii")
        return encoded if len(encoded) % 2 == 0 else encoded + (b"\0" if vr == "UI" else b" ")
    if value is None:
        return b""
    if vr in _NUMBERS and isinstance(value, int):
        return _NUMBERS[vr].pack(value)
    return None


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, IS | DSfloat):
        return getattr(value, "original_string", None) or str(value)
    if isinstance(value, PersonName):
        return str(value)
    if not isinstance(value, int | float) and hasattr(value, "__iter__"):
        texts = [_text(each) for each in value]
        return None if None in texts else "\\".join(text for text in texts if text is not None)
    return None
