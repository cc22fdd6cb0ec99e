"""Verification (PS3.4 Annex A): C-ECHO."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from dimse import uids
from dimse.errors import StatusError
from dimse.messages.message import C_ECHO_RQ, C_ECHO_RSP, Response
from dimse.network.association import Association, exchange_of
from dimse.network.incoming_request import Answer, IncomingRequest
from dimse.network.invoking import invoke
from dimse.services.handlers import answered
from dimse.status import Status

logger = logging.getLogger("dimse.network")

EchoHandler = Callable[[IncomingRequest], Awaitable[int]]


class CEchoSCU:
    """Asks the peer whether it is there (PS3.4 A.4)."""

    def __init__(self, association: Association) -> None:
        self._association = association

    async def echo(self) -> C_ECHO_RSP:
        """Send a C-ECHO and wait for its response, `Timeouts.store` at most.

        Raises `PresentationContextError` where verification was not accepted, `StatusError` for a failure.
        """
        association = self._association
        context = association.context_for(uids.VERIFICATION)
        response = await invoke(
            exchange_of(association),
            context,
            lambda number: C_ECHO_RQ(message_id=number, affected_sop_class_uid=uids.VERIFICATION),
            C_ECHO_RSP,
            doing="C-ECHO",
        )
        if not response.status.is_done:
            raise StatusError(response.status, "C-ECHO", response.error_comment)
        if response.status != Status.SUCCESS:
            peer = association.peer_name
            logger.warning("%s: C-ECHO ended with %s, a warning that C-ECHO does not define", peer, response.status)
        return response


class EchoService:
    """Answers C-ECHO: Success, unless a handler says otherwise."""

    def __init__(self, handler: EchoHandler | None = None) -> None:
        self._handler = handler

    def supports(self, abstract_syntax: str) -> bool:
        return abstract_syntax == uids.VERIFICATION

    def sends(self, abstract_syntax: str) -> bool:  # noqa: ARG002 - as `Service` has it
        return False

    async def serve(self, request: IncomingRequest) -> Answer[Response]:
        if self._handler is None:
            return request.response(Status.SUCCESS)
        return request.response(await answered(self._handler(request), "C-ECHO"))
