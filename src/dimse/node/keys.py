"""What the index keeps of an instance: its columns, and the attributes of its study and series. Pure.

How an attribute becomes a column:

1. NULL is an attribute that is missing or empty, or that its column cannot hold exactly: one with several values, of
   more than `MAX_TEXT` characters, or with a NUL; a date that is not a whole day, a number that is not an integer.
   Nothing is refused for that. Those of a study or series are in `attributes` as received, so that a row with NULL is
   matched on them, if unknown values match.
2. Texts are in Unicode, without padding, and otherwise as received: case matters.
3. A person name is a column for each component group (alphabetic, ideographic, phonetic), folded as `Matcher` folds
   names. A name with more than three groups is in no column. `referring_key` and `performing_key` are the whole
   folded name, with its "=".
4. A date is yyyymmdd, also of one with dots (2024.02.29).
5. A time is the first millisecond that it may mean: 10 and 1000 are 36 000 000. It may mean up to an hour more,
   so SQL narrows by `time` minus an hour, and its text decides.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple, Protocol

from dimse.dataset.encoding import (
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    tag_name,
    unpadded_text,
)
from dimse.dataset.texts import TEXT_VRS, decoded_value, split_values
from dimse.errors import DatasetError
from dimse.node import attributes
from dimse.node.headers import MALFORMED, Element, Header, character_sets_in, items, vr_of
from dimse.services.matching_rules import name_words, normal_name, significant, time_span

KEY_VERSION: Final = 1
"""The version of the rules by which texts are folded, kept with each study: other rules can find what to fold anew."""

MAX_TEXT: Final = 256
"""Characters of a text in a column: each may have four bytes in PostgreSQL, whose index entries have up to 2704."""

MAX_WORD: Final = 64
"""Characters of a word of a name that are kept: a longer key is cut to them before it is looked up."""

MAX_REQUESTS: Final = 100
"""Items of Request Attributes Sequence that become rows."""

UID: Final = re.compile(r"[0-9A-Za-z_][0-9A-Za-z._-]{0,63}", re.ASCII)
"""What may be the name of a file: also what PS3.5 9.1 does not allow, but devices send.

