"""What is opened as the file of an instance, and what is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dimse.node.opening import NotAFile, open_file


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(b"instance")
    link = tmp_path / "link"
    link.symlink_to(path)
    for each in (path, str(path), link):
        with open_file(each) as file:
            assert file.read() == b"instance"


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.dcm"
    if kind == "pipe":
        os.mkfifo(path)  # nobody writes into it, so that opening it would wait
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(NotAFile, match="not a file") as raised:
        open_file(path)
    assert raised.value.filename == str(path)


def test_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        open_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "missing")
