"""Receiving instances: what Success means, and what is left when there is none."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

from pydicom import dcmread
from tests.node.ingesting import stored, storing
from tests.sample_objects import instance

from dimse import Status
from dimse.dataset.part10 import read_file_meta
from dimse.node.index import Index

PLACE = "studies/1.2.3.1/1.2.3.2/1.2.3.4.dcm"


def digest_of(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(read_file_meta(file).length)
        return blake2b(file.read(), digest_size=16).digest()


async def test_success_means_in_the_index_and_in_its_place(index: Index, tmp_path: Path) -> None:
    data = tmp_path / "archive"
    async with storing(index, data, fsync=True) as archive:
        statuses = await archive.send(
            instance("1.2.3.4"), instance("1.2.3.5", pixels=6_000_000), instance("1.2.3.6", pixels=0)
        )
        assert statuses == [Status.SUCCESS] * 3
        assert archive.files == sorted(stored(index))
    for place, (size, digest) in stored(index).items():
        assert (data / place).stat().st_size == size
        assert digest_of(data / place) == digest
    assert dcmread(data / PLACE).PatientID == "SECRETID"
    assert list((data / "incoming").iterdir()) == []
