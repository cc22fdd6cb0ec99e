"""`dimse node import --from`: brings everything from another archive."""

from __future__ import annotations

from argparse import ArgumentParser
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dimse.address import Address
from dimse.cli import arguments, exit_codes, node_archive, query_options, requestor, runtime
from dimse.cli.node_archive import Use
from dimse.cli.output import counted, duration, print_error, reason, size
from dimse.cli.progress import CounterBar
from dimse.cli.report import Report
from dimse.configuration import KnownPeer

if TYPE_CHECKING:
    from dimse.node.importing_archive import ArchiveImport, Migrated

MAX_TOLD: Final = 5
"""Failures of a study that are written in a line each."""


def add_arguments(parser: ArgumentParser) -> None:
    """Define its arguments."""
    parser.add_argument(
        "--from",
        dest="archive",
        metavar="TITLE@HOST:PORT",
        type=arguments.checked(arguments.known_peer),
        help="Bring all studies of this archive, or of the one with this name in the configuration.",
    )
    parser.add_argument(
        "--receiver",
        metavar="TITLE@HOST:PORT",
        type=arguments.checked(Address.parse),
        help="--from: our address for C-MOVE, for an archive without C-GET, which must know it. [default: the "
        "--calling title, the address by which the archive is reached, port 11112]",
    )
    requestor.add_arguments(parser)
    query_options.add_timeout(parser, "10 for a match, 120 for an instance")


def migrate(
    *,
    archive: KnownPeer,
    receiver: Address | None,
    data: Path | None,
    config: Path | None,
    json: bool,
    timeout: float | None,
    **association: Any,
) -> int:
    """Bring all studies of an archive. Returns the exit code."""
    with arguments.usage():
        client = requestor.options(peer=archive, timeout=timeout, **association)
    with node_archive.opened(data, config, Use.MAKE) as (index, options):
        from dimse.node.importing_archive import ArchiveImport

        report = _MigrationReport(archive.address, json=json)
        migration = ArchiveImport(index, options, archive.address, client=client, receiver=receiver)
        return runtime.run(report.follow(migration))


class _MigrationReport(Report):
    """Counts studies that are `stored`, `skipped` and `failed`."""

    def __init__(self, address: Address, *, json: bool) -> None:
        super().__init__(json=json)
        self._address = address
        self._bar = CounterBar("Importing")
        self._instances = 0
        self._failed: list[str] = []

    async def follow(self, migration: ArchiveImport) -> int:
        """Write what becomes of each study, and the summary. Returns the exit code."""
        interrupted = False
        try:
            with ExitStack() as shown:
                if not self.is_json:
                    shown.enter_context(self._bar.shown())
                interrupted = await runtime.run_interruptibly(self._work(migration))
        except Exception as error:
            self._finish(reason(error))
            raise
        self._finish("interrupted" if interrupted else None)
        if interrupted:
            return exit_codes.INTERRUPTED
        return exit_codes.FAILED if self._failed else exit_codes.OK

    async def _work(self, migration: ArchiveImport) -> None:
        async for each in migration.run():
            self._add(each)
            done = self.counts.total()
            text = f"{done}/{migration.total} studies, {counted(self._instances, 'instance')}, {size(self.bytes)}"
            self._bar.update(done, migration.total, text)

    def _add(self, result: Migrated) -> None:
        outcome = "skipped" if result.is_skipped else "failed" if result.errors else "stored"
        self.counts[outcome] += 1
        self.bytes += result.bytes
        self._instances += result.stored
        errors = [reason(each, with_peer=False) for each in result.errors]
        fields = {
            "study_instance_uid": result.study_uid,
            "outcome": outcome,
            "listed": result.listed,
            "stored": result.stored,
            "here": result.here,
            "bytes": result.bytes,
            "errors": errors,
        }
        text = None
        if errors:
            self._failed.append(result.study_uid)
            more = [f"and {len(errors) - MAX_TOLD} more"] if len(errors) > MAX_TOLD else []
            count = f"{result.stored} of {result.listed} instances stored"
            text = f"failed: {result.study_uid}: {count}: {'; '.join([*errors[:MAX_TOLD], *more])}"
        self.write("study", fields, text, is_problem=True)

    def _finish(self, error: str | None) -> None:
        fields = {
            "address": str(self._address),
            **{name: self.counts[name] for name in ("stored", "skipped", "failed")},
            "instances": self._instances,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "failed_studies": self._failed,
        }
        parts = [f"{counted(self.counts['stored'], 'study', 'studies')} stored from {self._address}"]
        parts += [f"{self.counts['skipped']} here before"] if self.counts["skipped"] else []
        parts += [f"{self.counts['failed']} failed"] if self.counts["failed"] else []
        parts += [counted(self._instances, "instance")]
        text = f"{', '.join(parts)}: {size(self.bytes)} in {duration(self.seconds)}"
        self.write("summary", fields if error is None else fields | {"error": error}, text)
        for uid in self._failed if not self.is_json else ():
            print_error(f"failed: {uid}")
