"""The instances of a retrieval: which have arrived, which are missing, and why."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dimse.callbacks import Callback
from dimse.errors import AssociationError, NothingRetrieved, RemoteProtocolError, SubOperationFailed
from dimse.messages.suboperations import SubOperations
from dimse.services.bringing_existing import existing_files
from dimse.services.get_scu import GetResults
from dimse.services.listing import Listing, RetrieveMethod, can_be_asked_for
from dimse.services.move_scu import MoveResults
from dimse.services.store_request import StoreRequest
from dimse.status import Status

logger = logging.getLogger("dimse.query_retrieve")

_SYNTAX: Final = re.compile(r"1\.2\.840\.10008\.1\.2(?:\.[0-9]+)*")

Syntaxes = Mapping[str, Sequence[str]]
"""Transfer syntaxes by SOP Class UID."""


@dataclass(frozen=True, slots=True)
class RetrieveResult:
    """The outcome for one instance: it was retrieved, or `error` says why not."""

    sop_instance_uid: str
    path: Path | None = None
    """Its file; None if a handler took it and wrote none."""
    method: RetrieveMethod | None = None
    """How it was requested; None if it was not."""
    error: Exception | None = None
    refused: bool = False
    """Whether the peer sent it, and this side refused it."""

    @property
    def retrieved(self) -> bool:
        """Whether it was retrieved."""
        return self.error is None and self.method is not None

    @property
    def existing(self) -> bool:
        """Whether its file was there before, and it was not requested."""
        return self.error is None and self.method is None


def failures_of(results: GetResults | MoveResults, method: RetrieveMethod) -> list[RetrieveResult]:
    """The failures of one operation. That it retrieved nothing is none."""
    failures = [failure for failure in results.failures if not isinstance(failure, NothingRetrieved)]
    refusals = results.refusals.values() if isinstance(results, GetResults) else ()
    return [
        RetrieveResult(
            getattr(failure, "sop_instance_uid", None) or "", method=method, error=failure, refused=failure in refusals
        )
        for failure in failures
    ]


class Noted:
    """The results of a job so far, each reported to the caller's callback."""

    def __init__(self, on_result: Callable[[RetrieveResult], object] | None) -> None:
        self.results: list[RetrieveResult] = []
        self._reported = Callback("on_result", on_result, logger)

    def note(self, result: RetrieveResult) -> None:
        """Add a result, and report it."""
        self.results.append(result)
        self._reported(result)

    def raise_failures(self, of: str) -> None:
        """Raise one `ExceptionGroup` with all errors, if there are any."""
        errors = [result.error for result in self.results if result.error is not None]
        if errors:
            raise ExceptionGroup(f"{len(errors)} failed of {of}", errors)


