"""Files of instances on their way, and the folders and locks of processes."""

from __future__ import annotations

import errno
from hashlib import sha256
from pathlib import Path

import pytest

from dimse.dataset import folders
from dimse.dataset.file_writer import Disk
from dimse.node.incoming import PREPARED, IncomingFile, IncomingFolder, abandoned


@pytest.fixture
def folder(tmp_path: Path) -> IncomingFolder:
    return IncomingFolder(tmp_path)


async def test_a_file_has_what_was_written_and_the_digest_of_its_data_set(folder: IncomingFolder) -> None:
    file = IncomingFile(folder, b"head", Disk())
    for _ in range(100):
        await file.write(b"data set")
    file.force()
    file.close()
    assert folder.path.joinpath("0.dcm").read_bytes() == b"head" + b"data set" * 100
    assert (file.offset, file.size) == (4, 804)
    assert file.digest == sha256(b"data set" * 100).digest()
    folder.close()


def test_its_own_name_is_on_the_disk_and_those_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[str] = []
    monkeypatch.setattr(folders, "sync_path", forced.append)
    IncomingFolder(tmp_path / "data").close()
    assert forced == [str(tmp_path / "data" / "incoming"), str(tmp_path / "data")]


async def test_a_discarded_file_is_gone(folder: IncomingFolder) -> None:
    file = IncomingFile(folder, b"head", Disk())
    await file.discard()
    await file.write(b"data set")
    await file.discard()
    folder.close()
    assert not folder.path.exists()


def test_the_files_of_a_process_are_taken_over_when_it_has_ended(tmp_path: Path) -> None:
    folder = IncomingFolder(tmp_path)
    left = Path(folder.new_path())
    left.write_bytes(b"left")
    with abandoned(tmp_path) as files:
        assert files == [], "its process has not ended"
    folder.close()
    with abandoned(tmp_path) as files:
        assert files == [left]
        with abandoned(tmp_path) as others:
            assert others == [], "they are taken over by one process"
    assert left.exists()
    left.unlink()
    with abandoned(tmp_path) as files:
        assert files == []
    assert list((tmp_path / "incoming").iterdir()) == []


def test_files_that_were_made_in_advance_are_none_that_is_left(tmp_path: Path) -> None:
    folder = IncomingFolder(tmp_path)
    folder.prepare()
    assert len(list(folder.path.glob("*.dcm"))) == PREPARED
    folder._prepared.clear()  # as if the process had ended
    folder.close()
    with abandoned(tmp_path) as files:
        assert files == []
    assert not folder.path.exists()


def test_the_room_that_stays_free(tmp_path: Path) -> None:
    folder = IncomingFolder(tmp_path, minimum_free=2**62)
    with pytest.raises(OSError, match="nearly full") as raised:
        folder.open_new()
    assert raised.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="nearly full"):
        folder.try_to_write()
    folder.close()
    assert list((tmp_path / "incoming").iterdir()) == []
