"""The query of Query/Retrieve (PS3.4 Annex C): what is looked for, and the identifiers that say so.

Inside, every key is a path of tags (one, or more through sequences) and its value as text, as it goes on the wire.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from enum import Enum, StrEnum
from types import EllipsisType
from typing import Final

from dimse import uids
from dimse.dataset.pydicom_names import IGNORE, DataElement, Dataset, dictionary_VR, keyword_for_tag, tag_for_keyword
from dimse.dataset.scanner import tag_name

QueryValue = (
    str
    | int
    | float
    | date
    | time
    | Sequence[str | int | float]
    | tuple[str | date | time | None, str | date | time | None]
    | Mapping[str, "QueryValue"]
    | None
)
"""The value of a key.

None or "" matches all and is returned. A sequence is several values; a tuple of two is a range where the VR is DA, TM
or DT, either end may be None. A mapping holds the keys of a sequence's one item. In text, a backslash is between
values and a hyphen between the ends of a range.
"""

_Path = tuple[int, ...]


class QueryRetrieveLevel(StrEnum):
    """Query/Retrieve Level (0008,0052) (PS3.4 C.6.1, C.6.2)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"
    """Composite object instances, not only images."""

    @property
    def unique_key(self) -> str:
        """The keyword of the attribute that identifies one patient, study, series or instance (PS3.4 C.2.2.1.1)."""
        return _UNIQUE_KEYS[self]

    @property
    def below(self) -> QueryRetrieveLevel | None:
        """The next level down, None for IMAGE."""
        return {_PATIENT: _STUDY, _STUDY: _SERIES, _SERIES: _IMAGE}.get(self)


class QueryRetrieveModel(Enum):
    """A Query/Retrieve Information Model (PS3.4 C.6.1, C.6.2), and its SOP classes.

    >>> QueryRetrieveModel.STUDY_ROOT.find
    '1.2.840.10008.5.1.4.1.2.2.1'
    """

    PATIENT_ROOT = (uids.PATIENT_ROOT_FIND, uids.PATIENT_ROOT_MOVE, uids.PATIENT_ROOT_GET)
    STUDY_ROOT = (uids.STUDY_ROOT_FIND, uids.STUDY_ROOT_MOVE, uids.STUDY_ROOT_GET)

    @property
    def find(self) -> str:
        """The SOP Class UID of C-FIND."""
        return self.value[0]

    @property
    def move(self) -> str:
        """The SOP Class UID of C-MOVE."""
        return self.value[1]

    @property
    def get(self) -> str:
        """The SOP Class UID of C-GET."""
        return self.value[2]


_PATIENT, _STUDY, _SERIES, _IMAGE = _LEVELS = tuple(QueryRetrieveLevel)

_UNIQUE_KEYS: Final = {
    _PATIENT: "PatientID",
    _STUDY: "StudyInstanceUID",
    _SERIES: "SeriesInstanceUID",
    _IMAGE: "SOPInstanceUID",
}
_REQUIRED_KEYS: Final = {
    _PATIENT: ("PatientName",),
    _STUDY: ("StudyDate", "StudyTime", "AccessionNumber", "StudyID"),
    _SERIES: ("Modality", "SeriesNumber"),
    _IMAGE: ("InstanceNumber",),
}
_OPTIONAL_KEYS: Final = {
    _PATIENT: (
        *("IssuerOfPatientID", "PatientBirthDate", "PatientBirthTime", "PatientSex", "OtherPatientIDs"),
        *("OtherPatientIDsSequence", "OtherPatientNames", "EthnicGroup", "PatientComments"),
        *("NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances"),
    ),
    _STUDY: (
        *("ModalitiesInStudy", "SOPClassesInStudy", "AnatomicRegionsInStudyCodeSequence", "StudyDescription"),
        *("ReferringPhysicianName", "ProcedureCodeSequence", "NameOfPhysiciansReadingStudy", "PatientAge"),
        *("AdmittingDiagnosesDescription", "PatientSize", "PatientWeight", "Occupation", "OtherStudyNumbers"),
        *("AdditionalPatientHistory", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"),
    ),
    _SERIES: (
        *("SeriesDate", "SeriesTime", "SeriesDescription", "ProtocolName", "BodyPartExamined"),
        "NumberOfSeriesRelatedInstances",
    ),
    _IMAGE: (
        *("SOPClassUID", "RelatedGeneralSOPClassUID", "AlternateRepresentationSequence", "ImageType"),
        *("ContentDate", "ContentTime", "AcquisitionNumber", "NumberOfFrames", "Rows", "Columns"),
    ),
}
"""PS3.4 Tables C.6-1 to C.6-5, with the attributes of the series and the instance that archives match."""


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword) if keyword else None
    if tag is None:
        raise ValueError(f"{keyword!r} is not a keyword of PS3.6; write it as PatientName, or the tag as 0010,0010")
    return tag