class Record:
    """The instances that an archive lists: those that have arrived, and the errors of the others."""

    def __init__(
        self,
        listing: Listing,
        into: Path,
        template: str,
        on_result: Callback[RetrieveResult],
        progress: Callback[SubOperations],
    ) -> None:
        self.results: list[RetrieveResult] = []
        self.method = RetrieveMethod.GET if RetrieveMethod.GET in listing.offers else RetrieveMethod.MOVE
        """The method that is being used, or was used last."""
        self.missing = dict(listing.instances)
        """Listed instances that have not arrived, by SOP Instance UID."""
        self.nothing_is_missing = asyncio.Event()
        self.errors: dict[str | None, Exception] = {}
        """Errors of this attempt by SOP Instance UID; under None, those that are not about one instance."""
        self.failed_operations = 0
        """Operations for which the archive or this side reported a failure."""
        self._refusals: dict[str, Exception] = {}
        """Why this side refused an instance, which is more specific than the status that the archive reports."""
        self._named_syntaxes: dict[str, None] = {}
        """The transfer syntaxes that Error Comments of the archive name."""
        self._into = into
        self._template = template
        self._on_result = on_result
        self._progress = progress
        self._arrived = 0
        for uid, error in listing.failures:
            self._note(RetrieveResult(uid, error=error))

    async def note_existing(self) -> bool:
        """Look which missing instances the folder already has, and report them. Returns whether there are any."""
        async for uid, path in existing_files(self.missing.values(), self._into, self._template):
            if self.missing.pop(uid, None) is not None:
                self._note(RetrieveResult(uid, path))
        return any(result.existing for result in self.results)

    # Arrivals

    async def store(self, request: StoreRequest) -> int:
        """Save a missing instance. An unlisted or repeated one is refused: it would be missing from the report."""
        uid = request.sop_instance_uid
        if uid not in self.missing:
            logger.warning("%s was not requested, or has already arrived; refused", uid)
            return Status.NOT_AUTHORIZED
        try:
            await request.save_under(self._into, self._template)
        except (AssociationError, RemoteProtocolError):
            raise
        except Exception as error:
            self._refusals[uid] = copy(error)  # without the traceback, whose frames hold the instance
            raise
        if self.missing.pop(uid, None) is not None:
            self._arrived += 1
            self.report_progress()
            self._note(RetrieveResult(uid, request.path, self.method))
        if not self.missing:
            self.nothing_is_missing.set()
        return Status.SUCCESS

    def report_progress(self) -> None:
        """Report how many instances are missing, and how many have arrived."""
        self._progress(SubOperations(len(self.missing), self._arrived, 0, 0))

    def known_syntaxes(self) -> Syntaxes:
        """By SOP class, the transfer syntaxes in which the archive says it has the missing instances."""
        known: dict[str, list[str]] = {}
        for each in self.missing.values():
            if each.sop_class_uid is not None:
                known.setdefault(each.sop_class_uid, []).extend((*each.transfer_syntaxes, *self._named_syntaxes))
        return {uid: [*dict.fromkeys(syntaxes)] for uid, syntaxes in known.items()}

    # Failures

    def note_refusals(self, refusals: Mapping[str | None, Exception]) -> None:
        """This side has refused instances of a C-GET, for these reasons."""
        self._refusals |= {uid: error for uid, error in refusals.items() if uid is not None}

    def note_refusal(self, uid: str, status: Status, comment: str | None) -> None:
        """This side has refused an instance of a C-MOVE."""
        why = f"refused with {status}" + (f": {comment}" if comment else "")
        self._refusals.setdefault(uid, SubOperationFailed(uid, why))

    def note_failures(self, results: GetResults | MoveResults) -> None:
        """An operation has ended with these failures."""
        for failure in results.failures:
            self.errors.setdefault(getattr(failure, "sop_instance_uid", None), failure)
        failures = [failure for failure in results.failures if not isinstance(failure, NothingRetrieved)]
        if results.status != Status.SUCCESS or failures:
            self.failed_operations += 1
        self._named_syntaxes |= dict.fromkeys(_SYNTAX.findall(results.error_comment or ""))

    def give_up(self) -> None:
        """Report everything that is still missing."""
        for uid in self.missing:
            error, refused = self._reason(uid), uid in self._refusals
            self._note(RetrieveResult(uid, method=self.method, error=error, refused=refused))

    def _reason(self, uid: str) -> SubOperationFailed:
        """Why an instance did not arrive: why this side refused it, else what the archive reported."""
        if not can_be_asked_for(uid):
            return SubOperationFailed(uid, "did not arrive, and cannot be requested: its UID is not a single value")
        failed, last = self._refusals.get(uid) or self.errors.get(uid), self.errors.get(None)
        if isinstance(failed, SubOperationFailed):
            if last is not None and uid not in self._refusals:  # the error of the method that was used last
                failed = SubOperationFailed(uid, f"{str(failed).removeprefix(f'{uid}: ')}; {_with_advice(last)}")
                failed.__cause__ = last
            return failed
        cause = failed or last
        failed = SubOperationFailed(uid, f"did not arrive by {self.method}" if cause is None else _with_advice(cause))
        failed.__cause__ = cause
        return failed

    def _note(self, result: RetrieveResult) -> None:
        self.results.append(result)
        self._on_result(result)


def _with_advice(error: Exception) -> str:
    return "; ".join([str(error), *getattr(error, "__notes__", ())])
