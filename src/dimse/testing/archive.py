"""An archive for tests: it stores, finds, gets and moves instances, and fails on demand."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pydicom import dcmread
from pydicom.dataset import Dataset

from dimse.address import Address
from dimse.dataset.part10 import encode_file_meta
from dimse.messages.message import Request
from dimse.network.association import Association
from dimse.network.background_loop import BackgroundLoop
from dimse.options import RetryPolicy, SendOptions, ServerOptions, StoreMode, StoreOptions
from dimse.services.matching import Matcher
from dimse.services.move_scp import Destinations, MoveDestination
from dimse.services.query_request import QueryRequest
from dimse.services.server import Server
from dimse.services.store_request import StoreRequest
from dimse.services.verification import EchoRequest
from dimse.status import Status
from dimse.testing.faults import Delay, Drop, Fault, Faults, Refuse, take_effect
from dimse.testing.scripted_peer import ScriptedPeer
from dimse.upper_layer.pdu import A_ABORT, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ

_OPTIONS: Final = ServerOptions(
    # Without fsync, and at once at the end: nothing here is kept, and a test does not wait.
    store=StoreOptions(mode=StoreMode.BUFFERED, fsync=False),
    send=SendOptions(retry=RetryPolicy(retries=0)),
    stop_timeout=0,
    maximum_associations_per_host=None,
    maximum_associations_per_title=None,
    maximum_connections_per_second=None,
)


@dataclass(frozen=True)
class ArchiveRequest:
    """A request that a fake archive received."""

    operation: str
    """C-ECHO, C-STORE, C-FIND, C-GET or C-MOVE."""
    calling_ae_title: str
    command: Request
    dataset: Dataset | None
    """The instance of a C-STORE, the identifier of a query or retrieval."""


class FakeArchive:
    """An archive that runs in a thread inside a `with` block, for tests with an event loop and for tests without one.

    It contains the `instances`, those in the files `*.dcm` below `folder`, and all received ones, which it also writes
    to the `folder`, if any. Queries match as PS3.4 C.2.2.2 specifies. `destinations` are the addresses that it moves
    to, by AE title.

    >>> with FakeArchive() as archive:
    ...     archive.on("C-STORE", Answer(Status.OUT_OF_RESOURCES), nth=2)
    ...     address = archive.address  # for dimse.send, or any other program
    """

    def __init__(
        self,
        instances: Iterable[Dataset] = (),
        *,
        folder: Path | None = None,
        ae_title: str = "ARCHIVE",
        port: int = 0,
        destinations: Mapping[str, str | Address | MoveDestination] | None = None,
    ) -> None:
        self.requests: list[ArchiveRequest] = []
        """The received requests, in the order in which it began to answer them."""
        self.folder = folder
        self.destinations = dict(destinations or {})
        """The addresses that it moves to, by AE title."""
        self._faults = Faults()
        self._instances: dict[str, Dataset] = {}
        # The function, not the dict, which the server would copy: a test may add destinations later.
        self._server = _FaultyServer(ae_title, port, self._faults, self.destinations.get)
        self._running = ExitStack()
        for instance in instances:
            self.add(instance)
        for path in sorted(folder.rglob("*.dcm")) if folder is not None else ():
            self.add(dcmread(path))
        self._serve()

    def add(self, instance: Dataset) -> None:
        """Put an instance into the archive, in place of one with the same SOP Instance UID."""
        self._instances[str(instance.SOPInstanceUID)] = instance

    @property
    def instances(self) -> list[Dataset]:
        """The instances in the archive. Received ones have File Meta Information."""
        return list(self._instances.values())

    def on(self, operation: str, fault: Fault, *, nth: int | None = None) -> None:
        """Inject a fault into the `nth` operation of a kind from now on, or into each. Several take effect in turn.

        `operation` is A-ASSOCIATE, C-ECHO, C-STORE, C-FIND, C-GET or C-MOVE. A fault of a C-STORE takes effect when
        the archive has received the data set, one of the others before the first response.
        """
        self._faults.order(operation, fault, nth)

    def clear_faults(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    @property
    def connections(self) -> int:
        """The number of connections that it accepted."""
        return self._server.connections

    @property
    def ae_title(self) -> str:
        """Its AE title."""
        return self._server.ae_title

    @property
    def host(self) -> str:
        """The loopback address, on which it listens."""
        return self._server.host

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return self._server.port

    @property
    def address(self) -> str:
        """Its address as TITLE@HOST:PORT."""
        return f"{self.ae_title}@{self.host}:{self.port}"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            loop = stack.enter_context(BackgroundLoop())
            loop.run(self._server.start())
            stack.callback(lambda: loop.run(self._server.stop()))
            self._running = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running.close()

    # In the thread

    def _serve(self) -> None:
        server = self._server

        @server.on_c_echo
        async def echo(request: EchoRequest) -> int:
            await self._begin("C-ECHO", request.association, request.command, None)
            return Status.SUCCESS

        @server.on_c_store
        async def store(request: StoreRequest) -> int:
            instance = _instance(request)
            await self._begin("C-STORE", request.association, request.command, instance)
            self.add(instance)
            if self.folder is not None:
                await request.save_under(self.folder)
            return Status.SUCCESS

        @server.on_c_find
        async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
            await self._begin("C-FIND", request.association, request.command, request.identifier)
            for match in Matcher(request.identifier).find(self.instances):
                yield match

        @server.on_c_get
        @server.on_c_move
        async def retrieve(request: QueryRequest) -> AsyncIterator[Dataset]:
            operation = request.command.name.removesuffix("-RQ")
            await self._begin(operation, request.association, request.command, request.identifier)
            matcher = Matcher(request.identifier)
            for instance in self.instances:
                if matcher.matches(instance):
                    yield instance

    async def _begin(self, operation: str, association: Association, command: Request, dataset: Dataset | None) -> None:
        """Note a request, and let the faults that are due take effect. Raises what ends the handler."""
        self.requests.append(ArchiveRequest(operation, association.calling_ae_title, command, dataset))
        for fault in self._faults.due(operation):
            await take_effect(fault, association)


def _instance(request: StoreRequest) -> Dataset:
    """The received instance, with File Meta Information."""
    meta = encode_file_meta(
        sop_class_uid=request.sop_class_uid,
        sop_instance_uid=request.sop_instance_uid,
        transfer_syntax_uid=request.transfer_syntax_uid,
        sending_ae_title=request.association.peer_ae_title,
    )
    return dcmread(BytesIO(meta + request.data))


class _FaultyServer(Server):
    """A server whose connections can have the faults of associations."""

    def __init__(self, ae_title: str, port: int, faults: Faults, destinations: Destinations) -> None:
        super().__init__(ae_title, host="127.0.0.1", port=port, options=_OPTIONS, destinations=destinations)
        self.connections = 0
        self._faults = faults
        self._tasks: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        """Stop listening, and end all associations now."""
        await super().stop()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, connected: socket.socket) -> None:
        """Have a look at the faults before the server has the connection."""
        self.connections += 1
        self._start_task(self._open_or_end(connected, self._faults.due("A-ASSOCIATE")))

    async def _open_or_end(self, connected: socket.socket, due: list[Fault]) -> None:
        """Let the faults of an association take effect, or leave the connection to the server."""
        try:
            await asyncio.sleep(sum(fault.seconds for fault in due if isinstance(fault, Delay)))
        except asyncio.CancelledError:
            connected.close()
            raise
        end = next((fault for fault in due if not isinstance(fault, Delay)), None)
        if end is not None:
            await _end(connected, end)
        else:
            await super()._open(connected)


async def _end(connected: socket.socket, fault: Fault) -> None:
    """End a connection before there is an association."""
    async with ScriptedPeer(*await asyncio.open_connection(sock=connected)) as peer:
        if isinstance(fault, Drop):
            return
        await peer.expect(A_ASSOCIATE_RQ)
        if isinstance(fault, Refuse):
            await peer.send(A_ASSOCIATE_RJ(fault.result, fault.source, fault.reason))
        else:
            await peer.send(A_ABORT(0, 0))
        await peer.closed()
