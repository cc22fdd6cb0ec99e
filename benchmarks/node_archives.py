"""Whole archives on a real disk, as `dimse node` is: Orthanc, tiny-pacs and ours, each new and empty."""

from __future__ import annotations

import json
import shutil
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from archives import orthanc
from measuring import Running, free_port
from programs import DCMTK, PDU, Program, python


@dataclass(frozen=True)
class Node:
    """An archive that listens."""

    title: str
    port: int
    folder: Path
    running: Running


@contextmanager
def started(name: str, folder: Path, *, fsync: bool = True) -> Iterator[Node]:
    """An empty archive of this name, one of `ARCHIVES`, with its data in `folder`, which stays."""
    folder.mkdir()
    port = free_port()
    with Running(ARCHIVES[name](folder, port, fsync)) as running:
        running.wait_for_port(port)
        yield Node(name, port, folder, running)


def ours(folder: Path, port: int, fsync: bool) -> Program:
    configuration = folder / "node.toml"
    configuration.write_text(
        f'[node]\nae_title = "DIMSE"\nport = {port}\ndata = "{folder}"\n[storage]\nfsync = {str(fsync).lower()}\n'
    )
    return python("dimse_node.py", "node", "--config", str(configuration), "--web", "off", "--quiet")


def _orthanc(folder: Path, port: int, fsync: bool) -> Program:
    """Its index is never forced to the disk (`synchronous=NORMAL`); `SyncStorageArea` is about its files."""
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "HttpPort": free_port(),
        "RemoteAccessAllowed": False,
        "DicomAet": "Orthanc",
        "DicomPort": port,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "MaximumPduLength": int(PDU),
        "SyncStorageArea": fsync,
        "SaveJobs": False,
        "Plugins": [],
    }
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(settings))
    return Program([orthanc(), str(configuration)], DCMTK)


def _tiny_pacs(folder: Path, port: int, fsync: bool) -> Program:  # noqa: ARG001 - it forces no file to the disk
    settings = {
        "ae": {"ae_title": ["tiny-pacs", "BENCH"], "port": port, "dump_ds": False, "max_pdu_length": int(PDU)},
        "log": {"version": 1, "root": {"level": "ERROR", "handlers": []}},
        "components": {
            "Database": {"on": True, "driver": "sqlite", "db_name": str(folder / "index.sqlite"), "uri": False},
            "Devices": {"on": True},
            "PACS": {"on": True},
            "InMemoryStorage": {"on": False},  # on by default, and then it is there beside the folder
            "FileStorage": {"on": True, "storage_dir": str(folder / "files")},
        },
    }
    configuration = folder / "tiny-pacs.yaml"
    configuration.write_text(json.dumps(settings))  # JSON is YAML
    return Program([tiny_pacs(), "run", "--config", str(configuration)], {})


def tiny_pacs() -> str:
    """Where it is; `make bench` installs it. Empty if it is not installed."""
    return shutil.which("tiny-pacs", path=sysconfig.get_path("scripts")) or ""


ARCHIVES: Final[dict[str, Callable[[Path, int, bool], Program]]] = {
    "DIMSE": ours,
    "Orthanc": _orthanc,
    "tiny-pacs": _tiny_pacs,
}
"""By their AE titles."""
