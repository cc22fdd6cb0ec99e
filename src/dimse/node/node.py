"""The node: its parts, begun in order, and ended in the reverse one.

1. The lock of the data folder, the index, what receives instances, what answers; the server listens when all of it
   works, and the page comes last.
2. The page ends first, then the server, whose associations may finish. What they have stored is then in the index and
   in its place.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dimse.address import Address
from dimse.audit import AuditLog
from dimse.events import AssociationEvent
from dimse.network.listening import cannot_listen
from dimse.network.signals import run_until_signal
from dimse.node import deleting, forgetting
from dimse.node.arrival import Placed
from dimse.node.checking import cannot_show, check_folders
from dimse.node.commitment import committing
from dimse.node.data_folder import check_has_index, index_url, served
from dimse.node.destinations import Destinations
from dimse.node.finding import Finder
from dimse.node.forgetting import defer_forgetting
from dimse.node.index import Index
from dimse.node.ingest import Ingest
from dimse.node.jobs import Handler, Jobs, correct_moments
from dimse.node.options import NodeOptions, WebOptions, is_loopback
from dimse.node.procedure_steps import serve_procedure_steps
from dimse.node.retrieving import Retriever
from dimse.node.settling import Settling
from dimse.node.webhooks import Hooks
from dimse.options import ServerOptions
from dimse.services.server import Server
from dimse.services.store_request import StoreRequest

if TYPE_CHECKING:
    from dimse.node.web.app import WebServer
    from dimse.node.web.metrics import Metrics

logger = logging.getLogger("dimse.node")


class Node:
    """An archive that serves inside its block: storage, queries, retrieval and storage commitment.

    Everything that it keeps is in the folder `options.data`, which one node at a time can serve from. It raises
    `OSError` if the folder or a port cannot be used, and `sqlalchemy.exc.SQLAlchemyError` for the index.

    >>> async with Node(NodeOptions(data=Path("archive"), port=0)) as node:  # doctest: +SKIP
    ...     await dimse.send(str(node.address), ["ct.dcm"])
    """

    index: Index
    """The index, inside the block."""

    def __init__(self, options: NodeOptions) -> None:
        self.options = options
        self.page: WebServer | None = None
        """The page, inside the block; None if there is none."""
        self._destinations = Destinations(options.destinations)
        self._metrics = None if options.web is None else _new_metrics()
        self.server = Server(
            options.ae_title,
            host=options.host,
            port=options.port,
            options=self._server_options(options),
            destinations=self._destinations,
        )
        """The server of DICOM associations."""
        self._parts = AsyncExitStack()

    @property
    def port(self) -> int:
        """The port that it listens on, inside the block."""
        return self.server.port

    @property
    def address(self) -> Address:
        """Its address for peers on this machine, inside the block."""
        return Address(self.server.ae_title, self.server.host, self.server.port)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as parts:
            await self._begin(parts)
            self._parts = parts.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._parts.aclose()
        self.page = None

    async def _begin(self, parts: AsyncExitStack) -> None:
        options, server, data = self.options, self.server, self.options.data
        check_folders(data)
        parts.enter_context(served(data))
        if options.index is None:
            check_has_index(data)
        self.index = index = await asyncio.to_thread(
            Index, options.index or index_url(data), fsync=options.storage.fsync
        )
        parts.push_async_callback(asyncio.to_thread, index.close)
        await parts.enter_async_context(await self._jobs())
        arriving = Counter[str]()
        settling = await parts.enter_async_context(Settling(index, options.settling, arriving=arriving))
        serve_procedure_steps(server, index, settling.wake)
        ingest = await parts.enter_async_context(self._ingest(settling, arriving))
        server.on_c_store(ingest.store)
        Finder(index, data, ae_title=server.ae_title, options=options.query).register(server)
        Retriever(index, data, unknown_matches=options.query.unknown_matches).register(server)
        await parts.enter_async_context(committing(server, index, data, self._destinations))
        with _said(cannot_listen, server.host, server.port):
            await parts.enter_async_context(server)
        if not is_loopback(server.host) and options.server.access.peers is None:
            logger.warning("any peer that reaches port %d may store and read everything: name the peers", server.port)
        if options.web is not None:
            page = self._page(options.web, ingest)
            with _said(cannot_show, options.web.host, options.web.port):
                self.page = await parts.enter_async_context(page)

    async def _jobs(self) -> Jobs:
        index, options = self.index, self.options
        hooks = Hooks(index, options.data, options.webhooks, options.commands)
        await index.write(hooks.subscribe)
        await index.write(correct_moments)
        await index.write(defer_forgetting)
        own: dict[str, Handler] = {
            deleting.KIND: deleting.FileDeletion(index, options.data),
            forgetting.KIND: forgetting.Forgetting(index),
        }
        return Jobs(index, {**own, **hooks.handlers})

    def _ingest(self, settling: Settling, arriving: Counter[str]) -> Ingest:
        def stored(request: StoreRequest, placed: Placed) -> None:
            settling.stored(request.association, placed.arrival.description.study_uid)

        committed = None if self._metrics is None else self._metrics.committed
        return Ingest(self.index, self.options, stored=stored, committed=committed, arriving=arriving)

    def _page(self, web: WebOptions, ingest: Ingest) -> WebServer:
        from dimse.node.web.app import WebServer  # few programs have one

        return WebServer(
            web,
            index=self.index,
            server=self.server,
            data=self.options.data,
            minimum_free=self.options.storage.minimum_free,
            problem=ingest.check,
            queue=lambda: ingest.waiting,
            destinations=self._destinations.reachable,
            metrics=self._metrics,
        )

    def run(self) -> None:
        """Serve until Ctrl-C or SIGTERM, in an event loop of its own; call it from the main thread.

        Then open associations may finish, for `ServerOptions.stop_timeout` seconds. A second signal aborts them.
        """

        async def serve() -> None:
            async with self:
                await asyncio.get_running_loop().create_future()

        run_until_signal(serve)

    def reconfigure(self, options: NodeOptions) -> Sequence[str]:
        """Use the peers, destinations, limits and TLS of `options` for associations that are requested from now on.

        Those that are open keep theirs. Returns the names of other options that differ: they stay as they were.
        """
        self._destinations.replace(options.destinations)
        audit = self.options.server.audit
        server = replace(options.server, audit=audit)
        self.options = replace(self.options, server=server, destinations=options.destinations)
        self.server.reconfigure(self._server_options(self.options))
        names = [each.name for each in fields(options) if each.name != "server"]
        others = [name for name in names if getattr(options, name) != getattr(self.options, name)]
        return [*others, "audit"] if _path(options.server.audit) != _path(audit) else others

    def _server_options(self, options: NodeOptions) -> ServerOptions:
        """Those of associations; events are asked for only where somebody needs them, as each costs time."""
        listeners: list[Callable[[AssociationEvent], object]] = []
        if self._destinations.depend_on_callers:
            listeners.append(self._destinations.note)
        if self._metrics is not None:
            listeners.append(self._metrics.note)
        if options.server.on_event is not None:
            listeners.append(options.server.on_event)

        def note(event: AssociationEvent) -> None:
            for listener in listeners:
                listener(event)

        return replace(options.server, on_event=note) if listeners else options.server


def _path(audit: AuditLog | None) -> Path | None:
    return None if audit is None else audit.path


@contextmanager
def _said(say: Callable[[str, int, OSError], str], host: str, port: int) -> Iterator[None]:
    """In the block, an address is listened on. Says which one if that fails."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, say(host, port, error)) from error


def _new_metrics() -> Metrics:
    from dimse.node.web.metrics import Metrics  # it imports what only the page needs

    return Metrics()
