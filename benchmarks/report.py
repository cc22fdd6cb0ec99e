"""What the numbers come to: the table, the targets, RESULTS.md and the JSON file."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import archives
import programs
import queries
import query_report
import workloads
from pairs import Measurement
from queries import Exchange
from tables import Section, Table, target

_TITLES = {workload.key: workload.title for workload in (*workloads.FULL, workloads.ONE_MEGABYTE)}
TABLE: Final = Table(
    ("load", "sender", "receiver"),
    (
        *(("MB/s", 8), ("objects/s", 9), ("transfer s", 10), ("process s", 9), ("CPU s, sender", 13)),
        *(("CPU s, receiver", 15), ("MB, sender", 10), ("MB, receiver", 12)),
    ),
    widths=(4, 10, 19),
)
MEMORY_LIMIT = 64.0
"""MB that either side may take."""
BESIDE_DCMTK: Final = 1.0
"""How often as fast as from DCMTK to DCMTK, over one association."""
SEVERAL_AT_ONCE: Final = {
    "window 1": "one association, one object at a time",
    "auto": "up to 8 associations",
}
"""How (c) is sent beside the defaults, which is one association with the operations window."""
WITH_WINDOW: Final = 1.5
"""How often as fast as from DCMTK to DCMTK, with the operations window or over several associations."""


def row(result: Measurement) -> str:
    """One pair."""
    return TABLE.line(
        result.workload,
        result.sender,
        f"{result.receiver}, {result.option}" if result.option else result.receiver,
        f"{result.megabytes_per_second:.1f}",
        f"{result.objects_per_second:.1f}",
        f"{result.transfer_seconds:.3f}",
        f"{result.process_seconds:.2f}",
        f"{result.sender_cpu:.2f}",
        f"{result.receiver_cpu:.2f}",
        f"{result.sender_memory / 1e6:.0f}",
        f"{result.receiver_memory / 1e6:.0f}",
    )


def targets(results: Sequence[Measurement], groups: Sequence[Sequence[Exchange]], sections: Sequence[Section]) -> str:
    """What was to be reached, what was, and whether."""
    head = ["| target | wanted | measured | |", "| --- | ---: | ---: | --- |"]
    stored = _store_targets(results) if results else []
    return "\n".join(
        [*head, *stored, *query_report.targets(groups), *(line for one in sections for line in one.targets)]
    )


def _store_targets(results: Sequence[Measurement]) -> list[str]:
    by_pair = {(result.workload, result.sender, result.receiver, result.option): result for result in results}

    def ours(load: str) -> Measurement:
        return by_pair[load, "dimse", "dimse", ""]

    lines: list[str] = []

    def add(text: str, wanted: str, measured: str, *, reached: bool) -> None:
        lines.append(target(text, wanted, measured, reached=reached))

    for load in ("a", "1mb"):
        for side, memory in (("sender", ours(load).sender_memory), ("receiver", ours(load).receiver_memory)):
            text = f"peak memory of the dimse {side}, {_TITLES[load].removeprefix('(a) ')}"
            add(text, f"<= {MEMORY_LIMIT:.0f} MB", f"{memory / 1e6:.0f} MB", reached=memory / 1e6 <= MEMORY_LIMIT)
    wanted: tuple[tuple[str, str, str, float], ...] = (
        ("a", "pynetdicom", "throughput", 20.0),
        ("b", "pynetdicom", "throughput", 8.0),
        ("c", "pynetdicom", "objects/s", 30.0),
        *((load, "DCMTK", "throughput", BESIDE_DCMTK) for load in "ab"),
    )
    for load, other, what, factor in wanted:
        theirs = by_pair[load, other, other, ""]
        times: Callable[[Measurement], float]
        for span, times in (
            ("transfer", lambda result: result.transfer_seconds),
            ("whole process", lambda result: result.process_seconds),
        ):
            ratio = times(theirs) / times(ours(load))
            text = f"{_TITLES[load]}: {what} beside {other}, {span}"
            add(text, f">= {factor:g}x", f"{ratio:.2f}x", reached=ratio >= factor)
    lines += _several_at_once(by_pair)
    for load in "abc":
        tuned = by_pair[load, "pynetdicom", "pynetdicom", "tuned"].transfer_seconds / ours(load).transfer_seconds
        lines.append(f"| {_TITLES[load]}: beside pynetdicom, tuned, transfer | | {tuned:.2f}x | |")
    for load in "abc":
        pure = (
            by_pair[load, "DCMTK", "DCMTK", ""].transfer_seconds
            / by_pair[load, "dimse", "dimse", "pure"].transfer_seconds
        )
        lines.append(f"| {_TITLES[load]}: beside DCMTK, without compiled modules, transfer | | {pure:.2f}x | |")
    for load in "abc":
        floor = by_pair[load, "floor", "floor", ""].transfer_seconds / ours(load).transfer_seconds
        lines.append(f"| {_TITLES[load]}: part of what a plain socket reaches, transfer | | {floor:.2f}x | |")
    return lines


def _several_at_once(by_pair: Mapping[tuple[str, str, str, str], Measurement]) -> list[str]:
    """(c) beside DCMTK: one object at a time, with the operations window, over several associations."""
    theirs, lines = by_pair["c", "DCMTK", "DCMTK", ""], []
    ways = {"window 1": SEVERAL_AT_ONCE["window 1"], "": "one association, operations window"}
    for option, way in (ways | SEVERAL_AT_ONCE).items():
        ours = by_pair["c", "dimse", "dimse", option]
        wanted = BESIDE_DCMTK if option == "window 1" else WITH_WINDOW
        chosen = f" ({ours.associations} found worth while)" if option == "auto" else ""
        for span, ratio in (
            ("transfer", theirs.transfer_seconds / ours.transfer_seconds),
            ("whole process", theirs.process_seconds / ours.process_seconds),
        ):
            text = f"{_TITLES['c']}: objects/s beside DCMTK, {way}{chosen}, {span}"
            lines.append(target(text, f">= {wanted:g}x", f"{ratio:.2f}x", reached=ratio >= wanted))
    return lines


def environment() -> dict[str, Any]:
    """The machine, and the versions of what ran on it."""
    processor = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        processor = next(line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line)
    revision = _first_line("git", "-C", str(programs.HERE), "describe", "--always", "--dirty")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor,
        "processors": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load_average": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "dimse": f"{_first_line(sys.executable, '-m', 'dimse', '--version').removeprefix('dimse ')} ({revision})",
        "DCMTK": _first_line(programs.dcmtk("storescp"), "--version").split()[2],
        "Orthanc": _first_line(archives.orthanc(), "--version").split()[-1],
        **{name: version(name) for name in ("pynetdicom", "pydicom", "uvloop")},
    }


def _first_line(*command: str) -> str:
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return output.splitlines()[0] if output else "unknown"


def write(results: Sequence[Measurement], groups: Sequence[Sequence[Exchange]], sections: Sequence[Section]) -> None:
    """Write RESULTS.md, and the JSON file that is its source."""
    about = environment()
    folder = programs.HERE / "results"
    folder.mkdir(exist_ok=True)
    path = folder / f"{about['date'].replace(':', '')}.json"
    path.write_text(
        json.dumps(
            about
            | {
                "measurements": [result.as_json() for result in results],
                "exchanges": [exchange.as_json() for group in groups for exchange in group],
                "sections": {one.title: list(one.numbers) for one in sections},
            },
            indent=1,
        )
    )
    (programs.HERE / "RESULTS.md").write_text(_markdown(results, groups, sections, about))


def _markdown(
    results: Sequence[Measurement],
    groups: Sequence[Sequence[Exchange]],
    sections: Sequence[Section],
    about: dict[str, Any],
) -> str:
    commands = []
    for name in programs.IMPLEMENTATIONS:
        commands += [programs.receiver(name, 11112, Path("INTO")), programs.sender(name, 11112, Path("FILES"))]
    for name in ("dimse", "DCMTK", "pynetdicom"):
        commands.append(queries.find_program(name, 11112, "ARCHIVE", "c", ""))
    for name in ("dimse", "DCMTK"):
        commands.append(queries.get_program(name, 11112, "ARCHIVE", "c", Path("INTO")))
        commands.append(queries.move_program(name, 11112, "ARCHIVE", "c"))
    tables = []
    for load, title in _TITLES.items():
        rows = "\n".join(row(result) for result in results if result.workload == load)
        tables.append(f"### {title}\n\n{TABLE.header}\n{rows}\n")
    return _TEMPLATE.format(
        about="\n".join(f"- {name}: {value}" for name, value in about.items()),
        commands="\n".join(map(_shown, commands)),
        targets=targets(results, groups, sections),
        sections="\n\n".join(f"## {one.title}\n\n{one.about}\n{one.table}" for one in sections),
        queries="\n".join([query_report.TABLE.header, *map(query_report.rows, groups)]),
        floor_memory=min(result.sender_memory for result in results) / 1e6,
        tables="\n".join(tables),
    )


def _shown(command: programs.Program) -> str:
    return str(command).replace(f"{programs.HERE}{os.sep}", "benchmarks/").replace(sys.executable, "python")


_TEMPLATE = """\
# What was measured

