"""What is remembered of the last command with a peer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dimse import Configuration, KnownPeer
from dimse.cli import exit_codes, peer_state


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KnownPeer:
    """A peer, with an own folder for its state."""
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "state"))
    (tmp_path / "config.toml").write_text('[peers.pacs1]\naddress = "A@b"')
    return Configuration.load(tmp_path / "config.toml").peers["pacs1"]


def test_the_last_command_is_remembered(peer: KnownPeer) -> None:
    assert peer_state.last(peer) is None
    peer_state.remember(peer, "send", exit_codes.OK)
    peer_state.remember(peer, "echo", exit_codes.NO_ASSOCIATION, "Connection refused")
    for code in (exit_codes.USAGE, exit_codes.INTERRUPTED):  # these say nothing about the peer
        peer_state.remember(peer, "find", code)
    found = peer_state.last(peer)
    assert found is not None
    assert (found["state"], found["command"], found["reason"]) == ("no association", "echo", "Connection refused")
    assert peer_state.age(found["time"]) == "just now"
    assert [path.name for path in peer_state.folder().iterdir()] == ["pacs1.json"]


def test_another_address_is_another_peer(peer: KnownPeer, tmp_path: Path) -> None:
    peer_state.remember(peer, "echo", exit_codes.OK)
    (tmp_path / "config.toml").write_text('[peers.pacs1]\naddress = "A@c"')
    assert peer_state.last(Configuration.load(tmp_path / "config.toml").peers["pacs1"]) is None


def test_a_peer_without_a_name_is_not_remembered(peer: KnownPeer) -> None:
    peer_state.remember(Configuration().peer("A@b"), "echo", exit_codes.OK)
    assert not peer_state.folder().exists()


def test_a_state_that_cannot_be_written_does_not_matter(peer: KnownPeer, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder must be")
    peer_state.remember(peer, "echo", exit_codes.OK)
    assert peer_state.last(peer) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "1", '{"time": 1}', '{"time": "2026-01-01"}', '{"time": "x"}'])
def test_a_damaged_state_does_not_matter(peer: KnownPeer, content: str) -> None:
    peer_state.folder().mkdir(parents=True)
    (peer_state.folder() / "pacs1.json").write_text(content)
    assert peer_state.last(peer) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(59, "just now"), (-100, "just now"), (61, "1 min ago"), (2 * 3600 + 5, "2 h ago"), (3 * 86400 + 5, "3 d ago")],
)
def test_the_age_in_words(seconds: int, words: str) -> None:
    assert peer_state.age((datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()) == words
