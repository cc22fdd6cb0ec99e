"""The attributes of a study or series as the index keeps them: encoded, for answers and for keys without a column.

1. A patient's and a study's attributes belong to the study: the modules of PS3.3 C.7.1 and C.7.2, patient
   identification and visits (C.2, C.3), and Timezone Offset From UTC. Those of series, equipment, frame of reference
   and synchronization (C.7.3, C.7.4, C.7.5) belong to the series. Private attributes belong to neither.
2. They are encoded in Explicit VR Little Endian. Texts are in UTF-8, so Specific Character Set is left out, also in
   items; bytes that are not in the character set of their text became U+FFFD. Sequences and items have defined
   lengths.
3. Left out are values of more than `MAX_VALUE` bytes, sequences of more than `MAX_SEQUENCE`, and malformed ones.
4. Attributes that have a column are there too, as received: an answer needs nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dimse.dataset.character_sets import DELIMITERS
from dimse.dataset.encoding import LITTLE, SHORT_VRS, SPECIFIC_CHARACTER_SET, item_header
from dimse.dataset.texts import TEXT_VRS, decoded_value
from dimse.errors import DatasetError
from dimse.node.headers import MALFORMED, Element, Header, character_sets_in, items, vr_of
from dimse.services.query_keys import tag_of

MAX_VALUE: Final = 1024
"""Bytes of a value that is kept."""

MAX_SEQUENCE: Final = 4096
"""Bytes of a sequence that is kept."""

_MAX_DEPTH: Final = 8
"""Sequences within sequences that are kept."""

_SHORT: Final = frozenset(vr.decode("ascii") for vr in SHORT_VRS)
_PADDED_WITH_SPACE: Final = TEXT_VRS - {"UI"}

_OF_STUDY: Final = """
    StudyDate StudyTime AccessionNumber IssuerOfAccessionNumberSequence ReferringPhysicianName
    ReferringPhysicianAddress ReferringPhysicianTelephoneNumbers ReferringPhysicianIdentificationSequence
    ConsultingPhysicianName ConsultingPhysicianIdentificationSequence TimezoneOffsetFromUTC StudyDescription
    ProcedureCodeSequence PhysiciansOfRecord PhysiciansOfRecordIdentificationSequence
    NameOfPhysiciansReadingStudy PhysiciansReadingStudyIdentificationSequence AdmittingDiagnosesDescription
    AdmittingDiagnosesCodeSequence ReferencedStudySequence ReferencedPatientSequence StudyInstanceUID StudyID
    ReasonForStudy RequestingPhysicianIdentificationSequence RequestingPhysician RequestingService
    RequestingServiceCodeSequence RequestedProcedureDescription RequestedProcedureCodeSequence StudyComments
    ReasonForTheRequestedProcedure ReasonForPerformedProcedureCodeSequence
    PlacerOrderNumberImagingServiceRequest FillerOrderNumberImagingServiceRequest
"""
"""Besides the groups of patient (0010), clinical trial (0012) and visit (0038)."""

_OF_SERIES_IN_TRIAL: Final = """
    ClinicalTrialCoordinatingCenterName ClinicalTrialSeriesID ClinicalTrialSeriesDescription
    IssuerOfClinicalTrialSeriesID
"""

_OF_SERIES: Final = """
    SeriesDate SeriesTime Modality PresentationIntentType Manufacturer InstitutionName InstitutionAddress
    InstitutionCodeSequence StationName SeriesDescription SeriesDescriptionCodeSequence
    InstitutionalDepartmentName InstitutionalDepartmentTypeCodeSequence PerformingPhysicianName
    PerformingPhysicianIdentificationSequence OperatorsName OperatorIdentificationSequence ManufacturerModelName
    ReferencedPerformedProcedureStepSequence RelatedSeriesSequence BodyPartExamined DeviceSerialNumber DeviceUID
    GantryID UDISequence ManufacturerDeviceClassUID SoftwareVersions ProtocolName SpatialResolution
    TriggerSourceOrType SynchronizationTrigger DateOfLastCalibration TimeOfLastCalibration
    DateTimeOfLastCalibration AcquisitionTimeSynchronized TimeSource TimeDistributionProtocol NTPSourceAddress
    PatientPosition SeriesInstanceUID SeriesNumber FrameOfReferenceUID Laterality
    SynchronizationFrameOfReferenceUID PositionReferenceIndicator SmallestPixelValueInSeries
    LargestPixelValueInSeries PerformedStationAETitle PerformedStationName PerformedLocation
    PerformedProcedureStepStartDate PerformedProcedureStepStartTime PerformedProcedureStepEndDate
    PerformedProcedureStepEndTime PerformedProcedureStepID PerformedProcedureStepDescription
    PerformedProtocolCodeSequence RequestAttributesSequence CommentsOnThePerformedProcedureStep SeriesType Units
    CountsSource TreatmentSessionUID
