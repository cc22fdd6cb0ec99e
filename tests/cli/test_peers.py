"""`dimse peers`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def configure(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Makes a text the configuration of commands that get this environment."""

    def configured(text: str) -> dict[str, str]:
        (tmp_path / "config.toml").write_text(text, encoding="utf-8")
        state = str(tmp_path / "state")
        return {"DIMSE_CONFIG": str(tmp_path / "config.toml"), "XDG_STATE_HOME": state, "LOCALAPPDATA": state}

    return configured


def test_peers_have_the_state_of_the_last_command(
    dimse: Callable[..., Any], receiver: Any, closed_port: int, configure: Callable[[str], dict[str, str]], ct: Path
) -> None:
    environment = configure(
        f"""
        [peers.pacs1]
        address = "{receiver.address}"
        [peers.archive-2]
        address = "ARCHIVE@127.0.0.1:{closed_port}"
        calling = "ME"
        [peers.new]
        address = "dicoms://NEW@new.example"
        """
    )
    assert dimse("send", "pacs1", ct, **environment).code == 0
    assert dimse("echo", "archive-2", **environment).code == 3
    done = dimse("peers", **environment)
    assert (done.code, done.err) == (0, "")
    width = len(f"ARCHIVE@127.0.0.1:{closed_port}")
    *lines, reason, last = done.out.splitlines()
    assert reason.startswith("    cannot connect to ")
    assert reason.endswith(": Connection refused")
    assert [*lines, last] == [
        f"pacs1      {receiver.address:{width}}  ok, send just now",
        f"archive-2  {f'ARCHIVE@127.0.0.1:{closed_port}':{width}}  no association, echo just now",
        f"new        {'NEW@new.example:2762':{width}}  never tried",
    ]
    pacs1, archive, new = dimse("peers", "--json", **environment).lines
    assert (pacs1["name"], pacs1["address"], pacs1["tls"]) == ("pacs1", receiver.address, False)
    assert (pacs1["last"]["state"], pacs1["last"]["reason"]) == ("ok", None)
    assert (archive["calling"], archive["last"]["state"]) == ("ME", "no association")
    assert (new["tls"], new["last"], new["problem"]) == (True, None, None)


def test_a_peer_whose_files_cannot_be_used(
    dimse: Callable[..., Any], configure: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    environment = configure('[peers.a]\naddress = "A@b"\ntls.ca = "no.pem"')
    done = dimse("peers", **environment)
    assert done.code == 1
    assert done.out.startswith("a  A@b:11112  cannot be used\n    ")
    assert "no.pem" in done.out
    done = dimse("echo", "a", **environment)
    assert done.code == 2
    assert done.err.startswith(f"dimse: {tmp_path / 'config.toml'}: [peers.a.tls]: cannot read ")


def test_no_peers(dimse: Callable[..., Any], configure: Callable[[str], dict[str, str]], tmp_path: Path) -> None:
    done = dimse("peers", **configure(""))
    said = f"dimse: no peers in {tmp_path / 'config.toml'}; dimse explain TITLE@HOST:PORT --save NAME adds one\n"
    assert (done.code, done.out, done.err) == (0, "", said)


def test_a_long_name_has_its_state_below(
    dimse: Callable[..., Any], configure: Callable[[str], dict[str, str]], closed_port: int
) -> None:
    name = "the-archive-of-the-hospital-" + "x" * 40
    environment = configure(f'[peers.{name}]\naddress = "A@127.0.0.1:{closed_port}"')
    assert dimse("echo", name, **environment).code == 3
    first, *below = dimse("peers", COLUMNS="80", **environment).out.splitlines()
    assert first == f"{name}  A@127.0.0.1:{closed_port}"
    assert " ".join(below).split(":")[0].strip() == "no association, echo just now"
    assert max(map(len, below)) <= 80
