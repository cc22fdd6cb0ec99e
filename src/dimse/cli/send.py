"""`dimse send`: sends files, folders, DICOMDIRs, zip archives and standard input to a storage SCP."""

from __future__ import annotations

import asyncio
import functools
import sys
from argparse import ArgumentParser
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import nullcontext
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, cast

import dimse
from dimse.address import Address
from dimse.cli import arguments, requestor, runtime, send_commit
from dimse.cli.output import reason_of_end
from dimse.cli.send_commit import Commitment
from dimse.cli.send_report import SendingReport
from dimse.configuration import KnownPeer
from dimse.dataset.discover import NotSent, discover
from dimse.dataset.edited_source import EditedSource
from dimse.dataset.sources import DatasetSource, StreamSource
from dimse.dataset.threads import in_thread
from dimse.errors import AssociationError, DatasetError, RemoteProtocolError
from dimse.messages.message import Priority
from dimse.options import ClientOptions, RetryPolicy
from dimse.services.collecting import SendResult
from dimse.services.sending import SendReport
from dimse.services.sending_job import expected_length
from dimse.services.transfer_progress import TransferProgress

if TYPE_CHECKING:
    from dimse.dataset.edits import Edits

EXIT_CODES: Final = (
    "0 everything was stored, and with --commit the peer keeps it; 1 at least one failure, each reported, or "
    "nothing to send; 2 wrong usage; 3 no association, or objects failed because it was aborted, lost "
    "or timed out; 130 interrupted."
)

STANDARD_INPUT: Final = "standard input"
NO_LIMIT: Final = 2**24
"""For `--max-pdu 0`: larger than any maximum length that a peer announces in practice."""
AUTO: Final = "auto"
_NEW_LEVELS: Final = ("instance", "series", "study", "patient")
PRIORITIES: Final = {priority.name.lower(): priority for priority in (Priority.HIGH, Priority.MEDIUM, Priority.LOW)}


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    arguments.add_address(parser, "Peer to send to")
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help="File, folder, DICOMDIR or zip archive; - is standard input.",
    )
    _add_transfer(parser)
    _add_changes(parser)
    send_commit.add_arguments(parser)
    requestor.add_arguments(parser)
    arguments.add_maximum_pdu(parser, "Largest PDU to send, in bytes; 0 leaves the limit to the peer.")
    arguments.add_maximum_rate(parser, "Send")
    arguments.add_timeout(parser, "Abort after this many seconds without progress.", default=30)
    arguments.add_json(parser)


def _add_transfer(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--retries",
        metavar="N",
        type=arguments.integer_from(0),
        default=3,
        help="Number of retries for failures that may be temporary.",
    )
    parser.add_argument(
        "--associations",
        metavar="N|auto",
        type=arguments.checked(_associations),
        help="Number of associations; auto opens more as long as that makes it faster. [default: auto]",
    )
    arguments.add_maximum_associations(parser, "Maximum number of associations of --associations auto.", default=8)
    parser.add_argument(
        "--priority",
        metavar="|".join(PRIORITIES),
        type=arguments.one_of(PRIORITIES),
        help="Priority of the C-STORE requests; many peers ignore it. [default: medium]",
    )
    parser.add_argument(
        "--window",
        metavar="N",
        type=arguments.integer_from(1, 65535),
        help="Objects in flight at once on each association, if the peer agrees; 1 proposes no operations window. "
        f"[default: {ClientOptions().operations_window}]",
    )
    parser.add_argument(
        "--decompress", action="store_true", help="Decompress objects that the peer does not accept compressed."
    )
    parser.add_argument(
        "--journal",
        metavar="FILE",
        help="Note in this file what was stored: after an interruption, the same command sends the rest.",
    )
    arguments.add_syntaxes(parser, "Propose only these transfer syntaxes, and re-encode objects if needed.")


def _add_changes(parser: ArgumentParser) -> None:
    arguments.add_edits(parser)
    parser.add_argument(
        "--repeat",
        metavar="N",
        type=arguments.integer_from(1),
        default=1,
        help="Send everything N times, as a load test.",
    )
    parser.add_argument(
        "--new-uids",
        metavar="|".join(_NEW_LEVELS),
        type=arguments.one_of({level: level for level in _NEW_LEVELS}),
        help="Make new UIDs in each repetition, from this level down; patient means a new Patient ID too. Objects of a "
        "series or study stay together; references to other objects are not changed.",
    )


def _associations(text: str) -> int:
    """The number; 0 for auto."""
    if text == AUTO:
        return 0
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"must be a positive integer or auto, not {text!r}")
    return int(text)


