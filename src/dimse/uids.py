"""UIDs used in DICOM networking (PS3.6 Annex A)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from dimse.version import __version__

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
"""DICOM Application Context Name (PS3.7 A.2.1)."""

IMPLEMENTATION_CLASS_UID: Final = "2.25.168498331071940418906211307480346240529"
IMPLEMENTATION_VERSION_NAME: Final = "_".join(["DIMSE", *__version__.split(".")[:2]])

VERIFICATION: Final = "1.2.840.10008.1.1"
MEDIA_STORAGE_DIRECTORY_STORAGE: Final = "1.2.840.10008.1.3.10"

PATIENT_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"

STORAGE_SERVICE_CLASS: Final = "1.2.840.10008.4.2"
"""The Storage Service Class, which is no SOP class (PS3.4 Annex B)."""

QUERY_RETRIEVE: Final = (
    PATIENT_ROOT_FIND,
    PATIENT_ROOT_MOVE,
    PATIENT_ROOT_GET,
    STUDY_ROOT_FIND,
    STUDY_ROOT_MOVE,
    STUDY_ROOT_GET,
)
"""Query/Retrieve (PS3.4 Annex C)."""

STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model (PS3.4 Annex J)."""
STORAGE_COMMITMENT_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
"""The well-known SOP Instance of `STORAGE_COMMITMENT`."""

MODALITY_WORKLIST_FIND: Final = "1.2.840.10008.5.1.4.31"
"""Modality Worklist Information Model - FIND (PS3.4 Annex K)."""

PERFORMED_PROCEDURE_STEP: Final = "1.2.840.10008.3.1.2.3.3"
"""Modality Performed Procedure Step (PS3.4 Annex F)."""
PERFORMED_PROCEDURE_STEP_RETRIEVE: Final = "1.2.840.10008.3.1.2.3.4"
PERFORMED_PROCEDURE_STEP_NOTIFICATION: Final = "1.2.840.10008.3.1.2.3.5"

INSTANCE_AVAILABILITY: Final = "1.2.840.10008.5.1.4.33"
"""Instance Availability Notification (PS3.4 Annex R)."""

UPS_PUSH: Final = "1.2.840.10008.5.1.4.34.6.1"
"""Unified Procedure Step - Push (PS3.4 Annex CC)."""
UPS_WATCH: Final = "1.2.840.10008.5.1.4.34.6.2"
UPS_PULL: Final = "1.2.840.10008.5.1.4.34.6.3"
UPS_EVENT: Final = "1.2.840.10008.5.1.4.34.6.4"
UPS_QUERY: Final = "1.2.840.10008.5.1.4.34.6.5"
UPS_SUBSCRIPTION_INSTANCE: Final = "1.2.840.10008.5.1.4.34.5"
"""The well-known SOP Instance of global subscriptions."""
UPS_FILTERED_SUBSCRIPTION_INSTANCE: Final = "1.2.840.10008.5.1.4.34.5.1"

FILM_SESSION: Final = "1.2.840.10008.5.1.1.1"
"""Basic Film Session (PS3.4 Annex H)."""
FILM_BOX: Final = "1.2.840.10008.5.1.1.2"
GRAYSCALE_IMAGE_BOX: Final = "1.2.840.10008.5.1.1.4"
COLOR_IMAGE_BOX: Final = "1.2.840.10008.5.1.1.4.1"
PRINT_JOB: Final = "1.2.840.10008.5.1.1.14"
ANNOTATION_BOX: Final = "1.2.840.10008.5.1.1.15"
PRINTER: Final = "1.2.840.10008.5.1.1.16"
PRINTER_INSTANCE: Final = "1.2.840.10008.5.1.1.17"
"""The well-known SOP Instance of `PRINTER`."""
PRESENTATION_LUT: Final = "1.2.840.10008.5.1.1.23"
GRAYSCALE_PRINT_META: Final = "1.2.840.10008.5.1.1.9"
"""Basic Grayscale Print Management, a Meta SOP Class: its contexts are for all of its SOP classes."""
COLOR_PRINT_META: Final = "1.2.840.10008.5.1.1.18"

