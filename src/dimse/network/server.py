"""Taking associations: listen, admit, dispatch, drain."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from dimse.access import Peer
from dimse.address import DEFAULT_PORT, check_ae_title, host_and_port
from dimse.messages.message import Request
from dimse.network.admission import Admission
from dimse.network.arrivals import ArrivalRate, Arrivals
from dimse.network.association import Association
from dimse.network.auditing import ServerAudit
from dimse.network.connection import Connection
from dimse.network.entrance import Entrance
from dimse.network.exchange import ABORT_GRACE
from dimse.network.handshake import Handshake
from dimse.network.incoming_request import Service
from dimse.network.listening import Listener, listening_sockets
from dimse.network.receive_buffer import BufferPool
from dimse.network.session import Session
from dimse.network.tally import ServerStats
from dimse.options import ServerOptions, Strictness
from dimse.rate_limit import bind
from dimse.tls import context_of
from dimse.upper_layer.machine import Machine

logger = logging.getLogger("dimse.network")

_ARRIVALS: Final = 50
"""How many connections without an association there may be beyond the limit on associations, in all and per host."""

_STOP_IDLE: Final = 1.0
"""Seconds without progress after which a stopping server no longer waits for an association."""


class AssociationServer:
    """Listens for associations and dispatches their requests to services.

    `host` "localhost" is the loopback address and "::" every interface, each of IPv4 and of IPv6. `port` 0 takes a free
    port; `port` then says which. As a context manager it listens inside the block.
    """

    def __init__(
        self,
        ae_title: str = "DIMSE",
        *,
        host: str = "localhost",
        port: int = DEFAULT_PORT,
        options: ServerOptions | None = None,
    ) -> None:
        self.ae_title = check_ae_title(ae_title)
        self.host = host.strip("[]")
        self.port = port
        self.options = options or ServerOptions()
        if not isinstance(self.options, ServerOptions):
            raise TypeError(f"options must be a ServerOptions, not {type(options).__name__}")
        self._services: dict[type[Request], Service] = {}
        self._pool = BufferPool()
        self._listener: Listener | None = None
        self._sessions: set[Session] = set()
        self._handshakes: set[asyncio.Task[None]] = set()
        self.arrivals = Arrivals(*_most_arrivals(self.options))
        self._rate = ArrivalRate(self.options.maximum_connections_per_second)
        self._proxies = Peer(networks=self.options.proxy_networks)
        """A rule that fits the proxies alone."""
        self._audit = ServerAudit(self.options.audit, self.ae_title)
        self._admission = Admission(self.options, self._services, self._audit)

    def reconfigure(self, options: ServerOptions) -> None:
        """Use the access, the limits, the timeouts and the TLS of `options` for associations that are requested now on.

        Those that are open keep theirs. The other options stay those that the server was made with.
        """
        old = self.options
        self.options = replace(options, audit=old.audit, store=old.store, send=old.send)
        bind(self.options.rate_limit)
        self.arrivals.limit(*_most_arrivals(self.options))
        self._rate = ArrivalRate(self.options.maximum_connections_per_second)
        self._proxies = Peer(networks=self.options.proxy_networks)
        self._admission.reconfigure(self.options)

    async def start(self) -> None:
        """Listen. Raises `OSError` where the port is taken."""
        bind(self.options.rate_limit)
        self._admission.is_closed = False
        sockets = await listening_sockets(self.host, self.port)
        self.port = sockets[0].getsockname()[1]
        self._listener = Listener(sockets, self._welcomes, self._open)
        self._audit.started()
        logger.info("%s listens on %s", self.ae_title, host_and_port(self.host, self.port))
        self._admission.warn_if_open(self.ae_title, (sock.getsockname()[0] for sock in sockets))

    async def stop(self) -> None:
        """Let associations finish for `stop_timeout` seconds, abort those that did not, and stop listening.

        Until then new ones are rejected as transient, so that their requestors try again.
        """
        self._admission.is_closed = True
        for session in self._sessions:
            session.stop_when_idle(min(_STOP_IDLE, self.options.stop_timeout))
        tasks = [session.task for session in self._sessions]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=self.options.stop_timeout)
        finally:
            await self._close()
        tasks = [session.task for session in self._sessions]
        for session in list(self._sessions):
            session.cut_off()
        if tasks:
            # Threads that write are waited for, but not forever: a disk may hang.
            await asyncio.wait(tasks, timeout=ABORT_GRACE)

    async def _close(self) -> None:
        """Stop listening, and end the handshakes."""
        listener, self._listener = self._listener, None
        if listener is not None:
            self._audit.stopped()
            await listener.close()
        for handshake in self._handshakes:
            handshake.cancel()
        self.arrivals.close()
        if self._handshakes:
            await asyncio.wait(self._handshakes)

    async def serve_forever(self) -> None:
        """Listen until cancelled, then `stop`."""
        async with self:
            await asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def associations(self) -> Sequence[Association]:
        """The associations that are established now."""
        return [session.association for session in self._sessions if session.association.is_open]

    def stats(self) -> ServerStats:
        """What the server has done so far, in numbers, for metrics."""
        return self._admission.tally.stats(len(self.associations), [each.connection for each in self._sessions])

    def _welcomes(self, host: str) -> bool:
        """Whether the host may connect once more. A proxy may always, as its peers are counted by their own hosts."""
        return self._trusts(host) or self._rate.allows(host, asyncio.get_running_loop().time())

    async def _open(self, connected: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._arrived, connected)
        except OSError as error:
            connected.close()
            logger.warning("a connection could not be opened: %s", error)

    def _arrived(self) -> Entrance:
        return Entrance(
            trusts=self._trusts,
            welcomes=self._welcomes,
            looks=self.options.tls is None,
            seconds=self.options.timeouts.artim,
            arrivals=self.arrivals,
            enter=self._enter,
        )

    def _trusts(self, host: str) -> bool:
        """Whether it is that of a proxy, whose PROXY header is believed."""
        return self._proxies.mismatch("", host, ()) is None

    def _enter(self, entrance: Entrance) -> Connection | Handshake | None:
        if self._listener is None:
            return None
        connection = self._new_connection()
        connection.peer_host, connection.peer_name = entrance.peer_host, entrance.peer_name
        if self.options.tls is None:
            connection.opened = entrance.opened  # the handshake has a time of its own
            return connection
        handshake = Handshake(connection, self._begun)
        handshake.peer_host = entrance.peer_host
        return handshake

    def _new_connection(self) -> Connection:
        machine = Machine(
            requestor=False,
            maximum_length=self.options.maximum_length,
            artim=self.options.timeouts.artim,
            strict=self.options.strictness is Strictness.STRICT,
        )
        return Connection(machine, self._pool, self._opened)

    async def _shake_hands(self, handshake: Handshake, context: ssl.SSLContext) -> None:
        why = await handshake.accept(context)
        if why is not None:
            self._audit.not_authenticated(handshake.peer_host, why)

    def _begun(self, handshake: Handshake) -> None:
        assert self.options.tls is not None  # noqa: S101 - there are no handshakes without it
        context = context_of(self.options.tls, server_side=True)
        task = asyncio.get_running_loop().create_task(self._shake_hands(handshake, context))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)
        task.add_done_callback(lambda _: self.arrivals.discard(handshake))
        self.arrivals.add(handshake)

    def _opened(self, connection: Connection) -> None:
        session = Session(connection, self.options, self._services, self.arrivals, self._admission)
        self._sessions.add(session)
        session.task.add_done_callback(lambda _: self._left(session))
        session.task.add_done_callback(lambda _: self.arrivals.discard(connection))
        self.arrivals.add(connection)
        if self._listener is None:
            connection.kill()

    def _left(self, session: Session) -> None:
        self._sessions.discard(session)
        self._admission.tally.left(session.connection)


def _most_arrivals(options: ServerOptions) -> tuple[int, int | None]:
    """How many connections without an association there may be, in all and per host."""
    per_host = options.maximum_associations_per_host
    return options.maximum_associations + _ARRIVALS, None if per_host is None else per_host + _ARRIVALS


def services_of(server: AssociationServer) -> dict[type[Request], Service]:
    """The services of a server by request, for the library and its tests; programs register handlers instead."""
    return server._services
