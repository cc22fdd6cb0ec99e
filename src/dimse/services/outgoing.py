"""The associations on which a server sends what C-MOVE asks for."""

from __future__ import annotations

from collections.abc import Sequence

from dimse.network.association import Association, exchange_of


class Outgoing:
    """Associations that a server requested, and the bytes of those that have ended."""

    def __init__(self) -> None:
        self._open: list[Association] = []
        self._received = self._sent = 0

    def add(self, association: Association) -> None:
        """Note one that is established."""
        self._open = [*self.associations, association]

    @property
    def associations(self) -> Sequence[Association]:
        """Those that are open."""
        for ended in [each for each in self._open if not each.is_open]:
            self._open.remove(ended)
            connection = exchange_of(ended).connection
            self._received += connection.bytes_received
            self._sent += connection.bytes_sent
        return list(self._open)

    @property
    def bytes_moved(self) -> tuple[int, int]:
        """Bytes received and sent, of those that are open and those that have ended."""
        connections = [exchange_of(each).connection for each in self.associations]
        received, sent = (sum(getattr(each, name) for each in connections) for name in ("bytes_received", "bytes_sent"))
        return self._received + received, self._sent + sent
