"""`dimse print-server`."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.cli.conftest import COMMAND, TIMEOUT, Ended
from tests.ports import free_port
from tests.print_samples import gray
from tests.sample_objects import save

Dimse = Callable[..., Any]


class PrintServer:
    """A `dimse print-server` that runs during the test."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self.folder, self.port = folder, free_port()
        command = [*COMMAND, "print-server", str(folder), "--port", str(self.port), *map(str, arguments)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)  # noqa: S603 - our own
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()
        self.ended: Ended | None = None

    def end(self) -> Ended:
        if self.ended is None:
            self.process.send_signal(signal.SIGINT)
            out, err = self.process.communicate(timeout=TIMEOUT)
            self.ended = Ended(self.process.returncode, self.first_line + out, err)
        return self.ended


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., PrintServer]]:
    """Starts print servers, and ends them."""
    started: list[PrintServer] = []

    def start(*arguments: object) -> PrintServer:
        started.append(PrintServer(tmp_path / "films", *arguments))
        return started[-1]

    yield start
    for each in started:
        each.end()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save(gray(77), tmp_path / "image.dcm")


def test_films_are_written(dimse: Dimse, serve: Callable[..., PrintServer], path: Path) -> None:
    server = serve("--dpi", 20)
    text = f"Writing films into {server.folder}; print on it with: dimse print PRINTER@localhost:{server.port} PATH\n"
    assert server.first_line == text
    assert dimse("print", f"PRINTER@127.0.0.1:{server.port}", path, "--calling", "CT1").code == 0
    done = server.end()
    assert (done.code, done.err) == (0, "")
    _, film, summary = done.out.splitlines()
    (written,) = server.folder.iterdir()
    assert film.endswith(f"  {written.name}  1 image  from CT1")
    assert (summary, written.suffix) == ("1 film written", ".png")
    with Image.open(written) as picture:
        assert picture.size == (280, 340)
        assert picture.getpixel((140, 170)) == 77


def test_pdf_and_json(dimse: Dimse, serve: Callable[..., PrintServer], path: Path) -> None:
    server = serve("--pdf", "--json", "--title", "LASER", "--dpi", 20)
    assert dimse("print", f"WRONG@127.0.0.1:{server.port}", path).code == 3
    assert dimse("print", f"LASER@127.0.0.1:{server.port}", path, "--copies", 3).code == 0
    listening, film, summary = server.end().lines
    assert (listening["event"], listening["title"], listening["port"]) == ("listening", "LASER", server.port)
    (written,) = server.folder.iterdir()
    assert (film["event"], film["path"], film["copies"], film["layout"]) == ("film", written.name, 3, "STANDARD\\1,1")
    assert written.read_bytes().startswith(b"%PDF")
    assert (summary["written"], summary["failed"]) == (1, 0)


def test_a_film_that_cannot_be_written(dimse: Dimse, serve: Callable[..., PrintServer], path: Path) -> None:
    server = serve("--dpi", 20)
    server.folder.rmdir()
    assert dimse("print", f"ANY@127.0.0.1:{server.port}", path).code == 1
    done = server.end()
    assert done.code == 0
    assert "failed: a film from DIMSE: " in done.err
    assert done.out.splitlines()[-1] == "0 films written, 1 failed"


def test_wrong_usage(dimse: Dimse, tmp_path: Path) -> None:
    for arguments in ([], [tmp_path, "--dpi", 5], [tmp_path, "--png", "--pdf"]):
        assert dimse("print-server", *arguments).code == 2


def test_a_font_that_is_not_one_is_wrong_usage(dimse: Dimse, tmp_path: Path) -> None:
    ended = dimse("print-server", tmp_path / "films", "--font", tmp_path / "missing.ttf")
    assert (ended.code, ended.out) == (2, "")
    assert "missing.ttf cannot be used" in ended.err
    assert not (tmp_path / "films").exists()
