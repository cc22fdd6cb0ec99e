"""The report of get, move and retrieve: each instance, and each failure."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from dimse.address import Address
from dimse.cli import exit_codes
from dimse.cli.output import counted, duration, print_error, reason_of_end, reason_with_causes, size
from dimse.cli.progress import CounterBar
from dimse.cli.report import Report
from dimse.errors import DimseError, SubOperationFailed
from dimse.messages.suboperations import SubOperations
from dimse.services.bringing_record import RetrieveResult


class RetrievingReport(Report):
    """Counts retrieved and failed instances, by itself or as the peer does, `existing` ones and `refused` operations.

    `done` ends the sentence `3 instances ...`, `doing` begins the progress bar.
    """

    def __init__(self, address: Address, done: str, doing: str = "Retrieving", *, json: bool) -> None:
        super().__init__(json=json)
        self._address = address
        self._done = done
        self._bar = CounterBar(doing)
        self._retrieved: int | None = 0
        """None if the peer does not send the number."""
        self._named = 0
        """Failed instances that were reported."""
        self._counters = SubOperations()
        """The last ones of the peer."""

    @property
    def _failed(self) -> int:
        """The peer may count more than it names."""
        return max(self._named, self._counters.failed or 0)

    async def follow(self, work: Coroutine[Any, Any, bool]) -> int:
        """Run `work`, which returns whether it was interrupted, and write the summary. Returns the exit code."""
        self.begin()
        try:
            with nullcontext() if self.is_json else self._bar.shown():
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

    def add_result(self, result: RetrieveResult) -> None:
        """Count and write what became of an instance, or the failure of a query."""
        if result.error is not None:
            self._add_failure(result.error)
        elif result.existing:
            self._add_existing(result.sop_instance_uid, result.path)
        else:
            self._add(result.sop_instance_uid, result.path)

    def _add(self, uid: str, path: Path | None) -> None:
        length = path.stat().st_size if path is not None else 0
        self._retrieved = (self._retrieved or 0) + 1
        self.bytes += length
        self._write_result("retrieved", uid, path=str(path), length=length)
        self._show()

    def _show(self) -> None:
        total = self._counters.total
        of_total = "" if total is None else f"/{total}"
        text = f"{self._retrieved}{of_total} instances, {size(self.bytes)}, {size(self.bytes / self.seconds)}/s"
        self._bar.update(self._retrieved or 0, total, text)

    def _add_existing(self, uid: str, path: Path | None) -> None:
        self.counts["existing"] += 1
        self._write_result("existing", uid, path=str(path), length=path.stat().st_size if path is not None else 0)
        self._bar.update(0, None, f"{counted(self.counts['existing'], 'instance')} already here")

    def expect(self, suboperations: SubOperations) -> None:
        """Take the counters of instances that are received here."""
        self._counters = suboperations
        self._show()

    def update(self, suboperations: SubOperations) -> None:
        """Take the peer's counters, and write them: they alone say how many it has moved."""
        self._counters = suboperations
        completed, failed = suboperations.completed, suboperations.failed
        self._retrieved = None if completed is None else completed + (suboperations.warning or 0)
        fields = {
            "remaining": suboperations.remaining,
            "completed": completed,
            "failed": failed,
            "warning": suboperations.warning,
        }
        self.write("progress", fields, None)
        of_total = "" if suboperations.total is None else f"/{suboperations.total}"
        text = f"{self._retrieved or 0}{of_total} instances" + (f", {failed} failed" if failed else "")
        self._bar.update((self._retrieved or 0) + (failed or 0), suboperations.total, text)

    def _add_failure(self, error: Exception) -> None:
        if isinstance(error, SubOperationFailed):
            self._named += 1
            self._write_result("failed", error.sop_instance_uid, error=error)
        else:
            self.counts["refused"] += 1
            self._write_result("failed", None, error=error)

    def _write_result(
        self, outcome: str, uid: str | None, path: str | None = None, length: int = 0, error: Exception | None = None
    ) -> None:
        why = None if error is None else reason_with_causes(error)
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
        existing, done = self.counts["existing"], self._done
        if existing:
            total = existing + (self._retrieved or 0) + self._failed
            number = f"{existing} of {counted(total, 'instance')} already here, {self._retrieved or 'none'}"
            done = done if self._retrieved else "retrieved"
        amount = f"{size(self.bytes)} in " if self.bytes else ""
        return f"{number} {done}{failed}: {amount}{duration(seconds)}"
