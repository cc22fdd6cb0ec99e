"""The spool on the disk: queues of hard links, their order, and what a killed process leaves."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dimse.dataset import spool as module
from dimse.dataset.spool import Contents, Count, Spool, folder_name


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """An open spool with the queues a and b."""
    spool = Spool(tmp_path / "spool")
    spool.open(["a", "b"])
    yield spool
    spool.close()


def put(spool: Spool, content: bytes, *queues: str) -> None:
    arrival = spool.arriving()
    Path(arrival.path).write_bytes(content)
    assert arrival.size == len(content)
    spool.put(arrival, queues or ["a", "b"])


def waiting(spool: Spool, queue: str, most: int = 100) -> list[bytes]:
    return [Path(path).read_bytes() for path, _ in spool.first(queue, most, 2**40)]


def files_of(spool: Spool) -> list[str]:
    return sorted(str(path.relative_to(spool.root)) for path in Path(spool.root).rglob("*") if path.is_file())


def test_a_file_is_in_each_of_its_queues_once_on_the_disk(spool: Spool) -> None:
    put(spool, b"first")
    put(spool, b"second", "b")
    assert waiting(spool, "a") == [b"first"]
    assert waiting(spool, "b") == [b"first", b"second"]
    assert len({Path(spool.first(queue, 1, 1)[0].path).stat().st_ino for queue in "ab"}) == 1
    assert files_of(spool) == [
        "lock",
        "waiting/a/000000000/000000000001.dcm",
        "waiting/b/000000000/000000000001.dcm",
        "waiting/b/000000000/000000000002.dcm",
    ]


def test_a_file_is_on_the_disk_before_it_has_a_name_and_the_names_after(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, at_link, real_sync, real_link = list[int](), list[list[int]](), os.fsync, os.link

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        real_sync(descriptor)

    def link(*given: Any, **more: Any) -> None:
        at_link.append(list(synced))
        real_link(*given, **more)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    put(spool, b"first")
    paths = [Path(spool.first(queue, 1, 1)[0].path) for queue in "ab"]
    assert [paths[0].stat().st_ino in synced for synced in at_link] == [True, True]
    assert {path.parent.stat().st_ino for path in paths} <= set(synced)


@pytest.mark.parametrize("error", [errno.EPERM, errno.EMLINK])
def test_a_file_system_without_links_gets_copies(spool: Spool, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "link", link)
    put(spool, b"copied")
    assert (waiting(spool, "a"), waiting(spool, "b")) == ([b"copied"], [b"copied"])
    assert not [name for name in files_of(spool) if "arriving" in name]


def test_a_file_from_elsewhere_is_linked_and_stays_there(spool: Spool, tmp_path: Path) -> None:
    given = tmp_path / "given.dcm"
    given.write_bytes(b"given")
    arrival = spool.arriving()
    spool.bring(given, arrival)
    spool.put(arrival, ["a", "b"])
    assert given.stat().st_nlink == 3
    assert given.stat().st_ino == Path(spool.first("a", 1, 1)[0].path).stat().st_ino


def test_a_file_of_another_file_system_is_copied(spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, given = os.link, tmp_path / "given.dcm"
    given.write_bytes(b"given")

    def link(source: str, target: str, **more: Any) -> None:
        if str(source) == str(given):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        real(source, target, **more)

    monkeypatch.setattr(os, "link", link)
    arrival = spool.arriving()
    spool.bring(given, arrival)
    spool.put(arrival, ["a"])
    assert waiting(spool, "a") == [b"given"]
    assert given.stat().st_nlink == 1


def test_a_batch_ends_at_a_number_of_files_or_of_bytes(spool: Spool) -> None:
    for number in range(10):
        put(spool, b"%d" % number * 100, "a")
    assert waiting(spool, "a", most=3) == [b"0" * 100, b"1" * 100, b"2" * 100]
    assert [size for _, size in spool.first("a", 100, 250)] == [100, 100, 100]
    assert [size for _, size in spool.first("a", 100, 1)] == [100]


def test_a_long_queue_is_not_listed_beyond_its_beginning(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOLDER_SIZE", 4)
    for number in range(10):
        put(spool, b"%d" % number, "a")
    queue = Path(spool.root, "waiting", "a")
    assert sorted(os.listdir(queue)) == ["000000000", "000000001", "000000002"]  # noqa: PTH208
    (queue / "000000009").write_text("opening it as a folder would fail")
    assert waiting(spool, "a", most=5) == [b"0", b"1", b"2", b"3", b"4"]
    for path, _ in spool.first("a", 5, 100):
        spool.remove(path)
    (queue / "000000009").unlink()
    assert waiting(spool, "a") == [b"5", b"6", b"7", b"8", b"9"]
    assert sorted(os.listdir(queue)) == ["000000001", "000000002"]  # noqa: PTH208 - an empty one is gone


def test_the_order_goes_on_after_a_restart(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOLDER_SIZE", 4)
    for number in range(6):
        put(spool, b"%d" % number)
    Path(spool.root, "arriving-7.dcm").write_bytes(b"half")
    spool.close()
    again = Spool(spool.root)
    try:
        assert again.open(["a"]) == {"a": Contents(Count(6, 6), Count())}
        put(again, b"6", "a")
        assert waiting(again, "a") == [b"%d" % number for number in range(7)]
        assert again.queues() == ["a", "b"]
        assert not [name for name in files_of(again) if "arriving" in name]
    finally:
        again.close()


def test_only_one_process_uses_a_spool(spool: Spool) -> None:
    with pytest.raises(OSError, match="another process forwards from this spool") as raised:
        Spool(spool.root).open(["a"])
    assert raised.value.filename == spool.root
    spool.close()
    again = Spool(spool.root)
    again.open(["a"])
    again.close()


def test_a_failed_put_leaves_nothing_in_any_queue(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def link(source: str, target: str, **more: Any) -> None:
        if link_count.pop():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target, **more)

    link_count = [True, False]
    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OSError, match="No space left"):
        put(spool, b"given")
    assert files_of(spool) == ["lock"]


def test_what_is_set_aside_has_its_reason_and_can_return_to_its_place(spool: Spool) -> None:
    for number in range(3):
        put(spool, b"%d" % number, "a")
    spool.fail(spool.first("a", 1, 1)[0].path, {"error": "0xC000"})
    assert waiting(spool, "a") == [b"1", b"2"]
    assert spool.contents("a") == Contents(Count(2, 2), Count(1, 1))
    folder = Path(spool.root, "failed", "a", "000000000")
    assert json.loads((folder / "000000000001.json").read_text()) == {"error": "0xC000"}
    assert spool.retry("a") == Count(1, 1)
    assert waiting(spool, "a") == [b"0", b"1", b"2"]
    assert list(folder.iterdir()) == []


def test_what_somebody_removes_is_not_missed(spool: Spool) -> None:
    put(spool, b"0", "a")
    path = spool.first("a", 1, 1)[0].path
    spool.remove(path)
    spool.remove(path)
    assert waiting(spool, "a") == []


def test_names_of_queues_are_safe_as_names_of_folders() -> None:
    assert folder_name("archive-1") == "archive-1"
    for name in ("ARCHIVE@pacs:104", "../x", "a/b", "."):
        folder = folder_name(name)
        assert folder not in ("", ".", "..")
        assert "/" not in folder
        assert ":" not in folder
        assert folder_name(folder) == folder


def test_what_somebody_else_put_into_a_queue_holds_up_nothing(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    folder = root / "waiting" / "a" / "000000000"
    folder.mkdir(parents=True)
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "000000000001.dcm")
    (folder / "000000000002.dcm").symlink_to(folder / "000000000002.dcm")
    (folder / "000000000003.dcm").symlink_to(__file__)
    (folder / "000000000004.dcm").mkdir()
    (folder.parent / "000000005").write_bytes(b"not a folder")
    (root / "waiting" / "notes").write_bytes(b"not a queue")
    (root / "arriving-by-hand").mkdir()
    spool = Spool(root)
    assert spool.open(["a"])["a"].waiting == Count()
    put(spool, b"an instance", "a")
    assert waiting(spool, "a") == [b"an instance"]
    assert spool.queues() == ["a"]
    spool.close()
