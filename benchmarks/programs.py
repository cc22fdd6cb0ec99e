"""Senders and receivers: how each is started at its best settings, and what its output says of the transfer."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
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
        return " ".join([*(f"{name}={value}" for name, value in self.environment.items()), shlex.join(self.command)])


def python(script: str, *arguments: str) -> Program:
    """A script of this folder."""
    return Program([sys.executable, str(HERE / script), *arguments], {})


def receiver(implementation: str, port: int, folder: Path, option: str = "") -> Program:
    """What listens on `port` and stores into `folder`."""
    if implementation == "DCMTK":
        return Program([dcmtk("storescp"), "+B", "-pdu", PDU, "-od", str(folder), str(port)], DCMTK)
    return python(f"{implementation}_receive.py", str(port), str(folder), *([option] if option else []))


def sender(implementation: str, port: int, files: Path, option: str = "") -> Program:
    """What sends all in the folder `files` over one association."""
    if implementation == "DCMTK":
        options = ["-lc", str(HERE / "dcmtk_log.cfg"), "-nuc", "-pdu", PDU, "--max-send-pdu", PDU]
        return Program([dcmtk("dcmsend"), *options, "+sd", "127.0.0.1", str(port), str(files)], DCMTK)
    paths = sorted(files.iterdir()) if files.is_dir() else [files]
    return python(f"{implementation}_send.py", str(port), *([option] if option else []), *map(str, paths))


def transfer_seconds(implementation: str, output: str) -> float:
    """How long the transfer alone took, from what the sender printed."""
    if implementation == "DCMTK":
        start, end = (float(line.split()[0]) for line in output.splitlines())
        return end - start
    return float(output.split()[-1])


def dcmtk(name: str) -> str:
    """The path of a program of DCMTK. The scripts of the virtual environment are not looked at: pynetdicom's have the
    same names. Empty if it is not installed.
    """
    scripts = {sysconfig.get_path("scripts"), str(Path(sys.executable).parent)}
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return shutil.which(name, path=os.pathsep.join(folder for folder in folders if folder not in scripts)) or ""


def missing() -> list[str]:
    """What has to be installed first."""
    names = ("dcmsend", "storescp", "dcmqrscp", "findscu", "getscu", "movescu")
    return [name for name in names if not dcmtk(name)]
