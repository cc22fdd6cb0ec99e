"""TLS with DCMTK and its profiles, good certificates and bad ones, in both directions; openssl is the second judge."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import dimse
from dimse import ClientOptions, RetryPolicy, ServerOptions, Timeouts, TLSOptions, TLSProfile
from tests.ports import free_port

from .processes import Peer, need, run, storescp
from .samples import Samples

DCMTK_PROFILES = ["+py", "+px", "+pz"]
"""Non-downgrading, BCP 195 and extended BCP 195, as DCMTK 3.6.7 knows them."""

BAD = {
    "expired": ("the peer's certificate has expired", "the peer says that our certificate has expired"),
    "self-signed": ("is self-signed and not among the CAs that we trust", "the peer does not trust the CA of our"),
    "stranger": ("is not issued by a CA that we trust", "the peer does not trust the CA of our"),
    "revoked": ("was revoked by its CA", "the peer says that our certificate was revoked"),
}
"""Certificates, what whoever receives them says, and what their owner says."""


@pytest.fixture
def options(pki: Path) -> Any:
    """Makes the options of a side that has a certificate by its name, or none."""

    def make(name: str | None, **more: Any) -> TLSOptions:
        own: dict[str, Any] = {} if name is None else {"certificate": pki / f"{name}.pem", "key": pki / f"{name}.key"}
        return TLSOptions(ca=pki / "ca.pem", crl=pki / "crl.pem", **own, **more)

    return make


ALERT_LOST = re.compile("without a certificate of ours|does it accept our certificate")
"""What is said where DCMTK closes the connection on our request: the reset may overtake its alert (TLS 1.3)."""


def dcmtk(pki: Path, name: str) -> list[str]:
    """DCMTK's options of a side that has a certificate by its name."""
    own = ["+tls", str(pki / f"{name}.key"), str(pki / f"{name}.pem")]
    return [*own, "+cf", str(pki / "ca.pem"), "+crl", str(pki / "crl.pem")]


@pytest.fixture
def peers(pki: Path, tmp_path: Path) -> Iterator[dict[str, Peer]]:
    """A storescp for each profile, and one for each bad certificate."""
    wanted = {profile: ["server", profile] for profile in DCMTK_PROFILES} | {name: [name] for name in BAD}
    with ExitStack() as stack:
        made = {}
        for key, (name, *profile) in wanted.items():
            peer = storescp(tmp_path / key, *dcmtk(pki, name), *profile)
            made[key] = stack.enter_context(peer)
        yield made


async def outcome(address: str, tls: TLSOptions, path: Path) -> str:
    """What sending a file raises; nothing if it was stored."""
    try:
        report = await dimse.send(address, path, options=ClientOptions(tls=tls), retry=RetryPolicy(retries=0))
    except dimse.DimseError as error:
        return str(error)
    assert len(report.stored) == 1
    return ""


def differ(said: str, expected: str) -> bool:
    return expected not in said if expected else bool(said)


async def test_we_connect_to_dcmtk(peers: dict[str, Peer], options: Any, samples: Samples) -> None:
    good = peers["+py"].port
    cases = [
        (f"{profile.value} to {theirs}", peers[theirs].port, options("client", profile=profile), "")
        for profile in TLSProfile
        for theirs in DCMTK_PROFILES
    ]
    cases += [(f"RSA to {theirs}", peers[theirs].port, options("rsa"), "") for theirs in DCMTK_PROFILES]
    cases += [(f"theirs is {name}", peers[name].port, options("client"), said) for name, (said, _) in BAD.items()]
    cases += [(f"ours is {name}", good, options(name), said) for name, (_, said) in BAD.items()]
    cases += [("we have none", good, options(None), "the peer requires a certificate of ours")]
    wrong = []
    for name, port, tls, expected in cases:
        said = await outcome(f"STORESCP@localhost:{port}", tls, samples["explicit"])
        if differ(said, expected) and not (expected and ALERT_LOST.search(said)):
            wrong.append((name, said))
    assert not wrong


@asynccontextmanager
async def serving(tls: TLSOptions) -> AsyncIterator[int]:
    """A server of ours, and its port."""
    async with dimse.Server(port=0, options=ServerOptions(tls=tls, stop_timeout=5)) as server:
        yield server.port


