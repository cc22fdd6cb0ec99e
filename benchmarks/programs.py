"""Senders and receivers: how each is started at its best settings, and what its output says of the transfer."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
DCMTK = {"TCP_NODELAY": "1"}
PDU = "131072"  # the largest that DCMTK takes
IMPLEMENTATIONS = ("dimse", "DCMTK", "pynetdicom")


@dataclass(frozen=True)
class Program:
    """A command line, and what it needs in its environment."""

    command: list[str]
    environment: dict[str, str]

    def __str__(self) -> str:
        return " ".join([*(f"{name}={value}" for name, value in self.environment.items()), *self.command])


def _python(script: str, *arguments: str) -> Program:
    return Program([sys.executable, str(HERE / script), *arguments], {})


def receiver(implementation: str, port: int, folder: Path, option: str = "") -> Program:
    """What listens on `port` and stores into `folder`."""
    if implementation == "DCMTK":
        return Program(["storescp", "+B", "-pdu", PDU, "-od", str(folder), str(port)], DCMTK)
    return _python(f"{implementation}_receive.py", str(port), str(folder), *([option] if option else []))


def sender(implementation: str, port: int, files: Path, option: str = "") -> Program:
    """What sends all in the folder `files` over one association."""
    if implementation == "DCMTK":
        options = ["-lc", str(HERE / "dcmtk_log.cfg"), "-nuc", "-pdu", PDU, "--max-send-pdu", PDU]
        return Program(["dcmsend", *options, "+sd", "127.0.0.1", str(port), str(files)], DCMTK)
    paths = sorted(files.iterdir()) if files.is_dir() else [files]
    return _python(f"{implementation}_send.py", str(port), *([option] if option else []), *map(str, paths))


def transfer_seconds(implementation: str, output: str) -> float:
    """How long the transfer alone took, from what the sender printed."""
    if implementation == "DCMTK":
        start, end = (float(line.split()[0]) for line in output.splitlines())
        return end - start
    return float(output.split()[-1])


def missing() -> list[str]:
    """What has to be installed first."""
    return [name for name in ("dcmsend", "storescp") if shutil.which(name) is None]
