"""The report of get, move and retrieve: each instance, and each failure."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any

from dimse.address import Address
from dimse.cli import exit_codes
from dimse.cli.output import counted, next_step, print_error, reason_of_end, reason_with_causes, size
from dimse.cli.progress import CounterBar
from dimse.cli.report import Report
from dimse.errors import DimseError, NothingRetrieved, SubOperationFailed
from dimse.services.suboperations import SubOperations


class RetrievingReport(Report):
    """Counts retrieved and failed instances, by itself or as the peer does, `existing` ones and `refused` operations.

    `done` ends the sentence `3 instances ...`.
    """

    def __init__(self, address: Address, done: str, *, json: bool) -> None:
        super().__init__(json=json)
        self._address = address
        self._done = done
        self._bar = CounterBar("Retrieving")
        self._retrieved: int | None = 0
        """None if the peer does not send the number."""
        self._failed = 0

    async def follow(self, work: Coroutine[Any, Any, bool]) -> int:
        """Run `work`, which returns whether it was interrupted, and write the summary. Returns the exit code."""
        self.begin()
        try:
            with self._bar.shown():
                interrupted = await work
        except (DimseError, OSError, asyncio.CancelledError) as error:
            self._finish(reason_of_end(error))
            raise
        self._finish("interrupted" if interrupted else None)
        if interrupted:
            return exit_codes.INTERRUPTED
        has_failed = bool(self._failed or self.counts["refused"])
        is_nothing = self._retrieved == 0 and not self.counts["existing"]
        if is_nothing and not has_failed:
            print_error(f"dimse: nothing retrieved: no matching instances at {self._address}")
        return exit_codes.FAILED if has_failed or is_nothing else exit_codes.OK

    def add(self, uid: str, path: Path | None, total: int | None = None) -> None:
        """Count an instance that was retrieved to `path`, one of `total`, and write it."""
        length = path.stat().st_size if path is not None else 0
        self._retrieved = (self._retrieved or 0) + 1
        self.bytes += length
        self._write_result("retrieved", uid, path=str(path), length=length)
        of_total = "" if total is None else f"/{total}"
        self._bar.update(self._retrieved, total, f"{self._retrieved}{of_total} instances, {size(self.bytes)}")

    def add_existing(self, uid: str, path: Path) -> None:
        """Count an instance that was at `path` before, and write it."""
        self.counts["existing"] += 1
        self._write_result("existing", uid, path=str(path), length=path.stat().st_size)
        self._bar.update(0, None, f"{counted(self.counts['existing'], 'instance')} already here")

    def update(self, suboperations: SubOperations) -> None:
        """Take the peer's counters, and write them."""
        completed, failed = suboperations.completed, suboperations.failed
        self._retrieved = None if completed is None else completed + (suboperations.warning or 0)
        fields = {
            "remaining": suboperations.remaining,
            "completed": completed,
            "failed": failed,
            "warning": suboperations.warning,
        }
        self.write("progress", fields, None)
        self._bar.update((self._retrieved or 0) + (failed or 0), suboperations.total, str(suboperations))

    def add_failures(self, errors: Iterable[Exception], total: int | None = None) -> None:
        """Count and write failures. The peer may count more of them (`total`) than it names."""
        for error in errors:
            if isinstance(error, SubOperationFailed):
                self._failed += 1
                self._write_result("failed", error.sop_instance_uid, error=error)
            elif not isinstance(error, NothingRetrieved):  # `follow` reports that
                self.counts["refused"] += 1
                self._write_result("failed", None, error=error)
        self._failed = max(self._failed, total or 0)

    def _write_result(
        self, outcome: str, uid: str | None, path: str | None = None, length: int = 0, error: Exception | None = None
    ) -> None:
        why = None if error is None else reason_with_causes(error) + next_step(error)
        fields = {"outcome": outcome, "sop_instance_uid": uid, "path": path, "bytes": length, "error": why}
        prefix = "failed" if isinstance(error, SubOperationFailed) else "dimse"
        self.write("result", fields, None if why is None else f"{prefix}: {why}", is_problem=True)

    def _finish(self, error: str | None) -> None:
        seconds = self.seconds
        fields = {
            "address": str(self._address),
            "retrieved": self._retrieved,
            "existing": self.counts["existing"],
            "failed": self._failed,
            "bytes": self.bytes,
            "seconds": round(seconds, 3),
        }
        is_unknown = self._retrieved is None and not self.counts["refused"] and error is None
        is_of_interest = self._retrieved or self._failed or self.counts["existing"] or is_unknown
        self.write(
            "summary",
            fields if error is None else fields | {"error": error},
            self._summary(seconds) if is_of_interest else None,
        )

    def _summary(self, seconds: float) -> str:
        number = "instances" if self._retrieved is None else counted(self._retrieved, "instance")
        failed = f", {self._failed} failed" if self._failed else ""
        existing = self.counts["existing"]
        if existing:
            total = existing + (self._retrieved or 0) + self._failed
            number = f"{existing} of {counted(total, 'instance')} already here, {self._retrieved or 'none'}"
        amount = f"{size(self.bytes)} in " if self.bytes else ""
        return f"{number} {self._done}{failed}: {amount}{seconds:.1f} s"