"""

_STUDY: Final = frozenset(map(tag_of, _OF_STUDY.split()))
_SERIES_IN_TRIAL: Final = frozenset(map(tag_of, _OF_SERIES_IN_TRIAL.split()))
_SERIES: Final = _SERIES_IN_TRIAL.union(map(tag_of, _OF_SERIES.split()))

LAST: Final = max(_SERIES)
"""The last tag of all."""


def is_of_study(tag: int) -> bool:
    """Whether an attribute is one of the patient or the study."""
    group = tag >> 16
    if group in (0x0010, 0x0038):
        return bool(tag & 0xFFFF)
    return tag in _STUDY or (group == 0x0012 and bool(tag & 0xFFFF) and tag not in _SERIES_IN_TRIAL)


def is_of_series(tag: int) -> bool:
    """Whether an attribute is one of the series, its equipment or its frame of reference."""
    return tag in _SERIES


def of_study(header: Header) -> bytes:
    """The attributes of the patient and the study in a header, encoded."""
    return chosen(header, [tag for tag in header.elements if is_of_study(tag)])


def of_series(header: Header) -> bytes:
    """The attributes of the series in a header, encoded."""
    return chosen(header, [tag for tag in header.elements if tag in _SERIES])


def parse(attributes: bytes) -> dict[int, tuple[str, bytes]]:
    """The VR and the value of each attribute, by tag; the values are encoded as they are kept."""
    found: dict[int, tuple[str, bytes]] = {}
    unpack, position, end = LITTLE.short.unpack_from, 0, len(attributes)
    while position < end:
        group, number, vr, length = unpack(attributes, position)
        position += 8
        if vr not in SHORT_VRS:
            length = LITTLE.length_32.unpack_from(attributes, position)[0]
            position += 4
        found[group << 16 | number] = vr.decode("ascii"), attributes[position : position + length]
        position += length
    return found


def encode(attributes: dict[int, tuple[str, bytes]]) -> bytes:
    """The reverse of `parse`."""
    return b"".join(encode_element(tag, vr, value) for tag, (vr, value) in sorted(attributes.items()))


def encode_element(tag: int, vr: str, value: bytes) -> bytes:
    """An element in Explicit VR Little Endian, padded to an even length (PS3.5 7.1.1)."""
    if len(value) % 2:
        value += b" " if vr in _PADDED_WITH_SPACE else b"\0"
    if vr in _SHORT:
        return LITTLE.short.pack(tag >> 16, tag & 0xFFFF, vr.encode("ascii"), len(value)) + value
    return LITTLE.long.pack(tag >> 16, tag & 0xFFFF, vr.encode("ascii"), len(value)) + value


def chosen(header: Header, tags: Iterable[int]) -> bytes:
    """The elements of a header with these tags, encoded as they are kept."""
    parts = []
    for tag in sorted(tags):
        element = header.elements[tag]
        try:
            encoded = _recoded(header.data, tag, element, header.character_sets)
        except MALFORMED:
            continue
        if encoded is not None:
            parts.append(encoded)
    return b"".join(parts)


def _recoded(data: bytes, tag: int, element: Element, character_sets: list[str], depth: int = 0) -> bytes | None:
    """An element as it is kept; None if it is too long."""
    _, start, end = element
    vr = vr_of(tag, element[0])
    if vr == "SQ":
        if end - start > 2 * MAX_SEQUENCE:  # in items of undefined length, or another character set, it may be longer
            return None
        value = _items(data, element, character_sets, depth)
        return encode_element(tag, vr, value) if len(value) <= MAX_SEQUENCE else None
    if end - start > MAX_VALUE:
        return None
    value = data[start:end]
    if vr in DELIMITERS and not (value.isascii() and b"\x1b" not in value):
        value = decoded_value(value, character_sets, vr).rstrip(" \0").encode()
    return encode_element(tag, vr, value) if len(value) <= MAX_VALUE else None


def _items(data: bytes, element: Element, character_sets: list[str], depth: int) -> bytes:
    if depth >= _MAX_DEPTH:
        raise DatasetError(f"sequences nested deeper than {_MAX_DEPTH}")
    parts: list[bytes] = []
    for item in items(data, element):
        own = character_sets_in(data, item, character_sets)
        kept = (
            _recoded(data, tag, item[tag], own, depth + 1)
            for tag in sorted(item)
            if tag & 0xFFFF and tag != SPECIFIC_CHARACTER_SET
        )
        encoded = b"".join(each for each in kept if each is not None)
        parts += item_header(len(encoded)), encoded
    return b"".join(parts)
