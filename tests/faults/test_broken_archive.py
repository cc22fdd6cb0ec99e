"""An archive on a disk that fails or is full: never Success for what is not stored, nothing half, and it recovers."""

from __future__ import annotations

import errno
import os
from itertools import count
from pathlib import Path

import pytest
from tests.faults.failing_files import ABSORBED, FailingFiles
from tests.node.ingesting import Archive, files_of, status_of, stored, storing
from tests.sample_objects import CT, EXPLICIT, instance

import dimse
from dimse import Status
from dimse.node import incoming
from dimse.node.index import Index

NUMBERS = count(1)
CODES = [errno.ENOSPC, errno.EIO, 0]


def agrees(archive: Archive) -> bool:
    """Whether the files are those that the index has, and whole."""
    rows = stored(archive.index)
    return archive.files == sorted(rows) and all(
        (archive.data / place).stat().st_size == size for place, (size, _) in rows.items()
    )


async def test_the_nth_operation_fails(tmp_path: Path, fast_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For n = 1, 2, ... until none fails; each instance is of a study of its own, whose folders are made."""
    monkeypatch.setattr(incoming, "PREPARED", 0)
    wrong, tried, index = list[str](), 0, Index.at(tmp_path / "index.sqlite")
    async with (
        storing(index, fast_disk, fsync=True) as archive,
        dimse.connect(archive.address, contexts=[(CT, [EXPLICIT])]) as association,
    ):
        for code in CODES:
            for pixels in (400, 200_000):
                for n in count(1):
                    sent = instance(f"1.2.3.{next(NUMBERS)}", pixels=pixels)
                    sent.StudyInstanceUID = f"1.2.9.{next(NUMBERS)}"
                    failing = FailingFiles(fast_disk, n, code)
                    with failing.patched():
                        status = await status_of(association, sent)
                    if failing.failed is None and (code or n > 30):
                        assert status == Status.SUCCESS
                        break
                    tried += 1
                    case = f"{errno.errorcode.get(code, 'short')} of {failing.failed}, number {n}: 0x{status:04X}"
                    if status not in (Status.SUCCESS, Status.OUT_OF_RESOURCES):
                        wrong.append(case)
                    if status == Status.SUCCESS and code and failing.failed not in ABSORBED:
                        wrong.append(case)
                    if (status == Status.SUCCESS) != any(sent.SOPInstanceUID in place for place in stored(index)):
                        wrong.append(f"{case}, which is not what the index has")
                    if not agrees(archive):
                        wrong.append(f"{case}, and files and index differ")
                    if status != Status.SUCCESS and archive.ingest.problem is None:
                        wrong.append(f"{case}, and is no problem")
                    if await status_of(association, instance(f"1.2.3.{next(NUMBERS)}")) != Status.SUCCESS:
                        wrong.append(f"{case}, and the next one fails too")
                    if archive.ingest.problem is not None:
                        wrong.append(f"{case}, and is a problem for ever")
    index.close()
    assert not wrong, "\n".join(wrong)
    assert tried > 40


@pytest.mark.parametrize("is_index_there", [False, True])
async def test_a_full_disk(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_index_there: bool
) -> None:
    """With no room at all, and with some: for the file, but not for all of it, or not for the index."""
    monkeypatch.setattr(incoming, "PREPARED", 4)
    data, filler = small_disk / "archive", small_disk / "filler"
    index = Index.at((data if is_index_there else tmp_path) / "index.sqlite")
    wrong, refused = list[str](), 0
    async with (
        storing(index, data) as archive,
        dimse.connect(archive.address, contexts=[(CT, [EXPLICIT])]) as association,
    ):
        assert await status_of(association, instance("1.2.4.1")) == Status.SUCCESS
        for pixels in (400, 60_000, 1_000_000):
            for pages in (0, 1, 3, 20):
                with filler.open("wb") as file:
                    file.write(bytes(4096) * (os.statvfs(small_disk).f_bavail - pages))
                status = await status_of(association, instance(f"1.2.3.{next(NUMBERS)}", pixels=pixels))
                refused += status == Status.OUT_OF_RESOURCES
                case = f"{pixels} bytes, {pages} pages: 0x{status:04X}"
                if status not in (Status.SUCCESS, Status.OUT_OF_RESOURCES) or not agrees(archive):
                    wrong.append(f"{case}, {files_of(data)}, {list(stored(index))}")
                filler.unlink()
                if await archive.ingest.check() is not None:
                    wrong.append(f"{case}, and remains a problem")
                if await status_of(association, instance("1.2.4.1")) != Status.SUCCESS:
                    wrong.append(f"{case}, and the next one fails too")
    index.close()
    assert not wrong, "\n".join(wrong)
    assert refused >= 7
