"""Store and forward: what is on the disk is acknowledged, and sent on when its destinations are there."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Final, Self

from dimse.address import Address
from dimse.callbacks import Callback
from dimse.dataset.sources import FileSource
from dimse.dataset.spool import Arrival, Contents, Spool, folder_name
from dimse.dataset.threads import in_worker
from dimse.errors import LocalProtocolError, StatusError
from dimse.network.application_entity import ApplicationEntity, entity_of
from dimse.options import ClientOptions
from dimse.services.forwarding_destination import DestinationQueue, ForwardDestination, ForwardResult, ForwardState
from dimse.services.store_request import StoreRequest
from dimse.status import Status

logger = logging.getLogger("dimse.storage")

MINIMUM_FREE: Final = 100 * 1024 * 1024
"""Bytes of the disk that a spool leaves to others."""


class Forwarder:
    """Keeps instances in a folder, the spool, until each of their destinations has stored them.

    `destinations` maps names of your choice to addresses (`"ARCHIVE@host:port"`), to an `ApplicationEntity`, or to a
    `ForwardDestination` that also says how to send; `calling_ae_title`, `options` and `timeout` are those of `send`.
    Each has a queue in the spool, and is tried until it is there: one that is down delays no other. An instance is one
    file, with a hard link in each queue. `ForwardDestination.retry` says when one that is refused is set aside; `state`
    shows that, and `retry` tries it again.

    Used in an `async with`, it sends inside the block. When the block ends, what is in transit gets `stop_timeout`
    seconds to arrive, and the rest stays in the spool for the next one, as it does after `kill -9`. An instance may
    then be sent twice, and none is lost. Only one process at a time can use a spool: entering raises `OSError` for
    another.

    Where the spool has `maximum_bytes`, over all destinations and with what was set aside, or its disk has less than
    `minimum_free` bytes left, nothing is added. `on_result` is called with each `ForwardResult`.

    >>> async def main(server):
    ...     async with Forwarder("spool", {"archive": "ARCHIVE@localhost:11112"}) as forwarder:
    ...         @server.on_c_store
    ...         async def store(request):
    ...             await forwarder.add(request)
    ...             return Status.SUCCESS
    ...         await server.serve_forever()
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        destinations: Mapping[str, str | Address | ApplicationEntity | ForwardDestination],
        *,
        calling_ae_title: str | None = None,
        options: ClientOptions | None = None,
        timeout: float | None = None,
        maximum_bytes: int | None = None,
        minimum_free: int = MINIMUM_FREE,
        stop_timeout: float = 30,
        on_result: Callable[[ForwardResult], object] | None = None,
    ) -> None:
        if not destinations or not all(destinations):
            raise ValueError("destinations must have at least one, and each a name")
        if len(set(map(folder_name, destinations))) < len(destinations):
            raise ValueError("destinations must have names whose folders differ")
        self._destinations = {
            name: given if isinstance(given, ForwardDestination) else ForwardDestination(given)
            for name, given in destinations.items()
        }
        self._entities = {
            name: entity_of(destination.peer, options, calling_ae_title, timeout)
            for name, destination in self._destinations.items()
        }
        self._maximum_bytes = maximum_bytes
        self._minimum_free = minimum_free
        self._stop_timeout = stop_timeout
        self._on_result = Callback("on_result", on_result, logger)
        self._spool = Spool(folder)
        self._queues: dict[str, DestinationQueue] = {}
        self._tasks: list[asyncio.Task[None]] = []
        """One for each destination, inside the block."""

    async def __aenter__(self) -> Self:
        found: dict[str, Contents] = {}
        try:
            await in_worker(self._open, found)
        except BaseException:  # this task may be cancelled while the thread opens it
            self._spool.close()
            raise
        for name, destination in self._destinations.items():
            queue = DestinationQueue(name, destination, self._entities[name], self._spool, self._on_result)
            queue.begin(found[name])
            self._queues[name] = queue
        self._tasks = [asyncio.create_task(queue.run()) for queue in self._queues.values()]
        return self

    def _open(self, found: dict[str, Contents]) -> None:
        """Open the spool, and find what its queues have. Runs in a thread."""
        found.update(self._spool.open(self._destinations))
        known = set(map(folder_name, self._destinations))
        for folder in set(self._spool.queues()) - known:
            logger.warning("%s has a queue %r, but there is no destination of that name", self._spool.root, folder)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        tasks, self._tasks = self._tasks, []
        try:
            for queue in self._queues.values():
                queue.stop()
            await asyncio.wait(tasks, timeout=self._stop_timeout)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._spool.close()

    async def add(
        self, source: StoreRequest | str | os.PathLike[str], destinations: str | Iterable[str] | None = None
    ) -> None:
        """Put an instance into the queues of `destinations`, by their names; None means all.

        The instance is a C-STORE request, which is written to the spool as it arrives, or a file, of which the spool
        gets a hard link, or a copy if it is on another file system. When this returns, it is on the disk in each queue:
        a handler that then returns Success has lost nothing, whatever happens. If it raises, it is in none of them.

        Raises `StatusError` with 0xA700 if the spool is full, for the handler to pass on; `OSError` if the spool cannot
        be written, or the file not read; `DatasetError` if the file is not DICOM; `ValueError` for an unknown name.
        """
        queues = self._named(destinations)
        if not self._tasks:
            raise LocalProtocolError("a Forwarder takes instances inside its `async with` only")
        self._check_room()
        arrival = self._spool.arriving()
        try:
            await self._arrive(source, arrival)
            size = arrival.size
        except BaseException:
            arrival.remove()
            raise
        for queue in queues:
            queue.arriving(size)
        try:
            await in_worker(self._spool.put, arrival, [queue.name for queue in queues])
        except asyncio.CancelledError:  # the thread has ended: it is there, or the disk has failed
            self._arrived(queues)
            raise
        except BaseException:
            for queue in queues:
                queue.did_not_arrive(size)
            raise
        self._arrived(queues)

    @staticmethod
    def _arrived(queues: Iterable[DestinationQueue]) -> None:
        for queue in queues:
            queue.arrived()

    async def _arrive(self, source: StoreRequest | str | os.PathLike[str], arrival: Arrival) -> None:
        if isinstance(source, StoreRequest) and source.path is None:
            await source.save(arrival.path)
            return
        path = source.path if isinstance(source, StoreRequest) else source
        assert path is not None  # noqa: S101 - it was saved

        def bring() -> None:
            FileSource(path)  # raises what is wrong with it
            self._spool.bring(path, arrival)

        await in_worker(bring)

    def _named(self, destinations: str | Iterable[str] | None) -> list[DestinationQueue]:
        names = [destinations] if isinstance(destinations, str) else destinations
        names = list(self._destinations) if names is None else list(dict.fromkeys(names))
        unknown = [name for name in names if name not in self._destinations]
        if unknown or not names:
            known = ", ".join(self._destinations)
            raise ValueError(f"destinations must be of {known}, not {', '.join(map(repr, unknown)) or 'none'}")
        return [self._queues[name] for name in names if name in self._queues]

    def _check_room(self) -> None:
        size = sum(queue.size for queue in self._queues.values())
        if self._maximum_bytes is not None and size >= self._maximum_bytes:
            raise StatusError(Status.OUT_OF_RESOURCES, "the spool is full")
        if shutil.disk_usage(self._spool.root).free < self._minimum_free:
            raise StatusError(Status.OUT_OF_RESOURCES, "the disk of the spool is almost full")

    def state(self) -> dict[str, ForwardState]:
        """What there is for each destination, and how it is doing."""
        return {name: queue.state for name, queue in self._queues.items()}

    async def retry(self, destination: str | None = None) -> None:
        """Return what was set aside to the queue of a destination, or of each, and try to reach it at once."""
        for queue in self._named(destination):
            await queue.retry()
