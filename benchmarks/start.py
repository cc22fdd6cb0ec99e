"""How long it takes until anything can happen: imports, and a C-ECHO from the command line."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Final

from measuring import Running, free_port
from programs import Program, dcmtk, receiver
from tables import Section, Table, target

RUNS: Final = {"full": 15, "quick": 3}
MORE: Final = 0.050
"""Seconds that `import dimse` may take longer than `import pydicom`."""
HALF: Final = 0.5

IMPORTS: Final = {
    "python, nothing": "pass",
    "import pydicom": "import pydicom",
    "import pynetdicom": "import pynetdicom",
    "import dimse": "import dimse",
    "dimse, all names": "from dimse import *",
}
ECHOES: Final = ("floor", "DCMTK echoscu", "pynetdicom echoscu", "dimse echo")

TABLE: Final = Table(("process",), (("median s", 8), ("least s", 7), ("CPU s", 6)), widths=(20,))

ABOUT = """\
- Whole processes, from their start to their end, in turn, again and again; medians. `import dimse` loads what is used
  when it is used; *dimse, all names* has used everything. The C-ECHO goes to our server, each time over an association
  of its own; *floor* is Python that connects a plain socket and ends.
"""


def section(folder: Path, scale: str) -> Section:
    """All of them in turn, so that none has the quieter time."""
    into = folder / "received"
    into.mkdir()
    port = free_port()
    commands = {name: [sys.executable, "-c", code] for name, code in IMPORTS.items()}
    commands |= _echoes(port)
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    cpu: dict[str, list[float]] = {name: [] for name in commands}
    with Running(receiver("dimse", port, into)) as server:
        server.wait_for_port(port)
        for number in range(RUNS[scale] + 1):
            for name, command in commands.items():
                with Running(Program(command, {})) as running:
                    usage = running.wait()
                if number:  # the first is to have the files in the page cache
                    seconds[name].append(usage.seconds)
                    cpu[name].append(usage.cpu_seconds)
    into.rmdir()
    median = {name: statistics.median(each) for name, each in seconds.items()}
    rows = [
        TABLE.line(name, f"{median[name]:.3f}", f"{min(seconds[name]):.3f}", f"{statistics.median(cpu[name]):.3f}")
        for name in commands
    ]
    more, whole = (
        median["import dimse"] - median["import pydicom"],
        median["dimse, all names"] - median["import pydicom"],
    )
    share = median["dimse echo"] / median["pynetdicom echoscu"]
    return Section(
        title="Start",
        about=ABOUT,
        table="\n".join([TABLE.header, *rows]),
        targets=[
            target(
                "`import dimse` beside `import pydicom`",
                f"<= {MORE * 1e3:+.0f} ms",
                f"{more * 1e3:+.0f} ms",
                reached=more <= MORE,
            ),
            target("all names of dimse beside `import pydicom`", "", f"{whole * 1e3:+.0f} ms"),
            target(
                "`dimse echo` beside pynetdicom's echoscu, whole process",
                f"<= {HALF:g}x its time",
                f"{share:.2f}x",
                reached=share <= HALF,
            ),
        ],
        numbers=[{"process": name, "seconds": seconds[name], "cpu_seconds": cpu[name]} for name in commands],
    )


def _echoes(port: int) -> dict[str, list[str]]:
    scripts = Path(sys.executable).parent
    connect = f"import socket; socket.create_connection(('127.0.0.1', {port})).close()"
    commands = (
        [sys.executable, "-c", connect],
        [dcmtk("echoscu"), "127.0.0.1", str(port)],
        [str(scripts / "echoscu"), "127.0.0.1", str(port)],
        [str(scripts / "dimse"), "echo", f"BENCH@127.0.0.1:{port}"],
    )
    return dict(zip(ECHOES, commands, strict=True))