_LEVEL_OF: Final = {
    _tag(keyword): level
    for level in _LEVELS
    for keyword in (_UNIQUE_KEYS[level], *_REQUIRED_KEYS[level], *_OPTIONAL_KEYS[level])
}
_QUERY_RETRIEVE_LEVEL: Final = _tag("QueryRetrieveLevel")
_SPECIFIC_CHARACTER_SET: Final = _tag("SpecificCharacterSet")
_PATIENT_ID: Final = _tag("PatientID")


@dataclass(frozen=True, slots=True, repr=False)
class Query:
    """What is looked for at a level of an information model: keys, and what each of them has to match.

    Immutable: each method gives another query. A key that is set again is replaced. Raises `ValueError` where a key
    is not one of the level (PS3.4 C.6), or a value is none for its key (PS3.4 C.2.2.2).

    >>> query = Query.studies(PatientName="Smith*").study_date(date(2024, 1, 1), None).modality("CT")
    >>> query.find_identifier().StudyDate
    '20240101-'
    """

    level: QueryRetrieveLevel
    model: QueryRetrieveModel
    _keys: tuple[tuple[_Path, str], ...] = ()

    def __post_init__(self) -> None:
        if self.level not in self._levels:
            raise ValueError("the Study Root model has no PATIENT level (PS3.4 C.6.2); use the Patient Root model")

    @classmethod
    def patients(cls, *, model: QueryRetrieveModel | None = None, **keys: QueryValue) -> Query:
        """Look for patients: in the Patient Root model, the other does not have them."""
        return cls.of(_PATIENT, keys, model)

    @classmethod
    def studies(cls, *, model: QueryRetrieveModel | None = None, **keys: QueryValue) -> Query:
        """Look for studies, in the Study Root model unless told otherwise.

        >>> Query.studies(PatientID="4711", StudyDate=(date(2024, 1, 1), date(2024, 6, 30)))
        <Query STUDY_ROOT STUDY: StudyDate=..., PatientID=...>
        """
        return cls.of(_STUDY, keys, model)

    @classmethod
    def series(cls, *, model: QueryRetrieveModel | None = None, **keys: QueryValue) -> Query:
        """Look for the series of a study, in the Study Root model unless told otherwise.

        >>> Query.series(StudyInstanceUID="1.2.3", Modality="CT")
        <Query STUDY_ROOT SERIES: Modality=..., StudyInstanceUID=...>
        """
        return cls.of(_SERIES, keys, model)

    @classmethod
    def instances(cls, *, model: QueryRetrieveModel | None = None, **keys: QueryValue) -> Query:
        """Look for the instances of a series, in the Study Root model unless told otherwise."""
        return cls.of(_IMAGE, keys, model)

    @classmethod
    def of(
        cls, level: QueryRetrieveLevel, keys: Mapping[str, QueryValue], model: QueryRetrieveModel | None = None
    ) -> Query:
        """Make a query of any level. A key is a keyword, a tag, or a path of those through sequences.

        >>> keys = {"0010,0020": "4711", "ProcedureCodeSequence.CodeValue": "24627-2"}
        >>> Query.of(QueryRetrieveLevel.STUDY, keys)
        <Query STUDY_ROOT STUDY: ProcedureCodeSequence.CodeValue=..., PatientID=...>
        """
        default = QueryRetrieveModel.PATIENT_ROOT if level == _PATIENT else QueryRetrieveModel.STUDY_ROOT
        return cls(level, model or default)._with(keys)

    @classmethod
    def parse(cls, level: QueryRetrieveLevel, keys: Sequence[str], model: QueryRetrieveModel | None = None) -> Query:
        """Read keys in text: `key=value`, the value as it goes on the wire; `key` alone is a return key.

        >>> Query.parse(QueryRetrieveLevel.STUDY, ["StudyDate=20240101-", "StudyDescription"])
        <Query STUDY_ROOT STUDY: StudyDate=..., StudyDescription>
        """
        split = (key.partition("=") for key in keys)
        return cls.of(level, {key.strip(): value for key, _, value in split}, model)

    @classmethod
    def as_found(cls, level: QueryRetrieveLevel, unique_keys: Mapping[str, str], model: QueryRetrieveModel) -> Query:
        """Make a query by unique keys that an archive gave, by keyword; their form is not checked."""
        return cls(level, model, tuple(sorted(((_tag(keyword),), text) for keyword, text in unique_keys.items())))

    def where(self, **keys: QueryValue) -> Query:
        """Set any keys, by keyword."""
        return self._with(keys)

    def returning(self, *keys: str) -> Query:
        """Have these keys returned too, whatever their value is. Those set already stay: they are returned anyway."""
        wanted = {key: None for key in keys if not any(_overlap(_path(key), path) for path, _ in self._keys)}
        return self._with(wanted)

    def patient_name(self, patient_name: str) -> Query:
        """Family name, given name and so on, with `^` between them; `*` and `?` are wild cards (PS3.4 C.2.2.2.4)."""
        return self.where(PatientName=patient_name)

    def patient_id(self, patient_id: str) -> Query:
        """The unique key of the patient level."""
        return self.where(PatientID=patient_id)

    def study_date(self, start: str | date | None, end: str | date | EllipsisType | None = ...) -> Query:
        """On that day, or from `start` to `end` where both are given; None leaves that side open."""
        return self.where(StudyDate=start if isinstance(end, EllipsisType) else (start, end))

    def modality(self, *codes: str) -> Query:
        """Studies in which there is such a modality, or series of it, as the level is."""
        return self.where(**{"ModalitiesInStudy" if self.level == _STUDY else "Modality": codes})

    def accession_number(self, accession_number: str) -> Query:
        """The number of the order that the study was made for."""
        return self.where(AccessionNumber=accession_number)

    def study_instance_uid(self, *study_instance_uids: str) -> Query:
        """One study, or at the study level also several (PS3.4 C.2.2.2.2)."""
        return self.where(StudyInstanceUID=study_instance_uids)

    def series_instance_uid(self, *series_instance_uids: str) -> Query:
        """One series, or at the series level also several (PS3.4 C.2.2.2.2)."""
        return self.where(SeriesInstanceUID=series_instance_uids)

    def sop_instance_uid(self, *sop_instance_uids: str) -> Query:
        """One instance or several (PS3.4 C.2.2.2.2)."""
        return self.where(SOPInstanceUID=sop_instance_uids)

    def find_identifier(self) -> Dataset:
        """The identifier of a C-FIND request (PS3.4 C.4.1.1.3): the keys, and those that every archive returns.

        Raises `ValueError` where a unique key above the level does not have its one value (PS3.4 C.4.1.2.1).

        >>> Query.series().find_identifier()
        Traceback (most recent call last):
        ValueError: a SERIES level query needs one StudyInstanceUID (PS3.4 C.4.1.2.1); ...
        """
        keys = {(_tag(keyword),): "" for keyword in self._required_keys} | dict(self._keys)
        for unique_key in self._unique_keys[:-1]:
            self._check_single(unique_key)
        return raw_identifier(self.level, _dataset(keys))

    def retrieve_identifier(self) -> Dataset:
        """The identifier of a C-MOVE or C-GET request (PS3.4 C.4.2.1.4, C.4.3.1.3): unique keys; return keys stay out.

        Raises `ValueError` where another key has a value, or a unique key has none. Several UIDs may be given at the
        level of the query.

        >>> Query.studies(StudyInstanceUID=["1.2.3", "1.2.4"]).retrieve_identifier().QueryRetrieveLevel
        'STUDY'
        """
        unique_keys: dict[_Path, str] = {(tag,): text for tag in self._unique_keys if (text := self._text_of(tag))}
        others = [_name(*path) for path, text in self._keys if text and path not in unique_keys]
        if others:
            raise ValueError(
                f"{', '.join(others)}: C-MOVE and C-GET take unique keys only (PS3.4 C.4.2.1.4): find first, "
                f"then retrieve by {_name(self._unique_keys[-1])}"
            )
        for tag in self._unique_keys:
            # PS3.4 C.4.2.1.4.1: a list is of UIDs, and at the level of the retrieval
            if tag == _PATIENT_ID or tag != self._unique_keys[-1] or not self._text_of(tag):
                self._check_single(tag)
        return raw_identifier(self.level, _dataset(unique_keys))

    def __repr__(self) -> str:
        keys = ", ".join(_name(*path) + ("=..." if text else "") for path, text in self._keys)
        return f"<Query {self.model.name} {self.level}{': ' if keys else ''}{keys}>"

    @property
    def _levels(self) -> tuple[QueryRetrieveLevel, ...]:
        return _LEVELS if self.model is QueryRetrieveModel.PATIENT_ROOT else _LEVELS[1:]

    @property
    def _unique_keys(self) -> list[int]:
        """From the top of the model down to the level."""
        return [_tag(_UNIQUE_KEYS[level]) for level in self._levels[: self._levels.index(self.level) + 1]]

    @property
    def _required_keys(self) -> Iterator[str]:
        for level in _LEVELS:
            if self._level_in_model(level) == self.level:
                yield from (_UNIQUE_KEYS[level], *_REQUIRED_KEYS[level])

    def _level_in_model(self, level: QueryRetrieveLevel) -> QueryRetrieveLevel:
        """PS3.4 C.6.2.1: the patient is an attribute of the study where the study is the root."""
        return level if level in self._levels else _STUDY

    def _with(self, keys: Mapping[str, QueryValue]) -> Query:
        merged = dict(self._keys)
        for key, value in keys.items():
            path = _path(key)
            self._check_level(path[0])
            merged = _set(merged, path, value)
        return replace(self, _keys=tuple(sorted(merged.items())))

    def _check_level(self, tag: int) -> None:
        if tag not in _LEVEL_OF or tag in self._unique_keys:
            return
        level = self._level_in_model(_LEVEL_OF[tag])
        if level != self.level:
            raise ValueError(
                f"{_name(tag)} is a key of the {level} level, and this query is of the {self.level} level "
                f"(PS3.4 C.6); query that level, or ask "
                "relationally in the raw form, a level and a Dataset (PS3.4 C.4.1.2.2.1)"
            )

    def _text_of(self, tag: int) -> str:
        return dict(self._keys).get((tag,), "")

    def _check_single(self, tag: int) -> None:
        text = self._text_of(tag)
        if not text or any(character in text for character in "\\*?"):
            raise ValueError(
                f"a {self.level} level query needs one {_name(tag)} (PS3.4 C.4.1.2.1); "
                f"give a single value without wild cards"
            )


