"""dimse sends to DCMTK, Orthanc and pynetdicom: what arrives is what was sent, in the syntax it was sent in."""

from __future__ import annotations

import pytest

import dimse

from .conftest import PeerFactory
from .samples import Samples, dataset_bytes, differences, names, sop_instance_uid, transfer_syntax


@pytest.mark.parametrize("scp", ["storescp +B", "storescp", "dcmrecv +B", "dcmrecv", "orthanc", "pynetdicom"])
@pytest.mark.parametrize("name", names())
async def test_every_sample_arrives(peer: PeerFactory, samples: Samples, scp: str, name: str) -> None:
    path = samples[name]
    report = await dimse.send(peer(scp).address, path)
    assert [result.status for result in report.results] == [dimse.Status.SUCCESS]
    received = peer(scp).received(sop_instance_uid(path))
    assert transfer_syntax(received) == transfer_syntax(path)
    if "+B" in scp or scp == "pynetdicom":
        assert dataset_bytes(received) == dataset_bytes(path)
    else:
        assert differences(received, path) == []
