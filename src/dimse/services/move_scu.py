"""C-MOVE as SCU (PS3.4 C.4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dimse.address import check_ae_title
from dimse.dataset.codec import encode
from dimse.messages.message import C_MOVE_RQ, C_MOVE_RSP
from dimse.messages.suboperations import SubOperations
from dimse.network.association import Association, exchange_of
from dimse.network.incoming_request import Answer
from dimse.network.operations import OperationKind, OperationRequest
from dimse.services.query import Query
from dimse.services.suboperations import RetrieveResults
from dimse.status import Status, StatusCategory

_DESTINATION_FAILS: Final = (Status.MOVE_DESTINATION_UNKNOWN, Status.UNABLE_TO_PERFORM_SUBOPERATIONS)


class MoveResults(RetrieveResults[SubOperations, C_MOVE_RSP]):
    """The counters of a C-MOVE, one for each response; see `Results`."""

    _kind = OperationKind("C-MOVE", "move", C_MOVE_RSP)

    def _advice(self, status: Status) -> Iterator[str]:
        message = self._request.message
        assert isinstance(message, C_MOVE_RQ)  # noqa: S101 - `CMoveSCU` makes it
        known = f"{message.move_destination}: its host and port"
        if status.is_unable_to_process:
            yield f"does the archive have it, and does it know {known}?"
        elif status in _DESTINATION_FAILS:
            yield f"the archive must know {known}"

    async def _pending(self, answer: Answer[C_MOVE_RSP]) -> SubOperations:
        self._count(answer)
        return self.suboperations

    async def _final(self, answer: Answer[C_MOVE_RSP]) -> SubOperations | None:
        self._count(answer)
        await self._note_failed(answer)
        counters = self.suboperations
        if counters.completed is not None or counters.warning is not None:
            self._note_absent(answer, (counters.completed or 0) + (counters.warning or 0))
        refused = answer.message.status.category is StatusCategory.FAILURE and self.suboperations == SubOperations()
        return None if refused else self.suboperations


class CMoveSCU:
    """Has the peer send instances to an application entity that it knows by AE title (PS3.4 C.4.2.2)."""

    def __init__(self, association: Association) -> None:
        self._association = association

    def move(
        self, query: Query, destination: str, *, total_timeout: float | None = None, raise_failures: bool = True
    ) -> MoveResults:
        """Have the instances of `query` sent to the AE title `destination`. Returns an iterator over the counters.

        The peer must know the address of `destination`; this side need not. `Timeouts.move` limits the time without
        progress of the peer, `total_timeout` the whole operation, in seconds.

        Raises `ValueError` for a query that cannot be sent or an invalid AE title, and `PresentationContextError` if
        the peer did not accept the model; iterating raises the errors described in `Results`. Each instance that did
        not arrive is a `SubOperationFailed`.

        >>> async def main(association, study):
        ...     async with CMoveSCU(association).move(Query.studies(StudyInstanceUID=study), "WS1") as counters:
        ...         async for suboperations in counters:
        ...             print(suboperations)
        """
        sop_class = query.model.sop_class("move")
        context = self._association.context_for(sop_class)
        message = C_MOVE_RQ(
            message_id=exchange_of(self._association).outstanding.new_message_id(),
            priority=exchange_of(self._association).priority,
            affected_sop_class_uid=sop_class,
            move_destination=check_ae_title(destination),
        )
        encoded = encode(query.retrieve_identifier(), context.transfer_syntax)
        request = OperationRequest(context, message, encoded, total_timeout)
        return MoveResults(self._association, request, raise_failures=raise_failures)
