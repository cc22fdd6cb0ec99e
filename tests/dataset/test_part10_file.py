"""A received file is complete or absent."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dimse.dataset import part10_file
from dimse.dataset.folders import TEMPORARY_NAME
from dimse.dataset.part10_file import Part10File

if TYPE_CHECKING:
    from collections.abc import Sequence


def views(*parts: bytes) -> list[memoryview]:
    return [memoryview(part) for part in parts]


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("fsync", [True, False])
def test_a_file_is_there_when_it_is_committed(tmp_path: Path, fsync: bool) -> None:
    path = tmp_path / "a" / "b" / "c.dcm"
    file = Part10File(str(tmp_path), b"HEAD", fsync=fsync)
    file.write(views(b"123", b"", b"45"))
    file.write([])
    assert not path.exists()
    (temporary,) = os.listdir(tmp_path)  # noqa: PTH208 - hidden ones too
    assert TEMPORARY_NAME.fullmatch(temporary)
    file.commit("a/b/c.dcm")
    assert path.read_bytes() == b"HEAD12345"
    assert left(tmp_path) == ["a/b/c.dcm"]
    file.discard()
    assert left(tmp_path) == ["a/b/c.dcm"]


def test_discard_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "c.dcm"
    path.write_bytes(b"old")
    file = Part10File(str(tmp_path), b"HEAD")
    file.write(views(b"new"))
    file.discard()
    file.discard()
    assert left(tmp_path) == ["c.dcm"]
    assert path.read_bytes() == b"old"
    with pytest.raises(ValueError, match="committed or discarded"):
        file.write(views(b"more"))
    with pytest.raises(ValueError, match="committed or discarded"):
        file.commit("c.dcm")


def test_a_name_that_is_taken_is_not_given(tmp_path: Path) -> None:
    first, second, third = (Part10File(str(tmp_path), head) for head in (b"1", b"22", b"3"))
    first.write(views(b"same"))
    second.write(views(b"same"))
    assert first.commit("c.dcm")
    assert not second.commit("c.dcm")
    assert not third.commit("c.dcm")
    for file, same in ((second, True), (third, False)):
        with (tmp_path / "c.dcm").open("rb") as there:
            there.seek(1)
            assert file.is_same_as(there) is same
    assert (tmp_path / "c.dcm").read_bytes() == b"1same"
    assert not second.take("c.dcm")
    assert second.take("d.dcm")
    assert third.take("c.dcm", replace=True)
    assert (tmp_path / "c.dcm").read_bytes() == b"3"
    assert left(tmp_path) == ["c.dcm", "d.dcm"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP])
def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", link)
    first, second = (Part10File(str(tmp_path), head) for head in (b"1", b"2"))
    assert first.commit("c.dcm")
    assert not second.commit("c.dcm")
    second.discard()
    assert (tmp_path / "c.dcm").read_bytes() == b"1"
    assert left(tmp_path) == ["c.dcm"]


def test_everything_is_on_the_disk_before_the_name_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, link = os.fsync, os.link

    def noted_fsync(descriptor: int) -> None:
        calls.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def noted_link(path: str, target: str, **folders: Any) -> None:
        calls.append("name")
        link(path, target, **folders)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "link", noted_link)
    Part10File(str(tmp_path), b"1").commit("a/b/c.dcm")
    assert calls[0].endswith(".part")
    assert calls[1:] == ["name", "b", "a", tmp_path.name]
    calls.clear()
    Part10File(str(tmp_path), b"1").commit("a/b/d.dcm")
    assert calls[1:] == ["name", "b"]
    calls.clear()
    Part10File(str(tmp_path), b"1", fsync=False).commit("e.dcm")
    assert calls == ["name"]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 10**6])
def test_partial_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    def writev(descriptor: int, buffers: Sequence[memoryview]) -> int:
        assert len(buffers) <= 1024
        return os.write(descriptor, b"".join(buffers)[:step])

    monkeypatch.setattr(os, "writev", writev)
    parts = [b"x" * (i % 5) + bytes([i % 251]) * (i % 3) for i in range(1500)]
    file = Part10File(str(tmp_path), b"HEAD")
    file.write(views(*parts))
    file.commit("c.dcm")
    assert (tmp_path / "c.dcm").read_bytes() == b"HEAD" + b"".join(parts)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Part10File(str(tmp_path), b"HEAD")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(OSError, match="No space"):
        file.write(views(b"123"))
    file.discard()
    assert left(tmp_path) == []
    with pytest.raises(OSError, match="No space"):
        Part10File(str(tmp_path), b"HEAD").commit("d.dcm")
    assert left(tmp_path) == []


@pytest.mark.parametrize("call", ["fsync", "close"])
def test_a_commit_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    file = Part10File(str(tmp_path), b"HEAD")
    close = os.close

    def fail(descriptor: int) -> None:
        if call == "close":
            close(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="Input/output"):
            file.commit("c.dcm")
    assert left(tmp_path) == []


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "c.dcm").mkdir()
    file = Part10File(str(tmp_path), b"HEAD")
    assert not file.commit("c.dcm")
    file.discard()
    assert left(tmp_path) == []


def test_a_plain_write_where_there_is_no_writev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.delattr(os, "writev")
    spec = importlib.util.spec_from_file_location(
        "part10_file_without_writev", Path(part10_file.__file__).with_name("part10_file.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:2]))
    file = module.Part10File(str(tmp_path), b"HEAD")
    file.write(views(b"123", b"", b"45678"))
    file.commit("c.dcm")
    assert (tmp_path / "c.dcm").read_bytes() == b"HEAD12345678"
