"""The data sets of Unified Procedure Steps: what a step has when it is created, while it is performed, and at its end.

The requirements are those of PS3.4 Table CC.2.5-3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from dimse.dataset.codec import PYDICOM_ERRORS
from dimse.dataset.encoding import tag_name
from dimse.dataset.pydicom_names import IGNORE, DataElement, Dataset, keyword_for_tag
from dimse.errors import StatusError
from dimse.services.query_keys import character_set_for, tag_of, texts_of, vr_of_key
from dimse.services.ups_states import UPSState, UPSStatus
from dimse.status import Status

CodedConcept = tuple[str, str, str]
"""A coded concept: its value, its coding scheme and its meaning (PS3.3 8.8)."""

IMAGE_PROCESSING: Final[CodedConcept] = ("110001", "DCM", "Image Processing")
"""The workitem of a step for which none was scheduled (PS3.16 CID 9231)."""

UNSPECIFIED_REASON: Final[CodedConcept] = ("110513", "DCM", "Discontinued for unspecified reason")
"""The reason for which a step was canceled, if none was given (PS3.16 CID 9300)."""

TRANSACTION_UID: Final = tag_of("TransactionUID")

_SCHEDULED_VALUES: Final = (
    "ScheduledProcedureStepPriority",
    "ProcedureStepLabel",
    "ScheduledProcedureStepStartDateTime",
    "InputReadinessState",
    "ProcedureStepState",
)
"""What a step has a value of when it is created."""

_SCHEDULED_MAY_BE_EMPTY: Final = (
    "TransactionUID",
    "WorklistLabel",
    "ScheduledProcessingParametersSequence",
    "ScheduledStationNameCodeSequence",
    "ScheduledStationClassCodeSequence",
    "ScheduledStationGeographicLocationCodeSequence",
    "ScheduledWorkitemCodeSequence",
    "CommentsOnTheScheduledProcedureStep",
    "InputInformationSequence",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
    "PatientBirthDate",
    "PatientSex",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence",
    "ReferencedRequestSequence",
    "StudyInstanceUID",
    "ProcedureStepProgressInformationSequence",
    "UnifiedProcedureStepPerformedProcedureSequence",
)
"""What a step must also have when it is created, perhaps without a value."""

_EMPTY_AT_FIRST: Final = (
    "TransactionUID",
    "ProcedureStepProgressInformationSequence",
    "UnifiedProcedureStepPerformedProcedureSequence",
)

_NEVER_SET: Final = frozenset(
    map(
        tag_of,
        (
            "SOPClassUID",
            "SOPInstanceUID",
            "ProcedureStepState",
            "PatientName",
            "PatientID",
            "IssuerOfPatientID",
            "IssuerOfPatientIDQualifiersSequence",
            "PatientBirthDate",
            "PatientSex",
            "AdmissionID",
            "IssuerOfAdmissionIDSequence",
            "AdmittingDiagnosesDescription",
            "AdmittingDiagnosesCodeSequence",
            "ReferencedRequestSequence",
            "ReplacedProcedureStepSequence",
        ),
    )
)

_COMPLETED_NEEDS: Final = (
    "PerformedStationNameCodeSequence",
    "PerformedWorkitemCodeSequence",
    "PerformedProcedureStepStartDateTime",
    "PerformedProcedureStepEndDateTime",
)
"""What the item of the Performed Procedure Sequence has a value of in a step that is COMPLETED."""

_OUTPUT: Final = "OutputInformationSequence"
"""What it must also have, perhaps without items."""

_REASON_CODE: Final = "ProcedureStepDiscontinuationReasonCodeSequence"

MAXIMUM_REASON: Final = 10_240
"""Characters of a Reason for Cancellation, an LT (PS3.5 6.2)."""

_PATIENT: Final = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "AdmissionID")


def date_time(moment: datetime) -> str:
    """The value of a DT, with the offset from UTC if it has one."""
    return f"{moment:%Y%m%d%H%M%S%z}"


def now() -> str:
    """The DT of this moment."""
    return date_time(datetime.now().astimezone())


def code_sequence(*codes: CodedConcept) -> list[Dataset]:
    """The items of a code sequence (PS3.3 8.8). Raises `ValueError` for a code without its three parts."""
    items = []
    for code in codes:
        if isinstance(code, str) or len(code) != 3 or not all(code):
            raise ValueError(f"a code must be (value, coding scheme, meaning), not {code!r}")
        value, scheme, meaning = code
        item = Dataset()
        if len(value) <= 16:
            item.CodeValue = value
        else:
            item.LongCodeValue = value
        item.CodingSchemeDesignator, item.CodeMeaning = scheme, meaning
        items.append(item)
    return items


def references(instances: Iterable[Dataset], retrieve_ae_title: str) -> list[Dataset]:
    """The items of an Input or Output Information Sequence: one for each series of `instances`.

    Each instance has the UIDs of its study, its series, its class and its own. `retrieve_ae_title` is where C-MOVE or
    C-GET gets them. Raises `ValueError` if a UID is missing.
    """
    series: dict[tuple[str, str], Dataset] = {}
    for instance in instances:
        missing = [each for each in _UIDS if not instance.get(each)]
        if missing:
            raise ValueError(f"an instance to refer to must have {', '.join(missing)}")
        key = (str(instance.StudyInstanceUID), str(instance.SeriesInstanceUID))
        if key not in series:
            item = series[key] = Dataset()
            item.TypeOfInstances, item.StudyInstanceUID, item.SeriesInstanceUID = ("DICOM", *key)
            item.ReferencedSOPSequence, place = [], Dataset()
            place.RetrieveAETitle = retrieve_ae_title
            item.DICOMRetrievalSequence = [place]
        reference = Dataset()
        reference.ReferencedSOPClassUID = instance.SOPClassUID
        reference.ReferencedSOPInstanceUID = instance.SOPInstanceUID
        series[key].ReferencedSOPSequence.append(reference)
    return list(series.values())


_UIDS: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")


# A step that is created


def patient_of(dataset: Dataset) -> Dataset:
    """The attributes of the patient that a step has, from an instance or a match."""
    patient = Dataset()
    for keyword in _PATIENT:
        if keyword in dataset:
            patient[keyword] = dataset[keyword]
    return patient


def scheduled(given: Dataset) -> Dataset:
    """The data set of an N-CREATE: `given`, and defaults for what it lacks.

    The priority is MEDIUM, the start now, the input READY. Raises `ValueError` if it has no Procedure Step Label, and
    for what a step must not have when it is created.
    """
    step = copied(given)
    for keyword, default in (
        ("ScheduledProcedureStepPriority", "MEDIUM"),
        ("ScheduledProcedureStepStartDateTime", now()),
        ("InputReadinessState", "READY"),
        ("ProcedureStepState", UPSState.SCHEDULED.value),
    ):
        if not step.get(keyword):
            setattr(step, keyword, default)
    complete_with_empty(step)
    missing = missing_when_created(step)
    if missing:
        raise ValueError(f"a step that is created needs {names_of(missing)} (PS3.4 Table CC.2.5-3)")
    if step.ProcedureStepState != UPSState.SCHEDULED:
        raise ValueError("Procedure Step State must be SCHEDULED when a step is created (PS3.4 CC.2.5.2)")
    surplus = surplus_when_created(step)
    if surplus:
        raise ValueError(f"{names_of(surplus)} must be empty when a step is created (PS3.4 Table CC.2.5-3)")
    with_character_set(step)
    return step


def complete_with_empty(step: Dataset) -> bool:
    """Add what a step must have, perhaps without a value. Returns whether something was missing."""
    missing = [keyword for keyword in _SCHEDULED_MAY_BE_EMPTY if keyword not in step]
    for keyword in missing:
        tag = tag_of(keyword)
        vr = vr_of_key((tag,))
        step.add(DataElement(tag, vr, [] if vr == "SQ" else ""))
    return bool(missing)


def missing_when_created(step: Dataset) -> list[int]:
    """The attributes of which a new step needs a value and has none."""
    return [tag_of(keyword) for keyword in _SCHEDULED_VALUES if not step.get(keyword)]


def surplus_when_created(step: Dataset) -> list[int]:
    """The attributes of which a new step must not have a value."""
    return [tag_of(keyword) for keyword in _EMPTY_AT_FIRST if step.get(keyword)]


# A step that is performed


def never_set(modifications: Dataset) -> list[int]:
    """The attributes in an N-SET that no N-SET may change."""
    return sorted(int(tag) for tag in modifications.keys() if tag in _NEVER_SET)  # noqa: SIM118 - iterating decodes


def with_progress(
    percent: float | None = None,
    description: str | None = None,
    *,
    parameters: Sequence[Dataset] = (),
    contact: str | None = None,
    contact_name: str | None = None,
) -> Dataset:
    """The data set of an N-SET that tells the progress of a step: all of it, as a sequence is set as a whole.

    Raises `ValueError` unless `percent` is 0 to 100.
    """
    if percent is not None and not 0 <= percent <= 100:
        raise ValueError(f"percent must be 0 to 100, not {percent!r}")
    item = Dataset()
    if percent is not None:
        item.ProcedureStepProgress = f"{percent:.4g}"
    if description is not None:
        item.ProcedureStepProgressDescription = description[:1024]
    if parameters:
        item.ProcedureStepProgressParametersSequence = list(parameters)
    if contact is not None:
        uri = Dataset()
        uri.ContactURI = contact
        if contact_name is not None:
            uri.ContactDisplayName = contact_name
        item.ProcedureStepCommunicationsURISequence = [uri]
    return _of_progress(item)


def with_performed(
    *,
    station: CodedConcept,
    workitem: Sequence[CodedConcept] | Sequence[Dataset],
    start: str,
    end: str | None = None,
    description: str | None = None,
    outputs: Sequence[Dataset] = (),
) -> Dataset:
    """The data set of an N-SET with what was performed, as a step needs it to be COMPLETED."""
    item = Dataset()
    item.PerformedStationNameCodeSequence = code_sequence(station)
    item.PerformedWorkitemCodeSequence = [
        each if isinstance(each, Dataset) else code_sequence(each)[0] for each in workitem
    ]
    item.PerformedProcedureStepStartDateTime = start
    item.PerformedProcedureStepEndDateTime = end or now()
    if description is not None:
        item.PerformedProcedureStepDescription = description[:64]
    item.OutputInformationSequence = list(outputs)
    step = Dataset()
    step.UnifiedProcedureStepPerformedProcedureSequence = [item]
    with_character_set(step)
    return step


def with_cancellation(
    reason: str | None, code: CodedConcept = UNSPECIFIED_REASON, *, since: Dataset | None = None
) -> Dataset:
    """The data set of an N-SET with why a step is canceled, beside the progress that `since` has."""
    item = copied(progress_of(since or Dataset()))
    item.ProcedureStepCancellationDateTime = now()
    item.ProcedureStepDiscontinuationReasonCodeSequence = code_sequence(code)
    if reason:
        item.ReasonForCancellation = reason[:MAXIMUM_REASON]
    return _of_progress(item)


def _of_progress(item: Dataset) -> Dataset:
    step = Dataset()
    step.ProcedureStepProgressInformationSequence = [item]
    with_character_set(step)
    return step


def cancel_request(
    reason: str | None = None,
    code: CodedConcept | None = None,
    contact: str | None = None,
    contact_name: str | None = None,
) -> Dataset:
    """The Action Information of Request UPS Cancel (PS3.4 Table CC.2.2-1)."""
    request = Dataset()
    if reason is not None:
        request.ReasonForCancellation = reason[:MAXIMUM_REASON]
    if code is not None:
        request.ProcedureStepDiscontinuationReasonCodeSequence = code_sequence(code)
    if contact is not None:
        request.ContactURI = contact
    if contact_name is not None:
        request.ContactDisplayName = contact_name
    with_character_set(request)
    return request


def progress_of(step: Dataset) -> Dataset:
    """The item of the Progress Information Sequence; an empty one if there is none."""
    items = step.get("ProcedureStepProgressInformationSequence")
    return items[0] if items else Dataset()


# A step at its end


def fill_cancellation(step: Dataset, request: Dataset | None = None) -> None:
    """Fill in what a step needs to be CANCELED, and has not: of a cancel request also the reason (PS3.4 CC.2.2.3)."""
    item, request = copied(progress_of(step)), request or Dataset()
    if not item.get("ProcedureStepCancellationDateTime"):
        item.ProcedureStepCancellationDateTime = now()
    if not item.get(_REASON_CODE):
        item.ProcedureStepDiscontinuationReasonCodeSequence = request.get(_REASON_CODE) or code_sequence(
            UNSPECIFIED_REASON
        )
    if request.get("ReasonForCancellation"):
        item.ReasonForCancellation = request.ReasonForCancellation
    step.ProcedureStepProgressInformationSequence = [item]


def missing_when_completed(step: Dataset) -> list[int]:
    """The attributes that a step lacks to be COMPLETED (PS3.4 CC.2.5.1.1)."""
    performed = step.get("UnifiedProcedureStepPerformedProcedureSequence")
    item = performed[0] if performed else Dataset()
    missing = [keyword for keyword in _COMPLETED_NEEDS if not item.get(keyword)]
    if _OUTPUT not in item:
        missing.append(_OUTPUT)
    return [tag_of(keyword) for keyword in missing]


# Common


def copied(dataset: Dataset) -> Dataset:
    """A decoded copy, whose elements can be changed without those of the original; items of sequences are shared."""
    copy = Dataset()
    for element in dataset:
        copy[element.tag] = DataElement(
            element.tag, element.VR, element.value, already_converted=True, validation_mode=IGNORE
        )
    return copy


def decoded(dataset: Dataset) -> Dataset:
    """A received data set, decoded as a whole, without its Specific Character Set. Raises `StatusError`."""
    try:
        copy = copied(dataset)
        for _ in copy.iterall():
            pass
    except PYDICOM_ERRORS:
        raise StatusError(UPSStatus(Status.INVALID_ATTRIBUTE_VALUE), "a value cannot be read") from None
    copy.pop("SpecificCharacterSet", None)
    return copy


def with_character_set(dataset: Dataset) -> None:
    """Add Specific Character Set if a text needs one and there is none (PS3.5 6.1.2)."""
    if not dataset.get("SpecificCharacterSet"):
        character_set = character_set_for("".join(texts_of(dataset)))
        if character_set:
            dataset.SpecificCharacterSet = character_set


def names_of(tags: Iterable[int]) -> str:
    """The tags with their keywords, for messages."""
    return ", ".join(f"{keyword_for_tag(tag) or 'the attribute'} {tag_name(tag)}" for tag in tags)
