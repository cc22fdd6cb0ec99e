"""`dimse echo --all`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dimse import Server, ServerOptions, Status


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    state = str(tmp_path / "state")
    return {"DIMSE_CONFIG": str(tmp_path / "config.toml"), "XDG_STATE_HOME": state, "LOCALAPPDATA": state}


async def test_each_peer_has_a_line_as_it_answers(
    beside: Callable[..., Any], tmp_path: Path, environment: dict[str, str], closed_port: int
) -> None:
    async with Server("ARCHIVE", port=0, options=ServerOptions(maximum_connections_per_second=None)) as server:
        (tmp_path / "config.toml").write_text(
            f"""
            [peers.pacs1]
            address = "ARCHIVE@127.0.0.1:{server.port}"
            [peers.down]
            address = "ARCHIVE@127.0.0.1:{closed_port}"
            [peers.broken]
            address = "dicoms://A@b"
            tls.ca = "no.pem"
            """
        )
        done = await beside("echo", "--all", **environment)
        assert (done.code, done.err) == (3, "")
        lines = done.out.splitlines()
        assert {line.split()[0] for line in lines if not line.startswith(" ")} == {"pacs1", "down", "broken"}
        assert any(line.startswith("pacs1 ") and "  ok, " in line and line.endswith(" ms") for line in lines)
        assert any(line.startswith("down ") and line.endswith("  no association") for line in lines)
        assert any(line.startswith("broken ") and line.endswith("  cannot be used") for line in lines)
        as_json = await beside("echo", "--all", "--json", **environment)
        states = {line["name"]: line for line in as_json.lines}
        assert (states["pacs1"]["state"], states["pacs1"]["reason"]) == ("ok", None)
        assert states["pacs1"]["round_trip_ms"] > 0
        assert "Connection refused" in states["down"]["reason"]
        listed = (await beside("peers", "--json", **environment)).lines
        assert [line["last"] and line["last"]["state"] for line in listed] == ["ok", "no association", None]


async def test_the_exit_code_is_true(beside: Callable[..., Any], tmp_path: Path, environment: dict[str, str]) -> None:
    async with Server("ARCHIVE", port=0, options=ServerOptions(maximum_connections_per_second=None)) as server:
        status = Status.SUCCESS

        @server.on_c_echo
        async def answer(_: object) -> Status:
            return status

        (tmp_path / "config.toml").write_text(f'[peers.a]\naddress = "ARCHIVE@127.0.0.1:{server.port}"')
        assert (await beside("echo", "--all", **environment)).code == 0
        status = Status(0x0122)
        done = await beside("echo", "--all", **environment)
        assert done.code == 1
        assert "  failed\n    " in done.out
        assert "0x0122" in done.out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["echo"], "echo needs one peer: dimse echo TITLE@HOST:PORT, or all of the configuration: --all"),
        (["echo", "--all", "A@b"], "echo needs one peer: "),
        (["echo", "--all"], "no peers in "),
    ],
)
def test_usage(
    dimse: Callable[..., Any], tmp_path: Path, environment: dict[str, str], line: list[str], said: str
) -> None:
    (tmp_path / "config.toml").write_text("")
    done = dimse(*line, **environment)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
