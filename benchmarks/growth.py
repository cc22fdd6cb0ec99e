"""What four times as much costs: objects, bytes, associations."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import subsets
import workloads
from pairs import Measurement, measure
from programs import HERE
from tables import Section, Table, target
from workloads import Workload

FACTOR: Final = 1.25
"""The factor by which time per unit, and memory of a side, may grow from the middle row to the largest."""

TABLE: Final = Table(
    ("what grows", "how much"),
    (
        *(("transfer s", 10), ("objects/s", 9), ("MB/s", 8), ("time a unit", 11)),
        *(("MB, sender", 10), ("MB, receiver", 12)),
    ),
    widths=(12, 28),
)

ABOUT = f"""\
- dimse to dimse. (c) with a quarter and four times its objects, (a) with a quarter and four times its size (less one
  frame, as the length of pixel data has 32 bits), (c) over 1, 4 and 16 associations. *time a unit* is the time for an
  object or a byte beside that of the middle row; for associations beside that of one.
  *floor* is the plain socket: what it takes longer too is the machine's.
- Linear means that a unit of the largest takes at most {FACTOR:g} times what it takes in the row it is compared with;
  flat, that neither side takes more than {FACTOR:g} times its memory. These bounds are the benchmark's own.
"""

OURS: Final = ("dimse", "dimse")
FLOOR: Final = ("floor", "floor")


def section(folder: Path, scale: str, runs: int) -> Section:
    """Three rows for each of the three."""
    grown = _four_times(folder, scale)
    one, large = subsets.workload(scale, "c"), subsets.workload(scale, "a")
    quarter, quarter_files = subsets.part(one, one.count // 4, folder)

    def sent(load: Workload, files: Path, option: str = "") -> Measurement:
        return measure(load, files, folder, OURS, runs=runs, option=option)

    try:
        objects = [
            sent(quarter, quarter_files),
            sent(one, folder / "c"),
            sent(grown["c-four"], folder / "c-four"),
        ]
        large_ones = [(each, folder / each.key) for each in (grown["a-quarter"], large, grown.get("a-four")) if each]
        # First, so that it is not dimse for which the machine has to find 4 GiB of memory.
        floor = [measure(load, files, folder, FLOOR, runs=1) for load, files in large_ones]
        sizes = [sent(load, files) for load, files in large_ones]
        associations = [sent(one, folder / "c", _associations(count)) for count in (1, 4, 16)]
    finally:
        for place in (quarter_files, *(folder / key for key in grown)):
            shutil.rmtree(place, ignore_errors=True)
    rows, targets = [], []
    for name, base, group in (
        ("objects", 1, objects),
        ("bytes, floor", 1, floor),
        ("bytes", 1, sizes),
        ("associations", 0, associations),
    ):
        units = [each.transfer_seconds / (each.bytes if "bytes" in name else each.objects) for each in group]
        rows += [_row(name, each, unit / units[base]) for each, unit in zip(group, units, strict=True)]
        if group is floor:
            continue
        if len(group) == 3:
            targets += _targets(name, group[base], group[-1], units[-1] / units[base])
        else:
            targets.append(target(f"growth, four times the {name}", "", "not tried: no room for the files"))
    return Section(
        title="Growth",
        about=ABOUT,
        table="\n".join([TABLE.header, *rows]),
        targets=targets,
        numbers=[each.as_json() for each in (*objects, *floor, *sizes, *associations)],
    )


def _associations(count: int) -> str:
    return f"{count} association{'s' if count > 1 else ''}"


def _four_times(folder: Path, scale: str) -> dict[str, Workload]:
    """Make what is larger or smaller than the sets that are there; without the largest if it does not fit."""
    made = {each.key: each for each in workloads.GROWN[scale]}
    largest = made["a-four"]
    size = largest.frames * largest.rows * largest.columns * 2
    if shutil.disk_usage(folder).free < 2.5 * size:
        del made["a-four"]
    subprocess.run([sys.executable, HERE / "workloads.py", folder, scale, *made], check=True)
    return made


def _row(name: str, one: Measurement, unit: float) -> str:
    much = {
        "objects": f"{one.objects}",
        "associations": one.option,
    }
    size = f"{one.bytes / workloads.MIB:.0f} MiB"
    return TABLE.line(
        name,
        much.get(name, size),
        f"{one.transfer_seconds:.3f}",
        f"{one.objects_per_second:.1f}",
        f"{one.megabytes_per_second:.1f}",
        f"{unit:.2f}",
        f"{one.sender_memory / 1e6:.0f}",
        f"{one.receiver_memory / 1e6:.0f}",
    )


def _targets(name: str, before: Measurement, after: Measurement, unit: float) -> list[str]:
    much = "16 associations beside 1" if name == "associations" else f"four times the {name}"
    lines = [target(f"growth, {much}: time a unit", f"<= {FACTOR:g}x", f"{unit:.2f}x", reached=unit <= FACTOR)]
    for side, memory in (
        ("sender", after.sender_memory / before.sender_memory),
        ("receiver", after.receiver_memory / before.receiver_memory),
    ):
        text = f"growth, {much}: memory of the {side}"
        lines.append(target(text, f"<= {FACTOR:g}x", f"{memory:.2f}x", reached=memory <= FACTOR))
    return lines