Written by `make bench`; the numbers with all runs are in `benchmarks/results/`.

{about}

Each pair ran alone, in turn, in one run of the benchmark, with its files in memory (/dev/shm); what arrived was
compared with what was sent, byte by byte, after each. Pairs with pynetdicom ran once when they store, the others
several times (see the JSON file): times are the least, as what else happens on a machine only adds to them - a
virtual one takes up to four times as long to write memory that its host had taken back -, memory is the highest.

- *transfer s* is the transfer alone. For dimse and the floor it goes from before the connection is opened until it is
  closed, for pynetdicom from the first C-STORE to the last response, for dcmsend from "sending SOP instances" to
  "Releasing Association" in its log. MB/s (10^6 bytes) and objects/s are of this.
- *process s* is the whole sender: its start and its looking at the files as well.
- *CPU s* is user and system time: of the whole sender, and of the receiver from when it listened.
- *window 1* is dimse with one object at a time; without it is the default, an operations window of 16. *auto* is
  `dimse.send(..., associations=8, auto_associations=True)`: as many of 8 associations as it finds worth while.
- *MB* is the peak of resident memory (10^6 bytes) of the whole process. Less than what the benchmark itself has
  ({floor_memory:.0f} MB) cannot be told: DCMTK takes less than is shown.
