"""What an SCU has made at a print server on an association, and which requests are allowed (PS3.4 H.4.1 to H.4.9)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dimse import uids
from dimse.dataset.pydicom_names import Dataset
from dimse.errors import StatusError
from dimse.services.film_layout import FilmLayout
from dimse.services.film_options import reference
from dimse.services.print_attributes import (
    layout_of,
    merged_film,
    merged_image,
    merged_session,
    position_of,
    referenced,
    text_in,
)
from dimse.services.print_image import FilmImage, received_image, received_lut
from dimse.services.print_statuses import EMPTY_FILM, EMPTY_SESSION, NO_FILM_BOXES, NO_MEMORY
from dimse.services.printed_film import PrintedFilm
from dimse.status import Status

MAX_FILM_BOXES: Final = 50
"""Film boxes that an SCU may have at once on an association."""

MAX_IMAGE_BYTES: Final = 256 * 1024 * 1024
"""Bytes of the images that an SCU may have at once on an association."""

MAX_LUTS: Final = 64
"""Presentation LUTs that an SCU may have at once on an association."""

ANNOTATION_BOXES: Final = 6
"""Annotation boxes of a film that has them, whatever its Annotation Display Format ID."""

PRINT: Final = 1
"""The Action Type ID of N-ACTION."""

CONFLICT: Final = Status(0x0119)


@dataclass(eq=False)
class ImageBox:
    """An image box of a film box."""

    sop_class_uid: str
    position: int
    attributes: Dataset = field(default_factory=Dataset)
    image: Dataset | None = None
    lut: Dataset | None = None

    @property
    def size(self) -> int:
        """Bytes of its image."""
        return 0 if self.image is None else len(self.image.PixelData)


@dataclass
class Annotation:
    """An annotation box of a film box."""

    position: int
    text: str = ""


@dataclass(eq=False)
class FilmBox:
    """A film box, with its image boxes and annotation boxes by their SOP Instance UIDs."""

    layout: FilmLayout
    attributes: Dataset
    lut: Dataset | None
    images: dict[str, ImageBox]
    annotations: dict[str, Annotation]

    @property
    def size(self) -> int:
        """Bytes of its images."""
        return sum(each.size for each in self.images.values())


class PrintSession:
    """The film session of an association, and all below it. Requests are its methods.

    Each returns the attributes of its response and its status, Success or a warning, or raises `StatusError`.
    `make_uid` makes a SOP Instance UID.
    """

    def __init__(self, make_uid: Callable[[], str]) -> None:
        self._make_uid = make_uid
        self._uid: str | None = None
        self._session = Dataset()
        self._films: dict[str, FilmBox] = {}
        self._luts: dict[str, Dataset] = {}

    @property
    def size(self) -> int:
        """Bytes of its images."""
        return sum(each.size for each in self._films.values())

    @property
    def attributes(self) -> Dataset:
        """The attributes of the film session."""
        return self._session

    # Film session (H.4.1)

    def create_session(self, uid: str, given: Dataset) -> tuple[Dataset, Status]:
        """N-CREATE of the film session: an association has at most one."""
        if self._uid is not None:
            status = Status.DUPLICATE_SOP_INSTANCE if uid == self._uid else Status.RESOURCE_LIMITATION
            raise StatusError(status, "the association has a film session")
        self._session, status = merged_session(given, Dataset())
        self._uid = uid
        return self._session, status

    def set_session(self, uid: str, given: Dataset) -> tuple[Dataset, Status]:
        """N-SET of the film session."""
        self._check_session(uid)
        self._session, status = merged_session(given, self._session)
        return self._session, status

    def delete_session(self, uid: str) -> None:
        """N-DELETE of the film session, and of all below it."""
        self._check_session(uid)
        self._uid, self._session = None, Dataset()
        self._films.clear()

    def films_of_session(self, uid: str, action: int | None) -> tuple[list[str], Status]:
        """The film boxes that N-ACTION of the film session prints."""
        self._check_session(uid)
        _check_action(action)
        if not self._films:
            raise StatusError(NO_FILM_BOXES, "the film session has no film boxes")
        is_empty = not any(each.size for each in self._films.values())
        return list(self._films), EMPTY_SESSION if is_empty else Status.SUCCESS

    def _check_session(self, uid: str) -> None:
        if uid != self._uid:
            raise StatusError(Status.NO_SUCH_SOP_INSTANCE, "no such film session")

    # Film box (H.4.2)

    def create_film(self, uid: str, given: Dataset, image_class: str, annotations: int = 0) -> tuple[Dataset, Status]:
        """N-CREATE of a film box, with its image boxes of `image_class`, and annotation boxes if it is to have some."""
        if uid in self._films or uid == self._uid:
            raise StatusError(Status.DUPLICATE_SOP_INSTANCE, "the instance exists")
        if self._uid is None or referenced(given, "ReferencedFilmSessionSequence") != self._uid:
            raise StatusError(Status.INVALID_ATTRIBUTE_VALUE, "not the film session of this association")
        if len(self._films) >= MAX_FILM_BOXES:
            raise StatusError(Status.RESOURCE_LIMITATION, f"more than {MAX_FILM_BOXES} film boxes")
        layout = layout_of(given)
        attributes, status = merged_film(given, Dataset())
        lut = self._lut_of(given)
        images = {self._make_uid(): ImageBox(image_class, number) for number in range(1, layout.images + 1)}
        count = annotations if attributes.get("AnnotationDisplayFormatID") else 0
        texts = {self._make_uid(): Annotation(number) for number in range(1, count + 1)}
        self._films[uid] = FilmBox(layout, attributes, lut, images, texts)
        answer = Dataset()
        answer.update(dict(attributes.items()))
        answer.ImageDisplayFormat = str(layout)
        answer.ReferencedFilmSessionSequence = [reference(uids.FILM_SESSION, self._uid)]
        answer.ReferencedImageBoxSequence = [reference(image_class, each) for each in images]
        if texts:
            boxes = [reference(uids.ANNOTATION_BOX, each) for each in texts]
            answer.ReferencedBasicAnnotationBoxSequence = boxes
        return answer, status

    def set_film(self, uid: str, given: Dataset) -> tuple[Dataset, Status]:
        """N-SET of a film box."""
        film = self._film(uid)
        film.attributes, status = merged_film(given, film.attributes)
        film.lut = self._lut_of(given) or film.lut
        return film.attributes, status

    def delete_film(self, uid: str) -> None:
        """N-DELETE of a film box, and of all below it."""
        self._film(uid)
        del self._films[uid]

    def film_to_print(self, uid: str, action: int | None) -> tuple[list[str], Status]:
        """The film box that its N-ACTION prints."""
        film = self._film(uid)
        _check_action(action)
        return [uid], Status.SUCCESS if film.size else EMPTY_FILM

    def printed(self, uid: str, job_uid: str, calling_ae_title: str) -> PrintedFilm:
        """A film box as it is now."""
        film = self._film(uid)
        images = {
            box.position: FilmImage(box.position, box.attributes, box.image, box.lut or film.lut)
            for box in film.images.values()
            if box.image is not None
        }
        texts = sorted(film.annotations.values(), key=lambda each: each.position)
        return PrintedFilm(
            sop_instance_uid=uid,
            job_uid=job_uid,
            calling_ae_title=calling_ae_title,
            layout=film.layout,
            images=tuple(images[position] for position in sorted(images)),
            annotations=tuple(each.text for each in texts if each.text),
            session=self._session,
            attributes=film.attributes,
        )

    def _film(self, uid: str) -> FilmBox:
        if uid not in self._films:
            raise StatusError(Status.NO_SUCH_SOP_INSTANCE, "no such film box")
        return self._films[uid]

    # Image box and annotation box (H.4.3, H.4.4)

    def set_image(
        self, sop_class_uid: str, uid: str, given: Dataset, room: int | None = None
    ) -> tuple[Dataset, Status]:
        """N-SET of an image box. A sequence of images without item erases its image.

        The images of this SCU then have at most `room` bytes, if that is given.
        """
        film = next((each for each in self._films.values() if uid in each.images), None)
        if film is None:
            raise StatusError(Status.NO_SUCH_SOP_INSTANCE, "no such image box")
        box = film.images[uid]
        if sop_class_uid != box.sop_class_uid:
            raise StatusError(CONFLICT, "the image box is of another SOP class")
        attributes, status = merged_image(given, box.attributes)
        position = position_of(given, "ImageBoxPosition", box.position, film.layout.images)
        image, lut = box.image, self._lut_of(given) or box.lut
        is_color = sop_class_uid == uids.COLOR_IMAGE_BOX
        keyword = "BasicColorImageSequence" if is_color else "BasicGrayscaleImageSequence"
        if keyword in given:
            image = received_image(given, keyword)
        maximum = MAX_IMAGE_BYTES if room is None else min(room, MAX_IMAGE_BYTES)
        if image is not None and self.size - box.size + len(image.PixelData) > maximum:
            raise StatusError(NO_MEMORY, f"the images have more than {maximum} bytes")
        box.attributes, box.position, box.image, box.lut = attributes, position, image, lut
        answer = Dataset()
        answer.update(dict(attributes.items()))
        answer.ImageBoxPosition = position  # CTN's SCU ends where the response to N-SET has no data set
        return answer, status

    def set_annotation(self, uid: str, given: Dataset) -> tuple[Dataset, Status]:
        """N-SET of an annotation box."""
        film = next((each for each in self._films.values() if uid in each.annotations), None)
        if film is None:
            raise StatusError(Status.NO_SUCH_SOP_INSTANCE, "no such annotation box")
        box = film.annotations[uid]
        box.position = position_of(given, "AnnotationPosition", box.position, len(film.annotations))
        if "TextString" in given:
            box.text = text_in(given, "TextString")[:64]
        return Dataset(), Status.SUCCESS

    # Presentation LUT (H.4.9)

    def create_lut(self, uid: str, given: Dataset) -> tuple[Dataset, Status]:
        """N-CREATE of a Presentation LUT."""
        if uid in self._luts:
            raise StatusError(Status.DUPLICATE_SOP_INSTANCE, "the instance exists")
        if len(self._luts) >= MAX_LUTS:
            raise StatusError(Status.RESOURCE_LIMITATION, f"more than {MAX_LUTS} presentation LUTs")
        self._luts[uid] = lut = received_lut(given)
        return lut, Status.SUCCESS

    def delete_lut(self, uid: str) -> None:
        """N-DELETE of a Presentation LUT. Images that it is for keep it."""
        if uid not in self._luts:
            raise StatusError(Status.NO_SUCH_SOP_INSTANCE, "no such presentation LUT")
        del self._luts[uid]

    def _lut_of(self, given: Dataset) -> Dataset | None:
        """The Presentation LUT that a film box or an image box refers to."""
        if "ReferencedPresentationLUTSequence" not in given:
            return None
        lut = self._luts.get(referenced(given, "ReferencedPresentationLUTSequence"))
        if lut is None:
            raise StatusError(Status.INVALID_ATTRIBUTE_VALUE, "no such presentation LUT")
        return lut


def _check_action(action: int | None) -> None:
    if action != PRINT:
        raise StatusError(Status.NO_SUCH_ACTION, f"the action must be {PRINT}")
