"""Run every case of every group, or of those named, through the machine and over sockets: `make conversations`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Final

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent.parent))  # if this file is run directly

from tests.conversations import machine_driver
from tests.conversations.groups import GROUPS
from tests.conversations.socket_driver import Standing

MEMORY_MIB: Final = 8
"""What the whole run may add to the memory of the process after its first group, in MiB."""


async def _over_sockets(names: list[str]) -> int:
    failed, before, process = 0, 0, psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        async with Standing(Path(folder)) as standing:
            for name in names:
                begun, conversations = time.perf_counter(), standing.conversations
                failures = await standing.run(GROUPS[name].cases())
                seconds, count = time.perf_counter() - begun, standing.conversations - conversations
                memory = process.memory_info().rss // 2**20
                before = before or memory
                _report(f"sockets  {name}: {count} conversations in {seconds:.1f} s, {memory} MiB", failures)
                failed += len(failures)
    if memory > before + MEMORY_MIB:
        _report(f"memory grew from {before} to {memory} MiB", [])
        failed += 1
    return failed


def _report(line: str, failures: list[str]) -> None:
    print(line, f"{len(failures)} failures" if failures else "", flush=True)
    for failure in failures:
        print("   ", failure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    names = parser.parse_args().groups or list(GROUPS)
    warnings.simplefilter("error")
    failed = 0
    for name in names:
        begun, cases = time.perf_counter(), list(GROUPS[name].cases())
        failures = machine_driver.check_all(cases)
        _report(f"machine  {name}: {len(cases)} cases in {time.perf_counter() - begun:.1f} s", failures)
        failed += len(failures)
    return 1 if failed + asyncio.run(_over_sockets(names)) else 0


if __name__ == "__main__":
    sys.exit(main())
