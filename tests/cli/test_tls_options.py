"""TLS on every command: what it says when it works, and when an option is wrong."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from tests.pki import PASSWORD
from tests.ports import free_port

import dimse
from dimse import Address, MoveDestination, RetryPolicy, SendOptions, Server, ServerOptions, TLSOptions
from dimse.cli.app import run

from .conftest import Receiver


def test_what_is_wrong_with_the_options(
    pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], closed_port: int
) -> None:
    monkeypatch.chdir(pki)
    (tmp_path / "password").write_text("wrong\n")
    commands = [["echo", f"A@127.0.0.1:{closed_port}"], ["receive", "--into", str(tmp_path), "--port", "0"]]
    ours = ["--tls", "--tls-cert", "server.pem"]
    cases: list[tuple[list[str], str]] = [
        (["--tls-ca", "ca.pem"], "--tls-ca needs --tls"),
        (["--tls-cert", "server.pem", "--tls-key", "server.key"], "--tls-cert needs --tls"),
        (["--tls", "--tls-key", "server.key"], "--tls-key needs --tls-cert"),
        (["--tls", "--tls-password-file", "-"], "--tls-password-file needs --tls-cert"),
        (
            ["--tls", "--tls-profile", "tls1.0"],
            "argument --tls-profile: must be one of bcp195, bcp195-modified, bcp195-nd, not 'tls1.0'",
        ),
        ([*ours, "--tls-ca", "no.pem", "--tls-key", "server.key"], "cannot read no.pem: No such file or directory"),
        ([*ours], "server.pem has no private key in PEM"),
        (
            [*ours, "--tls-key", "client.key"],
            "the key in client.key does not belong to the first certificate in server.pem",
        ),
        ([*ours, "--tls-key", "encrypted.key"], "encrypted.key is encrypted; its password is needed"),
        (
            [*ours, "--tls-key", "encrypted.key", "--tls-password-file", str(tmp_path / "password")],
            "encrypted.key cannot be decrypted with this password",
        ),
        (
            [*ours, "--tls-key", "encrypted.key", "--tls-password-file", "no"],
            "--tls-password-file no: No such file or directory",
        ),
    ]
    for command in commands:
        for options, said in cases:
            assert run([*command, *options]) == 2
            assert capfd.readouterr() == ("", f"dimse: {said}\n")
    assert run([*commands[1], "--tls"]) == 2
    assert "--tls needs --tls-cert and --tls-key: each acceptor has a certificate" in capfd.readouterr().err


async def test_every_command_speaks_tls(
    pki: Path,
    tmp_path: Path,
    ct: Path,
    beside: Callable[..., Awaitable[Any]],
    receive: Callable[..., Receiver],
) -> None:
    """All demand certificates, and what an archive moves is sent with TLS."""
    ours = ("--tls-ca", pki / "ca.pem", "--tls-cert", pki / "server.pem", "--tls-key", pki / "server.key")
    receiver, mover = receive("--tls", *ours), free_port()
    assert f"dimse send --tls DIMSE@localhost:{receiver.port} PATH" in receiver.first_line
    tls = TLSOptions(ca=pki / "ca.pem", certificate=pki / "server.pem", key=pki / "server.key")
    ports = {"RECEIVER": receiver.port, "MOVER": mover}
    secure = dimse.ClientOptions(tls=tls)
    destinations = {title: MoveDestination(Address(title, "127.0.0.1", port), secure) for title, port in ports.items()}
    options = ServerOptions(tls=tls, send=SendOptions(retry=RetryPolicy(retries=0)))
    archive = Server("ARCHIVE", port=0, options=options)
    moving = Server("MOVING", port=0, options=options, destinations=destinations)

    async def find(_: dimse.QueryRequest) -> AsyncIterator[Dataset]:
        yield dcmread(ct, stop_before_pixels=True)

    async def retrieve(_: dimse.QueryRequest) -> AsyncIterator[Path]:
        yield ct

    for server in (archive, moving):
        server.on_c_find(find)
    archive.on_c_get(retrieve)
    moving.on_c_move(retrieve)
    (tmp_path / "password").write_text(PASSWORD)
    key = ("--tls-key", pki / "encrypted.key", "--tls-password-file", tmp_path / "password")
    secured = ("--tls", "--tls-ca", pki / "ca.pem", "--tls-cert", pki / "client.pem", *key)
    study = ("-k", f"StudyInstanceUID={dcmread(ct).StudyInstanceUID}")
    got, retrieved, moved = (tmp_path / name for name in ("got", "retrieved", "moved"))
    async with archive, moving:
        at, at_moving = f"ARCHIVE@localhost:{archive.port}", f"MOVING@localhost:{moving.port}"
        to_mover = ("--receiver", f"MOVER@127.0.0.1:{mover}")
        commands: list[tuple[object, ...]] = [
            ("echo", at),
            ("send", f"ANY@localhost:{receiver.port}", ct),
            ("find", at, *study),
            ("get", at, *study, "--into", got),
            ("retrieve", at, *study, "--into", retrieved),
            ("retrieve", at_moving, *study, "--into", moved, *to_mover),
            ("move", at_moving, *study, "--destination", "RECEIVER"),
        ]
        ended = await asyncio.gather(*(beside(*command, *secured) for command in commands))
        assert [(command[0], one.code, one.err) for command, one in zip(commands, ended, strict=True) if one.code] == []
        assert (
            "  TLS                 TLSv1.3, TLS_AES_256_GCM_SHA384\n  certificate         server, localhost"
            in ended[0].out
        )
        (answer,) = (await beside("echo", at, *secured, "--json")).lines
        assert answer["tls"]["certificate_names"][0] == "server"
        trusting = ("--tls", "--tls-ca", pki / "ca.pem")
        refused, plain, uncertified = await asyncio.gather(
            beside("echo", at, *trusting),
            beside("echo", at),
            beside("echo", at, *secured, "--tls-ca", pki / "other-ca.pem"),
        )
    for folder in (got, retrieved, moved, receiver.folder):
        assert len([path for path in folder.rglob("*") if path.is_file()]) == 1, folder
    assert [each.code for each in (refused, plain, uncertified)] == [3, 3, 3]
    assert "the peer requires a certificate of ours, and we gave none" in refused.err
    assert " speaks TLS on this port" in plain.err
    assert "the peer's certificate is not issued by a CA that we trust" in uncertified.err
    assert receiver.end().code == 0


async def test_a_receiver_without_a_certificate_is_told(
    pki: Path, tmp_path: Path, ct: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no fallback to a receiver without TLS."""
    monkeypatch.chdir(pki)
    options = ServerOptions(tls=TLSOptions(certificate="server.pem", key="server.key"))
    moving = Server("MOVING", port=0, options=options, destinations={})

    @moving.on_c_find
    async def find(_: dimse.QueryRequest) -> AsyncIterator[Dataset]:
        yield dcmread(ct, stop_before_pixels=True)

    @moving.on_c_move
    async def move(_: dimse.QueryRequest) -> AsyncIterator[Path]:
        yield ct

    query = dimse.Query.studies(StudyInstanceUID=dcmread(ct).StudyInstanceUID)
    own = ssl.create_default_context(cafile="ca.pem")
    async with moving:
        for tls, said in (
            (TLSOptions(ca="ca.pem"), "an acceptor needs a certificate and its key for TLS"),
            (own, "the receiver of a C-MOVE needs TLSOptions with a certificate, not an SSLContext"),
        ):
            with pytest.raises(ValueError, match=said):
                await dimse.retrieve(
                    f"MOVING@localhost:{moving.port}", query, into=tmp_path, options=dimse.ClientOptions(tls=tls)
                )
