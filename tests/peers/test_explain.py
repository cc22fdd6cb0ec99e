"""`dimse explain` against real archives: what they refuse, and what they answer to it."""

from __future__ import annotations

from pathlib import Path

import pytest

import dimse
from dimse import (
    ClientOptions,
    ExplainOutcome,
    ExplainPurpose,
    ExplainSide,
    ExplainStepName,
    ExplainVerdict,
    Explanation,
    TLSOptions,
)
from tests.ports import free_port

from .conftest import PeerFactory
from .processes import Orthanc, Peer, need

CT = "1.2.840.10008.5.1.4.1.1.2"
JPEG_2000 = "1.2.840.10008.1.2.4.90"


@pytest.mark.parametrize("name", ["storescp --fork", "orthanc", "pynetdicom"])
async def test_it_works(peer: PeerFactory, name: str) -> None:
    found = await dimse.explain(peer(name).address, purposes=[ExplainPurpose.ECHO, ExplainPurpose.STORE])
    assert found.outcome is ExplainOutcome.WORKS, found
    assert found[ExplainStepName.PARALLEL].verdict is ExplainVerdict.OK
    software = {"pynetdicom": "pynetdicom"}.get(name, "DCMTK, or software made with it, such as Orthanc")
    assert found[ExplainStepName.ANSWER].facts["implementation"] == software


async def test_what_storescp_does_not_do(peer: PeerFactory) -> None:
    address = peer("storescp uncompressed").address
    found = await dimse.explain(address, sop_classes=[CT], transfer_syntaxes=[JPEG_2000], step_timeout=1)
    assert found.outcome is ExplainOutcome.REFUSED
    assert "for CT Image Storage (transfer syntax not supported)" in found.summary
    assert found[ExplainStepName.PARALLEL].result == "1 at once; the next: no answer in 1 s"


async def test_titles_of_orthanc(tmp_path: Path) -> None:
    settings = {
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
        "DicomModalities": {"scanner": ["SCANNER", "127.0.0.1", 104]},
    }
    with Orthanc(tmp_path / "orthanc", **settings) as orthanc:
        where = f"127.0.0.1:{orthanc.port}"
        calling = await dimse.explain(f"ORTHANC@{where}")
        called = await dimse.explain(f"PACS@{where}", calling_ae_titles=["SCANNER"], called_ae_titles=["ORTHANC"])
        works = await dimse.explain(f"ORTHANC@{where}", options=ClientOptions(calling_ae_title="SCANNER"))
    assert "the archive does not know our title DIMSE" in calling.summary
    assert calling.advice[0].side is ExplainSide.ARCHIVE
    assert "it accepts ORTHANC, not PACS, and it knows the calling title SCANNER, not DIMSE" in called.summary
    assert called[ExplainStepName.SERVICES].verdict is ExplainVerdict.OK
    assert works.outcome is ExplainOutcome.WORKS, works


async def test_titles_of_dcmqrscp(tmp_path: Path) -> None:
    """It answers that the called title is not recognized, though the calling title is what it does not know."""
    port, folder = free_port(), tmp_path / "dcmqrscp"
    folder.mkdir()
    configuration = folder / "dcmqrscp.cfg"
    configuration.write_text(
        "MaxPDUSize = 16384\nMaxAssociations = 4\n"
        "HostTable BEGIN\nscanner = (SCANNER, localhost, 104)\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nDCMQRSCP {folder} RW (10, 1mb) scanner\nAETable END\n",
        encoding="utf-8",
    )
    with Peer([need("dcmqrscp"), "-c", str(configuration), str(port)], port, folder, title="DCMQRSCP") as archive:
        alone = await dimse.explain(archive.address)
        found = await dimse.explain(
            archive.address, calling_ae_titles=["SCANNER"], purposes=[ExplainPurpose.FIND, ExplainPurpose.MOVE]
        )
    assert "called AE title not recognized" in alone.summary
    assert "register DIMSE" in alone.advice[1].text
    assert "it knows the calling title SCANNER, not DIMSE" in found.summary
    assert found[ExplainStepName.SERVICES].verdict is ExplainVerdict.OK


def storescp(folder: Path, pki: Path, certificate: str) -> Peer:
    """One that requires a certificate of the CA."""
    port = free_port()
    files = [str(pki / f"{certificate}.key"), str(pki / f"{certificate}.pem"), "+cf", str(pki / "ca.pem")]
    return Peer([need("storescp"), "--fork", "-rc", "+tls", *files, str(port)], port, folder, title="STORESCP")


async def explained(archive: Peer, tls: TLSOptions | None) -> Explanation:
    return await dimse.explain(f"STORESCP@localhost:{archive.port}", options=ClientOptions(tls=tls))


async def test_tls_of_dcmtk(tmp_path: Path, pki: Path) -> None:
    def ours(name: str, ca: str = "ca") -> TLSOptions:
        return TLSOptions(ca=pki / f"{ca}.pem", certificate=pki / f"{name}.pem", key=pki / f"{name}.key")

    with storescp(tmp_path / "good", pki, "rsa") as archive:
        cases = [
            (None, "this is a TLS port (TLSv1.3), and it was asked without TLS", ExplainSide.HERE),
            (TLSOptions(ca=pki / "ca.pem"), "the peer requires a certificate of ours", ExplainSide.HERE),
            (ours("stranger"), "the peer does not trust the CA of our certificate", ExplainSide.ARCHIVE),
            (ours("client", ca="other-ca"), "is not issued by a CA that we trust", ExplainSide.HERE),
        ]
        for tls, words, side in cases:
            found = await explained(archive, tls)
            assert words in found.summary
            assert found.advice[0].side is side
        works = await explained(archive, ours("client"))
        assert works.outcome is ExplainOutcome.WORKS, works
    with storescp(tmp_path / "expired", pki, "expired") as archive:
        found = await explained(archive, ours("client"))
        assert "the peer's certificate has expired" in found.summary
