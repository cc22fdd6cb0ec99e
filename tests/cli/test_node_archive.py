"""What is said of an archive that is missing, in use, or damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dimse.cli.node_archive import Use, opened
from dimse.node.data_folder import alone

Run = Callable[..., Any]


def test_no_archive(dimse: Run, tmp_path: Path) -> None:
    done = dimse("node", "stats", "--data", tmp_path / "none")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"dimse: there is no archive in {tmp_path / 'none'}; name its folder with --data\n"
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "command",
    [
        *("", "--check", "stats", "events", "verify", "reindex", "backup x", "delete --yes 1.2"),
        *("import x", "import --from A@localhost:1"),
    ],
)
def test_a_data_folder_that_is_a_file(dimse: Run, tmp_path: Path, command: str) -> None:
    file = tmp_path / "file"
    file.touch()
    done = dimse("node", *command.split(), "--data", file)
    assert (done.code, done.err) == (2, f"dimse: the data folder {file} is not a folder\n")


def test_an_index_that_is_no_database(dimse: Run, tmp_path: Path) -> None:
    (tmp_path / "index.sqlite").write_bytes(b"SECRET" * 1000)
    done = dimse("node", "stats", "--data", tmp_path, "--json")
    assert done.code == 1
    why = f"the index {tmp_path / 'index.sqlite'} cannot be used: file is not a database"
    assert done.err == f"dimse: {why}; dimse node reindex rebuilds it\n"
    assert done.lines[-1]["event"] == "error"


@pytest.mark.parametrize("command", ["--web off --port 0", "stats", "verify", "backup x", "import x"])
def test_an_index_that_is_lost_is_not_made_empty(dimse: Run, tmp_path: Path, ct: Path, command: str) -> None:
    assert dimse("node", "import", "--data", tmp_path, ct).code == 0
    for each in tmp_path.glob("index.sqlite*"):
        each.unlink()
    done = dimse("node", *command.split(), "--data", tmp_path)
    said = f"{tmp_path}: has instances, but no index.sqlite; dimse node reindex rebuilds it"
    assert (done.code, done.err) == (1, f"dimse: {said}\n")
    assert not (tmp_path / "index.sqlite").exists()


def test_a_wrong_configuration(dimse: Run, tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text("[nod]\n")
    done = dimse("node", "stats", "--data", tmp_path)
    assert done.code == 2
    assert "node.toml" in done.err


def test_who_changes_it_waits_for_who_is_alone(tmp_path: Path) -> None:
    with opened(tmp_path, None, Use.MAKE):
        pass
    with alone(tmp_path):
        with opened(tmp_path, None):
            pass
        with pytest.raises(OSError, match="being rebuilt"), opened(tmp_path, None, Use.CHANGE):
            pass
