"""A C-FIND, C-GET or C-MOVE request as its handler sees it, and the response to a failed one."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

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
from dimse.services.query import QueryRetrieveLevel, QueryRetrieveModel
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
    level: QueryRetrieveLevel
    identifier: Dataset
    _claim: Claim | None = field(default=None, repr=False, compare=False)
    """Counts the identifier among what is in memory, until the request is answered."""

    @property
    def features(self) -> QueryFeatures:
        """What was agreed on with the peer for this SOP class, of what the handler was registered with (PS3.4 C.5)."""
        return self.association.query_features(self.command.affected_sop_class_uid)

    @property
    def move_destination(self) -> str | None:
        """The AE title to which a C-MOVE is to send the instances."""
        return self.command.move_destination if isinstance(self.command, C_MOVE_RQ) else None


async def read_query(request: IncomingRequest) -> QueryRequest:
    """Read the identifier. Raises `StatusError` with the status to answer if it is invalid (PS3.4 C.4.1.1.4)."""
    message = request.message
    assert isinstance(message, C_FIND_RQ | C_GET_RQ | C_MOVE_RQ)  # noqa: S101 - the services are registered for no other
    name = message.name
    model = next(model for model in QueryRetrieveModel if request.sop_class_uid in (model.find, model.get, model.move))
    encoded, claim = await collected(request, MAXIMUM_IDENTIFIER_LENGTH, Status.OUT_OF_RESOURCES, "the identifier")
    if isinstance(message, C_FIND_RQ) and request.exchange.audit is not None:
        request.exchange.audit.queried(model.find, encoded, request.context.transfer_syntax)
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
    if level not in list(QueryRetrieveLevel):
        comment = "(0008,0052) is not a Query/Retrieve Level"
    elif level == QueryRetrieveLevel.PATIENT and model is QueryRetrieveModel.STUDY_ROOT:
        comment = "Study Root has no PATIENT level"
    else:
        return QueryRequest(request.association, message, model, QueryRetrieveLevel(level), identifier, claim)
    raise StatusError(Status.DATASET_DOES_NOT_MATCH, name, comment)


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
