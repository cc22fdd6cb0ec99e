"""Queries of Query/Retrieve (PS3.4 Annex C), and the identifiers of their requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from types import EllipsisType
from typing import Final

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
from dimse.services.query_models import FRAME_KEYS, LEVELS, QueryRetrieveLevel, QueryRetrieveModel
from dimse.services.query_words import date_value
from dimse.upper_layer.extended import QueryFeatures

_PATIENT, _STUDY, _SERIES, _IMAGE = LEVELS

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
    for level in LEVELS
    for keyword in (level.unique_key, *_REQUIRED_KEYS[level], *_OPTIONAL_KEYS[level])
} | {tag_of(keyword): QueryRetrieveLevel.FRAME for keyword in FRAME_KEYS}
_DEFAULT_MODELS: Final[Mapping[QueryRetrieveLevel | None, QueryRetrieveModel]] = {
    _PATIENT: QueryRetrieveModel.PATIENT_ROOT,
    QueryRetrieveLevel.FRAME: QueryRetrieveModel.COMPOSITE_INSTANCE_ROOT,
}
"""The models of queries at levels that Study Root does not have."""
_PATIENT_ID: Final = tag_of("PatientID")
_FRAME: Final = QueryRetrieveLevel.FRAME
_FRAME_KEYS: Final = tuple(map(tag_of, FRAME_KEYS))
_ABOVE_LEVEL: Final = {level: tuple(QueryRetrieveLevel)[:number] for number, level in enumerate(QueryRetrieveLevel)}
"""The levels above each."""
_VIEW: Final = tag_of("QueryRetrieveView")
_NO_FEATURES: Final = QueryFeatures()
_ABOVE: Final = {tag_of("Modality"): "ModalitiesInStudy", tag_of("SOPClassUID"): "SOPClassesInStudy"}
"""Keys of lower levels that have one for the study as a whole."""


@dataclass(frozen=True, slots=True, repr=False)
class Query:
    """The keys to match at a level of an information model.

    Immutable: each method returns a new query. A key that is set again is replaced. Raises `ValueError` for a key of a
    lower level (PS3.4 C.6), and for a value that its key cannot have (PS3.4 C.2.2.2). `dimse.find` and
    `dimse.retrieve` match keys of higher levels at theirs; a single C-FIND takes none but the unique keys, unless the
    query is relational: see `negotiating`.

    >>> query = Query.studies(PatientName="Smith*").study_date(date(2024, 1, 1), None).modality("CT")
    >>> query.find_identifier().StudyDate
    '20240101-'
    """

    level: QueryRetrieveLevel | None
    """None in a model without levels."""
    model: QueryRetrieveModel
    _keys: tuple[tuple[Path, str], ...] = ()
    """Paths of tags, and values as they are encoded; empty for a return key."""
    _features: QueryFeatures = _NO_FEATURES
    """Those that the caller asks for."""

    def __post_init__(self) -> None:
        if self.level is None and not self.model.levels:
            return
        if self.level not in self.model.levels:
            raise ValueError(_wrong_level(self.model, self.level))

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
    def in_model(cls, model: QueryRetrieveModel, /, **keys: QueryValue) -> Query:
        """Look for what a model without levels has: worklist items, hanging protocols and so on.

        >>> Query.in_model(QueryRetrieveModel.HANGING_PROTOCOL, HangingProtocolName="Chest*")
        <Query HANGING_PROTOCOL: HangingProtocolName=...>
        """
        return cls.of(None, keys, model)

    @classmethod
    def of(
        cls, level: QueryRetrieveLevel | None, keys: Mapping[str, QueryValue], model: QueryRetrieveModel | None = None
    ) -> Query:
        """Make a query at any level, or with None in a `model` without levels.

        A key is a keyword, a tag, or a path of those through sequences.

        >>> keys = {"0010,0020": "4711", "ProcedureCodeSequence.CodeValue": "24627-2"}
        >>> Query.of(QueryRetrieveLevel.STUDY, keys)
        <Query STUDY_ROOT STUDY: ProcedureCodeSequence.CodeValue=..., PatientID=...>
        """
        return cls(level, model or _DEFAULT_MODELS.get(level, QueryRetrieveModel.STUDY_ROOT))._with(keys)

    @classmethod
    def parse(
        cls, level: QueryRetrieveLevel | None, keys: Sequence[str], model: QueryRetrieveModel | None = None
    ) -> Query:
        """Make a query from texts: `key=value`, with the value as it is encoded; `key` alone is a return key.

        A date may also be in words: 2024-01-31, 2024-01..2024-06, >=2024, today, yesterday, -7d (since 7 days ago); a
        time may have colons, and UIDs may be separated by commas.

        >>> Query.parse(QueryRetrieveLevel.STUDY, ["StudyDate=2024-02", "StudyDescription"])
        <Query STUDY_ROOT STUDY: StudyDate=..., StudyDescription>
        """
        parsed: dict[str, QueryValue] = {}
        for key in keys:
            name, _, value = key.partition("=")
            name = name.strip()
            parsed[name] = in_dicom(name, value)
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

    def negotiating(self, **features: bool) -> Query:
        """Propose features of `QueryFeatures` to the peer, where a job of the library makes the association.

        A peer that does not agree is asked all the same, and a warning in the log says what was not agreed on: many
        archives support more than they negotiate. With `relational` the archive is asked once, with the keys of all
        levels; no unique key above the level is needed, in retrievals neither. On an association of your own, propose
        `features` with its contexts.

        >>> Query.instances(SOPInstanceUID="1.2.3").negotiating(relational=True).features
        <QueryFeatures relational>
        """
        return replace(self, _features=self._features | QueryFeatures(**features))

    @property
    def features(self) -> QueryFeatures:
        """What to propose: what the caller asks for, and what the values of the keys need (PS3.4 C.2.2.2.7, C.2.2.2.8).

        >>> Query.studies().modality("CT", "MR").features
        <QueryFeatures multiple_values>
        """
        return self._features | self.needed_features

    @property
    def needed_features(self) -> QueryFeatures:
        """The features that the values of the keys need."""
        several = any("\\" in text and vr_of_key(path) != "UI" for path, text in self._keys)
        return QueryFeatures(multiple_values=several, empty_values=any(text == '""' for _, text in self._keys))

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

    @property
    def unique_key(self) -> str | None:
        """The keyword of the attribute that identifies what the query finds; None if there is no such one."""
        return self.model.unique_key(self.level)

    @property
    def unique_keys(self) -> list[str]:
        """The keywords of the unique keys, from the top of the model down to the level, each once."""
        keys = [*(level.unique_key for level in self.model.levels_to(self.level)), self.unique_key]
        return [keyword for keyword in dict.fromkeys(keys) if keyword is not None]

    def find_identifier(self) -> Dataset:
        """The identifier of a C-FIND request (PS3.4 C.4.1.1.3): the keys, and the required keys of the level.

        Raises `ValueError` if a unique key above the level does not have exactly one value (PS3.4 C.4.1.2.1), and for
        other keys of a higher level, unless the query is relational: then all keys are in it (PS3.4 C.4.1.2.2.1).

        >>> Query.series().find_identifier()
        Traceback (most recent call last):
        ValueError: a query at SERIES level needs one StudyInstanceUID (PS3.4 C.4.1.2.1); ...
        """
        if self._features.relational:
            return self._identifier({(tag,): "" for tag in self._unique_keys})
        for path, _ in self._keys:
            level = self.level_of(path[0])
            if level != self.level and path[0] not in self._unique_keys:
                raise ValueError(
                    f"{name_of(*path)} is a key of the {level} level, but this is {_a(self.level)} level query "
                    "(PS3.4 C.6); dimse.find asks level by level, or add .negotiating(relational=True)"
                )
        for unique_key in self._unique_keys[:-1]:
            self._check_single(unique_key)
        return self._identifier()

    def _identifier(self, more: Mapping[Path, str] | None = None) -> Dataset:
        required: dict[Path, str] = {(tag_of(keyword),): "" for keyword in self._required_keys}
        return raw_identifier(self.level, dataset_of({**(more or {}), **required, **dict(self._keys)}))

    # The hierarchical queries of a query

    def first_step(self) -> tuple[QueryRetrieveLevel | None, dict[str, str]]:
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

    def step(self, level: QueryRetrieveLevel | None, above: Mapping[str, str]) -> Query:
        """The keys of `level`, for what is below the entity with the unique keys `above`, whose form is not checked."""
        keys = {path: text for path, text in self._keys if self.level_of(path[0]) == level}
        keys |= {(tag_of(keyword),): text for keyword, text in above.items()}
        return replace(self, level=level, _keys=tuple(sorted(keys.items())))

    def keys_at(self, level: QueryRetrieveLevel | None) -> frozenset[int]:
        """The tags of the keys of a level."""
        return frozenset(path[0] for path, _ in self._keys if self.level_of(path[0]) == level)

    def level_of(self, tag: int) -> QueryRetrieveLevel | None:
        """The level of a key in the model. Attributes that no level has are of the level of the query."""
        if tag in _LEVEL_OF and self.level is not None:
            return self._level_in_model(_LEVEL_OF[tag])
        return self.level

    def text_of(self, tag: int) -> str:
        """The value of a key as it is encoded; empty if it has none."""
        return dict(self._keys).get((tag,), "")

    def retrieve_identifier(self) -> Dataset:
        """The identifier of a C-MOVE or C-GET request (PS3.4 C.4.2.1.4, C.4.3.1.3): the unique keys only.

        Raises `ValueError` if another key has a value, or a unique key has none; those above the level may be left out
        of a relational query (PS3.4 C.4.2.2.2.1). Several UIDs are allowed at the level of the query. At the FRAME
        level, one of the frame keys is needed (PS3.4 Y.6.1.1.3). QueryRetrieveView is allowed if `enhanced_multiframe`
        is negotiated.

        >>> Query.studies(StudyInstanceUID=["1.2.3", "1.2.4"]).retrieve_identifier().QueryRetrieveLevel
        'STUDY'
        """
        allowed = [*self._unique_keys, *(_FRAME_KEYS if self.level is _FRAME else ())]
        allowed += [_VIEW] if self._features.enhanced_multiframe else []
        unique_keys: dict[Path, str] = {(tag,): text for tag in allowed if (text := self.text_of(tag))}
        others = [name_of(*path) for path, text in self._keys if text and path not in unique_keys]
        if others:
            raise ValueError(
                f"{', '.join(others)}: C-MOVE and C-GET allow only unique keys (PS3.4 C.4.2.1.4); find first, "
                f"then retrieve by {name_of(self._unique_keys[-1]) if self._unique_keys else 'another model'}"
            )
        self._check_unique_keys(unique_keys)
        return raw_identifier(self.level, dataset_of(unique_keys))

    def _check_unique_keys(self, given: Mapping[Path, str]) -> None:
        """Raise `ValueError` if the unique keys of a retrieval do not name what is to be retrieved."""
        for tag in self._unique_keys:
            if self._features.relational and tag != self._unique_keys[-1] and not self.text_of(tag):
                continue
            # PS3.4 C.4.2.1.4.1: only UIDs may be a list, and only at the level of the retrieval
            if tag == _PATIENT_ID or tag != self._unique_keys[-1] or not self.text_of(tag) or self.level is _FRAME:
                self._check_single(tag)
        if self.level is _FRAME and sum((tag,) in given for tag in _FRAME_KEYS) != 1:
            raise ValueError(f"a retrieval at FRAME level needs one of {', '.join(FRAME_KEYS)} (PS3.4 Table Y.6-2)")

    def __repr__(self) -> str:
        keys = ", ".join(name_of(*path) + ("=..." if text else "") for path, text in self._keys)
        level = "" if self.level is None else f" {self.level}"
        return f"<Query {self.model.name}{level}{': ' if keys else ''}{keys}>"

    @property
    def _unique_keys(self) -> list[int]:
        return list(map(tag_of, self.unique_keys))

    @property
    def _required_keys(self) -> Iterator[str]:
        if self.level is None and self.unique_key is not None:
            yield from (self.unique_key, "SOPClassUID")
        for level in LEVELS:
            if self.level is not None and self._level_in_model(level) is self.level:
                yield from (level.unique_key, *_REQUIRED_KEYS[level])

    def _level_in_model(self, level: QueryRetrieveLevel) -> QueryRetrieveLevel:
        """In Study Root, the attributes of the patient are those of the study (PS3.4 C.6.2.1)."""
        top = self.model.levels[0]
        return top if level in _ABOVE_LEVEL[top] else level

    def _with(self, keys: Mapping[str, QueryValue]) -> Query:
        merged = dict(self._keys)
        for key, value in keys.items():
            path = path_of(key)
            self._check_level(path[0])
            merged = with_key(merged, path, value)
        return replace(self, _keys=tuple(sorted(merged.items())))

    def _check_level(self, tag: int) -> None:
        level = self.level_of(tag)
        if self.level is not None and level not in self.model.levels_to(self.level):
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
            advice = "" if tag == self._unique_keys[-1] else ", or add .negotiating(relational=True)"
            raise ValueError(
                f"a query {'' if self.level is None else f'at {self.level} level '}needs one {name_of(tag)} "
                f"(PS3.4 C.4.1.2.1); pass a single value without wild cards{advice}"
            )


def _wrong_level(model: QueryRetrieveModel, level: QueryRetrieveLevel | None) -> str:
    """Why a query cannot be at a level."""
    if model == QueryRetrieveModel.STUDY_ROOT and level is _PATIENT:
        return "the Study Root model has no PATIENT level (PS3.4 C.6.2); use the Patient Root model"
    if not model.levels:
        return f"the {model.title} model has no levels; make the query with Query.in_model"
    wrong = "needs a level" if level is None else f"has no {level} level"
    return f"the {model.title} model {wrong}; its levels are {', '.join(model.levels)}"


def _a(level: QueryRetrieveLevel | None) -> str:
    """The level with its article."""
    return f"an {level}" if level == _IMAGE else f"a {level}"


def in_dicom(key: str, value: str) -> str:
    """The value of a key as it is encoded, from how it may be written; see `Query.parse`. Raises `ValueError`."""
    path = path_of(key)
    vr = vr_of_key(path)
    if vr == "UI":
        return value.replace(",", "\\")
    if vr == "TM":
        return value.replace(":", "")
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
