"""Output of get, move and retrieve: a line per instance, and a summary at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from pathlib import Path
from time import perf_counter
from typing import Any

from dimse.address import Address
from dimse.cli import running
from dimse.cli.output import complain, counted, emit, reason, size, tell
from dimse.cli.progress import Counters
from dimse.errors import DimseError, NothingRetrieved, SubOperationFailed
from dimse.services.suboperations import SubOperations


class Tally:
    """Reports what comes from `address`; `done` says what was done with it: moved, retrieved."""

    def __init__(self, address: Address, done: str, json: bool) -> None:
        self._address, self._done, self._json = address, done, json
        self._counters = Counters("Retrieving")
        self._retrieved: int | None = 0
        """None where the peer does not say."""
        self._failed = self._bytes = 0
        self._refused = False

    async def over(self, work: Coroutine[Any, Any, bool]) -> int:
        """Do `work`, which says whether it was interrupted; tell what came of it, and give the exit code."""
        start = perf_counter()
        try:
            with self._counters.shown():
                interrupted = await work
        except (DimseError, OSError, asyncio.CancelledError) as error:
            self._finish(perf_counter() - start, running.why(error))
            raise
        self._finish(perf_counter() - start, "interrupted" if interrupted else None)
        if interrupted:
            return running.INTERRUPTED
        if self._retrieved == 0 and not self._failed and not self._refused:
            complain(f"dimse: nothing came: {self._address} has nothing that matches")
        return running.FAILED if self._failed or self._refused or self._retrieved == 0 else running.OK

    def came(self, uid: str, path: Path | None, total: int | None = None) -> None:
        """One instance is at `path`; there are `total` in all."""
        length = path.stat().st_size if path is not None else 0
        self._retrieved = (self._retrieved or 0) + 1
        self._bytes += length
        if self._json:
            emit(event="result", outcome="retrieved", sop_instance_uid=uid, path=str(path), bytes=length, error=None)
        of_total = "" if total is None else f"/{total}"
        self._counters.update(self._retrieved, total, f"{self._retrieved}{of_total} instances, {size(self._bytes)}")

    def count(self, suboperations: SubOperations) -> None:
        """The peer says how far it is."""
        retrieved, failed = suboperations.completed, suboperations.failed or 0
        self._retrieved = None if retrieved is None else retrieved + (suboperations.warning or 0)
        if self._json:
            emit(
                event="progress",
                remaining=suboperations.remaining,
                completed=retrieved,
                failed=suboperations.failed,
                warning=suboperations.warning,
            )
        self._counters.update((self._retrieved or 0) + failed, suboperations.total, str(suboperations))

    def failures(self, errors: Iterable[Exception], in_all: int | None = None) -> None:
        """Report what did not arrive, or why nothing did. The peer may name fewer than there are `in_all`."""
        for error in errors:
            if isinstance(error, NothingRetrieved):
                continue  # `over` says so
            why, uid = _why(error), error.sop_instance_uid if isinstance(error, SubOperationFailed) else None
            of_instance = isinstance(error, SubOperationFailed)
            if of_instance:
                self._failed += 1
            else:
                self._refused = True
            if self._json:
                emit(event="result", outcome="failed", sop_instance_uid=uid, path=None, bytes=0, error=why)
            else:
                complain(f"{'failed' if of_instance else 'dimse'}: {why}")
        self._failed = max(self._failed, in_all or 0)

    def _finish(self, seconds: float, why: str | None) -> None:
        if self._json:
            counts = {"retrieved": self._retrieved, "failed": self._failed, "bytes": self._bytes}
            error = {} if why is None else {"error": why}
            emit(event="summary", address=str(self._address), **counts, seconds=round(seconds, 3), **error)
            return
        is_untold = self._retrieved is None and not self._refused and why is None
        if not self._retrieved and not self._failed and not is_untold:
            return
        number = "instances" if self._retrieved is None else counted(self._retrieved, "instance")
        failed = f", {self._failed} failed" if self._failed else ""
        moved = f"{size(self._bytes)} in " if self._bytes else ""
        tell(f"{number} {self._done}{failed}: {moved}{seconds:.1f} s")


def _why(error: Exception) -> str:
    """The reason, with causes that it does not mention."""
    why, cause = reason(error), error.__cause__
    while cause is not None:
        why = why if reason(cause) in why else f"{why}: {reason(cause)}"
        cause = cause.__cause__
    return why
