"""`dimse node import`: puts files, or all of another archive, into an archive."""

from __future__ import annotations

import threading
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dimse.cli import arguments, exit_codes, node_archive, node_migration, node_options
from dimse.cli.node_archive import Use
from dimse.cli.output import counted, duration, print_error, reason, reason_with_name, size
from dimse.cli.parser import UsageError
from dimse.cli.progress import CounterBar
from dimse.cli.report import Report

if TYPE_CHECKING:
    from dimse.node.importing import Imported

EXIT_CODES: Final = (
    "0 everything is in the archive; 1 at least one failure, each reported, or nothing to import; 2 wrong usage or a "
    "wrong configuration; 3 no association with the other archive; 130 interrupted."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.usage = "dimse node import [options] PATH..."
    parser.add_argument(
        "paths", metavar="PATH", nargs="*", type=Path, help="Files, folders, DICOMDIRs and zip archives to import."
    )
    parser.add_argument(
        "--in-place",
        action="store_true",
        help="Leave the files where they are; the archive then reads them there, and never moves or deletes them.",
    )
    node_options.add_arguments(parser)
    node_migration.add_arguments(parser)
    arguments.add_json(parser)


def node_import(
    *, paths: Sequence[Path], in_place: bool, data: Path | None, config: Path | None, json: bool, **migration: Any
) -> int:
    """Put files, or all of another archive, into an archive.

    A node may serve the archive meanwhile. Files are copied, unless --in-place leaves them where they are. With --from,
    all studies of another archive are retrieved, by C-GET or C-MOVE; a study that is here with as many instances is
    skipped. After an interruption, run the same command again: nothing is imported twice.
    """
    if migration["archive"] is not None:
        if paths or in_place:
            raise UsageError("--from takes everything from another archive: leave out PATH and --in-place")
        return node_migration.migrate(data=data, config=config, json=json, **migration)
    if not paths:
        raise UsageError("import needs files or folders, or --from ARCHIVE: dimse node import PATH...")
    report = _ImportReport(json=json)
    with node_archive.opened(data, config, Use.MAKE) as (index, options):
        from dimse.node.importing import Importer

        with Importer(index, options, in_place=in_place) as importer:
            return report.follow(importer.run(paths), paths)


class _ImportReport(Report):
    """Counts outcomes, `failed` and `skipped`."""

    def __init__(self, *, json: bool) -> None:
        super().__init__(json=json)
        self._bar = CounterBar("Importing")
        self._total: int | None = None
        """Files to import, once they are counted."""

    def follow(self, results: Iterator[Imported], paths: Sequence[Path]) -> int:
        """Write each result, and the summary. Returns the exit code."""
        self.begin()
        error = None
        with ExitStack() as shown:
            if not self.is_json:
                threading.Thread(target=self._count, args=(paths,), daemon=True).start()
                shown.enter_context(self._bar.shown())
            try:
                for each in results:
                    self.add(each)
            except BaseException as failure:
                error = "interrupted" if isinstance(failure, KeyboardInterrupt) else reason(failure)
                raise
            finally:
                shown.close()
                self._finish(error)
        if not self._stored and not self.counts["failed"]:
            print_error("dimse: nothing to import: no DICOM files found")
        return exit_codes.FAILED if self.counts["failed"] or not self._stored else exit_codes.OK

    def _count(self, paths: Sequence[Path]) -> None:
        from dimse.dataset.discover import files

        self._total = sum(1 for _ in files(paths))

    def add(self, result: Imported) -> None:
        """Count a result, and write it."""
        from dimse.node.arrival import Outcome

        outcome = "skipped" if result.is_skipped else "failed"
        if result.outcome is not None:
            outcome = result.outcome.value
        self.counts["failed" if result.outcome is Outcome.REJECTED else outcome] += 1
        self.bytes += result.size
        error = None if result.error is None else reason(result.error)
        fields = {
            "name": result.name,
            "outcome": outcome,
            "sop_instance_uid": result.uid,
            "bytes": result.size,
            "error": error,
        }
        text = None
        if result.error is not None:
            text = f"{outcome}: {reason_with_name(result.name, result.error)}"
        elif result.outcome in (Outcome.SET_ASIDE, Outcome.REJECTED, Outcome.REPLACED):
            text = f"{outcome}: {result.name}: stored before, with other content"
        self.write("result", fields, text, is_problem=True)
        done = self.counts.total()
        of_total = "" if self._total is None else f"/{self._total}"
        self._bar.update(done, self._total, f"{done}{of_total} files, {done / self.seconds:.0f}/s, {size(self.bytes)}")

    @property
    def _stored(self) -> int:
        return self.counts.total() - self.counts["failed"] - self.counts["skipped"]

    def _finish(self, error: str | None) -> None:
        seconds = self.seconds
        counts = {name.replace(" ", "_"): self.counts[name] for name in _COUNTED}
        fields = {**counts, "bytes": self.bytes, "seconds": round(seconds, 3)}
        parts = [counted(self.counts["new"], "new instance")]
        parts += [f"{self.counts['same']} there before"] if self.counts["same"] else []
        parts += [f"{self.counts[name]} {name}" for name in _COUNTED[2:] if self.counts[name]]
        rate = f", {self.counts.total() / seconds:.0f} files/s" if seconds else ""
        text = f"{', '.join(parts)}: {size(self.bytes)} in {duration(seconds)}{rate}"
        self.write("summary", fields if error is None else fields | {"error": error}, text)


_COUNTED: Final = ("new", "same", "set aside", "replaced", "failed", "skipped")
