"""Queries of Query/Retrieve (PS3.4 Annex C), and the identifiers of their requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import Enum, StrEnum
from itertools import pairwise
from types import EllipsisType
from typing import Final

from dimse import uids
from dimse.dataset.pydicom_names import Dataset
from dimse.services.query_keys import (
    Path,
    QueryValue,
    character_set_for,
    dataset_of,
    name_of,
    overlap,
    path_of,
    tag_of,
    texts_of,
    vr_of_key,
    with_key,
)
from dimse.services.query_words import date_value


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
        return dict(pairwise(_LEVELS)).get(self)


class QueryRetrieveModel(Enum):
    """A Query/Retrieve Information Model (PS3.4 C.6.1, C.6.2) and its SOP Classes.

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

    @property
    def levels(self) -> tuple[QueryRetrieveLevel, ...]:
        """The levels of the model, from the top."""
        return _LEVELS if self is QueryRetrieveModel.PATIENT_ROOT else _LEVELS[1:]

    def levels_to(self, level: QueryRetrieveLevel) -> tuple[QueryRetrieveLevel, ...]:
        """The levels of the model from the top down to `level`."""
        return self.levels[: self.levels.index(level) + 1]


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
        "IssuerOfPatientID",
        "PatientBirthDate",
        "PatientBirthTime",
        "PatientSex",
        "OtherPatientIDs",
        "OtherPatientIDsSequence",
        "OtherPatientNames",
        "EthnicGroup",
        "PatientComments",
        "NumberOfPatientRelatedStudies",
        "NumberOfPatientRelatedSeries",
        "NumberOfPatientRelatedInstances",
    ),
    _STUDY: (
        "ModalitiesInStudy",
        "SOPClassesInStudy",
        "AnatomicRegionsInStudyCodeSequence",
        "StudyDescription",
        "ReferringPhysicianName",
        "ProcedureCodeSequence",
        "NameOfPhysiciansReadingStudy",
        "PatientAge",
        "AdmittingDiagnosesDescription",
        "PatientSize",
        "PatientWeight",
        "Occupation",
        "OtherStudyNumbers",
        "AdditionalPatientHistory",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    _SERIES: (
        "SeriesDate",
        "SeriesTime",
        "SeriesDescription",
        "ProtocolName",
        "BodyPartExamined",
        "NumberOfSeriesRelatedInstances",
    ),
    _IMAGE: (
        "SOPClassUID",
        "RelatedGeneralSOPClassUID",
        "AlternateRepresentationSequence",
        "ImageType",
        "ContentDate",
        "ContentTime",
        "AcquisitionNumber",
        "NumberOfFrames",
        "Rows",
        "Columns",
    ),
}
"""PS3.4 Tables C.6-1 to C.6-5, and attributes of the series and the instance that archives match."""


_LEVEL_OF: Final = {
    tag_of(keyword): level
    for level in _LEVELS
    for keyword in (_UNIQUE_KEYS[level], *_REQUIRED_KEYS[level], *_OPTIONAL_KEYS[level])
}
_PATIENT_ID: Final = tag_of("PatientID")
_ABOVE: Final = {tag_of("Modality"): "ModalitiesInStudy", tag_of("SOPClassUID"): "SOPClassesInStudy"}
"""Keys of lower levels that have one for the study as a whole."""


