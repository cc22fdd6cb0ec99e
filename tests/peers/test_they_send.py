"""DCMTK, Orthanc and pynetdicom send to `dimse.Server`: what arrives is what was sent, in the syntax it was sent in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydicom.uid import UID, ExplicitVRLittleEndian

import dimse
from dimse import ServerOptions, Status, StoreMode, StoreOptions, StoreRequest

from .conftest import PeerFactory
from .processes import PYNETDICOM_PEER, Orthanc, dcmconv, need, need_pynetdicom, run
from .samples import (
    Samples,
    dataset_bytes,
    differences,
    names,
    odd_lengths,
    sop_instance_uid,
    transfer_syntax,
)

MODES = list(StoreMode)

PROPOSE = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.1.99": "-xd",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.81": "-xu",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
    "1.2.840.10008.1.2.5": "-xr",
}
"""The options of storescu for what to propose: it does not derive that from the files."""

DCMTK_LIMITS = [
    (["--max-send-pdu", "4096"], 1024 * 1024),
    (["--max-send-pdu", "131072", "-pdu", "131072"], 0),
    (["--max-send-pdu", "131072", "-pdu", "4096"], 4096),
    ([], 4097),
]
"""Theirs and ours. `-pdu` is what they take, which are responses; `--max-send-pdu` what they send at most."""


def by_dcmtk(path: Path) -> str:
    """In what DCMTK's senders send a file: all uncompressed data as Explicit VR Little Endian, if that is accepted.

    They propose it first in the context that has all uncompressed syntaxes, and the first one is what we take.
    """
    syntax = UID(transfer_syntax(path))
    return ExplicitVRLittleEndian if not syntax.is_compressed and not syntax.is_deflated else syntax


class Receiver:
    """A server that keeps what comes, as `folder`/{SOP Instance UID}."""

    def __init__(self, folder: Path, mode: StoreMode, maximum_length: int = 1024 * 1024) -> None:
        options = ServerOptions(
            store=StoreOptions(mode=mode, fsync=False), maximum_length=maximum_length, stop_timeout=5
        )
        self.server = dimse.Server("DIMSE", port=0, options=options)
        self.server.on_c_store(self._store)
        self.folder = folder
        self.titles: set[str] = set()
        self._mode = mode

    async def _store(self, request: StoreRequest) -> Status:
        self.titles.add(request.association.calling_ae_title)
        path = await request.save(self.folder / request.sop_instance_uid)
        assert transfer_syntax(path) == request.transfer_syntax_uid
        if self._mode is StoreMode.BUFFERED:
            assert dataset_bytes(path) == request.data
        return Status.SUCCESS

    @property
    def port(self) -> str:
        return str(self.server.port)

    def assert_has(self, path: Path, *, bit_for_bit: bool = False, syntax: str | None = None) -> None:
        """The object of `path` has arrived, in its own transfer syntax unless another is given."""
        received = self.folder / sop_instance_uid(path)
        assert transfer_syntax(received) == (syntax or transfer_syntax(path))
        if bit_for_bit:
            assert dataset_bytes(received) == dataset_bytes(path)
        else:
            assert differences(received, path) == []


@asynccontextmanager
async def receiving(folder: Path, mode: StoreMode, maximum_length: int = 1024 * 1024) -> AsyncIterator[Receiver]:
    receiver = Receiver(folder, mode, maximum_length)
    async with receiver.server:
        yield receiver
    assert not await asyncio.to_thread(lambda: list(folder.glob(".*"))), "a temporary file is left"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", names())
async def test_storescu_sends_every_sample(samples: Samples, tmp_path: Path, mode: StoreMode, name: str) -> None:
    path = samples[name]
    propose = PROPOSE[transfer_syntax(path)]
    async with receiving(tmp_path, mode) as receiver:
        code, output = await run(need("storescu"), propose, "-R", "127.0.0.1", receiver.port, str(path))
        assert code == 0, output
        receiver.assert_has(path)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("theirs", "ours"), DCMTK_LIMITS)
@pytest.mark.parametrize("program", ["storescu", "dcmsend"])
async def test_dcmtk_with_pdu_limits(
    samples: Samples, tmp_path: Path, program: str, theirs: list[str], ours: int, mode: StoreMode
) -> None:
    paths = [samples[name] for name in ("large", "icon", "waveform", "empty")]
    async with receiving(tmp_path, mode, ours) as receiver:
        code, output = await run(need(program), *theirs, "127.0.0.1", receiver.port, *map(str, paths))
        assert code == 0, output
        for path in paths:
            receiver.assert_has(path, syntax=by_dcmtk(path))


@pytest.mark.parametrize("mode", MODES)
async def test_dcmsend_sends_all_samples(samples: Samples, tmp_path: Path, mode: StoreMode) -> None:
    paths = [samples[name] for name in names()]
    async with receiving(tmp_path / "received", mode) as receiver:
        code, output = await run(need("dcmsend"), "-aet", "SENDER", "127.0.0.1", receiver.port, *map(str, paths))
        assert code == 0, output
        for path in paths:
            # OW has its bytes the other way round where big endian becomes little
            same = await dcmconv("+te", path, tmp_path / path.name) if path.stem == "big-endian" else path
            receiver.assert_has(same, syntax=by_dcmtk(path))
        assert receiver.titles == {"SENDER"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("theirs", "ours"), [(0, 0), (4096, 1024 * 1024), (131072, 4096)])
async def test_pynetdicom_sends_all_samples(
    samples: Samples, tmp_path: Path, mode: StoreMode, theirs: int, ours: int
) -> None:
    """Two associations at the same time."""
    paths = [samples[name] for name in names()]
    async with receiving(tmp_path, mode, ours) as receiver:
        options = ["--max-pdu", str(theirs), "--associations", "2"]
        code, output = await run(
            need_pynetdicom(), str(PYNETDICOM_PEER), "send", receiver.port, *options, *map(str, paths)
        )
        assert code == 0, output
        for path in paths:
            receiver.assert_has(path, bit_for_bit=True)


@pytest.mark.parametrize(("scp", "mode"), [("orthanc", StoreMode.BUFFERED), ("orthanc -pdu 4096", StoreMode.STREAMING)])
async def test_orthanc_sends(peer: PeerFactory, samples: Samples, tmp_path: Path, scp: str, mode: StoreMode) -> None:
    """What it was sent by us, it sends to us."""
    orthanc = peer(scp)
    assert isinstance(orthanc, Orthanc)
    paths = [samples[name] for name in ("large", "icon", "implicit", "deflated", "jpeg-baseline", "jpeg-ls", "rle")]
    await dimse.send(orthanc.address, paths)
    identifiers = [orthanc.identifiers(sop_instance_uid(path))[0] for path in paths]
    async with receiving(tmp_path, mode) as receiver:
        modality = {"AET": "DIMSE", "Host": "127.0.0.1", "Port": receiver.server.port}
        await asyncio.to_thread(orthanc.rest, "/modalities/dimse", modality, method="PUT")
        await asyncio.to_thread(orthanc.rest, "/modalities/dimse/echo", {})
        await asyncio.to_thread(orthanc.rest, "/modalities/dimse/store", identifiers)
        for path in paths:
            receiver.assert_has(path)
        assert receiver.titles == {"ORTHANC"}


@pytest.mark.parametrize("options", [[], ["-pdu", "4096"], ["--repeat", "5"], ["--propose-pc", "20"]])
async def test_echoscu(tmp_path: Path, options: list[str]) -> None:
    async with receiving(tmp_path, StoreMode.BUFFERED) as receiver:
        code, output = await run(need("echoscu"), *options, "127.0.0.1", receiver.port)
        assert code == 0, output


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("program", ["storescu", "dcmsend", "pynetdicom"])
async def test_odd_value_lengths(tmp_path: Path, program: str, mode: StoreMode) -> None:
    path = tmp_path / "odd.dcm"
    path.write_bytes(odd_lengths("2.25.8022", count=2))
    command = (
        [need_pynetdicom(), str(PYNETDICOM_PEER), "send"] if program == "pynetdicom" else [need(program), "127.0.0.1"]
    )
    async with receiving(tmp_path / "received", mode) as receiver:
        code, output = await run(*command, receiver.port, str(path))
        assert code == 0, output
        receiver.assert_has(path, bit_for_bit=program == "pynetdicom")


@pytest.mark.parametrize("mode", MODES)
async def test_many_senders_at_once(samples: Samples, tmp_path: Path, mode: StoreMode) -> None:
    kinds = ["large", "icon", "rle", "waveform", "overlay", "jpeg-multi-frame"]
    async with receiving(tmp_path, mode) as receiver:
        runs = [run(need("dcmsend"), "127.0.0.1", receiver.port, str(samples[name])) for name in kinds]
        for code, output in await asyncio.gather(*runs):
            assert code == 0, output
        for name in kinds:
            receiver.assert_has(samples[name], syntax=by_dcmtk(samples[name]))
