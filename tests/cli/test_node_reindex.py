"""`dimse node reindex` builds the index anew, and says what is not in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.test_progress import Terminal

from dimse.cli import app
from dimse.node.data_folder import served

Run = Callable[..., Any]


@pytest.fixture
def data(dimse: Run, ct: Path, mr: Path, tmp_path: Path) -> Path:
    """The folder of an archive with two instances."""
    data = tmp_path / "which data? #1, 100%41"
    assert dimse("node", "import", "--data", data, ct, mr).code == 0
    return data


def test_the_index_is_built_anew(dimse: Run, data: Path) -> None:
    (data / "index.sqlite").unlink()
    done = dimse("node", "reindex", "--data", data)
    assert done.code == 0
    assert done.out.startswith("2 instances indexed: ")
    lost = "events, jobs, and instances that were imported in place, are missing"
    assert done.err == f"dimse: there is no old index: {lost}\n"
    assert dimse("node", "verify", "--digests", "--data", data).code == 0
    done = dimse("node", "reindex", "--data", data, "--json")
    (summary,) = done.lines
    assert (done.err, summary["indexed"], summary["problem"]) == ("", 2, None)


def test_an_index_that_has_become_an_empty_file(dimse: Run, data: Path) -> None:
    (data / "index.sqlite").write_bytes(b"")
    done = dimse("node", "stats", "--data", data)
    assert (done.code, "has instances, but an empty index.sqlite; dimse node reindex" in done.err) == (1, True)
    done = dimse("node", "reindex", "--data", data)
    assert done.code == 0
    assert done.out.startswith("2 instances indexed: ")
    assert "there is no old index" in done.err
    assert dimse("node", "verify", "--digests", "--data", data).code == 0


def test_what_cannot_be_indexed_is_told(dimse: Run, data: Path) -> None:
    stray = min((data / "studies").rglob("*.dcm")).with_name("x.dcm")
    stray.write_bytes(b"no instance")
    done = dimse("node", "reindex", "--data", data)
    assert done.code == 1
    assert f"failed: {stray.relative_to(data)}: not a DICOM file" in done.err


def test_a_file_that_is_damaged_is_told(dimse: Run, data: Path) -> None:
    file = min((data / "studies").rglob("*.dcm"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    done = dimse("node", "reindex", "--data", data)
    assert done.code == 1
    assert f"damaged: {file.relative_to(data)}: " in done.err
    assert done.out.startswith("1 instance indexed, 1 damaged: ")


def test_the_node_must_be_stopped(dimse: Run, data: Path) -> None:
    with served(data):
        done = dimse("node", "reindex", "--data", data)
    assert (done.code, done.err) == (1, f"dimse: {data}: a node serves from this folder; stop it first\n")


def test_a_folder_in_the_place_of_the_index_is_told(dimse: Run, data: Path) -> None:
    (data / "index.sqlite").unlink()
    (data / "index.sqlite").mkdir()
    done = dimse("node", "reindex", "--data", data)
    why = "is a folder, where the index belongs; move it away"
    assert (done.code, done.err) == (1, f"dimse: {data / 'index.sqlite'}: {why}\n")


def test_progress_at_a_terminal(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    with monkeypatch.context() as patched:
        patched.setattr("sys.stderr", terminal)
        assert app.run(["node", "reindex", "--data", str(data)]) == 0
    assert "2/2 files" in terminal.getvalue()


def test_wrong_usage(dimse: Run, tmp_path: Path) -> None:
    done = dimse("node", "reindex", "--data", tmp_path / "none")
    assert (done.code, done.out) == (2, "")
    assert "no archive in" in done.err
    assert not (tmp_path / "none").exists()
