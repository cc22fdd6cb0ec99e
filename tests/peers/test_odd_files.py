"""Files as old devices write them: what arrives at other systems is what was meant."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames
from pydicom.uid import ImplicitVRLittleEndian, JPEGBaseline8Bit

import dimse

from .conftest import PeerFactory
from .samples import Samples, dataset_bytes, sop_instance_uid, transfer_syntax

SCPS = ("storescp +B", "dcmrecv +B", "orthanc", "pynetdicom")
LOOSE = pytest.mark.filterwarnings("ignore:Expected explicit VR, but found implicit VR")
"""What pydicom says of its own file."""


async def test_a_data_set_alone(peer: PeerFactory, samples: Samples, tmp_path: Path) -> None:
    for name in ("explicit", "implicit"):
        bare = tmp_path / name
        bare.write_bytes(dataset_bytes(samples[name]))
        report = await dimse.send(peer("storescp +B").address, bare)
        assert len(report.stored) == 1
        received = peer("storescp +B").received(sop_instance_uid(samples[name]))
        assert transfer_syntax(received) == transfer_syntax(samples[name])
        assert dataset_bytes(received) == dataset_bytes(samples[name])


@LOOSE
@pytest.mark.parametrize("scp", SCPS)
async def test_implicit_vr_under_jpeg(peer: PeerFactory, scp: str) -> None:
    path = Path(str(get_testdata_file("SC_rgb_jpeg.dcm", download=False)))
    report = await dimse.send(peer(scp).address, path)
    assert len(report.stored) == 1
    received, original = dcmread(peer(scp).received(sop_instance_uid(path))), dcmread(path)
    assert received.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert received.original_encoding == (False, True)
    assert (received.PixelData, received.PatientID) == (original.PixelData, original.PatientID)


@pytest.mark.parametrize("scp", SCPS)
async def test_an_odd_last_fragment(peer: PeerFactory, samples: Samples, tmp_path: Path, scp: str) -> None:
    content = samples["jpeg-baseline"].read_bytes()
    start = content.rindex(b"\xfe\xff\0\xe0")
    length, end = int.from_bytes(content[start + 4 : start + 8], "little"), content.rindex(b"\xfe\xff\xdd\xe0")
    odd = tmp_path / "odd.dcm"
    odd.write_bytes(content[: start + 4] + struct.pack("<L", length - 1) + content[start + 8 : end - 1] + content[end:])
    report = await dimse.send(peer(scp).address, odd)
    assert len(report.stored) == 1
    received = dcmread(peer(scp).received(sop_instance_uid(odd)))
    (frame,) = generate_frames(received.PixelData, number_of_frames=1)
    (expected,) = generate_frames(dcmread(samples["jpeg-baseline"]).PixelData, number_of_frames=1)
    assert (len(frame), frame[:-1]) == (len(expected), expected[:-1])


@pytest.mark.parametrize("scp", SCPS)
async def test_a_text_under_the_tag_of_a_sequence(
    peer: PeerFactory, samples: Samples, tmp_path: Path, scp: str, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = dcmread(samples["explicit"])
    dataset.add_new(0x00120064, "LO", "an anonymizer")
    path = tmp_path / "text.dcm"
    dataset.save_as(path)
    report = await dimse.send(peer(scp).address, path, transfer_syntaxes=[ImplicitVRLittleEndian])
    assert len(report.stored) == 1
    received = dcmread(peer(scp).received(sop_instance_uid(path)))
    assert received.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert 0x00120064 not in received
    assert (received.PixelData, received.PatientName) == (dataset.PixelData, dataset.PatientName)
    assert "(0012,0064) is LO and would be read as SQ" in caplog.text
