"""A print server: the SCP of Print Management (PS3.4 Annex H), which gives films to a handler."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Self

from dimse import uids
from dimse.dataset.pydicom_names import Dataset
from dimse.errors import DimseError, PresentationContextError, StatusError
from dimse.network.association import Association, exchange_of
from dimse.services.film_options import reference
from dimse.services.normalized_scp import NormalizedHandler, NormalizedReply, NormalizedRequest
from dimse.services.normalized_scu import NormalizedSCU
from dimse.services.print_job import PrintJob, PrintJobState
from dimse.services.print_session import ANNOTATION_BOXES, MAX_IMAGE_BYTES, PrintSession
from dimse.services.print_statuses import FILM_QUEUE_FULL, SESSION_QUEUE_FULL
from dimse.services.printed_film import PrintedFilm
from dimse.services.server import Server
from dimse.status import Status

logger = logging.getLogger("dimse.print")

MAX_QUEUED_FILMS: Final = 50
"""Films that wait to be printed, or are being printed, of all SCUs."""

MAX_QUEUED_BYTES: Final = 1024 * 1024 * 1024
"""Bytes of the images of films that wait, or are being printed."""

MAX_HELD_BYTES: Final = 1024 * 1024 * 1024
"""Bytes of the images that all SCUs have set, whether or not they print them."""

MAX_ATTRIBUTES: Final = 64 * 1024
"""Bytes of a data set without an image, of which real ones have a few hundred."""

MAX_LUT: Final = 256 * 1024
"""Bytes of the data set of a Presentation LUT, of which the largest table has half."""

MAX_REMEMBERED_JOBS: Final = 1000
"""Print jobs whose states can be asked for; the oldest are forgotten."""

_IMAGE_CLASSES: Final = (uids.GRAYSCALE_IMAGE_BOX, uids.COLOR_IMAGE_BOX)
_MODEL: Final = "dimse print server"

FilmHandler = Callable[[PrintedFilm], Awaitable[None]]
"""Prints a film; see `PrintServer.on_film`."""

_Answer = tuple[Dataset, Status]


class PrintServer:
    """Lets a `Server` accept print jobs (PS3.4 Annex H): each film is given to a handler.

    It is entered before the server listens, and waits for the films of its queue when it is left. Films are printed one
    at a time, in the order of their N-ACTIONs, after those have been answered; the SCU follows its job by N-GET, or by
    the events that it gets if the Print Job SOP Class was negotiated. What an SCU has made is deleted when its
    association ends; jobs are printed all the same.

    >>> server = Server("PRINTER", port=11112)
    >>> printer = PrintServer(server)
    >>> @printer.on_film
    ... async def film(film):
    ...     await film.save_png(f"{film.sop_instance_uid}.png")
    >>> server.run(within=printer)  # doctest: +SKIP
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._handler: FilmHandler | None = None
        self._sessions: dict[Association, PrintSession] = {}
        self._jobs: OrderedDict[str, PrintJob] = OrderedDict()
        self._queued: list[PrintedFilm] = []
        self._one_at_a_time = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] | None = None
        """None until it is entered."""
        self._register()

    def on_film(self, handler: FilmHandler) -> FilmHandler:
        """Register the handler of films: `async def handler(film: PrintedFilm) -> None`.

        The job of the film is done when it returns. An exception fails the job, and is logged.
        """
        if not inspect.iscoroutinefunction(handler):
            raise TypeError(f"the handler {getattr(handler, '__name__', handler)} must be an async def")
        self._handler = handler
        return handler

    async def __aenter__(self) -> Self:
        self._tasks = set()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = self._tasks or set()
        if error is not None:
            for task in tasks:
                task.cancel()
        while tasks:
            await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks = None

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that is awaited when this is left."""
        assert self._tasks is not None  # noqa: S101 - checked where a job begins
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _register(self) -> None:
        """Register the handlers of all requests of Annex H."""
        server, handled = self._server, self._handled
        small, lut = MAX_ATTRIBUTES, MAX_LUT
        of_session, of_lut = map(self._with_attributes, (PrintSession.create_session, PrintSession.create_lut))
        server.on_n_create(uids.FILM_SESSION, maximum_length=small)(handled(of_session))
        server.on_n_create(uids.FILM_BOX, maximum_length=small)(handled(self._create_film))
        server.on_n_create(uids.PRESENTATION_LUT, maximum_length=lut)(handled(of_lut))
        for sop_class, method in (
            (uids.FILM_SESSION, PrintSession.set_session),
            (uids.FILM_BOX, PrintSession.set_film),
            (uids.ANNOTATION_BOX, PrintSession.set_annotation),
        ):
            server.on_n_set(sop_class, maximum_length=small)(handled(self._with_attributes(method)))
        server.on_n_set(*_IMAGE_CLASSES, maximum_length=MAX_IMAGE_BYTES)(handled(self._set_image))
        server.on_n_delete(uids.FILM_SESSION)(handled(self._deleting(PrintSession.delete_session)))
        server.on_n_delete(uids.FILM_BOX)(handled(self._deleting(PrintSession.delete_film)))
        server.on_n_delete(uids.PRESENTATION_LUT)(handled(self._deleting(PrintSession.delete_lut)))
        server.on_n_action(uids.FILM_SESSION, uids.FILM_BOX)(handled(self._print))
        server.on_n_get(uids.PRINTER)(handled(self._get_printer))
        server.on_n_get(uids.PRINT_JOB)(handled(self._get_job))

    def _handled(self, answer: Callable[[NormalizedRequest], _Answer]) -> NormalizedHandler:
        """A handler that gives this answer."""

        async def handler(request: NormalizedRequest) -> NormalizedReply:
            dataset, status = answer(request)
            return NormalizedReply(dataset if len(dataset) else None, status=status)

        return handler

    def _with_attributes(
        self, method: Callable[[PrintSession, str, Dataset], _Answer]
    ) -> Callable[[NormalizedRequest], _Answer]:
        return lambda request: method(self._session(request), request.sop_instance_uid, request.dataset)

    def _deleting(self, method: Callable[[PrintSession, str], None]) -> Callable[[NormalizedRequest], _Answer]:
        def answer(request: NormalizedRequest) -> _Answer:
            method(self._session(request), request.sop_instance_uid)
            return Dataset(), Status.SUCCESS

        return answer

    def _session(self, request: NormalizedRequest) -> PrintSession:
        """What the SCU has made on its association; deleted when that ends."""
        association = request.association
        if association not in self._sessions:
            self._sessions[association] = PrintSession(uids.new_uid)
            exchange_of(association).over.add_done_callback(lambda _: self._sessions.pop(association, None))
        return self._sessions[association]

    def _create_film(self, request: NormalizedRequest) -> _Answer:
        is_color = request.abstract_syntax == uids.COLOR_PRINT_META
        image_class = uids.COLOR_IMAGE_BOX if is_color else uids.GRAYSCALE_IMAGE_BOX
        has_annotations = exchange_of(request.association).agreement.accepts(uids.ANNOTATION_BOX)
        annotations = ANNOTATION_BOXES if has_annotations else 0
        return self._session(request).create_film(request.sop_instance_uid, request.dataset, image_class, annotations)

    def _set_image(self, request: NormalizedRequest) -> _Answer:
        session = self._session(request)
        others = sum(each.size for each in self._sessions.values() if each is not session)
        room = MAX_HELD_BYTES - others
        return session.set_image(request.sop_class_uid, request.sop_instance_uid, request.dataset, room)

    def _get_printer(self, request: NormalizedRequest) -> _Answer:
        if request.sop_instance_uid != uids.PRINTER_INSTANCE:
            raise StatusError(Status.NO_SUCH_SOP_INSTANCE, "no such printer")
        printer = Dataset()
        printer.PrinterStatus = printer.PrinterStatusInfo = "NORMAL"
        printer.PrinterName = self._server.ae_title
        printer.Manufacturer, printer.ManufacturerModelName = "dimse", _MODEL
        printer.SoftwareVersions = uids.IMPLEMENTATION_VERSION_NAME
        return _asked_for(printer, request.attributes), Status.SUCCESS

    def _get_job(self, request: NormalizedRequest) -> _Answer:
        job = self._jobs.get(request.sop_instance_uid)
        if job is None:
            raise StatusError(Status.NO_SUCH_SOP_INSTANCE, "no such print job")
        return _asked_for(job.attributes, request.attributes), Status.SUCCESS

    def _print(self, request: NormalizedRequest) -> _Answer:
        """N-ACTION: queue the films, as one job."""
        if self._tasks is None or self._handler is None:
            raise RuntimeError("the PrintServer has no handler of films, or was not entered by `async with`")
        session, uid, action = self._session(request), request.sop_instance_uid, request.action_type_id
        is_session = request.sop_class_uid == uids.FILM_SESSION
        film_uids, status = (session.films_of_session if is_session else session.film_to_print)(uid, action)
        association = request.association
        job = PrintJob(uids.new_uid(), session.attributes, association.calling_ae_title)
        films = [session.printed(each, job.uid, association.calling_ae_title) for each in film_uids]
        if not self._has_room(films):
            raise StatusError(SESSION_QUEUE_FULL if is_session else FILM_QUEUE_FULL, "the print queue is full")
        self._queued += films
        self._jobs[job.uid] = job
        if len(self._jobs) > MAX_REMEMBERED_JOBS:
            self._jobs.popitem(last=False)
        self._start(self._run(job, films, association, self._handler))
        answer = Dataset()
        if exchange_of(association).agreement.accepts(uids.PRINT_JOB):  # CTN's SCU ends at a job that it cannot ask for
            answer.ReferencedPrintJobSequence = [reference(uids.PRINT_JOB, job.uid)]
        return answer, status

    def _has_room(self, films: list[PrintedFilm]) -> bool:
        all_films = [*self._queued, *films]
        return len(all_films) <= MAX_QUEUED_FILMS and sum(each.size for each in all_films) <= MAX_QUEUED_BYTES

    async def _run(
        self, job: PrintJob, films: list[PrintedFilm], association: Association, handler: FilmHandler
    ) -> None:
        """Print the films of a job, when those before it are printed, and report its states to the SCU."""
        async with self._one_at_a_time:
            job.enter(PrintJobState.PRINTING)
            reporting = self._start(self._report(job, association))
            try:
                state = await _end_of(films, handler)
            finally:
                self._queued = [each for each in self._queued if each not in films]
                films.clear()  # a silent SCU must not keep them in memory
        await reporting  # only now: a silent SCU must not hold up the jobs of others
        job.enter(state)
        await self._report(job, association)

    async def _report(self, job: PrintJob, association: Association) -> None:
        """Report the state of a job, if the SCU has negotiated that and is still there."""
        event = Dataset()
        event.ExecutionStatusInfo, event.PrinterName = job.attributes.ExecutionStatusInfo, self._server.ae_title
        try:
            scu = NormalizedSCU(association)
            await scu.event_report(uids.PRINT_JOB, job.uid, job.state.event_type, event)
        except PresentationContextError:
            return
        except DimseError as error:
            logger.info("%s: the state of a print job was not reported: %s", association.peer_name, error)


async def _end_of(films: list[PrintedFilm], handler: FilmHandler) -> PrintJobState:
    """Print the films of a job. Returns the state in which that ends."""
    try:
        for film in films:
            await handler(film)
    except Exception:
        logger.exception("the handler of films failed: the print job has failed")
        return PrintJobState.FAILURE
    return PrintJobState.DONE


def _asked_for(attributes: Dataset, tags: tuple[int, ...]) -> Dataset:
    """The attributes that an N-GET asks for; all if it names none."""
    found = Dataset()
    for tag in tags:
        if tag in attributes:
            found.add(attributes[tag])
    return found if tags else attributes
