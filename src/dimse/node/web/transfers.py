"""The associations that are open, with what they have moved, and the peers that can be reached."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from dimse.errors import DimseError
from dimse.network.association import exchange_of
from dimse.network.server import AssociationServer
from dimse.services.move_scp import MoveDestination
from dimse.services.verification import echo

Json = dict[str, Any]


def transfers(server: AssociationServer) -> Json:
    """What passes through the server: counters that only grow, from which the page derives rates."""
    stats = server.stats()
    return {
        "at": time.monotonic(),
        "bytes_received": stats.bytes_received,
        "bytes_sent": stats.bytes_sent,
        "operations": sum(stats.operations.values()),
        "associations": [
            {
                "id": exchange_of(each).telling.fields["association"],
                "peer": each.peer_name,
                "ae_title": each.peer_ae_title,
                "bytes_received": exchange_of(each).connection.bytes_received,
                "bytes_sent": exchange_of(each).connection.bytes_sent,
            }
            for each in server.associations
        ],
    }


def peers(destinations: Mapping[str, MoveDestination]) -> list[Json]:
    """The destinations, by AE title."""
    return [{"ae_title": title, "address": str(found.address)} for title, found in sorted(destinations.items())]


async def echo_peer(server: AssociationServer, destination: MoveDestination) -> Json:
    """The outcome of a C-ECHO to a destination."""
    started = time.perf_counter()
    try:
        report = await echo(destination.entity(server.ae_title, server.options))
    except (DimseError, OSError) as error:
        return {"is_reached": False, "problem": str(error), "seconds": time.perf_counter() - started}
    return {"is_reached": True, "problem": "", "seconds": report.association_seconds + report.seconds}
