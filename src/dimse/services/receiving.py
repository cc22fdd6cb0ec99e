"""The receiver of a retrieval by C-MOVE: it takes the missing instances from the archive, and refuses everything else.

1. It listens on the address by which this side reaches the archive, unless the caller names another.
2. It accepts associations that call its AE title.
3. It takes an instance that is missing, if it comes from a host of the archive or names a C-MOVE of this retrieval as
   its Move Originator (PS3.7 9.3.1.1): an archive may send from another host, and need not name the originator.
4. Everything else is refused before its data set is read.
5. If the archive is reached with TLS, it speaks TLS too, with the same certificate and CA.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from ipaddress import ip_address
from ssl import SSLContext

from dimse.access import Access
from dimse.address import Address
from dimse.messages.message import C_STORE_RQ, Response
from dimse.network.incoming_request import Answer, IncomingRequest
from dimse.network.server import services_of
from dimse.options import ServerOptions
from dimse.services.bringing_record import Record
from dimse.services.bringing_requests import Archive
from dimse.services.server import Server
from dimse.services.store_scp import StoreService
from dimse.status import Status, StatusCategory

_LOOPBACK = ("127.0.0.1", "::1")


def default_host(own_host: str) -> str:
    """The address to listen on, from the own one of a connection to the archive."""
    is_loopback = not own_host or ip_address(own_host.partition("%")[0]).is_loopback
    return "localhost" if is_loopback else own_host


def receiver(address: Address, archive: Archive, service: ReceivingService) -> Server:
    """The server that receives the instances. Raises `ValueError` if there is no certificate for its TLS."""
    access, tls = Access(called_ae_titles=[address.ae_title]), archive.options.tls
    if isinstance(tls, SSLContext):
        what = "the receiver of a C-MOVE needs TLSOptions with a certificate, not an SSLContext"
        raise ValueError(what)  # noqa: TRY004 - its type is right where no receiver is needed
    options = ServerOptions(
        audit=archive.options.audit,
        on_event=archive.options.on_event,
        on_pdu=archive.options.on_pdu,
        rate_limit=archive.options.rate_limit,
        store=archive.store,
        prefer=archive.prefer,
        access=access,
        maximum_associations_per_title=None,
        tls=tls,
        maximum_connections_per_second=None,  # an archive may open one for each instance
    )
    server = Server(address.ae_title, host=address.host, port=address.port, options=options)
    services_of(server)[C_STORE_RQ] = service
    return server


async def hosts_of(archive: Archive) -> frozenset[str]:
    """The addresses of the archive's host."""
    listing = archive.listing
    hosts = {listing.archive_host}
    with suppress(OSError, UnicodeError):
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(archive.options.timeouts.connect):
            found = await loop.getaddrinfo(archive.address.host, archive.address.port)
        hosts.update(str(address[0]) for *_, address in found)
    if listing.archive_host == listing.own_host or not hosts.isdisjoint(_LOOPBACK):
        hosts.update(_LOOPBACK, (listing.own_host,))
    return frozenset(hosts)


class ReceivingService(StoreService):
    """Stores missing instances, and notes why it refused one, which the archive does not report later."""

    def __init__(self, archive: Archive, record: Record, hosts: frozenset[str]) -> None:
        super().__init__(record.store, archive.store)
        self._record = record
        self._calling_ae_title = archive.options.calling_ae_title
        self._hosts = hosts
        self._message_ids: set[int] = set()

    def expect(self, message_id: int) -> None:
        """A C-MOVE with this Message ID is about to be sent."""
        self._message_ids.add(message_id)

    async def serve(self, request: IncomingRequest) -> Answer[Response]:
        message = request.message
        assert isinstance(message, C_STORE_RQ)  # noqa: S101 - the service is registered for no other
        if not self._is_of_the_retrieval(request, message):
            return self._refused(request, "not an instance of the retrieval under way")
        if message.affected_sop_instance_uid not in self._record.missing:
            return self._refused(request, "not requested, or has already arrived")
        answer = await super().serve(request)
        status = answer.message.status
        if status.category is StatusCategory.FAILURE:
            self._record.note_refusal(message.affected_sop_instance_uid, status, answer.message.error_comment)
        return answer

    def _is_of_the_retrieval(self, request: IncomingRequest, message: C_STORE_RQ) -> bool:
        if request.exchange.connection.peer_host in self._hosts:
            return True
        title = (message.move_originator_application_entity_title or "").strip()
        return title == self._calling_ae_title and message.move_originator_message_id in self._message_ids

    def _refused(self, request: IncomingRequest, why: str) -> Answer[Response]:
        request.exchange.deviations.tolerated(f"C-STORE: {why}; refused")
        return request.response(Status.NOT_AUTHORIZED, error_comment=why)