@dataclass(frozen=True, slots=True, repr=False)
class Query:
    """The keys to match at a level of an information model.

    Immutable: each method returns a new query. A key that is set again is replaced. Raises `ValueError` for a key of a
    lower level (PS3.4 C.6), and for a value that its key cannot have (PS3.4 C.2.2.2). `dimse.find` and
    `dimse.retrieve` match keys of higher levels at theirs; a single C-FIND takes none but the unique keys.

    >>> query = Query.studies(PatientName="Smith*").study_date(date(2024, 1, 1), None).modality("CT")
    >>> query.find_identifier().StudyDate
    '20240101-'
    """

    level: QueryRetrieveLevel
    model: QueryRetrieveModel
    _keys: tuple[tuple[Path, str], ...] = ()
    """Paths of tags, and values as they are encoded; empty for a return key."""

    def __post_init__(self) -> None:
        if self.level not in self.model.levels:
            raise ValueError("the Study Root model has no PATIENT level (PS3.4 C.6.2); use the Patient Root model")

    @classmethod
    def patients(cls, *, model: QueryRetrieveModel | None = None, **keys: QueryValue) -> Query:
        """Look for patients, in the Patient Root model: Study Root has no patient level."""
        return cls.of(_PATIENT, keys, model)

    @classmethod
    def studies(cls, *, model: QueryRetrieveModel | None = None, **keys: QueryValue) -> Query:
        """Look for studies, by default in the Study Root model.

        >>> Query.studies(PatientID="4711", StudyDate=(date(2024, 1, 1), date(2024, 6, 30)))
        <Query STUDY_ROOT STUDY: StudyDate=..., PatientID=...>
        """
        return cls.of(_STUDY, keys, model)

    @classmethod
    def series(cls, *, model: QueryRetrieveModel | None = None, **keys: QueryValue) -> Query:
        """Look for series, by default in the Study Root model.

        >>> Query.series(StudyInstanceUID="1.2.3", Modality="CT")
        <Query STUDY_ROOT SERIES: Modality=..., StudyInstanceUID=...>
        """
        return cls.of(_SERIES, keys, model)

    @classmethod
    def instances(cls, *, model: QueryRetrieveModel | None = None, **keys: QueryValue) -> Query:
        """Look for instances, by default in the Study Root model."""
        return cls.of(_IMAGE, keys, model)

    @classmethod
    def of(
        cls, level: QueryRetrieveLevel, keys: Mapping[str, QueryValue], model: QueryRetrieveModel | None = None
    ) -> Query:
        """Make a query at any level. A key is a keyword, a tag, or a path of those through sequences.

        >>> keys = {"0010,0020": "4711", "ProcedureCodeSequence.CodeValue": "24627-2"}
        >>> Query.of(QueryRetrieveLevel.STUDY, keys)
        <Query STUDY_ROOT STUDY: ProcedureCodeSequence.CodeValue=..., PatientID=...>
        """
        default = QueryRetrieveModel.PATIENT_ROOT if level == _PATIENT else QueryRetrieveModel.STUDY_ROOT
        return cls(level, model or default)._with(keys)

    @classmethod
    def parse(cls, level: QueryRetrieveLevel, keys: Sequence[str], model: QueryRetrieveModel | None = None) -> Query:
        """Make a query from texts: `key=value`, with the value as it is encoded; `key` alone is a return key.

        A date may also be in words: 2024-01-31, 2024-01..2024-06, >=2024, today, yesterday, -7d (since 7 days ago);
        UIDs may be separated by commas.

        >>> Query.parse(QueryRetrieveLevel.STUDY, ["StudyDate=2024-02", "StudyDescription"])
        <Query STUDY_ROOT STUDY: StudyDate=..., StudyDescription>
        """
        parsed: dict[str, QueryValue] = {}
        for key in keys:
            name, _, value = key.partition("=")
            name = name.strip()
            parsed[name] = _in_dicom(name, value)
        return cls.of(level, parsed, model)

    @classmethod
    def as_found(cls, level: QueryRetrieveLevel, unique_keys: Mapping[str, str], model: QueryRetrieveModel) -> Query:
        """Make a query from unique keys that an archive returned, by keyword; their form is not checked."""
        return cls(level, model, tuple(sorted(((tag_of(keyword),), text) for keyword, text in unique_keys.items())))

    def where(self, **keys: QueryValue) -> Query:
        """Set any keys, by keyword."""
        return self._with(keys)

    def returning(self, *keys: str) -> Query:
        """Also return these keys, without matching on them. Keys that have a value keep it."""
        wanted = {key: None for key in keys if not any(overlap(path_of(key), path) for path, _ in self._keys)}
        return self._with(wanted)

    def patient_name(self, patient_name: str) -> Query:
        """Family name, given name and so on, separated by `^`; `*` and `?` are wild cards (PS3.4 C.2.2.2.4)."""
        return self.where(PatientName=patient_name)

    def patient_id(self, patient_id: str) -> Query:
        """The unique key of the patient level."""
        return self.where(PatientID=patient_id)

    def study_date(self, start: str | date | None, end: str | date | EllipsisType | None = ...) -> Query:
        """On one day, or, with two arguments, from `start` to `end`; None leaves that end open."""
        return self.where(StudyDate=start if isinstance(end, EllipsisType) else (start, end))

    def modality(self, *codes: str) -> Query:
        """Studies that contain one of these modalities, or series of them, depending on the level."""
        return self.where(**{"ModalitiesInStudy" if self.level == _STUDY else "Modality": codes})

    def accession_number(self, accession_number: str) -> Query:
        """The number of the order for the study."""
        return self.where(AccessionNumber=accession_number)

    def study_instance_uid(self, *study_instance_uids: str) -> Query:
        """One study, or several at the study level (PS3.4 C.2.2.2.2)."""
        return self.where(StudyInstanceUID=study_instance_uids)

    def series_instance_uid(self, *series_instance_uids: str) -> Query:
        """One series, or several at the series level (PS3.4 C.2.2.2.2)."""
        return self.where(SeriesInstanceUID=series_instance_uids)

    def sop_instance_uid(self, *sop_instance_uids: str) -> Query:
        """One instance or several (PS3.4 C.2.2.2.2)."""
        return self.where(SOPInstanceUID=sop_instance_uids)

    def find_identifier(self) -> Dataset:
        """The identifier of a C-FIND request (PS3.4 C.4.1.1.3): the keys, and the required keys of the level.

        Raises `ValueError` if a unique key above the level does not have exactly one value (PS3.4 C.4.1.2.1), and for
        other keys of a higher level.

        >>> Query.series().find_identifier()
        Traceback (most recent call last):
        ValueError: a query at SERIES level needs one StudyInstanceUID (PS3.4 C.4.1.2.1); ...
        """
        for path, _ in self._keys:
            level = self.level_of(path[0])
            if level != self.level and path[0] not in self._unique_keys:
                raise ValueError(
                    f"{name_of(*path)} is a key of the {level} level, but this is {_a(self.level)} level query "
                    "(PS3.4 C.6); dimse.find asks level by level, or pass a level and a Dataset, as a relational query"
                )
        for unique_key in self._unique_keys[:-1]:
            self._check_single(unique_key)
        return self._identifier()

    def relational_identifier(self) -> Dataset:
        """The identifier of a relational C-FIND request (PS3.4 C.4.1.2.2.1): all keys, of whatever level.

        >>> Query.series(PatientID="4711", Modality="CT").relational_identifier().Modality
        'CT'
        """
        above: dict[Path, str] = {(tag,): "" for tag in self._unique_keys}
        return self._identifier(above)

    def _identifier(self, more: Mapping[Path, str] | None = None) -> Dataset:
        required: dict[Path, str] = {(tag_of(keyword),): "" for keyword in self._required_keys}
        return raw_identifier(self.level, dataset_of({**(more or {}), **required, **dict(self._keys)}))

    # The hierarchical queries of a query

    def first_step(self) -> tuple[QueryRetrieveLevel, dict[str, str]]:
        """The level at which a search level by level begins, and the unique keys above it.

        >>> Query.series(StudyInstanceUID="1.2", Modality="CT").first_step()
        (<QueryRetrieveLevel.SERIES: 'SERIES'>, {'StudyInstanceUID': '1.2'})
        """
        above: dict[str, str] = {}
        for level in self.model.levels_to(self.level)[:-1]:
            unique_key = tag_of(level.unique_key)
            others = [path for path, _ in self._keys if self.level_of(path[0]) == level and path != (unique_key,)]
            if others or not self._is_single(unique_key):
                return level, above
            above[level.unique_key] = self.text_of(unique_key)
        return self.level, above

    def step(self, level: QueryRetrieveLevel, above: Mapping[str, str]) -> Query:
        """The keys of `level`, for what is below the entity with the unique keys `above`, whose form is not checked."""
        keys = {path: text for path, text in self._keys if self.level_of(path[0]) == level}
        keys |= {(tag_of(keyword),): text for keyword, text in above.items()}
        return replace(self, level=level, _keys=tuple(sorted(keys.items())))

    def keys_at(self, level: QueryRetrieveLevel) -> frozenset[int]:
        """The tags of the keys of a level."""
        return frozenset(path[0] for path, _ in self._keys if self.level_of(path[0]) == level)

    def level_of(self, tag: int) -> QueryRetrieveLevel:
        """The level of a key in the model. Attributes that no level has are of the level of the query."""
        if tag in _LEVEL_OF:
            return self._level_in_model(_LEVEL_OF[tag])
        return self.level

    def text_of(self, tag: int) -> str:
        """The value of a key as it is encoded; empty if it has none."""
        return dict(self._keys).get((tag,), "")

    def retrieve_identifier(self) -> Dataset:
        """The identifier of a C-MOVE or C-GET request (PS3.4 C.4.2.1.4, C.4.3.1.3): the unique keys only.

        Raises `ValueError` if another key has a value, or a unique key has none. Several UIDs are allowed at the
        level of the query.

        >>> Query.studies(StudyInstanceUID=["1.2.3", "1.2.4"]).retrieve_identifier().QueryRetrieveLevel
        'STUDY'
        """
        unique_keys: dict[Path, str] = {(tag,): text for tag in self._unique_keys if (text := self.text_of(tag))}
        others = [name_of(*path) for path, text in self._keys if text and path not in unique_keys]
        if others:
            raise ValueError(
                f"{', '.join(others)}: C-MOVE and C-GET allow only unique keys (PS3.4 C.4.2.1.4); find first, "
                f"then retrieve by {name_of(self._unique_keys[-1])}"
            )
        for tag in self._unique_keys:
            # PS3.4 C.4.2.1.4.1: only UIDs may be a list, and only at the level of the retrieval
            if tag == _PATIENT_ID or tag != self._unique_keys[-1] or not self.text_of(tag):
                self._check_single(tag)
        return raw_identifier(self.level, dataset_of(unique_keys))

    def __repr__(self) -> str:
        keys = ", ".join(name_of(*path) + ("=..." if text else "") for path, text in self._keys)
        return f"<Query {self.model.name} {self.level}{': ' if keys else ''}{keys}>"

    @property
    def _unique_keys(self) -> list[int]:
        """The tags of the unique keys, from the top of the model down to the level."""
        return [tag_of(level.unique_key) for level in self.model.levels_to(self.level)]

    @property
    def _required_keys(self) -> Iterator[str]:
        for level in _LEVELS:
            if self._level_in_model(level) == self.level:
                yield from (_UNIQUE_KEYS[level], *_REQUIRED_KEYS[level])

    def _level_in_model(self, level: QueryRetrieveLevel) -> QueryRetrieveLevel:
        """In Study Root, the attributes of the patient are those of the study (PS3.4 C.6.2.1)."""
        return level if level in self.model.levels else _STUDY

    def _with(self, keys: Mapping[str, QueryValue]) -> Query:
        merged = dict(self._keys)
        for key, value in keys.items():
            path = path_of(key)
            self._check_level(path[0])
            merged = with_key(merged, path, value)
        return replace(self, _keys=tuple(sorted(merged.items())))

    def _check_level(self, tag: int) -> None:
        level = self.level_of(tag)
        if level not in self.model.levels_to(self.level):
            alike = _ABOVE.get(tag) if self.level == _STUDY else None
            advice = f", or use {alike}, the key of the study" if alike else ""
            raise ValueError(
                f"{name_of(tag)} is a key of the {level} level, but this is {_a(self.level)} level query (PS3.4 C.6): "
                f"query the {level} level{advice}"
            )

    def _is_single(self, tag: int) -> bool:
        text = self.text_of(tag)
        return text != "" and not any(character in text for character in "\\*?")

    def _check_single(self, tag: int) -> None:
        if not self._is_single(tag):
            raise ValueError(
                f"a query at {self.level} level needs one {name_of(tag)} (PS3.4 C.4.1.2.1); "
                "pass a single value without wild cards"
            )


