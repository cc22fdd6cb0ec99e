"""C-FIND, C-GET and C-MOVE: each client asks each archive, and what it got is compared with what is there."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import responses
import workloads
from archives import DESTINATION, Archive, filled, handler
from measuring import Running
from pairs import compare
from programs import DCMTK, PDU, Program, dcmtk, python, receiver, transfer_seconds
from workloads import Workload

FIND_LOAD = "c"
"""The objects that a C-FIND lists."""
RETRIEVE_LOADS = "bc"
PARTS = ("find", "get", "move")


@dataclass(frozen=True)
class Exchange:
    """One client and one archive: the least times and the highest memory of its runs, as in `pairs.Measurement`."""

    operation: str
    workload: str
    client: str
    archive: str
    runs: int
    objects: int
    bytes: int
    """Of files; 0 for a C-FIND."""
    transfer_seconds: float
    """From the request to the final response."""
    process_seconds: float
    """Of the whole client."""
    client_cpu: float
    """Of the whole client."""
    archive_cpu: float
    """In the meantime."""
    client_memory: int
    all_transfer_seconds: tuple[float, ...]

    @property
    def objects_per_second(self) -> float:
        """Responses or instances, in the transfer alone."""
        return self.objects / self.transfer_seconds

    @property
    def megabytes_per_second(self) -> float:
        """MB (10^6 bytes) of files a second, in the transfer alone."""
        return self.bytes / self.transfer_seconds / 1e6

    def as_json(self) -> dict[str, Any]:
        """All fields, and the rates."""
        return asdict(self) | {
            "objects_per_second": self.objects_per_second,
            "megabytes_per_second": self.megabytes_per_second,
        }


def exchanges(folder: Path, scale: str, parts: set[str], runs: int, only: str = "") -> Iterator[list[Exchange]]:
    """All exchanges of the `parts`, in groups that are compared with each other: one operation, load and archive."""
    loads = [load for load in workloads.SCALES[scale] if load.key in RETRIEVE_LOADS]
    chosen = [load for load in loads if not only or load.key in only.split(",")]
    retrievals = [part for part in ("get", "move") if part in parts]
    listed = responses.workload(FIND_LOAD, scale)
    if "find" in parts:
        for implementation in ("floor", "dimse", "pynetdicom"):
            with handler(implementation, FIND_LOAD, scale) as archive:
                yield _finds(archive, listed, folder, runs)
    with filled("Orthanc", folder, folder, [listed] if not retrievals else loads) as archive:
        if "find" in parts:
            yield _finds(archive, listed, folder, runs)
        for part in retrievals:
            for load in chosen:
                yield _retrievals(part, archive, load, folder, runs)
    for load in chosen if retrievals else []:
        # One at a time: it looks through all that it has for each object.
        with filled("dcmqrscp", folder, folder, [load]) as archive:
            for part in retrievals:
                yield _retrievals(part, archive, load, folder, runs)


# One group


def _finds(archive: Archive, load: Workload, folder: Path, runs: int) -> list[Exchange]:
    expected = responses.lines(workloads.matches(load))
    place = folder / "responses"

    def run(client: str) -> _Run:
        run = _timed(client, find_program(client, archive.port, archive.title, load.key, ""), archive)
        # In a run of its own: writing the responses is no part of what is measured.
        with Running(find_program(client, archive.port, archive.title, load.key, str(place))) as finding:
            finding.wait()
        _same(responses.from_xml(place) if client == "DCMTK" else place.read_text(), expected)
        place.unlink()
        return run

    return [
        _exchange("C-FIND", load, client, archive, 0, [run(client) for _ in range(runs)])
        for client in ("dimse", "DCMTK", "pynetdicom")
    ]


def _same(found: str, expected: str) -> None:
    """Raise unless what was found is what is there: as many, and the same values in each."""
    counts = len(found.splitlines()), len(expected.splitlines())
    assert counts[0] == counts[1], f"{counts[0]} responses of {counts[1]}"
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in (found, expected)]
    assert hashes[0] == hashes[1], f"not what is there: {found.splitlines()[0]!r}, {expected.splitlines()[0]!r}"


def _retrievals(part: str, archive: Archive, load: Workload, folder: Path, runs: int) -> list[Exchange]:
    files, into = folder / load.key, folder / "received"
    size = sum(path.stat().st_size for path in files.iterdir())

    def run(client: str) -> _Run:
        into.mkdir()
        try:
            if part == "get":
                program = get_program(client, archive.port, archive.title, load.key, into)
                run = _timed(client, program, archive)
            else:
                program = move_program(client, archive.port, archive.title, load.key)
                with Running(receiver("DCMTK", archive.destination, into)) as receiving:
                    receiving.wait_for_port(archive.destination)
                    run = _timed(client, program, archive)
                    receiving.stop()
            compare(files, into)
        finally:
            shutil.rmtree(into)
        return run

    return [
        _exchange(f"C-{part.upper()}", load, client, archive, size, [run(client) for _ in range(runs)])
        for client in ("dimse", "DCMTK")
    ]


# One run


@dataclass(frozen=True)
class _Run:
    transfer: float
    process: float
    client_cpu: float
    archive_cpu: float
    client_memory: int


def _timed(client: str, program: Program, archive: Archive) -> _Run:
    before = archive.running.cpu_seconds()
    with Running(program) as running:
        usage = running.wait()
    cpu = archive.running.cpu_seconds() - before
    return _Run(transfer_seconds(client, usage.output), usage.seconds, usage.cpu_seconds, cpu, usage.peak_memory)


def _exchange(operation: str, load: Workload, client: str, archive: Archive, size: int, runs: list[_Run]) -> Exchange:
    return Exchange(
        operation=operation,
        workload=load.key,
        client=client,
        archive=archive.name,
        runs=len(runs),
        objects=load.count,
        bytes=size,
        transfer_seconds=min(run.transfer for run in runs),
        process_seconds=min(run.process for run in runs),
        client_cpu=min(run.client_cpu for run in runs),
        archive_cpu=min(run.archive_cpu for run in runs),
        client_memory=max(run.client_memory for run in runs),
        all_transfer_seconds=tuple(run.transfer for run in runs),
    )


# The clients


def find_program(client: str, port: int, title: str, load: str, place: str) -> Program:
    """List all instances of `load`. The responses go to the file `place`; they are dropped if it is empty."""
    if client != "DCMTK":
        return python(f"{client}_query.py", "find", str(port), title, load, place)
    root = workloads.root_of(responses.workload(load))
    keys = dict.fromkeys(responses.KEYS, "") | {
        "QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": f"{root}.1", "SeriesInstanceUID": f"{root}.2"
    }  # fmt: skip
    return _dcmtk("findscu", port, title, keys, "-sr", *(["-Xs", place] if place else []))


def get_program(client: str, port: int, title: str, load: str, into: Path) -> Program:
    """Bring the study of `load` into a folder by C-GET."""
    if client == "dimse":
        return python("dimse_query.py", "get", str(port), title, load, str(into))
    return _dcmtk("getscu", port, title, _study(load), "+B", "-od", str(into))


def move_program(client: str, port: int, title: str, load: str) -> Program:
    """Have the study of `load` sent to `DESTINATION` by C-MOVE."""
    if client == "dimse":
        return python("dimse_query.py", "move", str(port), title, load, DESTINATION)
    return _dcmtk("movescu", port, title, _study(load), "-aem", DESTINATION)


def _study(load: str) -> dict[str, str]:
    return {
        "QueryRetrieveLevel": "STUDY", "StudyInstanceUID": f"{workloads.root_of(responses.workload(load))}.1"
    }  # fmt: skip


def _dcmtk(name: str, port: int, title: str, keys: dict[str, str], *options: str) -> Program:
    given = [part for key, value in keys.items() for part in ("-k", f"{key}={value}" if value else key)]
    fixed = ["-lc", str(Path(__file__).with_name("dcmtk_log.cfg")), "-S", "-pdu", PDU, "-aec", title]
    return Program([dcmtk(name), *fixed, *options, *given, "127.0.0.1", str(port)], DCMTK)
