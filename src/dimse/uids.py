"""The UIDs that DICOM networking turns on (PS3.6 Annex A), by the names pydicom gives them."""

from __future__ import annotations

import re
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

QUERY_RETRIEVE: Final = (
    *(PATIENT_ROOT_FIND, PATIENT_ROOT_MOVE, PATIENT_ROOT_GET),
    *(STUDY_ROOT_FIND, STUDY_ROOT_MOVE, STUDY_ROOT_GET),
)
"""Query/Retrieve (PS3.4 Annex C)."""

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
RLE_LOSSLESS: Final = "1.2.840.10008.1.2.5"

LITTLE_ENDIAN: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
"""The two syntaxes between which a data set can be re-encoded without touching its pixels."""

NATIVE_LITTLE_ENDIAN: Final = (*LITTLE_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)

COMMON_STORAGE: Final = tuple(
    f"1.2.840.10008.5.1.4.1.1.{tail}"
    for tail in (
        *("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "2", "2.1", "2.2", "3.1", "4", "4.1", "4.2"),
        *("4.3", "6.1", "6.2", "7", "7.1", "7.2", "7.3", "7.4", "9.1.1", "9.1.2", "9.1.3", "11.1", "11.2"),
        *("12.1", "12.2", "13.1.1", "13.1.3", "20", "30", "66", "66.1", "66.4", "66.5", "67", "77.1.1"),
        *("77.1.2", "77.1.4", "77.1.6", "88.11", "88.22", "88.33", "88.34", "88.59", "88.67", "104.1"),
        *("128", "130", "481.1", "481.2", "481.3", "481.4", "481.5", "481.8"),
    )
)
"""The storage SOP classes that a requestor proposes when it was not told what it will send (PS3.4 B.5)."""

_NAMES: Final = {
    VERIFICATION: "Verification SOP Class",
    IMPLICIT_VR_LITTLE_ENDIAN: "Implicit VR Little Endian",
    EXPLICIT_VR_LITTLE_ENDIAN: "Explicit VR Little Endian",
}
"""What an echo speaks of: for these alone, pydicom's table is not worth its time."""

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
_UID_CHARACTERS: Final = frozenset("0123456789.")


def _entry(uid: str) -> tuple[str, ...] | None:
    """Name and kind of a UID of PS3.6. pydicom has the table, and is imported where it is needed."""
    from pydicom._uid_dict import UID_dictionary

    return UID_dictionary.get(uid)


def name_of(uid: str) -> str:
    """The name of a UID in PS3.6, or the UID itself: for messages and logs."""
    if uid in _NAMES:
        return _NAMES[uid]
    entry = _entry(uid)
    return entry[0] if entry else uid


def is_uid(text: str) -> bool:
    """Whether `text` is a UID as PS3.5 9.1 has it, without padding."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def has_uid_characters(text: str) -> bool:
    """Whether `text` is 1 to 64 digits and dots, which devices use as a UID even where PS3.5 9.1 forbids its form."""
    return 0 < len(text) <= 64 and set(text) <= _UID_CHARACTERS


def is_compressed(transfer_syntax_uid: str) -> bool:
    """Whether pixel data in this transfer syntax is encapsulated (PS3.5 A.4); private ones count."""
    return transfer_syntax_uid not in (
        *LITTLE_ENDIAN,
        EXPLICIT_VR_BIG_ENDIAN,
        DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    )


_JPIP: Final = frozenset(f"1.2.840.10008.1.2.4.{tail}" for tail in ("94", "95", "204", "205"))
"""Pixel data is elsewhere."""
_ALSO_ENCAPSULATED: Final = frozenset(
    {RLE_LOSSLESS, "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"}  # Encapsulated Uncompressed, Deflated Frames
)


def is_always_encapsulated(transfer_syntax_uid: str) -> bool:
    """Whether Pixel Data must be encapsulated in this transfer syntax of the standard's (PS3.5 A.4); not if private."""
    if transfer_syntax_uid in _JPIP:
        return False
    return transfer_syntax_uid.startswith("1.2.840.10008.1.2.4.") or transfer_syntax_uid in _ALSO_ENCAPSULATED


_NOT_STORED = ("Storage Commitment", "Media Storage", "Storage Service Class")


def is_storage(uid: str) -> bool:
    """Whether a SOP class is one of storage (PS3.4 B.5): the standard's, retired ones too, and private ones.

    A private SOP class cannot be told from other private services; a storage SCP that takes what any device
    sends takes it for a storage class.
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
