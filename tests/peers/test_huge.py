"""C-GET and C-MOVE of a study that mixes transfer syntaxes and a multi-frame of 300 MB: the memory of our sides."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

import dimse
from dimse import CMoveSCU, Query, Status

from . import processes
from .archive import MIXED, mixed, syntaxes
from .dimse_peer import peak_memory
from .processes import DIMSE_PEER, Peer, need, run
from .samples import dataset_digest, sop_instance_uid, write_huge

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")

LIMIT: Final = 100_000_000
HUGE: Final = "2.25.54000"


@dataclass(frozen=True)
class Study:
    """Files, and our archive that has them."""

    files: dict[str, Path]
    archive: Peer
    receiver: Peer

    def assert_in(self, folder: Path, *uids: str) -> None:
        """Their data sets have come bit for bit; what has come is removed."""
        for uid in uids:
            assert dataset_digest(folder / uid) == dataset_digest(self.files[uid]), uid
            (folder / uid).unlink()
        assert not list(folder.iterdir())


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    folder = tmp_path_factory.mktemp("huge")
    huge = folder / "huge.dcm"
    write_huge(huge, HUGE, study=MIXED, megabytes=300)
    assert huge.stat().st_size > 300_000_000
    files = {sop_instance_uid(path): path for path in [*mixed(folder), huge]}
    receiver = processes.dimse_receiver(folder / "received")
    with receiver, processes.dimse_archive(folder / "archive", receiver.address, list(files.values())) as archive:
        yield Study(files, archive, receiver)
    huge.unlink()


def memory_of(peer: Peer) -> int:
    assert peer.process is not None
    return peak_memory(peer.process.pid)


async def test_c_get_between_us(study: Study, tmp_path: Path) -> None:
    command = [sys.executable, str(DIMSE_PEER), "get", study.archive.address, MIXED, str(tmp_path)]
    code, output = await run(*command, *syntaxes(study.files.values()))
    assert code == 0, output
    status, memory = map(int, output.split())
    assert status == Status.SUCCESS
    assert memory < LIMIT
    assert memory_of(study.archive) < LIMIT
    study.assert_in(tmp_path, *study.files)


async def test_getscu(study: Study, tmp_path: Path) -> None:
    """Of the one instance: it takes no more than one transfer syntax."""
    keys = {"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": MIXED, "SeriesInstanceUID": HUGE, "SOPInstanceUID": HUGE}
    options = ["+B", "-S", *(option for key, value in keys.items() for option in ("-k", f"{key}={value}"))]
    code, output = await run(
        need("getscu"), *options, "-od", str(tmp_path), "-aec", "DIMSE", "127.0.0.1", str(study.archive.port)
    )
    assert code == 0, output
    assert memory_of(study.archive) < LIMIT
    study.assert_in(tmp_path, HUGE)


async def test_c_move_between_us(study: Study) -> None:
    async with dimse.connect(study.archive.address) as association:
        query = Query.studies(StudyInstanceUID=MIXED)
        seen = [suboperations async for suboperations in CMoveSCU(association).move(query, "DIMSE")]
    assert (seen[-1].completed, seen[-1].failed) == (len(study.files), 0)
    assert memory_of(study.archive) < LIMIT
    assert memory_of(study.receiver) < LIMIT
    study.assert_in(study.receiver.folder, *study.files)
