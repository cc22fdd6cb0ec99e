"""`dimse node import` puts files into an archive, and says what became of each."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.test_progress import Terminal

from dimse.cli import app

Run = Callable[..., Any]


def test_files_are_imported(dimse: Run, ct: Path, mr: Path, tmp_path: Path) -> None:
    done = dimse("node", "import", "--data", tmp_path, ct, mr)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("2 new instances: ")
    done = dimse("node", "import", "--data", tmp_path, ct, "--json")
    result, summary = done.lines
    assert (result["name"], result["outcome"], result["error"]) == (str(ct), "same", None)
    assert (summary["event"], summary["new"], summary["same"], summary["failed"]) == ("summary", 0, 1, 0)


def test_failures_are_told(dimse: Run, ct: Path, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    shutil.copy(ct, folder / "ct.dcm")
    (folder / "cut.dcm").write_bytes(ct.read_bytes()[:-1000])
    (folder / "text.txt").write_text("text")
    done = dimse("node", "import", "--data", tmp_path / "data", folder)
    assert done.code == 1
    assert f"failed: {folder / 'cut.dcm'}: truncated" in done.err
    assert f"skipped: {folder / 'text.txt'}: not a DICOM file" in done.err
    assert "1 new instance, 1 failed, 1 skipped" in done.out


def test_nothing_to_import(dimse: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = dimse("node", "import", "--data", tmp_path / "data", tmp_path / "empty")
    assert done.code == 1
    assert "nothing to import" in done.err


def test_a_folder_that_cannot_be_used(dimse: Run, ct: Path, tmp_path: Path) -> None:
    (tmp_path / "studies").touch()
    done = dimse("node", "import", "--data", tmp_path, ct)
    assert (done.code, done.err) == (1, f"dimse: {tmp_path / 'studies'}: is not a folder\n")
    assert not (tmp_path / "index.sqlite").exists()


def test_in_place(dimse: Run, ct: Path, tmp_path: Path) -> None:
    assert dimse("node", "import", "--data", tmp_path / "data", "--in-place", ct).code == 0
    assert not [*(tmp_path / "data").rglob("*.dcm")]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "import needs files or folders"),
        (("a", "--from", "OTHER@localhost"), "leave out PATH and --in-place"),
        (("--from", "A@host:port"), "--from"),
        (("a", "--config", "none.toml"), "none.toml"),
        (("a", "--frm", "X"), "--from"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], why: str, dimse: Run, tmp_path: Path) -> None:
    done = dimse("node", "import", "--data", tmp_path / "data", *arguments)
    assert (done.code, done.out) == (2, "")
    assert why in done.err
    assert not (tmp_path / "data").exists()


def test_progress_at_a_terminal(ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    with monkeypatch.context() as patched:
        patched.setattr("sys.stderr", terminal)
        assert app.run(["node", "import", "--data", str(tmp_path), str(ct)]) == 0
    assert "Importing" in terminal.getvalue()
    assert "/s" in terminal.getvalue()
