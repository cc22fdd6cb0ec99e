"""The results of an operation, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from dimse.address import Address
from dimse.dataset.pydicom_names import Dataset
from dimse.messages.suboperations import SubOperations
from dimse.services import find_scu, finding, get_scu, move_scu
from dimse.services.results import Results
from dimse.services.suboperations import RetrieveResults
from dimse.status import Status
from dimse.sync.facade import Iteration, Owner, run
from dimse.sync.store_request import StoreRequest

L = TypeVar("L", bound=Results[Any, Any] | finding.Finding)
R = TypeVar("R", bound=Results[Any, Any])
RR = TypeVar("RR", bound=RetrieveResults[Any, Any])
T = TypeVar("T")


class _Items(Owner[L], Generic[L, T]):
    """An iterator, and a context manager that cancels the rest."""

    @property
    def failures(self) -> list[Exception]:
        """The failures so far; `DimseError.address` names the archive."""
        return self._asynchronous.failures

    def _item(self, item: Any) -> T:
        """An item, as the caller gets it."""
        given: T = item
        return given

    def __iter__(self) -> Iterator[T]:
        return Iteration(aiter(self._asynchronous), self._item)

    def __enter__(self) -> Self:
        run(self._asynchronous.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        run(self._asynchronous.__aexit__(kind, error, traceback))


class _Results(_Items[R, T]):
    """The results of one operation; see `dimse.FindResults`."""

    @property
    def status(self) -> Status | None:
        """The final status; None before the final response."""
        return self._asynchronous.status

    @property
    def error_comment(self) -> str | None:
        """The Error Comment of the final response."""
        return self._asynchronous.error_comment

    def cancel(self) -> None:
        """Stop the operation with a C-CANCEL, and wait for its end."""
        run(self._asynchronous.cancel())


class FindResults(_Results[find_scu.FindResults, Dataset]):
    """The matches of a C-FIND; see `dimse.FindResults`."""

    @property
    def unsupported_keys(self) -> int:
        """How many matches came with 0xFF01; see `dimse.FindResults.unsupported_keys`."""
        return self._asynchronous.unsupported_keys


class _RetrieveResults(_Results[RR, T]):
    @property
    def suboperations(self) -> SubOperations:
        """The counters of the last response."""
        return self._asynchronous.suboperations


class GetResults(_RetrieveResults[get_scu.GetResults, StoreRequest]):
    """The instances of a C-GET; see `dimse.GetResults`."""

    @property
    def completed_in_flight(self) -> list[StoreRequest]:
        """The instances that were stored after a C-CANCEL; see `CancelBehavior.COMPLETE_IN_FLIGHT`."""
        return list(map(StoreRequest, self._asynchronous.completed_in_flight))

    def _item(self, item: Any) -> StoreRequest:
        return StoreRequest(item)


class MoveResults(_RetrieveResults[move_scu.MoveResults, SubOperations]):
    """The counters of a C-MOVE; see `dimse.MoveResults`."""


class Finding(_Items[finding.Finding, Dataset]):
    """The matches of `find`: an iterator, and a context manager that cancels the rest; see `dimse.Finding`."""

    @property
    def archive(self) -> Address:
        """The archive that returned the latest match; if several have it, the first that did."""
        return self._asynchronous.archive

    @property
    def count(self) -> int:
        """The number of matches so far."""
        return self._asynchronous.count

    @property
    def is_limited(self) -> bool:
        """Whether `limit` ended the search: there may be more matches."""
        return self._asynchronous.is_limited

    @property
    def divided_by(self) -> frozenset[str]:
        """The keys by which `complete` divided queries."""
        return self._asynchronous.divided_by

    def close(self) -> None:
        """Cancel the rest, and wait until it has ended."""
        run(self._asynchronous.aclose())
