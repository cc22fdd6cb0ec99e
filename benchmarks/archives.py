"""The archives that are asked: Orthanc and dcmqrscp with the objects in them, and handlers with ready data sets."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from measuring import Running, free_port
from programs import DCMTK, PDU, Program, dcmtk, python
from workloads import Workload

DESTINATION = "DEST"
"""The AE title to which a C-MOVE goes."""


@dataclass(frozen=True)
class Archive:
    """One that listens."""

    name: str
    title: str
    port: int
    destination: int
    """The port of `DESTINATION`."""
    running: Running


@contextmanager
def handler(implementation: str, load: str, scale: str) -> Iterator[Archive]:
    """Our server or pynetdicom's, which answers a C-FIND with ready data sets; "floor" has encoded responses."""
    port = free_port()
    program = python(f"{implementation}_archive.py", str(port), load, scale)
    with _listening(program, port) as running:
        yield Archive(implementation, implementation.upper(), port, 0, running)


@contextmanager
def filled(name: str, scratch: Path, files: Path, loads: Sequence[Workload]) -> Iterator[Archive]:
    """Orthanc or dcmqrscp, with all of `loads` in it."""
    folder = scratch / name
    folder.mkdir()
    port, destination = free_port(), free_port()
    program = (_orthanc if name == "Orthanc" else _dcmqrscp)(folder, port, destination)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        running = stack.enter_context(_listening(program, port))
        archive = Archive(name, name.upper(), port, destination, running)
        for load in loads:
            options = ["-nuc", "-pdu", PDU, "--max-send-pdu", PDU, "-aec", archive.title, "+sd"]
            command = [dcmtk("dcmsend"), *options, "127.0.0.1", str(port), str(files / load.key)]
            with Running(Program(command, DCMTK)) as sending:
                sending.wait()
        yield archive


@contextmanager
def _listening(program: Program, port: int) -> Iterator[Running]:
    with Running(program) as running:
        running.wait_for_port(port)
        yield running


def _orthanc(folder: Path, port: int, destination: int) -> Program:
    modalities = {"destination": [DESTINATION, "127.0.0.1", destination]}
    settings = {"DicomModalities": modalities, "MaximumPduLength": int(PDU)}
    return Program(_orthanc_command(folder, port, settings), DCMTK)


def orthanc_as_installed(folder: Path, port: int) -> Program:
    """A new Orthanc, configured only with the peers that may send requests."""
    return Program(_orthanc_command(folder, port, {}), {})


def _orthanc_command(folder: Path, port: int, more: dict[str, object]) -> list[str]:
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "HttpPort": free_port(),
        "RemoteAccessAllowed": False,
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "SaveJobs": False,
        "Plugins": [],
        **more,
    }
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(settings))
    return [orthanc(), str(configuration)]


def orthanc() -> str:
    """Where it is; Debian puts it where not everyone looks. Empty if it is not installed."""
    return shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin") or ""


def _dcmqrscp(folder: Path, port: int, destination: int) -> Program:
    (folder / "files").mkdir()
    configuration = folder / "dcmqrscp.cfg"
    configuration.write_text(
        f"MaxPDUSize = {PDU}\nMaxAssociations = 16\n"
        f"HostTable BEGIN\ndestination = ({DESTINATION}, localhost, {destination})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nDCMQRSCP {folder / 'files'} RW (10, 1024mb) ANY\nAETable END\n"
    )
    return Program([dcmtk("dcmqrscp"), "-dhl", "+B", "-c", str(configuration), str(port)], DCMTK)
