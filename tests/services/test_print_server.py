"""The print server, request by request, as SCUs use it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import pytest
from pydicom.dataset import Dataset
from tests.print_samples import gray, printed

from dimse import (
    Association,
    NormalizedRequest,
    NormalizedSCU,
    PrintedFilm,
    PrintServer,
    Server,
    Status,
    StatusError,
    connect,
    print_images,
    uids,
)
from dimse.dataset.pydicom_names import IGNORE, DataElement, tag_for_keyword
from dimse.services import print_server
from dimse.services.film_options import reference
from dimse.services.print_following import PrintJobs

META, JOB = (uids.GRAYSCALE_PRINT_META, uids.LITTLE_ENDIAN), (uids.PRINT_JOB, uids.LITTLE_ENDIAN)
COLOR = (uids.COLOR_PRINT_META, uids.LITTLE_ENDIAN)


class Printer:
    """A print server whose films wait until a test lets them go on."""

    def __init__(self) -> None:
        self.server = Server("PRINTER", port=0)
        self.print_server = PrintServer(self.server)
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.films: list[PrintedFilm] = []

        @self.print_server.on_film
        async def film(film: PrintedFilm) -> None:
            self.films.append(film)
            self.begun.set()
            await self.go_on.wait()

    @property
    def address(self) -> str:
        return f"PRINTER@localhost:{self.server.port}"


@asynccontextmanager
async def waiting_printer() -> AsyncIterator[Printer]:
    printer = Printer()
    async with printer.print_server, printer.server:
        yield printer
        printer.go_on.set()


def following(printer: Printer) -> AbstractAsyncContextManager[Association]:
    """An association on which events are answered."""
    return connect(printer.address, contexts=[META, JOB], services=PrintJobs().server)


def in_session(uid: str, layout: str = "STANDARD\\1,1") -> Dataset:
    given = Dataset()
    given.ImageDisplayFormat = layout
    given.ReferencedFilmSessionSequence = [reference(uids.FILM_SESSION, uid)]
    return given


async def film_box(scu: NormalizedSCU, layout: str = "STANDARD\\1,1") -> tuple[str, list[Dataset]]:
    """A film box in a new session, and the references to its image boxes."""
    session = await scu.create(uids.FILM_SESSION)
    made = await scu.create(uids.FILM_BOX, in_session(session.sop_instance_uid or "", layout))
    assert made.dataset is not None
    return made.sop_instance_uid or "", list(made.dataset.ReferencedImageBoxSequence)


async def print_one(scu: NormalizedSCU) -> str | None:
    """Print a film of one image; the UID of its job."""
    uid, (box,) = await film_box(scu)
    given = Dataset()
    given.BasicGrayscaleImageSequence = [printed(gray(40)).attributes()]
    await scu.set(uids.GRAYSCALE_IMAGE_BOX, box.ReferencedSOPInstanceUID, given)
    action = (await scu.action(uids.FILM_BOX, uid, 1)).dataset
    return None if action is None else action.ReferencedPrintJobSequence[0].ReferencedSOPInstanceUID


async def state_of(scu: NormalizedSCU, job: str) -> str:
    result = await scu.get(uids.PRINT_JOB, job, ["ExecutionStatus"])
    assert result.dataset is not None
    assert len(result.dataset) == 1
    return str(result.dataset.ExecutionStatus)


async def test_a_job_is_printing_until_the_handler_returns() -> None:
    async with waiting_printer() as printer, following(printer) as association:
        scu = NormalizedSCU(association)
        job = await print_one(scu)
        assert job is not None
        await printer.begun.wait()
        assert await state_of(scu, job) == "PRINTING"
        with pytest.raises(StatusError, match="no such print job"):
            await state_of(scu, "1.2.3")
        printer.go_on.set()
    assert [film.job_uid for film in printer.films] == [job]


async def test_events_tell_of_the_states() -> None:
    told, ended = list[tuple[int | None, str]](), asyncio.Event()
    services = Server()

    @services.on_n_event_report(uids.PRINT_JOB)
    async def event(request: NormalizedRequest) -> int:
        told.append((request.event_type_id, request.sop_instance_uid))
        if request.event_type_id == 3:
            ended.set()
        return Status.SUCCESS

    async with (
        waiting_printer() as printer,
        connect(printer.address, contexts=[META, JOB], services=services) as association,
    ):
        job = await print_one(NormalizedSCU(association))
        printer.go_on.set()
        await ended.wait()
    assert told == [(2, job), (3, job)]


async def test_an_scu_without_the_print_job_class_gets_no_reference_to_it() -> None:
    """CTN's SCU gives up where it gets one."""
    async with waiting_printer() as printer, connect(printer.address, contexts=[META]) as association:
        assert await print_one(NormalizedSCU(association)) is None
        await printer.begun.wait()


@pytest.mark.parametrize(("context", "kind"), [(META, uids.GRAYSCALE_IMAGE_BOX), (COLOR, uids.COLOR_IMAGE_BOX)])
async def test_image_boxes_are_of_the_class_of_the_context(context: tuple[str, tuple[str, ...]], kind: str) -> None:
    async with waiting_printer() as printer, connect(printer.address, contexts=[context]) as association:
        _, boxes = await film_box(NormalizedSCU(association), "STANDARD\\2,3")
    assert [box.ReferencedSOPClassUID for box in boxes] == [kind] * 6


