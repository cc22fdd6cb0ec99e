"""Other people's programs, started on a free port and ended by their own process."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest

from dimse import uids
from tests.forks import Forks
from tests.ports import free_port

DEADLINE: Final = 50.0
"""Seconds within which a peer has to be there, or to have gone."""

PYNETDICOM_PEER: Final = Path(__file__).with_name("pynetdicom_peer.py")
ODIL_PEER: Final = Path(__file__).with_name("odil_peer.py")
DIMSE_PEER: Final = Path(__file__).with_name("dimse_peer.py")

FORKS: Final = Forks("argparse", "pynetdicom")
"""Starts Python programs that need pynetdicom, which takes three quarters of a second to import."""

SYNTAXES: Final = tuple(
    f"1.2.840.10008.1.2{tail}"
    for tail in (".1", "", ".2", ".1.99", ".4.50", ".4.51", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91", ".5")
)
"""The transfer syntaxes that the samples are in."""

SOP_CLASSES: Final = tuple(
    f"1.2.840.10008.{tail}"
    for tail in (
        "1.1",
        *(f"5.1.4.1.1.{end}" for end in ("1.1", "2", "2.1", "3.1", "4", "6.1", "7", "9.1.1", "20", "66.4", "88.33")),
    )
)
"""Verification, and the SOP classes of the samples."""

_DEBIAN_SBIN: Final = "/usr/sbin"
"""Where Debian puts Orthanc, which is not on everyone's PATH."""


def need(name: str) -> str:
    """The path of a peer's program. Without it: a failure where CI is true, else a skip that says why.

    Not among the scripts of a virtual environment: pynetdicom's have the names of DCMTK's programs.
    """
    scripts = {sysconfig.get_path("scripts"), str(Path(sys.executable).parent)}
    folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), _DEBIAN_SBIN]
    path = shutil.which(name, path=os.pathsep.join(folder for folder in folders if folder not in scripts))
    if path is None:
        _missing(f"{name} is not installed (Debian: apt install dcmtk orthanc odil libgdcm-tools ctn strace)")
    return str(path)


def need_pynetdicom() -> str:
    """What starts Python programs that need pynetdicom."""
    if importlib.util.find_spec("pynetdicom") is None:
        _missing("pynetdicom is not installed (pip install pynetdicom)")
    return FORKS.program()


def need_odil() -> str:
    """The Python that has odil: the system's."""
    python = "/usr/bin/python3"
    if not Path(python).exists() or subprocess.run([python, "-c", "import odil"], capture_output=True).returncode:  # noqa: S603
        _missing("odil is not installed (Debian: apt install odil python3-odil)")
    return python


