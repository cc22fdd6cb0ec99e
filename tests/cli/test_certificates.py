"""`dimse certificates`: what it makes is accepted, protected, and never written over anything."""

from __future__ import annotations

import importlib.util
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import dimse
from dimse import ServerOptions, TLSOptions
from dimse.cli.app import run

FILES = ["ca.key", "ca.pem", "client.key", "client.pem", "server.key", "server.pem"]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_what_it_makes_works_in_both_roles(tmp_path: Path, beside: Callable[..., Awaitable[Any]]) -> None:
    folder = tmp_path / "new" / "pki"
    made = await beside("certificates", folder)
    assert (made.code, made.err) == (0, "")
    assert "For tests only" in made.out
    assert names_in(folder) == FILES
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.glob("*.key")} == dict.fromkeys(
        ("ca.key", "client.key", "server.key"), 0o600
    )
    for server, client in (("server", "client"), ("client", "server")):
        tls = [
            TLSOptions(ca=folder / "ca.pem", certificate=folder / f"{role}.pem", key=folder / f"{role}.key")
            for role in (server, client)
        ]
        async with dimse.Server(port=0, options=ServerOptions(tls=tls[0])) as listening:
            for host in ("localhost", "127.0.0.1"):
                options = dimse.ClientOptions(tls=tls[1])
                async with dimse.connect(f"A@{host}:{listening.port}", options=options) as association:
                    await dimse.CEchoSCU(association).echo()


def test_hosts(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from cryptography import x509

    assert run(["certificates", str(tmp_path), "--host", "pacs.example.org", "--host", "::2", "--days", "7"]) == 0
    said = capfd.readouterr().out
    assert "for pacs.example.org, ::2, valid for 7 days" in said
    for role in ("server", "client"):
        made = x509.load_pem_x509_certificate((tmp_path / f"{role}.pem").read_bytes())
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [str(name.value) for name in names] == ["pacs.example.org", "::2"]
        assert (made.not_valid_after_utc - made.not_valid_before_utc).days == 7
        # The printed commands name the files.
        assert f"--tls-cert {tmp_path / role}.pem --tls-key {tmp_path / role}.key" in said


def test_nothing_is_overwritten(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "client.key").write_text("mine")
    assert run(["certificates", str(tmp_path)]) == 2
    said = f"dimse: {tmp_path / 'client.key'} exists, and nothing is overwritten; choose another folder"
    assert capfd.readouterr().err == f"{said}\n"
    assert names_in(tmp_path) == ["client.key"]
    assert (tmp_path / "client.key").read_text() == "mine"


def test_what_is_not_a_host(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for host in ("", "a b", "pacs/", "pä.example.org"):
        assert run(["certificates", str(tmp_path / "new"), "--host", host]) == 2
        assert f"--host {host!r} is neither a host name nor an IP address" in capfd.readouterr().err
    assert not (tmp_path / "new").exists()


def test_without_cryptography(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "dimse.cli.certificates.find_spec", lambda name: None if name == "cryptography" else found(name)
    )
    assert run(["certificates", str(tmp_path / "new")]) == 2
    assert capfd.readouterr().err == (
        'dimse: this command needs cryptography; install it with: pip install "dimse[certificates]"\n'
    )
    assert not (tmp_path / "new").exists()
