"""`dimse route`: a storage SCP that forwards what it receives, by rules."""

from __future__ import annotations

import asyncio
import signal
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from dimse.cli import acceptor, arguments, exit_codes, route_rules, runtime
from dimse.cli.output import counted, print_error, print_json, print_line
from dimse.cli.route_report import STATE_FILE, RoutingReport, state_of, write_state
from dimse.cli.route_rules import Routes
from dimse.cli.serving import failures_told, finish, listens, stop, until_signals
from dimse.cli.unread import never_waiting
from dimse.dataset.spool import Spool
from dimse.network.application_entity import entity_of
from dimse.services.forwarding import Forwarder
from dimse.services.forwarding_destination import ForwardState
from dimse.services.server import Server
from dimse.services.store_request import StoreRequest
from dimse.status import Status

EXIT_CODES: Final = (
    "0 ended by Ctrl-C or SIGTERM, after open associations and transfers had ended; 1 the port or the spool "
    "cannot be used; 2 wrong usage or a wrong configuration; 130 ended by a second Ctrl-C, which aborts both."
)

_TITLE: Final = "ROUTER"

_STATE_PACE: Final = 1.0
"""Seconds between two looks at the state, which is written if it has changed."""


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        required=True,
        help="TOML file with the spool, the destinations and the rules.",
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--check", action="store_true", help="Check the file, and exit.")
    group.add_argument(
        "--status", action="store_true", help="Show the state of each destination and of its queue, and exit."
    )
    acceptor.add_arguments(parser)
    arguments.add_json(parser, "Print one JSON object per line.")
    parser.add_argument("--quiet", action="store_true", help="Print no lines about objects, unless they are refused.")


def route(
    *,
    config: Path,
    check: bool,
    status: bool,
    port: int,
    host: str,
    title: str | None,
    json: bool,
    quiet: bool,
    **association: Any,
) -> int:
    """Receive DICOM objects and send them on, by rules (storage SCP and SCU).

    The sender of an object gets Success when it is on the disk, in a queue for each destination. It stays there until
    the destination has stored it, also through a restart. SIGHUP retries at once, including objects that a destination
    has refused.
    """
    routes = route_rules.read(config, title or _TITLE)
    if check:
        _checked(routes, config, json=json)
        return exit_codes.OK
    report = RoutingReport(json=json, quiet=quiet)
    if status:
        return _status(routes, report)
    with arguments.usage():
        server = Server(title or _TITLE, host=host, port=port, options=acceptor.options(title=title, **association))
    forwarder = Forwarder(
        routes.spool,
        routes.destinations,
        maximum_bytes=routes.maximum_bytes,
        minimum_free=routes.minimum_free,
        on_result=report.forwarded,
    )
    with never_waiting():
        return runtime.run(_route(server, routes, forwarder, report))


def _checked(routes: Routes, config: Path, *, json: bool) -> None:
    destinations, rules = len(routes.destinations), len(routes.rules)
    if json:
        print_json(event="checked", destinations=destinations, rules=rules)
    else:
        print_line(f"{config}: {counted(destinations, 'destination')}, {counted(rules, 'rule')}; no errors")


def _status(routes: Routes, report: RoutingReport) -> int:
    spool = Spool(routes.spool)
    running = spool.is_used()
    written: dict[str, Any] = {}
    if running:
        import json

        with suppress(OSError, ValueError):
            written = json.loads((routes.spool / STATE_FILE).read_text(encoding="utf-8"))
    else:
        print_error("dimse: no router is running on this spool")
    for name in routes.destinations:
        state = state_of(written[name]) if name in written else _contents(spool, name)
        report.state(name, state, running=running)
    return exit_codes.OK


def _contents(spool: Spool, name: str) -> ForwardState:
    found = spool.contents(name)
    return ForwardState(
        waiting=found.waiting.files,
        waiting_bytes=found.waiting.size,
        in_work=0,
        delivered=0,
        failed=found.failed.files,
        failed_bytes=found.failed.size,
        reachable_since=None,
        error=None,
        next_attempt=None,
    )


async def _route(server: Server, routes: Routes, forwarder: Forwarder, report: RoutingReport) -> int:
    @server.on_c_store
    async def store(request: StoreRequest) -> int:
        with failures_told(lambda error: report.refused(request, error)):
            destinations = routes.destinations_of(request)
            await forwarder.add(request, destinations)
        report.received(request, destinations)
        return Status.SUCCESS

    forwarding = AsyncExitStack()
    with until_signals() as (stopping, aborting):
        await forwarding.enter_async_context(forwarder)
        with _retries_on_hangup(forwarder):
            if not await listens(server, json=report.is_json):
                await forwarding.aclose()
                return exit_codes.FAILED
            addresses = {name: str(entity_of(to.peer).address) for name, to in routes.destinations.items()}
            report.listening(server, routes.spool, addresses)
            writing = asyncio.create_task(_write_states(routes.spool, forwarder))
            await stopping.wait()
        await stop(server, aborting)
        await finish(forwarding, forwarder, aborting)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    report.finish(forwarder.state())
    return exit_codes.INTERRUPTED if aborting.is_set() else exit_codes.OK


async def _write_states(spool: Path, forwarder: Forwarder) -> None:
    """Keep the state in the spool."""
    written: dict[str, ForwardState] = {}
    while True:
        if (states := forwarder.state()) != written:
            with suppress(OSError):  # a full disk: the next one may be written
                await asyncio.to_thread(write_state, spool, states)
                written = states
        await asyncio.sleep(_STATE_PACE)


@contextmanager
def _retries_on_hangup(forwarder: Forwarder) -> Iterator[None]:
    """Inside the block, SIGHUP tries again what was set aside, and what waits for its next attempt."""
    loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    def retry() -> None:
        task = loop.create_task(forwarder.retry())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    if not hasattr(signal, "SIGHUP"):
        yield
        return
    previous = signal.signal(signal.SIGHUP, lambda *_: loop.call_soon_threadsafe(retry))
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, previous)
