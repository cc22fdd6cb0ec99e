"""`dimse receive`: a storage SCP that writes received objects to a folder."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from dimse.cli import acceptor, arguments, exit_codes, receive_commands, receive_faults, receive_spool, runtime
from dimse.cli.output import counted, print_error
from dimse.cli.parser import UsageError
from dimse.cli.receive_commands import Chosen, Commands, OnArrival
from dimse.cli.receive_faults import Faults
from dimse.cli.receive_report import ReceivingReport
from dimse.cli.serving import failures_told, finish, listens, stop, unless, until_signals
from dimse.cli.unread import never_waiting
from dimse.dataset.file_names import validate_template
from dimse.options import Duplicates, StoreOptions
from dimse.services.forwarding import Forwarder
from dimse.services.server import Server
from dimse.services.store_request import DEFAULT_TEMPLATE, StoreRequest
from dimse.status import Status

EXIT_CODES: Final = (
    "0 ended by Ctrl-C or SIGTERM, after open associations had ended; 1 the port or the folder cannot be used; "
    "2 wrong usage; 130 ended by a second Ctrl-C, which aborts open associations."
)


Save = Callable[[StoreRequest], Awaitable[Path | None]]
"""Writes a file; None if the object is discarded."""

_FOLDER: Final = "Output folder; created if missing."


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.usage = "dimse receive [options] DIR"
    parser.add_argument("folder", metavar="DIR", type=Path, nargs="?", help=f"{_FOLDER} Or give it with --into.")
    parser.add_argument("-o", "--into", metavar="DIR", type=Path, help=_FOLDER)
    acceptor.add_arguments(parser)
    parser.add_argument(
        "--template",
        metavar="TEMPLATE",
        default=DEFAULT_TEMPLATE,
        help="Template of file names in DIR, with keywords of data elements in braces.",
    )
    arguments.add_duplicates(parser)
    parser.add_argument(
        "--no-fsync",
        action="store_true",
        help="Do not fsync before responding: faster, but a power failure may lose files.",
    )
    arguments.add_edits(parser)
    receive_commands.add_arguments(parser)
    receive_spool.add_arguments(parser)
    receive_faults.add_arguments(parser)
    arguments.add_json(parser, "Print one JSON object per line.")
    parser.add_argument(
        "--quiet",
        action="store_true",
        help="Print no lines about objects, associations and commands, unless they fail.",
    )


def receive(
    *,
    folder: Path | None,
    into: Path | None,
    port: int,
    host: str,
    title: str | None,
    template: str,
    duplicates: Duplicates,
    no_fsync: bool,
    settings: list[str],
    removals: list[str],
    json: bool,
    quiet: bool,
    **association: Any,
) -> int:
    """Receive DICOM objects in any transfer syntax, and write them to a folder (storage SCP)."""
    commands = arguments.take(association, receive_commands.Chosen)
    faults = arguments.take(association, receive_faults.Chosen)
    into = _folder(folder, into, faults.discard, commands)
    report = ReceivingReport(into, json=json, quiet=quiet)
    on_arrival = OnArrival(commands, report.command, into or Path(), template)
    with arguments.usage():
        validate_template(template)
        forwarder = receive_spool.forwarder_of(association, into, title or "DIMSE", report.forwarded)
        edits = arguments.edits(settings, removals)
        store = StoreOptions(fsync=not no_fsync, duplicates=duplicates)
        options = acceptor.options(title=title, store=store, **association)
        server = Server(title or "DIMSE", host=host, port=port, options=options)

    async def save(request: StoreRequest) -> Path | None:
        return None if into is None else await request.save_under(into, template, edits=edits)

    on_arrival.register(server)
    if forwarder is not None:
        on_arrival.actions.insert(0, partial(receive_spool.forward, forwarder))
    if into is not None:
        arguments.make_folder(into)
    with never_waiting():
        return runtime.run(_receive(server, report, save, on_arrival, Faults(faults), forwarder))


def _folder(folder: Path | None, into: Path | None, discards: bool, commands: Chosen) -> Path | None:
    """The folder to write to; None to write nothing."""
    given = folder or into
    if discards and (given or commands.on_object or commands.on_study):
        raise UsageError("--discard writes nothing: leave out DIR, --exec and --exec-study")
    if not discards and (given is None or (folder and into)):
        raise UsageError("receive needs one folder to write to: dimse receive DIR, or --into DIR")
    return given


async def _receive(
    server: Server,
    report: ReceivingReport,
    save: Save,
    on_arrival: OnArrival,
    faults: Faults,
    forwarder: Forwarder | None,
) -> int:
    @server.on_c_store
    async def store(request: StoreRequest) -> int:
        association = request.association
        with report.serving(association) as tally:
            with failures_told(lambda error: report.failed(request, error, tally)):
                await faults.before_storing(association, tally.objects)
                path = await save(request)
                if path is not None:
                    for action in on_arrival.actions:
                        await action(request, path)
                await faults.before_answering(association)
            report.stored(request, path, tally)
            return Status.SUCCESS

    with until_signals() as (stopping, aborting):
        forwarding = AsyncExitStack()
        if forwarder is not None:
            await forwarding.enter_async_context(forwarder)
        if not await listens(server, json=report.is_json):
            await forwarding.aclose()
            return exit_codes.FAILED
        report.listening(server)
        await stopping.wait()
        await stop(server, aborting)
        if forwarder is not None:
            await finish(forwarding, forwarder, aborting)
        await _finish(on_arrival.commands, aborting)
    report.finish()
    return exit_codes.INTERRUPTED if aborting.is_set() else exit_codes.OK


async def _finish(commands: Commands, aborting: asyncio.Event) -> None:
    """Wait until commands end by themselves; kill them when `aborting` is set."""
    if len(commands) and not aborting.is_set():
        count = counted(len(commands), "command")
        print_error(f"dimse: waiting for {count} to end; press Ctrl-C again to kill them")
    if not await unless(aborting, finished := asyncio.ensure_future(commands.finish())):
        commands.kill()
        await finished
