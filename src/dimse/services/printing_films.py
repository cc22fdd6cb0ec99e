"""Films at a printer, made and printed request by request (PS3.4 H.4.1 to H.4.4)."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Final

from dimse import uids
from dimse.dataset.codec import text_of
from dimse.dataset.print_pixels import ImageSource, print_pixels
from dimse.dataset.pydicom_names import Dataset, tag_for_keyword
from dimse.dataset.threads import beside_the_loop
from dimse.errors import DatasetError, PresentationContextError, PrintFailed, StatusError
from dimse.network.association import Association
from dimse.records import record
from dimse.services.film_layout import FilmLayout
from dimse.services.film_options import FilmOptions, film_attributes, reference, session_attributes
from dimse.services.normalized_scu import NormalizedResult, NormalizedSCU
from dimse.services.print_session import PRINT
from dimse.services.print_statuses import PrintStatus
from dimse.status import Status

_SUCCESS: Final = Status.SUCCESS


@record()
class SentFilm:
    """A film that the printer has taken."""

    number: int
    images: int
    job_uid: str | None
    """Its print job, if the printer names one."""


class FilmPrinter:
    """Prints films on an association. What the printer warns of is added to `warnings`."""

    def __init__(self, association: Association, film: FilmOptions, warnings: list[str], *, in_color: bool) -> None:
        self._scu = NormalizedSCU(association)
        self._film = film
        self._in_color = in_color
        self._warnings = warnings
        self._session: str | None = None
        self._lut: str | None = None

    async def print(self, frames: Sequence[ImageSource]) -> list[SentFilm]:
        """Print the images on as many films as they need."""
        layout = self._film.layout_of(len(frames))
        result = await self._told("film session", self._scu.create(uids.FILM_SESSION, session_attributes(self._film)))
        self._session = result.sop_instance_uid
        await self._create_lut()
        sent: list[SentFilm] = []
        for first in range(0, len(frames), layout.images):
            on_film = frames[first : first + layout.images]
            sent.append(await self._print_film(len(sent) + 1, on_film, layout))
        if self._film.collate:
            job_uid = await self._print(uids.FILM_SESSION, self._session or "", "film session")
            sent = [SentFilm(each.number, each.images, job_uid) for each in sent]
        return sent

    async def finish(self) -> None:
        """Delete what the printer still has of the job. A printer that refuses to is told of."""
        if self._session is not None:
            await self._try_to("film session", self._scu.delete(uids.FILM_SESSION, self._session))
        if self._lut is not None:
            await self._try_to("presentation LUT", self._scu.delete(uids.PRESENTATION_LUT, self._lut))

    async def _create_lut(self) -> None:
        """Say that the images have P-Values (PS3.14), so that a printer does not apply its own curve."""
        if self._in_color:
            return
        attributes = Dataset()
        attributes.PresentationLUTShape = "IDENTITY"
        try:
            result = await self._told("presentation LUT", self._scu.create(uids.PRESENTATION_LUT, attributes))
        except PresentationContextError:
            self._warnings.append("the printer has no presentation LUTs: its own curve decides about grays")
        except StatusError as error:
            self._warnings.append(f"presentation LUT refused, the printer's own curve decides about grays: {error}")
        else:
            self._lut = result.sop_instance_uid

    async def _print_film(self, number: int, frames: Sequence[ImageSource], layout: FilmLayout) -> SentFilm:
        name = f"film {number}"
        attributes = film_attributes(self._film, layout)
        attributes.ReferencedFilmSessionSequence = [reference(uids.FILM_SESSION, self._session or "")]
        if self._lut is not None:
            lut = reference(uids.PRESENTATION_LUT, self._lut)
            attributes.ReferencedPresentationLUTSequence = [lut]
        made = await self._told(name, self._scu.create(uids.FILM_BOX, attributes))
        uid, answer = made.sop_instance_uid or "", made.dataset or Dataset()
        boxes = _references(answer, "ReferencedImageBoxSequence")
        if len(boxes) < len(frames):
            raise PrintFailed(f"{name}: the printer made {len(boxes)} image boxes of it for {len(frames)} images")
        for position, (frame, box) in enumerate(zip(frames, boxes, strict=False), 1):
            await self._set_image(f"{name}, image {position}", frame, box, position)
        await self._annotate(name, _references(answer, "ReferencedBasicAnnotationBoxSequence"))
        if self._film.collate:
            return SentFilm(number, len(frames), None)
        job_uid = await self._print(uids.FILM_BOX, uid, name)
        await self._try_to(name, self._scu.delete(uids.FILM_BOX, uid))
        return SentFilm(number, len(frames), job_uid)

    async def _set_image(self, name: str, frame: ImageSource, box: str, position: int) -> None:
        pixels = await beside_the_loop(lambda: print_pixels(frame, bits=self._film.bits, color=self._in_color))
        attributes = Dataset()
        attributes.ImageBoxPosition = position
        attributes.Polarity = "NORMAL"
        if self._in_color:
            attributes.BasicColorImageSequence = [pixels.attributes()]
        else:
            attributes.BasicGrayscaleImageSequence = [pixels.attributes()]
        image_class = uids.COLOR_IMAGE_BOX if self._in_color else uids.GRAYSCALE_IMAGE_BOX
        await self._told(name, self._scu.set(image_class, box, attributes))

    async def _annotate(self, name: str, boxes: Sequence[str]) -> None:
        texts = self._film.annotations
        if len(boxes) < len(texts):
            self._warnings.append(f"{name}: the printer has {len(boxes)} annotation boxes for {len(texts)} texts")
        for position, (text, box) in enumerate(zip(texts, boxes, strict=False), 1):
            attributes = Dataset()
            attributes.AnnotationPosition, attributes.TextString = position, text
            if not text.isascii():
                attributes.SpecificCharacterSet = "ISO_IR 192"
            await self._told(f"{name}, annotation {position}", self._scu.set(uids.ANNOTATION_BOX, box, attributes))

    async def _print(self, sop_class_uid: str, uid: str, name: str) -> str | None:
        """Print a film box or the session. Returns the print job, if the printer names it."""
        result = await self._told(name, self._scu.action(sop_class_uid, uid, PRINT))
        return next(iter(_references(result.dataset or Dataset(), "ReferencedPrintJobSequence")), None)

    async def _told(self, name: str, requesting: Awaitable[NormalizedResult]) -> NormalizedResult:
        """The result of a request. A warning is noted; the status of a refusal gets its meaning in printing."""
        try:
            result = await requesting
        except StatusError as error:
            doing = f"{error.doing} of {name}"
            raised = StatusError(PrintStatus(error.status), doing, error.comment, error.offending)
            raise raised.at(error.address) from None
        if result.status != _SUCCESS:
            self._warnings.append(f"{name}: {PrintStatus(result.status)}")
        return result

    async def _try_to(self, name: str, deleting: Awaitable[NormalizedResult]) -> None:
        try:
            await deleting
        except StatusError as error:
            self._warnings.append(f"{name}: the printer did not delete it: {PrintStatus(error.status)}")


def _references(attributes: Dataset, keyword: str) -> list[str]:
    """The SOP Instance UIDs in a sequence of references."""
    found = []
    for item in attributes.get(keyword) or []:
        with suppress(DatasetError):
            found.append(text_of(item, tag_for_keyword("ReferencedSOPInstanceUID") or 0))
    return found
