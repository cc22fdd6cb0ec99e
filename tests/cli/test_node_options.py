"""The options that `dimse node` and the commands below it share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dimse.cli.node_options import read
from dimse.cli.parser import ConfigurationError, UsageError


def test_without_a_file_everything_is_usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    options = read(None, None)
    assert options.data == tmp_path / "dimse" / "node"
    assert options.web is not None
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read(None, None).data == tmp_path / ".local" / "share" / "dimse" / "node"


def test_the_file_in_the_data_folder_or_the_one_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text('[node]\nae_title = "A"\n')
    (tmp_path / "other.toml").write_text('[node]\nae_title = "B"\ndata = "other"\n')
    assert read(tmp_path, None).ae_title == "A"
    other = read(None, tmp_path / "other.toml")
    assert (other.ae_title, other.data) == ("B", tmp_path / "other")
    assert read(tmp_path / "third", tmp_path / "other.toml").data == tmp_path / "third"


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.toml: No such file"):
        read(tmp_path, tmp_path / "none.toml")


def test_the_extra_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dimse.cli.node_options.find_spec", lambda name: None if name == "alembic" else object())
    with pytest.raises(UsageError, match=r'needs alembic; install it with: pip install "dimse\[node\]"'):
        read(None, None)


def test_postgresql_needs_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "node.toml").write_text('[index]\nurl = "postgresql://dimse@db/archive"\n')
    assert read(tmp_path, None).index == "postgresql://dimse@db/archive"
    monkeypatch.setattr("dimse.cli.node_options.find_spec", lambda name: None if name == "psycopg" else object())
    with pytest.raises(UsageError, match="needs psycopg"):
        read(tmp_path, None)


def test_help_needs_nothing_of_the_extra() -> None:
    """So that completion, man pages and the help of `dimse node` are there for those who have not installed it."""
    code = (
        "import sys\n"
        "for name in ('sqlalchemy', 'alembic', 'msgspec', 'starlette', 'uvicorn', 'prometheus_client', 'psycopg'):\n"
        "    sys.modules[name] = None\n"
        "from dimse.cli.app import make_parser\n"
        "make_parser()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603 - our own
    assert (done.returncode, done.stderr) == (0, "")
