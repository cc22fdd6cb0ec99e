"""The report of `dimse receive`: each received object, without its content."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from dimse import uids
from dimse.address import Address
from dimse.cli.output import counted, reason, size
from dimse.cli.report import Report
from dimse.dataset.file_writer import Stored
from dimse.services.server import Server
from dimse.services.store_request import StoreRequest

_EVERY_INTERFACE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - recognized, not bound

_DUPLICATE: Final = {
    Stored.NEW: "",
    Stored.SAME: ", already stored",
    Stored.KEPT: ", not stored: the existing file has different content and was kept",
    Stored.REPLACED: ", replaced a file with different content",
}


class ReceivingReport(Report):
    """Counts `stored`, `kept` and `failed`."""

    def __init__(self, folder: Path, *, json: bool) -> None:
        super().__init__(json=json)
        self.folder = folder

    def listening(self, server: Server) -> None:
        """Write the first line: where the server listens."""
        fields = {"host": server.host, "port": server.port, "title": server.ae_title, "into": str(self.folder)}
        host = socket.gethostname() if server.host in _EVERY_INTERFACE else server.host
        address = Address(server.ae_title, host, server.port)
        send = "dimse send" if server.options.tls is None else "dimse send --tls"
        self.write("listening", fields, f"Receiving into {self.folder}; send to it with: {send} {address} PATH")

    def stored(self, request: StoreRequest, path: Path) -> None:
        """Count an object, and write a line about it. A closed output pipe does not fail the object."""
        with suppress(OSError):
            self._stored(request, path)

    def _stored(self, request: StoreRequest, path: Path) -> None:
        stored = request.stored or Stored.NEW
        length, relative = path.stat().st_size, path.relative_to(self.folder).as_posix()
        event = "kept" if stored is Stored.KEPT else "stored"
        self.counts[event] += 1
        if stored is not Stored.KEPT:
            self.bytes += length
        name, title = uids.name_of(request.sop_class_uid), request.association.calling_ae_title
        fields = _identity(request) | {
            "sop_class": name,
            "transfer_syntax": uids.name_of(request.transfer_syntax_uid),
            "path": relative,
            "bytes": length,
            "existed": stored is not Stored.NEW,
        }
        self.write(event, fields, f"{name}, {size(length)}, {relative}, from {title}{_DUPLICATE[stored]}")

    def failed(self, request: StoreRequest, error: Exception) -> None:
        """Count an object that could not be stored, and write the reason."""
        self.counts["failed"] += 1
        title, name = request.association.calling_ae_title, uids.name_of(request.sop_class_uid)
        text = f"failed: {name} {request.sop_instance_uid} from {title}: {reason(error)}"
        with suppress(OSError):
            self.write("failed", _identity(request) | {"error": reason(error)}, text, is_problem=True)

    def finish(self) -> None:
        """Write the summary."""
        stored, failed = self.counts["stored"], self.counts["failed"]
        fields = {"stored": stored, "failed": failed, "bytes": self.bytes, "seconds": round(self.seconds, 3)}
        text = f"{counted(stored, 'object')} received, {size(self.bytes)}" + (f", {failed} failed" if failed else "")
        self.write("summary", fields, text)


def _identity(request: StoreRequest) -> dict[str, Any]:
    return {
        "sop_class_uid": request.sop_class_uid,
        "sop_instance_uid": request.sop_instance_uid,
        "transfer_syntax_uid": request.transfer_syntax_uid,
        "calling_ae_title": request.association.calling_ae_title,
        "called_ae_title": request.association.called_ae_title,
    }
