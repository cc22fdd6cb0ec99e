"""`dimse node import --from` brings everything that Orthanc has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dimse.address import Address
from dimse.node.importing_archive import ArchiveImport
from dimse.node.index import Index
from dimse.node.options import NodeOptions
from tests.node.archives import left_in_incoming, stored

from .archive import MIXED, NAMES, TREE, Archive, study_uid


@pytest.fixture
def orthanc(archives: Callable[[str], Archive]) -> Archive:
    return archives("orthanc")


async def test_everything_comes(orthanc: Archive, tmp_path: Path) -> None:
    options = NodeOptions(data=tmp_path / "data")
    index = Index.at(options.data / "index.sqlite")
    try:
        brought = [each async for each in ArchiveImport(index, options, Address.parse(orthanc.address)).run()]
        assert {MIXED, TREE, *map(study_uid, NAMES)} <= {each.study_uid for each in brought}
        assert [error for each in brought for error in each.errors] == []
        assert all(each.stored == each.listed for each in brought)
        kept = stored(index, options.data)
        assert len(kept) == sum(each.stored for each in brought)
        assert set(orthanc.mixed) <= set(kept)
        assert left_in_incoming(options.data) == []
        again = [each async for each in ArchiveImport(index, options, Address.parse(orthanc.address)).run()]
        assert all(each.is_skipped for each in again)
    finally:
        index.close()
