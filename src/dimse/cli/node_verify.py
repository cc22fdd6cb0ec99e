"""`dimse node verify`: compares the index of an archive with its files."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dimse.cli import arguments, exit_codes, node_archive, node_options
from dimse.cli.node_archive import Use
from dimse.cli.output import counted, duration, print_error, size
from dimse.cli.progress import CounterBar
from dimse.cli.report import Report

if TYPE_CHECKING:
    from dimse.node.repairing import Repairer
    from dimse.node.verifying import Finding, Verifier

EXIT_CODES: Final = (
    "0 index and files agree, or were made to; 1 something is wrong, or an instance is lost, each reported; 2 wrong "
    "usage or a wrong configuration; 130 interrupted."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    node_options.add_arguments(parser)
    parser.add_argument(
        "--digests", action="store_true", help="Also read each file, and compare its content with what was stored."
    )
    parser.add_argument(
        "--repair",
        action="store_true",
        help="Add files that the index does not have, remove instances without a file from it, and correct its "
        "counters. No file is deleted, and damaged files stay.",
    )
    arguments.add_json(parser)


def node_verify(*, data: Path | None, config: Path | None, digests: bool, repair: bool, json: bool) -> int:
    """Compare the index of an archive with its files.

    Each instance must have its file, with the length that it was stored with; each file must be in the index; and the
    counters must be right. A node may serve meanwhile. What is missing or damaged is also an event.
    """
    report = _VerifyReport(repairs=repair, json=json)
    with node_archive.opened(data, config, Use.CHANGE) as (index, options), ExitStack() as stack:
        from dimse.node.repairing import Repairer, note
        from dimse.node.verifying import Verifier

        verifier = Verifier(index, options.data, digests=digests)
        repairer: Repairer | None = None
        if repair:
            repairer = stack.enter_context(Repairer(index, options))
        if not json:
            stack.enter_context(report.bar.shown())
        for found in verifier.findings():
            mended: Collection[Finding] = repairer.repair(found) if repairer is not None and found else ()
            note(index, found, mended)
            report.add(verifier, found, mended)
        stack.close()
        report.finish(verifier)
    return exit_codes.FAILED if report.wrong else exit_codes.OK


class _VerifyReport(Report):
    """Counts faults, and what was mended."""

    def __init__(self, *, repairs: bool, json: bool) -> None:
        super().__init__(json=json)
        self.bar = CounterBar("Verifying")
        self._repairs = repairs
        self._lost = self._mendable = 0
        self.wrong = 0
        """What is not as it should be, and instances that are lost."""

    def add(self, verifier: Verifier, found: Sequence[Finding], mended: Collection[Finding]) -> None:
        """Write what was found of a study."""
        for each in found:
            is_mended = each in mended
            self.counts[each.fault.value] += 1
            self.counts["mended"] += is_mended
            self.wrong += each.is_loss or not is_mended
            self._lost += each.is_loss
            self._mendable += each.is_mendable
            fields = {
                "fault": each.fault.value,
                "study_instance_uid": each.study_uid or None,
                "series_instance_uid": each.series_uid or None,
                "sop_instance_uid": each.uid or None,
                "path": each.path or None,
                "mended": is_mended,
            }
            what = each.path or each.study_uid
            self.write(
                "finding", fields, f"{each.fault.value}: {what}{' (mended)' if is_mended else ''}", is_problem=True
            )
        done, total = verifier.instances, verifier.total
        self.bar.update(done, total, f"{done}/{total} instances, {size(verifier.bytes)}")

    def finish(self, verifier: Verifier) -> None:
        """Write the summary."""
        faults = {name: count for name, count in self.counts.items() if name != "mended"}
        fields = {
            "instances": verifier.instances,
            "bytes": verifier.bytes,
            "faults": faults,
            "mended": self.counts["mended"],
            "seconds": round(self.seconds, 3),
        }
        parts = [f"{counted(verifier.instances, 'instance')} verified, {size(verifier.bytes)}"]
        parts += [f"{count} {_with(name)}" for name, count in faults.items()] or ["nothing is wrong"]
        parts += [f"{self.counts['mended']} mended"] if self.counts["mended"] else []
        self.write("summary", fields, f"{', '.join(parts)}: {duration(self.seconds)}")
        if not self.is_json:
            for each in self._advice():
                print_error(f"dimse: {each}")

    def _advice(self) -> Iterator[str]:
        """What to do about what was found, unless it was to be mended."""
        if self.counts["unreadable"]:
            yield "look at the permissions, and at the disk, of files that are unreadable"
        if not self._repairs and self._lost > self.counts["unreadable"]:
            yield "copy files that are missing or damaged back from a backup, if there is one"
        if not self._repairs and self._mendable:
            mending = "adds files to the index, removes instances without a file from it, and corrects its counters"
            yield f"dimse node verify --repair {mending}"


def _with(fault: str) -> str:
    """A fault after a number of instances."""
    return fault if fault in ("unreadable", "not in the index") else f"with {fault}"
