"""`dimse receive`: a storage SCP that writes what it receives into a folder."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from dimse import uids
from dimse.address import DEFAULT_PORT, Address, check_ae_title, host_and_port
from dimse.cli import arguments, running
from dimse.cli.output import complain, counted, emit, reason, size, tell
from dimse.dataset import Stored, validate_template
from dimse.options import Duplicates, ServerOptions, StoreOptions, Strictness
from dimse.services.server import Server
from dimse.services.store_request import DEFAULT_TEMPLATE, StoreRequest
from dimse.status import Status

EXIT_CODES: Final = (
    "0 ended by Ctrl-C or SIGTERM, after what was under way; 1 the port or the folder cannot be used; "
    "2 wrong usage; 130 ended by a second Ctrl-C, which cuts off what is under way."
)

_AGAIN: Final = {
    Stored.NEW: "",
    Stored.SAME: ", already there",
    Stored.KEPT: ", kept as it was: what came has different content",
    Stored.REPLACED: ", replacing different content",
}

_EVERY_INTERFACE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - recognised, not bound by itself


def add_arguments(parser: ArgumentParser) -> None:
    """What the command is told."""
    arguments.add_into(parser)
    parser.add_argument(
        "--port",
        type=arguments.integer_from(0, 65535),
        default=DEFAULT_PORT,
        help="The port to listen on; 0 takes a free one.",
    )
    parser.add_argument("--host", default="localhost", help="The address to listen on; :: is every interface.")
    parser.add_argument(
        "--title",
        type=arguments.checked(check_ae_title),
        help="Our AE title; a peer that calls another is rejected. Without it, any is accepted.",
    )
    parser.add_argument(
        "--template",
        default=DEFAULT_TEMPLATE,
        help="Where in DIR a file goes, with keywords of data elements in braces. Each line printed shows the result.",
    )
    arguments.add_duplicates(parser)
    parser.add_argument(
        "--no-fsync",
        action="store_true",
        help="Answer Success before the file is safe from a power failure. Faster.",
    )
    parser.add_argument(
        "--max-pdu",
        metavar="BYTES",
        type=int,
        default=1024 * 1024,
        help="The largest PDU we accept, in bytes; 0 means no limit.",
    )
    parser.add_argument(
        "--max-associations",
        metavar="N",
        type=arguments.integer_from(1),
        default=100,
        help="Reject associations beyond this many.",
    )
    arguments.add_malformed(parser, Strictness.LENIENT)
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
    """Receive DICOM objects (a storage SCP) in any transfer syntax, and write them as files."""
    with running.usage():
        validate_template(template)
        options = ServerOptions(
            store=StoreOptions(fsync=not no_fsync, duplicates=duplicates),
            require_called_ae_title=title is not None,
            maximum_associations=max_associations,
            maximum_associations_per_host=None,  # whoever is let in may use all of them
            maximum_associations_per_title=None,
            maximum_length=max_pdu,
            strictness=strictness,
        )
        server = Server(title or "DIMSE", host=host, port=port, options=options)
    running.make_folder(into)
    return running.run(_receive(server, Ledger(into, json), template))


class Ledger:
    """Reports what arrives, without its contents."""

    def __init__(self, folder: Path, json: bool) -> None:
        self.folder = folder
        self.json = json
        self.stored = self.failed = self.bytes = 0
        self._told: Exception | None = None
        self._start = perf_counter()

    def opened(self, server: Server) -> None:
        """The first line: how to open it."""
        host = socket.gethostname() if server.host in _EVERY_INTERFACE else server.host
        if self.json:
            emit(event="listening", host=server.host, port=server.port, title=server.ae_title, into=str(self.folder))
            return
        address = Address(server.ae_title, host, server.port)
        tell(f"Receiving into {self.folder}; send to it with: dimse send {address} PATH")

    def received(self, request: StoreRequest, path: Path) -> None:
        """Print a line per instance. It is stored even if the output pipe is closed."""
        with suppress(OSError):
            self._received(request, path)

    def _received(self, request: StoreRequest, path: Path) -> None:
        length, relative = path.stat().st_size, path.relative_to(self.folder).as_posix()
        if request.stored is not Stored.KEPT:
            self.stored += 1
            self.bytes += length
        name, syntax = uids.name_of(request.sop_class_uid), uids.name_of(request.transfer_syntax_uid)
        if self.json:
            emit(
                event="kept" if request.stored is Stored.KEPT else "stored",
                **_identity(request),
                sop_class=name,
                transfer_syntax=syntax,
                path=relative,
                bytes=length,
                existed=request.stored is not Stored.NEW,
            )
        else:
            title = request.association.calling_ae_title
            tell(f"{name}, {size(length)}, {relative}, from {title}{_AGAIN[request.stored or Stored.NEW]}")

    def failed_one(self, request: StoreRequest, error: Exception) -> None:
        """Report an instance that was not written, and why."""
        self.failed += 1
        self._told = error
        if self.json:
            emit(event="failed", **_identity(request), error=reason(error))
        else:
            title, name = request.association.calling_ae_title, uids.name_of(request.sop_class_uid)
            complain(f"failed: {name} {request.sop_instance_uid} from {title}: {reason(error)}")

    def is_news(self, record: logging.LogRecord) -> bool:
        """A log filter: whether the record is about something that was not reported here."""
        about = [*(record.args if isinstance(record.args, tuple) else ()), *(record.exc_info or ())]
        return self._told is None or all(each is not self._told for each in about)

    def closed(self) -> None:
        """The summary."""
        if self.json:
            seconds = round(perf_counter() - self._start, 3)
            emit(event="summary", stored=self.stored, failed=self.failed, bytes=self.bytes, seconds=seconds)
        else:
            failed = f", {self.failed} failed" if self.failed else ""
            tell(f"{counted(self.stored, 'object')} received, {size(self.bytes)}{failed}")


def _identity(request: StoreRequest) -> dict[str, Any]:
    return {
        "sop_class_uid": request.sop_class_uid,
        "sop_instance_uid": request.sop_instance_uid,
        "transfer_syntax_uid": request.transfer_syntax_uid,
        "calling_ae_title": request.association.calling_ae_title,
        "called_ae_title": request.association.called_ae_title,
    }


async def _receive(server: Server, ledger: Ledger, template: str) -> int:
    @server.on_c_store
    async def store(request: StoreRequest) -> int:
        try:
            path = await request.save_under(ledger.folder, template)
        except Exception as error:
            ledger.failed_one(request, error)
            raise
        ledger.received(request, path)
        return Status.SUCCESS

    for name in ("dimse.storage", "dimse.network"):
        logging.getLogger(name).addFilter(ledger.is_news)
    stop, cut = asyncio.Event(), asyncio.Event()

    def asked_to_stop() -> None:
        (cut if stop.is_set() else stop).set()

    _on_signals(asked_to_stop)
    try:
        await server.start()
    except (OSError, OverflowError) as error:
        complain(f"dimse: cannot listen on {host_and_port(server.host, server.port)}: {_why(error)}")
        return running.FAILED
    ledger.opened(server)
    await stop.wait()
    await _drain(server, cut)
    ledger.closed()
    return running.INTERRUPTED if cut.is_set() else running.OK


async def _drain(server: Server, cut: asyncio.Event) -> None:
    """Let associations end by themselves, until `cut`."""
    if server.associations:
        count = counted(len(server.associations), "association")
        complain(f"dimse: waiting for {count} to end; Ctrl-C again does not wait")
    stopping = asyncio.ensure_future(server.stop())
    cutting = asyncio.ensure_future(cut.wait())
    await asyncio.wait([stopping, cutting], return_when=asyncio.FIRST_COMPLETED)
    if cut.is_set():
        for association in server.associations:
            association.abort()
    cutting.cancel()
    await stopping


def _on_signals(handler: Callable[[], None]) -> None:
    """Call `handler` for Ctrl-C and SIGTERM."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        if sys.platform != "win32":
            loop.add_signal_handler(number, handler)
        else:
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(handler))


def _why(error: Exception) -> str:
    """The reason without asyncio's text about the address, which our message has already."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return reason(error)
