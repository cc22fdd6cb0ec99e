"""The attributes that a print server receives, checked, and those of its answers (PS3.4 H.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from dimse.dataset.codec import text_of
from dimse.dataset.pydicom_names import IGNORE, DataElement, Dataset, dictionary_VR, tag_for_keyword
from dimse.errors import DatasetError, StatusError
from dimse.services.film_layout import DEFAULT_SIZE, FilmLayout, film_size
from dimse.services.film_options import MAX_COPIES, FilmOrientation, Magnification
from dimse.status import Status

VALUE_OUT_OF_RANGE: Final = Status(0x0116)

MAX_TEXT: Final = 1024
"""Characters of an attribute: those of Configuration Information, the longest of them."""

_OF_SESSION: Final = ("NumberOfCopies", "PrintPriority", "MediumType", "FilmDestination", "FilmSessionLabel", "OwnerID")
_OF_FILM: Final = (
    *("FilmOrientation", "FilmSizeID", "MagnificationType", "SmoothingType", "BorderDensity", "EmptyImageDensity"),
    *("MinDensity", "MaxDensity", "Trim", "ConfigurationInformation", "AnnotationDisplayFormatID"),
    *("RequestedResolutionID", "Illumination", "ReflectedAmbientLight"),
)
_BEHAVIOR: Final = "RequestedDecimateCropBehavior"
_OF_IMAGE: Final = ("Polarity", "MagnificationType", "SmoothingType", "RequestedImageSize", _BEHAVIOR)
_NUMBERS: Final = ("MinDensity", "MaxDensity", "Illumination", "ReflectedAmbientLight")


def referenced(given: Dataset, keyword: str) -> str:
    """The SOP Instance UID in a sequence of references; empty if there is not exactly one."""
    if keyword not in given:
        raise StatusError(Status.MISSING_ATTRIBUTE, f"{keyword} is missing")
    items = given[keyword].value
    return text_in(items[0], "ReferencedSOPInstanceUID") if isinstance(items, Sequence) and len(items) == 1 else ""


def layout_of(given: Dataset) -> FilmLayout:
    text = text_in(given, "ImageDisplayFormat")
    if not text:
        raise StatusError(Status.MISSING_ATTRIBUTE, "ImageDisplayFormat is missing")
    try:
        return FilmLayout.parse(text)
    except ValueError:
        raise StatusError(Status.INVALID_ATTRIBUTE_VALUE, "an unsupported ImageDisplayFormat") from None


def position_of(given: Dataset, keyword: str, present: int, boxes: int) -> int:
    text = text_in(given, keyword)
    if not text:
        return present
    if not text.isdecimal() or not 1 <= int(text) <= boxes:
        raise StatusError(Status.INVALID_ATTRIBUTE_VALUE, f"{keyword} must be 1 to {boxes}")
    return int(text)


_Ranges = dict[str, tuple[Callable[[str], bool], str]]
"""Which values of an attribute are known, and which is used for others."""


def merged_session(given: Dataset, present: Dataset) -> tuple[Dataset, Status]:
    return _merged(given, present, _OF_SESSION, {"NumberOfCopies": (_is_count, "1")})


def merged_film(given: Dataset, present: Dataset) -> tuple[Dataset, Status]:
    ranges: _Ranges = {
        "FilmSizeID": (_is_size, DEFAULT_SIZE),
        "FilmOrientation": (_one_of(FilmOrientation), FilmOrientation.PORTRAIT.value),
        "MagnificationType": (_one_of(Magnification), Magnification.CUBIC.value),
        **dict.fromkeys(_NUMBERS, (_is_number, "")),
        **dict.fromkeys(("BorderDensity", "EmptyImageDensity"), (_is_density, "BLACK")),
    }
    return _merged(given, present, _OF_FILM, ranges)


def merged_image(given: Dataset, present: Dataset) -> tuple[Dataset, Status]:
    ranges: _Ranges = {
        "MagnificationType": (_one_of(Magnification), Magnification.CUBIC.value),
        "Polarity": (_one_of(("NORMAL", "REVERSE")), "NORMAL"),
        "RequestedImageSize": (_is_length, ""),
        _BEHAVIOR: (_one_of(("DECIMATE",)), "DECIMATE"),
    }
    return _merged(given, present, _OF_IMAGE, ranges)


def _merged(given: Dataset, present: Dataset, keywords: Iterable[str], ranges: _Ranges) -> tuple[Dataset, Status]:
    """The attributes of `present`, with those of `given` that are known.

    A value that is out of range is replaced, of which the status warns (PS3.7 C.4.3).
    """
    merged, status = Dataset(), Status.SUCCESS
    merged.update(dict(present.items()))
    for keyword in keywords:
        if keyword not in given:
            continue
        text = text_in(given, keyword)
        is_known, default = ranges.get(keyword, (bool, ""))
        if text and not is_known(text):
            text, status = default, VALUE_OUT_OF_RANGE
        tag = tag_for_keyword(keyword) or 0
        vr = dictionary_VR(tag)
        value = int(text) if vr == "US" and text else text
        merged.add(DataElement(tag, vr, value or None, validation_mode=IGNORE))
    return merged, status


def text_in(given: Dataset, keyword: str) -> str:
    """The value of an attribute as text; empty if it is missing."""
    try:
        text = text_of(given, tag_for_keyword(keyword) or 0).strip()
    except DatasetError:
        raise StatusError(Status.INVALID_ATTRIBUTE_VALUE, f"{keyword} cannot be read") from None
    if len(text) > MAX_TEXT:
        raise StatusError(Status.INVALID_ATTRIBUTE_VALUE, f"{keyword} has more than {MAX_TEXT} characters")
    return text


def _is_count(text: str) -> bool:
    return text.isdecimal() and 1 <= int(text) <= MAX_COPIES


def _is_number(text: str) -> bool:
    return text.isdecimal() and int(text) <= 0xFFFF


def _is_density(text: str) -> bool:
    return text in ("BLACK", "WHITE") or _is_number(text)


def _is_length(text: str) -> bool:
    try:
        return 0 < float(text) < 1000
    except ValueError:
        return False


def _is_size(text: str) -> bool:
    try:
        return bool(film_size(text))
    except ValueError:
        return False


def _one_of(known: Iterable[str]) -> Callable[[str], bool]:
    return frozenset(map(str, known)).__contains__
