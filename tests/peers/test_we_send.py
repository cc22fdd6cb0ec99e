"""dimse sends to DCMTK, Orthanc and pynetdicom: what arrives is what was sent, in the syntax it was sent in."""

from __future__ import annotations

import io
import time
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median

import pytest
from pydicom import dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

import dimse
from dimse import CEchoSCU, ClientOptions, CStoreSCU, NativePixels, RetryPolicy, TransferProgress
from dimse.network.association import exchange_of
from dimse.uids import COMMON_STORAGE

from .conftest import PeerFactory
from .processes import Orthanc, Peer, dcmconv
from .samples import (
    WITHOUT_STUDY,
    Samples,
    dataset_bytes,
    differences,
    names,
    odd_lengths,
    of_class,
    sop_instance_uid,
    transfer_syntax,
)

SCPS = ("storescp", "storescp +B", "dcmrecv", "dcmrecv +B", "orthanc", "pynetdicom")
BIT_FOR_BIT = ("storescp +B", "dcmrecv +B", "pynetdicom")
"""Those that keep the data set as it came; the others encode it again."""

LIMITED = {
    "storescp -pdu 4096": 4096,
    "storescp -pdu 131072": 131072,
    "orthanc -pdu 4096": 4096,
    "orthanc -pdu 131072": 131072,
    "pynetdicom -pdu 4096": 4096,
    "pynetdicom unlimited": 0,
}


def assert_kept(scp: str, peer: Peer, path: Path) -> None:
    """What `path` holds is at the peer, in the same transfer syntax."""
    received = peer.received(sop_instance_uid(path))
    assert transfer_syntax(received) == transfer_syntax(path)
    if scp in BIT_FOR_BIT:
        assert dataset_bytes(received) == dataset_bytes(path)
    else:
        assert differences(received, path) == []


@pytest.mark.parametrize(
    ("scp", "name"),
    [(scp, name) for scp in SCPS for name in names() if scp != "orthanc" or name not in WITHOUT_STUDY],
)
async def test_every_sample_arrives(peer: PeerFactory, samples: Samples, scp: str, name: str) -> None:
    path = samples[name]
    report = await dimse.send(peer(scp).address, path)
    assert [result.status for result in report.results] == [dimse.Status.SUCCESS]
    assert_kept(scp, peer(scp), path)


@pytest.mark.parametrize("name", names())
async def test_edits_change_nothing_else(peer: PeerFactory, samples: Samples, name: str) -> None:
    """DCMTK keeps the bytes; pydicom reads each element but the edited ones as before."""
    path, archive = samples[name], peer("storescp +B")
    edits = dimse.Edits({"SOPInstanceUID": "1.2.3.4.5.6", "PatientName": "Anon^1"}, ["PatientBirthDate"])
    await dimse.send(archive.address, path, edits=edits)
    received = archive.received("1.2.3.4.5.6")
    try:
        assert transfer_syntax(received) == transfer_syntax(path)
        before, after = dcmread(path, force=True), dcmread(received)
        before.SOPInstanceUID, before.PatientName = UID("1.2.3.4.5.6"), "Anon^1"
        before.pop("PatientBirthDate", None)
        for each in [*before.group_dataset(0x10).keys()]:
            if each.element == 0:
                del before[each], after[each]  # the group length
        assert before == after
    finally:
        received.unlink()


@pytest.mark.parametrize("scp", ["storescp", "orthanc"])
async def test_nothing_waits_for_a_delayed_ack(peer: PeerFactory, scp: str) -> None:
    """They leave Nagle's algorithm on, and write each answer in two pieces."""
    taken = list[float]()
    async with dimse.connect(peer(scp).address) as association:
        for _ in range(50):
            begun = time.monotonic()
            await CEchoSCU(association).echo()
            taken.append(time.monotonic() - begun)
    assert median(taken) < 0.04 / 2


