"""Edits of data elements: which ones to set and to remove, checked before any object is read (PS3.5 6.2)."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from pydicom.config import RAISE
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.valuerep import validate_value

from dimse.dataset.character_sets import DELIMITERS, encode_text
from dimse.dataset.encoding import PIXEL_DATA, SOP_CLASS_UID, SOP_INSTANCE_UID, SPECIFIC_CHARACTER_SET, tag_name
from dimse.dataset.scanner import NAMING_TAGS
from dimse.dataset.texts import ONE_TEXT, TEXT_VRS

EditValue = str | int | float | Sequence[str | int | float] | None
"""The new value of an element: a text, a number, several of them, or None for an empty one. In text, a backslash
separates values."""

_TAG: Final = re.compile(r"\(([0-9A-F]{4}),([0-9A-F]{4})\)|([0-9A-F]{4}),?([0-9A-F]{4})", re.IGNORECASE)
_NUMBERS: Final = {"SS": "h", "US": "H", "SL": "l", "UL": "L", "SV": "q", "UV": "Q", "FL": "f", "FD": "d"}
"""The struct format of the binary numbers, by VR."""

_PIXEL_STRUCTURE: Final = frozenset(
    {0x00280002, 0x00280003, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011}
    | {0x00280100, 0x00280101, 0x00280102, 0x00280103}
)
"""Samples per Pixel to Pixel Representation: without them the pixel data cannot be read (PS3.3 C.7.6.3)."""

_FORMS: Final = {
    "AE": "an AE title of at most 16 characters",
    "AS": "an age such as 045Y",
    "CS": "at most 16 capital letters, digits, spaces and underscores",
    "DA": "a date YYYYMMDD",
    "DS": "a decimal number of at most 16 characters",
    "DT": "a date and time YYYYMMDDHHMMSS",
    "IS": "an integer",
    "LO": "a text of at most 64 characters in one line",
    "PN": "a name of at most 64 characters in one line, such as Family^Given",
    "SH": "a text of at most 16 characters in one line",
    "TM": "a time HHMMSS",
    "UI": "a UID of at most 64 digits and dots",
    "UR": "a URI",
    **dict.fromkeys(("FL", "FD"), "a number"),
    **dict.fromkeys(("SS", "US", "SL", "UL", "SV", "UV"), "an integer in the range of the VR"),
}
"""By VR: what a value must be (PS3.5 6.2)."""

_NOT_IN_A_DATA_SET: Final = frozenset({0x0000, 0x0002, 0xFFFE})
_MAX_VALUE: Final = 0xFFFE
"""Bytes of a value with a 16-bit length (PS3.5 7.1.2); no text that is typed needs more."""


class NewValue(NamedTuple):
    """The value that an element gets."""

    vr: str
    text: str
    numbers: tuple[int | float, ...] = ()
    """Those of a binary VR, in place of `text`."""

    def encoded(self, order: str, character_sets: Sequence[str]) -> bytes | None:
        """Encoded in a byte order of `struct`; None if the character sets do not have its characters."""
        if self.vr in _NUMBERS:
            return struct.pack(f"{order}{len(self.numbers)}{_NUMBERS[self.vr]}", *self.numbers)
        value = encode_text(self.text, character_sets, self.vr)
        if value is None or len(value) % 2 == 0:
            return value
        return value + (b"\0" if self.vr == "UI" else b" ")


Changes = Mapping[int, NewValue | None]
"""By tag, in ascending order: the new value; None removes the element."""


class Edits:
    """Data elements to set and to remove on the way, in the header of an object; its pixel data is not touched.

    `set` has new values by keyword or tag (`"0010,0010"`), `remove` has keywords or tags. An element is set whether the
    object had it or not. All other elements keep their bytes. Elements in items of sequences cannot be edited, only the
    whole sequence removed.

    Values must fit the VR. Text in other characters than ASCII is encoded in the Specific Character Set of the object;
    an object that has none gets ISO_IR 192 (UTF-8), and one whose character set has no such character is refused with a
    `DatasetError`.

    Not editable are the File Meta Information, the SOP Class UID, what describes the pixel data, and what follows it. A
    SOP Instance UID may be set: it then names the object in the C-STORE and in the File Meta Information, too.

    This is not de-identification: PS3.15 Annex E has hundreds of elements, and text can be in the pixels.

    Raises `ValueError`, without the values, for an element that cannot be edited or a value that its VR does not allow.

    >>> Edits(set={"PatientName": "Anon^1", "PatientID": "A1"}, remove=["PatientBirthDate"])
    <Edits: set PatientName, PatientID; remove PatientBirthDate>
    """

    def __init__(self, set: Mapping[str, EditValue] | None = None, remove: Iterable[str] = ()) -> None:  # noqa: A002
        if isinstance(remove, str):
            raise ValueError("remove must be a list of keywords, not a text")  # noqa: TRY004 - as all other errors
        changes = dict[int, NewValue | None]()
        for key, value in (set or {}).items():
            tag = _once(key, changes)
            changes[tag] = _new_value(tag, value)
        for key in remove:
            tag = _once(key, changes)
            if tag in NAMING_TAGS:
                raise ValueError(f"{name_of(tag)} must not be removed: an archive files the object by it")
            changes[tag] = None
        self._changes: Changes = dict(sorted(changes.items()))

    def __repr__(self) -> str:
        to_set = ", ".join(name_of(tag) for tag, new in self._changes.items() if new is not None)
        to_remove = ", ".join(name_of(tag) for tag, new in self._changes.items() if new is None)
        parts = [f"set {to_set}"] if to_set else []
        parts += [f"remove {to_remove}"] if to_remove else []
        return f"<Edits: {'; '.join(parts) or 'none'}>"

    def __bool__(self) -> bool:
        return bool(self._changes)

    @classmethod
    def parse(cls, settings: Iterable[str], removals: Iterable[str] = ()) -> Edits:
        """Edits as the command line has them: `["PatientName=Anon", "PatientID="]` and `["PatientBirthDate"]`."""
        values = dict[str, EditValue]()
        for setting in settings:
            key, separator, value = setting.partition("=")
            if not separator:
                raise ValueError(f"{key!r} has no value: write {key}=VALUE, or {key}= for an empty one")
            if key in values:
                raise ValueError(f"{key} is set twice")
            values[key] = value
        edits = cls(values, removals)
        if SOP_INSTANCE_UID in edits._changes:
            raise ValueError("SOPInstanceUID would be the same for all objects, which an archive takes for one")
        return edits

    def _changes_in(self, value_of: Callable[[int], str | None]) -> Changes:  # noqa: ARG002 - `NewUIDs` uses it
        """What to change in an object; `value_of` gives its UIDs."""
        return self._changes

    def sop_instance_uid(self, before: str) -> str:
        """The SOP Instance UID of an edited object that had the UID `before`."""
        new = self._changes.get(SOP_INSTANCE_UID)
        return before if new is None else new.text

    def digest(self) -> str:
        """A text that is the same for the same edits, and does not show them."""
        return hashlib.sha256(repr(self._changes).encode()).hexdigest()

    def text_of(self, tag: int) -> str | None:
        """The text that an element gets, empty if it is removed; None if it is left as it is."""
        if tag not in self._changes:
            return None
        new = self._changes[tag]
        return "" if new is None else new.text


def name_of(tag: int) -> str:
    """The keyword, or the tag of an element without one."""
    return keyword_for_tag(tag) or tag_name(tag)


def _once(key: str, changes: Mapping[int, object]) -> int:
    tag = _tag_of(key)
    if tag in changes:
        raise ValueError(f"{name_of(tag)} is edited twice")
    return tag


def _tag_of(key: str) -> int:
    if "." in key:
        raise ValueError(f"{key}: elements in items cannot be edited; remove the whole sequence, or leave it")
    match = _TAG.fullmatch(key)
    tag = int("".join(filter(None, match.groups())), 16) if match else tag_for_keyword(key) if key else None
    if tag is None:
        raise ValueError(f"unknown keyword {key!r}; it must be a keyword of PS3.6 or a tag such as 0010,0010")
    group, element = tag >> 16, tag & 0xFFFF
    if group in _NOT_IN_A_DATA_SET or element == 0:
        raise ValueError(f"{name_of(tag)} cannot be edited: it is not an element of an object")
    if tag in (SOP_CLASS_UID, SPECIFIC_CHARACTER_SET):
        raise ValueError(f"{name_of(tag)} cannot be edited: it says how the rest must be read")
    if tag in _PIXEL_STRUCTURE:
        raise ValueError(f"{name_of(tag)} cannot be edited: it describes the pixel data, which is not changed")
    if tag >= PIXEL_DATA & ~0xFFFF:
        raise ValueError(f"{name_of(tag)} cannot be edited: it is, or follows, the pixel data, which is streamed")
    return tag


def _new_value(tag: int, value: EditValue) -> NewValue:
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        raise ValueError(f"{tag_name(tag)} is not in PS3.6, so its VR is unknown; it can only be removed") from None
    if vr not in TEXT_VRS and vr not in _NUMBERS:
        raise ValueError(f"{name_of(tag)} has the VR {vr}; it can only be removed")
    try:
        return _checked(vr, value, dictionary_VM(tag))
    except (ValueError, TypeError, OverflowError, struct.error):
        # without the value, which may be a patient's name
        raise ValueError(f"{name_of(tag)} ({vr}) must be {_expected(vr, dictionary_VM(tag))}") from None


def _checked(vr: str, value: EditValue, multiplicity: str) -> NewValue:
    values = _values(vr, value)
    if values and not _allows(multiplicity, len(values)):
        raise ValueError(multiplicity)
    if vr in _NUMBERS:
        numbers = tuple(float(each) if vr in ("FL", "FD") else int(each) for each in values)
        struct.pack(f"<{len(numbers)}{_NUMBERS[vr]}", *numbers)
        return NewValue(vr, "\\".join(map(str, values)), numbers)
    texts = [str(each) for each in values]
    for text in texts:
        _check_text(vr, text)
    joined = "\\".join(texts)
    if len(joined.encode()) > _MAX_VALUE:
        raise ValueError(len(joined))
    return NewValue(vr, joined)


def _values(vr: str, value: EditValue) -> Sequence[str | int | float]:
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return [value] if vr in ONE_TEXT else value.split("\\")
    if isinstance(value, int | float):
        values: Sequence[str | int | float] = [value]
    else:
        values = list(value)
    if any(isinstance(each, bool) or not isinstance(each, str | int | float) for each in values):
        raise TypeError
    if vr not in ONE_TEXT and any("\\" in each for each in values if isinstance(each, str)):
        raise ValueError
    return values


def _check_text(vr: str, text: str) -> None:
    validate_value(vr, text, RAISE)
    allowed = "\t\n\f\r" if vr in ONE_TEXT else ""
    if any(ord(character) < 0x20 and character not in allowed for character in text):
        raise ValueError("a control character")
    if vr in ("DA", "TM") and "-" in text:
        raise ValueError("a range")
    if vr not in DELIMITERS and not text.isascii():
        raise ValueError("not in the default repertoire")


def _allows(multiplicity: str, count: int) -> bool:
    """Whether a Value Multiplicity such as 1, 2-2n or 1-8 allows a number of values (PS3.5 6.4)."""
    least, _, most = multiplicity.partition("-")
    if not most:
        return count == int(least)
    return count >= int(least) and (not most.isdecimal() or count <= int(most))


def _expected(vr: str, multiplicity: str) -> str:
    form = _FORMS.get(vr, "a text within the limits of the VR")
    return form if multiplicity == "1" else f"{form}; {multiplicity} values"