def raw_identifier(level: QueryRetrieveLevel, dataset: Dataset) -> Dataset:
    """Make an identifier of a data set that is sent as it is: for relational queries and private keys.

    What comes back is a copy with Query/Retrieve Level, and with Specific Character Set where a text needs one and
    there is none (PS3.4 C.4.1.1.3.1).

    >>> dataset = Dataset()
    >>> dataset.PatientName = "Müller*"
    >>> raw_identifier(QueryRetrieveLevel.SERIES, dataset).SpecificCharacterSet
    'ISO_IR 100'
    """
    # pydicom's own copy shares its elements with the original.
    identifier = Dataset({tag: dataset.get_item(tag) for tag in dataset.keys()})  # noqa: SIM118 - iterating decodes
    identifier.QueryRetrieveLevel = str(level)
    if not identifier.get("SpecificCharacterSet"):
        character_set = _character_set_for("".join(_texts(identifier)))
        if character_set:
            identifier.SpecificCharacterSet = character_set
    return identifier


# Keys: paths of tags


_TAG = re.compile(r"\(([0-9A-F]{4}),([0-9A-F]{4})\)|([0-9A-F]{4}),?([0-9A-F]{4})", re.IGNORECASE)


def _path(key: str, above: _Path = ()) -> _Path:
    """A keyword, a tag, or a path of those, below the sequence at `above`."""
    path = above
    *sequences, last = key.split(".")
    for name in (*(sequence.removesuffix("[0]") for sequence in sequences), last):
        if "[" in name:
            raise ValueError(f"{key}: a key that is a sequence has one item (PS3.4 C.2.2.2.6); leave the index out")
        if path and _vr(path[-1]) != "SQ":
            raise ValueError(f"{key}: {_name(*path)} is not a sequence, nothing can be within it")
        path = (*path, _key_tag(name))
    return path


