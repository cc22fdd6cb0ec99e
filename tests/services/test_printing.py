"""Printing as a whole job, at our own print server and at printers that go wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from tests.print_samples import gray, image
from tests.sample_objects import save

from dimse import (
    DatasetError,
    FilmOptions,
    FilmResult,
    PresentationContextError,
    PrintedFilm,
    PrintFailed,
    PrintJobState,
    PrintServer,
    Server,
    print_images,
    printer_status,
)


@asynccontextmanager
async def printing(films: list[PrintedFilm], error: Exception | None = None) -> AsyncIterator[str]:
    """A print server that keeps its films, or fails; and its address."""
    server = Server("PRINTER", port=0)
    printer = PrintServer(server)

    @printer.on_film
    async def keep(film: PrintedFilm) -> None:
        films.append(film)
        if error is not None:
            raise error

    async with printer, server:
        yield f"PRINTER@localhost:{server.port}"


async def test_images_fill_films_in_their_order(tmp_path: Path) -> None:
    films = list[PrintedFilm]()
    results = list[FilmResult]()
    paths = [save(gray(20 * number), tmp_path / f"{number}.dcm") for number in range(1, 6)]
    async with printing(films) as address:
        options = FilmOptions(layout="1x2", size="A4", copies=2, label="Zürich")
        report = await print_images(address, paths, film=options, on_film=results.append)
    assert [(each.number, each.images, each.state) for each in results] == [
        (1, 2, PrintJobState.DONE),
        (2, 2, PrintJobState.DONE),
        (3, 1, PrintJobState.DONE),
    ]
    assert (list(report.films), report.warnings, report.failures) == (results, (), ())
    shown = [[int(each.pixels[0, 0]) for each in film.images] for film in films]
    assert shown == [[20, 40], [60, 80], [100]]
    assert {(str(film.layout), film.copies, film.attributes.FilmSizeID) for film in films} == {
        ("STANDARD\\1,2", 2, "A4")
    }
    assert films[0].session.FilmSessionLabel == "Zürich"
    lut = films[0].images[0].presentation_lut
    assert lut is not None
    assert lut.PresentationLUTShape == "IDENTITY"


async def test_frames_color_and_annotations() -> None:
    films = list[PrintedFilm]()
    frames = image(np.full((2, 4, 4), 1000), WindowCenter=1000, WindowWidth=1)
    red = image(np.full((4, 4, 3), (255, 0, 0)), bits=8, PhotometricInterpretation="RGB")
    texts = FilmOptions(annotation_format="LABEL", annotations=["one", "zwei é"])
    async with printing(films) as address:
        await print_images(address, [frames, red], film=texts)
        await print_images(address, red, color=False, film=FilmOptions(bits=12))
    in_color, in_gray = films
    assert [each.is_color for each in in_color.images] == [True] * 3
    assert str(in_color.layout) == "STANDARD\\2,2"
    assert in_color.images[2].pixels[0, 0].tolist() == [255, 0, 0]
    assert in_color.annotations == ("one", "zwei é")
    (pixel,) = {int(each) for each in in_gray.images[0].pixels.flat}
    assert (in_gray.images[0].is_color, pixel) == (False, round(0.299 * 4095))


async def test_collated_films_are_one_job() -> None:
    films = list[PrintedFilm]()
    async with printing(films) as address:
        report = await print_images(address, [gray(1), gray(2)], film=FilmOptions(layout="1x1", collate=True))
    assert [each.state for each in report.films] == [PrintJobState.DONE] * 2
    assert len({film.job_uid for film in films}) == 1


async def test_a_job_that_fails_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    async with printing([], OSError(28, "no space")) as address:
        with pytest.raises(PrintFailed, match=r"PRINTER@localhost:\d+: film 1: not printed"):
            await print_images(address, gray(1))
        report = await print_images(address, gray(1), raise_failures=False)
    assert [each.state for each in report.failures] == [PrintJobState.FAILURE]
    assert "the print job has failed" in caplog.text


async def test_images_that_cannot_be_printed_leave_nothing_behind() -> None:
    films = list[PrintedFilm]()
    broken = gray(1)
    broken.PixelData = b"ab"
    async with printing(films) as address:
        with pytest.raises(DatasetError, match="image 2: cannot be printed"):
            await print_images(address, [gray(1), broken])
        with pytest.raises(DatasetError, match="image 1: not an image"):
            await print_images(address, [Dataset()])
        with pytest.raises(ValueError, match="one image or more"):
            await print_images(address, [])
    assert films == []


async def test_the_state_of_a_printer() -> None:
    async with printing([]) as address:
        printer = await printer_status(address)
    assert (printer.status, printer.status_info, printer.name) == ("NORMAL", "NORMAL", "PRINTER")


async def test_a_peer_that_does_not_print() -> None:
    async with Server(port=0) as server:
        address = f"ANY@localhost:{server.port}"
        for job in (print_images(address, gray(1)), printer_status(address)):
            with pytest.raises(PresentationContextError):
                await job