def _missing(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def names_in(folder: Path) -> set[str]:
    """The names of the files in a folder."""
    return {path.name for path in folder.iterdir()}


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Try `condition` until it is true; a failure after `DEADLINE`. What it tries should take a moment itself."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"{what}: not after {DEADLINE:g} s"


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until `condition` is true; a `TimeoutError` after `DEADLINE`."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - another process sets no event
            await asyncio.sleep(0)


def is_listened_on(port: int) -> bool:
    """Whether a program listens, seen without a connection, which it would take for an association."""
    return f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text(encoding="ascii")


@asynccontextmanager
async def running(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program that runs during the test, killed if it is still running at the end."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run(*command: str) -> tuple[int, str]:
    """Run a program to its end: exit code and output."""
    async with running(*command) as process:
        output, _ = await asyncio.wait_for(process.communicate(), DEADLINE)
        assert process.returncode is not None
        return process.returncode, output.decode(errors="replace")


async def dcmconv(option: str, path: Path, converted: Path) -> Path:
    """The file in another transfer syntax, as DCMTK encodes it."""
    code, output = await run(need("dcmconv"), option, str(path), str(converted))
    assert code == 0, output
    return converted


class Peer:
    """A program that listens on `port`. Its output is in `log`, where a failure of a test can be looked up."""

    def __init__(self, command: Sequence[str], port: int, folder: Path, *, title: str) -> None:
        self.command = list(command)
        self.port = port
        self.title = title
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = folder.with_name(folder.name + ".log")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """As `dimse` writes it."""
        return f"{self.title}@127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start it, and wait until it listens."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - these are the programs under test
                self.command, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder
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

    def freeze(self) -> None:
        """Stop it where it is (SIGSTOP): its connections stay and nobody reads them."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask it to end, as its user would."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def stop(self) -> None:
        """End it, and see it gone."""
        if self.process is None:
            return
        self.terminate()
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
    """DCMTK's dcmrecv. Without a configuration file it takes nothing but C-ECHO, so it gets one."""
    port = free_port()
    configuration = _profile(folder.with_name("dcmrecv.cfg"), SOP_CLASSES)
    command = [need("dcmrecv"), "-dhl", "-xf", str(configuration), "Default", "-od", str(folder), *options, str(port)]
    return Peer(command, port, folder, title="DCMRECV")


def dcmqrscp(folder: Path, destination: int, outgoing: Mapping[str, str]) -> Peer:
    """DCMTK's archive, in `folder`; the AE title DIMSE is at the port `destination`.

    By itself it takes uncompressed objects only. With a profile it takes all, and has to be told that it may be
    the SCU of storage, for C-GET. To send, it looks for a context by the SOP class alone: `outgoing` says which
    syntax that has.
    """
    port = free_port()
    configuration = folder.with_name("dcmqrscp.cfg")
    configuration.write_text(
        f"MaxPDUSize = 131072\nMaxAssociations = 16\n"
        f"HostTable BEGIN\ndimse = (DIMSE, localhost, {destination})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nDCMQRSCP {folder} RW (500, 1024mb) ANY\nAETable END\n",
        encoding="utf-8",
    )
    profile = _profile(folder.with_name("profile.cfg"), [*uids.QUERY_RETRIEVE, *SOP_CLASSES], SOP_CLASSES[1:], outgoing)
    options = ["-dhl", "+B", "-xf", str(profile), "Default", "Outgoing", "-c", str(configuration)]
    return Peer([need("dcmqrscp"), *options, str(port)], port, folder, title="DCMQRSCP")


def _profile(
    path: Path, classes: Sequence[str], roles: Sequence[str] = (), outgoing: Mapping[str, str] | None = None
) -> Path:
    """DCMTK's association configuration file: all of `SYNTAXES` for the classes, and both roles for some."""
    sections = {
        "TransferSyntaxes": {
            "Any": [f"TransferSyntax{n} = {uid}" for n, uid in enumerate(SYNTAXES, 1)],
            **{f"S{n}": [f"TransferSyntax1 = {uid}"] for n, uid in enumerate(SYNTAXES, 1)},
        },
        "PresentationContexts": {
            "Classes": [f"PresentationContext{n} = {uid}\\Any" for n, uid in enumerate(classes, 1)],
            "Sent": [
                f"PresentationContext{n} = {uid}\\S{SYNTAXES.index(syntax) + 1}"
                for n, (uid, syntax) in enumerate((outgoing or {}).items(), 1)
            ],
        },
        "SCPSCURoleSelection": {"Roles": [f"Role{n} = {uid}\\BOTH" for n, uid in enumerate(roles, 1)]},
        "Profiles": {
            "Default": ["PresentationContexts = Classes", *(["SCPSCURoleSelection = Roles"] if roles else [])],
            "Outgoing": ["PresentationContexts = Sent"] if outgoing else [],
        },
    }
    lines: list[str] = []
    for name, parts in sections.items():
        lines.append(f"[[{name}]]")
        for part, entries in parts.items():
            lines += [f"[{part}]", *entries] if entries else []
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path


def dimse_archive(folder: Path, destination: str, paths: Sequence[Path]) -> Peer:
    """dimse itself with some files, in a process of its own."""
    port = free_port()
    command = [sys.executable, str(DIMSE_PEER), "archive", str(port), destination, *map(str, paths)]
    return Peer(command, port, folder, title="DIMSE")


def dimse_receiver(folder: Path) -> Peer:
    """dimse itself as a storage SCP, in a process of its own."""
    port = free_port()
    return Peer([sys.executable, str(DIMSE_PEER), "receive", str(port), str(folder)], port, folder, title="DIMSE")


def pynetdicom(folder: Path, *options: str) -> Peer:
    """pynetdicom as a storage SCP, in a process of its own."""
    port = free_port()
    command = [need_pynetdicom(), str(PYNETDICOM_PEER), "receive", str(port), str(folder), *options]
    return Peer(command, port, folder, title="PYNETDICOM")


def odil(folder: Path, paths: Sequence[Path]) -> Peer:
    """odil as an archive of some files."""
    port = free_port()
    return Peer([need_odil(), str(ODIL_PEER), str(port), *map(str, paths)], port, folder, title="ODIL")


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
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", body, method=method)
        with urllib.request.urlopen(request, timeout=DEADLINE) as response:  # noqa: S310 - our own loopback URL
            content: bytes = response.read()
            return content

    def identifiers(self, sop_instance_uid: str) -> list[str]:
        """Orthanc's own identifiers of an instance."""
        found: list[dict[str, Any]] = json.loads(self.rest("/tools/lookup", sop_instance_uid))
        return [entry["ID"] for entry in found if entry["Type"] == "Instance"]

    def terminate(self) -> None:
        """Its orderly end takes seconds, and there is nothing to keep."""
        if self.process is not None:
            self.process.kill()

    def received(self, sop_instance_uid: str) -> Path:
        """The file that it returns."""
        identifiers = self.identifiers(sop_instance_uid)
        assert len(identifiers) == 1, f"Orthanc has {len(identifiers)} of {sop_instance_uid}:\n{self.output()[-2000:]}"
        path = self.folder / f"{sop_instance_uid}.dcm"
        path.write_bytes(self.rest(f"/instances/{identifiers[0]}/file"))
        return path