def send(
    address: Address,
    paths: Sequence[str],
    *,
    peer: KnownPeer,
    retries: int,
    timeout: float | None,
    max_pdu: int,
    associations: int | None,
    max_associations: int,
    window: int | None,
    decompress: bool,
    syntaxes: list[str],
    settings: list[str],
    removals: list[str],
    repeat: int,
    new_uids: str | None,
    journal: str | None,
    commit: bool,
    wait: float,
    receiver: Address | None,
    json: bool,
    **association: Any,
) -> int:
    """Send DICOM files to a storage SCP (C-STORE).

    Folders are searched recursively; files that are not DICOM are skipped. Failures and warnings go to standard error.
    """
    with arguments.usage():
        options = requestor.options(
            peer=peer,
            timeout=timeout,
            maximum_length_to_send=max_pdu or NO_LIMIT,
            operations_window=window,
            **association,
        )
        repetitions = _Repetitions(arguments.edits(settings, removals), repeat, new_uids)
        repetitions.check(paths, journal)
    number = peer.associations if associations is None else associations
    send_sources = functools.partial(
        dimse.send,
        address,
        options=options,
        associations=number or max_associations,
        auto_associations=not number,
        retry=RetryPolicy(retries=retries),
        allow_decompression=decompress,
        transfer_syntaxes=syntaxes or peer.transfer_syntaxes or None,
        edits=repetitions.edits if new_uids is None else None,
        journal=journal,
        raise_failures=False,
    )
    commitment = Commitment(address, options, wait, receiver, journal, repetitions.edits) if commit else None
    return runtime.run(_send(paths, repetitions, send_sources, SendingReport(address, json=json), commitment))


class _Repetitions(NamedTuple):
    """How often everything is sent, and the edits if each repetition has new UIDs."""

    edits: Edits | None
    repeat: int
    new_uids: str | None

    def check(self, paths: Sequence[str], journal: str | None) -> None:
        """Raise `ValueError` for what cannot be sent, or not repeatedly."""
        if paths[0].isdigit() and not Path(paths[0]).exists():
            raise ValueError(f"there is no file {paths[0]}")  # but a port, as other software takes it
        if paths.count("-") > 1:
            raise ValueError("standard input (-) can be given only once")
        if "-" in paths and self.repeat > 1:
            raise ValueError("standard input (-) can be read only once: --repeat needs files")
        if journal is not None and (self.repeat > 1 or self.new_uids is not None):
            raise ValueError("--journal cannot be used with --repeat or --new-uids, which make a load test")

    def of(self, sources: Sequence[DatasetSource]) -> Iterator[DatasetSource]:
        """All that is sent, repetition by repetition."""
        for repetition in range(self.repeat):
            if self.new_uids is None:
                yield from sources
                continue
            from dimse.dataset.new_uids import NewLevel, NewUIDs  # imports pydicom

            edits = NewUIDs(NewLevel(self.new_uids), repetition, self.edits)
            for source in sources:
                yield EditedSource(source, edits)


async def _send(
    paths: Sequence[str],
    repetitions: _Repetitions,
    send_sources: Callable[..., Awaitable[SendReport]],
    report: SendingReport,
    commitment: Commitment | None,
) -> int:
    sources = [source for path in paths for source in await _find(path, report)]
    to_send, done = list(repetitions.of(sources)), None
    report.begin()
    try:
        if to_send:
            done = await _transfer(to_send, send_sources, report)
    except (AssociationError, RemoteProtocolError, ExceptionGroup, asyncio.CancelledError) as error:
        report.finish(reason_of_end(error))
        raise
    report.finish()
    if commitment is None or done is None or not done.stored:
        return report.exit_code
    code = await commitment.ask(to_send, done.stored, json=report.is_json)
    return report.exit_code or code


async def _find(path: str, report: SendingReport) -> list[DatasetSource]:
    """The objects at `path`. Files that cannot be sent are reported."""
    found: Sequence[DatasetSource | NotSent]
    if path == "-":
        found = [await in_thread(_standard_input)]
    else:
        found = await asyncio.to_thread(lambda: list(discover([Path(path)])))
    for not_sent in found:
        if isinstance(not_sent, NotSent):
            report.add(SendResult(not_sent.name, error=not_sent.error, skipped=not_sent.skipped))
    return [source for source in found if isinstance(source, DatasetSource)]


async def _transfer(
    to_send: Sequence[DatasetSource], send_sources: Callable[..., Awaitable[SendReport]], report: SendingReport
) -> SendReport:
    lengths = [expected_length(source) for source in to_send]
    total = None if None in lengths else sum(length or 0 for length in lengths)
    report.left = len(to_send)

    def progress(moved: TransferProgress) -> None:
        report.bar.update(moved.bytes_transferred, moved.bytes_per_second, moved.total_bytes)

    with (
        nullcontext() if report.is_json else report.bar.shown(total, len(to_send)),
        runtime.cancelled_by_closed_pipe(report.add) as on_result,
    ):
        done = await send_sources(to_send, progress=None if report.is_json else progress, on_result=on_result)
    report.associations, report.operations_window = done.associations, done.operations_window
    return done


def _standard_input() -> DatasetSource | NotSent:
    if sys.stdin is None:
        return NotSent(STANDARD_INPUT, DatasetError(f"{STANDARD_INPUT} is closed"), skipped=False)
    try:
        # Unbuffered: a thread left waiting in a buffer's lock would keep the process from ending.
        return StreamSource(cast("BinaryIO", FileIO(sys.stdin.fileno(), closefd=False)), STANDARD_INPUT)
    except (DatasetError, OSError) as error:
        return NotSent(STANDARD_INPUT, error, skipped=False)
