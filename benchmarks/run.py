"""Compares `dimse` with DCMTK, Orthanc, pynetdicom and a plain socket: `make bench`.

Everything is started here and ends here. The files are in memory (/dev/shm), so that no disk is measured but where
whole archives are compared; what arrives is compared with what was sent after every run. The table is printed and
written to RESULTS.md, the numbers to results/<date>.json.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import archives
import crowds
import growth
import idle
import installed
import latency
import node_compare
import node_scale
import query_report
import report
import secure
import start
import workloads
from pairs import Measurement, measure
from programs import HERE, IMPLEMENTATIONS, missing
from queries import Exchange, exchanges
from tables import Section

QUERIES = ("find", "get", "move")
SECTIONS: dict[str, Callable[[Path, str, int], Section]] = {
    "installed": installed.section,
    "latency": latency.section,
    "tls": secure.section,
    "idle": lambda folder, scale, _: idle.section(folder, scale),
    "scale": lambda folder, scale, _: crowds.section(folder, scale),
    "start": lambda folder, scale, _: start.section(folder, scale),
    "node": node_compare.section,
    "node-scale": node_scale.section,
    "growth": lambda folder, scale, runs: growth.section(folder, scale, min(runs, 2)),
}
PARTS = ("store", *QUERIES, *SECTIONS)

FLOOR = ("floor", "floor")
OURS = ("dimse", "dimse")
THEIRS = ("pynetdicom", "pynetdicom")


def measurements(folder: Path, scale: str, only: str, runs: int) -> Iterator[Measurement]:
    """All pairs that store on all workloads, one after the other."""
    for workload in workloads.SCALES[scale]:
        if only and workload.key not in only.split(","):
            continue
        files = folder / workload.key
        if workload is workloads.ONE_MEGABYTE:
            yield measure(workload, files, folder, OURS, runs=1)
            continue
        yield measure(workload, files, folder, FLOOR, runs=runs)
        for sender in IMPLEMENTATIONS:
            for receiver in IMPLEMENTATIONS:
                slow = "pynetdicom" in (sender, receiver)
                yield measure(workload, files, folder, (sender, receiver), runs=1 if slow else runs)
        for option in ("fsync", "pure"):
            yield measure(workload, files, folder, OURS, runs=runs, option=option)
        yield measure(workload, files, folder, THEIRS, runs=1, option="tuned")
        for option in report.SEVERAL_AT_ONCE if workload.key == "c" else ():
            yield measure(workload, files, folder, OURS, runs=runs, option=option)


def main() -> int:
    """Run as the arguments say; 0 if everything arrived as it was sent, whatever the numbers are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"only these of {', '.join(PARTS)}; nothing is written"
    )
    parser.add_argument("--quick", action="store_true", help="small sets, nothing is written: to try the benchmark")
    parser.add_argument("--only", default="", metavar="a,b,c,1mb", help="only these workloads, nothing is written")
    parser.add_argument("--runs", type=int, default=7, help="of the pairs without pynetdicom; the best counts")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}")
    absent = [*missing(), *([] if archives.orthanc() else ["Orthanc"])]
    if absent:
        print(f"not installed: {', '.join(absent)} (Debian: apt install dcmtk orthanc)", file=sys.stderr)
        return 2
    parts, scale = set(arguments.parts or PARTS), "quick" if arguments.quick else "full"
    results: list[Measurement] = []
    groups: list[list[Exchange]] = []
    sections: list[Section] = []
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    with tempfile.TemporaryDirectory(prefix="dimse-bench-", dir=memory if memory.is_dir() else None) as name:
        folder = Path(name)
        subprocess.run([sys.executable, HERE / "workloads.py", folder, scale], check=True)
        if "store" in parts:
            print(report.TABLE.header)
            for result in measurements(folder, scale, arguments.only, arguments.runs):
                results.append(result)
                print(report.row(result), flush=True)
        if asked := parts & set(QUERIES):
            print(query_report.TABLE.header)
            for group in exchanges(folder, scale, asked, arguments.runs, arguments.only):
                groups.append(group)
                print(query_report.rows(group), flush=True)
        for part in SECTIONS:
            if part in parts and not arguments.only:
                sections.append(SECTIONS[part](folder, scale, arguments.runs))
                print(f"\n{sections[-1].title}\n\n{sections[-1].table}", flush=True)
    if not arguments.only:
        print(f"\n{report.targets(results, groups, sections)}")
    if parts == set(PARTS) and not arguments.quick and not arguments.only:
        report.write(results, groups, sections)
    return 0


if __name__ == "__main__":
    sys.exit(main())
