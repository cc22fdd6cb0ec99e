"""Folders of received files: no link is followed, nothing empty is left, and only dead files are swept."""

from __future__ import annotations

import errno
import fcntl
import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from dimse.dataset import folders
from dimse.dataset.folders import Folder
from dimse.dataset.part10_file import Part10File

DEAD = ".dimse-0123456789abcdef-1f-0.part"
ALIVE = ".dimse-0123456789abcdef-2f-0.part"
OURS_NOT = [".part", "a.part", ".dimse-0123456789abcdef-1f-0.part_", "x" + DEAD, ".dimse-xyz-1-0.part", "1.2.3.dcm"]


def content(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))  # noqa: PTH208 - hidden ones too


def without_descriptors(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module as it is on a system that cannot name a file by its folder's descriptor, nor lock one."""
    monkeypatch.setattr(os, "supports_dir_fd", set())
    monkeypatch.setitem(sys.modules, "fcntl", None)
    spec = importlib.util.spec_from_file_location("folders_on_windows", Path(folders.__file__).with_name("folders.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.undo()
    return module


# Sweeping


def test_files_of_dead_processes_are_swept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Those of living ones are not, nor what only looks like one."""
    for name in (DEAD, ALIVE, *OURS_NOT):
        (tmp_path / name).write_bytes(b"half")
    folder, link = ".dimse-0123456789abcdef-3f-0.part", ".dimse-0123456789abcdef-4f-0.part"
    pipe, below = ".dimse-0123456789abcdef-5f-0.part", tmp_path / "study" / DEAD
    (tmp_path / folder).mkdir()
    (tmp_path / link).symlink_to(tmp_path / "1.2.3.dcm")
    os.mkfifo(tmp_path / pipe)
    below.parent.mkdir()
    below.write_bytes(b"not where we write")
    writing = Part10File(str(tmp_path), b"HEAD")
    holder = subprocess.Popen(  # noqa: S603 - another process, whose lock ends with it
        [
            *(sys.executable, "-c"),
            "import fcntl, sys; f = open(sys.argv[1], 'rb+'); fcntl.flock(f, 2); print(flush=True); input()",
            str(tmp_path / ALIVE),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder:
        holder.stdout.readline()
        before = content(tmp_path)
        assert folders.prepare(str(tmp_path)) == []
        assert set(before) - set(content(tmp_path)) == {DEAD}
        assert "removed 1 unfinished file" in caplog.text
        holder.kill()
    caplog.clear()
    folders.prepare(str(tmp_path))  # once per process
    assert ALIVE in content(tmp_path)
    folders.forget(str(tmp_path))
    folders.prepare(str(tmp_path))
    assert set(before) - set(content(tmp_path)) == {DEAD, ALIVE}
    assert caplog.record_tuples == [("dimse.storage", logging.WARNING, "removed 1 unfinished file of ended receivers")]
    assert below.exists()
    assert writing.commit("1.2.4.dcm")


def test_a_sweep_between_creating_a_file_and_locking_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process starts just then: the file gets another name."""
    flock, calls = fcntl.flock, list[int]()

    def slow(descriptor: int, how: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:  # it is gone
            (tmp_path / content(tmp_path)[0]).unlink()
        elif len(calls) == 2:  # it is being looked at
            raise BlockingIOError(errno.EAGAIN, "locked")
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    file = Part10File(str(tmp_path), b"HEAD")
    assert len(calls) == 3
    assert len(content(tmp_path)) == 1
    assert file.commit("a.dcm")
    assert content(tmp_path) == ["a.dcm"]


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are written, and none is swept."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / DEAD).write_bytes(b"half")
    folders.prepare(str(tmp_path))
    assert Part10File(str(tmp_path), b"HEAD").commit("a.dcm")
    assert content(tmp_path) == [DEAD, "a.dcm"]


# Links


def test_a_link_below_the_root_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (outside / "series").mkdir(parents=True)
    (root / "study").mkdir(parents=True)
    (root / "linked").symlink_to(outside)
    (root / "study" / "linked").symlink_to("..")
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    (root / "file").write_bytes(b"")
    before = sorted(tmp_path.rglob("*"))
    for Kind in (Folder, without_descriptors(monkeypatch).Folder):  # noqa: N806 - a class
        for parts in (["linked"], ["linked", "series"], ["linked", "new"], ["study", "linked"], ["dangling", "new"]):
            with pytest.raises(OSError, match="a folder below it is a symbolic link") as caught:
                Kind(str(root), parts)
            assert caught.value.errno == errno.ELOOP, parts
        assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(NotADirectoryError):
        Folder(str(root), ["file", "new"])
    (tmp_path / "root link").symlink_to(root)
    Folder(str(tmp_path / "root link"), ["study", "new"]).close()
    assert (root / "study" / "new").is_dir()


def test_a_file_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    folder = Folder(str(tmp_path), [])
    for name in ("link", "folder", "pipe"):
        assert folder.open(name) is None, name
    with pytest.raises(FileNotFoundError):
        folder.open("nothing")
    descriptor = folder.open("file")
    assert descriptor is not None
    os.close(descriptor)
    folder.close()


def test_without_descriptors_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows: by paths, which are resolved."""
    module = without_descriptors(monkeypatch)
    root = tmp_path / "root"
    assert module.prepare(str(root)) == [str(root)]
    (root / DEAD).write_bytes(b"half")
    module.forget(str(root))
    assert module.prepare(str(root)) == []
    assert content(root) == []
    for name in ("t1", "t2", "t3"):
        (root / name).write_bytes(name.encode())
    folder = module.Folder(str(root), ["a", "b"])
    folder.link("t1", "one")
    folder.unlink_temporary("t1")
    folder.rename("t2", "two", replace=False)
    with pytest.raises(FileExistsError):
        folder.rename("t3", "two", replace=False)
    folder.rename("t3", "two", replace=True)
    assert folder.has("two")
    assert not folder.has("three")
    folder.sync()
    folder.unlink("one")
    assert (root / "a" / "b" / "two").read_bytes() == b"t3"
    folder.remove_if_empty()
    folder.unlink("two")
    folder = module.Folder(str(root), ["a", "b", "c"])
    folder.remove_if_empty()
    folder.close()
    assert content(root / "a" / "b") == []


# Empty folders


def test_only_folders_that_were_made_and_are_empty_are_removed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    folder = Folder(str(tmp_path), ["there", "study", "series"])
    other = Folder(str(tmp_path), ["there", "study", "other"])
    folder.remove_if_empty()
    folder.close()
    assert content(tmp_path / "there" / "study") == ["other"]
    other.remove_if_empty()
    other.close()
    assert content(tmp_path / "there" / "study") == []


def test_a_folder_that_another_store_removes_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between making it, opening it and using it, as long as that store does so now and then only."""
    mkdir, link = os.mkdir, os.link
    removals = [2, 1]

    def mkdir_and_lose(path: str, *mode: int, dir_fd: int | None = None) -> None:
        mkdir(path, *mode, dir_fd=dir_fd)
        if removals[0]:
            removals[0] -= 1
            os.rmdir(path, dir_fd=dir_fd)

    def lose_and_link(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if removals[1]:
            removals[1] -= 1
            (tmp_path / "study" / "series").rmdir()
            (tmp_path / "study").rmdir()
        link(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "mkdir", mkdir_and_lose)
    monkeypatch.setattr(os, "link", lose_and_link)
    assert Part10File(str(tmp_path), b"HEAD").commit("study/series/a.dcm")
    assert removals == [0, 0]
    assert (tmp_path / "study" / "series" / "a.dcm").read_bytes() == b"HEAD"
    monkeypatch.undo()
    monkeypatch.setattr(os, "mkdir", mkdir_and_lose)
    removals[0] = 1000
    with pytest.raises(FileNotFoundError):
        Part10File(str(tmp_path), b"HEAD").commit("study/other/a.dcm")
    assert content(tmp_path) == ["study"]
    assert content(tmp_path / "study") == ["series"]


def test_a_root_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "a" / "b"
    made = folders.prepare(str(root))
    assert made == [str(root.parent), str(root)]
    assert folders.is_prepared(str(root))
    folders.remove_empty(str(root), made)
    assert content(tmp_path) == []
    assert not folders.is_prepared(str(root))
    mkdir = os.mkdir

    def full(path: str, *mode: int) -> None:
        if Path(path).name == "b":
            raise OSError(errno.ENOSPC, "full")
        mkdir(path, *mode)

    monkeypatch.setattr(os, "mkdir", full)
    with pytest.raises(OSError, match="full"):
        folders.prepare(str(root))
    assert content(tmp_path) == []
    assert not folders.is_prepared(str(root))


def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    folders._prepared.update(str(number) for number in range(folders.MAX_REMEMBERED))
    folders.prepare(str(tmp_path))
    assert folders.is_prepared(str(tmp_path))
    assert len(folders._prepared) <= folders.MAX_REMEMBERED
