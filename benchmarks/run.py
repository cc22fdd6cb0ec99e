"""Measures `dimse` beside DCMTK and pynetdicom, and beside a plain socket: `make bench`.

Everything is started here and ends here. The files are in memory (/dev/shm), so that no disk is measured, and
what arrives is compared with what was sent after every run. The table is printed and written to RESULTS.md, the
numbers to results/<date>.json.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import report
import workloads
from pairs import Measurement, measure
from programs import HERE, IMPLEMENTATIONS, missing

FLOOR = ("floor", "floor")
OURS = ("dimse", "dimse")
THEIRS = ("pynetdicom", "pynetdicom")


def measurements(folder: Path, scale: str, only: str, runs: int) -> Iterator[Measurement]:
    """All pairs on all workloads, one after the other."""
    subprocess.run([sys.executable, HERE / "workloads.py", folder, scale], check=True)
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
        yield measure(workload, files, folder, OURS, runs=runs, option="fsync")
        yield measure(workload, files, folder, THEIRS, runs=1, option="tuned")


def main() -> int:
    """Run as the arguments say; 0 if everything arrived as it was sent, whatever the numbers are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sets, nothing is written: to try the benchmark")
    parser.add_argument("--only", default="", metavar="a,b,c,1mb", help="only these workloads, nothing is written")
    parser.add_argument("--runs", type=int, default=3, help="of the pairs without pynetdicom; the median counts")
    arguments = parser.parse_args()
    if absent := missing():
        print(f"not installed: {', '.join(absent)} (Debian: apt install dcmtk)", file=sys.stderr)
        return 2
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    results: list[Measurement] = []
    with tempfile.TemporaryDirectory(prefix="dimse-bench-", dir=memory if memory.is_dir() else None) as folder:
        print(report.HEADER)
        for result in measurements(
            Path(folder), "quick" if arguments.quick else "full", arguments.only, arguments.runs
        ):
            results.append(result)
            print(report.row(result), flush=True)
    if not arguments.quick and not arguments.only:
        print(report.targets(results))
        report.write(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
