"""`dimse send`: files, folders, DICOMDIRs, zip archives and standard input, to a storage SCP."""

from __future__ import annotations

import asyncio
import logging
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO, Final, cast

import dimse
from dimse.address import Address
from dimse.cli import arguments, running
from dimse.cli.output import about, complain, counted, emit, reason, size, tell
from dimse.cli.progress import Bar
from dimse.dataset import DatasetSource, NotSent, StreamSource
from dimse.dataset.discover import discover
from dimse.dataset.threads import in_thread
from dimse.errors import AssociationError, DatasetError, RemoteProtocolError
from dimse.options import ClientOptions, RetryPolicy, Strictness
from dimse.services.collecting import SendResult
from dimse.status import StatusCategory

EXIT_CODES: Final = (
    "0 all stored; 1 some were refused or failed, each named, or there was nothing to send; 2 wrong usage; "
    "3 no association, or some failed because it was aborted, lost or timed out; 130 interrupted."
)

STANDARD_INPUT: Final = "standard input"
NO_LIMIT: Final = 2**24
AUTO: Final = "auto"


def add_arguments(parser: ArgumentParser) -> None:
    """What the command is told."""
    arguments.add_archive(parser, "The peer to send to. Port 11112 if left out.")
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help="Files, folders, DICOMDIRs, zip archives; - is standard input.",
    )
    arguments.add_calling(parser)
    parser.add_argument(
        "--retries", metavar="N", type=int, default=3, help="How many times to retry what may succeed later."
    )
    arguments.add_timeout(parser, "Give up after this long without progress.", default=30)
    parser.add_argument(
        "--max-pdu",
        metavar="BYTES",
        type=int,
        default=1024 * 1024,
        help="Send no larger PDU, in bytes; 0 leaves it to the peer.",
    )
    parser.add_argument(
        "--associations",
        metavar="N|auto",
        type=arguments.checked(_associations),
        default=AUTO,
        help="How many associations to open at once; auto: as many as make it faster.",
    )
    parser.add_argument(
        "--max-associations",
        metavar="N",
        type=arguments.integer_from(1),
        default=8,
        help="The most associations that auto opens.",
    )
    parser.add_argument(
        "--window",
        metavar="N",
        type=arguments.integer_from(1, 65535),
        default=ClientOptions().operations_window,
        help="How many objects may be under way at once on an association, if the peer agrees; 1 proposes no window.",
    )
    parser.add_argument(
        "--decompress", action="store_true", help="Decompress objects that the peer accepts in no other way."
    )
    arguments.add_syntaxes(parser, "Propose only this transfer syntax, and re-encode objects where needed.")
    arguments.add_json(parser)


def _associations(text: str) -> int | None:
    """How many; None is auto."""
    if text == AUTO:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{text!r} is neither a number of at least 1 nor auto")
    return int(text)


def send(
    archive: Address,
    paths: Sequence[str],
    *,
    calling: str,
    strictness: Strictness,
    retries: int,
    timeout: float,
    max_pdu: int,
    associations: int | None,
    max_associations: int,
    window: int,
    decompress: bool,
    syntaxes: list[str],
    json: bool,
) -> int:
    """Send DICOM files to a storage SCP (C-STORE).

    Folders are searched with all their subfolders; files in them that are not DICOM are skipped. Failures and warnings
    go to standard error.
    """
    with running.usage():
        job = _Job(
            archive,
            arguments.client_options(
                calling, strictness, timeout, maximum_length_to_send=max_pdu or NO_LIMIT, operations_window=window
            ),
            RetryPolicy(retries=retries),
            Tally(json),
            associations or max_associations,
            associations is None,
            decompress,
            syntaxes,
        )
        if paths.count("-") > 1:
            raise ValueError("- may be given only once: there is one standard input")
    return running.run(job.run(paths))


