"""Whole jobs of printing: images on films, which are followed until they are printed; the state of a printer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from os import PathLike, fspath
from typing import Final

from dimse import uids
from dimse.address import Address
from dimse.callbacks import Callback
from dimse.dataset.codec import text_of
from dimse.dataset.print_pixels import ImageSource, frames_of
from dimse.dataset.pydicom_names import Dataset, tag_for_keyword
from dimse.dataset.threads import beside_the_loop
from dimse.errors import DatasetError, PresentationContextError, PrintFailed, StatusError
from dimse.network.application_entity import ApplicationEntity, entity_of
from dimse.network.association import Association
from dimse.options import ClientOptions
from dimse.records import record
from dimse.services.film_options import FilmOptions
from dimse.services.normalized_scu import NormalizedSCU
from dimse.services.print_following import PrintJobs
from dimse.services.print_job import PrintJobState
from dimse.services.printing_films import FilmPrinter, SentFilm

logger = logging.getLogger("dimse.print")

FOLLOWED: Final = 300.0
"""Seconds for which jobs are followed by default."""


@record()
class PrinterInfo:
    """What a printer tells of itself (PS3.3 C.13.9). Texts that it does not send are empty."""

    status: str
    """NORMAL, WARNING or FAILURE."""
    status_info: str
    """Why, such as `SUPPLY LOW`."""
    name: str
    manufacturer: str
    model: str
    serial_number: str
    software: str


@record()
class FilmResult:
    """What became of a film."""

    number: int
    """From 1."""
    images: int
    state: PrintJobState
    """DONE; UNKNOWN if the printer has taken the film and does not tell of its job; PENDING or PRINTING if the job was
    not done in time, or not followed; FAILURE."""
    info: str
    """What the printer says about the state, such as `SUPPLY EMPTY`."""

    @property
    def failed(self) -> bool:
        """Whether the job failed, or was not done in time."""
        return self.state not in (PrintJobState.DONE, PrintJobState.UNKNOWN)


@record()
class PrintReport:
    """The outcome for all films."""

    films: tuple[FilmResult, ...]
    warnings: tuple[str, ...]
    """What the printer changed or could not do, such as an image that it made smaller."""
    seconds: float

    @property
    def failures(self) -> tuple[FilmResult, ...]:
        """Films whose jobs failed, or were not done in time."""
        return tuple(each for each in self.films if each.failed)


async def print_images(
    address: str | Address | ApplicationEntity,
    images: Iterable[str | PathLike[str] | Dataset] | str | PathLike[str] | Dataset,
    *,
    film: FilmOptions | None = None,
    color: bool | None = None,
    follow: float = FOLLOWED,
    calling_ae_title: str | None = None,
    options: ClientOptions | None = None,
    timeout: float | None = None,
    on_film: Callable[[FilmResult], object] | None = None,
    raise_failures: bool = True,
) -> PrintReport:
    """Print images at the printer at `address` (PS3.4 Annex H), and follow the jobs until they are done.

    Images are paths of DICOM files or data sets; each frame of one is an image. They fill films of the layout of
    `film` in their order, several films if they are many. Grayscale images are printed as their window or VOI LUT
    shows them. `color` None prints in color if one of the images is in color, and in grayscale otherwise.

    Jobs are followed for `follow` seconds, by the printer's events and by asking. `on_film` is called with each
    `FilmResult`. One image at a time is in memory. If the job is cancelled, the association is aborted, by which a
    printer deletes what was not printed yet. Needs numpy: `pip install "dimse[print]"`.

    Raises `AssociationError` if there is no association, `PresentationContextError` if the peer does not print,
    `StatusError` if the printer refuses a request, `DatasetError` for an image that cannot be printed, and
    `PrintFailed` if jobs failed or were not done in time; with `raise_failures=False` those are in `report.failures`
    instead.

    >>> async def main():
    ...     report = await print_images("PRINTER@localhost:11112", ["ct.dcm"], film=FilmOptions(size="14INX17IN"))
    ...     print(len(report.films), "films", *report.warnings)
    """
    film = film or FilmOptions()
    entity = entity_of(address, options, calling_ae_title, timeout)
    tell = Callback("on_film", on_film, logger)
    start = asyncio.get_running_loop().time()
    frames = await beside_the_loop(lambda: _frames(images))
    in_color = any(each.is_color for each in frames) if color is None else color
    printing, jobs = _Printing(film, frames, in_color=in_color), PrintJobs()
    async with entity.connect(_contexts(film, in_color=in_color), services=jobs.server) as association:
        await printing.run(association, jobs, follow, tell)
    if printing.failure is not None:
        raise printing.failure
    seconds = asyncio.get_running_loop().time() - start
    report = PrintReport(tuple(printing.results), tuple(printing.warnings), seconds)
    if raise_failures and report.failures:
        raise PrintFailed("; ".join(map(in_words, report.failures))).at(str(entity.address))
    return report


class _Printing:
    """One job: its films, and what became of them."""

    def __init__(self, film: FilmOptions, frames: Sequence[ImageSource], *, in_color: bool) -> None:
        self._film = film
        self._frames = frames
        self._in_color = in_color
        self.results: list[FilmResult] = []
        self.warnings: list[str] = []
        self.failure: Exception | None = None
        """Why the films could not be printed: raised when the association has been released."""

    async def run(
        self, association: Association, jobs: PrintJobs, seconds: float, tell: Callable[[FilmResult], None]
    ) -> None:
        """Print the films, delete what the printer has of them, and follow their jobs."""
        printer = FilmPrinter(association, self._film, self.warnings, in_color=self._in_color)
        sent: list[SentFilm] = []
        try:
            sent += await printer.print(self._frames)
        except (StatusError, DatasetError, PresentationContextError, PrintFailed) as error:
            self.failure = error
        await printer.finish()
        if self.failure is not None:
            return
        await jobs.follow(NormalizedSCU(association), [each.job_uid for each in sent if each.job_uid], seconds)
        for each in sent:
            state, info = jobs.state_of(each.job_uid)
            self.results.append(FilmResult(each.number, each.images, state, info))
            tell(self.results[-1])


def in_words(film: FilmResult) -> str:
    """What became of a film."""
    words = {
        PrintJobState.DONE: "printed",
        PrintJobState.UNKNOWN: "taken by the printer, which does not tell of its job",
        PrintJobState.FAILURE: "not printed",
    }
    why = f" ({film.info})" if film.info and film.info != "NORMAL" else ""
    return f"film {film.number}: {words.get(film.state, f'not printed in time, its job is {film.state}')}{why}"


def _frames(images: Iterable[str | PathLike[str] | Dataset] | str | PathLike[str] | Dataset) -> list[ImageSource]:
    """The images to print. Raises `ValueError` if there are none."""
    given = [images] if isinstance(images, str | PathLike | Dataset) else list(images)
    found: list[ImageSource] = []
    for number, each in enumerate(given, 1):
        found += frames_of(each, f"image {number}" if isinstance(each, Dataset) else fspath(each))
    if not found:
        raise ValueError("images must be one image or more")
    return found


def _contexts(film: FilmOptions, *, in_color: bool) -> list[tuple[str, Sequence[str]]]:
    """What a job proposes."""
    meta = uids.COLOR_PRINT_META if in_color else uids.GRAYSCALE_PRINT_META
    wanted = [meta, *([] if in_color else [uids.PRESENTATION_LUT]), uids.PRINT_JOB]
    wanted += [uids.ANNOTATION_BOX] if film.annotations else []
    return [(uid, uids.LITTLE_ENDIAN) for uid in wanted]


async def printer_status(
    address: str | Address | ApplicationEntity,
    *,
    calling_ae_title: str | None = None,
    options: ClientOptions | None = None,
    timeout: float | None = None,
) -> PrinterInfo:
    """Ask the printer at `address` for its status (PS3.4 H.4.6), on an association of its own.

    Raises `AssociationError` if there is no association, `PresentationContextError` if the peer does not print, and
    `StatusError` if it refuses to tell.

    >>> async def main():
    ...     printer = await printer_status("PRINTER@localhost:11112", timeout=5)
    ...     print(printer.status, printer.status_info)
    """
    entity = entity_of(address, options, calling_ae_title, timeout)
    contexts = [(uid, uids.LITTLE_ENDIAN) for uid in (uids.GRAYSCALE_PRINT_META, uids.COLOR_PRINT_META)]
    refusal: StatusError | PresentationContextError | None = None
    attributes = Dataset()
    async with entity.connect(contexts, services=PrintJobs().server) as association:
        try:
            result = await NormalizedSCU(association).get(uids.PRINTER, uids.PRINTER_INSTANCE)
            attributes = result.dataset or attributes
        except (StatusError, PresentationContextError) as error:
            refusal = error  # raised after the association was released
    if refusal is not None:
        raise refusal
    keywords = ("PrinterStatus", "PrinterStatusInfo", "PrinterName", "Manufacturer", "ManufacturerModelName")
    return PrinterInfo(*(_text(attributes, each) for each in (*keywords, "DeviceSerialNumber", "SoftwareVersions")))


def _text(attributes: Dataset, keyword: str) -> str:
    return text_of(attributes, tag_for_keyword(keyword) or 0)
