"""The configuration file: what it means, which value wins, and how what is wrong is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from dimse import Address, ClientOptions, Configuration, Strictness, Timeouts, TLSOptions, TLSProfile, uids
from dimse.configuration import default_path

EVERYTHING = """
[defaults]
calling = "WS1"
timeout = 20

[peers.pacs1]
address = "ARCHIVE@pacs.example:104"
calling = "ME"
timeout = { connect = 5, find = 60.5 }
strictness = "lenient"
window = 1
associations = 2
syntaxes = ["explicit", "1.2.840.10008.1.2"]

[peers."old.modality"]
address = "dicom://CT1@ct.example"
"""


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """Reads a text as the configuration file."""

    def loaded(text: str) -> Configuration:
        file = tmp_path / "config.toml"
        file.write_text(text, encoding="utf-8")
        return Configuration.load(file)

    return loaded


def test_a_peer_has_an_address_and_options(load: Any) -> None:
    configuration = load(EVERYTHING)
    assert list(configuration.peers) == ["pacs1", "old.modality"]
    peer = configuration.peers["pacs1"]
    assert (peer.name, peer.address) == ("pacs1", Address("ARCHIVE", "pacs.example", 104))
    assert peer.options == ClientOptions(
        calling_ae_title="ME",
        timeouts=Timeouts(connect=5, find=60.5),
        strictness=Strictness.LENIENT,
        operations_window=1,
    )
    assert peer.associations == 2
    assert peer.transfer_syntaxes == (uids.EXPLICIT_VR_LITTLE_ENDIAN, uids.IMPLICIT_VR_LITTLE_ENDIAN)


def test_the_defaults_hold_for_each_peer_and_for_each_other_address(load: Any) -> None:
    configuration = load(EVERYTHING)
    for peer in (configuration.peers["old.modality"], configuration.peer("X@host:105")):
        assert peer.options.calling_ae_title == "WS1"
        assert peer.options.timeouts == Timeouts(connect=20, association=20, store=20, find=20, get=20, move=20)
        assert (peer.associations, peer.transfer_syntaxes) == (None, ())


@pytest.mark.parametrize(
    ("text", "address", "name"),
    [
        ("pacs1", "ARCHIVE@pacs.example:104", "pacs1"),  # a known name wins
        ("@pacs1", "ANY-SCP@pacs1:11112", None),
        ("OTHER@pacs1:1", "OTHER@pacs1:1", None),
        ("pacs1:104", "ANY-SCP@pacs1:104", None),
        ("localhost", "ANY-SCP@localhost:11112", None),
        ("dicom://A@b:1/", "A@b:1", None),
        ("DICOM://A@[::1]", "A@[::1]:11112", None),
    ],
)
def test_a_word_is_a_name_or_a_host(load: Any, text: str, address: str, name: str | None) -> None:
    peer = load(EVERYTHING).peer(text)
    assert (str(peer.address), peer.name) == (address, name)


def test_a_misspelled_name_is_no_host(load: Any) -> None:
    with pytest.raises(
        ValueError, match=r"'pasc1' is not a peer of .*config.toml; did you mean pacs1\? \(the host is @p"
    ):
        load(EVERYTHING).peer("pasc1")
    assert load(EVERYTHING).peer("@pasc1").address.host == "pasc1"


def test_dicoms_is_tls(load: Any, pki: Path, tmp_path: Path) -> None:
    peer = load("").peer("dicoms://ARCHIVE@pacs")
    assert (str(peer.address), peer.options.tls) == ("ARCHIVE@pacs:2762", TLSOptions())
    shutil.copy(pki / "ca.pem", tmp_path)
    configuration = load('[defaults.tls]\nca = "ca.pem"\n[peers.a]\naddress = "dicoms://A@b"\n')
    for each in (configuration.peers["a"], configuration.peer("dicoms://A@b")):
        assert each.options.tls == TLSOptions(ca=str(tmp_path / "ca.pem"))


def test_files_are_beside_the_configuration(load: Any, pki: Path, tmp_path: Path) -> None:
    for name in ("ca.pem", "client.pem", "client.key"):
        shutil.copy(pki / name, tmp_path)
    (tmp_path / "password").write_bytes(b"sesame\r\n")
    peer = load(
        """
        [peers.a]
        address = "A@b"
        identity = { user = "joe", password-file = "password" }
        [peers.a.tls]
        ca = "ca.pem"
        cert = "client.pem"
        key = "client.key"
        profile = "bcp195-modified"
        name = "archive.example"
        """
    ).peers["a"]
    assert peer.options.tls == TLSOptions(
        ca=str(tmp_path / "ca.pem"),
        certificate=str(tmp_path / "client.pem"),
        key=str(tmp_path / "client.key"),
        profile=TLSProfile.BCP195_MODIFIED,
        server_name="archive.example",
    )
    identity = peer.options.user_identity
    assert identity is not None
    assert (identity.primary_field, identity.secondary_field) == (b"joe", b"sesame")
    assert "sesame" not in repr(peer)


@pytest.mark.parametrize(
    ("key", "content", "sent"),
    [("jwt-file", b"token\n", b"token"), ("saml-file", b"<a/>", b"<a/>"), ("kerberos-file", b"\x00\n", b"\x00\n")],
)
def test_identities_in_files(load: Any, tmp_path: Path, key: str, content: bytes, sent: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    identity = load(f'[peers.a]\naddress = "A@b"\nidentity = {{ {key} = "secret" }}').peers["a"].options.user_identity
    assert identity.primary_field == sent


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("peers = [", ": is not TOML: "),
        ("[peer.a]", ": peer: must be in the table [defaults] or [peers.NAME]"),
        ('calling = "A"', ": calling: must be in the table [defaults] or [peers.NAME]"),
        ("[peers]\na = 1", ": [peers.a]: must be a table, not an integer"),
        (
            '[peers."a@b"]',
            ": [peers.a@b]: 'a@b' is not a name for a peer; it must consist of letters, digits, _, . and -",
        ),
        ("[peers.a]", ": [peers.a] address: is missing; write it TITLE@host:port"),
        ("[peers.a]\naddress = 1", ": [peers.a] address: must be a string, not an integer"),
        ('[peers.a]\naddress = "A@:"', ": [peers.a] address: 'A@:' is not an address; "),
        ('[peers.a]\naddress = "http://b"', "begins with http://; it must be dicom:// or dicoms://"),
        ('[peers.a]\nadress = "A@b"', ": [peers.a] adress: this key is not known; did you mean address?"),
        ("[defaults]\nCALING = 1", ": [defaults] CALING: this key is not known; did you mean calling?"),
        ("[defaults]\nxyz = 1", ": [defaults] xyz: this key is not known; known are calling, strictness, window, "),
        ('[defaults]\naddress = "A@b"', ": [defaults] address: this key is not known"),
        ('[defaults]\ncalling = "A\\\\B"', ": [defaults] calling: 'A\\B' is not an AE title"),
        ("[defaults]\ntimeout = true", ": [defaults] timeout: must be a number of seconds, not a boolean"),
        ("[defaults]\ntimeout = 0", ": [defaults] timeout: must be a positive number of seconds, not 0"),
        ("[defaults.timeout]\nidle = 1", ": [defaults.timeout] idle: this key is not known"),
        ('[defaults.timeout]\nfind = "1"', ": [defaults.timeout] find: must be a number of seconds, not a string"),
        ('[defaults]\nstrictness = "lax"', ": [defaults] strictness: must be one of strict, lenient, not 'lax'"),
        ("[defaults]\nwindow = 0", ": [defaults] window: must be 1 to 65535, not 0"),
        ("[defaults]\nassociations = 1.5", ": [defaults] associations: must be an integer, not a float"),
        ("[defaults]\nsyntaxes = 1", ": [defaults] syntaxes: must be an array of strings, not an integer"),
        ('[defaults]\nsyntaxes = ["jpg"]', ": [defaults] syntaxes: 'jpg' is not a transfer syntax; "),
        ("[defaults]\ntls = 1", ": [defaults] tls: must be a boolean or a table, not an integer"),
        ("[defaults.tls]\ncrt = 1", ": [defaults.tls] crt: this key is not known; did you mean "),
        ('[defaults.tls]\nkey = "a"', ": [defaults.tls] key: needs cert"),
        ('[defaults.tls]\nprofile = "a"', ": [defaults.tls] profile: must be one of bcp195, "),
        ("[defaults]\nidentity = 1979-05-27", ": [defaults] identity: must be a table, not a date or a time"),
        ("[defaults]\nidentity = {}", ": [defaults] identity: must have one of user, jwt-file, "),
        ('[defaults.identity]\nuser = "a"\njwt-file = "b"', ": [defaults] identity: must have one of user, jwt-file, "),
        ('[defaults.identity]\njwt-file = "a"\npassword-file = "b"', ": [defaults.identity] password-file: needs user"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(load: Any, tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match="config") as refused:
        load(text)
    assert str(refused.value).startswith(f"{tmp_path / 'config.toml'}: ")
    assert said in str(refused.value)
    assert str(refused.value).count("config.toml") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('address = "A@b"\n[peers.a.tls]\nca = "no.pem"', "[peers.a.tls]: cannot read "),
        ('identity = { jwt-file = "no" }', "[peers.a.identity] jwt-file: cannot read "),
        ('identity = { user = "u", password-file = "empty" }', "password-file: the password must not be empty"),
        ('identity = { user = "" }', "[peers.a.identity] user: the username "),
    ],
)
def test_only_the_peer_in_use_needs_its_files(load: Any, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "empty").touch()
    configuration = load(f"[peers.a]\n{text}\n" + ("" if "address" in text else 'address = "A@b"'))
    with pytest.raises(ValueError, match="config") as refused:
        _ = configuration.peers["a"].options
    assert said in str(refused.value)
    assert str(refused.value).startswith(f"{tmp_path / 'config.toml'}: ")


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    variable = "APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME"
    monkeypatch.setenv(variable, str(tmp_path))
    assert Configuration.load() == Configuration()
    default_path().parent.mkdir()
    default_path().write_text(EVERYTHING)
    assert "pacs1" in Configuration.load().peers
    monkeypatch.setenv("DIMSE_CONFIG", str(tmp_path / "other"))
    with pytest.raises(ValueError, match="other: No such file"):
        Configuration.load()
    (tmp_path / "other").write_text("")
    assert Configuration.load().peers == {}


def test_the_environment_is_between_the_defaults_and_the_peer(monkeypatch: pytest.MonkeyPatch, load: Any) -> None:
    monkeypatch.setenv("DIMSE_CALLING", "ENV")
    configuration = load(EVERYTHING)
    assert configuration.peers["pacs1"].options.calling_ae_title == "ME"
    assert configuration.peers["old.modality"].options.calling_ae_title == "ENV"
    assert configuration.peer("A@b").options.calling_ae_title == "ENV"
    monkeypatch.setenv("DIMSE_CALLING", "A" * 17)
    with pytest.raises(ValueError, match=r"DIMSE_CALLING: 'A+' is not an AE title"):
        load(EVERYTHING)
