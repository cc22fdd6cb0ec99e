"""Modality Performed Procedure Steps: their states, their attributes, and the data sets that report them (PS3.4 F)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

from dimse.dataset.codec import text_of
from dimse.dataset.pydicom_names import IGNORE, DataElement, Dataset, dictionary_VR
from dimse.services.query import raw_identifier
from dimse.services.query_keys import tag_of


class StepStatus(StrEnum):
    """Performed Procedure Step Status (0040,0252): the states of PS3.4 Table F.1-3."""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"

    @property
    def is_final(self) -> bool:
        """Whether nothing may change any more."""
        return not TRANSITIONS[self]


TRANSITIONS: Final[Mapping[StepStatus, frozenset[StepStatus]]] = {
    StepStatus.IN_PROGRESS: frozenset(StepStatus),
    StepStatus.COMPLETED: frozenset(),
    StepStatus.DISCONTINUED: frozenset(),
}
"""The states that an N-SET may lead to (PS3.4 Table F.1-4). An N-CREATE leads to IN PROGRESS."""


class Requirement(NamedTuple):
    """What PS3.4 Table F.7.2-1 demands of an attribute."""

    type: int
    """In an N-CREATE: 1 is present with a value, 2 is present, 3 is optional."""
    may_change: bool = False
    """Whether N-SET may have it."""
    is_final: bool = False
    """Whether it must have a value in a final state."""


_FIXED: Final = Requirement(3)
_CHANGING: Final = Requirement(2, may_change=True)
_AT_THE_END: Final = Requirement(2, may_change=True, is_final=True)

STEP: Final[Mapping[str, Requirement]] = {
    "ScheduledStepAttributesSequence": Requirement(1),
    "PatientName": Requirement(2),
    "PatientID": Requirement(2),
    "IssuerOfPatientID": _FIXED,
    "IssuerOfPatientIDQualifiersSequence": _FIXED,
    "OtherPatientIDsSequence": _FIXED,
    "PatientBirthDate": Requirement(2),
    "PatientSex": Requirement(2),
    "ReferencedPatientSequence": Requirement(2),
    "AdmissionID": _FIXED,
    "IssuerOfAdmissionIDSequence": _FIXED,
    "ServiceEpisodeID": _FIXED,
    "IssuerOfServiceEpisodeIDSequence": _FIXED,
    "ServiceEpisodeDescription": _FIXED,
    "PerformedProcedureStepID": Requirement(1),
    "PerformedStationAETitle": Requirement(1),
    "PerformedStationName": Requirement(2),
    "PerformedLocation": Requirement(2),
    "PerformedProcedureStepStartDate": Requirement(1),
    "PerformedProcedureStepStartTime": Requirement(1),
    "PerformedProcedureStepStatus": Requirement(1, may_change=True),
    "PerformedProcedureStepDescription": _CHANGING,
    "PerformedProcedureTypeDescription": _CHANGING,
    "ProcedureCodeSequence": _CHANGING,
    "PerformedProcedureStepEndDate": _AT_THE_END,
    "PerformedProcedureStepEndTime": _AT_THE_END,
    "PerformedProcedureStepDiscontinuationReasonCodeSequence": Requirement(3, may_change=True),
    "Modality": Requirement(1),
    "StudyID": Requirement(2),
    "PerformedProtocolCodeSequence": _CHANGING,
    "PerformedSeriesSequence": _AT_THE_END,
}
"""The attributes of a step, but for those that are optional and may change at any time."""

SCHEDULED: Final[Mapping[str, Requirement]] = {
    "StudyInstanceUID": Requirement(1),
    "ReferencedStudySequence": Requirement(2),
    "AccessionNumber": Requirement(2),
    "RequestedProcedureID": Requirement(2),
    "RequestedProcedureDescription": Requirement(2),
    "ScheduledProcedureStepID": Requirement(2),
    "ScheduledProcedureStepDescription": Requirement(2),
    "ScheduledProtocolCodeSequence": Requirement(2),
}
"""The same of an item of Scheduled Step Attributes Sequence."""

SERIES: Final[Mapping[str, Requirement]] = {
    "PerformingPhysicianName": Requirement(2),
    "ProtocolName": Requirement(1),
    "OperatorsName": Requirement(2),
    "SeriesInstanceUID": Requirement(1),
    "SeriesDescription": Requirement(2),
    "RetrieveAETitle": Requirement(2),
    "ReferencedImageSequence": Requirement(2),
    "ReferencedNonImageCompositeSOPInstanceSequence": Requirement(2),
}
"""The same of an item of Performed Series Sequence, at the end."""

_SCHEDULED_OPTIONAL: Final = ("IssuerOfAccessionNumberSequence", "RequestedProcedureCodeSequence")
_PATIENT: Final = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "ReferencedPatientSequence")
_OPTIONAL: Final = tuple(keyword for keyword, requirement in STEP.items() if requirement is _FIXED)
_FROM_SCHEDULED: Final = {
    "Modality": "Modality",
    "PerformedStationAETitle": "ScheduledStationAETitle",
    "PerformedStationName": "ScheduledStationName",
    "PerformedLocation": "ScheduledProcedureStepLocation",
    "PerformedProcedureStepDescription": "ScheduledProcedureStepDescription",
    "PerformedProtocolCodeSequence": "ScheduledProtocolCodeSequence",
}
"""Attributes of a step, and those of a scheduled one that they have the values of at first."""

_PATIENT_ID: Final = tag_of("PatientID")

MAY_NO_LONGER_BE_UPDATED: Final = 0xA710
"""The Error ID (0000,0903) of the answer to an N-SET after the end (PS3.4 Table F.7.2-2)."""

UNSPECIFIED: Final = ("110513", "DCM", "Discontinued for unspecified reason")
"""The reason of a step that an error or a cancellation ended (PS3.16 CID 9300)."""


def started_step(*scheduled: Dataset, **values: object) -> Dataset:
    """The data set of the N-CREATE of a step that begins now, from the worklist matches that it performs.

    `scheduled` are matches of a Modality Worklist: one, several that are done together, or none for a step that was not
    scheduled. `values` set attributes by keyword, also those of the scheduled steps, such as `AccessionNumber`. What
    PS3.4 Table F.7.2-1 requires beyond them is empty, since N-SET may only change what N-CREATE has.

    Raises `ValueError` for an unknown keyword, for matches of several patients, and if Modality, Performed Station AE
    Title or Study Instance UID are neither given nor scheduled.

    >>> step = started_step(Modality="CT", PerformedStationAETitle="CT1", StudyInstanceUID="1.2.3", PatientID="4711")
    >>> step.PerformedProcedureStepStatus, step.ScheduledStepAttributesSequence[0].StudyInstanceUID
    ('IN PROGRESS', '1.2.3')
    """
    of_schedule = {name: values.pop(name) for name in (*SCHEDULED, *_SCHEDULED_OPTIONAL) if name in values}
    pairs = [(match, item) for match in scheduled for item in _scheduled_items(match)]
    patient, first = pairs[0] if pairs else (Dataset(), Dataset())
    _check_one_patient(scheduled)
    now = datetime.now().astimezone()
    step = Dataset()
    for keyword in (each for each in STEP if each not in _OPTIONAL):
        _take(step, keyword, first, _FROM_SCHEDULED.get(keyword))
    for keyword in (*_PATIENT, *(each for each in _OPTIONAL if each in patient)):
        _take(step, keyword, patient, keyword)
    given = {
        "ScheduledStepAttributesSequence": [_attributes_of(*pair, of_schedule) for pair in pairs or [(patient, first)]],
        "ProcedureCodeSequence": _copies(patient, "RequestedProcedureCodeSequence"),
        "PerformedProcedureStepID": f"P{now:%y%m%d%H%M%S}{now.microsecond // 1000:03}",
        "PerformedProcedureStepStartDate": f"{now:%Y%m%d}",
        "PerformedProcedureStepStartTime": f"{now:%H%M%S}",
        "PerformedProcedureStepStatus": StepStatus.IN_PROGRESS.value,
    }
    set_values(step, given | values)
    _check_has_values(step, STEP)
    _check_has_values(step.ScheduledStepAttributesSequence[0], SCHEDULED)
    return raw_identifier(None, step)


def final_step(status: StepStatus, series: Sequence[Dataset], reason: tuple[str, str, str] | None) -> Dataset:
    """The data set of the N-SET that ends a step now."""
    now = datetime.now().astimezone()
    step = Dataset()
    values = {
        "PerformedProcedureStepStatus": status.value,
        "PerformedProcedureStepEndDate": f"{now:%Y%m%d}",
        "PerformedProcedureStepEndTime": f"{now:%H%M%S}",
        "PerformedSeriesSequence": list(series),
    }
    if reason is not None:
        values["PerformedProcedureStepDiscontinuationReasonCodeSequence"] = [_code(*reason)]
    set_values(step, values)
    return step


def set_values(dataset: Dataset, values: Mapping[str, object]) -> None:
    """Set attributes by keyword. Raises `ValueError` for an unknown one, and for a value that it cannot have."""
    for keyword, value in values.items():
        tag = tag_of(keyword)
        vr = dictionary_VR(tag)
        try:
            dataset.add(DataElement(tag, vr, value, validation_mode=IGNORE))
        except (TypeError, ValueError):
            raise ValueError(f"{keyword} ({vr}): the value is not valid") from None


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    set_values(code, {"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning})
    return code


def _scheduled_items(match: Dataset) -> Sequence[Dataset]:
    """The scheduled steps of a match; a worklist has one in each, and a match without any still has a study."""
    return match.get("ScheduledProcedureStepSequence") or [Dataset()]


def _attributes_of(match: Dataset, item: Dataset, values: Mapping[str, object]) -> Dataset:
    """An item of Scheduled Step Attributes Sequence."""
    attributes = Dataset()
    for keyword in (*SCHEDULED, *_SCHEDULED_OPTIONAL):
        source = item if keyword in item else match
        if keyword in SCHEDULED or keyword in source:
            _take(attributes, keyword, source, keyword)
    set_values(attributes, values)
    return attributes


def _take(dataset: Dataset, keyword: str, source: Dataset, from_keyword: str | None) -> None:
    """Set an attribute to the value of another in `source`, or to an empty one."""
    tag = tag_of(keyword)
    vr = dictionary_VR(tag)
    if vr == "SQ":
        value: Any = _copies(source, from_keyword) if from_keyword else []
    else:
        value = source.get(from_keyword) if from_keyword else None
        value = str(value) if vr == "PN" and value else value
    dataset.add(DataElement(tag, vr, value, validation_mode=IGNORE))


def _copies(dataset: Dataset, keyword: str) -> list[Dataset]:
    return [decoded(item) for item in dataset.get(keyword) or ()]


def decoded(dataset: Dataset) -> Dataset:
    """A copy whose texts are decoded, also in items: it may be encoded in another character set than the original.

    Raises the errors of pydicom for values that it cannot read.
    """
    copied = Dataset()
    for element in dataset:
        value = element.value
        if element.tag.element == 0:
            continue
        if element.VR == "SQ":
            value = [decoded(each) for each in value or ()]
        elif element.VR == "PN" and value:
            value = [str(name) for name in value] if element.VM > 1 else str(value)
        copied.add(DataElement(element.tag, element.VR, value, validation_mode=IGNORE))
    return copied


def _check_one_patient(scheduled: Sequence[Dataset]) -> None:
    if len({text_of(match, _PATIENT_ID) for match in scheduled}) > 1:
        raise ValueError("a procedure step is of one patient: the matches have different Patient IDs")


def _check_has_values(dataset: Dataset, requirements: Mapping[str, Requirement]) -> None:
    absent = ", ".join(missing(dataset, requirements))
    if absent:
        raise ValueError(f"a procedure step needs {absent}: pass values, e.g. {absent.split(',')[0]}=...")


def missing(dataset: Dataset, requirements: Mapping[str, Requirement]) -> Iterator[str]:
    """The keywords of the attributes of type 1 that have no value."""
    for keyword, requirement in requirements.items():
        if requirement.type == 1 and is_empty(dataset, keyword):
            yield keyword


def is_empty(dataset: Dataset, keyword: str) -> bool:
    """Whether an attribute is absent or has no value."""
    return keyword not in dataset or dataset[keyword].is_empty
