"""The report of `dimse receive`: each received object and each association, without the content of objects."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, strftime
from typing import Any, Final

from dimse import uids
from dimse.cli.output import counted, duration, reason, size
from dimse.cli.receive_commands import Outcome
from dimse.cli.report import Report
from dimse.cli.serving import address_of
from dimse.dataset.file_writer import Stored
from dimse.log_limit import LineLimit
from dimse.network.association import Association, exchange_of
from dimse.services.forwarding_destination import ForwardOutcome, ForwardResult
from dimse.services.server import Server
from dimse.services.store_request import StoreRequest

_DUPLICATE: Final = {
    Stored.NEW: "",
    Stored.SAME: "  already stored",
    Stored.KEPT: "  not stored: the existing file has different content and was kept",
    Stored.REPLACED: "  replaced a file with different content",
}

_TIME: Final = "%H:%M:%S"

_SHORTEST_PATH: Final = 16
"""A path is not cut to fewer characters than this, however narrow the terminal is."""

_DETAILS: Final = frozenset({"stored", "kept", "association", "command", "forwarded"})
"""The events that --quiet leaves out, unless they are problems."""


@dataclass(eq=False, slots=True)
class Tally:
    """What has arrived on an association."""

    began: float = field(default_factory=perf_counter)
    seconds: float = 0
    """Time from the first object to the last."""
    objects: int = 0
    """Those that have begun."""
    stored: int = 0
    """With `--discard` those that were read to their ends."""
    kept: int = 0
    failed: int = 0
    bytes: int = 0
    serving: int = 0
    """Objects that are being received."""


class ReceivingReport(Report):
    """Counts `stored`, `kept` and `failed` objects, `commands` and `commands_failed`."""

    def __init__(self, folder: Path | None, *, json: bool, quiet: bool = False) -> None:
        super().__init__(json=json)
        self.folder = folder
        """The folder to which objects are written; None if they are discarded."""
        self._hidden = _DETAILS if quiet else frozenset()
        self._tallies: dict[Association, Tally] = {}
        self._limit = LineLimit()

    def listening(self, server: Server) -> None:
        """Write the first line: where the server listens."""
        fields = {
            "host": server.host,
            "port": server.port,
            "title": server.ae_title,
            "into": self.folder and str(self.folder),
        }
        send = "dimse send" if server.options.tls is None else "dimse send --tls"
        doing = "Discarding all objects" if self.folder is None else f"Receiving into {self.folder}"
        self.write("listening", fields, f"{doing}; send to it with: {send} {address_of(server)} PATH")

    @contextmanager
    def serving(self, association: Association) -> Iterator[Tally]:
        """The block in which an object of the association is received; its line comes after its last object."""
        tally = self._tallies.get(association)
        if tally is None:
            tally = self._tallies[association] = Tally()
            exchange_of(association).over.add_done_callback(lambda _: self._end_if_over(association))
        tally.serving += 1
        tally.objects += 1
        try:
            yield tally
        finally:
            tally.serving -= 1
            tally.seconds = perf_counter() - tally.began
            self._end_if_over(association)

    def _end_if_over(self, association: Association) -> None:
        tally = self._tallies.get(association)
        if tally is None or tally.serving or association.is_open:
            return
        del self._tallies[association]
        if self.folder is None:
            tally.bytes = exchange_of(association).connection.bytes_received
            self.bytes += tally.bytes
        error = None if association.error is None else reason(association.error, with_peer=False)
        fields = {
            "calling_ae_title": association.calling_ae_title,
            "called_ae_title": association.called_ae_title,
            "peer": association.peer_name,
            "stored": tally.stored,
            "kept": tally.kept,
            "failed": tally.failed,
            "bytes": tally.bytes,
            "seconds": round(tally.seconds, 3),
            "error": error,
        }
        title = f"{association.calling_ae_title} at {association.peer_name}"
        with suppress(OSError):
            self._write_detail("association", fields, f"{strftime(_TIME)}  {title}: {_in_all(tally, error)}")

    def _write_detail(self, event: str, fields: dict[str, Any], text: str | None) -> None:
        if event not in self._hidden:
            self.write(event, fields, text)

    def stored(self, request: StoreRequest, path: Path | None, tally: Tally) -> None:
        """Count an object, and write a line about it, unless it was discarded.

        A closed output pipe does not fail the object.
        """
        if self.folder is None or path is None:
            self.counts["stored"] += 1
            tally.stored += 1
            return
        with suppress(OSError):
            self._stored(request, path, path.relative_to(self.folder).as_posix(), tally)

    def _stored(self, request: StoreRequest, path: Path, relative: str, tally: Tally) -> None:
        stored = request.stored or Stored.NEW
        length = path.stat().st_size
        event = "kept" if stored is Stored.KEPT else "stored"
        self.counts[event] += 1
        if stored is Stored.KEPT:
            tally.kept += 1
        else:
            tally.stored += 1
            tally.bytes += length
            self.bytes += length
        name, title = uids.name_of(request.sop_class_uid), request.association.calling_ae_title
        fields = identity(request) | {
            "sop_class": name,
            "transfer_syntax": uids.name_of(request.transfer_syntax_uid),
            "path": relative,
            "bytes": length,
            "existed": stored is not Stored.NEW,
        }
        begin = f"{strftime(_TIME)}  {short(name)}  {size(length):>8}  from {title}  "
        end = _DUPLICATE[stored]
        self._write_detail(event, fields, f"{begin}{_fitted(relative, begin + end)}{end}")

    def failed(self, request: StoreRequest, error: Exception, tally: Tally) -> None:
        """Count an object that could not be stored, and write the reason."""
        self.counts["failed"] += 1
        tally.failed += 1
        title, name = request.association.calling_ae_title, uids.name_of(request.sop_class_uid)
        text = f"failed: {name} {request.sop_instance_uid} from {title}: {reason(error)}"
        self.problem("failed", identity(request) | {"error": reason(error)}, text)

    def command(self, outcome: Outcome) -> None:
        """Count a command that has ended, and write why it failed."""
        job, error = outcome.job, outcome.error
        self.counts["commands"] += 1
        fields = {
            "command": job.command.program,
            "subject": job.subject,
            "study_instance_uid": job.study,
            "exit_code": outcome.exit_code,
            "seconds": round(outcome.seconds, 3),
            "error": error,
        }
        if error is not None:
            self.counts["commands_failed"] += 1
            self.problem("command", fields, f"failed: {job.command.program} for {job.subject}: {error}")
        elif self.is_json:
            with suppress(OSError):
                self._write_detail("command", fields, None)

    def forwarded(self, result: ForwardResult) -> None:
        """Count an object that a peer of --spool has stored or that was set aside, of which the log has a line."""
        if result.outcome is ForwardOutcome.WAITING:
            return
        is_delivered = result.outcome is ForwardOutcome.DELIVERED
        self.counts["forwarded" if is_delivered else "not_forwarded"] += 1
        with suppress(OSError):
            self._write_detail("forwarded", fields_of(result), in_words(result) if is_delivered else None)

    def problem(self, event: str, fields: dict[str, Any], text: str) -> None:
        """Write a problem. Peers can cause many, so the lines of text have a limit."""
        note = "" if self.is_json else self._limit.note(event)
        if note is not None:
            with suppress(OSError):
                self.write(event, fields, text + note, is_problem=True)

    def finish(self) -> None:
        """Write the summary."""
        stored, failed = self.counts["stored"], self.counts["failed"]
        commands, commands_failed = self.counts["commands"], self.counts["commands_failed"]
        forwarded, not_forwarded = self.counts["forwarded"], self.counts["not_forwarded"]
        fields = {
            "stored": stored,
            "failed": failed,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "commands": commands,
            "commands_failed": commands_failed,
            "forwarded": forwarded,
            "not_forwarded": not_forwarded,
        }
        text = f"{counted(stored, 'object')} received, {size(self.bytes)}" + (f", {failed} failed" if failed else "")
        text += f"; {forwarded} forwarded" if forwarded or not_forwarded else ""
        text += f", {not_forwarded} failed" if not_forwarded else ""
        text += f"; {counted(commands, 'command')} run" if commands else ""
        text += f", {commands_failed} failed" if commands_failed else ""
        self.write("summary", fields, text)


def _in_all(tally: Tally, error: str | None) -> str:
    text = f"{counted(tally.stored, 'object')}, {size(tally.bytes)} in {duration(tally.seconds)}"
    if tally.bytes and tally.seconds:
        text += f", {size(tally.bytes / tally.seconds)}/s"
    text += f", {tally.kept} not stored" if tally.kept else ""
    text += f", {tally.failed} failed" if tally.failed else ""
    return text if error is None else f"{text}; ended by an error: {error}"


def short(name: str) -> str:
    """`CT` for CT Image Storage."""
    return name.removesuffix(" Storage").removesuffix(" Image")


def _fitted(path: str, around: str) -> str:
    """The end of a path that fits on the line of the terminal beside `around`; all of it if there is no terminal."""
    if not sys.stdout.isatty():
        return path
    room = max(os.get_terminal_size(sys.stdout.fileno()).columns - len(around), _SHORTEST_PATH)
    return path if len(path) <= room else "…" + path[1 - room :]


def identity(request: StoreRequest) -> dict[str, Any]:
    """The JSON fields that say which object a request is for, and from whom."""
    return {
        "sop_class_uid": request.sop_class_uid,
        "sop_instance_uid": request.sop_instance_uid,
        "transfer_syntax_uid": request.transfer_syntax_uid,
        "calling_ae_title": request.association.calling_ae_title,
        "called_ae_title": request.association.called_ae_title,
    }


def fields_of(result: ForwardResult) -> dict[str, Any]:
    """The JSON fields of an object that was forwarded, or set aside."""
    return {
        "destination": result.destination,
        "outcome": result.outcome.value,
        "sop_instance_uid": result.sop_instance_uid,
        "status": None if result.status is None else f"0x{result.status:04X}",
        "error": None if result.error is None else reason(result.error),
        "bytes": result.bytes,
    }


def in_words(result: ForwardResult) -> str:
    """The line of an object that was delivered."""
    begin = f"{strftime(_TIME)}  delivered to {result.destination}  {size(result.bytes):>8}  "
    return begin + _fitted(result.sop_instance_uid or "", begin)
