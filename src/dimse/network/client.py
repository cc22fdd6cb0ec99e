"""Opening associations."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from dimse import uids
from dimse.address import Address, host_and_port
from dimse.errors import AssociationError, AssociationTimeout, ConnectionLost, escaped
from dimse.network.association import Association
from dimse.network.certificate_names import names_of
from dimse.network.connection import Connection
from dimse.network.exchange import Exchange
from dimse.network.handshake import Handshake, HandshakeFailed
from dimse.network.receive_buffer import BufferPool
from dimse.network.tls_errors import is_wrong_name
from dimse.options import ClientOptions, Strictness, client_options
from dimse.rate_limit import bind
from dimse.tls import TLSOptions, context_of
from dimse.upper_layer.items import AsynchronousOperationsWindow, UserInformation
from dimse.upper_layer.machine import Machine
from dimse.upper_layer.negotiation import ProposedContext, propose, propose_extended
from dimse.upper_layer.pdu import A_ASSOCIATE_RQ

if TYPE_CHECKING:
    from dimse.network.performing import RequestorPerformer
    from dimse.network.server import AssociationServer as Server

DEFAULT_CONTEXTS = tuple(
    (uid, uids.LITTLE_ENDIAN) for uid in (uids.VERIFICATION, *uids.QUERY_RETRIEVE, *uids.COMMON_STORAGE)
)
"""The contexts proposed by default: verification, query/retrieve, the common storage SOP classes."""


_CONNECTING: Final = "connecting"
"""What is under way before the association request, for errors."""


@asynccontextmanager
async def connect(
    address: str | Address,
    *,
    contexts: Iterable[tuple[str, Sequence[str]] | ProposedContext] | None = None,
    calling_ae_title: str | None = None,
    options: ClientOptions | None = None,
    timeout: float | None = None,
    services: Server | None = None,
) -> AsyncIterator[Association]:
    """An association with the application entity at `address` (PS3.8 7.1), for an `async with`.

    `contexts` are (abstract syntax, transfer syntaxes) pairs, 128 at most; `presentation_contexts(files)` derives them
    from the sources to send, `retrieval_contexts(sop_classes)` from the SOP classes to retrieve by C-GET. By default
    they are verification, query/retrieve and the common storage SOP classes. `calling_ae_title` overrides the one in
    `options`, `timeout` the timeouts: it is short for `Timeouts.all(timeout)`, in seconds.

    The operations window of `options` is proposed only if `contexts` has a storage SOP class to send: nothing else
    uses it, and some devices drop the connection when one is proposed.

    What the peer requests on the association, such as N-EVENT-REPORT, is served by the handlers of the server
    `services`, which need not listen; without it, a request of the peer ends the association. An acceptor sends such
    requests only on contexts with the roles for them: see `ProposedContext`. Other requests than N-EVENT-REPORT are
    refused where this side has not proposed to be SCP.

    Leaving the block releases the association; leaving it by an exception aborts it. Raises
    `ConnectionLost` if nothing listens there, `AssociationRejected`, `AssociationAborted` or
    `AssociationTimeout`, and `ValueError` for text that is not an address.

    >>> async def main():
    ...     async with connect("ARCHIVE@localhost:11112") as association:
    ...         await CEchoSCU(association).echo()
    """
    address = Address.parse(address)
    options = client_options(options, calling_ae_title, timeout)
    bind(options.rate_limit)
    wanted = [*(DEFAULT_CONTEXTS if contexts is None else contexts)]
    proposed, roles = propose(wanted)
    extended, common_extended = propose_extended(wanted)
    to_receive = {role.sop_class_uid for role in roles if not role.scu_role}
    to_send = [each for each in proposed if uids.is_storage(each.abstract_syntax)] if contexts is not None else []
    uses_window = options.operations_window > 1 and any(each.abstract_syntax not in to_receive for each in to_send)
    request = A_ASSOCIATE_RQ(
        called_ae_title=address.ae_title,
        calling_ae_title=options.calling_ae_title,
        presentation_contexts=proposed,
        user_information=UserInformation(
            maximum_length=options.maximum_length,
            implementation_class_uid=uids.IMPLEMENTATION_CLASS_UID,
            implementation_version_name=uids.IMPLEMENTATION_VERSION_NAME,
            asynchronous_operations_window=AsynchronousOperationsWindow(options.operations_window, 1)
            if uses_window
            else None,
            role_selections=roles,
            sop_class_extended=extended,
            sop_class_common_extended=common_extended,
            user_identity=options.user_identity,
        ),
    )
    exchange, performer = await _open(address, options, request.calling_ae_title, services)
    try:
        async with Association(exchange) if performer is None else performer.association as association:
            await exchange.establish(request)
            if performer is not None:
                performer.start()
            yield association
    finally:
        if performer is not None:
            await performer.closed()


async def _open(
    address: Address, options: ClientOptions, calling_ae_title: str, server: Server | None
) -> tuple[Exchange, RequestorPerformer | None]:
    """Open the transport connection; the association on it is not established yet."""
    machine = Machine(
        requestor=True,
        maximum_length=options.maximum_length,
        artim=options.timeouts.artim,
        strict=options.strictness is Strictness.STRICT,
    )
    connection = Connection(machine, BufferPool())
    performer = None
    if server is None:
        exchange = Exchange(connection, options, address=address)
    else:
        from dimse.network.performing import RequestorPerformer  # few requestors serve requests
        from dimse.network.server import services_of

        performer = RequestorPerformer(connection, options, services_of(server), address)
        exchange = performer.exchange
    exchange.telling.connected(host_and_port(address.host, address.port))
    exchange.telling.called(calling_ae_title, address.ae_title)
    try:
        await _connect(connection, address, options)
    except AssociationError as error:
        exchange.telling.failed(error)
        raise
    return exchange, performer


async def _connect(connection: Connection, address: Address, options: ClientOptions) -> None:
    try:
        async with asyncio.timeout(options.timeouts.connect):
            if options.tls is None:
                await asyncio.get_running_loop().create_connection(lambda: connection, address.host, address.port)
            else:
                await _connect_with_tls(connection, address, options.tls, options.timeouts.connect)
    except TimeoutError as error:
        if error.errno is None:  # else the operating system's timeout came first
            silent = f"cannot connect to {address}: no answer"
            late = AssociationTimeout("connect", options.timeouts.connect or 0, _CONNECTING, silent)
            raise late.at(str(address)) from None
        raise _lost(address, f"cannot connect to {address}: {error.strerror}") from error
    except UnicodeError:
        raise _lost(address, f"cannot connect to {address}: {address.host} is not a host name") from None
    except OSError as error:
        raise _lost(address, f"cannot connect to {address}: {_reason(error)}") from error


async def _connect_with_tls(
    connection: Connection, address: Address, tls: TLSOptions | ssl.SSLContext, seconds: float | None
) -> None:
    context = context_of(tls, server_side=False)
    name = (isinstance(tls, TLSOptions) and tls.server_name) or address.host.partition("%")[0]  # without IPv6's zone
    try:
        await Handshake(connection).connect(address.host, address.port, context, server_name=name, seconds=seconds)
    except HandshakeFailed as error:
        reason, cause = str(error), error.__cause__
        if is_wrong_name(cause) and isinstance(tls, TLSOptions):
            names = ", ".join(map(escaped, await _names_at(address, tls, name))) or "unknown"
            reason = f"the peer's certificate is not for {name}, but for: {names}"
        raise _lost(address, f"TLS handshake with {address} failed: {reason}") from cause


async def _names_at(address: Address, tls: TLSOptions, name: str) -> tuple[str, ...]:
    """The names in the certificate there, which OpenSSL does not tell if none fits. Nothing is sent."""
    try:
        context = tls.context_without_name_check()
        _, writer = await asyncio.open_connection(address.host, address.port, ssl=context, server_hostname=name)
    except (OSError, ValueError):  # the files may have changed, and be unusable now
        return ()
    names = names_of(writer.get_extra_info("peercert"))
    writer.transport.abort()
    return names


def _lost(address: Address, why: str) -> ConnectionLost:
    return ConnectionLost(why).at(str(address), _CONNECTING)


def _reason(error: OSError) -> str:
    """The operating system's words, where it has some: asyncio's are a call and its arguments."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)
