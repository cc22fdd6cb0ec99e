"""Crowds and floods: what other peers wait, how those over a limit are rejected, what a hanging connection takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from idle import numbers_of, raise_file_limit, sending
from measuring import Running, free_port
from programs import Program, python
from tables import Section, Table, target

SIZES: Final = {
    "full": {"idle": 1000, "sending": 500, "knocking": 5000, "limit": 1000, "hanging": 1000},
    "quick": {"idle": 100, "sending": 50, "knocking": 500, "limit": 100, "hanging": 100},
}
POINTS: Final = ("before A-ASSOCIATE-RQ", "in A-ASSOCIATE-RQ", "in a data set")
FLOODS: Final = (
    "20 000 C-ECHO",
    "20 000 C-FIND",
    "20 000 C-CANCEL",
    "20 000 empty PDVs",
    "100 000 PDVs of 2 bytes",
    "80 000 PDVs in one PDU",
    "500 000 PDUs that are ignored",
)
WATCHED: Final = 3.0
"""Seconds in which C-ECHO is measured while connections hang: less than their deadlines."""
MILLISECONDS: Final = 100.0
SECONDS: Final = 10.0

TABLE: Final = Table(("meanwhile",), (("slowest C-ECHO, ms", 18), ("kB each", 7)), widths=(34,))

ABOUT = """\
- While 1000 associations are idle, 500 more send (c) at once, shared out among them.
- 5000 associations are requested at once by one process, of a server that takes 1000. Each answer is counted. The time
  from a request to its answer is mostly that of the requesting process.
- 1000 connections hang at one point, then C-ECHO on another association is measured for some seconds. The memory of
  each is what the server has more than before.
- One association floods the server with small things and reads nothing, and C-ECHO on another is measured meanwhile.
- The limit of new connections per second is off in all of these.
"""


def section(folder: Path, scale: str) -> Section:
    """Crowds, hanging connections, floods."""
    sizes = SIZES[scale]
    raise_file_limit(3 * sizes["knocking"])
    busy = sending(sizes["sending"], folder, scale, idle=sizes["idle"])
    knocking = _knocking(folder, sizes)
    hanging = [_hanging(folder, sizes["hanging"], point) for point in POINTS]
    floods = [_flood(folder, name) for name in FLOODS]
    slowest = max(each["slowest"] for each in (*hanging, *floods)) * 1000
    clean = knocking["accepted"] == sizes["limit"] and knocking["accepted"] + knocking["rejected"] == sizes["knocking"]
    lines = [
        TABLE.header,
        *(_row(f"{one['count']} hang {one['point']}", one) for one in hanging),
        *(_row(one["flood"], one) for one in floods),
        "",
        _sentence(busy, knocking, sizes),
    ]
    return Section(
        title="Crowds and floods",
        about=ABOUT,
        table="\n".join(lines),
        targets=[
            target(
                f"slowest C-ECHO while {sizes['hanging']} connections hang, or one floods",
                f"<= {MILLISECONDS:.0f} ms",
                f"{slowest:.0f} ms",
                reached=slowest <= MILLISECONDS,
            ),
            target(
                f"{sizes['knocking']} requests at a limit of {sizes['limit']}: not answered cleanly",
                "0",
                f"{sizes['knocking'] - knocking['accepted'] - knocking['rejected']}",
                reached=clean,
            ),
            target(
                f"{sizes['idle']} idle and {busy['associations']} sending associations: refused, lost",
                "0, 0",
                f"{busy['refused']}, {busy['lost']}",
                reached=not busy["refused"] and not busy["lost"],
            ),
        ],
        numbers=[busy, knocking, *hanging, *floods],
    )


def _sentence(busy: dict[str, Any], knocking: dict[str, Any], sizes: dict[str, int]) -> str:
    return (
        f"{sizes['idle']} idle and {busy['associations']} sending: {busy['refused']} refused or broken, "
        f"{busy['lost']} of {busy['objects']} objects lost, in {busy['seconds']:.2f} s.\n\n"
        f"{sizes['knocking']} requests at once, at a limit of {sizes['limit']}: {knocking['accepted']} accepted, "
        f"{knocking['rejected']} rejected as transient, {knocking['aborted']} aborted, {knocking['reset']} reset, "
        f"{knocking['silent']} without an answer; the longest waited {knocking['longest']:.2f} s for it."
    )


def _row(what: str, one: dict[str, Any]) -> str:
    each = f"{one['bytes_each'] / 1e3:.1f}" if "bytes_each" in one else ""
    return TABLE.line(what, f"{one['slowest'] * 1000:.1f}", each)


def _knocking(folder: Path, sizes: dict[str, int]) -> dict[str, Any]:
    port = free_port()
    with Running(_archive(port, folder, sizes["limit"])) as server:
        server.wait_for_port(port)
        with Running(python("crowd.py", "knock", str(port), str(sizes["knocking"]))) as crowd:
            told = numbers_of(crowd.wait().output)
    numbers = {name: int(number) for name, number in told.items() if name not in ("longest", "seconds")}
    return {**numbers, "longest": told["longest"], "seconds": told["seconds"]}


def _hanging(folder: Path, count: int, point: str) -> dict[str, Any]:
    port = free_port()
    with Running(_archive(port, folder)) as server:
        server.wait_for_port(port)
        _watch(port, 0.2)  # so that what is imported late is
        before = server.memory()
        with Running(python("crowd.py", "hang", str(port), str(count), point)) as crowd:
            crowd.wait_for_line("open")
            slowest = _watch(port, WATCHED)
            now = server.memory()
    return {"point": point, "count": count, "slowest": slowest, "bytes_each": (now - before) / count}


def _archive(port: int, folder: Path, limit: int = 5000) -> Program:
    return python("crowd_archive.py", str(port), str(folder), str(limit))


def _watch(port: int, seconds: float) -> float:
    with Running(python("crowd.py", "watch", str(port), str(seconds))) as watching:
        return numbers_of(watching.wait().output)["slowest"]


def _flood(folder: Path, name: str) -> dict[str, Any]:
    port = free_port()
    with Running(_archive(port, folder)) as server:
        server.wait_for_port(port)
        with Running(python("crowd.py", "flood", str(port), name)) as flooding:
            return {"flood": name, "slowest": numbers_of(flooding.wait().output)["slowest"]}
