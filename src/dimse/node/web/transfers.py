"""The associations that are open, with what they have moved, and the peers that can be reached."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from dimse.errors import DimseError
from dimse.network.association import Association, exchange_of
from dimse.services.move_scp import MoveDestination
from dimse.services.server import Server, outgoing_of
from dimse.services.verification import echo

Json = dict[str, Any]


def transfers(server: Server) -> Json:
    """What passes through the server: counters that only grow, from which the page derives rates."""
    stats, outgoing = server.stats(), outgoing_of(server)
    received, sent = outgoing.bytes_moved
    return {
        "at": time.monotonic(),
        "bytes_received": stats.bytes_received + received,
        "bytes_sent": stats.bytes_sent + sent,
        "operations": sum(stats.operations.values()),
        "associations": [_shown(each) for each in (*server.associations, *outgoing.associations)],
    }


def _shown(association: Association) -> Json:
    exchange = exchange_of(association)
    return {
        "id": exchange.telling.fields["association"],
        "peer": association.peer_name,
        "ae_title": association.peer_ae_title,
        "is_outgoing": exchange.is_requestor,
        "bytes_received": exchange.connection.bytes_received,
        "bytes_sent": exchange.connection.bytes_sent,
    }


def peers(destinations: Mapping[str, MoveDestination]) -> list[Json]:
    """The destinations, by AE title."""
    return [{"ae_title": title, "address": str(found.address)} for title, found in sorted(destinations.items())]


async def echo_peer(server: Server, destination: MoveDestination) -> Json:
    """The outcome of a C-ECHO to a destination."""
    started = time.perf_counter()
    try:
        report = await echo(destination.entity(server.ae_title, server.options))
    except (DimseError, OSError) as error:
        return {"is_reached": False, "problem": str(error), "seconds": time.perf_counter() - started}
    return {"is_reached": True, "problem": "", "seconds": report.association_seconds + report.seconds}