def _key_tag(name: str) -> int:
    match = _TAG.fullmatch(name)
    tag = int("".join(filter(None, match.groups())), 16) if match else _tag(name)
    try:
        _vr(tag)
    except KeyError:
        raise ValueError(
            f"{tag_name(tag)} is not in the data dictionary (PS3.6); private keys go in the raw form (level, Dataset)"
        ) from None
    if tag >> 16 in (0x0000, 0x0002, 0xFFFE):
        raise ValueError(f"{tag_name(tag)} is not an element of an identifier (PS3.4 C.4.1.1.3); leave it out")
    if tag in (_QUERY_RETRIEVE_LEVEL, _SPECIFIC_CHARACTER_SET):
        raise ValueError(f"{_name(tag)} is set from the query's level and texts; leave it out")
    return tag


def _overlap(path: _Path, other: _Path) -> bool:
    """Whether one is the other, or a sequence that holds it."""
    return path[: len(other)] == other[: len(path)]


def _set(keys: Mapping[_Path, str], path: _Path, value: QueryValue) -> dict[_Path, str]:
    """`keys` with the one at `path` set anew, and what it held before gone."""
    changed = {other: text for other, text in keys.items() if not _overlap(path, other)}
    if isinstance(value, Mapping) and value and _vr(path[-1]) == "SQ":
        for key, inner in value.items():
            changed = _set(changed, _path(key, path), inner)
        return changed
    return changed | {path: _text(path, value)}


