"""The Verification service class (PS3.4 Annex A): C-ECHO, as SCU and as SCP."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter

from dimse import uids
from dimse.address import Address
from dimse.errors import StatusError
from dimse.messages.message import C_ECHO_RQ, C_ECHO_RSP, Response
from dimse.network.application_entity import ApplicationEntity, entity_of
from dimse.network.association import Association, exchange_of
from dimse.network.incoming_request import Answer, IncomingRequest
from dimse.network.invoking import invoke
from dimse.options import ClientOptions
from dimse.services.handlers import answered
from dimse.status import Status

logger = logging.getLogger("dimse.network")


@dataclass(frozen=True, slots=True)
class EchoRequest:
    """A received C-ECHO, as its handler sees it (PS3.4 A.4)."""

    association: Association
    command: C_ECHO_RQ


@dataclass(frozen=True, slots=True)
class EchoReport:
    """The outcome of a C-ECHO."""

    status: Status
    seconds: float
    """From the request to the response."""
    association_seconds: float
    """To connect and to associate, before the request."""
    association: Association
    """The association, which has ended: what was negotiated on it."""


async def echo(
    address: str | Address | ApplicationEntity,
    *,
    calling_ae_title: str | None = None,
    options: ClientOptions | None = None,
    timeout: float | None = None,
) -> EchoReport:
    """Test the connection to the application entity at `address` with a C-ECHO on an association of its own (PS3.4 A).

    `timeout` is short for `ClientOptions(timeouts=Timeouts.all(timeout))`, in seconds.

    Raises `AssociationError` if there is no association, `PresentationContextError` if the peer did not accept
    Verification, and `StatusError` for a failure status. `explain` finds out why it fails.

    >>> async def main():
    ...     report = await echo("ARCHIVE@localhost:11112", timeout=5)
    ...     print(f"{report.seconds * 1000:.1f} ms")
    """
    entity = entity_of(address, options, calling_ae_title, timeout)
    start, refusal = perf_counter(), None
    async with entity.connect([(uids.VERIFICATION, uids.LITTLE_ENDIAN)]) as association:
        associated = perf_counter()
        try:
            response = await CEchoSCU(association).echo()
        except StatusError as error:
            refusal = error  # raised after the association was released
        responded = perf_counter()
    if refusal is not None:
        raise refusal
    return EchoReport(response.status, responded - associated, associated - start, association)


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
            offending = response.offending_element or ()
            error = StatusError(response.status, "C-ECHO", response.error_comment, offending)
            raise error.at(exchange_of(association).address)
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