@pytest.mark.parametrize("name", ["large", "icon", "deflated-image"])
@pytest.mark.parametrize("ours", [64, 4097, 1024 * 1024])
@pytest.mark.parametrize("scp", LIMITED)
async def test_pdu_limits(peer: PeerFactory, samples: Samples, scp: str, ours: int, name: str) -> None:
    """The peer's maximum is obeyed, whatever ours is: a peer that gets a larger PDU may abort (DCMTK does)."""
    if name == "large" and ours == 64:
        name = "waveform"  # 75,000 PDUs say no more than 5,000
    path = samples[name]
    options = ClientOptions(maximum_length_to_send=ours, maximum_length=max(ours, 128))
    source = dimse.FileSource(path)
    async with dimse.connect(
        peer(scp).address, contexts=dimse.presentation_contexts([source]), options=options
    ) as association:
        assert exchange_of(association).agreement.maximum_length_to_send <= min(ours, LIMITED[scp] or ours)
        assert (await CStoreSCU(association).send(source)).status == 0x0000
    assert_kept("storescp +B" if "orthanc" not in scp else scp, peer(scp), path)


@pytest.mark.parametrize("scp", [*SCPS, "orthanc -pdu 4096", "pynetdicom unlimited"])
async def test_echo(peer: PeerFactory, scp: str) -> None:
    async with dimse.connect(peer(scp).address) as association:
        assert (await CEchoSCU(association).echo()).status == 0x0000
        assert (await CEchoSCU(association).echo()).status == 0x0000


async def test_sources_of_every_kind(peer: PeerFactory, samples: Samples) -> None:
    scp = peer("storescp +B")
    path = samples["icon"]
    content = path.read_bytes()
    dataset = dcmread(path)
    seen: list[TransferProgress] = []

    class Pipe(io.RawIOBase):
        """Cannot seek, and returns at most 1000 bytes per read."""

        def __init__(self) -> None:
            self._rest = io.BytesIO(content)

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1, /) -> bytes:
            return self._rest.read(min(size, 1000) if size >= 0 else 1000)

    sources = {"stream": io.BytesIO(content), "pipe": Pipe(), "dataset": dataset}
    async with dimse.connect(scp.address) as association:
        for name, source in sources.items():
            response = await CStoreSCU(association).send(source, seen.append)  # type: ignore[arg-type]
            assert response.status == 0x0000
            received = scp.received(sop_instance_uid(path))
            assert dataset_bytes(received) == dataset_bytes(path), name
            assert seen[-1].bytes_transferred == len(dataset_bytes(path))
            received.unlink()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
async def test_separate_pixels(peer: PeerFactory, samples: Samples, syntax: str) -> None:
    scp = peer("storescp +B")
    dataset = dcmread(samples["large"])
    pixels = dataset.PixelData
    del dataset.PixelData
    dataset.file_meta.TransferSyntaxUID = syntax  # type: ignore[assignment]

    async def frames() -> AsyncIterator[bytes]:
        for start in range(0, len(pixels), 511 * 513 * 2):
            yield pixels[start : start + 511 * 513 * 2]

    contexts = [(str(dataset.SOPClassUID), [str(syntax)])]
    async with dimse.connect(scp.address, contexts=contexts) as association:
        await CStoreSCU(association).send(dataset, pixels=NativePixels(frames(), len(pixels)))
    received = scp.received(dataset.SOPInstanceUID)
    assert transfer_syntax(received) == syntax
    assert differences(received, samples["large"]) == []


@pytest.mark.parametrize("scp", ["storescp --fork", "orthanc", "pynetdicom", "storescp +B"])
async def test_all_at_once_on_several_associations(
    peer: PeerFactory, samples: Samples, scp: str, tmp_path: Path
) -> None:
    """The last takes one association after the other: the others wait for their turn."""
    paths = [samples[name] for name in names() if scp != "orthanc" or name not in WITHOUT_STUDY]
    results: list[dimse.SendResult] = []
    report = await dimse.send(peer(scp).address, paths, associations=4, on_result=results.append)
    assert not report.failures
    assert sorted(result.name for result in results) == sorted(map(str, paths))
    for path in paths:
        assert_kept("storescp +B" if scp == "storescp --fork" else scp, peer(scp), path)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("scp", ["storescp +B", "storescp", "dcmrecv", "orthanc", "pynetdicom"])