Not with a "-" in front: a program that is given the name would take it for an option.
"""
_DATE: Final = re.compile(r"(\d{4})(\d\d)(\d\d)", re.ASCII)
_INTEGER: Final = re.compile(r"[+-]?\d{1,10}", re.ASCII)
_MICROSECONDS: Final = 1000
"""In a millisecond."""
_INT_32: Final = 2**31 - 1
_INT_16: Final = 2**15 - 1

_MODALITY: Final = 0x00080060
_REQUEST_ATTRIBUTES: Final = 0x00400275
_INSTANCE_NUMBER: Final = 0x00200013
_NUMBER_OF_FRAMES: Final = 0x00280008
_CLAIMED: Final = (0x00100020, 0x00100021, 0x00201208)
_SIZES: Final = (("rows", 0x00280010), ("columns", 0x00280011), ("bits", 0x00280100))

_STUDY_TEXTS: Final = (
    ("patient_id", 0x00100020),
    ("issuer", 0x00100021),
    ("sex", 0x00100040),
    ("accession_number", 0x00080050),
    ("dicom_study_id", 0x00200010),
    ("description", 0x00081030),
)
_SERIES_TEXTS: Final = (
    ("modality", _MODALITY),
    ("description", 0x0008103E),
    ("body_part", 0x00180015),
    ("laterality", 0x00200060),
    ("station", 0x00081010),
    ("institution", 0x00080080),
)
_REQUEST_TEXTS: Final = (
    ("accession_number", 0x00080050),
    ("requested_procedure_id", 0x00401001),
    ("scheduled_step_id", 0x00400009),
)
_NAME_GROUPS: Final = ("name_key", "name_ideographic_key", "name_phonetic_key")


class Columns(NamedTuple):
    """What is kept of a study or a series."""

    columns: dict[str, Any]
    """The columns of its row, without identifiers and counters."""
    attributes: bytes
    """All attributes of it, encoded as `dimse.node.attributes` has them."""


class Claims(NamedTuple):
    """What each instance says of its study that matters also if the study is known."""

    patient_id: str | None
    issuer: str | None
    announced: int | None
    """Number of Study Related Instances (0020,1208)."""


class Description(Protocol):
    """What an instance says of itself, of its series and its study."""

    @property
    def study_uid(self) -> str: ...
    @property
    def series_uid(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def sop_class_uid(self) -> str: ...
    @property
    def modality(self) -> str: ...
    def claims(self) -> Claims: ...
    def study(self) -> Columns: ...
    def series(self) -> Columns: ...
    def requests(self) -> list[dict[str, str | None]]: ...
    def name_words(self) -> frozenset[str]: ...
    def instance(self) -> dict[str, Any]: ...


def describe(header: bytes, transfer_syntax_uid: str) -> Description:
    """What the elements of a data set before its pixel data say; inflated, if the data set is deflated.

    Raises `DatasetError` if it lacks a UID of study, series or instance, or has one that cannot be a file name, and for
    malformed elements in Explicit VR Big Endian.
    """
    return description_of(header_of(header, transfer_syntax_uid))


def header_of(header: bytes, transfer_syntax_uid: str) -> Header:
    """The elements that `description_of` needs, for a caller that needs them too."""
    return Header(header, transfer_syntax_uid, attributes.LAST)


def description_of(header: Header) -> Description:
    """What elements say, as `describe` has it."""
    return _Description(header)


class _Description:
    """A description that is made from the encoded elements when it is asked for."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self.study_uid = _uid(header, STUDY_INSTANCE_UID)
        self.series_uid = _uid(header, SERIES_INSTANCE_UID)
        self.uid = _uid(header, SOP_INSTANCE_UID)
        self.sop_class_uid = _uid(header, SOP_CLASS_UID)

    @cached_property
    def modality(self) -> str:
        """Modality (0008,0060), empty if it is missing."""
        return self._text(_MODALITY) or ""

    def claims(self) -> Claims:
        """What it says of its study."""
        header = self._header
        return _claims(*map(header.value, _CLAIMED), tuple(header.character_sets))

    def study(self) -> Columns:
        """The row of its study."""
        columns: dict[str, Any] = {name: self._text(tag) for name, tag in _STUDY_TEXTS}
        columns |= zip(_NAME_GROUPS, _name_groups(self._name(0x00100010)), strict=True)
        columns["birth_date"] = _date(self._text(0x00100030))
        columns["date"] = _date(self._text(0x00080020))
        columns["time"] = _time(self._text(0x00080030))
        columns["referring_key"] = self._name(0x00080090)
        columns["announced"] = self.claims().announced
        return Columns(columns, attributes.of_study(self._header))

    def series(self) -> Columns:
        """The row of its series."""
        columns: dict[str, Any] = {name: self._text(tag) for name, tag in _SERIES_TEXTS}
        columns["number"] = _integer(self._text(0x00200011))
        columns["step_date"] = _date(self._text(0x00400244))
        columns["step_time"] = _time(self._text(0x00400245))
        columns["performing_key"] = self._name(0x00081050)
        return Columns(columns, attributes.of_series(self._header))

    def requests(self) -> list[dict[str, str | None]]:
        """The rows of its Request Attributes Sequence."""
        rows: list[dict[str, str | None]] = []
        header = self._header
        element = header.elements.get(_REQUEST_ATTRIBUTES)
        if element is None or vr_of(_REQUEST_ATTRIBUTES, element[0]) != "SQ":
            return rows
        try:
            for item in items(header.data, element):
                own = character_sets_in(header.data, item, header.character_sets)
                row = {name: _column(_values(header.data, tag, item, own)) for name, tag in _REQUEST_TEXTS}
                if row not in rows:  # also one of NULLs only: its item matches any key
                    rows.append(row)
                if len(rows) == MAX_REQUESTS:
                    break
        except MALFORMED:
            pass
        return rows

    def name_words(self) -> frozenset[str]:
        """The folded words of all person names of patient and study, for fuzzy matching."""
        words: set[str] = set()
        for tag, (vr, _, _) in self._header.elements.items():
            if attributes.is_of_study(tag) and vr_of(tag, vr) == "PN":
                for value in self._values(tag):
                    words.update(word[:MAX_WORD] for word in name_words(value) if "\0" not in word)
        return frozenset(words)

    def instance(self) -> dict[str, Any]:
        """The columns of its own row."""
        header = self._header
        number, frames = header.value(_INSTANCE_NUMBER), header.value(_NUMBER_OF_FRAMES)
        columns = {
            "number": _integer(unpadded_text(number)) if number else None,
            "frames": _integer(unpadded_text(frames)) if frames else None,
        }
        for name, tag in _SIZES:
            value = header.value(tag)
            size = int.from_bytes(value, "little") if len(value) == 2 else None
            columns[name] = size if size is None or size <= _INT_16 or name != "bits" else None
        return columns

    def _values(self, tag: int) -> list[str]:
        return _values(self._header.data, tag, self._header.elements, self._header.character_sets)

    def _text(self, tag: int) -> str | None:
        return _column(self._values(tag))

    def _name(self, tag: int) -> str | None:
        """A folded person name with all its component groups."""
        return _column([name for value in self._values(tag) if (name := normal_name(value))])


