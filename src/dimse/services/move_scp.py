"""C-MOVE as SCP (PS3.4 C.4.2)."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from dimse.address import Address, check_ae_title
from dimse.errors import StatusError
from dimse.messages.message import Response
from dimse.network.application_entity import ApplicationEntity
from dimse.network.incoming_request import Answer, CancelRequested, IncomingRequest
from dimse.options import AssociationOptions, ClientOptions, SendOptions
from dimse.services.collecting import SendResult
from dimse.services.outgoing import Outgoing
from dimse.services.query_request import ModelHandlers, failure, read_query
from dimse.services.retrieve_scp import PENDING_PACE, Account, RetrieveHandler
from dimse.services.sending_association import Destination
from dimse.services.sending_job import SendingJob
from dimse.status import Status

logger = logging.getLogger("dimse.query_retrieve")

_KEEP_ALIVE: Final = 5.0
"""Seconds after which a Pending response reports that a long sub-operation continues."""


@dataclass(frozen=True, slots=True)
class MoveDestination:
    """Where a C-MOVE sends its instances, and how: `options` may have TLS and timeouts.

    The calling AE title is always the server's own, and so are the audit trail and the callbacks for events, unless
    `options` have them.
    """

    address: str | Address
    options: ClientOptions = field(default_factory=ClientOptions)
    transfer_syntaxes: Sequence[str] | None = None
    """The only transfer syntaxes to propose to the destination, as in `dimse.send`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", Address.parse(self.address))

    def entity(self, ae_title: str, own: AssociationOptions) -> ApplicationEntity:
        """The application entity there, for a server with the title `ae_title` and the options `own`."""
        given = self.options
        options = replace(
            given,
            calling_ae_title=ae_title,
            audit=given.audit or own.audit,
            on_event=given.on_event or own.on_event,
            on_pdu=given.on_pdu or own.on_pdu,
            rate_limit=given.rate_limit or own.rate_limit,
        )
        return ApplicationEntity(self.address, options)


Destinations = (
    Mapping[str, str | Address | MoveDestination]
    | Callable[[str], str | Address | MoveDestination | Awaitable[str | Address | MoveDestination | None] | None]
)
"""Addresses by AE title, or a function from an AE title to its address, or to None if it does not know the title."""


def checked(destinations: Destinations) -> Destinations:
    """Destinations of which a mapping has only `MoveDestination`s. Raises `TypeError` or `ValueError`."""
    if isinstance(destinations, Mapping):
        return {title: _destination(title, found) for title, found in destinations.items()}
    if not callable(destinations):
        raise TypeError(f"destinations must be a mapping or a function, not {type(destinations).__name__}")
    return destinations


async def destination_of(destinations: Destinations, title: str) -> MoveDestination | None:
    """The destination with this AE title, or None if it is unknown."""
    found = destinations.get(title) if isinstance(destinations, Mapping) else destinations(title)
    if inspect.isawaitable(found):
        found = await found
    return None if found is None else _destination(title, found)


class MoveService:
    """Answers C-MOVE by sending the instances that a handler yields to the destination, as `dimse.send` does."""

    def __init__(
        self,
        handlers: ModelHandlers[RetrieveHandler],
        ae_title: str,
        destinations: Destinations,
        options: SendOptions,
        outgoing: Outgoing,
    ) -> None:
        self._handlers = handlers
        self._ae_title = ae_title
        self._destinations = checked(destinations)
        self._options = options
        self._outgoing = outgoing

    def supports(self, abstract_syntax: str) -> bool:
        return self._handlers.supports(abstract_syntax)

    def sends(self, abstract_syntax: str) -> bool:  # noqa: ARG002 - as `Service` has it
        return False

    async def serve(self, request: IncomingRequest) -> Answer[Response]:
        account = Account(request)
        model, handler = self._handlers.of(request)
        try:
            query = await read_query(request, model)
            with request.cancellation.interrupts():
                destination = await self._destination_for(request, query.move_destination or "")
                await account.look_at(query, handler)
            return await self._move(request, account, destination)
        except CancelRequested:
            return account.cancelled()
        except Exception as error:  # noqa: BLE001 - a handler may raise anything
            return failure(request, error)

    async def _destination_for(self, request: IncomingRequest, title: str) -> MoveDestination:
        """The address of a destination. One that the peer may not use is as unknown as any other."""
        permitted = request.rule.move_destinations
        if permitted is not None and title not in permitted:
            text = "%s: C-MOVE to %a refused: rule %s does not permit this destination"
            logger.info(text, request.exchange.peer_name, title, request.rule, extra=request.fields)
            raise _unknown(title)
        destination = await destination_of(self._destinations, title)
        if destination is None:
            raise _unknown(title)
        return destination

    async def _move(self, request: IncomingRequest, account: Account, destination: MoveDestination) -> Answer[Response]:
        changed = asyncio.Event()

        def settled(result: SendResult) -> None:
            account.note(result)
            changed.set()

        entity = destination.entity(self._ae_title, request.exchange.options)
        to = Destination(entity, self._options.allow_decompression, _originator(request))
        syntaxes = destination.transfer_syntaxes
        job = SendingJob(to, self._options.retry, settled, syntaxes, on_opened=self._outgoing.add)
        job.sources = account.sources
        sending = asyncio.create_task(job.run(self._options.associations, None))
        sending.add_done_callback(lambda _: changed.set())
        try:
            while not sending.done():
                await request.send(account.pending())
                with request.cancellation.interrupts():
                    await _wait_for(changed)
                    changed.clear()
                    await asyncio.wait({sending}, timeout=PENDING_PACE)
        finally:
            sending.cancel()
            await asyncio.wait({sending})
            error = None if sending.cancelled() else sending.exception()
        if error is not None:
            logger.warning("C-MOVE to %s: %s", destination.address, error, extra=request.fields)
            account.not_sent()
        return account.final()


async def _wait_for(changed: asyncio.Event) -> None:
    """Wait for a change, but not so long that the requestor would miss a sign of life."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_KEEP_ALIVE):
            await changed.wait()


def _unknown(title: str) -> StatusError:
    return StatusError(Status.MOVE_DESTINATION_UNKNOWN, "C-MOVE", f"no address is known for {title!a}")


def _destination(title: str, found: str | Address | MoveDestination) -> MoveDestination:
    if isinstance(found, MoveDestination):
        return found
    return MoveDestination(f"{title}@{found}" if isinstance(found, str) and "@" not in found else found)


def _originator(request: IncomingRequest) -> tuple[str, int] | None:
    """AE title and Message ID of the requestor (PS3.4 C.4.2.2.1); None if its AE title is invalid."""
    title = request.association.calling_ae_title
    try:
        return check_ae_title(title), request.message.message_id
    except ValueError:
        logger.warning(
            "C-MOVE: the requestor's AE title is invalid; omitted from the sub-operations", extra=request.fields
        )
        return None
