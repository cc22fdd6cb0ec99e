"""The peers, each started when a test first asks for it and ended after the last test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import processes
from .archive import ARCHIVES, Archive, fill, make, mixed
from .processes import Orthanc, Peer
from .samples import Samples, sop_instance_uid

LIMITS = {"small": "4096", "large": "131072"}

_PEERS: dict[str, Callable[[Path], Peer]] = {
    # +xa: all transfer syntaxes that DCMTK knows, and not only the uncompressed
    "storescp": lambda folder: processes.storescp(folder, "+xa"),
    "storescp +B": lambda folder: processes.storescp(folder, "+B", "+xa"),
    "storescp -pdu 4096": lambda folder: processes.storescp(folder, "+B", "+xa", "-pdu", LIMITS["small"]),
    "storescp -pdu 131072": lambda folder: processes.storescp(folder, "+B", "+xa", "-pdu", LIMITS["large"]),
    "storescp --fork": lambda folder: processes.storescp(folder, "+B", "+xa", "--fork"),
    "storescp uncompressed": lambda folder: processes.storescp(folder, "+B"),
    "storescp refusing": lambda folder: processes.storescp(folder, "--refuse"),
    "storescp implicit": lambda folder: processes.storescp(folder, "+B", "+xi"),
    "dcmrecv": processes.dcmrecv,
    "dcmrecv +B": lambda folder: processes.dcmrecv(folder, "+B"),
    "orthanc": Orthanc,
    "orthanc -pdu 4096": lambda folder: Orthanc(folder, MaximumPduLength=4096),
    "orthanc -pdu 131072": lambda folder: Orthanc(folder, MaximumPduLength=131072),
    "orthanc strict": lambda folder: Orthanc(folder, DicomCheckCalledAet=True),
    "pynetdicom": processes.pynetdicom,
    "pynetdicom -pdu 4096": lambda folder: processes.pynetdicom(folder, "--max-pdu", LIMITS["small"]),
    "pynetdicom unlimited": lambda folder: processes.pynetdicom(folder, "--max-pdu", "0"),
}

PeerFactory = Callable[[str], Peer]


@pytest.fixture(scope="session")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PeerFactory]:
    """A storage SCP by name, shared by all tests; see `_PEERS`."""
    running: dict[str, Peer] = {}

    def get(name: str) -> Peer:
        if name not in running:
            made = _PEERS[name](tmp_path_factory.mktemp("peer") / "received")
            running[name] = made.__enter__()
        return running[name]

    try:
        yield get
    finally:
        for each in running.values():
            each.terminate()
        for each in running.values():
            each.stop()


@pytest.fixture(scope="session", autouse=True)
def _pynetdicom() -> Iterator[None]:
    """The process that the programs with pynetdicom are forked from ends after them."""
    yield
    processes.FORKS.stop()


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """What is sent."""
    return Samples(tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Archive]]:
    """Orthanc or dcmqrscp with the studies in it, shared by all tests."""
    running: dict[str, Archive] = {}

    def get(name: str) -> Archive:
        if name not in running:
            running[name] = make(name, tmp_path_factory.mktemp("archive"))
            running[name].peer.__enter__()
            asyncio.run(fill(running[name]))
        return running[name]

    yield get
    for each in running.values():
        each.peer.stop()


@pytest.fixture(params=ARCHIVES)
def archive(request: pytest.FixtureRequest, archives: Callable[[str], Archive]) -> Archive:
    """Orthanc, and then dcmqrscp."""
    return archives(request.param)


@pytest.fixture(scope="session")
def mixed_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The study of many transfer syntaxes, by SOP Instance UID."""
    return {sop_instance_uid(path): path for path in mixed(tmp_path_factory.mktemp("mixed"))}