def _name(*path: int) -> str:
    return ".".join(keyword_for_tag(tag) or tag_name(tag) for tag in path)


def _vr(tag: int) -> str:
    """The first where PS3.6 has more than one: `US or SS`."""
    return dictionary_VR(tag).split()[0]


# Values: text, as it goes on the wire


def _one_or_range(one: str) -> Callable[[str], object]:
    return re.compile(f"{one}|{one}-({one})?|-{one}", re.ASCII).fullmatch


def _each(is_valid: Callable[[str], object]) -> Callable[[str], object]:
    return lambda text: all(map(is_valid, text.split("\\")))


def _is_date_or_range(text: str) -> bool:
    ends = text.split("-")
    dates = [end for end in ends if end]
    return len(ends) <= 2 and dates != [] and all(map(_is_date, dates)) and dates == sorted(dates)


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return re.fullmatch(r"\d{8}", text) is not None  # and not one of ISO 8601's other forms


def _is_number(vr: str) -> Callable[[str], bool]:
    read, form = _NUMBERS[vr]

    def is_number(text: str) -> bool:
        try:
            struct.pack(form, read(text))
        except (ValueError, OverflowError, struct.error):
            return False
        return _NUMBER.fullmatch(text) is not None  # Python reads more than that: 1_000, nan

    return is_number


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGERS: Final = {"IS": "<l", "SS": "<h", "US": "<H", "SL": "<l", "UL": "<L", "SV": "<q", "UV": "<Q"}
_DECIMALS: Final = {"DS": "<d", "FL": "<f", "FD": "<d"}
_NUMBERS: Final[dict[str, tuple[Callable[[str], int | float], str]]] = {
    **{vr: (int, form) for vr, form in _INTEGERS.items()},
    **{vr: (float, form) for vr, form in _DECIMALS.items()},
}
"""By VR: how it is read from text, and packed within its range."""

_TIME = r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?"
_DATETIME = rf"\d{{4}}((0[1-9]|1[0-2])((0[1-9]|[12]\d|3[01])({_TIME})?)?)?([+-](0\d|1[0-4])[0-5]\d)?"
_FORMS: Final[dict[str, tuple[Callable[[str], object], str]]] = {
    "DA": (
        _is_date_or_range,
        "a date YYYYMMDD, or a range from the earlier to the later: 20240101-20240630, 20240101-",
    ),
    "TM": (_one_or_range(_TIME), "a time HHMMSS, or a range: 0800-1200, 0800-, -1200"),
    "DT": (_one_or_range(_DATETIME), "a date and time YYYYMMDDHHMMSS+ZZXX, or a range: 20240101-20240630, 202401-"),
    "UI": (_each(uids.has_uid_characters), "a UID or a list of UIDs"),
    "AS": (_each(re.compile(r"\d{3}[DWMY]", re.ASCII).fullmatch), "an age: 018M, 045Y"),
    **{vr: (_each(_is_number(vr)), "a number in the range of the VR") for vr in _NUMBERS},
}
"""By VR: what a value that is not free text must be (PS3.5 6.2, PS3.4 C.2.2.2), and the words for it."""

