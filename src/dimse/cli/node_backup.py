"""`dimse node backup`: copies an archive, while it works."""

from __future__ import annotations

from argparse import ArgumentParser
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dimse.cli import arguments, exit_codes, node_archive, node_options
from dimse.cli.output import counted, duration, size
from dimse.cli.progress import CounterBar
from dimse.cli.report import Report

if TYPE_CHECKING:
    from dimse.node.backup import Backup, Step

EXIT_CODES: Final = (
    "0 the backup has everything; 1 the archive has lost or damaged an instance, each reported, or the backup could "
    "not be made; 2 wrong usage or a wrong configuration; 130 interrupted."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument("folder", metavar="DIR", type=Path, help="Folder of the backup; made if it is missing.")
    node_options.add_arguments(parser)
    arguments.add_json(parser)


def node_backup(*, folder: Path, data: Path | None, config: Path | None, json: bool) -> int:
    """Copy an archive into a folder, also while a node serves it.

    The backup has everything that was stored before it began, and can itself be served: dimse node --data DIR. Files
    that it has already are not copied again. Files that the archive no longer has are moved to DIR/removed.
    """
    report = _BackupReport(folder, json=json)
    with node_archive.opened(data, config) as (index, options), ExitStack() as stack:
        from dimse.node.backup import Backup

        with arguments.usage():
            backup = Backup(index, options.data, folder)
        if not json:
            stack.enter_context(report.bar.shown())
        for step in backup.steps():
            report.add(backup, step)
        stack.close()
    report.finish()
    return exit_codes.FAILED if report.counts["damaged"] or report.counts["missing"] else exit_codes.OK


class _BackupReport(Report):
    """Counts what became of the files."""

    def __init__(self, folder: Path, *, json: bool) -> None:
        super().__init__(json=json)
        self.bar = CounterBar("Copying")
        self._folder = folder

    def add(self, backup: Backup, step: Step) -> None:
        """Count what became of a file, and write it if it is of interest."""
        outcome = step.outcome.value
        self.counts[outcome] += 1
        if outcome == "copied":
            self.bytes += step.size
        if outcome != "same":
            fields = {"outcome": outcome, "path": step.path, "bytes": step.size}
            is_problem = outcome in ("damaged", "missing")
            self.write("file", fields, f"{outcome}: {step.path}" if is_problem else None, is_problem=True)
        done = self.counts["copied"] + self.counts["same"]
        self.bar.update(done, backup.total, f"{done}/{backup.total} files, {size(self.bytes)} copied")

    def finish(self) -> None:
        """Write the summary."""
        names = ("copied", "same", "damaged", "missing", "removed")
        fields = {name: self.counts[name] for name in names}
        totals = {"folder": str(self._folder), "bytes": self.bytes, "seconds": round(self.seconds, 3)}
        parts = [f"{counted(self.counts['copied'], 'file')} copied to {self._folder}"]
        parts += [f"{self.counts['same']} there before"] if self.counts["same"] else []
        parts += [f"{self.counts[name]} {name}" for name in names[2:] if self.counts[name]]
        self.write(
            "summary", {**fields, **totals}, f"{', '.join(parts)}: {size(self.bytes)} in {duration(self.seconds)}"
        )
