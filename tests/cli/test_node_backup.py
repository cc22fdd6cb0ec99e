"""`dimse node backup` copies an archive, and says what became of its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from tests.cli.test_progress import Terminal

from dimse.cli import app

Run = Callable[..., Any]


@pytest.fixture
def data(dimse: Run, ct: Path, mr: Path, tmp_path: Path) -> Path:
    """The folder of an archive with two instances."""
    assert dimse("node", "import", "--data", tmp_path / "data", ct, mr).code == 0
    return tmp_path / "data"


def test_a_backup_is_an_archive(dimse: Run, data: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    done = dimse("node", "backup", target, "--data", data)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"2 files copied to {target}: ")
    assert dimse("node", "verify", "--digests", "--data", target).code == 0
    done = dimse("node", "backup", target, "--data", data, "--json")
    (summary,) = done.lines
    assert (done.code, summary["copied"], summary["same"], summary["folder"]) == (0, 0, 2, str(target))


def test_what_is_damaged_is_told(dimse: Run, data: Path, tmp_path: Path) -> None:
    path = min((data / "studies").rglob("*.dcm"))
    path.write_bytes(path.read_bytes()[:-1])
    done = dimse("node", "backup", tmp_path / "target", "--data", data)
    assert (done.code, done.err) == (1, f"damaged: {path.relative_to(data)}\n")
    assert "1 damaged" in done.out


def test_progress_at_a_terminal(dimse: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = dcmread(min((data / "studies").rglob("*.dcm")))
    other.PatientComments = "other content"
    other.save_as(tmp_path / "other.dcm")
    assert "1 set aside" in dimse("node", "import", "--data", data, tmp_path / "other.dcm").out
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    with monkeypatch.context() as patched:
        patched.setattr("sys.stderr", terminal)
        assert app.run(["node", "backup", str(tmp_path / "target"), "--data", str(data)]) == 0
    assert "3/3 files" in terminal.getvalue()


def test_wrong_usage(dimse: Run, data: Path, tmp_path: Path) -> None:
    done = dimse("node", "backup", data / "backup", "--data", data)
    assert (done.code, done.out) == (2, "")
    assert "outside of the data folder" in done.err
    assert dimse("node", "backup", "--data", data).code == 2
    done = dimse("node", "backup", tmp_path / "target", "--data", tmp_path / "none")
    assert done.code == 2
    assert not (tmp_path / "target").exists()
