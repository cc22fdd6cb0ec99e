"""Other people's programs, started on a free port and ended by their own process."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest

DEADLINE: Final = 20.0
"""Seconds within which a peer has to be there, or to have gone."""

PYNETDICOM_PEER: Final = Path(__file__).with_name("pynetdicom_peer.py")

_DEBIAN_SBIN: Final = "/usr/sbin"
"""Where Debian puts Orthanc, which is not on everyone's PATH."""


def need(name: str) -> str:
    """The path of a peer's program. Without it: a failure where CI is true, else a skip that says why."""
    path = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), _DEBIAN_SBIN)))
    if path is None:
        _missing(f"{name} is not installed (Debian: apt install dcmtk orthanc)")
    return str(path)


def need_pynetdicom() -> str:
    """The Python that has pynetdicom."""
    if importlib.util.find_spec("pynetdicom") is None:
        _missing("pynetdicom is not installed (pip install pynetdicom)")
    return sys.executable


def _missing(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Try `condition` until it is true; a failure after `DEADLINE`. What it tries should take a moment itself."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"{what}: not after {DEADLINE:g} s"


class Peer:
    """A program that listens on `port`. Its output is in `log`, where a failure of a test can be looked up."""

    def __init__(
        self, command: Sequence[str], port: int, folder: Path, *, title: str, environment: dict[str, str] | None = None
    ) -> None:
        self.command = list(command)
        self.port = port
        self.title = title
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = folder.with_name(folder.name + ".log")
        self._environment = {**os.environ, **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """As `dimse` writes it."""
        return f"{self.title}@127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start it, and wait until it listens."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - these are the programs under test
                self.command, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder, env=self._environment
            )
        wait_until(self._listens, f"{self.command[0]} on port {self.port}")
        return self

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"{' '.join(self.command)} has ended:\n{self.output()}"
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.02)  # between two tries: wakes at once if it ends
            return False
        return True

    def output(self) -> str:
        """What it has said."""
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL: it can't say goodbye."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(DEADLINE)

    def stop(self) -> None:
        """End it as its user would."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # What a storage SCP has

    def received(self, sop_instance_uid: str) -> Path:
        """The file that it made of an instance. DCMTK and our pynetdicom script put the UID into its name."""
        found = [path for path in self.folder.iterdir() if path.name.endswith(sop_instance_uid)]
        assert len(found) == 1, f"{len(found)} files for {sop_instance_uid} in {self.folder}:\n{self.output()[-2000:]}"
        return found[0]


def storescp(folder: Path, *options: str) -> Peer:
    """DCMTK's storescp: one association at a time unless `--fork`, and uncompressed only unless `+xa`."""
    port = free_port()
    command = [need("storescp"), "-dhl", "-od", str(folder), *options, str(port)]
    return Peer(command, port, folder, title="STORESCP")


def dcmrecv(folder: Path, *options: str) -> Peer:
    """DCMTK's dcmrecv."""
    port = free_port()
    command = [need("dcmrecv"), "-dhl", "-od", str(folder), *options, str(port)]
    return Peer(command, port, folder, title="DCMRECV")


def pynetdicom(folder: Path, *options: str) -> Peer:
    """pynetdicom as a storage SCP, in a process of its own."""
    port = free_port()
    command = [need_pynetdicom(), str(PYNETDICOM_PEER), "receive", str(port), str(folder), *options]
    return Peer(command, port, folder, title="PYNETDICOM")


class Orthanc(Peer):
    """Orthanc, with its REST API on the loopback address."""

    def __init__(self, folder: Path, **settings: object) -> None:
        port, self.http_port = free_port(), free_port()
        folder.mkdir(parents=True, exist_ok=True)
        configuration = {
            "Name": "dimse tests",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "index"),
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "HttpPort": self.http_port,
            "DicomServerEnabled": True,
            "DicomAet": "ORTHANC",
            "DicomPort": port,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowStore": True,
            "UnknownSopClassAccepted": True,
            "AcceptedTransferSyntaxes": ["1.2.840.10008.1.*"],
            "StorageCompression": False,
            "OverwriteInstances": True,
            "SaveJobs": False,
            "Plugins": [],
            **settings,
        }
        path = folder / "orthanc.json"
        path.write_text(json.dumps(configuration), encoding="utf-8")
        super().__init__([need("Orthanc"), str(path)], port, folder, title="ORTHANC")

    def _listens(self) -> bool:
        try:
            self.rest("/system")
        except OSError:
            assert self.process is not None
            assert self.process.poll() is None, f"Orthanc has ended:\n{self.output()}"
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.02)
            return False
        return super()._listens()

    def rest(self, path: str, data: object = None, *, method: str | None = None) -> bytes:
        """Ask the REST API; `data` goes as JSON, a string as it is."""
        body = None if data is None else (data if isinstance(data, str) else json.dumps(data)).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", body, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=DEADLINE) as response:  # noqa: S310 - our own loopback URL
            content: bytes = response.read()
            return content

    def identifiers(self, sop_instance_uid: str) -> list[str]:
        """Orthanc's own identifiers of an instance."""
        found: list[dict[str, Any]] = json.loads(self.rest("/tools/lookup", sop_instance_uid))
        return [entry["ID"] for entry in found if entry["Type"] == "Instance"]

    def received(self, sop_instance_uid: str) -> Path:
        """The file that it gives back."""
        identifiers = self.identifiers(sop_instance_uid)
        assert len(identifiers) == 1, f"Orthanc has {len(identifiers)} of {sop_instance_uid}:\n{self.output()[-2000:]}"
        path = self.folder / f"{sop_instance_uid}.dcm"
        path.write_bytes(self.rest(f"/instances/{identifiers[0]}/file"))
        return path
