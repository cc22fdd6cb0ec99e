"""C-FIND as SCU (PS3.4 C.4.1)."""

from __future__ import annotations

from typing import overload

from dimse.dataset.codec import decode_identifier, encode
from dimse.dataset.pydicom_names import Dataset
from dimse.errors import DatasetError
from dimse.messages.message import C_FIND_RQ, C_FIND_RSP
from dimse.network.association import Association, exchange_of
from dimse.network.incoming_request import Answer
from dimse.network.operations import OperationKind, OperationRequest
from dimse.services.query import Query, raw_identifier
from dimse.services.query_models import QueryRetrieveLevel, QueryRetrieveModel
from dimse.services.results import Results
from dimse.services.worklist import Worklist, query_of
from dimse.status import Status


class FindResults(Results[Dataset, C_FIND_RSP]):
    """The matches of a C-FIND, as pydicom data sets; see `Results`."""

    _kind = OperationKind("C-FIND", "find", C_FIND_RSP, has_matches=True)

    unsupported_keys = 0
    """How many matches so far came with 0xFF01: the peer does not support some of the optional keys (PS3.4 C.4.1.1.4).

    Such a key matches everything, or in a way that the standard does not define."""

    async def _pending(self, answer: Answer[C_FIND_RSP]) -> Dataset | None:
        if answer.message.status == Status.PENDING_KEYS_NOT_SUPPORTED:
            self.unsupported_keys += 1
        try:
            self._check_form(answer.identifier or b"")
            return await decode_identifier(answer.identifier or b"", self._request.context.transfer_syntax)
        except DatasetError as error:
            self._note(DatasetError(f"the identifier of a match cannot be read: {error}"))
            return None


class CFindSCU:
    """Queries the peer (PS3.4 C.4.1.2)."""

    def __init__(self, association: Association) -> None:
        self._association = association

    @overload
    def find(
        self, query: Query | Worklist, /, *, total_timeout: float | None = None, raise_failures: bool = True
    ) -> FindResults: ...

    @overload
    def find(
        self,
        level: QueryRetrieveLevel | None,
        identifier: Dataset,
        /,
        *,
        model: QueryRetrieveModel | str = QueryRetrieveModel.STUDY_ROOT,
        total_timeout: float | None = None,
        raise_failures: bool = True,
    ) -> FindResults: ...

    def find(
        self,
        query: Query | Worklist | QueryRetrieveLevel | None,
        identifier: Dataset | None = None,
        /,
        *,
        model: QueryRetrieveModel | str = QueryRetrieveModel.STUDY_ROOT,
        total_timeout: float | None = None,
        raise_failures: bool = True,
    ) -> FindResults:
        """The matches of a `Query` or `Worklist`; or, in the raw form, of a level and an identifier, sent unchanged.

        In the raw form `model` may also be the UID of any SOP Class of C-FIND, and the level None for one without
        levels, such as Modality Worklist.

        They are decoded one by one as they arrive, and the socket is read no faster than they are consumed.
        `Timeouts.find` limits the wait for each match, `total_timeout` the whole operation, in seconds.

        Raises `ValueError` for a query that cannot be sent, and `PresentationContextError` if the peer did not accept
        the model; iterating raises the errors described in `Results`.

        >>> async def main(association):
        ...     query = Query.studies(PatientName="Smith*").returning("StudyDescription")
        ...     async with CFindSCU(association).find(query) as matches:
        ...         async for match in matches:
        ...             print(match.StudyInstanceUID)
        """
        if isinstance(query, Query | Worklist):
            query = query_of(query)
            sop_class, wanted = query.model.sop_class("find"), query.find_identifier()
        else:
            sop_class = model if isinstance(model, str) else model.sop_class("find")
            wanted = raw_identifier(query, identifier if identifier is not None else Dataset())
        context = self._association.context_for(sop_class)
        exchange = exchange_of(self._association)
        message_id, priority = exchange.outstanding.new_message_id(), exchange.priority
        message = C_FIND_RQ(message_id=message_id, priority=priority, affected_sop_class_uid=sop_class)
        encoded = encode(wanted, context.transfer_syntax)
        audit = exchange_of(self._association).audit
        if audit is not None:
            audit.queried(sop_class, encoded, context.transfer_syntax)
        request = OperationRequest(context, message, encoded, total_timeout)
        return FindResults(self._association, request, raise_failures=raise_failures)
