"""What a server has done so far, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from dimse.errors import rejection_in_words
from dimse.messages.message import Request
from dimse.network.connection import Connection
from dimse.status import Status, StatusCategory
from dimse.upper_layer.pdu import A_ASSOCIATE_RJ


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStats:
    """What a server has done since it was made. All counters only grow, but for `associations`."""

    since: datetime
    """When the server was made (UTC)."""
    associations: int
    """The number of associations that are established now."""
    accepted: int
    """The number of associations that were accepted."""
    rejected: Mapping[str, int]
    """The number of associations that were rejected, by what the peer was told (PS3.8 Table 9-21)."""
    operations: Mapping[tuple[str, StatusCategory], int]
    """The number of operations that were answered, by their name, such as C-STORE, and the category of the status."""
    bytes_received: int
    """Bytes received, of all connections, without those of TLS."""
    bytes_sent: int
    """Bytes sent, likewise."""


class Tally:
    """The counters of a server."""

    def __init__(self) -> None:
        self.accepted = 0
        self.rejected: Counter[A_ASSOCIATE_RJ] = Counter()
        self.operations: Counter[tuple[type[Request], Status]] = Counter()
        """By status: the hash of a category, an enumeration member, is a call."""
        self._since = datetime.now(UTC)
        self._received = self._sent = 0

    def left(self, connection: Connection) -> None:
        """A connection is closed."""
        self._received += connection.bytes_received
        self._sent += connection.bytes_sent

    def stats(self, associations: int, connections: Collection[Connection]) -> ServerStats:
        """The counters now, with those of the open `connections`."""
        rejected: Counter[str] = Counter()
        for rejection, number in self.rejected.items():
            rejected[rejection_in_words(rejection.result, rejection.source, rejection.reason)] += number
        operations: Counter[tuple[str, StatusCategory]] = Counter()
        for (kind, status), number in self.operations.items():
            operations[kind.name.removesuffix("-RQ"), status.category] += number
        return ServerStats(
            since=self._since,
            associations=associations,
            accepted=self.accepted,
            rejected=rejected,
            operations=operations,
            bytes_received=self._received + sum(each.bytes_received for each in connections),
            bytes_sent=self._sent + sum(each.bytes_sent for each in connections),
        )
