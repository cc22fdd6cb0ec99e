"""The node: its parts, begun in order, and ended in the reverse one.

1. The lock of the data folder, the index, what receives instances, what answers; the server listens when all of it
   works, and the page comes last.
2. The server ends first: its associations may finish. What they have stored is then in the index and in its place.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from dimse.address import Address
from dimse.events import AssociationEvent
from dimse.network.signals import run_until_signal
from dimse.node.checking import cannot_listen
from dimse.node.data_folder import index_url, served
from dimse.node.destinations import FROM_ASSOCIATION, Destinations, destination_of
from dimse.node.index import Index
from dimse.node.options import NodeOptions
from dimse.node.retrieving import Retriever
from dimse.options import ServerOptions
from dimse.services.server import Server


class Node:
    """An archive that serves inside its block: storage, queries, retrieval and storage commitment.

    Everything that it keeps is in the folder `options.data`, which one node at a time can serve from. It raises
    `OSError` if the folder or the port cannot be used, and `sqlalchemy.exc.SQLAlchemyError` for the index.

    >>> async with Node(NodeOptions(data="archive", port=0)) as node:  # doctest: +SKIP
    ...     await dimse.send(str(node.address), ["ct.dcm"])
    """

    index: Index
    """The index, inside the block."""

    def __init__(self, options: NodeOptions) -> None:
        self.options = options
        self._destinations = Destinations(options.destinations)
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

    async def _begin(self, parts: AsyncExitStack) -> None:
        options = self.options
        parts.enter_context(served(options.data))
        self.index = await asyncio.to_thread(Index, options.index or index_url(options.data))
        parts.push_async_callback(asyncio.to_thread, self.index.close)
        unknown_matches = options.query.unknown_matches
        Retriever(self.index, options.data, _where_it_belongs, unknown_matches=unknown_matches).register(self.server)
        try:
            await parts.enter_async_context(self.server)
        except OSError as error:
            raise OSError(error.errno, cannot_listen(self.server.host, self.server.port, error)) from error

    def run(self) -> None:
        """Serve until Ctrl-C or SIGTERM, in an event loop of its own; call it from the main thread.

        Then open associations may finish, for `ServerOptions.stop_timeout` seconds. A second signal aborts them.
        """

        async def serve() -> None:
            async with self:
                await asyncio.get_running_loop().create_future()

        run_until_signal(serve)

    def reconfigure(self, options: NodeOptions) -> None:
        """Use the peers, the destinations and the limits of `options` for associations that are requested from now on.

        Those that are open keep theirs. All other options stay as they were.
        """
        self._destinations.replace(options.destinations)
        self.options = replace(self.options, server=options.server, destinations=options.destinations)
        self.server.reconfigure(self._server_options(self.options))

    def _server_options(self, options: NodeOptions) -> ServerOptions:
        """Those of associations; events are asked for only where somebody needs them, as each costs time."""
        addresses = (Address.parse(destination_of(each).address) for each in options.destinations.values())
        if all(address.host != FROM_ASSOCIATION for address in addresses):
            return options.server
        tell = options.server.on_event

        def note(event: AssociationEvent) -> None:
            self._destinations.note(event)
            if tell is not None:
                tell(event)

        return replace(options.server, on_event=note)


def _where_it_belongs(path: Path) -> Path:
    return path