async def test_dcmtk_connects_to_us(pki: Path, options: Any, caplog: pytest.LogCaptureFixture) -> None:
    echoscu, wrong = need("echoscu"), []
    cases = [
        (f"{theirs} to {profile.value}", ["client", theirs], options("server", profile=profile), "")
        for profile in TLSProfile
        for theirs in DCMTK_PROFILES
    ]
    cases += [(f"{theirs} to RSA", ["client", theirs], options("rsa"), "") for theirs in DCMTK_PROFILES]
    cases += [(f"theirs is {name}", [name], options("server"), said) for name, (said, _) in BAD.items()]
    cases += [(f"ours is {name}", ["client"], options(name), said) for name, (_, said) in BAD.items()]
    cases += [("they have none", [], options("server"), "the peer gave no certificate, and we require one")]
    for name, theirs, tls, expected in cases:
        own = dcmtk(pki, theirs[0]) if theirs else ["+tla", "+cf", str(pki / "ca.pem")]
        async with serving(tls) as port:
            with caplog.at_level("INFO", "dimse.network"):
                caplog.clear()
                code, output = await run(echoscu, *own, *theirs[1:], "localhost", str(port))
        said = next((each for each in caplog.messages if "TLS handshake failed" in each), "")
        if differ(said, expected) or (code == 0) is not (not expected):
            wrong.append((name, code, said, output))
    assert not wrong


# What no profile allows

OLD = {
    "TLS 1.0": ["-tls1"],
    "TLS 1.1": ["-tls1_1"],
    "all but ECDHE with AEAD": ["-tls1_2", "-cipher", "ALL:COMPLEMENTOFALL:!kECDHE:@SECLEVEL=0"],
    "ECDHE without AEAD": [
        "-tls1_2",
        "-cipher",
        "ECDHE+AES:ECDHE+eNULL:!AESGCM:!AESCCM:!AESCCM8:ECDHE+CAMELLIA:@SECLEVEL=0",
    ],
}
WEAK = ["-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"]


async def test_openssl_is_refused_what_no_profile_allows(pki: Path, options: Any) -> None:
    """And the rest of the same connection is not."""
    openssl, wrong = need("openssl"), []
    own = ["-CAfile", str(pki / "ca.pem"), "-cert", str(pki / "client.pem"), "-key", str(pki / "client.key")]
    for name in ("server", "rsa"):
        for profile in TLSProfile:
            async with serving(options(name, profile=profile)) as port:
                for offer, arguments in {**OLD, "good": ["-tls1_2"], "best": []}.items():
                    weak = WEAK if offer in ("TLS 1.0", "TLS 1.1") else []
                    client = [openssl, "s_client", "-connect", f"localhost:{port}", "-brief", *own, *weak, *arguments]
                    code, output = await run(*client)
                    if (code == 0) is (offer in OLD):
                        wrong.append((name, profile, offer, output))
    assert not wrong


async def test_we_refuse_openssl_what_no_profile_allows(pki: Path, tmp_path: Path, options: Any) -> None:
    """It answers no A-ASSOCIATE-RQ, so a good handshake ends with a timeout."""
    openssl, wrong = need("openssl"), []
    own = ["-cert", str(pki / "server.pem"), "-key", str(pki / "server.key"), "-www"]
    with ExitStack() as stack:
        peers = {}
        for offer, arguments in {**OLD, "good": ["-tls1_2"], "best": []}.items():
            port, weak = free_port(), WEAK if offer in ("TLS 1.0", "TLS 1.1") else []
            server = [openssl, "s_server", "-accept", str(port), *own, *weak, *arguments]
            peers[offer] = stack.enter_context(Peer(server, port, tmp_path / str(port), title="OPENSSL"))
        for offer, peer in peers.items():
            for profile in TLSProfile:
                tls, timeouts = options("client", profile=profile), Timeouts(association=0.05)
                with pytest.raises(dimse.AssociationError) as raised:
                    async with dimse.connect(peer.address, options=ClientOptions(tls=tls, timeouts=timeouts)):
                        pass
                if isinstance(raised.value, dimse.AssociationTimeout) is (offer in OLD):
                    wrong.append((offer, profile, str(raised.value), peer.output()))
    assert not wrong
