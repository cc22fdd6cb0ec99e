"""Secrets from files; `test_identity_options.py` has those from terminals and pipes."""

from __future__ import annotations

from pathlib import Path

import pytest

from dimse.cli import secrets
from dimse.cli.parser import UsageError


def test_a_password_has_no_line_break(tmp_path: Path) -> None:
    for content, expected in ((b"a b \r\n", b"a b "), (b"a\n\n", b"a\n"), (b"\xff", b"\xff")):
        (tmp_path / "password").write_bytes(content)
        assert secrets.password("me", "--password-file", str(tmp_path / "password")) == expected
        assert secrets.read("--saml-file", str(tmp_path / "password")) == content
    (tmp_path / "password").write_bytes(b"\n")
    with pytest.raises(UsageError, match="the password must not be empty"):
        secrets.password("me", "--password-file", str(tmp_path / "password"))


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(bytes(2 * secrets.MAXIMUM))
    assert len(secrets.read("--jwt-file", str(tmp_path / "long"))) == secrets.MAXIMUM


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"^--jwt-file {tmp_path}: Is a directory$"):
        secrets.read("--jwt-file", str(tmp_path))
