"""What the numbers of C-FIND, C-GET and C-MOVE come to: their table and their targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from queries import Exchange
from tables import Table

TABLE: Final = Table(
    ("operation", "load", "client", "archive"),
    (
        *(("objects/s", 9), ("MB/s", 7), ("transfer s", 10), ("process s", 9), ("x DCMTK", 7), ("x pynetdicom", 12)),
        *(("x DCMTK, process", 16), ("x pynetdicom, process", 21)),
        *(("CPU s, client", 13), ("CPU s, archive", 14), ("MB, client", 10)),
    ),
    widths=(9, 4, 10, 10),
)

WANTED: Final = {"pynetdicom": 5.0, "DCMTK": 1.0}
"""How often as fast as a client ours has to be: for C-FIND beside both, for the others beside DCMTK's."""


def rows(group: Sequence[Exchange]) -> str:
    """The clients of one operation and archive. A ratio is how often as fast as that client it is."""
    return "\n".join(
        TABLE.line(
            one.operation,
            one.workload,
            one.client,
            one.archive,
            f"{one.objects_per_second:.0f}",
            f"{one.megabytes_per_second:.1f}" if one.bytes else "",
            f"{one.transfer_seconds:.3f}",
            f"{one.process_seconds:.2f}",
            *(_ratio(group, one, other) for other in ("DCMTK", "pynetdicom")),
            *(_ratio(group, one, other, process=True) for other in ("DCMTK", "pynetdicom")),
            f"{one.client_cpu:.2f}",
            "" if one.archive == "dcmqrscp" else f"{one.archive_cpu:.2f}",  # it is of a child
            f"{one.client_memory / 1e6:.0f}",
        )
        for one in group
    )


def _ratio(group: Sequence[Exchange], one: Exchange, client: str, *, process: bool = False) -> str:
    for other in group:
        if other.client == client:
            transfer, whole = other.transfer_seconds / one.transfer_seconds, other.process_seconds / one.process_seconds
            return f"{whole if process else transfer:.2f}"
    return ""


def targets(groups: Sequence[Sequence[Exchange]]) -> list[str]:
    """Lines of the table of targets, and what our client and our server reach beside others."""
    lines = []
    for group in groups:
        by_client = {one.client: one for one in group}
        ours = by_client["dimse"]
        for client in sorted(by_client.keys() & WANTED):
            theirs = by_client[client]
            for span, ratio in (
                ("transfer", theirs.transfer_seconds / ours.transfer_seconds),
                ("whole process", theirs.process_seconds / ours.process_seconds),
            ):
                text = f"{ours.operation} from {ours.archive}, ({ours.workload}): beside {client}'s client, {span}"
                lines.append(f"| {text} | {_verdict(ours, WANTED[client], ratio)} |")
    return [*lines, *_as_scp(groups)]


def _verdict(ours: Exchange, factor: float, ratio: float) -> str:
    if ours.archive in ("dimse", "pynetdicom"):  # a handler in Python is what is measured, more than its client
        return f"| {ratio:.2f}x |"
    return f">= {factor:g}x | {ratio:.2f}x | {'reached' if ratio >= factor else '**NOT reached**'}"


def _as_scp(groups: Sequence[Sequence[Exchange]]) -> list[str]:
    finds = {(one.archive, one.client): one.transfer_seconds for group in groups for one in group if not one.bytes}
    return [
        f"| C-FIND to our server from {client}'s client: beside {archive}, transfer | | {ratio:.2f}x | |"
        for (archive, client), seconds in finds.items()
        if archive not in ("dimse", "floor") and client != "pynetdicom"
        for ratio in [seconds / finds["dimse", client]]
    ]
