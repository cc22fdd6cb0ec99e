"""Run every case of every group, or of those named, through the machine, over sockets and with the commands."""

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
from pydicom.data import get_testdata_file

sys.path.insert(0, str(Path(__file__).parent.parent.parent))  # if this file is run directly

from tests.conversations import command_driver, machine_driver
from tests.conversations.groups import GROUPS
from tests.conversations.socket_driver import Standing

MEMORY_MIB: Final = 64
"""What the whole run may add to the memory of the process after its first group, in MiB: the largest cases have 16."""


COMMANDS_EVERY: Final = 7
"""Each so many-th case is had with each command but `echo`, which has all: their associations are made alike."""


def _with_commands(names: list[str]) -> int:
    failed, file = 0, Path(str(get_testdata_file("CT_small.dcm", download=False)))
    all_cases = [case for name in names for case in GROUPS[name].cases()]
    with tempfile.TemporaryDirectory() as folder:
        for command in command_driver.COMMANDS:
            cases = command_driver.cases_for(command, all_cases)[:: 1 if command == "echo" else COMMANDS_EVERY]
            begun = time.perf_counter()
            failures = [
                each for case in cases for each in command_driver.check(case, command, Path(folder, "out"), file)
            ]
            _report(f"dimse {command}: {len(cases)} conversations in {time.perf_counter() - begun:.1f} s", failures)
            failed += len(failures)
    return failed


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
    warnings.filterwarnings("ignore", category=UserWarning, module="pydicom")  # what it thinks of values
    failed = 0
    for name in names:
        begun, cases = time.perf_counter(), list(GROUPS[name].cases())
        failures = machine_driver.check_all(cases)
        _report(f"machine  {name}: {len(cases)} cases in {time.perf_counter() - begun:.1f} s", failures)
        failed += len(failures)
    failed += asyncio.run(_over_sockets(names))
    return 1 if failed + _with_commands(names) else 0


if __name__ == "__main__":
    sys.exit(main())
