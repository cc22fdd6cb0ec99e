"""`dimse print-server`: a printer that writes films to a folder, as PNG or PDF."""

from __future__ import annotations

from argparse import ArgumentParser
from contextlib import suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from time import strftime
from typing import Any, Final

from dimse.address import Address
from dimse.cli import acceptor, arguments, exit_codes, runtime
from dimse.cli.output import counted, print_error, reason
from dimse.cli.parser import UsageError
from dimse.cli.print import NEEDS
from dimse.cli.report import Report
from dimse.cli.serving import listens, stop, until_signals
from dimse.cli.unread import never_waiting
from dimse.services.print_server import PrintServer
from dimse.services.printed_film import DEFAULT_DPI, PrintedFilm
from dimse.services.server import Server

EXIT_CODES: Final = (
    "0 ended by Ctrl-C or SIGTERM, after open associations had ended and all films were written; 1 the port or the "
    "folder cannot be used; 2 wrong usage; 130 ended by a second Ctrl-C, which aborts open associations."
)

MAX_DPI: Final = 600
_TITLE: Final = "PRINTER"


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument("folder", metavar="DIR", type=Path, help="Output folder; created if missing.")
    acceptor.add_arguments(parser)
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument(
        "--png", dest="form", action="store_const", const="png", default="png", help="Write PNG files. [default]"
    )
    forms.add_argument("--pdf", dest="form", action="store_const", const="pdf", help="Write PDF files.")
    parser.add_argument(
        "--dpi",
        metavar="N",
        type=arguments.integer_from(10, MAX_DPI),
        default=DEFAULT_DPI,
        help="Pixels per inch of the film.",
    )
    parser.add_argument(
        "--font",
        metavar="FILE",
        type=Path,
        help="TrueType or OpenType font of annotations. [default: a font with Latin letters only]",
    )
    arguments.add_json(parser, "Print one JSON object per line.")


def print_server(
    *,
    folder: Path,
    port: int,
    host: str,
    title: str | None,
    form: str,
    dpi: int,
    font: Path | None,
    json: bool,
    **association: Any,
) -> int:
    """Accept print jobs, and write each film to a folder (Print Management SCP).

    A file has its name when it is whole. Films are written in the order in which they were printed.
    """
    if find_spec("numpy") is None or find_spec("PIL") is None:
        print_error(NEEDS)
        return exit_codes.USAGE
    _check_font(font)
    with arguments.usage():
        options = acceptor.options(title=title, **association)
        server = Server(title or _TITLE, host=host, port=port, options=options)
    arguments.make_folder(folder)
    report = FilmReport(folder, json=json)
    with never_waiting():
        return runtime.run(_serve(server, report, form, dpi=dpi, font=font))


def _check_font(path: Path | None) -> None:
    if path is None:
        return
    from PIL import ImageFont

    try:
        ImageFont.truetype(str(path))  # the oldest Pillow takes no path
    except OSError as error:
        raise UsageError(f"--font {path} cannot be used: {error}") from None


class FilmReport(Report):
    """Counts films that were `written` or `failed`."""

    def __init__(self, folder: Path, *, json: bool) -> None:
        super().__init__(json=json)
        self.folder = folder

    def listening(self, server: Server) -> None:
        """Write the first line: where the printer listens."""
        fields = {"host": server.host, "port": server.port, "title": server.ae_title, "into": str(self.folder)}
        address = Address(server.ae_title, server.host, server.port)
        text = f"Writing films into {self.folder}; print on it with: dimse print {address} PATH"
        self.write("listening", fields, text)

    def written(self, film: PrintedFilm, path: Path) -> None:
        """Count a film, and write a line about it."""
        self.counts["written"] += 1
        images = counted(len(film.images), "image")
        text = f"{strftime('%H:%M:%S')}  {path.name}  {images}  from {film.calling_ae_title}"
        self.write("film", _fields(film) | {"path": path.name}, text)

    def failed(self, film: PrintedFilm, error: Exception) -> None:
        """Count a film that could not be written, and write why."""
        self.counts["failed"] += 1
        fields = _fields(film) | {"error": reason(error)}
        self.write("failed", fields, f"failed: a film from {film.calling_ae_title}: {reason(error)}", is_problem=True)

    def finish(self) -> None:
        """Write the summary."""
        written, failed = self.counts["written"], self.counts["failed"]
        fields = {"written": written, "failed": failed, "seconds": round(self.seconds, 3)}
        self.write("summary", fields, f"{counted(written, 'film')} written" + (f", {failed} failed" if failed else ""))


def _fields(film: PrintedFilm) -> dict[str, Any]:
    return {
        "sop_instance_uid": film.sop_instance_uid,
        "calling_ae_title": film.calling_ae_title,
        "images": len(film.images),
        "layout": str(film.layout),
        "copies": film.copies,
    }


async def _serve(server: Server, report: FilmReport, form: str, **drawing: Any) -> int:
    printer, numbers = PrintServer(server), count(1)

    @printer.on_film
    async def write(film: PrintedFilm) -> None:
        path = report.folder / f"{strftime('%Y%m%d-%H%M%S')}-{next(numbers):04}.{form}"
        try:
            await (film.save_pdf if form == "pdf" else film.save_png)(path, **drawing)
        except Exception as error:
            report.failed(film, error)
            raise
        with suppress(OSError):  # nobody reads the lines any more; the film is printed all the same
            report.written(film, path)

    with until_signals() as (stopping, aborting):
        async with printer:
            if not await listens(server, json=report.is_json):
                return exit_codes.FAILED
            report.listening(server)
            await stopping.wait()
            await stop(server, aborting)
    report.finish()
    return exit_codes.INTERRUPTED if aborting.is_set() else exit_codes.OK
