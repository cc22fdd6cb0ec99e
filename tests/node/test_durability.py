"""What is committed is on the disk: the content of each file, and a name of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import delete
from tests.node.archives import put_in, save_all
from tests.node.ingesting import storing
from tests.node.rows import member
from tests.sample_objects import instance

from dimse import Status
from dimse.node import forcing
from dimse.node.importing import Importer
from dimse.node.incoming import IncomingFolder
from dimse.node.index import Index
from dimse.node.options import NodeOptions
from dimse.node.recovering import recover_alone
from dimse.node.schema import study


class Disk:
    """What was forced to the disk, and what was not when it was committed that it is stored."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._contents: dict[int, int] = {}
        """How much of a file was forced, by its number."""
        self._named: set[int] = set()
        """The files that were in a folder when that was forced."""
        self.stored: set[Path] = set()
        self.unsafe: set[Path] = set()

    def fsync(self, descriptor: int) -> None:
        """In place of that of the system."""
        found = os.fstat(descriptor)
        self._contents[found.st_ino] = found.st_size
        for folder in (self._data / "incoming").glob("*"):
            if folder.stat().st_ino == found.st_ino:
                self._named |= {each.inode() for each in os.scandir(folder)}

    def look(self) -> None:
        """Look at all files that have their place, as they are about to be committed."""
        for path in (self._data / "studies").rglob("*.dcm"):
            found = path.stat()
            self.stored.add(path)
            if self._contents.get(found.st_ino) != found.st_size or found.st_ino not in self._named:
                self.unsafe.add(path)


@pytest.fixture
def disk(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    made, commit = Disk(tmp_path / "data"), index.engine.dialect.do_commit

    def do_commit(connection: object) -> None:
        made.look()
        commit(connection)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", made.fsync)
    monkeypatch.setattr(forcing, "_SYNCFS", None)
    monkeypatch.setattr(index.engine.dialect, "do_commit", do_commit)
    return made


@pytest.fixture
def options(tmp_path: Path) -> NodeOptions:
    return NodeOptions(data=tmp_path / "data")


async def test_what_is_received(index: Index, tmp_path: Path, disk: Disk) -> None:
    """One after another, several at once, and one so large that it does not wait for the others."""
    sent = [instance(f"1.2.3.{number}", pixels=5_000_000 if number == 7 else 400) for number in range(12)]
    async with storing(index, tmp_path / "data", fsync=True) as archive:
        assert await archive.send(*sent[:4]) == [Status.SUCCESS] * 4
        assert await archive.send_at_once(*sent[4:]) == [Status.SUCCESS] * 8
    assert (len(disk.stored), disk.unsafe) == (12, set())


def imported(index: Index, options: NodeOptions, folder: Path) -> None:
    put_in(index, options, folder)


def taken(index: Index, options: NodeOptions, folder: Path) -> None:
    with Importer(index, options) as importer:
        assert len(list(importer.take(sorted(folder.iterdir())))) == 3


def recovered(index: Index, options: NodeOptions, folder: Path) -> None:
    """A process was killed before it had forced them."""
    left = IncomingFolder(options.data)
    for file in folder.iterdir():
        file.rename(left.new_path())
    left.close()
    recover_alone(index, options)


def adopted(index: Index, options: NodeOptions, folder: Path) -> None:
    put_in(index, options, folder)
    with index.writing() as connection:
        connection.execute(delete(study))
    with Importer(index, options) as importer:
        for file in sorted((options.data / "studies").rglob("*.dcm")):
            assert importer.adopt(file.relative_to(options.data).as_posix()).error is None


@pytest.mark.parametrize("way", [imported, taken, recovered, adopted])
def test_what_comes_otherwise(
    way: Callable[[Index, NodeOptions, Path], None], index: Index, options: NodeOptions, tmp_path: Path, disk: Disk
) -> None:
    save_all(tmp_path / "a", [member("1.2", "1", number) for number in range(3)])
    way(index, options, tmp_path / "a")
    assert (len(disk.stored), disk.unsafe) == (3, set())
