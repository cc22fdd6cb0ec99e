"""Where C-MOVE and reports of storage commitment go, by AE title.

1. A destination is an address, or a port at the host from which the application entity called last: that of its last
   association while the node runs, or of a request for storage commitment that is not answered yet.
2. The destinations may be replaced while the node runs; what is under way keeps its own.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from dimse.address import Address
from dimse.events import AssociationEvent, AssociationOpened
from dimse.services.move_scp import MoveDestination

logger = logging.getLogger("dimse.node")

FROM_ASSOCIATION: Final = "from-association"
"""The host of an address that stands for the one from which the application entity called last."""

_UNKNOWN: Final = (
    "no destination for %a: add --destination TITLE@HOST:PORT, or a [[peer]] with host and port to node.toml"
)

DestinationsByTitle = Mapping[str, str | Address | MoveDestination]


class Destinations:
    """Finds the destination of an AE title; `note` is told of each association."""

    def __init__(self, destinations: DestinationsByTitle) -> None:
        self._hosts: dict[str, str] = {}
        """The host of the last association of each AE title whose destination depends on it."""
        self.replace(destinations)

    def replace(self, destinations: DestinationsByTitle) -> None:
        """Use these from now on. Raises `TypeError` or `ValueError`."""
        self._known = {title: destination_of(found) for title, found in destinations.items()}
        self._callers = {title for title, found in self._known.items() if _is_where_it_calls_from(found)}
        self._hosts = {title: host for title, host in self._hosts.items() if title in self._callers}

    @property
    def depend_on_callers(self) -> bool:
        """Whether a destination depends on the host that its application entity calls from."""
        return bool(self._callers)

    def reachable(self) -> Mapping[str, MoveDestination]:
        """The destinations by AE title, without those that have not called yet."""
        found = {title: self._found(title) for title in self._known}
        return {title: destination for title, destination in found.items() if destination is not None}

    def note(self, event: AssociationEvent) -> None:
        """Remember from where an application entity calls."""
        if not isinstance(event, AssociationOpened) or event.association.is_requestor:
            return
        self.called(event.association.calling_ae_title, event.association.peer.rpartition(":")[0].strip("[]"))

    def called(self, title: str, host: str) -> None:
        """Remember that an application entity has called from a host."""
        if title in self._callers:
            self._hosts[title] = host

    def host_of(self, title: str) -> str | None:
        """The host from which an application entity called last, if its destination depends on it."""
        return self._hosts.get(title)

    def __call__(self, title: str) -> MoveDestination | None:
        """The destination of this AE title; None if it has none, or has not called since the node began."""
        found = self._found(title)
        if found is None and title in self._known:
            logger.warning("no destination for %a: it has not called since the node began", title)
        elif found is None:
            logger.warning(_UNKNOWN, title)
        return found

    def _found(self, title: str) -> MoveDestination | None:
        destination = self._known.get(title)
        if destination is None or title not in self._callers:
            return destination
        host = self._hosts.get(title)
        return None if host is None else replace(destination, address=replace(_address(destination), host=host))


def destination_of(found: str | Address | MoveDestination) -> MoveDestination:
    """A destination as a `MoveDestination`. Raises `TypeError` or `ValueError`."""
    return found if isinstance(found, MoveDestination) else MoveDestination(found)


def _address(destination: MoveDestination) -> Address:
    return Address.parse(destination.address)


def _is_where_it_calls_from(destination: MoveDestination) -> bool:
    return _address(destination).host == FROM_ASSOCIATION
