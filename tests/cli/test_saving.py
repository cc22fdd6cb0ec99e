"""`dimse explain --save`: a peer in the configuration file, with what was found out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dimse import Access, Configuration, Peer, Server, ServerOptions, Strictness, TLSOptions


def test_a_saved_peer_can_be_used(dimse: Callable[..., Any], receiver: Any, tmp_path: Path) -> None:
    file = tmp_path / "new" / "config.toml"
    environment = {"XDG_CONFIG_HOME": str(tmp_path), "APPDATA": str(tmp_path)}
    file = tmp_path / "dimse" / "config.toml"
    done = dimse("explain", receiver.address, "--save", "rx", "--user", "joe", "--calling", "WS1", **environment)
    assert (done.code, done.err) == (0, f"saved as rx in {file}\n")
    assert file.read_text() == (
        f'[peers.rx]\naddress = "{receiver.address}"\ncalling = "WS1"\nidentity = {{ user = "joe" }}\n'
    )
    assert dimse("echo", "rx", **environment).code == 0


@pytest.mark.parametrize("end", ["", "\n"])
def test_what_the_user_wrote_stays(dimse: Callable[..., Any], receiver: Any, tmp_path: Path, end: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(before := f'# mine\n[peers.a]\naddress = "A@b" # there{end}')
    assert dimse("explain", receiver.address, "--save", "old.ct", DIMSE_CONFIG=str(file)).code == 0
    assert file.read_text().startswith(before)
    assert list(Configuration.load(file).peers) == ["a", "old.ct"]


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ('[peers.a]\naddress = "A@b"', "a", "has a peer a already; edit it there, or choose another name"),
        ("", "a@b", "'a@b' is not a name for a peer"),
        ("peers = 1", "a", "peers: must be in the table"),
    ],
)
def test_a_name_that_cannot_be_saved(
    dimse: Callable[..., Any], tmp_path: Path, text: str, name: str, said: str, closed_port: int
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    done = dimse("explain", f"A@127.0.0.1:{closed_port}", "--save", name, DIMSE_CONFIG=str(file))
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert file.read_text() == text


def test_tables_in_one_line_cannot_have_another(dimse: Callable[..., Any], receiver: Any, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text := 'peers = { a = { address = "A@b" } }\n')
    done = dimse("explain", receiver.address, "--save", "b", DIMSE_CONFIG=str(file))
    assert (done.code, file.read_text()) == (2, text)
    assert "its peers must be tables, such as [peers.pacs1], to add one" in done.err


def test_without_an_association_nothing_is_saved(dimse: Callable[..., Any], tmp_path: Path, closed_port: int) -> None:
    file = tmp_path / "config.toml"
    file.write_text("")
    done = dimse("explain", f"A@127.0.0.1:{closed_port}", "--save", "a", DIMSE_CONFIG=str(file))
    assert (done.code, done.err) == (3, "dimse: not saved: the archive accepted no AE titles\n")
    assert file.read_text() == ""


async def test_what_was_found_out_is_saved(beside: Callable[..., Any], pki: Path, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("")
    shutil.copy(pki / "ca.pem", tmp_path)
    known = ServerOptions(
        access=Access(peers=[Peer(calling_ae_titles={"KNOWN"})], called_ae_titles=["ARCHIVE"]),
        maximum_associations=1,
        maximum_connections_per_second=None,
        tls=TLSOptions(certificate=pki / "server.pem", key=pki / "server.key"),
    )
    async with Server("ARCHIVE", port=0, options=known) as server:
        command = [
            "explain",
            f"ARCHIVE@127.0.0.1:{server.port}",
            "--save",
            "found",
            "--also-calling",
            "KNOWN",
            "--lenient",
        ]
        tls = ["--tls", "--tls-ca", pki / "ca.pem"]
        done = await beside(*command, *tls, DIMSE_CONFIG=str(file))
        assert f"saved as found in {file}" in done.err, done.out
        assert (await beside("echo", "found", DIMSE_CONFIG=str(file))).code == 0
    peer = Configuration.load(file).peers["found"]
    assert peer.options.calling_ae_title == "KNOWN"
    assert peer.options.strictness is Strictness.LENIENT
    assert peer.associations == 1
    assert peer.options.tls == TLSOptions(ca=str(pki / "ca.pem"))