def _a(level: QueryRetrieveLevel) -> str:
    """The level with its article."""
    return f"an {level}" if level == _IMAGE else f"a {level}"


def _in_dicom(key: str, value: str) -> str:
    """The value of a key as it is encoded, from how it may be written."""
    path = path_of(key)
    vr = vr_of_key(path)
    if vr == "UI":
        return value.replace(",", "\\")
    if vr not in ("DA", "DT"):
        return value
    try:
        return date_value(value, date.today())  # noqa: DTZ011 - the user's day
    except ValueError as error:
        raise ValueError(f"{name_of(*path)}: {error}") from None


def raw_identifier(level: QueryRetrieveLevel | None, dataset: Dataset) -> Dataset:
    """Make an identifier from a data set that is otherwise sent as it is, for relational queries and private keys.

    Returns a copy with Query/Retrieve Level, unless `level` is None, and with Specific Character Set if a text needs
    one and there is none (PS3.4 C.4.1.1.3.1).

    >>> dataset = Dataset()
    >>> dataset.PatientName = "Müller*"
    >>> raw_identifier(QueryRetrieveLevel.SERIES, dataset).SpecificCharacterSet
    'ISO_IR 100'
    """
    # A shallow copy by pydicom would share its elements with the original.
    identifier = Dataset({tag: dataset.get_item(tag) for tag in dataset.keys()})  # noqa: SIM118 - iterating decodes
    if level is not None:
        identifier.QueryRetrieveLevel = str(level)
    if not identifier.get("SpecificCharacterSet"):
        character_set = character_set_for("".join(texts_of(identifier)))
        if character_set:
            identifier.SpecificCharacterSet = character_set
    return identifier
