"""Serving until Ctrl-C or SIGTERM, as commands do: the first lets what is under way end, the second aborts it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, Final

from dimse.address import Address
from dimse.cli import exit_codes
from dimse.cli.output import counted, print_error, print_failure
from dimse.errors import AssociationError, RemoteProtocolError, StatusError
from dimse.network.listening import cannot_listen
from dimse.network.signals import on_signals
from dimse.services.forwarding import Forwarder
from dimse.services.server import Server
from dimse.services.store_scp import refusal_of
from dimse.status import Status

_EVERY_INTERFACE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - recognized, not bound


def address_of(server: Server) -> Address:
    """The address that peers can use, to be shown to the user."""
    host = socket.gethostname() if server.host in _EVERY_INTERFACE else server.host
    return Address(server.ae_title, host, server.port)


@contextmanager
def until_signals() -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
    """Events that the first signal and the second one set."""
    stopping, aborting = asyncio.Event(), asyncio.Event()
    with on_signals(asyncio.get_running_loop(), lambda: (aborting if stopping.is_set() else stopping).set()):
        yield stopping, aborting


@contextmanager
def failures_told(tell: Callable[[Exception], None]) -> Iterator[None]:
    """Inside the block, an object is stored. If that fails, tells why, and raises the status to answer.

    The server would log any other exception, though it was just told.
    """
    try:
        yield
    except (StatusError, AssociationError, RemoteProtocolError) as error:
        tell(error)
        raise
    except Exception as error:
        tell(error)
        status, comment = refusal_of(error) or (Status.PROCESSING_FAILURE, "the object cannot be stored")
        raise StatusError(Status(status), comment) from error


async def listens(server: Server, *, json: bool = False) -> bool:
    """Start a server. If it cannot listen, says why, and returns False."""
    try:
        await server.start()
    except OSError as error:
        print_failure(cannot_listen(server.host, server.port, error), exit_codes.FAILED, json=json)
        return False
    return True


async def stop(server: Server, aborting: asyncio.Event) -> None:
    """Wait until associations end by themselves; abort them when `aborting` is set."""
    if server.associations:
        count = counted(len(server.associations), "association")
        print_error(f"dimse: waiting for {count} to end; press Ctrl-C again to abort")
    if not await unless(aborting, stopped := asyncio.ensure_future(server.stop())):
        for association in server.associations:
            association.abort()
        await stopped


async def finish(forwarding: AsyncExitStack, forwarder: Forwarder, aborting: asyncio.Event) -> None:
    """Wait until what is in transit has arrived; leave it in the spool when `aborting` is set."""
    in_work = sum(state.in_work for state in forwarder.state().values())
    if in_work and not aborting.is_set():
        print_error(
            f"dimse: waiting for {counted(in_work, 'object')} in transit; press Ctrl-C again to leave them in the spool"
        )
    if not await unless(aborting, finished := asyncio.ensure_future(forwarding.aclose())):
        finished.cancel()
        await asyncio.gather(finished, return_exceptions=True)


async def unless(aborting: asyncio.Event, future: asyncio.Future[None]) -> bool:
    """Wait until `future` is done, or until `aborting` is set. Returns whether it is not."""
    aborted = asyncio.ensure_future(aborting.wait())
    either: list[asyncio.Future[Any]] = [future, aborted]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    aborted.cancel()
    if aborting.is_set():
        return False
    await future
    return True
