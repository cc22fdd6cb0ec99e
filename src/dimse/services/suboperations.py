"""The C-STORE sub-operations of a C-GET or C-MOVE (PS3.4 C.4.2, C.4.3): counted, and accounted for."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from dimse.dataset import IGNORE, DataElement, Dataset, DatasetSource, encode
from dimse.dataset.elements import FAILED_SOP_INSTANCE_UID_LIST
from dimse.dataset.identifiers import MAX_VALUES, value_of
from dimse.errors import (
    DatasetError,
    NothingRetrieved,
    PresentationContextError,
    StatusError,
    SubOperationFailed,
)
from dimse.messages.primitives import C_GET_RQ, C_GET_RSP, C_MOVE_RSP, Response
from dimse.messages.status import Status, StatusCategory
from dimse.network.requests import Answer, IncomingRequest
from dimse.services.collecting import SendResult, look_at
from dimse.services.given import Source
from dimse.services.query_request import QueryRequest
from dimse.services.results import Results
from dimse.upper_layer.negotiation import proposes_scp

logger = logging.getLogger("dimse.query_retrieve")

MAXIMUM_COUNT: Final = 0xFFFF
"""The counters are US: this one may stand for more (PS3.7 9.3.4.2)."""

PENDING_PACE: Final = 0.1
"""Seconds between two Pending responses, at least: people read them."""

_LONGEST_UI: Final = 0xFFFE

T = TypeVar("T")
R = TypeVar("R", C_GET_RSP, C_MOVE_RSP)


@dataclass(frozen=True, slots=True)
class SubOperations:
    """The progress of a C-MOVE or C-GET (PS3.7 9.1.4.1.7). A counter that the peer did not send is None."""

    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None

    @classmethod
    def of(cls, message: C_GET_RSP | C_MOVE_RSP) -> SubOperations:
        """The counters of a response."""
        return cls(
            message.number_of_remaining_suboperations,
            message.number_of_completed_suboperations,
            message.number_of_failed_suboperations,
            message.number_of_warning_suboperations,
        )

    @property
    def total(self) -> int | None:
        """The number of sub-operations, if the counters tell it."""
        counters = [count or 0 for count in (self.remaining, self.completed, self.failed, self.warning)]
        return None if self.remaining is None or max(counters) >= MAXIMUM_COUNT else sum(counters)

    def __str__(self) -> str:
        retrieved = (self.completed or 0) + (self.warning or 0)
        of_total = "" if self.total is None else f" of {self.total}"
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{retrieved}{of_total} instances retrieved{failed}"


class RetrieveResults(Results[T, R]):
    """The results of a C-GET or C-MOVE; see `Results`."""

    final_warnings = frozenset({Status.SUBOPERATIONS_COMPLETE_WITH_FAILURES})
    suboperations = SubOperations()
    """The counters that came last."""
    _announced = 0
    """How many there are in all, by the Pending response that came last."""

    def _count(self, answer: Answer[R]) -> None:
        self.suboperations = SubOperations.of(answer.message)
        if answer.message.status.category is StatusCategory.PENDING:
            self._announced = self.suboperations.total or self._announced

    def _note_failed(self, answer: Answer[R]) -> None:
        """Note the instances that did not arrive, once each (PS3.4 C.4.2.1.4.2, C.4.3.1.3.2)."""
        known = {failure.sop_instance_uid for failure in self.failures if isinstance(failure, SubOperationFailed)}
        known |= self._operation.refused
        listed = self._failed_uids(answer)
        why = f"not retrieved by the {self.doing}; the peer does not say why"
        self.failures += [SubOperationFailed(uid, why) for uid in dict.fromkeys(listed) if uid not in known]
        unnamed = (answer.message.number_of_failed_suboperations or 0) - len(known.union(listed))
        counted = self.suboperations.failed is not None or self.suboperations.warning is not None
        if not self.failures and not counted and answer.message.status.category is StatusCategory.WARNING:
            self.failures.append(
                SubOperationFailed(None, f"{answer.message.status}; the peer does not say for which instances")
            )
        if unnamed > 0:
            self.failures.append(SubOperationFailed(None, f"{unnamed} failed that the peer does not name"))

    def _failed_uids(self, answer: Answer[R]) -> list[str]:
        if answer.identifier is None:
            return []
        try:
            self._check_form(answer.identifier)
            value = value_of(answer.identifier, self._asked.context.transfer_syntax, FAILED_SOP_INSTANCE_UID_LIST)
        except DatasetError as error:
            if answer.message.status == Status.SUCCESS and not answer.message.number_of_failed_suboperations:
                name = answer.message.name
                self._association.deviations.harmless(f"{name}: a data set with Success that is not read; dropped")
            else:
                self.failures.append(DatasetError(f"the Failed SOP Instance UID List cannot be read: {error}"))
            return []
        values = value.decode("latin-1").split("\\", MAX_VALUES)
        if len(values) > MAX_VALUES:
            more = values.pop().count("\\") + 1
            self.failures.append(
                SubOperationFailed(None, f"{more} more failed than the {MAX_VALUES} that are read of the list")
            )
        listed = [uid for each in values if (uid := each.strip(" \0"))]
        if not all(map(str.isprintable, listed)):
            self.failures.append(DatasetError("the Failed SOP Instance UID List has values that are not text"))
        # UIDs that PS3.5 9.1 forbids are kept: each is a failure to report.
        return [uid for uid in listed if uid.isprintable()]

    def _note_absent(self, answer: Answer[R], came: int) -> None:
        """Note a Success for which fewer instances arrived than were counted, or none.

        A final response without counters is measured by those of the last Pending one; what remains by its own counter
        (PS3.4 C.4.3.1.5 has none in it) has not come either.
        """
        message, counters = answer.message, self.suboperations
        if message.status != Status.SUCCESS or self._operation.cancelling:
            return
        counted = sum(count or 0 for count in (counters.completed, counters.warning, counters.remaining))
        if counters == SubOperations():
            counted = self._announced
        if came < counted:
            self.failures.append(SubOperationFailed(None, f"{counted - came} that the peer counts did not arrive"))
        elif came == 0 and not self.failures:
            self.failures.append(NothingRetrieved(f"{self.doing}: the peer answered Success and sent nothing"))


# The SCP

RetrieveHandler = Callable[[QueryRequest], AsyncIterator[Source]]


class Account:
    """What became of each instance of one operation."""

    def __init__(self, request: IncomingRequest) -> None:
        self.sources: list[DatasetSource] = []
        self.completed = self.warning = 0
        self.failed: list[str] = []
        """SOP Instance UIDs; empty for objects that could not be read."""
        self._comment: str | None = None
        """Why the first one failed, as an Error Comment."""
        self._settled = 0
        """How many of the sources were sent or have failed."""
        self._request = request

    async def look_at(self, query: QueryRequest, handler: RetrieveHandler) -> None:
        """Ask the handler for the instances, and find out what they are; of files only the meta is read."""
        # An async generator, as `Server` has checked.
        async with aclosing(cast("AsyncGenerator[Source]", handler(query))) as given:
            sources = [source async for source in given]
        async for found in look_at(sources):
            if not isinstance(found, SendResult):
                self.sources.append(found)
            elif not found.skipped:
                logger.warning("%s: cannot be sent: %s", found.name, found.error)
                self._note_failed(found)

    def note(self, result: SendResult) -> None:
        """One was sent, or failed."""
        self._settled += 1
        if not result.stored or result.status is None:
            logger.warning("%s: not sent: %s", result.name, result.error)
            self._note_failed(result)
        elif result.status.category is StatusCategory.WARNING:
            self.warning += 1
        else:
            self.completed += 1

    def _note_failed(self, result: SendResult) -> None:
        self.failed.append(result.sop_instance_uid or "")
        self._comment = self._comment or self._comment_on(result)

    def _comment_on(self, result: SendResult) -> str:
        """An Error Comment of at most 64 characters, without paths or values."""
        if isinstance(result.error, PresentationContextError):
            source = next(each for each in self.sources if each.sop_instance_uid == result.sop_instance_uid)
            requestor = self._request.association.request
            is_get = isinstance(self._request.message, C_GET_RQ)
            if is_get and requestor is not None and not proposes_scp(requestor, source.sop_class_uid):
                return "the requestor proposed no SCP role for a SOP class"
            return f"no context in {source.transfer_syntax_uid}"
        if isinstance(result.error, StatusError):
            return f"an instance was refused with {result.error.status}"
        return "an instance cannot be read or encoded"

    def not_sent(self) -> None:
        """None of the sources could be sent, as there was no association to send them on."""
        self._settled = len(self.sources)
        self.failed += [source.sop_instance_uid for source in self.sources]

    def pending(self) -> Answer[Response]:
        """How far it is."""
        return self._response(Status.PENDING, number_of_remaining_suboperations=self._remaining)

    def cancelled(self) -> Answer[Response]:
        """Where it was stopped."""
        return self._response(Status.CANCEL, identifier=self._list(), number_of_remaining_suboperations=self._remaining)

    def final(self) -> Answer[Response]:
        """What came of it (PS3.4 C.4.2.1.5, C.4.3.1.4)."""
        status = Status.SUBOPERATIONS_COMPLETE_WITH_FAILURES
        if not self.failed and not self.warning:
            status = Status.SUCCESS
        elif not self.completed and not self.warning:
            status = Status.UNABLE_TO_PERFORM_SUBOPERATIONS
        return self._response(status, identifier=self._list(), error_comment=self._comment)

    @property
    def _remaining(self) -> int:
        return min(len(self.sources) - self._settled, MAXIMUM_COUNT)

    def _list(self) -> bytes | None:
        """Failed SOP Instance UID List (0008,0058)."""
        # Invalid UIDs (PS3.5 9.1) are listed too, unless a backslash would make two of one.
        uids = [uid for uid in self.failed if uid and "\\" not in uid]
        if not uids:
            return None
        text = "\\".join(uids).encode("latin-1", "replace")
        text += b"\0" * (len(text) % 2)
        # UI has a 16-bit length in Explicit VR; UN has one of 32 bits (PS3.5 7.1.2).
        vr = "UI" if len(text) <= _LONGEST_UI else "UN"
        identifier = Dataset()
        identifier.add(DataElement(FAILED_SOP_INSTANCE_UID_LIST, vr, text, validation_mode=IGNORE))
        return encode(identifier, self._request.context.transfer_syntax)

    def _response(self, status: Status, **fields: Any) -> Answer[Response]:
        return self._request.response(
            status,
            number_of_completed_suboperations=min(self.completed, MAXIMUM_COUNT),
            number_of_failed_suboperations=min(len(self.failed), MAXIMUM_COUNT),
            number_of_warning_suboperations=min(self.warning, MAXIMUM_COUNT),
            **fields,
        )