@lru_cache(maxsize=1024)  # the instances of a study say the same
def _claims(patient_id: bytes, issuer: bytes, announced: bytes, character_sets: tuple[str, ...]) -> Claims:
    said = (patient_id, "LO"), (issuer, "LO"), (announced, "IS")
    texts = [_column(_texts(value, vr, [*character_sets])) for value, vr in said]
    return Claims(texts[0], texts[1], _integer(texts[2]))


def _uid(header: Header, tag: int) -> str:
    uid = unpadded_text(header.value(tag))
    if not UID.fullmatch(uid):
        raise DatasetError(f"{tag_name(tag)} is {'not a valid UID' if uid else 'missing'}")
    return uid


def _values(data: bytes, tag: int, elements: dict[int, Element], character_sets: list[str]) -> list[str]:
    """The texts of an attribute as `Matcher` compares them; none if it is missing, empty or not text."""
    element = elements.get(tag)
    if element is None or element[1] == element[2]:
        return []
    vr = vr_of(tag, element[0])
    return _texts(data[element[1] : element[2]], vr, character_sets) if vr in TEXT_VRS else []


def _texts(value: bytes, vr: str, character_sets: list[str]) -> list[str]:
    if not value or len(value) > attributes.MAX_VALUE:
        return []
    return significant(split_values(decoded_value(value, character_sets, vr), vr), vr)


def _column(values: list[str]) -> str | None:
    return values[0] if len(values) == 1 and len(values[0]) <= MAX_TEXT and "\0" not in values[0] else None


def _name_groups(name: str | None) -> tuple[str | None, str | None, str | None]:
    groups = (name or "").split("=")
    if len(groups) > len(_NAME_GROUPS):
        return None, None, None
    alphabetic, ideographic, phonetic = [*(group or None for group in groups), None, None][: len(_NAME_GROUPS)]
    return alphabetic, ideographic, phonetic


def _date(text: str | None) -> int | None:
    found = _DATE.fullmatch((text or "").replace(".", ""))
    if found is None:
        return None
    year, month, day = map(int, found.groups())
    try:
        date(year, month, day)
    except ValueError:
        return None
    return year * 10000 + month * 100 + day


def _time(text: str | None) -> int | None:
    span = time_span(text) if text else None
    return None if span is None else int(span[0]) // _MICROSECONDS


def _integer(text: str | None) -> int | None:
    """The integer of an IS; also of one that is written as 1.0."""
    if not text:
        return None
    try:
        number: int | Decimal = int(text) if _INTEGER.fullmatch(text) else Decimal(text)
        whole = int(number) if -_INT_32 <= number <= _INT_32 else None  # 1e999999999 would take hours to write out
    except (ArithmeticError, ValueError):
        return None
    return whole if whole == number else None


def uid_hash(uid: str) -> int:
    """The hash of a SOP Instance UID by which an instance is found: 8 bytes of blake2b, as a signed number."""
    return int.from_bytes(blake2b(uid.encode(), digest_size=8).digest(), "big", signed=True)