- *floor* is the same files through a plain blocking socket from one Python process to another, which writes them,
  with a request and a response for each.
- *tuned* is pynetdicom with PDUs of 128 KiB and with TCP_NODELAY on both sides, for which it has no setting. The
  targets are for pynetdicom as the issue sets it: chunked, PDUs unlimited; what tuned takes is told beside them.
- *pure* is dimse without its compiled modules, on both sides.
- *fsync* is `StoreOptions(fsync=True)`, the default. Elsewhere it is off, as DCMTK and pynetdicom do not sync either.

## Targets

{targets}

## Table

{tables}
## Query/Retrieve

- C-FIND lists the instances of (c), at IMAGE level, with seven keys; C-GET and C-MOVE bring the study of a load.
  *objects/s* is responses or instances. *transfer s* goes from the request to the final response, on an association
  that is open; *process s* is the whole client. The ratios say how often as fast as that client a client is, with the
  same archive. What came was compared with what is there: the values of all responses, the bytes of all instances.
- As an archive, *floor* is a plain blocking socket to which all responses go at once, encoded beforehand: the clients
  alone are measured. With the other archives it is often the archive that takes the time.
- As archives, *dimse* and *pynetdicom* are a handler that yields data sets which are ready; pynetdicom's has
  TCP_NODELAY. Orthanc and dcmqrscp have the objects in memory (/dev/shm). All are started once, so caches are warm.
- findscu decodes each response and drops it. dimse and pynetdicom keep pydicom data sets, whose values are decoded when
  they are looked at, which they are not. What is found is written and compared in a second run of the same program.
- A C-MOVE goes to storescp. getscu stores with `+B`; our C-GET with `fsync=False`, as getscu does not sync.

{queries}

{sections}

## Commands

FILES is the folder with what is sent; a Python sender gets the path of each file.

```
{commands}
```
"""
