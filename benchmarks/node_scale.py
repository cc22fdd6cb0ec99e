"""`dimse node` with 100 000 studies and a million instances in its index."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import node_rows
import subsets
import workloads
from measuring import Running, free_port
from node_archives import Node, ours
from node_compare import DISK, send
from programs import HERE, python
from tables import Section, Table, target

STUDIES: Final = {"full": 100_000, "quick": 2000}
INSTANCES: Final = {"full": (50, 5000), "quick": (2, 20)}
"""Studies of 200 instances: 10 000 and a million."""

BYTES: Final = 400
FIRST: Final = 0.05
IMPORTED: Final = 5000
GROWN: Final = 0.9
STARTED: Final = {"100 000 studies": 2.0, "a million instances": 3.0}

TABLE: Final = Table(("what", "of what"), (("measured", 12),), widths=(44, 44))

ABOUT = """\
- The index is filled with rows as instances make them (`node_rows.py`), which have no files. A C-FIND is asked by dimse
  for each key alone, in a process of its own. A start is from the process
  to its listening, after kill -9.
"""


@dataclass(frozen=True)
class Line:
    """One figure."""

    what: str
    of: str
    value: float
    unit: str
    wanted: float | None = None
    is_most: bool = True
    """Whether `wanted` is the most that it may be, or the least."""

    @property
    def row(self) -> str:
        """Of the table."""
        return TABLE.line(self.what, self.of, f"{self.value:.4g} {self.unit}")

    @property
    def target(self) -> str:
        """Of the table of targets."""
        assert self.wanted is not None
        reached = self.value <= self.wanted if self.is_most else self.value >= self.wanted
        sign = "<=" if self.is_most else ">="
        text = f"node, {self.what}, {self.of}"
        return target(text, f"{sign} {self.wanted:g} {self.unit}", f"{self.value:.4g} {self.unit}", reached=reached)


def section(folder: Path, scale: str, _: int) -> Section:
    """All figures of size. Nothing is removed between them: see `node_compare`."""
    DISK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-node-", dir=DISK) as place:
        lines = [
            *_studies(Path(place), scale),
            *_instances(Path(place), folder, scale),
            *_files(Path(place), folder, scale),
        ]
    return Section(
        title="The node with much in it",
        about=ABOUT,
        table="\n".join([TABLE.header, *(line.row for line in lines)]),
        targets=[line.target for line in lines if line.wanted is not None],
        numbers=[{"what": line.what, "of": line.of, "value": line.value, "unit": line.unit} for line in lines],
    )


@contextmanager
def _serving(data: Path) -> Iterator[Node]:
    """Our node on a data folder that is there already."""
    port = free_port()
    with Running(ours(data, port, True)) as running:
        running.wait_for_port(port)
        yield Node("DIMSE", port, data, running)


def _filled(data: Path, *numbers: int) -> None:
    data.mkdir()
    subprocess.run([sys.executable, HERE / "node_rows.py", data, *map(str, numbers)], check=True)


def _start_after_kill(data: Path) -> float:
    """Seconds from the process to the answer of a C-ECHO, after a node on this folder was killed."""
    with _serving(data):
        pass  # which ends with kill -9
    start = time.perf_counter()
    with (
        _serving(data) as node,
        Running(python("node_query.py", str(node.port), node.title, "STUDY", "StudyID=none")) as query,
    ):
        query.wait()
        return time.perf_counter() - start


def _find(node: Node, level: str, *keys: str) -> tuple[int, float, float, float]:
    """The number of matches; the best seconds to the first, and to the last one of three runs; their difference."""
    found = []
    for _ in range(3):
        with Running(python("node_query.py", str(node.port), node.title, level, *keys)) as running:
            words = running.wait().output.split()
        found.append((float(words[3]), float(words[5])))
    first, last = min(one[0] for one in found), min(one[1] for one in found)
    return int(words[1]), first, last, last - first


def _studies(place: Path, scale: str) -> Iterator[Line]:
    """The driving keys over many studies."""
    count = STUDIES[scale]
    of, data = f"{count} studies", place / "studies"
    _filled(data, count, 1, 1)
    yield Line("start after kill -9", of, _start_after_kill(data), "s", STARTED["100 000 studies"])
    one = node_rows.keys_of(count // 2)
    keys = {
        "Study Instance UID": ("StudyInstanceUID", node_rows.study_uid(count // 2)),
        "Accession Number": ("AccessionNumber", one["AccessionNumber"]),
        "Patient ID": ("PatientID", one["PatientID"]),
        "Patient's Name": ("PatientName", one["PatientName"]),
        "Patient's Name, beginning": ("PatientName", one["PatientName"][:6] + "*"),
        "Patient's Name, end": ("PatientName", "*" + one["PatientName"][-8:]),
        "Study Date": ("StudyDate", one["StudyDate"]),
        "Study Date, a month": ("StudyDate", f"{one['StudyDate'][:6]}01-{one['StudyDate'][:6]}28"),
        "Patient's Birth Date": ("PatientBirthDate", one["PatientBirthDate"]),
        "Study ID": ("StudyID", one["StudyID"]),
    }
    with _serving(data) as node:
        for name, (key, value) in keys.items():
            matches, first, _, _ = _find(node, "STUDY", f"{key}={value}", "StudyInstanceUID=", "PatientName=")
            assert matches, f"{key}={value} has no matches"
            yield Line(f"first answer by {name}", f"{of}, {matches} match", first * 1000, "ms", FIRST * 1000)
        matches, first, last, _ = _find(node, "STUDY", "StudyInstanceUID=", "PatientID=", "StudyDate=")
        assert matches == count, f"{matches} matches of {count}"
        yield Line("first answer without a key", of, first * 1000, "ms", FIRST * 1000)
        yield Line("all answers", of, matches / last, "answers/s")


def _instances(place: Path, folder: Path, scale: str) -> Iterator[Line]:
    """What more instances cost: bytes, and the time of the next ones."""
    load = subsets.workload(scale, "c")
    rates = []
    for studies in INSTANCES[scale]:
        of, data = f"{studies * 200} instances", place / f"instances-{studies}"
        _filled(data, studies, 1, 200)
        size = sum(file.stat().st_size for file in data.glob("index.sqlite*"))
        yield Line("bytes of index an instance", of, size / studies / 200, "bytes", BYTES)
        yield Line("start after kill -9", of, _start_after_kill(data), "s", STARTED["a million instances"])
        with _serving(data) as node:
            start = time.perf_counter()
            send(node, [folder / load.key])
            rates.append(load.count / (time.perf_counter() - start))
        yield Line("ingest, 1 association", of, rates[-1], "objects/s")
    yield Line("ingest, beside that with the least", of, rates[-1] / rates[0], "x", GROWN, is_most=False)


def _files(place: Path, folder: Path, scale: str) -> Iterator[Line]:
    """Files that a command reads."""
    load = workloads.Workload("h", "small files", 20_000 if scale == "full" else 400, 1, 32, 32)
    workloads.make(load, folder / load.key)
    data = place / "imported"
    for command, more in (("import", [str(folder / load.key)]), ("reindex", [])):
        with Running(python("dimse_node.py", "node", command, "--data", str(data), "--json", *more)) as running:
            seconds = running.wait().seconds
        of = f"{load.count} files of 3 KB"
        yield Line(f"dimse node {command}", of, load.count / seconds, "files/s", IMPORTED, is_most=False)
    shutil.rmtree(folder / load.key)
