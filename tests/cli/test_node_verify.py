"""`dimse node verify` says what is wrong with an archive, and mends it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.test_progress import Terminal

from dimse.cli import app

Run = Callable[..., Any]


@pytest.fixture
def data(dimse: Run, ct: Path, mr: Path, tmp_path: Path) -> Path:
    """The folder of an archive with two instances."""
    assert dimse("node", "import", "--data", tmp_path / "data", ct, mr).code == 0
    return tmp_path / "data"


def test_nothing_is_wrong(dimse: Run, data: Path) -> None:
    done = dimse("node", "verify", "--data", data, "--digests")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("2 instances verified, ")
    assert ", nothing is wrong: " in done.out


def test_what_is_wrong_is_told(dimse: Run, data: Path) -> None:
    first, second = sorted((data / "studies").rglob("*.dcm"))
    first.unlink()
    content = second.read_bytes()
    second.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = dimse("node", "verify", "--data", data, "--digests")
    assert done.code == 1
    assert f"no file: {first.relative_to(data)}\n" in done.err
    assert f"other content: {second.relative_to(data)}\n" in done.err
    assert "1 with no file, 1 with other content" in done.out
    assert "dimse: copy files that are missing or damaged back from a backup" in done.err
    assert "dimse: dimse node verify --repair adds files" in done.err


def test_a_file_that_is_damaged_needs_a_backup(dimse: Run, data: Path) -> None:
    file = min((data / "studies").rglob("*.dcm"))
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    done = dimse("node", "verify", "--data", data)
    assert "1 with wrong length: " in done.out
    assert "copy files that are missing or damaged back" in done.err
    assert "--repair" not in done.err
    file.write_bytes(content)
    assert dimse("node", "verify", "--data", data).code == 0


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_is_unreadable_needs_permissions(dimse: Run, data: Path) -> None:
    file = min((data / "studies").rglob("*.dcm"))
    file.chmod(0)
    done = dimse("node", "verify", "--data", data, "--digests")
    assert "1 unreadable" in done.out
    assert "look at the permissions" in done.err
    assert "backup" not in done.err


def test_a_file_that_is_not_in_the_index_needs_a_repair(dimse: Run, data: Path) -> None:
    file = min((data / "studies").rglob("*.dcm"))
    file.with_name("9.dcm").write_bytes(file.read_bytes())
    done = dimse("node", "verify", "--data", data)
    assert "1 not in the index: " in done.out
    assert "backup" not in done.err
    assert "--repair" in done.err


def test_it_is_mended(dimse: Run, data: Path) -> None:
    first = min((data / "studies").rglob("*.dcm"))
    first.unlink()
    done = dimse("node", "verify", "--data", data, "--repair", "--json")
    finding, summary = done.lines
    assert (done.code, finding["fault"], finding["mended"]) == (1, "no file", True)  # an instance is lost all the same
    assert summary["faults"] == {"no file": 1}
    assert dimse("node", "verify", "--data", data).code == 0
    assert dimse("node", "stats", "--data", data, "--json").lines[0]["instances"] == 1


def test_progress_at_a_terminal(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    with monkeypatch.context() as patched:
        patched.setattr("sys.stderr", terminal)
        assert app.run(["node", "verify", "--data", str(data)]) == 0
    assert "2/2 instances" in terminal.getvalue()


def test_wrong_usage(dimse: Run, tmp_path: Path) -> None:
    done = dimse("node", "verify", "--data", tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "no archive in" in done.err
    done = dimse("node", "verify", "--data", tmp_path, "--digest")
    assert done.code == 2
    assert "--digests" in done.err
