"""The small objects where each answer takes 20 ms: what waits for answers, and what does not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import subsets
from pairs import Measurement, measure
from tables import Section, Table, target

DELAY: Final = 0.010
"""Seconds each way."""
FEW: Final = {"full": 100, "quick": 20}
"""Objects for those that send one after the other."""
WANTED: Final = 10.0
ONE_BY_ONE: Final = (
    ("floor", "", False),
    ("DCMTK", "", False),
    ("pynetdicom", "", True),
    ("pynetdicom", "tuned", True),
    ("dimse", "window 1", False),
)

TABLE: Final = Table(
    ("sender and receiver",),
    (("objects", 7), ("associations", 12), ("transfer s", 10), ("ms an object", 12), ("x DCMTK", 7)),
    widths=(24,),
)

ABOUT = f"""\
- (c) through `delay_proxy.py`, which passes on all that comes {DELAY * 1000:.0f} ms later each way, in order and
  however much it is; only the opening of the connection is not delayed. *dimse* and *dimse, auto* send all
  of (c); those that send one object after the other send its first {FEW["full"]}, and *ms an object* is what is
  compared. The floor is the plain socket, which waits for each answer too.
"""


def section(folder: Path, scale: str, runs: int) -> Section:
    """dimse compared with the others, each at its best settings."""
    everything = subsets.workload(scale, "c")
    few, files = subsets.part(everything, FEW[scale], folder)
    try:
        results = [
            measure(few, files, folder, (name, name), runs=1 if slow else runs, option=option, delay=DELAY)
            for name, option, slow in ONE_BY_ONE
        ]
    finally:
        shutil.rmtree(files)
    results += [
        measure(everything, folder / "c", folder, ("dimse", "dimse"), runs=runs, option=option, delay=DELAY)
        for option in ("", "auto")
    ]
    by_name = {(each.sender, each.option): each for each in results}
    theirs = _each(by_name["DCMTK", ""])
    rows = [
        TABLE.line(
            ", ".join(filter(None, (each.sender, each.option))),
            f"{each.objects}",
            f"{each.associations}",
            f"{each.transfer_seconds:.3f}",
            f"{_each(each) * 1000:.2f}",
            f"{theirs / _each(each):.2f}",
        )
        for each in results
    ]
    ratio = theirs / _each(by_name["dimse", "auto"])
    text = f"(c) at {DELAY * 2000:.0f} ms round trip: objects/s of dimse, auto, beside DCMTK, transfer"
    return Section(
        title="At 20 ms round trip",
        about=ABOUT,
        table="\n".join([TABLE.header, *rows]),
        targets=[target(text, f">= {WANTED:g}x", f"{ratio:.2f}x", reached=ratio >= WANTED)],
        numbers=[each.as_json() for each in results],
    )


def _each(one: Measurement) -> float:
    return one.transfer_seconds / one.objects
