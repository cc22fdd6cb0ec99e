"""A C-FIND, C-GET or C-MOVE request as its handler sees it, and the response to a failed one."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from dimse.dataset.codec import decode_identifier, text_of, wrong_form
from dimse.dataset.encoding import QUERY_RETRIEVE_LEVEL
from dimse.dataset.pydicom_names import Dataset
from dimse.errors import DatasetError, StatusError
from dimse.messages.message import C_FIND_RQ, C_GET_RQ, C_MOVE_RQ, Response
from dimse.network.association import Association
from dimse.network.incoming_data import MAXIMUM_IDENTIFIER_LENGTH
from dimse.network.incoming_request import Answer, CancelRequested, IncomingRequest
from dimse.services.buffered import Claim, collected
from dimse.services.handlers import raised
from dimse.services.query_models import QueryRetrieveLevel, QueryRetrieveModel, RetrieveOperation
from dimse.status import Status
from dimse.upper_layer.extended import QueryFeatures

logger = logging.getLogger("dimse.query_retrieve")


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """A received C-FIND, C-GET or C-MOVE request (PS3.4 C.4).

    `identifier` has the keys, as the peer sent them. On C-CANCEL the handler's generator is closed.
    """

    association: Association
    command: C_FIND_RQ | C_GET_RQ | C_MOVE_RQ
    model: QueryRetrieveModel
    level: QueryRetrieveLevel | None
    """None in a model without levels."""
    identifier: Dataset
    transfer_syntax_uid: str
    """The transfer syntax of the identifier, and of those of the responses."""
    _claim: Claim | None = field(default=None, repr=False, compare=False)
    """Counts the identifier among what is in memory, until the request is answered."""

    @property
    def features(self) -> QueryFeatures:
        """What was agreed on with the peer for this SOP class, of what the handler was registered with (PS3.4 C.5).

        A model may have features that need no agreement: a date and a time of a worklist are one range.
        """
        return self.association.query_features(self.command.affected_sop_class_uid) | self.model.features

    @property
    def move_destination(self) -> str | None:
        """The AE title to which a C-MOVE is to send the instances."""
        return self.command.move_destination if isinstance(self.command, C_MOVE_RQ) else None


HandlerT = TypeVar("HandlerT")


class ModelHandlers(Generic[HandlerT]):
    """The handlers of C-FIND, of C-GET or of C-MOVE, by the SOP class of the information model."""

    def __init__(self, operation: RetrieveOperation) -> None:
        self._operation: RetrieveOperation = operation
        self._by_class: dict[str, tuple[QueryRetrieveModel, HandlerT]] = {}

    def register(self, handler: HandlerT, models: Iterable[QueryRetrieveModel]) -> None:
        """Register the handler of some models, instead of those that they have. Raises `ValueError`."""
        self._by_class |= {model.sop_class(self._operation): (model, handler) for model in models}

    def supports(self, abstract_syntax: str) -> bool:
        return abstract_syntax in self._by_class

    def of(self, request: IncomingRequest) -> tuple[QueryRetrieveModel, HandlerT]:
        """The model of a request, and its handler."""
        return self._by_class[request.sop_class_uid]


async def read_query(request: IncomingRequest, model: QueryRetrieveModel) -> QueryRequest:
    """Read the identifier. Raises `StatusError` with the status to answer if it is invalid (PS3.4 C.4.1.1.4)."""
    message = request.message
    assert isinstance(message, C_FIND_RQ | C_GET_RQ | C_MOVE_RQ)  # noqa: S101 - the services are registered for no other
    name = message.name
    encoded, claim = await collected(request, MAXIMUM_IDENTIFIER_LENGTH, Status.OUT_OF_RESOURCES, "the identifier")
    if isinstance(message, C_FIND_RQ) and request.exchange.audit is not None:
        request.exchange.audit.queried(request.sop_class_uid, encoded, request.context.transfer_syntax)
    try:
        error = wrong_form(encoded, request.context.transfer_syntax)
        if error is not None:
            request.exchange.deviations.malformed(error)
        with request.cancellation.interrupts():
            identifier = await decode_identifier(encoded, request.context.transfer_syntax)
        level = text_of(identifier, QUERY_RETRIEVE_LEVEL)
    except DatasetError as error:
        logger.warning("%s: %s refused: %s", request.exchange.peer_name, name, error, extra=request.fields)
        raise StatusError(Status.CANNOT_UNDERSTAND, name, f"identifier: {error}") from None
    if not model.levels and level:
        request.exchange.deviations.tolerated(f"{name}: {model.title} has no Query/Retrieve Level (0008,0052); ignored")
    if model.levels and level not in model.levels:
        is_level = level in list(QueryRetrieveLevel)
        comment = f"{model.title} has no {level} level" if is_level else "(0008,0052) is not a Query/Retrieve Level"
        raise StatusError(Status.DATASET_DOES_NOT_MATCH, name, comment)
    found = QueryRetrieveLevel(level) if model.levels else None
    syntax = request.context.transfer_syntax
    return QueryRequest(request.association, message, model, found, identifier, syntax, claim)


def failure(request: IncomingRequest, error: Exception) -> Answer[Response]:
    """The final response to an operation that `error` ended. Raises it again if the association has ended."""
    name, peer = request.message.name, request.exchange.peer_name
    if not request.exchange.is_open or (request.data is not None and request.data.error is not None):
        raise error
    if isinstance(error, CancelRequested):
        logger.info("%s: %s: cancelled", peer, name, extra=request.fields)
        return request.response(Status.CANCEL)
    if isinstance(error, DatasetError):
        logger.warning("%s: %s: %s", peer, name, error, extra=request.fields)
        return request.response(Status.CANNOT_UNDERSTAND, error_comment=str(error))
    if isinstance(error, StatusError):
        try:
            status = raised(error, name.removesuffix("-RQ"))
        except (TypeError, ValueError) as no_status:
            error = no_status
        else:
            logger.info("%s: %s", peer, error, extra=request.fields)
            return request.response(status)
    if isinstance(error, MemoryError):
        logger.error("%s: %s: out of memory", peer, name, extra=request.fields)
        is_find = isinstance(request.message, C_FIND_RQ)
        status = Status.OUT_OF_RESOURCES if is_find else Status.UNABLE_TO_PERFORM_SUBOPERATIONS
        return request.response(status, error_comment="out of memory")
    logger.error("%s: the handler of %s failed", peer, name, exc_info=error, extra=request.fields)
    return request.response(Status.CANNOT_UNDERSTAND, error_comment=f"the handler failed: {type(error).__name__}")
