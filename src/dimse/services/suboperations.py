"""Sub-operations of C-GET and C-MOVE, as their SCU sees them (PS3.4 C.4.2, C.4.3)."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Final, NamedTuple, TypeVar

from dimse.dataset.codec import MAX_VALUES, value_of
from dimse.dataset.encoding import FAILED_SOP_INSTANCE_UID_LIST, Encoding
from dimse.dataset.threads import beside_the_loop
from dimse.errors import (
    DatasetError,
    NothingRetrieved,
    SubOperationFailed,
)
from dimse.messages.message import C_GET_RSP, C_MOVE_RSP
from dimse.messages.suboperations import SubOperations
from dimse.network.incoming_request import Answer
from dimse.services.results import Results
from dimse.status import Status, StatusCategory

_AT_ONCE: Final = 1000
"""UIDs of a list that are read on the event loop, at 2 us each."""
_UID_SIZE: Final = 8
"""Bytes of a short UID with its delimiter, to judge by the length of a list how long it takes."""

T = TypeVar("T")
R = TypeVar("R", C_GET_RSP, C_MOVE_RSP)


class RetrieveResults(Results[T, R]):
    """The results of a C-GET or C-MOVE; see `Results`."""

    final_warnings = frozenset({Status.SUBOPERATIONS_COMPLETE_WITH_FAILURES})
    suboperations = SubOperations()
    """The counters of the last response."""
    _announced = 0
    """The total, according to the last Pending response."""

    def _count(self, answer: Answer[R]) -> None:
        self.suboperations = SubOperations.of(answer.message)
        if answer.message.status.category is StatusCategory.PENDING:
            self._announced = self.suboperations.total or self._announced

    async def _note_failed(self, answer: Answer[R]) -> None:
        """Note the instances that did not arrive, once each (PS3.4 C.4.2.1.4.2, C.4.3.1.3.2)."""
        known = {failure.sop_instance_uid for failure in self.failures if isinstance(failure, SubOperationFailed)}
        known |= self._operation.refused
        why = f"not retrieved by the {self._kind.name}; the peer does not say why"
        failed = await self._listed_as_failed(answer)
        self.failures += failed.faults
        self.failures += await _soon(lambda: _failures(failed.uids, known, why), is_long=len(failed.uids) > _AT_ONCE)
        unnamed = (answer.message.number_of_failed_suboperations or 0) - len(known.union(failed.uids))
        counted = self.suboperations.failed is not None or self.suboperations.warning is not None
        if not self.failures and not counted and answer.message.status.category is StatusCategory.WARNING:
            self.failures.append(
                SubOperationFailed(None, f"{answer.message.status}; the peer does not say for which instances")
            )
        if unnamed > 0:
            self.failures.append(SubOperationFailed(None, f"{unnamed} failed that the peer does not name"))

    async def _listed_as_failed(self, answer: Answer[R]) -> _Listed:
        identifier, syntax = answer.identifier, self._request.context.transfer_syntax
        if identifier is None:
            return _Listed({}, [])
        try:
            self._check_form(identifier)
            is_long = Encoding.of(syntax).deflated or len(identifier) > _UID_SIZE * _AT_ONCE
            return await _soon(lambda: _listed_in(identifier, syntax), is_long=is_long)
        except DatasetError as error:
            if answer.message.status == Status.SUCCESS and not answer.message.number_of_failed_suboperations:
                name = answer.message.name
                self._exchange.deviations.harmless(f"{name}: a data set with Success that is not read; dropped")
                return _Listed({}, [])
            unread = DatasetError(f"the Failed SOP Instance UID List cannot be read: {error}")
            return _Listed({}, [unread.at(self._exchange.address, self._kind.name)])

    def _note_absent(self, answer: Answer[R], arrived: int) -> None:
        """Note a Success for which fewer instances arrived than were counted, or none.

        A final response without counters is measured by those of the last Pending one. Instances that remain by its own
        counter (which PS3.4 C.4.3.1.5 does not define for it) have not arrived either.
        """
        message, counters = answer.message, self.suboperations
        if message.status != Status.SUCCESS or self._operation.is_cancelling:
            return
        counted = sum(count or 0 for count in (counters.completed, counters.warning, counters.remaining))
        if counters == SubOperations():
            counted = self._announced
        if arrived < counted:
            self.failures.append(SubOperationFailed(None, f"{counted - arrived} that the peer counts did not arrive"))
        elif arrived == 0 and not self.failures:
            self._note(NothingRetrieved(f"{self._kind.name}: the peer answered Success and sent nothing"))


class _Listed(NamedTuple):
    """What is read of a Failed SOP Instance UID List (0008,0058)."""

    uids: dict[str, None]
    """The different ones, in their order. UIDs that PS3.5 9.1 forbids are kept: each is a failure to report."""
    faults: list[Exception]


def _listed_in(identifier: bytes, transfer_syntax_uid: str) -> _Listed:
    """Read the list. Raises `DatasetError`."""
    faults: list[Exception] = []
    value = value_of(identifier, transfer_syntax_uid, FAILED_SOP_INSTANCE_UID_LIST)
    values = value.decode("latin-1").split("\\", MAX_VALUES)
    if len(values) > MAX_VALUES:
        more = values.pop().count("\\") + 1
        faults.append(SubOperationFailed(None, f"{more} more failed than the {MAX_VALUES} that are read of the list"))
    listed = [uid for each in values if (uid := each.strip(" \0"))]
    if not all(map(str.isprintable, listed)):
        faults.append(DatasetError("the Failed SOP Instance UID List has values that are not text"))
    return _Listed(dict.fromkeys(uid for uid in listed if uid.isprintable()), faults)


def _failures(uids: Iterable[str], known: Container[str | None], why: str) -> list[SubOperationFailed]:
    return [SubOperationFailed(uid, why) for uid in uids if uid not in known]


async def _soon(work: Callable[[], T], *, is_long: bool) -> T:
    """The result of `work`, which is done in a thread if it is long."""
    return await beside_the_loop(work) if is_long else work()