class Tally:
    """Prints each result as it is known, and a summary at the end."""

    def __init__(self, json: bool) -> None:
        self.bar = Bar()
        self.json = json
        self.stored = self.warnings = self.failed = self.skipped = self.bytes = 0
        self.associations = self.at_once = 1
        self.association_failed = False
        """Whether an object failed because the association did."""

    def __call__(self, result: SendResult) -> None:
        outcome = self._count(result)
        if self.json:
            emit(
                event="result",
                name=result.name,
                outcome=outcome,
                sop_instance_uid=result.sop_instance_uid,
                status=None if result.status is None else f"0x{int(result.status):04X}",
                meaning=None if result.status is None else result.status.meaning,
                error=None if result.error is None else reason(result.error),
                attempts=result.attempts,
                bytes=result.bytes_sent,
            )
        elif outcome in ("failed", "skipped"):
            assert result.error is not None  # noqa: S101 - that is what makes it one of the two
            complain(f"{outcome}: {about(result.name, result.error)}")
        elif outcome == "warning":
            complain(f"warning: {result.name}: stored, {result.status}")

    def _count(self, result: SendResult) -> str:
        if result.skipped:
            self.skipped += 1
            return "skipped"
        self.bar.finished_one()
        if not result.stored:
            self.failed += 1
            self.association_failed |= isinstance(result.error, AssociationError | RemoteProtocolError)
            return "failed"
        self.stored += 1
        self.bytes += result.bytes_sent
        if result.status is not None and result.status.category is StatusCategory.WARNING:
            self.warnings += 1
            return "warning"
        return "stored"

    def finish(self, address: Address, seconds: float, why: str | None = None) -> None:
        """The summary; `why` it ended early."""
        if self.json:
            counts = {"stored": self.stored, "warnings": self.warnings, "failed": self.failed, "skipped": self.skipped}
            error = {} if why is None else {"error": why}
            chosen = {"associations": self.associations, "operations_window": self.at_once}
            timing = {"bytes": self.bytes, "seconds": round(seconds, 3)}
            emit(event="summary", address=str(address), **counts, **timing, **chosen, **error)
            return
        if why is not None and not self.stored:
            return
        parts = [f"{counted(self.stored, 'object')} stored at {address}"]
        parts += [f"{self.warnings} with a warning"] if self.warnings else []
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.skipped} skipped"] if self.skipped else []
        rate = f", {size(self.bytes / seconds)}/s" if self.bytes and seconds else ""
        over = f", over {self.associations} associations" if self.associations > 1 else ""
        over += f", up to {self.at_once} at once" if self.at_once > 1 and self.stored > 1 else ""
        tell(f"{', '.join(parts)}: {size(self.bytes)} in {seconds:.1f} s{rate}{over}")


class _Job:
    """One `dimse send`."""

    def __init__(
        self,
        address: Address,
        options: ClientOptions,
        retry: RetryPolicy,
        tally: Tally,
        associations: int,
        tune: bool,
        decompress: bool,
        syntaxes: Sequence[str],
    ) -> None:
        self._address, self._options, self._retry = address, options, retry
        self._tally, self._associations, self._tune, self._decompress = tally, associations, tune, decompress
        self._syntaxes = syntaxes

    async def run(self, paths: Sequence[str]) -> int:
        sources = [source for path in paths for source in await self._find(path)]
        start, tally = perf_counter(), self._tally
        try:
            if sources:
                await self._send(sources)
        except (AssociationError, RemoteProtocolError, ExceptionGroup, asyncio.CancelledError) as error:
            tally.finish(self._address, perf_counter() - start, running.why(error))
            raise
        tally.finish(self._address, perf_counter() - start)
        if not sources and not tally.failed:
            complain("dimse: nothing to send: no DICOM file found")
        if tally.association_failed:
            return running.NO_ASSOCIATION
        return running.FAILED if tally.failed or not sources else running.OK

    async def _find(self, path: str) -> list[DatasetSource]:
        """The objects to send at `path`; what cannot be sent is reported here."""
        found: Sequence[DatasetSource | NotSent]
        if path == "-":
            found = [await in_thread(_standard_input)]
        else:
            found = await asyncio.to_thread(lambda: list(discover([Path(path)])))
        for not_sent in found:
            if isinstance(not_sent, NotSent):
                self._tally(SendResult(not_sent.name, error=not_sent.error, skipped=not_sent.skipped))
        return [source for source in found if isinstance(source, DatasetSource)]

    async def _send(self, sources: list[DatasetSource]) -> None:
        if self._tally.json:
            await self._transfer(sources, None)
            return
        bar, lengths = self._tally.bar, [source.length for source in sources]
        total = None if None in lengths else sum(length or 0 for length in lengths)
        with bar.over(total, len(sources)):
            await self._transfer(sources, lambda moved: bar.moved(moved.bytes_transferred, moved.bytes_per_second))

    async def _transfer(self, sources: list[DatasetSource], progress: Any) -> None:
        # The tally reports warnings itself.
        logging.getLogger("dimse.storage").addFilter(lambda record: "stored with a warning" not in str(record.msg))
        with running.telling(self._tally) as tell_of:
            report = await dimse.send(
                self._address,
                sources,
                options=self._options,
                associations=self._associations,
                auto_associations=self._tune,
                retry=self._retry,
                allow_decompression=self._decompress,
                transfer_syntaxes=self._syntaxes or None,
                progress=progress,
                on_result=tell_of,
                raise_failures=False,
            )
        self._tally.associations, self._tally.at_once = report.associations, report.operations_window


def _standard_input() -> DatasetSource | NotSent:
    if sys.stdin is None:
        return NotSent(STANDARD_INPUT, DatasetError("it is closed"), skipped=False)
    try:
        # Unbuffered: a thread left waiting in a buffer's lock would keep the process from ending.
        return StreamSource(cast("BinaryIO", FileIO(sys.stdin.fileno(), closefd=False)), STANDARD_INPUT)
    except (DatasetError, OSError) as error:
        return NotSent(STANDARD_INPUT, error, skipped=False)
