"""The names in a certificate: as `ssl` gives it, and of a connection's peer once TLS has verified it."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from tests.certificate import CERTIFICATE, KEY
from tests.sample_objects import IMPLICIT, VERIFICATION

from dimse import ClientOptions, Server, ServerOptions, connect
from dimse.network.association import exchange_of
from dimse.network.certificate_names import names_of


def test_all_names_are_taken_each_once() -> None:
    subject = ((("countryName", "CH"),), (("commonName", "ct1"), ("organizationName", "Ward")), (("commonName", "CT"),))
    alternative = (
        ("DNS", "ct1.example.org"),
        ("DNS", "ct1"),
        ("IP Address", "10.0.0.7"),
        ("IP Address", "FD00:0:0:0:0:0:0:1"),
        ("IP Address", "<invalid>"),
        ("URI", "urn:uuid:7"),
        ("email", "pacs@example.org"),
        ("DirName", ((("commonName", "other"),),)),
    )
    names = names_of({"subject": subject, "subjectAltName": alternative})
    addresses = ("10.0.0.7", "fd00::1", "<invalid>")
    assert names == ("ct1", "CT", "ct1.example.org", *addresses, "urn:uuid:7", "pacs@example.org")


def test_what_was_not_verified_has_no_names() -> None:
    assert names_of(None) == ()
    assert names_of({}) == ()


@pytest.mark.parametrize("mutual", [False, True])
async def test_a_connection_has_the_names_of_its_peer(mutual: bool, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text(CERTIFICATE)
    (tmp_path / "key.pem").write_text(KEY)
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    for context in (ours, theirs):
        context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    if mutual:
        ours.load_verify_locations(tmp_path / "cert.pem")
        ours.verify_mode = ssl.CERT_REQUIRED
    server = Server(port=0, options=ServerOptions(tls=ours, stop_timeout=5))
    async with (
        server,
        connect(
            f"DIMSE@localhost:{server.port}",
            contexts=[(VERIFICATION, [IMPLICIT])],
            options=ClientOptions(tls=theirs),
        ) as requested,
    ):
        names = [exchange_of(each).connection.certificate_names for each in (*server.associations, requested)]
    assert names == [("localhost", "127.0.0.1") if mutual else (), ("localhost", "127.0.0.1")]
