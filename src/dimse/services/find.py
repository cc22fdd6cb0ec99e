"""C-FIND (PS3.4 C.4.1), both sides: matches as they are found."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from itertools import count
from typing import Final, cast, overload

from dimse import uids
from dimse.dataset import Dataset, encode
from dimse.dataset.identifiers import decode_identifier
from dimse.dataset.plain import encode_plain
from dimse.errors import DatasetError
from dimse.messages.primitives import C_FIND_RQ, C_FIND_RSP, Response
from dimse.messages.status import Status
from dimse.network.association import Association
from dimse.network.requests import Answer, IncomingRequest
from dimse.services.query import Query, QueryRetrieveLevel, QueryRetrieveModel, raw_identifier
from dimse.services.query_request import QueryRequest, failure
from dimse.services.results import Asked, Results

logger = logging.getLogger("dimse.query_retrieve")

_END: Final = object()
_TURN: Final = 64
"""Matches in a row before other tasks have a turn: a handler and a socket may never have to wait."""


class FindResults(Results[Dataset, C_FIND_RSP]):
    """The matches of a C-FIND, as pydicom data sets; see `Results`."""

    doing = "C-FIND"
    timer = "find"
    response_type = C_FIND_RSP
    has_matches = True

    async def _pending(self, answer: Answer[C_FIND_RSP]) -> Dataset | None:
        try:
            self._check_form(answer.identifier or b"")
            return await decode_identifier(answer.identifier or b"", self._asked.context.transfer_syntax)
        except DatasetError as error:
            self.failures.append(DatasetError(f"the identifier of a match cannot be read: {error}"))
            return None


class CFindSCU:
    """Asks the peer what it has (PS3.4 C.4.1.2)."""

    def __init__(self, association: Association) -> None:
        self._association = association

    @overload
    def query(self, query: Query, /, *, total: float | None = None, raise_failures: bool = True) -> FindResults: ...

    @overload
    def query(
        self,
        level: QueryRetrieveLevel,
        identifier: Dataset,
        /,
        *,
        model: QueryRetrieveModel = QueryRetrieveModel.STUDY_ROOT,
        total: float | None = None,
        raise_failures: bool = True,
    ) -> FindResults: ...

    def query(
        self,
        query: Query | QueryRetrieveLevel,
        identifier: Dataset | None = None,
        /,
        *,
        model: QueryRetrieveModel = QueryRetrieveModel.STUDY_ROOT,
        total: float | None = None,
        raise_failures: bool = True,
    ) -> FindResults:
        """The matches of a `Query`; or, in the raw form, of a level and an identifier that is sent as it is.

        They are decoded one by one as they arrive, and the socket is read no faster than they are taken. Each may
        take `Timeouts.find` to come, and all of them `total` seconds.

        Raises `ValueError` for a query that cannot be sent and `PresentationContextError` where the peer did not
        accept the model; while iterating, what `Results` says.

        >>> async def main(association):
        ...     query = Query.studies(PatientName="Smith*").returning("StudyDescription")
        ...     async with CFindSCU(association).query(query) as matches:
        ...         async for match in matches:
        ...             print(match.StudyInstanceUID)
        """
        if isinstance(query, Query):
            model, wanted = query.model, query.find_identifier()
        else:
            wanted = raw_identifier(query, identifier if identifier is not None else Dataset())
        context = self._association.context_for(model.find)
        message = C_FIND_RQ(message_id=self._association.invoker.new_message_id(), affected_sop_class_uid=model.find)
        encoded = encode(wanted, context.transfer_syntax)
        return FindResults(self._association, Asked(context, message, encoded, total, raise_failures))


# The SCP

FindHandler = Callable[[QueryRequest], AsyncIterator[Dataset]]


class FindService:
    """Answers C-FIND with what a handler yields, each match as it is made."""

    def __init__(self, handler: FindHandler) -> None:
        self._handler = handler

    def supports(self, abstract_syntax: str) -> bool:
        return any(abstract_syntax == model.find for model in QueryRetrieveModel)

    def sends(self, abstract_syntax: str) -> bool:  # noqa: ARG002 - as `Service` has it
        return False

    async def serve(self, request: IncomingRequest) -> Answer[Response]:
        try:
            query = await QueryRequest.read(request)
            pending = request.response(Status.PENDING, identifier=b"").message
            # An async generator, as `Server.on_c_find` has checked.
            async with aclosing(cast("AsyncGenerator[Dataset]", self._handler(query))) as matches:
                for number in count(1):
                    with request.cancellation.interrupts():
                        if number % _TURN == 0:
                            await asyncio.sleep(0)
                        match = await anext(matches, _END)
                    if match is _END:
                        break
                    await request.send(Answer(pending, _encoded(match, query.level, request.context.transfer_syntax)))
            return request.response(Status.SUCCESS)
        except Exception as error:  # noqa: BLE001 - a handler may raise anything
            return failure(request, error)


def _encoded(match: object, level: QueryRetrieveLevel, transfer_syntax_uid: str) -> bytes:
    """A match as an identifier, with its level, and with its character set where a text needs one."""
    if not isinstance(match, Dataset):
        raise TypeError(f"the C-FIND handler yielded {type(match).__name__}, not a Dataset")
    if transfer_syntax_uid in uids.LITTLE_ENDIAN:
        plain = encode_plain(match, implicit=transfer_syntax_uid == uids.IMPLICIT_VR_LITTLE_ENDIAN, level=level)
        if plain is not None:
            return plain
    return encode(raw_identifier(level, match), transfer_syntax_uid)
