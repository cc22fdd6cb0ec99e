"""Files are forced to the disk, one by one or all at once."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import pytest

from dimse.node import forcing


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = [tmp_path / str(number) for number in range(3)]
    for each in made:
        each.write_bytes(b"content")
    return made


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The files, as inodes, for which the system was asked one by one."""
    asked: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: asked.append(os.fstat(descriptor).st_ino))
    return asked


def test_each_file_where_the_system_has_nothing_better(
    files: list[Path], forced: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forcing, "_SYNCFS", None)
    forcing.force(files)
    assert forced == [each.stat().st_ino for each in files]


def test_the_whole_file_system_at_once(files: list[Path], forced: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    devices: list[int] = []

    def syncfs(descriptor: int) -> int:
        devices.append(os.fstat(descriptor).st_dev)
        return 0

    monkeypatch.setattr(forcing, "_SYNCFS", syncfs)
    forcing.force(files)
    assert (forced, devices) == ([], [files[0].stat().st_dev])
    forcing.force([])
    assert len(devices) == 1


def test_a_failure_is_told(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forcing, "_SYNCFS", lambda _: -1)
    monkeypatch.setattr(ctypes, "get_errno", lambda: errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        forcing.force(files)


def test_with_the_system_as_it_is(files: list[Path]) -> None:
    forcing.force(files)
