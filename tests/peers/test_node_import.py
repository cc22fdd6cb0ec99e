"""`dimse node import --from` brings everything that Orthanc and dcmqrscp have."""

from __future__ import annotations

from pathlib import Path

from dimse.address import Address
from dimse.node.importing_archive import ArchiveImport
from dimse.node.index import Index
from dimse.node.options import NodeOptions
from tests.node.archives import left_in_incoming, stored

from .archive import MIXED, NAMES, TREE, Archive, study_uid


async def test_everything_comes(archive: Archive, tmp_path: Path) -> None:
    """What dcmqrscp cannot send by C-GET comes by C-MOVE: it sends each class in one syntax."""
    receiver = Address("DIMSE", "127.0.0.1", archive.destination)
    address, options = Address.parse(archive.address), NodeOptions(data=tmp_path / "data")
    index = Index.at(options.data / "index.sqlite")
    try:
        brought = [each async for each in ArchiveImport(index, options, address, receiver=receiver).run()]
        assert {MIXED, TREE, *map(study_uid, NAMES)} <= {each.study_uid for each in brought}
        assert [error for each in brought for error in each.errors] == []
        assert all(each.stored == each.listed for each in brought)
        kept = stored(index, options.data)
        assert len(kept) == sum(each.stored for each in brought)
        assert set(archive.mixed) <= set(kept)
        assert left_in_incoming(options.data) == []
        if archive.name == "orthanc":  # which counts the instances of a study
            again = [each async for each in ArchiveImport(index, options, address, receiver=receiver).run()]
            assert all(each.is_skipped for each in again)
    finally:
        index.close()
