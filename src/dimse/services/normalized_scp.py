"""The DIMSE-N services as SCP (PS3.7 10.1): requests for the SOP classes that handlers are registered for."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from dimse import uids
from dimse.dataset.codec import decode_attributes, encode
from dimse.dataset.pydicom_names import Dataset
from dimse.errors import DatasetError, StatusError
from dimse.messages.message import (
    N_ACTION_RQ,
    N_CREATE_RQ,
    N_DELETE_RQ,
    N_EVENT_REPORT_RQ,
    N_GET_RQ,
    N_SET_RQ,
    Request,
    Response,
)
from dimse.network.association import Association
from dimse.network.incoming_request import Answer, IncomingRequest
from dimse.network.telling import operation_of
from dimse.services.buffered import Claim, collected
from dimse.services.handlers import final, raised
from dimse.status import Status

logger = logging.getLogger("dimse.network")

_NormalizedRQ = N_CREATE_RQ | N_SET_RQ | N_GET_RQ | N_ACTION_RQ | N_DELETE_RQ | N_EVENT_REPORT_RQ

_REQUESTOR_MAY_BE_SCP: Final = (N_EVENT_REPORT_RQ,)
"""What an SCP requests: this side is the SCU of the SOP class."""


@dataclass(frozen=True, slots=True)
class NormalizedRequest:
    """A received DIMSE-N request, as its handler sees it (PS3.7 10.1)."""

    association: Association
    command: N_CREATE_RQ | N_SET_RQ | N_GET_RQ | N_ACTION_RQ | N_DELETE_RQ | N_EVENT_REPORT_RQ
    sop_class_uid: str
    sop_instance_uid: str
    """The SOP instance that it is about. An N-CREATE without one gets a new UID, which the response names."""
    dataset: Dataset
    """The attributes, the Action Information or the Event Information; empty if none was sent."""
    abstract_syntax: str
    """That of the presentation context: of the SOP class, or one that it belongs to, such as a Meta SOP Class."""
    _claim: Claim = field(repr=False, compare=False)
    """Counts the data set among what is in memory, until the request is answered."""

    @property
    def attributes(self) -> tuple[int, ...]:
        """The tags that an N-GET asks for; empty for all."""
        return (self.command.attribute_identifier_list or ()) if isinstance(self.command, N_GET_RQ) else ()

    @property
    def action_type_id(self) -> int | None:
        """The type of an N-ACTION."""
        return self.command.action_type_id if isinstance(self.command, N_ACTION_RQ) else None

    @property
    def event_type_id(self) -> int | None:
        """The type of an N-EVENT-REPORT. None also if the peer sent none, which is answered with 0x0113 if strict."""
        return self.command.event_type_id if isinstance(self.command, N_EVENT_REPORT_RQ) else None


@dataclass(frozen=True, slots=True)
class NormalizedReply:
    """The answer of a handler: a data set for the response, and a status.

    >>> NormalizedReply(status=0x0110, error_id=0xA710).status
    Status(0x0110)
    """

    dataset: Dataset | None = None
    """The Attribute List, Action Reply or Event Reply."""
    status: int = Status.SUCCESS
    error_id: int | None = None
    """The Error ID (0000,0903) of a failure."""


NormalizedHandler = Callable[[NormalizedRequest], Awaitable[NormalizedReply | int]]
"""Answers a DIMSE-N request; see `Server.on_n_create`."""


class NormalizedService:
    """Answers the requests of one DIMSE-N operation, each SOP class by its handler."""

    def __init__(self, kind: type[Request]) -> None:
        self._kind = kind
        self._handlers: dict[str, tuple[NormalizedHandler, int]] = {}

    def register(self, handler: NormalizedHandler, sop_class_uid: str, maximum_length: int) -> None:
        """Let a handler answer the requests for a SOP class, with data sets of at most `maximum_length` bytes."""
        self._handlers[sop_class_uid] = handler, maximum_length

    def supports(self, abstract_syntax: str) -> bool:
        return abstract_syntax in self._handlers or any(
            uid in self._handlers for uid in uids.RELATED.get(abstract_syntax, ())
        )

    def sends(self, abstract_syntax: str) -> bool:
        return self._kind in _REQUESTOR_MAY_BE_SCP and self.supports(abstract_syntax)

    async def serve(self, request: IncomingRequest) -> Answer[Response]:
        name = operation_of(request.message)
        handler, maximum_length = self._handlers.get(request.sop_class_uid, (None, 0))
        if handler is None:
            return request.response(Status.NO_SUCH_SOP_CLASS)
        try:
            read = await _read(request, maximum_length)
            reply = await handler(read)
        except StatusError as error:
            logger.info("%s: %s", request.exchange.peer_name, error, extra=request.fields)
            return request.response(raised(error, name))
        except DatasetError as error:
            logger.warning("%s: %s: %s", request.exchange.peer_name, name, error, extra=request.fields)
            return request.response(Status.PROCESSING_FAILURE, error_comment=str(error))
        if not isinstance(reply, NormalizedReply):
            reply = NormalizedReply(status=reply)
        return request.response(
            final(reply.status, name),
            identifier=None if reply.dataset is None else encode(reply.dataset, request.context.transfer_syntax),
            error_id=reply.error_id,
            affected_sop_instance_uid=read.sop_instance_uid,
        )


async def _read(request: IncomingRequest, maximum_length: int) -> NormalizedRequest:
    """Read the data set. Raises `StatusError` for a request that PS3.7 10.1 does not allow, `DatasetError`."""
    message = request.message
    assert isinstance(message, _NormalizedRQ)  # noqa: S101 - the services are registered for no other
    encoded, claim = await collected(request, maximum_length, Status.RESOURCE_LIMITATION, "the data set")
    instance = request.sop_instance_uid
    if not instance and isinstance(message, N_CREATE_RQ):
        instance = uids.new_uid()
    if not instance or not uids.has_uid_characters(instance):
        comment = "the request has no SOP Instance UID" if not instance else "the SOP Instance UID is not a UID"
        raise StatusError(Status.INVALID_SOP_INSTANCE, message.name, comment)
    if isinstance(message, N_ACTION_RQ) and message.action_type_id is None:
        raise StatusError(Status.NO_SUCH_ACTION, message.name, "the request has no Action Type ID")
    is_strict = request.exchange.deviations.is_strict
    if isinstance(message, N_EVENT_REPORT_RQ) and message.event_type_id is None and is_strict:
        raise StatusError(Status.NO_SUCH_EVENT_TYPE, message.name, "the request has no Event Type ID")
    dataset = await decode_attributes(encoded, request.context.transfer_syntax) if encoded else Dataset()
    context = request.context.abstract_syntax
    return NormalizedRequest(request.association, message, request.sop_class_uid, instance, dataset, context, claim)
