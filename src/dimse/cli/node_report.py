"""The report of `dimse node`: where it listens, each association, and a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import strftime
from typing import TYPE_CHECKING

from dimse.cli.output import counted, duration, reason, size
from dimse.cli.report import Report
from dimse.cli.serving import address_of
from dimse.events import AssociationEnded, AssociationEvent, AssociationFailed
from dimse.network.tally import ServerStats
from dimse.status import StatusCategory

if TYPE_CHECKING:
    from dimse.node import Node, NodeOptions


class NodeReport(Report):
    """Writes lines, unless they are details and it is `quiet`."""

    def __init__(self, *, json: bool, quiet: bool) -> None:
        super().__init__(json=json)
        self.is_quiet = quiet

    def listening(self, node: Node) -> None:
        """Write the first line: where the node listens, and how to try it."""
        server, data = node.server, node.options.data
        page = None if node.page is None else node.page.url
        fields = {"host": server.host, "port": server.port, "title": server.ae_title, "data": str(data), "page": page}
        send = "dimse send" if server.options.tls is None else "dimse send --tls"
        where = f"{data}" if page is None else f"{data}, with its page at {page}"
        text = f"Archive {server.ae_title} in {where}; store to it with: {send} {address_of(server)} PATH"
        self.write("listening", fields, text)

    def event(self, event: AssociationEvent) -> None:
        """Write the line of an association that a peer requested, when it has ended or was rejected.

        With `is_quiet` it need not be told: events cost time.
        """
        if event.association.is_requestor:
            return
        with suppress(OSError):
            if isinstance(event, AssociationEnded):
                self._ended(event)
            elif isinstance(event, AssociationFailed):
                self._failed(event)

    def _failed(self, event: AssociationFailed) -> None:
        association = event.association
        fields = {
            "calling_ae_title": association.calling_ae_title,
            "called_ae_title": association.called_ae_title,
            "peer": association.peer,
            "error": event.reason,
        }
        who = f"{strftime('%H:%M:%S')}  {association.calling_ae_title} at {association.peer}"
        text = f"{who}: no association with {association.called_ae_title}: {event.reason}"
        self.write("association-failed", fields, text)

    def _ended(self, event: AssociationEnded) -> None:
        association = event.association
        error = None if event.error is None else reason(event.error, with_peer=False)
        fields = {
            "calling_ae_title": association.calling_ae_title,
            "called_ae_title": association.called_ae_title,
            "peer": association.peer,
            "requests": event.served,
            "bytes_received": event.bytes_received,
            "bytes_sent": event.bytes_sent,
            "seconds": round(event.seconds, 3),
            "error": error,
        }
        text = f"{strftime('%H:%M:%S')}  {association.calling_ae_title} at {association.peer}: "
        text += (
            f"{counted(event.served, 'request')} in {duration(event.seconds)}, {size(event.bytes_received)} received"
        )
        text += f", {size(event.bytes_sent)} sent" + ("" if error is None else f"; ended by an error: {error}")
        self.write("association", fields, text)

    def reloaded(self, options: NodeOptions, others: Sequence[str]) -> None:
        """Write that the configuration was read again, and which other options have changed in it."""
        peers, destinations = options.server.access.peers, len(options.destinations)
        fields = {"peers": None if peers is None else len(peers), "destinations": destinations, "restart": list(others)}
        known = "every peer" if peers is None else counted(len(peers), "peer")
        text = f"Reloaded: {known}, {counted(destinations, 'destination')}"
        text += f"; {', '.join(others)} as before, until the node is restarted" if others else ""
        self.write("reloaded", fields, text)

    def checked(self, where: Path | None, options: NodeOptions) -> None:
        """Write that nothing is wrong."""
        peers = options.server.access.peers
        fields = {"data": str(options.data), "peers": None if peers is None else len(peers)}
        self.write("checked", fields, f"{where or options.data}: no errors")

    def finish(self, stats: ServerStats) -> None:
        """Write the summary."""
        operations, failed, rejected = Counter[str](), 0, sum(stats.rejected.values())
        for (name, category), number in stats.operations.items():
            operations[name] += number
            failed += number if category is StatusCategory.FAILURE else 0
        fields = {
            "associations": stats.accepted,
            "rejected": rejected,
            "operations": dict(operations),
            "failed": failed,
            "bytes_received": stats.bytes_received,
            "bytes_sent": stats.bytes_sent,
            "seconds": round(self.seconds, 3),
        }
        words = [counted(stats.accepted, "association"), *([f"{rejected} rejected"] if rejected else [])]
        words += [f"{number} {name}" for name, number in operations.items()]
        text = f"{', '.join(words)}; {size(stats.bytes_received)} received, {size(stats.bytes_sent)} sent"
        self.write("summary", fields, f"{text}; {counted(failed, 'operation')} failed" if failed else text)
