"""`dimse receive`: a storage SCP that writes received objects to a folder."""

from __future__ import annotations

import asyncio
import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Final

from dimse.address import DEFAULT_PORT, check_ae_title, host_and_port
from dimse.cli import arguments, exit_codes, runtime
from dimse.cli.output import counted, print_error, reason
from dimse.cli.receive_report import ReceivingReport
from dimse.dataset.file_names import validate_template
from dimse.errors import AssociationError, RemoteProtocolError, StatusError
from dimse.network.signals import on_signals
from dimse.options import Duplicates, ServerOptions, StoreOptions, Strictness
from dimse.services.server import Server
from dimse.services.store_request import DEFAULT_TEMPLATE, StoreRequest
from dimse.services.store_scp import refusal_of
from dimse.status import Status

EXIT_CODES: Final = (
    "0 ended by Ctrl-C or SIGTERM, after open associations had ended; 1 the port or the folder cannot be used; "
    "2 wrong usage; 130 ended by a second Ctrl-C, which aborts open associations."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    arguments.add_into(parser)
    parser.add_argument(
        "--port",
        type=arguments.integer_from(0, 65535),
        default=DEFAULT_PORT,
        help="Port to listen on; 0 picks a free one.",
    )
    parser.add_argument("--host", default="localhost", help="Address to listen on; :: means every interface.")
    parser.add_argument(
        "--title",
        type=arguments.checked(check_ae_title),
        help="Our AE title. If given, associations that call another title are rejected.",
    )
    parser.add_argument(
        "--template",
        default=DEFAULT_TEMPLATE,
        help="File name template below DIR, with data element keywords in braces.",
    )
    arguments.add_duplicates(parser)
    parser.add_argument(
        "--no-fsync",
        action="store_true",
        help="Do not fsync before responding: faster, but a power failure may lose files.",
    )
    arguments.add_maximum_pdu(parser, "Largest PDU to accept, in bytes; 0 means no limit.")
    arguments.add_maximum_associations(parser, "Maximum number of simultaneous associations.", default=100)
    arguments.add_strictness(parser, Strictness.LENIENT)
    arguments.add_json(parser, "Print one JSON object per line.")


def receive(
    *,
    into: Path,
    port: int,
    host: str,
    title: str | None,
    template: str,
    duplicates: Duplicates,
    no_fsync: bool,
    max_pdu: int,
    max_associations: int,
    strictness: Strictness,
    json: bool,
) -> int:
    """Receive DICOM objects in any transfer syntax, and write them to a folder (storage SCP)."""
    with arguments.usage():
        validate_template(template)
        options = ServerOptions(
            store=StoreOptions(fsync=not no_fsync, duplicates=duplicates),
            require_called_ae_title=title is not None,
            maximum_associations=max_associations,
            maximum_associations_per_host=None,  # one peer may use all of them
            maximum_associations_per_title=None,
            maximum_length=max_pdu,
            strictness=strictness,
        )
        server = Server(title or "DIMSE", host=host, port=port, options=options)
    arguments.make_folder(into)
    return runtime.run(_receive(server, ReceivingReport(into, json=json), template))


async def _receive(server: Server, report: ReceivingReport, template: str) -> int:
    @server.on_c_store
    async def store(request: StoreRequest) -> int:
        try:
            path = await request.save_under(report.folder, template)
        except (StatusError, AssociationError, RemoteProtocolError) as error:
            report.failed(request, error)
            raise
        except Exception as error:
            report.failed(request, error)
            status, comment = refusal_of(error) or (Status.PROCESSING_FAILURE, "the object cannot be stored")
            # The server answers with this status. Any other exception it would log, though it was just reported.
            raise StatusError(Status(status), comment) from error
        report.stored(request, path)
        return Status.SUCCESS

    stopping, aborting = asyncio.Event(), asyncio.Event()
    with on_signals(asyncio.get_running_loop(), lambda: (aborting if stopping.is_set() else stopping).set()):
        try:
            await server.start()
        except (OSError, OverflowError) as error:
            print_error(f"dimse: cannot listen on {host_and_port(server.host, server.port)}: {_reason(error)}")
            return exit_codes.FAILED
        report.listening(server)
        await stopping.wait()
        await _stop(server, aborting)
    report.finish()
    return exit_codes.INTERRUPTED if aborting.is_set() else exit_codes.OK


async def _stop(server: Server, aborting: asyncio.Event) -> None:
    """Wait until associations end by themselves; abort them when `aborting` is set."""
    if server.associations:
        count = counted(len(server.associations), "association")
        print_error(f"dimse: waiting for {count} to end; press Ctrl-C again to abort")
    stopped = asyncio.ensure_future(server.stop())
    aborted = asyncio.ensure_future(aborting.wait())
    await asyncio.wait([stopped, aborted], return_when=asyncio.FIRST_COMPLETED)
    if aborting.is_set():
        for association in server.associations:
            association.abort()
    aborted.cancel()
    await stopped


def _reason(error: Exception) -> str:
    """The reason without asyncio's text, which repeats the address."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return reason(error)