async def test_a_film_session_is_of_its_association() -> None:
    async with waiting_printer() as printer:
        async with connect(printer.address, contexts=[META]) as association:
            uid, _ = await film_box(NormalizedSCU(association))
        async with connect(printer.address, contexts=[META]) as association:
            with pytest.raises(StatusError, match="no such film box"):
                await NormalizedSCU(association).action(uids.FILM_BOX, uid, 1)
            await film_box(NormalizedSCU(association))


async def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(print_server, "MAX_QUEUED_FILMS", 2)
    async with waiting_printer() as printer:
        for _ in range(2):
            await _print(printer)
        with pytest.raises(StatusError, match="0xC602"):
            await _print(printer)
        async with connect(printer.address, contexts=[META]) as association:
            scu = NormalizedSCU(association)
            session = await scu.create(uids.FILM_SESSION)
            await scu.create(uids.FILM_BOX, in_session(session.sop_instance_uid or ""))
            with pytest.raises(StatusError, match="0xC601"):
                await scu.action(uids.FILM_SESSION, session.sop_instance_uid or "", 1)
        printer.go_on.set()
        await print_images(printer.address, gray(1))


async def test_the_images_of_all_scus_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(print_server, "MAX_HELD_BYTES", 2 * len(printed(gray(40)).data))
    async with waiting_printer() as printer, AsyncExitStack() as stack:
        for _ in range(2):
            await print_one(NormalizedSCU(await stack.enter_async_context(connect(printer.address, contexts=[META]))))
        async with connect(printer.address, contexts=[META]) as association:
            with pytest.raises(StatusError, match="0xC605"):
                await print_one(NormalizedSCU(association))


async def test_a_silent_scu_keeps_no_film_in_memory() -> None:
    server, films, printed_all = Server("PRINTER", port=0), list[weakref.ref[PrintedFilm]](), asyncio.Event()
    printer, services, go_on = PrintServer(server), Server(), asyncio.Event()

    @printer.on_film
    async def film(film: PrintedFilm) -> None:
        films.append(weakref.ref(film))
        weakref.finalize(film, printed_all.set)

    @services.on_n_event_report(uids.PRINT_JOB)
    async def event(_: NormalizedRequest) -> int:
        await go_on.wait()
        return Status.SUCCESS

    async with (
        printer,
        server,
        connect(f"PRINTER@localhost:{server.port}", contexts=[META, JOB], services=services) as association,
    ):
        await print_one(NormalizedSCU(association))
        async with asyncio.timeout(5):
            await printed_all.wait()
        go_on.set()


@pytest.mark.parametrize("keyword", ["BorderDensity", "EmptyImageDensity", "MinDensity"])
async def test_a_number_of_many_digits(keyword: str) -> None:
    explicit = (uids.GRAYSCALE_PRINT_META, [uids.EXPLICIT_VR_LITTLE_ENDIAN])
    async with waiting_printer() as printer, connect(printer.address, contexts=[explicit]) as association:
        scu = NormalizedSCU(association)
        uid, _ = await film_box(scu)
        for digits, status in ((400, 0x0116), (5000, 0x0106)):
            given = Dataset()
            given.add(DataElement(tag_for_keyword(keyword) or 0, "UT", "9" * digits, validation_mode=IGNORE))
            try:
                answer = (await scu.set(uids.FILM_BOX, uid, given)).status
            except StatusError as error:
                answer = error.status
            assert answer == status


async def _print(printer: Printer) -> None:
    async with connect(printer.address, contexts=[META]) as association:
        await print_one(NormalizedSCU(association))


async def test_old_jobs_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(print_server, "MAX_REMEMBERED_JOBS", 1)
    async with waiting_printer() as printer:
        printer.go_on.set()
        jobs = []
        for _ in range(2):
            async with following(printer) as association:
                jobs.append(await print_one(NormalizedSCU(association)))
        async with following(printer) as association:
            assert await state_of(NormalizedSCU(association), jobs[1] or "")
            with pytest.raises(StatusError, match="no such print job"):
                await state_of(NormalizedSCU(association), jobs[0] or "")


async def test_films_are_printed_before_the_server_is_left() -> None:
    printer = Printer()
    async with printer.print_server, printer.server:
        await _print(printer)
        printer.go_on.set()
    assert len(printer.films) == 1


async def test_what_fails_in_the_block_is_raised_as_it_is() -> None:
    printer = Printer()

    async def fail() -> None:
        async with printer.print_server, printer.server:
            await _print(printer)
            await printer.begun.wait()
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await fail()


async def test_without_a_handler_nothing_is_printed(caplog: pytest.LogCaptureFixture) -> None:
    server = Server("PRINTER", port=0)
    PrintServer(server)
    async with server, connect(f"PRINTER@localhost:{server.port}", contexts=[META]) as association:
        with pytest.raises(StatusError, match="0x0110"):
            await print_one(NormalizedSCU(association))
    assert "has no handler of films" in caplog.text


async def test_other_printers_are_not_there() -> None:
    async with waiting_printer() as printer, connect(printer.address, contexts=[META]) as association:
        scu = NormalizedSCU(association)
        asked = await scu.get(uids.PRINTER, uids.PRINTER_INSTANCE, ["PrinterName", "InstitutionName"])
        assert asked.dataset is not None
        assert [each.keyword for each in asked.dataset] == ["PrinterName"]
        with pytest.raises(StatusError, match="no such printer"):
            await scu.get(uids.PRINTER, "1.2.3")


def test_the_handler_must_be_asynchronous() -> None:
    with pytest.raises(TypeError, match="must be an async def"):
        PrintServer(Server()).on_film(print)  # type: ignore[arg-type]
