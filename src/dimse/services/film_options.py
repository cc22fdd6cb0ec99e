"""What a film is to look like: the attributes of a film session and of its film boxes (PS3.3 C.13.1, C.13.3)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from dimse.dataset.pydicom_names import Dataset
from dimse.records import record
from dimse.services.film_layout import FilmLayout

MAX_COPIES: Final = 999
_CODE_LENGTH: Final = 16


class FilmOrientation(StrEnum):
    """Film Orientation (2010,0040)."""

    PORTRAIT = "PORTRAIT"
    LANDSCAPE = "LANDSCAPE"


class Magnification(StrEnum):
    """Magnification Type (2010,0060): how images are enlarged to fill their places."""

    REPLICATE = "REPLICATE"
    BILINEAR = "BILINEAR"
    CUBIC = "CUBIC"
    NONE = "NONE"


class PrintPriority(StrEnum):
    """Print Priority (2000,0020)."""

    HIGH = "HIGH"
    MEDIUM = "MED"
    LOW = "LOW"


@record(kw_only=True)
class FilmOptions:
    """What films are to look like, and how many there are to be. What is None is left to the printer.

    >>> FilmOptions(layout="3x4", size="14INX17IN", copies=2).layout
    '3x4'

    :param layout: images of a film: `"3x4"` (columns and rows) or an Image Display Format such as `"ROW\\\\2,3"`; by
        default the smallest common one that has room for all images, 5x6 at most
    :param orientation: portrait or landscape
    :param size: Film Size ID, such as `14INX17IN`, `24CMX30CM` or `A4`
    :param magnification: how images are enlarged
    :param copies: copies of each film
    :param priority: Print Priority
    :param medium: Medium Type, such as `PAPER`, `CLEAR FILM` or `BLUE FILM`
    :param destination: Film Destination, such as `MAGAZINE`, `PROCESSOR` or `BIN_1`
    :param label: Film Session Label
    :param annotation_format: Annotation Display Format ID of the printer, which `annotations` need
    :param annotations: the texts of the annotation boxes of each film, in their order
    :param border_density: density of the film around the images: `BLACK`, `WHITE` or hundredths of OD
    :param empty_density: density of places without an image, in the same way
    :param trim: whether a line is drawn around each image
    :param bits: bits of each grayscale value, 8 or 12; color images always have 8
    :param collate: whether all films of the job are printed by one request, together; few printers can
    """

    layout: str | FilmLayout | None = None
    orientation: FilmOrientation = FilmOrientation.PORTRAIT
    size: str | None = None
    magnification: Magnification | None = None
    copies: int = 1
    priority: PrintPriority | None = None
    medium: str | None = None
    destination: str | None = None
    label: str | None = None
    annotation_format: str | None = None
    annotations: Sequence[str] = ()
    border_density: str | None = None
    empty_density: str | None = None
    trim: bool | None = None
    bits: int = 8
    collate: bool = False

    def __post_init__(self) -> None:
        if self.layout is not None:
            FilmLayout.parse(self.layout)
        if not 1 <= self.copies <= MAX_COPIES:
            raise ValueError(f"copies must be 1 to {MAX_COPIES}, not {self.copies}")
        if self.bits not in (8, 12):
            raise ValueError(f"bits must be 8 or 12, not {self.bits}")
        if self.annotations and self.annotation_format is None:
            raise ValueError("annotations need annotation_format, the Annotation Display Format ID of the printer")
        for name in ("size", "medium", "destination", "annotation_format", "border_density", "empty_density"):
            _check_code(name, getattr(self, name))
        for text in (self.label, *self.annotations):
            if text is not None and (len(text) > 64 or "\\" in text):
                raise ValueError("label and annotations must have at most 64 characters, without backslash")

    def layout_of(self, images: int) -> FilmLayout:
        """The layout of the films of that number of images."""
        return FilmLayout.of(images) if self.layout is None else FilmLayout.parse(self.layout)


def _check_code(name: str, value: str | None) -> None:
    if value is not None and not (0 < len(value) <= _CODE_LENGTH and value.isascii() and "\\" not in value):
        raise ValueError(f"{name} must have 1 to {_CODE_LENGTH} ASCII characters, without backslash")


def session_attributes(film: FilmOptions) -> Dataset:
    """The attributes of N-CREATE of a film session (PS3.4 H.4.1.2.1)."""
    return _dataset(
        NumberOfCopies=film.copies,
        PrintPriority=film.priority,
        MediumType=film.medium,
        FilmDestination=film.destination,
        FilmSessionLabel=film.label,
    )


def film_attributes(film: FilmOptions, layout: FilmLayout) -> Dataset:
    """The attributes of N-CREATE of a film box (PS3.4 H.4.2.2.1), without its references."""
    return _dataset(
        ImageDisplayFormat=str(layout),
        FilmOrientation=film.orientation,
        FilmSizeID=film.size,
        MagnificationType=film.magnification,
        AnnotationDisplayFormatID=film.annotation_format,
        BorderDensity=film.border_density,
        EmptyImageDensity=film.empty_density,
        Trim=None if film.trim is None else ("YES" if film.trim else "NO"),
    )


def _dataset(**values: object) -> Dataset:
    """A data set of the values that are given."""
    dataset = Dataset()
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, str(value))
    if not all(str(each).isascii() for each in values.values()):
        dataset.SpecificCharacterSet = "ISO_IR 192"
    return dataset


def reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """The item of a sequence that refers to a SOP instance."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item
