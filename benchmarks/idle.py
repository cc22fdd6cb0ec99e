"""Many associations: what they take while nothing happens, and whether any is lost when they all send at once."""

from __future__ import annotations

import resource
import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import subsets
from measuring import Running, free_port
from pairs import compare
from programs import Program, python, receiver
from tables import Section, Table, target

IDLE: Final = {"full": 1000, "quick": 100}
IDLE_AT_PYNETDICOM: Final = {"full": 100, "quick": 20}
"""Fewer, as each is two threads."""
SENDING: Final = {"full": 500, "quick": 50}
SECONDS: Final = {"full": 20.0, "quick": 3.0}
"""For which the server's processor time is measured: by default each association has a timer that looks every 4 s."""
KILOBYTES: Final = 150.0
PER_CENT: Final = 1.0

TABLE: Final = Table(
    ("server",),
    (("associations", 12), ("MB before", 9), ("MB with them", 12), ("kB each", 7), ("CPU %", 7), ("seconds", 7)),
    widths=(20,),
)

ABOUT = f"""\
- A second process opens associations and leaves them idle; memory is what is resident in the server before (one
  association has come and gone) and with all of them open, then its processor time is measured. The timers are
  the defaults; only the limits on the number of associations are raised. pynetdicom has fewer, as each takes threads.
- {SENDING["full"]} associations are opened at once by one process, and when all are open send (c) at once, shared out
  among them. Refused are those that were not accepted or broke; lost are the objects that did not arrive.
"""


def section(folder: Path, scale: str) -> Section:
    """Idle ones, then those that send."""
    raise_file_limit(4 * max(IDLE[scale], SENDING[scale]))
    idle = [_idle("dimse", IDLE[scale], folder, SECONDS[scale])]
    idle.append(_idle("pynetdicom", IDLE_AT_PYNETDICOM[scale], folder, SECONDS["quick"]))
    busy = sending(SENDING[scale], folder, scale)
    ours = idle[0]
    share = ours["cpu_per_cent"]
    several = f"{busy['associations']} associations that send at once"
    return Section(
        title="Many associations",
        about=ABOUT,
        table="\n".join([TABLE.header, *map(_row, idle), "", _sentence(busy)]),
        targets=[
            target(
                f"memory of the server for each of {ours['associations']} idle associations",
                f"<= {KILOBYTES:.0f} kB",
                f"{ours['bytes_each'] / 1e3:.0f} kB",
                reached=ours["bytes_each"] <= KILOBYTES * 1e3,
            ),
            target(
                f"processor time of the server with {ours['associations']} idle associations",
                f"<= {PER_CENT:g} % of a core",
                f"{share:.2f} %",
                reached=share <= PER_CENT,
            ),
            target(f"{several}: refused", "0", f"{busy['refused']}", reached=busy["refused"] == 0),
            target(f"{several}: objects lost, of {busy['objects']}", "0", f"{busy['lost']}", reached=busy["lost"] == 0),
        ],
        numbers=[*idle, busy],
    )


def _idle(name: str, count: int, folder: Path, seconds: float) -> dict[str, Any]:
    into = folder / "received"
    into.mkdir()
    try:
        port = free_port()
        with Running(receiver(name, port, into, "many" if name == "pynetdicom" else "")) as server:
            server.wait_for_port(port)
            with Running(_opening(port, 1)) as opening:  # so that what is imported late is
                opening.wait_for_line("open")
            time.sleep(1)
            before = server.memory()
            with Running(_opening(port, count)) as opening:
                opening.wait_for_line("open")
                time.sleep(1)
                cpu, start = server.cpu_seconds(), time.perf_counter()
                time.sleep(seconds)
                cpu, watched = server.cpu_seconds() - cpu, time.perf_counter() - start
                now = server.memory()
    finally:
        shutil.rmtree(into)
    return {
        "server": name,
        "associations": count,
        "memory_before": before,
        "memory": now,
        "bytes_each": (now - before) / count,
        "cpu_per_cent": cpu / watched * 100,
        "seconds": watched,
    }


def _opening(port: int, count: int) -> Program:
    return python("dimse_many.py", "idle", str(port), str(count))


def _row(one: dict[str, Any]) -> str:
    return TABLE.line(
        one["server"],
        f"{one['associations']}",
        f"{one['memory_before'] / 1e6:.1f}",
        f"{one['memory'] / 1e6:.1f}",
        f"{one['bytes_each'] / 1e3:.1f}",
        f"{one['cpu_per_cent']:.2f}",
        f"{one['seconds']:.0f}",
    )


def sending(count: int, folder: Path, scale: str, idle: int = 0) -> dict[str, Any]:
    """Have `count` associations send (c) at once, while as many as `idle` are idle."""
    load, files, into = subsets.workload(scale, "c"), folder / "c", folder / "received"
    into.mkdir()
    try:
        port = free_port()
        with Running(receiver("dimse", port, into)) as server:
            server.wait_for_port(port)
            paths = map(str, sorted(files.iterdir()))
            with ExitStack() as stack:
                if idle:
                    waiting = stack.enter_context(Running(python("dimse_many.py", "idle", str(port), str(idle))))
                    waiting.wait_for_line("open")
                senders = Running(python("dimse_many.py", "send", str(port), str(count), *paths))
                output = stack.enter_context(senders).wait().output
            peak = server.stop().peak_memory
        lost = load.count - sum(1 for path in into.rglob("*") if path.is_file())
        if not lost:
            compare(files, into)
    finally:
        shutil.rmtree(into)
    told = numbers_of(output)
    return {
        "associations": count,
        "objects": load.count,
        "refused": int(told["refused"] + told["broken"]),
        "stored": int(told["stored"]),
        "lost": lost,
        "seconds": told["transfer"],
        "receiver_memory": peak,
        "said": output.splitlines()[:-1][:10],
    }


def numbers_of(output: str) -> dict[str, float]:
    """The numbers in the last line of a program's output, by the names before them."""
    words = output.splitlines()[-1].split()
    return {name: float(number) for name, number in zip(words[::2], words[1::2], strict=True)}


def _sentence(one: dict[str, Any]) -> str:
    refused = "".join(f"\n    {line}" for line in one["said"])
    return (
        f"{one['associations']} associations that send at once: {one['refused']} refused or broken, {one['stored']} of "
        f"{one['objects']} objects answered with Success, {one['lost']} lost, in {one['seconds']:.3f} s; "
        f"the server took {one['receiver_memory'] / 1e6:.0f} MB.{refused}"
    )


def raise_file_limit(wanted: int) -> None:
    """For the processes that are started."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise RuntimeError(f"{wanted} open files are needed, and {hard} are allowed: ulimit -n")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