RELATED: Final = {
    GRAYSCALE_PRINT_META: (FILM_SESSION, FILM_BOX, GRAYSCALE_IMAGE_BOX, PRINTER),
    COLOR_PRINT_META: (FILM_SESSION, FILM_BOX, COLOR_IMAGE_BOX, PRINTER),
    UPS_WATCH: (UPS_PUSH,),
    UPS_PULL: (UPS_PUSH,),
    UPS_EVENT: (UPS_PUSH,),
    UPS_QUERY: (UPS_PUSH,),
}
"""Abstract syntax of a context -> the other SOP classes that a message on it may name (PS3.4 H.3.2.2, CC.3.1)."""


def contexts_of(sop_class_uid: str) -> tuple[str, ...]:
    """The abstract syntaxes on whose contexts a message may name this SOP class: its own, then the `RELATED` ones.

    >>> len(contexts_of(FILM_BOX))
    3
    """
    return (sop_class_uid, *(context for context, members in RELATED.items() if sop_class_uid in members))


IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
RLE_LOSSLESS: Final = "1.2.840.10008.1.2.5"

LITTLE_ENDIAN: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
"""The two syntaxes between which a data set can be re-encoded without touching its pixels."""

NATIVE_LITTLE_ENDIAN: Final = (*LITTLE_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)

COMMON_STORAGE: Final = (
    "1.2.840.10008.5.1.4.1.1.1",  # Computed Radiography Image Storage
    "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray Image Storage - For Presentation
    "1.2.840.10008.5.1.4.1.1.1.1.1",  # Digital X-Ray Image Storage - For Processing
    "1.2.840.10008.5.1.4.1.1.1.2",  # Digital Mammography X-Ray Image Storage - For Presentation
    "1.2.840.10008.5.1.4.1.1.1.2.1",  # Digital Mammography X-Ray Image Storage - For Processing
    "1.2.840.10008.5.1.4.1.1.1.3",  # Digital Intra-Oral X-Ray Image Storage - For Presentation
    "1.2.840.10008.5.1.4.1.1.1.3.1",  # Digital Intra-Oral X-Ray Image Storage - For Processing
    "1.2.840.10008.5.1.4.1.1.2",  # CT Image Storage
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT Image Storage
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT Image Storage
    "1.2.840.10008.5.1.4.1.1.3.1",  # Ultrasound Multi-frame Image Storage
    "1.2.840.10008.5.1.4.1.1.4",  # MR Image Storage
    "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR Image Storage
    "1.2.840.10008.5.1.4.1.1.4.2",  # MR Spectroscopy Storage
    "1.2.840.10008.5.1.4.1.1.4.3",  # Enhanced MR Color Image Storage
    "1.2.840.10008.5.1.4.1.1.6.1",  # Ultrasound Image Storage
    "1.2.840.10008.5.1.4.1.1.6.2",  # Enhanced US Volume Storage
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture Image Storage
    "1.2.840.10008.5.1.4.1.1.7.1",  # Multi-frame Single Bit Secondary Capture Image Storage
    "1.2.840.10008.5.1.4.1.1.7.2",  # Multi-frame Grayscale Byte Secondary Capture Image Storage
    "1.2.840.10008.5.1.4.1.1.7.3",  # Multi-frame Grayscale Word Secondary Capture Image Storage
    "1.2.840.10008.5.1.4.1.1.7.4",  # Multi-frame True Color Secondary Capture Image Storage
    "1.2.840.10008.5.1.4.1.1.9.1.1",  # 12-lead ECG Waveform Storage
    "1.2.840.10008.5.1.4.1.1.9.1.2",  # General ECG Waveform Storage
    "1.2.840.10008.5.1.4.1.1.9.1.3",  # Ambulatory ECG Waveform Storage
    "1.2.840.10008.5.1.4.1.1.11.1",  # Grayscale Softcopy Presentation State Storage
    "1.2.840.10008.5.1.4.1.1.11.2",  # Color Softcopy Presentation State Storage
    "1.2.840.10008.5.1.4.1.1.12.1",  # X-Ray Angiographic Image Storage
    "1.2.840.10008.5.1.4.1.1.12.2",  # X-Ray Radiofluoroscopic Image Storage
    "1.2.840.10008.5.1.4.1.1.13.1.1",  # X-Ray 3D Angiographic Image Storage
    "1.2.840.10008.5.1.4.1.1.13.1.3",  # Breast Tomosynthesis Image Storage
    "1.2.840.10008.5.1.4.1.1.20",  # Nuclear Medicine Image Storage
    "1.2.840.10008.5.1.4.1.1.30",  # Parametric Map Storage
    "1.2.840.10008.5.1.4.1.1.66",  # Raw Data Storage
    "1.2.840.10008.5.1.4.1.1.66.1",  # Spatial Registration Storage
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation Storage
    "1.2.840.10008.5.1.4.1.1.66.5",  # Surface Segmentation Storage
    "1.2.840.10008.5.1.4.1.1.67",  # Real World Value Mapping Storage
    "1.2.840.10008.5.1.4.1.1.77.1.1",  # VL Endoscopic Image Storage
    "1.2.840.10008.5.1.4.1.1.77.1.2",  # VL Microscopic Image Storage
    "1.2.840.10008.5.1.4.1.1.77.1.4",  # VL Photographic Image Storage
    "1.2.840.10008.5.1.4.1.1.77.1.6",  # VL Whole Slide Microscopy Image Storage
    "1.2.840.10008.5.1.4.1.1.88.11",  # Basic Text SR Storage
    "1.2.840.10008.5.1.4.1.1.88.22",  # Enhanced SR Storage
    "1.2.840.10008.5.1.4.1.1.88.33",  # Comprehensive SR Storage
    "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR Storage
    "1.2.840.10008.5.1.4.1.1.88.59",  # Key Object Selection Document Storage
    "1.2.840.10008.5.1.4.1.1.88.67",  # X-Ray Radiation Dose SR Storage
    "1.2.840.10008.5.1.4.1.1.104.1",  # Encapsulated PDF Storage
    "1.2.840.10008.5.1.4.1.1.128",  # Positron Emission Tomography Image Storage
    "1.2.840.10008.5.1.4.1.1.130",  # Enhanced PET Image Storage
    "1.2.840.10008.5.1.4.1.1.481.1",  # RT Image Storage
    "1.2.840.10008.5.1.4.1.1.481.2",  # RT Dose Storage
    "1.2.840.10008.5.1.4.1.1.481.3",  # RT Structure Set Storage
    "1.2.840.10008.5.1.4.1.1.481.4",  # RT Beams Treatment Record Storage
    "1.2.840.10008.5.1.4.1.1.481.5",  # RT Plan Storage
    "1.2.840.10008.5.1.4.1.1.481.8",  # RT Ion Plan Storage
)
"""The Storage SOP Classes that a requestor proposes by default (PS3.4 B.5)."""

