"""The Verification service class (PS3.4 Annex A): C-ECHO, as SCU and as SCP."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from dimse import uids
from dimse.errors import StatusError
from dimse.messages.message import C_ECHO_RQ, C_ECHO_RSP, Response
from dimse.network.association import Association, exchange_of
from dimse.network.incoming_request import Answer, IncomingRequest
from dimse.network.invoking import invoke
from dimse.services.handlers import answered
from dimse.status import Status

logger = logging.getLogger("dimse.network")


@dataclass(frozen=True, slots=True)
class EchoRequest:
    """A received C-ECHO, as its handler sees it (PS3.4 A.4)."""

    association: Association
    command: C_ECHO_RQ


EchoHandler = Callable[[EchoRequest], Awaitable[int]]
"""Answers C-ECHO; see `Server.on_c_echo`."""


class CEchoSCU:
    """C-ECHO SCU: verifies that the peer answers (PS3.4 A.4)."""

    def __init__(self, association: Association) -> None:
        self._association = association

    async def echo(self) -> C_ECHO_RSP:
        """Send a C-ECHO and return the response. `Timeouts.store` limits how long to wait for it.

        Raises `PresentationContextError` if the peer did not accept Verification, `StatusError` for a failure status.
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
            raise StatusError(response.status, "C-ECHO", response.error_comment, response.offending_element or ())
        if response.status != Status.SUCCESS:
            peer = association.peer_name
            logger.warning("%s: C-ECHO ended with %s, a warning that C-ECHO does not define", peer, response.status)
        return response


class EchoService:
    """Answers C-ECHO with the status that its handler returns, or with Success if there is no handler."""

    def __init__(self, handler: EchoHandler | None = None) -> None:
        self._handler = handler

    def supports(self, abstract_syntax: str) -> bool:
        return abstract_syntax == uids.VERIFICATION

    def sends(self, abstract_syntax: str) -> bool:  # noqa: ARG002 - as `Service` has it
        return False

    async def serve(self, request: IncomingRequest) -> Answer[Response]:
        if self._handler is None:
            return request.response(Status.SUCCESS)
        assert isinstance(request.message, C_ECHO_RQ)  # noqa: S101 - the service is registered for no other
        handling = self._handler(EchoRequest(request.association, request.message))
        return request.response(await answered(handling, "C-ECHO"))
