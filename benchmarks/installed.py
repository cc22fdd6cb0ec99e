"""DCMTK and Orthanc as people have them: no TCP_NODELAY, and PDUs of the size that they take by default."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import archives
import subsets
from measuring import Running, free_port
from pairs import measure
from programs import sender, transfer_seconds
from tables import Section, Table, target

OPTION: Final = "as installed"
WANTED: Final = 5.0
PAIRS: Final = (("DCMTK", "DCMTK"), ("dimse", "DCMTK"), ("DCMTK", "dimse"))

TABLE: Final = Table(
    ("sender", "receiver"), (("objects", 7), ("transfer s", 10), ("ms an object", 12)), widths=(10, 10)
)

ABOUT = """\
- (b) with DCMTK and Orthanc as they are when nobody has told them anything: Nagle's algorithm is on, and what they send
  in two writes waits until the first is acknowledged. Linux takes 40 ms for that unless it is told, as dimse tells it.
  Their PDUs are of the default size. Orthanc is a new one for each run.
"""


def section(folder: Path, scale: str, runs: int) -> Section:
    """dimse compared with DCMTK, to and from both."""
    load, runs = subsets.workload(scale, "b"), min(runs, 3)
    files = folder / load.key
    seconds = {pair: measure(load, files, folder, pair, runs=runs, option=OPTION).transfer_seconds for pair in PAIRS}
    for name in ("DCMTK", "dimse"):
        seconds[name, "Orthanc"] = min(_to_orthanc(name, files, folder) for _ in range(runs))
    rows = [
        TABLE.line(*pair, f"{load.count}", f"{took:.3f}", f"{took / load.count * 1000:.2f}")
        for pair, took in seconds.items()
    ]
    ratios = [("to", "DCMTK", seconds["dimse", "DCMTK"]), ("from", "DCMTK", seconds["DCMTK", "dimse"])]
    lines = []
    for way, other, took in ratios:
        ratio = seconds["DCMTK", "DCMTK"] / took
        text = f"(b) {way} {other} as installed: beside DCMTK to itself, transfer"
        lines.append(target(text, f">= {WANTED:g}x", f"{ratio:.1f}x", reached=ratio >= WANTED))
    ratio = seconds["DCMTK", "Orthanc"] / seconds["dimse", "Orthanc"]
    lines.append(target("(b) to Orthanc as installed: beside DCMTK's sender, transfer", "", f"{ratio:.1f}x"))
    return Section(
        title="DCMTK and Orthanc as installed",
        about=ABOUT,
        table="\n".join([TABLE.header, *rows]),
        targets=lines,
        numbers=[{"sender": pair[0], "receiver": pair[1], "transfer_seconds": took} for pair, took in seconds.items()],
    )


def _to_orthanc(name: str, files: Path, scratch: Path) -> float:
    folder, port = scratch / "installed", free_port()
    folder.mkdir()
    try:
        with Running(archives.orthanc_as_installed(folder, port)) as running:
            running.wait_for_port(port)
            with Running(sender(name, port, files, OPTION)) as sending:
                return transfer_seconds(name, sending.wait().output)
    finally:
        shutil.rmtree(folder)
