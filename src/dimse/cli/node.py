"""`dimse node`: an archive."""

from __future__ import annotations

import asyncio
import signal
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from dimse.access import Access, Peer
from dimse.address import Address, check_ae_title
from dimse.cli import arguments, exit_codes, node_archive, node_options, runtime
from dimse.cli.node_report import NodeReport
from dimse.cli.output import print_failure
from dimse.cli.parser import UsageError
from dimse.cli.serving import stop, until_signals
from dimse.cli.unread import never_waiting

if TYPE_CHECKING:
    from dimse.node import NodeOptions, WebOptions

EXIT_CODES: Final = (
    "0 ended by Ctrl-C or SIGTERM, after open associations had ended; 1 the port, the data folder or the index cannot "
    "be used; 2 wrong usage or a wrong configuration; 130 ended by a second Ctrl-C, which aborts open associations."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    node_options.add_arguments(parser)
    parser.add_argument(
        "--port",
        metavar="PORT",
        type=arguments.integer_from(0, 65535),
        help="Port to listen on; 0 picks a free one. [default: that of the configuration, else 11112]",
    )
    parser.add_argument(
        "--host",
        metavar="HOST",
        help="Address to listen on; :: means every interface. [default: that of the configuration, else localhost]",
    )
    parser.add_argument(
        "--title",
        metavar="TITLE",
        type=arguments.checked(check_ae_title),
        help="Our AE title; peers may call any. [default: that of the configuration, else DIMSE]",
    )
    parser.add_argument(
        "--destination",
        metavar="TITLE@HOST:PORT",
        dest="destinations",
        type=arguments.checked(Address.parse),
        action="append",
        default=[],
        help="Where C-MOVE and reports of storage commitment may go. The HOST from-association is the one from which "
        "TITLE called last. Repeat the option for several.",
    )
    parser.add_argument(
        "--allow",
        metavar="PEER",
        type=arguments.checked(Peer.parse),
        action="append",
        help="Admit this peer, and reject all others: CT1, CT1@10.1.0.0/16, @10.1.0.0/16 or CT1=ct1.example. Repeat "
        "the option for several. [default: the peers of the configuration, else every peer]",
    )
    parser.add_argument(
        "--web",
        metavar="PORT|off",
        type=_port_or_off,
        help="Port of the web page, or off for no page. It is at the address that the configuration has for it, else "
        "at 127.0.0.1. [default: that of the configuration, else 8080]",
    )
    parser.add_argument(
        "--check", action="store_true", help="Check configuration, data folder, index and ports, and exit."
    )
    arguments.add_json(parser, "Print one JSON object per line.")
    parser.add_argument("--quiet", action="store_true", help="Print no lines about associations.")


def _port_or_off(text: str) -> int | Literal["off"]:
    try:
        return "off" if text == "off" else arguments.integer_from(0, 65535)(text)
    except (ValueError, ArgumentTypeError):
        raise ArgumentTypeError(f"must be a port, 0 to 65535, or off, not {text}") from None


def node(
    *,
    data: Path | None,
    config: Path | None,
    port: int | None,
    host: str | None,
    title: str | None,
    destinations: list[Address],
    allow: list[Peer] | None,
    web: int | Literal["off"] | None,
    check: bool,
    json: bool,
    quiet: bool,
) -> int:
    """Serve an archive: store, find, get and move instances, and answer Storage Commitment.

    Everything that it keeps is in the data folder. Without a list of peers, every application entity that reaches it
    may do everything, so by default it listens on localhost only. SIGHUP makes it read the configuration again: new
    associations get the new peers, destinations and limits.
    """

    def read() -> NodeOptions:
        options = node_options.read(data, config)
        given = {"port": port, "host": host, "ae_title": title}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        with arguments.usage():
            if allow is not None:
                called = options.server.access.called_ae_titles
                changes["server"] = replace(options.server, access=Access(peers=allow, called_ae_titles=called))
            if web is not None:
                changes["web"] = _page(options.web, web)
            changes["destinations"] = {**options.destinations, **{each.ae_title: each for each in destinations}}
            return replace(options, **changes)

    options = read()
    config = node_options.configuration(data, config)  # SIGHUP must not admit every peer if it is gone by then
    report = NodeReport(json=json, quiet=quiet)
    if check:
        return _check(options, config, report)
    with never_waiting():
        return runtime.run(_serve(options, report, read))


def _page(options: WebOptions | None, web: int | Literal["off"]) -> WebOptions | None:
    from dimse.node import WebOptions

    return None if web == "off" else replace(options or WebOptions(), port=web)


async def _serve(options: NodeOptions, report: NodeReport, read: Callable[[], NodeOptions]) -> int:
    from sqlalchemy.exc import SQLAlchemyError

    from dimse.node import Node

    node = Node(_told(options, report))

    def reload() -> None:
        try:
            again = read()
        except UsageError as error:
            report.write("not-reloaded", {"error": str(error)}, f"Not reloaded: {error}", is_problem=True)
            return
        report.reloaded(again, node.reconfigure(_told(again, report)))

    with until_signals() as (stopping, aborting), _at_hangup(reload):
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(node)
            except SQLAlchemyError as error:
                raise node_archive.unusable(options, error) from error
            report.listening(node)
            await stopping.wait()
            await stop(node.server, aborting)
    report.finish(node.server.stats())
    return exit_codes.INTERRUPTED if aborting.is_set() else exit_codes.OK


def _told(options: NodeOptions, report: NodeReport) -> NodeOptions:
    """The options with the events of associations, for the report, if it writes lines about them."""
    return options if report.is_quiet else replace(options, server=replace(options.server, on_event=report.event))


@contextmanager
def _at_hangup(callback: Callable[[], None]) -> Iterator[None]:
    """Inside the block, the event loop calls `callback` at each SIGHUP."""
    if not hasattr(signal, "SIGHUP"):
        yield
        return
    loop = asyncio.get_running_loop()
    previous = signal.signal(signal.SIGHUP, lambda *_: loop.call_soon_threadsafe(callback))
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, previous)


def _check(options: NodeOptions, config: Path | None, report: NodeReport) -> int:
    """Check what the configuration needs, and write what is wrong. The configuration itself is checked already."""
    from dimse.node.checking import problems

    found = asyncio.run(problems(options))
    for each in found:
        print_failure(each, exit_codes.FAILED, json=report.is_json)
    if not found:
        report.checked(config, options)
    return exit_codes.FAILED if found else exit_codes.OK
