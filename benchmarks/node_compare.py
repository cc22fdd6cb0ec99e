"""`dimse node` beside Orthanc and tiny-pacs: the same clients, the same objects, a real disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import subsets
import workloads
from measuring import Running
from node_archives import Node, started, tiny_pacs
from pairs import compare
from programs import DCMTK, HERE, PDU, Program, dcmtk, python, transfer_seconds
from queries import get_program
from tables import Section, Table, target

DISK: Final = HERE.parent / "build"
"""On a real disk: what an archive promises costs nothing in memory."""

OVER_TINY_PACS: Final = 10.0
BESIDE_ORTHANC: Final = {"ingest CT": 2.0, "ingest small": 2.0, "C-FIND": 1.5, "C-GET": 1.5}
FIRST_ANSWER: Final = 0.02

TITLES: Final = {
    "ingest CT": "CT of 512 KiB, 4 senders",
    "ingest small": "objects of 3 KB, 1 association",
    "ingest small, window": "the same, sent by dimse",
    "C-FIND": "instances of a series",
    "C-GET": "CT of 512 KiB",
}

TABLE: Final = Table(
    ("operation", "what", "archive"),
    (("objects/s", 9), ("seconds", 8), ("first s", 8), ("CPU s, archive", 14), ("MB, archive", 11)),
    widths=(20, 30, 20),
)

ABOUT = """\
- Each archive is new and on a real disk. The senders are DCMTK's dcmsend; "sent by dimse" is `dimse.send` with its
  operations window. C-FIND is asked by dimse, C-GET by getscu, whose files are compared. *no fsync* is dimse with
  `fsync = false` and Orthanc with `SyncStorageArea = false`. Orthanc never forces its index to the disk; dimse forces
  it before each Success. What an archive fails in has no line: tiny-pacs 0.4.1 agrees to any operations window, as
  pynetdicom2 sends User Information back as it came, and then its own threads lock each other out of SQLite ("database
  is locked", 0xC000).
"""


@dataclass(frozen=True)
class Figure:
    """The best of some runs of one operation on one archive."""

    operation: str
    archive: str
    fsync: bool
    objects: int
    seconds: float
    first: float
    """Seconds to the first answer of a C-FIND."""
    cpu: float
    """Of the archive."""
    memory: int
    """Of the archive, after it."""

    @property
    def rate(self) -> float:
        """Objects per second."""
        return self.objects / self.seconds

    @property
    def name(self) -> str:
        """The archive, and how it writes."""
        return self.archive if self.fsync else f"{self.archive}, no fsync"


def section(folder: Path, scale: str, runs: int) -> Section:
    """All operations, on all archives that are installed."""
    keys = [load.key for load in workloads.SENT_TOGETHER[scale]]
    subprocess.run([sys.executable, HERE / "workloads.py", folder, scale, *keys], check=True)
    figures = list(_figures(folder, scale, min(runs, 3)))
    for key in keys:
        shutil.rmtree(folder / key)
    rows = [
        TABLE.line(
            each.operation,
            TITLES[each.operation],
            each.name,
            f"{each.rate:.0f}",
            f"{each.seconds:.3f}",
            f"{each.first:.4f}" if each.first else "",
            f"{each.cpu:.2f}",
            f"{each.memory / 1e6:.0f}",
        )
        for each in sorted(figures, key=lambda each: (list(TITLES).index(each.operation), each.name))
    ]
    return Section(
        title="The node beside other archives",
        about=ABOUT if tiny_pacs() else f"{ABOUT}- tiny-pacs is not installed.\n",
        table="\n".join([TABLE.header, *rows]),
        targets=_targets(figures),
        numbers=[asdict(each) | {"rate": each.rate} for each in figures],
    )


def _targets(figures: list[Figure]) -> list[str]:
    rates = {(each.operation, each.name): each.rate for each in figures}
    lines = []
    for operation, title in TITLES.items():
        ours = rates[operation, "DIMSE"]
        for other, wanted in (("Orthanc", BESIDE_ORTHANC.get(operation)), ("tiny-pacs", OVER_TINY_PACS)):
            if wanted is not None and (operation, other) in rates:
                ratio = ours / rates[operation, other]
                text = f"node, {operation}, {title}: beside {other}"
                lines.append(target(text, f">= {wanted:g}x", f"{ratio:.2f}x", reached=ratio >= wanted))
        if (operation, "DIMSE, no fsync") in rates and (operation, "Orthanc, no fsync") in rates:
            ratio = rates[operation, "DIMSE, no fsync"] / rates[operation, "Orthanc, no fsync"]
            lines.append(target(f"node, {operation}, {title}: beside Orthanc, both without fsync", "", f"{ratio:.2f}x"))
    first = min(each.first for each in figures if each.operation == "C-FIND" and each.archive == "DIMSE")
    text = "node, C-FIND: first answer"
    lines.append(target(text, f"< {FIRST_ANSWER:g} s", f"{first:.4f} s", reached=first < FIRST_ANSWER))
    return lines


def _figures(folder: Path, scale: str, runs: int) -> Iterator[Figure]:
    """Nothing is removed before the end: ext4 looks for minutes at each inode that was freed when it makes a file."""
    DISK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-node-", dir=DISK) as place:
        for archive in ("DIMSE", "Orthanc", *(["tiny-pacs"] if tiny_pacs() else [])):
            for fsync in (True, False) if archive != "tiny-pacs" else (True,):
                done = list[Figure]()
                for run in range(1 if archive == "tiny-pacs" else runs):
                    try:
                        for figure in _all(folder, scale, archive, fsync, Path(place, f"{archive}-{fsync}-{run}")):
                            done.append(figure)
                    except RuntimeError as error:
                        if archive == "DIMSE":
                            raise
                        print(f"{archive} failed: {error}"[:200])
                for operation in dict.fromkeys(each.operation for each in done):
                    yield min((each for each in done if each.operation == operation), key=lambda each: each.seconds)


def _all(folder: Path, scale: str, archive: str, fsync: bool, place: Path) -> Iterator[Figure]:
    """One run of everything, on one archive, in the new folder `place`."""
    place.mkdir()
    small, ct = subsets.workload(scale, "c"), subsets.workload(scale, "b")
    with started(archive, place / "together", fsync=fsync) as node:
        loads = workloads.SENT_TOGETHER[scale]
        with _measured(node, "ingest CT", fsync, sum(load.count for load in loads)) as done:
            send(node, [folder / load.key for load in loads])
        yield done()
    with started(archive, place / "one", fsync=fsync) as node:
        with _measured(node, "ingest small", fsync, small.count) as done:
            send(node, [folder / small.key])
        yield done()
        if fsync:
            yield _find(node, small)
            send(node, [folder / ct.key])
            yield _get(node, ct, folder)
    with started(archive, place / "window", fsync=fsync) as node:
        with _measured(node, "ingest small, window", fsync, small.count) as done:
            _send_window(node, folder / small.key)
        yield done()


@contextmanager
def _measured(node: Node, operation: str, fsync: bool, objects: int) -> Iterator[Callable[[], Figure]]:
    """What the block takes; of an ingest, the time of the senders from their start to their end."""
    start, cpu = time.perf_counter(), node.running.cpu_seconds()
    seconds = 0.0

    def figure() -> Figure:
        used = node.running.cpu_seconds() - cpu
        return Figure(operation, node.title, fsync, objects, seconds, 0, used, node.running.memory())

    yield figure
    seconds = time.perf_counter() - start


def send(node: Node, folders: list[Path]) -> None:
    """All folders at the same time, each on an association of its own."""
    options = ["-nuc", "-pdu", PDU, "--max-send-pdu", PDU, "-aec", node.title, "+sd"]
    programs = [
        Program([dcmtk("dcmsend"), *options, "127.0.0.1", str(node.port), str(files)], DCMTK) for files in folders
    ]
    running = [Running(program) for program in programs]
    for each in running:
        with each:
            each.wait()


def _send_window(node: Node, files: Path) -> None:
    program = python("dimse_send.py", str(node.port), "--associations=1", *map(str, sorted(files.iterdir())))
    with Running(program) as running:
        running.wait()


def _find(node: Node, load: workloads.Workload) -> Figure:
    root = workloads.root_of(load)
    keys = [f"StudyInstanceUID={root}.1", f"SeriesInstanceUID={root}.2", "SOPClassUID=", "SOPInstanceUID="]
    program = python("node_query.py", str(node.port), node.title, "IMAGE", *keys, "InstanceNumber=")
    cpu, found = node.running.cpu_seconds(), []
    for _ in range(3):
        with Running(program) as running:
            words = running.wait().output.splitlines()[-1].split()
        if int(words[1]) != load.count:
            raise RuntimeError(f"{words[1]} matches of {load.count}")
        found.append((float(words[5]), float(words[3])))
    used, (seconds, first) = node.running.cpu_seconds() - cpu, min(found)
    return Figure("C-FIND", node.title, True, load.count, seconds, first, used / 3, node.running.memory())


def _get(node: Node, load: workloads.Workload, folder: Path) -> Figure:
    cpu, found, into = node.running.cpu_seconds(), [], folder / "received"
    for _ in range(3):
        into.mkdir()
        with Running(get_program("DCMTK", node.port, node.title, load.key, into)) as running:
            found.append(transfer_seconds("DCMTK", running.wait().output))
        compare(folder / load.key, into)
        shutil.rmtree(into)
    used = node.running.cpu_seconds() - cpu
    return Figure("C-GET", node.title, True, load.count, min(found), 0, used / 3, node.running.memory())
