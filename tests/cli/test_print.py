"""`dimse print`, at our own print server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.print_samples import gray
from tests.sample_objects import save

from dimse import PrintedFilm, PrintServer, Server

Beside = Callable[..., Awaitable[Any]]
Dimse = Callable[..., Any]


@asynccontextmanager
async def printing(films: list[PrintedFilm], *, fails: bool = False) -> AsyncIterator[str]:
    """A print server, and its address."""
    server = Server("PRINTER", port=0)
    printer = PrintServer(server)

    @printer.on_film
    async def keep(film: PrintedFilm) -> None:
        films.append(film)
        if fails:
            raise OSError(28, "no space")

    async with printer, server:
        yield f"PRINTER@127.0.0.1:{server.port}"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with three images, and a file that is not DICOM."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in (1, 2, 3):
        save(gray(20 * number), folder / f"{number}.dcm")
    (folder / "notes.txt").write_text("not DICOM")
    return folder


async def test_films_and_their_states(beside: Beside, images: Path) -> None:
    films = list[PrintedFilm]()
    async with printing(films) as address:
        done = await beside(
            *("print", address, images, "--layout", "1x2", "--film-size", "A4", "--landscape", "--copies", 2),
            *("--priority", "high", "--medium", "PAPER", "--destination", "BIN_1", "--label", "Ward", "--trim"),
            *("--border", "WHITE", "--empty", "20", "--magnification", "cubic", "--bits", 12),
            *("--annotation-format", "LABEL", "--annotation", "one"),
        )
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[:2] == ["film 1: printed", "film 2: printed"]
    assert done.out.splitlines()[2].startswith(f"2 films printed at {address}: ")
    assert [len(film.images) for film in films] == [2, 1]
    film = films[0]
    box, session = film.attributes, film.session
    assert (box.FilmSizeID, box.FilmOrientation, box.Trim, box.BorderDensity) == ("A4", "LANDSCAPE", "YES", "WHITE")
    assert (box.EmptyImageDensity, box.MagnificationType, film.annotations) == ("20", "CUBIC", ("one",))
    assert (session.PrintPriority, session.MediumType, session.FilmDestination) == ("HIGH", "PAPER", "BIN_1")
    assert (session.FilmSessionLabel, film.copies, film.images[0].image.BitsStored) == ("Ward", 2, 12)


async def test_json_lines(beside: Beside, images: Path) -> None:
    async with printing([]) as address:
        done = await beside("print", address, images, "--json", "--gray")
    film, summary = done.lines
    assert film == {"event": "film", "film": 1, "images": 3, "state": "DONE", "info": "NORMAL"}
    assert summary.pop("seconds") > 0
    assert summary == {"event": "summary", "address": address, "printed": 1, "failed": 0}


async def test_failures(beside: Beside, images: Path) -> None:
    async with printing([], fails=True) as address:
        done = await beside("print", address, images)
        assert (done.code, done.err) == (1, "film 1: not printed (UNKNOWN)\n")
        assert done.out.startswith(f"0 films printed at {address}, 1 failed: ")
        missing = await beside("print", address, images / "none.dcm")
        assert (missing.code, missing.out) == (1, "")
        assert "none.dcm" in missing.err
        nothing = await beside("print", address, images / "notes.txt")
        assert nothing.code == 1
        refused = await beside("print", address, images, "--film-size", "HUGE", "--json")
        assert {"event": "warning", "warning": "film 1: 0x0116 Attribute value out of range"} in refused.lines


async def test_the_state_of_the_printer(beside: Beside) -> None:
    async with printing([]) as address:
        done = await beside("print", address, "--status")
        assert (done.code, done.err) == (0, "")
        assert done.out.splitlines()[0] == f"{address}: NORMAL"
        (told,) = (await beside("print", address, "--status", "--json")).lines
    assert (told["event"], told["status"], told["name"]) == ("printer", "NORMAL", "PRINTER")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["print", "A@localhost"], "needs images to print"),
        (["print", "A@localhost", "a.dcm", "--status"], "needs images to print"),
        (["print", "A@localhost", "a.dcm", "--layout", "many"], "layout must be"),
        (["print", "A@localhost", "a.dcm", "--bits", "10"], "bits must be 8 or 12"),
        (["print", "A@localhost", "a.dcm", "--annotation", "text"], "annotation_format"),
    ],
)
def test_wrong_usage(dimse: Dimse, arguments: list[str], text: str) -> None:
    done = dimse(*arguments)
    assert (done.code, done.out) == (2, "")
    assert text in done.err


def test_nobody_listens(dimse: Dimse, closed_port: int, images: Path, refused: str) -> None:
    done = dimse("print", f"A@127.0.0.1:{closed_port}", images)
    assert (done.code, done.err) == (3, refused)
