"""The options of a requested association: from the command line, the configuration, the environment, and defaults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dimse import AssociationRequest, ClientOptions, Server, ServerOptions, TLSOptions
from dimse.cli import arguments, requestor
from dimse.cli.app import run
from dimse.cli.parser import CommandParser

PEER = '[peers.pacs1]\naddress = "ARCHIVE@pacs:104"\n'


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes a text the configuration."""

    def configured(text: str) -> Path:
        file = tmp_path / "config.toml"
        file.write_text(text, encoding="utf-8")
        monkeypatch.setenv("DIMSE_CONFIG", str(file))
        return file

    return configured


def options(*line: str) -> ClientOptions:
    """What a command whose default timeout is 10 s makes of its arguments."""
    parser = CommandParser()
    arguments.add_address(parser, "Peer")
    requestor.add_arguments(parser)
    arguments.add_timeout(parser, "Timeout.", default=10)
    parameters = vars(parser.parse_args(line))
    return requestor.options(**{name: value for name, value in parameters.items() if name != "address"})


CALLING = {"defaults": "DEFAULTS", "environment": "ENVIRONMENT", "peer": "PEER", "command line": "LINE"}


@pytest.mark.parametrize(
    ("given", "wins"),
    [
        ([], "DIMSE"),
        (["defaults"], "DEFAULTS"),
        (["defaults", "environment"], "ENVIRONMENT"),
        (["defaults", "environment", "peer"], "PEER"),
        (["defaults", "environment", "peer", "command line"], "LINE"),
        (["defaults", "command line"], "LINE"),
        (["environment", "peer"], "PEER"),
    ],
)
def test_which_value_wins(
    configure: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, given: list[str], wins: str
) -> None:
    defaults = '[defaults]\ncalling = "DEFAULTS"\n' if "defaults" in given else ""
    configure(defaults + PEER + ('calling = "PEER"\n' if "peer" in given else ""))
    if "environment" in given:
        monkeypatch.setenv("DIMSE_CALLING", "ENVIRONMENT")
    line = ["-c", "LINE"] if "command line" in given else []
    assert options("pacs1", *line).calling_ae_title == wins


@pytest.mark.parametrize(
    ("defaults", "peer", "line", "field", "wins"),
    [
        ("", "", [], "timeouts.store", 10),
        ("timeout = 20", "", [], "timeouts.store", 20),
        ("timeout = 20", "timeout = 30", [], "timeouts.store", 30),
        ("timeout = 20", "timeout = 30", ["--timeout", "40"], "timeouts.store", 40),
        ("timeout = 20", "timeout = { connect = 5 }", [], "timeouts.connect", 5),
        ("timeout = 20", "timeout = { connect = 5 }", [], "timeouts.store", 10),  # a table replaces a number
        ("", "", [], "strictness.value", "strict"),
        ("", "strictness = 'lenient'", [], "strictness.value", "lenient"),
        ("", "strictness = 'lenient'", ["--strict"], "strictness.value", "strict"),
        ("tls = true", "", [], "tls", TLSOptions()),
        ("tls = true", "tls = false", [], "tls", None),
        ("tls = true", "tls = { name = 'x' }", [], "tls", TLSOptions(server_name="x")),
        ("", "tls = { name = 'x' }", ["--tls-name", "y"], "tls", TLSOptions(server_name="y")),
        ("", "tls = { name = 'x' }", ["--tls"], "tls", TLSOptions(server_name="x")),
        ("", "", ["--tls"], "tls", TLSOptions()),
        ("", "identity = { user = 'x' }", [], "user_identity.primary_field", b"x"),
        ("", "identity = { user = 'x' }", ["--user", "y"], "user_identity.primary_field", b"y"),
        ("", "window = 1", [], "operations_window", 1),
    ],
)
def test_which_option_wins(
    configure: Callable[[str], Path], defaults: str, peer: str, line: list[str], field: str, wins: object
) -> None:
    configure(f"[defaults]\n{defaults}\n{PEER}{peer}\n")
    found: Any = options("pacs1", *line)
    for name in field.split("."):
        found = getattr(found, name)
    assert found == wins


def test_another_certificate_has_another_key(configure: Callable[[str], Path], pki: Path, tmp_path: Path) -> None:
    configure(f"{PEER}tls = {{ cert = '{pki / 'client.pem'}', key = '{pki / 'client.key'}', name = 'x' }}")
    both = tmp_path / "both.pem"
    both.write_bytes((pki / "server.pem").read_bytes() + (pki / "server.key").read_bytes())
    assert options("pacs1", "--tls-cert", str(both)).tls == TLSOptions(certificate=str(both), server_name="x")


def test_a_wrong_configuration_is_wrong_usage(
    configure: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    file = configure(PEER + "windwo = 1")
    assert run(["echo", "pacs1"]) == 2
    said = f"dimse: {file}: [peers.pacs1] windwo: this key is not known; did you mean window?\n"
    assert capfd.readouterr() == ("", said)


def test_a_misspelled_name_is_wrong_usage(configure: Callable[[str], Path], capfd: pytest.CaptureFixture[str]) -> None:
    configure(PEER)
    assert run(["find", "pasc1"]) == 2
    assert "did you mean pacs1? (the host is @pasc1)" in capfd.readouterr().err


async def test_commands_take_the_name_of_a_peer(beside: Callable[..., Any], ct: Path, tmp_path: Path) -> None:
    asked: list[str] = []
    server = Server("ARCHIVE", port=0, options=ServerOptions(maximum_connections_per_second=None))

    @server.on_association
    async def note(request: AssociationRequest) -> None:
        asked.append(f"{request.calling_ae_title} {request.called_ae_title}")

    file = tmp_path / "config.toml"
    async with server:
        file.write_text(f'[peers.pacs1]\naddress = "ARCHIVE@127.0.0.1:{server.port}"\ncalling = "ME"\n')
        done = await beside("echo", "pacs1", DIMSE_CONFIG=str(file))
        assert (done.code, done.err) == (0, "")
        keys = ["-k", "StudyInstanceUID=1.2", "-o", tmp_path / "here"]
        for command in (
            ["find", "pacs1"],
            ["get", "pacs1", *keys],
            ["retrieve", "pacs1", *keys],
            ["send", "pacs1", ct],
        ):
            asked.clear()
            await beside(*command, DIMSE_CONFIG=str(file))
            assert asked
            assert set(asked) == {"ME ARCHIVE"}
