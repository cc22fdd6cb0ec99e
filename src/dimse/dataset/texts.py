"""The values of a data set as the peer wrote them, whatever rule of their VR they break (PS3.5 6.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.multival import MultiValue
from pydicom.valuerep import PersonName

from dimse.dataset.character_sets import DELIMITERS, decode_text, is_garbled
from dimse.dataset.encoding import SPECIFIC_CHARACTER_SET, tag_name
from dimse.dataset.structure import dictionary_vr
from dimse.errors import DatasetError

ONE_TEXT: Final = frozenset(("LT", "ST", "UT", "UR"))
"""VRs in which a backslash is an ordinary character."""
MAX_EXTENDED: Final = 256 * 1024
"""Bytes of texts with code extensions in a data set: each byte may begin another piece to decode."""
TEXT_VRS: Final = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", *DELIMITERS, *ONE_TEXT))


def character_sets_of(dataset: Dataset, outer: Sequence[str] = ()) -> Sequence[str]:
    """The terms of Specific Character Set (0008,0005); `outer`, those of the enclosing data set, if it is absent."""
    if SPECIFIC_CHARACTER_SET not in dataset:
        return outer
    value: Any = dataset.get_item(SPECIFIC_CHARACTER_SET).value
    if isinstance(value, bytes):
        value = value.decode("latin-1").split("\\")
    return [str(term).strip(" \0") for term in ([value] if isinstance(value, str) else value or ())]


def vr_of(dataset: Dataset, tag: int) -> str:
    """The VR of an element, from the data set, the dictionary or pydicom."""
    element = dataset.get_item(tag)
    if element.VR not in (None, "UN"):
        return str(element.VR)
    return dictionary_vr(tag) or str(dataset[tag].VR)


class Texts:
    """Reads texts, and collects the tags of those that are not in their character set."""

    def __init__(self) -> None:
        self.garbled: set[int] = set()
        """The tags of texts with undecodable bytes, which became U+FFFD."""

    def of(self, dataset: Dataset, tag: int, character_sets: Sequence[str]) -> list[str]:
        """The values of an element with a text VR, without their padding; an empty list if it is empty."""
        vr, value = vr_of(dataset, tag), dataset.get_item(tag).value
        if not isinstance(value, bytes):
            values = value if isinstance(value, MultiValue | list) else [] if value is None else [value]
            return [str(each) for each in values] if value != "" else []
        text = decoded_value(value, character_sets, vr)
        if is_garbled(text, value):
            self.garbled.add(tag)
        return split_values(text, vr)


def decoded_value(value: bytes, character_sets: Sequence[str], vr: str) -> str:
    """The encoded value of an element with a text VR as text; bytes that are not in the sets become U+FFFD."""
    return decode_text(value, character_sets, vr) if vr in DELIMITERS else value.decode("latin-1")


def split_values(text: str, vr: str) -> list[str]:
    """The values in the text of an element, without their padding; none if it is empty."""
    text = text.rstrip(" \0")
    if not text:
        return []
    if vr in ONE_TEXT:
        return [text]
    return [each.rstrip(" \0") if vr in ("PN", "LO", "SH", "UC") else each.strip(" \0") for each in text.split("\\")]


def decode_extensions(dataset: Dataset, outer: Sequence[str] = (), most: int = MAX_EXTENDED) -> int:
    """Decode texts with code extensions, at all levels: pydicom would leave escape sequences in them.

    `most` is the number of bytes of such texts allowed; returns the remaining number. Raises `DatasetError` if they
    are exceeded.
    """
    character_sets = character_sets_of(dataset, outer)
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        vr = element.VR if element.VR not in (None, "UN") else dictionary_vr(tag)
        value: Any = element.value
        if vr in DELIMITERS and isinstance(value, bytes) and (b"\x1b" in value or not value.isascii()):
            most -= len(value)
            if most < 0:
                raise DatasetError(f"more than {MAX_EXTENDED} bytes with code extensions at {tag_name(tag)}")
            dataset[tag] = _element(tag, vr, decode_text(value, character_sets, vr), dataset)
        elif vr == "SQ":
            for item in _items(dataset, tag):
                most = decode_extensions(item, character_sets, most)
    return most


def _items(dataset: Dataset, tag: int) -> Iterator[Dataset]:
    element = dataset[tag]
    return iter(element.value if element.VR == "SQ" and element.value else ())


def _element(tag: int, vr: str, text: str, dataset: Dataset) -> DataElement:
    values: list[Any] = split_values(text, vr) or [""]
    if vr == "PN":
        encodings = dataset.original_character_set
        encodings = [encodings] if isinstance(encodings, str) else encodings
        values = [PersonName(each, encodings, validation_mode=IGNORE) for each in values]
    constructor: Any = PersonName if vr == "PN" else str
    value = values[0] if len(values) == 1 else MultiValue(constructor, values)
    return DataElement(tag, vr, value, already_converted=True)
