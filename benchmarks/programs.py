"""Senders and receivers: how each is started at its best settings, and what its output says of the transfer."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE = Path(__file__).parent
DCMTK = {"TCP_NODELAY": "1"}
PDU = "131072"  # the largest that DCMTK takes
PEM = str(HERE / "certificate.pem")
IMPLEMENTATIONS = ("dimse", "DCMTK", "pynetdicom")


@dataclass(frozen=True)
class Program:
    """A command line, and what it needs in its environment."""

    command: list[str]
    environment: dict[str, str]

    def __str__(self) -> str:
        return " ".join([*(f"{name}={value}" for name, value in self.environment.items()), shlex.join(self.command)])


def python(script: str, *arguments: str, pure: bool = False) -> Program:
    """A script of this folder; `pure` is without our compiled modules, which the Makefile puts in the way."""
    return Program([sys.executable, str(HERE / script), *arguments], {"PYTHONPATH": ""} if pure else {})


SENDING: Final = {
    "": (),
    "fsync": (),
    "tuned": ("tuned",),
    "pure": (),
    "window 1": ("--window=1",),
    "auto": ("--associations=8", "--tune"),
    "1 association": ("--associations=1",),
    "4 associations": ("--associations=4",),
    "16 associations": ("--associations=16",),
    "TLS": ("--tls",),
    "as installed": (),
}
"""What an option is to a sender. "fsync" is of our receiver, "tuned" of pynetdicom on both sides, "pure" is both
sides without compiled modules, "auto" is as many of 8 associations as `dimse.send` finds worth while, "as installed" is
DCMTK without settings for its speed; "" is one association, with the operations window of the defaults.
"""
RECEIVING: Final = {"fsync": ("fsync",), "tuned": ("tuned",), "TLS": ("tls",), "many": ("many",)}
"""What an option is to a receiver, if anything."""


def receiver(implementation: str, port: int, folder: Path, option: str = "") -> Program:
    """What listens on `port` and stores into `folder`."""
    if implementation == "DCMTK":
        if option == "as installed":
            return Program([dcmtk("storescp"), "+B", "-od", str(folder), str(port)], {})
        tls = ["+tls", PEM, PEM, "-ic"] if option == "TLS" else []
        return Program([dcmtk("storescp"), "+B", "-pdu", PDU, *tls, "-od", str(folder), str(port)], DCMTK)
    flags = RECEIVING.get(option, ())
    return python(f"{implementation}_receive.py", str(port), str(folder), *flags, pure=option == "pure")


def sender(implementation: str, port: int, files: Path, option: str = "") -> Program:
    """What sends all in the folder `files`, over one association unless `option` says something else."""
    if implementation == "DCMTK" and option == "as installed":
        options = ["-lc", str(HERE / "dcmtk_log.cfg"), "+sd", "-nuc"]
        return Program([dcmtk("dcmsend"), *options, "127.0.0.1", str(port), str(files)], {})
    if implementation == "DCMTK":
        return _dcmtk_sender(port, files, tls=option == "TLS")
    flags = ("tls",) if (implementation, option) == ("floor", "TLS") else SENDING[option]
    paths = sorted(files.iterdir()) if files.is_dir() else [files]
    return python(f"{implementation}_send.py", str(port), *flags, *map(str, paths), pure=option == "pure")


def _dcmtk_sender(port: int, files: Path, *, tls: bool) -> Program:
    options = ["-lc", str(HERE / "dcmtk_log.cfg"), "-pdu", PDU, "--max-send-pdu", PDU, "+sd"]
    if tls:  # dcmsend has none
        secure = ["-xe", "+tls", PEM, PEM, "+cf", PEM]
        return Program([dcmtk("storescu"), *options, *secure, "127.0.0.1", str(port), str(files)], DCMTK)
    return Program([dcmtk("dcmsend"), *options, "-nuc", "127.0.0.1", str(port), str(files)], DCMTK)


def transfer_seconds(implementation: str, output: str) -> float:
    """How long the transfer alone took, from what the sender printed."""
    if implementation == "DCMTK":
        times = re.findall(r"(\d{10}\.\d+) ", output)  # storescu draws a progress bar between them
        return float(times[-1]) - float(times[0])
    return float(output.split()[-1])


def associations_used(implementation: str, output: str) -> int:
    """The number that `dimse.send` found worthwhile; the others have one."""
    return int(output.split()[1]) if implementation == "dimse" else 1


def dcmtk(name: str) -> str:
    """The path of a program of DCMTK. The scripts of the virtual environment are not looked at: pynetdicom's have the
    same names. Empty if it is not installed.
    """
    scripts = {sysconfig.get_path("scripts"), str(Path(sys.executable).parent)}
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return shutil.which(name, path=os.pathsep.join(folder for folder in folders if folder not in scripts)) or ""


def missing() -> list[str]:
    """What has to be installed first."""
    names = ("dcmsend", "storescp", "storescu", "echoscu", "dcmqrscp", "findscu", "getscu", "movescu")
    return [name for name in names if not dcmtk(name)]