_NAMES: Final = {
    VERIFICATION: "Verification SOP Class",
    IMPLICIT_VR_LITTLE_ENDIAN: "Implicit VR Little Endian",
    EXPLICIT_VR_LITTLE_ENDIAN: "Explicit VR Little Endian",
}
"""UIDs that `dimse echo` prints; listed here so that it need not import pydicom."""

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
_UID_CHARACTERS: Final = frozenset("0123456789.")


def _entry(uid: str) -> tuple[str, ...] | None:
    """Name and kind of a UID in PS3.6, from pydicom's table, which is imported on first use."""
    from pydicom._uid_dict import UID_dictionary

    return UID_dictionary.get(uid)


def name_of(uid: str) -> str:
    """The name of a UID in PS3.6, or the UID itself: for messages and logs."""
    if uid in _NAMES:
        return _NAMES[uid]
    entry = _entry(uid)
    return entry[0] if entry else uid


def is_known(uid: str) -> bool:
    """Whether this UID is in PS3.6, as pydicom has it."""
    return _entry(uid) is not None


def is_uid(text: str) -> bool:
    """Whether `text` is a valid UID (PS3.5 9.1), without padding."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def new_uid() -> str:
    """A new UID, made from a random UUID (PS3.5 B.2).

    >>> is_uid(new_uid())
    True
    """
    from uuid import uuid4  # few programs need one

    return f"2.25.{uuid4().int}"


def has_uid_characters(text: str) -> bool:
    """Whether `text` is 1 to 64 digits and dots, which devices use as a UID even if PS3.5 9.1 forbids it."""
    return 0 < len(text) <= 64 and set(text) <= _UID_CHARACTERS


TRANSFER_SYNTAXES: Final = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1.99",
    "big-endian": "1.2.840.10008.1.2.2",
    "jpeg-baseline": "1.2.840.10008.1.2.4.50",
    "jpeg-extended": "1.2.840.10008.1.2.4.51",
    "jpeg-lossless": "1.2.840.10008.1.2.4.70",
    "jpeg-ls-lossless": "1.2.840.10008.1.2.4.80",
    "jpeg-ls": "1.2.840.10008.1.2.4.81",
    "jpeg2000-lossless": "1.2.840.10008.1.2.4.90",
    "jpeg2000": "1.2.840.10008.1.2.4.91",
    "mpeg2": "1.2.840.10008.1.2.4.100",
    "mpeg4": "1.2.840.10008.1.2.4.102",
    "hevc": "1.2.840.10008.1.2.4.107",
    "jpeg-xl-lossless": "1.2.840.10008.1.2.4.110",
    "jpeg-xl": "1.2.840.10008.1.2.4.112",
    "htj2k-lossless": "1.2.840.10008.1.2.4.201",
    "htj2k": "1.2.840.10008.1.2.4.203",
    "rle": "1.2.840.10008.1.2.5",
}
"""Transfer syntaxes (PS3.6 A.1) by the short names that the command line and the configuration know."""


def transfer_syntax(name: str) -> str:
    """The UID of a transfer syntax: a short name of `TRANSFER_SYNTAXES`, or a UID. Raises `ValueError`."""
    found = TRANSFER_SYNTAXES.get(name.lower(), name)
    if not is_uid(found) or "." not in found:
        raise ValueError(_no_syntax(name, TRANSFER_SYNTAXES))
    return found


def _no_syntax(name: str, known: Iterable[str]) -> str:
    return f"{name!r} is not a transfer syntax; it must be a UID or one of {', '.join(known)}"


TRANSFER_SYNTAX_GROUPS: Final = {
    "uncompressed": (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN),
    "j2k": ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"),
}
"""Short names of several transfer syntaxes, the preferable ones first."""


def transfer_syntaxes(names: str) -> list[str]:
    """The UIDs of transfer syntaxes from short names of one or several, or UIDs, with commas between them.

    Raises `ValueError`.

    >>> transfer_syntaxes("rle,j2k")
    ['1.2.840.10008.1.2.5', '1.2.840.10008.1.2.4.90', '1.2.840.10008.1.2.4.91']
    """
    found: list[str] = []
    for name in map(str.strip, names.split(",")):
        if not is_uid(name) and name.lower() not in {**TRANSFER_SYNTAX_GROUPS, **TRANSFER_SYNTAXES}:
            raise ValueError(_no_syntax(name, [*TRANSFER_SYNTAX_GROUPS, *TRANSFER_SYNTAXES]))
        found += TRANSFER_SYNTAX_GROUPS.get(name.lower()) or (transfer_syntax(name),)
    return found


def is_compressed(transfer_syntax_uid: str) -> bool:
    """Whether pixel data in this transfer syntax is encapsulated (PS3.5 A.4); private ones count."""
    return transfer_syntax_uid not in (
        *LITTLE_ENDIAN,
        EXPLICIT_VR_BIG_ENDIAN,
        DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    )


_JPIP: Final = frozenset(f"1.2.840.10008.1.2.4.{tail}" for tail in ("94", "95", "204", "205"))
"""JPIP transfer syntaxes: the data set refers to pixel data elsewhere."""
_ALSO_ENCAPSULATED: Final = frozenset(
    {RLE_LOSSLESS, "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"}  # Encapsulated Uncompressed, Deflated Frames
)


def is_always_encapsulated(transfer_syntax_uid: str) -> bool:
    """Whether Pixel Data must be encapsulated in this transfer syntax (PS3.5 A.4); False for private ones."""
    if transfer_syntax_uid in _JPIP:
        return False
    return transfer_syntax_uid.startswith("1.2.840.10008.1.2.4.") or transfer_syntax_uid in _ALSO_ENCAPSULATED


_NOT_STORED = ("Storage Commitment", "Media Storage", "Storage Service Class")


def is_storage(uid: str) -> bool:
    """Whether this is a Storage SOP Class (PS3.4 B.5), including retired ones, or a private SOP class.

    A private Storage SOP Class cannot be distinguished from other private ones, so a storage SCP accepts them all.
    """
    if uid in COMMON_STORAGE or not uid.startswith("1.2.840.10008."):
        return True
    if uid == VERIFICATION or uid in QUERY_RETRIEVE:
        return False
    return len(uid) <= 64 and _is_storage_of_the_standard(uid)


@lru_cache(maxsize=256)
def _is_storage_of_the_standard(uid: str) -> bool:
    entry = _entry(uid)
    if entry is None:
        return uid.startswith("1.2.840.10008.5.1.4.1.1.")  # newer than the dictionary
    name, kind = entry[0], entry[1]
    return kind == "SOP Class" and "Storage" in name and not any(words in name for words in _NOT_STORED)