async def test_odd_value_lengths(peer: PeerFactory, tmp_path: Path, scp: str, count: int) -> None:
    """One makes the whole odd, which no PDV can be: it is padded. Two go out as they are."""
    path = tmp_path / "odd.dcm"
    path.write_bytes(odd_lengths(f"2.25.801{count}", count=count))
    report = await dimse.send(peer(scp).address, path, retry=RetryPolicy(retries=0))
    assert report.stored
    received = peer(scp).received(f"2.25.801{count}")
    assert differences(received, path) == []
    if count == 2 and scp in BIT_FOR_BIT:
        assert dataset_bytes(received) == dataset_bytes(path)


@pytest.mark.parametrize("name", ["explicit", "large", "icon", "private", "deflated-image", "report", "waveform"])
async def test_encoded_again_for_a_peer_that_takes_only_implicit(
    peer: PeerFactory, samples: Samples, tmp_path: Path, name: str
) -> None:
    """As DCMTK's dcmconv encodes it."""
    scp = peer("storescp implicit")
    await dimse.send(scp.address, samples[name])
    received = scp.received(sop_instance_uid(samples[name]))
    assert transfer_syntax(received) == ImplicitVRLittleEndian
    assert differences(received, await dcmconv("+ti", samples[name], tmp_path / "converted.dcm")) == []


@pytest.mark.parametrize("name", ["rle", "rle-multi-frame"])
async def test_compressed_to_a_peer_that_takes_only_uncompressed(
    peer: PeerFactory, samples: Samples, name: str
) -> None:
    scp = peer("storescp uncompressed")
    with pytest.raises(ExceptionGroup) as failed:
        await dimse.send(scp.address, [samples[name], samples["explicit"]])
    (error,) = failed.value.exceptions
    assert isinstance(error, dimse.PresentationContextError)
    assert "RLE Lossless" in str(error)
    assert "decompression" in str(error)
    assert_kept("storescp +B", scp, samples["explicit"])  # the next one is still sent
    assert not list(scp.folder.glob(f"*{sop_instance_uid(samples[name])}"))

    await dimse.send(scp.address, samples[name], allow_decompression=True)
    received = dcmread(scp.received(sop_instance_uid(samples[name])))
    assert received.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (received.pixel_array == dcmread(samples[name]).pixel_array).all()


async def test_big_endian_is_swapped(peer: PeerFactory, samples: Samples) -> None:
    scp = peer("storescp implicit")
    await dimse.send(scp.address, samples["big-endian"])
    received = dcmread(scp.received(sop_instance_uid(samples["big-endian"])))
    assert (received.pixel_array == dcmread(samples["big-endian"]).pixel_array).all()


async def test_orthanc_wants_a_study(peer: PeerFactory, samples: Samples) -> None:
    """It answers Out of Resources although it has enough: every retry fails."""
    orthanc = peer("orthanc")
    assert isinstance(orthanc, Orthanc)
    retry = RetryPolicy(retries=1, delay=0)
    with pytest.raises(ExceptionGroup) as failed:
        await dimse.send(orthanc.address, [samples["empty"], samples["bare"]], retry=retry)
    (error,) = failed.value.exceptions
    assert isinstance(error, dimse.StatusError)
    assert error.status == 0xA700
    assert str(samples["empty"]) in str(error)
    assert orthanc.identifiers(sop_instance_uid(samples["empty"])) == []
    assert orthanc.identifiers(sop_instance_uid(samples["bare"]))


@pytest.mark.parametrize("scp", ["storescp +B", "pynetdicom unlimited"])
async def test_more_contexts_than_fit_into_one_association(peer: PeerFactory, tmp_path: Path, scp: str) -> None:
    """45 SOP classes in a deflated syntax, with the two fallbacks: 135 contexts, which are two associations."""
    paths = []
    for number, sop_class in enumerate(COMMON_STORAGE[:45]):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(of_class(sop_class, f"2.25.{8100 + number}"))
        paths.append(path)
    await dimse.send(peer(scp).address, paths)
