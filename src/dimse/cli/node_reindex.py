"""`dimse node reindex`: rebuilds the index of an archive."""

from __future__ import annotations

from argparse import ArgumentParser
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dimse.cli import arguments, exit_codes, node_archive, node_options
from dimse.cli.output import counted, duration, print_error, reason_with_name, size
from dimse.cli.parser import UsageError
from dimse.cli.progress import CounterBar
from dimse.cli.report import Report

if TYPE_CHECKING:
    from dimse.node.reindexing import Indexed, Reindexing

EXIT_CODES: Final = (
    "0 each file is in the new index; 1 a file is not, or is damaged, each reported, or the archive is in use; 2 wrong "
    "usage or a wrong configuration; 130 interrupted."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    node_options.add_arguments(parser)
    arguments.add_json(parser)


def node_reindex(*, data: Path | None, config: Path | None, json: bool) -> int:
    """Rebuild the index of an archive from its files.

    Stop the node first. What the files do not say, such as events and which studies are settled, is taken from the old
    index, if that can be read. The new index replaces it when it is complete; no file is moved or deleted.
    """
    options = node_options.read(data, config)
    if not any((options.data / name).exists() for name in ("studies", "index.sqlite")) and options.index is None:
        raise UsageError(f"there is no archive in {options.data}; name its folder with --data")
    from dimse.node.reindexing import Reindexing

    report = _ReindexReport(json=json)
    with node_archive.usable(options), ExitStack() as stack:
        reindexing = Reindexing(options)
        if not json:
            stack.enter_context(report.bar.shown())
        for each in reindexing.results():
            report.add(reindexing, each)
    report.finish(reindexing)
    return exit_codes.FAILED if report.counts["failed"] or report.counts["damaged"] else exit_codes.OK


class _ReindexReport(Report):
    """Counts what became of the files."""

    def __init__(self, *, json: bool) -> None:
        super().__init__(json=json)
        self.bar = CounterBar("Indexing")

    def add(self, reindexing: Reindexing, result: Indexed) -> None:
        """Count what became of a file, and write it if it is of interest."""
        outcome = _outcome(result)
        self.counts[outcome] += 1
        self.bytes += result.size
        if outcome != "new":
            error = result.error
            fields = {"path": result.path, "outcome": outcome, "error": None if error is None else str(error)}
            text = f"{outcome}: {result.path if error is None else reason_with_name(result.path, error)}"
            self.write("file", fields, text, is_problem=True)
        done, total = self.counts.total(), reindexing.total
        of_total = "" if total is None else f"/{total}"
        self.bar.update(done, total, f"{done}{of_total} files, {done / self.seconds:.0f}/s")

    def finish(self, reindexing: Reindexing) -> None:
        """Write the summary."""
        seconds, done = self.seconds, self.counts.total()
        if reindexing.problem is not None:
            from dimse.node.new_index import DAMAGED
            from dimse.node.reindexing import NO_INDEX

            lost = "events, jobs, and instances that were imported in place, are missing"
            why, kept = "there is no old index", ""
            if reindexing.problem != NO_INDEX:
                why, kept = f"the old index cannot be read ({reindexing.problem})", f"; it is kept as {DAMAGED}"
            print_error(f"dimse: {why}: {lost}{kept}")
        fields = {
            "indexed": self.counts["new"],
            "same": self.counts["same"],
            "set_aside": self.counts["set aside"],
            "damaged": self.counts["damaged"],
            "failed": self.counts["failed"],
            "bytes": self.bytes,
            "seconds": round(seconds, 3),
            "problem": reindexing.problem,
        }
        parts = [f"{counted(self.counts['new'], 'instance')} indexed"]
        parts += [
            f"{self.counts[name]} {name}" for name in ("same", "set aside", "damaged", "failed") if self.counts[name]
        ]
        rate = f", {done / seconds:.0f} files/s" if seconds else ""
        self.write("summary", fields, f"{', '.join(parts)}: {size(self.bytes)} in {duration(seconds)}{rate}")


def _outcome(result: Indexed) -> str:
    """What became of a file; also of one that is in the index, and damaged."""
    if result.outcome is None:
        return "failed"
    return result.outcome.value if result.error is None else "damaged"