_WITH_CHARACTER_SET: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_ASCII: Final = frozenset({"AE", "CS", "UR"})
_ONE_VALUE: Final = frozenset({"LT", "ST", "UR", "UT"})
"""Where a backslash is a character like others (PS3.5 6.2), or none at all."""


def _text(path: _Path, value: QueryValue) -> str:
    vr = _vr(path[-1])
    try:
        text = _on_the_wire(vr, value)
        if text:
            _check(vr, text)
    except ValueError as error:
        # never the value: it may be a patient's name
        raise ValueError(f"{_name(*path)} ({vr}): {error}") from None
    return text


def _on_the_wire(vr: str, value: QueryValue) -> str:
    if value is None:
        return ""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        return _one_on_the_wire(vr, value)
    if isinstance(value, tuple) and len(value) == 2 and vr in ("DA", "TM", "DT"):
        return "-".join("" if end is None else _one_on_the_wire(vr, end) for end in value)
    if not value:
        raise ValueError("no values; leave the key out, or give None to match all and have it returned")
    if len(value) > 1 and vr in _ONE_VALUE:
        raise ValueError("it has one value (PS3.5 6.2); give one text")
    return "\\".join(_one_on_the_wire(vr, one) for one in value)


def _one_on_the_wire(vr: str, value: object) -> str:
    match value:
        case str():
            return value
        case int() | float() if vr in _NUMBERS:
            return str(value)
        case datetime() if vr == "DT":
            return re.sub("[-:T]", "", value.replace(tzinfo=None).isoformat()) + f"{value:%z}"
        case date() if vr in ("DA", "DT"):
            return value.isoformat()[:10].replace("-", "")
        case time() if vr == "TM":
            return value.isoformat().replace(":", "")
    raise ValueError(f"it has no values of the type {type(value).__name__}; give {_wanted(vr)}")


def _check(vr: str, text: str) -> None:
    if vr in _FORMS:
        is_valid, wanted = _FORMS[vr]
        if "*" in text or "?" in text:
            raise ValueError(f"it has no wild cards (PS3.4 C.2.2.2.4); give {wanted}")
        if not is_valid(text):
            raise ValueError(f"no such value; give {wanted}")
    elif vr in _ASCII:
        if not text.isascii():
            raise ValueError("a value is ASCII, whatever the character set (PS3.5 6.1.2.2)")
    elif vr not in _WITH_CHARACTER_SET:
        raise ValueError(f"it cannot be matched with a text; give {_wanted(vr)}")
    elif any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("it has half a surrogate pair, which no character set can encode; give Unicode text")


def _wanted(vr: str) -> str:
    if vr in _FORMS:
        return _FORMS[vr][1]
    if vr == "SQ":
        return "a mapping of keywords to values, or name a key within it: Sequence.Keyword"
    return "a text" if vr in _ASCII | _WITH_CHARACTER_SET else "None, to have it returned"


# Data sets


def _dataset(keys: Mapping[_Path, str]) -> Dataset:
    dataset = Dataset()
    for path, text in keys.items():
        item = dataset
        for tag in path[:-1]:
            if tag not in item:
                item.add(_element(tag, ""))
            item = item[tag].value[0]
        item.add(_element(path[-1], text))
    return dataset


def _element(tag: int, text: str) -> DataElement:
    """pydicom would warn of wild cards and ranges, with the value in the warning."""
    vr = _vr(tag)
    value: object = text or None
    if vr == "SQ":
        value = [Dataset()]  # PS3.4 C.2.2.2.6: an item without keys matches all
    elif text and vr in _NUMBERS and vr not in ("DS", "IS"):
        value = [_NUMBERS[vr][0](number) for number in text.split("\\")]
    return DataElement(tag, vr, value, validation_mode=IGNORE)


def _texts(dataset: Dataset) -> Iterator[str]:
    for element in dataset.iterall():
        if element.VR in _WITH_CHARACTER_SET:
            yield from map(str, element.value if element.VM > 1 else [element.value])


def _character_set_for(text: str) -> str | None:
    """None is the default repertoire, Latin-1 is what the most archives know, UTF-8 has the rest (PS3.3 C.12.1.1.2)."""
    if text.isascii():
        return None
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return "ISO_IR 192"
    return "ISO_IR 100"
