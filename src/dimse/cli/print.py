"""`dimse print`: prints images on films, and follows the jobs; or shows the state of a printer."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

import dimse
from dimse.address import Address
from dimse.cli import arguments, exit_codes, requestor, runtime
from dimse.cli.output import counted, duration, print_error, print_json, print_line, reason_of_end
from dimse.cli.parser import UsageError
from dimse.cli.report import Report
from dimse.dataset.discover import NotSent, discover
from dimse.dataset.sources import FileSource
from dimse.dataset.threads import in_thread
from dimse.errors import DatasetError
from dimse.options import ClientOptions, Strictness
from dimse.services.film_options import MAX_COPIES, FilmOptions, FilmOrientation, Magnification, PrintPriority
from dimse.services.printing import FOLLOWED, FilmResult, in_words

EXIT_CODES: Final = (
    "0 everything was printed, or the printer has taken it and does not tell more; 1 at least one failure, each "
    "reported; 2 wrong usage; 3 no association, or it was lost; 130 interrupted."
)

MAGNIFICATIONS: Final = {each.value.lower(): each for each in Magnification}
PRIORITIES: Final = {each.name.lower(): each for each in PrintPriority}
NEEDS: Final = 'dimse: printing needs numpy and pillow; install them with: pip install "dimse[print]"'


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    arguments.add_address(parser, "Printer")
    parser.add_argument(
        "paths", metavar="PATH", nargs="*", help="File, folder or DICOMDIR of images, printed in this order."
    )
    parser.add_argument("--status", action="store_true", help="Show the state of the printer, and print nothing.")
    _add_film(parser)
    parser.add_argument(
        "--follow",
        metavar="SECONDS",
        type=arguments.seconds_from_zero,
        default=FOLLOWED,
        help="Follow the jobs for this many seconds; what is not printed then is a failure.",
    )
    requestor.add_arguments(parser, Strictness.LENIENT)
    arguments.add_timeout(parser, "Abort after this many seconds without progress.", default=30)
    arguments.add_json(parser, "Print one JSON object per line.")


def _add_film(parser: ArgumentParser) -> None:
    """What the films are to look like."""
    group = parser.add_argument_group("films", "What is not given is left to the printer.")
    group.add_argument(
        "--layout",
        metavar="COLUMNSxROWS",
        help="Images of a film, such as 3x4; or an Image Display Format such as 'ROW\\2,3'. [default: the smallest "
        "common one with room for all images]",
    )
    group.add_argument("--landscape", action="store_true", help="Use the film in landscape, not in portrait.")
    group.add_argument("--film-size", metavar="SIZE", help="Film size, such as 14INX17IN, 24CMX30CM or A4.")
    group.add_argument(
        "--magnification",
        metavar="|".join(MAGNIFICATIONS),
        type=arguments.one_of(MAGNIFICATIONS),
        help="How images are enlarged.",
    )
    group.add_argument(
        "--copies", metavar="N", type=arguments.integer_from(1, MAX_COPIES), default=1, help="Copies of each film."
    )
    group.add_argument(
        "--priority", metavar="|".join(PRIORITIES), type=arguments.one_of(PRIORITIES), help="Priority of the job."
    )
    group.add_argument("--medium", metavar="TYPE", help="Medium, such as PAPER or 'BLUE FILM'.")
    group.add_argument("--destination", metavar="NAME", help="Where films go, such as MAGAZINE, PROCESSOR or BIN_1.")
    group.add_argument("--label", metavar="TEXT", help="Label of the film session.")
    group.add_argument(
        "--annotation",
        metavar="TEXT",
        dest="annotations",
        action="append",
        default=[],
        help="Text of an annotation box of each film. Repeat the option for several.",
    )
    group.add_argument("--annotation-format", metavar="ID", help="Annotation Display Format ID of the printer.")
    group.add_argument("--border", metavar="DENSITY", help="Density around images: BLACK, WHITE or hundredths of OD.")
    group.add_argument("--empty", metavar="DENSITY", help="Density of places without an image.")
    group.add_argument("--trim", action="store_true", default=None, help="Draw a line around each image.")
    group.add_argument("--bits", metavar="8|12", type=int, default=8, help="Bits of each grayscale value.")
    group.add_argument("--collate", action="store_true", help="Print all films by one request; few printers can.")
    colors = group.add_mutually_exclusive_group()
    colors.add_argument(
        "--color", action="store_true", default=None, help="Print in color. [default: if an image is in color]"
    )
    colors.add_argument("--gray", dest="color", action="store_false", help="Print in grayscale.")


def print(  # noqa: A001 - a command is a function of its name
    address: Address,
    paths: Sequence[str],
    *,
    status: bool,
    color: bool | None,
    follow: float,
    timeout: float | None,
    landscape: bool,
    film_size: str | None,
    border: str | None,
    empty: str | None,
    json: bool,
    **more: Any,
) -> int:
    """Print images on films (Print Management).

    Images are windowed as their files say, and fill films of the layout in their order. Each job is followed until the
    printer has printed it.
    """
    if status == bool(paths):
        raise UsageError("print needs images to print: dimse print PRINTER@HOST PATH...; or --status, without any")
    with arguments.usage():
        film = FilmOptions(
            orientation=FilmOrientation.LANDSCAPE if landscape else FilmOrientation.PORTRAIT,
            size=film_size,
            border_density=border,
            empty_density=empty,
            **{name: more.pop(name) for name in _OF_FILM},
        )
        options = requestor.options(timeout=timeout, **more)
    if status:
        return runtime.run(_status(address, options, json=json))
    if find_spec("numpy") is None:
        print_error(NEEDS)
        return exit_codes.USAGE
    report = PrintingReport(address, json=json)
    job = partial(dimse.print_images, address, film=film, color=color, follow=follow, options=options)
    return runtime.run(_print(paths, job, report))


_OF_FILM: Final = (
    *("layout", "magnification", "copies", "priority", "medium", "destination", "label", "annotations"),
    *("annotation_format", "trim", "bits", "collate"),
)


class PrintingReport(Report):
    """Counts films that were `printed`, were `taken`, or `failed`."""

    def __init__(self, address: Address, *, json: bool) -> None:
        super().__init__(json=json)
        self._address = address

    def add(self, film: FilmResult) -> None:
        """Count a film, and write what became of it."""
        self.counts["failed" if film.failed else "printed"] += 1
        fields = {"film": film.number, "images": film.images, "state": film.state.value, "info": film.info}
        self.write("film", fields, in_words(film), is_problem=film.failed)

    def warning(self, text: str) -> None:
        """Write what the printer has warned of."""
        self.write("warning", {"warning": text}, f"warning: {text}", is_problem=True)

    def finish(self, error: str | None = None) -> None:
        """Write the summary. `error` is the reason if the job ended early."""
        printed, failed = self.counts["printed"], self.counts["failed"]
        fields = {"address": str(self._address), "printed": printed, "failed": failed}
        fields |= {"seconds": round(self.seconds, 3)} | ({} if error is None else {"error": error})
        text = f"{counted(printed, 'film')} printed at {self._address}" + (f", {failed} failed" if failed else "")
        self.write("summary", fields, f"{text}: {duration(self.seconds)}" if error is None else None)


async def _print(paths: Sequence[str], job: Any, report: PrintingReport) -> int:
    images = await in_thread(lambda: _files(paths))
    report.begin()
    try:
        with runtime.cancelled_by_closed_pipe(report.add) as on_film:
            done = await job(images, on_film=on_film, raise_failures=False)
    except BaseException as error:
        report.finish(reason_of_end(error))
        raise
    for text in done.warnings:
        report.warning(text)
    report.finish()
    return exit_codes.FAILED if done.failures else exit_codes.OK


def _files(paths: Sequence[str]) -> list[str]:
    """The files at and below the paths. Raises the error of the first that cannot be read."""
    files = []
    for found in discover(paths):
        if isinstance(found, FileSource):
            files.append(found.path)
        elif not isinstance(found, NotSent):
            raise DatasetError(f"{found.name}: in an archive; unpack it to print it")
        elif not found.skipped:
            raise found.error
    if not files:
        raise DatasetError("nothing to print: no DICOM files found")
    return files


async def _status(address: Address, options: ClientOptions, *, json: bool) -> int:
    printer = await dimse.printer_status(address, options=options)
    if json:
        print_json(event="printer", address=str(address), **vars(printer))
    else:
        about = " ".join(filter(None, [printer.manufacturer, printer.model, printer.software]))
        why = "" if printer.status_info in ("", "NORMAL") else f" ({printer.status_info})"
        name = f"{printer.name}: " if printer.name else ""
        print_line(f"{address}: {printer.status}{why}")
        if about or name:
            print_line(f"{name}{about}")
    return exit_codes.FAILED if printer.status == "FAILURE" else exit_codes.OK
