"""TLS options: which files can be used, what is said of the others, and files that change."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path
from typing import Any

import pytest

from dimse import ClientOptions, ServerOptions, TLSOptions, TLSProfile

SERVING: dict[str, Any] = {"ca": "ca.pem", "certificate": "server.pem", "key": "server.key"}


@pytest.fixture
def folder(pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the certificates, which is the current folder."""
    shutil.copytree(pki, tmp_path, dirs_exist_ok=True)
    (tmp_path / "empty.pem").touch()
    (tmp_path / "damaged.pem").write_text((tmp_path / "ca.pem").read_text().replace("M", "N"))
    (tmp_path / "damaged.key").write_text((tmp_path / "server.key").read_text().replace("M", "N"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_files_that_cannot_be_used_are_named(folder: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"ca": "no.pem"}, "cannot read no.pem: No such file or directory"),
        ({"ca": "."}, "cannot read .: Is a directory"),
        ({"ca": "empty.pem"}, "empty.pem has no certificate in PEM, or a damaged one"),
        ({"ca": "damaged.pem"}, "damaged.pem has no certificate in PEM, or a damaged one"),
        ({"certificate": "no.pem"}, "cannot read no.pem: No such file or directory"),
        ({"certificate": "empty.pem"}, "empty.pem has no certificate in PEM"),
        ({"certificate": "server.key"}, "server.key has no certificate in PEM"),
        ({"key": "no.key"}, "cannot read no.key: No such file or directory"),
        ({"key": None}, "server.pem has no private key in PEM"),
        ({"key": "damaged.key"}, "server.pem or damaged.key is damaged"),
        ({"key": "client.key"}, "the key in client.key does not belong to the first certificate in server.pem"),
        ({"key": "encrypted.key"}, "encrypted.key is encrypted; its password is needed"),
        ({"key": "encrypted.key", "password": "wrong"}, "encrypted.key cannot be decrypted with this password"),
        ({"key": "encrypted.key", "password": "\udcff"}, "encrypted.key cannot be decrypted with this password"),
        ({"key": "encrypted.key", "password": ""}, "encrypted.key cannot be decrypted with this password"),
        ({"certificate": None}, "a key needs the certificate that it belongs to"),
        ({"crl": "empty.pem"}, "empty.pem has no certificate revocation list in PEM, or a damaged one"),
        ({"crl": "ca.pem"}, "ca.pem must have certificate revocation lists only, and has a certificate"),
    ]
    wrong = []
    for options, message in cases:
        for kind in (ClientOptions, ServerOptions):
            try:
                kind(tls=TLSOptions(**SERVING | options))
            except ValueError as error:
                if str(error) != message:
                    wrong.append((options, kind.__name__, str(error)))
            else:
                wrong.append((options, kind.__name__, "accepted"))
    assert not wrong


def test_an_acceptor_has_a_certificate(folder: Path) -> None:
    tls = TLSOptions(ca="ca.pem")
    ClientOptions(tls=tls)
    with pytest.raises(ValueError, match="an acceptor needs a certificate and its key for TLS"):
        ServerOptions(tls=tls)


def test_an_acceptor_with_revocation_lists_has_a_ca(folder: Path) -> None:
    tls = TLSOptions(certificate="server.pem", key="server.key", crl="crl.pem")
    ClientOptions(tls=tls)
    with pytest.raises(ValueError, match="an acceptor with revocation lists needs a CA"):
        ServerOptions(tls=tls)


def test_types_are_checked() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"ca": 5}, "ca must be a path or None, not int"),
        ({"profile": "bcp195"}, "profile must be a TLSProfile, not str"),
        ({"certificate": "a", "password": b"x"}, "password must be a str or None, not bytes"),
        ({"server_name": 5}, "server_name must be a str or None, not int"),
    ]
    for options, message in wrong:
        with pytest.raises(TypeError, match=message):
            TLSOptions(**options)


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(TLSOptions(certificate="a.pem", password="secret"))  # noqa: S106 - of nothing


@pytest.mark.parametrize("profile", TLSProfile)
@pytest.mark.parametrize("server_side", [False, True])
def test_what_no_profile_allows(profile: TLSProfile, server_side: bool, folder: Path) -> None:
    context = TLSOptions(**SERVING, profile=profile).context(server_side=server_side)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.maximum_version in (ssl.TLSVersion.MAXIMUM_SUPPORTED, ssl.TLSVersion.TLSv1_3)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname is not server_side
    assert context.options & ssl.OP_NO_COMPRESSION
    for cipher in context.get_ciphers():
        assert cipher["aead"], cipher
        assert cipher["protocol"] == "TLSv1.3" or cipher["kea"] == "kx-ecdhe", cipher
        assert cipher["alg_bits"] >= 128, cipher


def test_a_server_without_a_ca_asks_for_no_certificate(folder: Path) -> None:
    context = TLSOptions(certificate="server.pem", key="server.key").context(server_side=True)
    assert context.verify_mode is ssl.CERT_NONE


# Files that change


def replace(path: Path, other: Path) -> None:
    """As programs that renew certificates do."""
    shutil.copy(other, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def test_files_that_change_are_read_again(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "dimse.network")
    tls = TLSOptions(**SERVING)
    first = tls.context(server_side=True)
    assert tls.context(server_side=True) is first
    replace(folder / "server.pem", folder / "client.pem")
    for _ in range(3):
        assert tls.context(server_side=True) is first  # the key does not belong to it yet
    replace(folder / "server.key", folder / "client.key")
    second = tls.context(server_side=True)
    assert second is not first
    assert tls.context(server_side=True) is second
    (folder / "ca.pem").unlink()
    for _ in range(3):
        assert tls.context(server_side=True) is second
    assert [(record.levelname, record.message) for record in caplog.records] == [
        (
            "ERROR",
            (
                "TLS: the key in server.key does not belong to the first certificate in server.pem; "
                "the former files stay in use"
            ),
        ),
        ("INFO", "TLS: the files have changed and are in use from now on"),
        ("ERROR", "TLS: cannot read ca.pem: No such file or directory; the former files stay in use"),
    ]


def test_what_a_file_no_longer_has_does_not_stay(folder: Path) -> None:
    ca = folder / "ca.pem"
    ca.write_text(ca.read_text() + (folder / "other-ca.pem").read_text())
    tls = TLSOptions(**SERVING)
    assert tls.context(server_side=True).cert_store_stats()["x509"] == 2
    ca.write_text((folder / "other-ca.pem").read_text())
    assert tls.context(server_side=True).cert_store_stats()["x509"] == 1
