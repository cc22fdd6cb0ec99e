"""`dimse node import --from` brings everything from another archive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.node.test_importing_archive import other

Beside = Callable[..., Any]


async def test_an_archive_is_brought(beside: Beside, tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with other(tmp_path / "other") as (address, _):
        done = await beside("node", "import", "--data", data, "--from", address)
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith(f"2 studies stored from {address}, 8 instances: ")
        done = await beside("node", "import", "--data", data, "--from", address, "--json")
    *studies, summary = done.lines
    assert [each["outcome"] for each in studies] == ["skipped", "skipped"]
    assert (done.code, summary["skipped"], summary["failed"]) == (0, 2, 0)


async def test_failures_are_listed_at_the_end(beside: Beside, tmp_path: Path) -> None:
    async with other(tmp_path / "other", without=("1.3.2.1",)) as (address, _):
        done = await beside("node", "import", "--data", tmp_path / "data", "--from", address, "--timeout", "5")
    assert done.code == 1
    assert "failed: 1.3: 3 of 4 instances stored: " in done.err
    assert done.err.endswith("failed: 1.3\n")


async def test_a_full_disk_ends_it_with_a_summary(beside: Beside, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "node.toml").write_text(f"[storage]\nminimum_free = {2**60}\n")
    async with other(tmp_path / "other") as (address, _):
        done = await beside("node", "import", "--data", data, "--from", address, "--json")
    assert done.code == 1
    summary, error = done.lines[-2:]
    assert summary["event"] == "summary"
    assert "the disk is nearly full" in summary["error"]
    assert "the disk is nearly full" in error["error"]


def test_no_association(dimse: Beside, closed_port: int, tmp_path: Path) -> None:
    done = dimse("node", "import", "--data", tmp_path / "data", "--from", f"A@127.0.0.1:{closed_port}")
    assert done.code == 3
    assert "Connection refused" in done.err
