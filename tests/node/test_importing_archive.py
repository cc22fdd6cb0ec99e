"""All of another archive comes into this one, study by study, and what fails is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from sqlalchemy import select
from tests.node.archives import left_in_incoming, put_in, save_all, stored
from tests.node.rows import member
from tests.ports import free_port

from dimse import AssociationError, QueryRequest, RetryPolicy, Server
from dimse.address import Address
from dimse.node.importing_archive import ArchiveImport, Migrated
from dimse.node.index import Index
from dimse.node.options import NodeOptions
from dimse.node.schema import source
from dimse.services.query_models import QueryRetrieveLevel

STUDIES = {
    study: [member(study, str(series), number) for series in (1, 2) for number in (1, 2)] for study in ("1.2", "1.3")
}


@pytest.fixture
def options(tmp_path: Path) -> NodeOptions:
    return NodeOptions(data=tmp_path / "data")


@asynccontextmanager
async def other(
    folder: Path, *, without: tuple[str, ...] = (), counts: dict[str, Any] | None = None
) -> AsyncIterator[tuple[Address, list[str]]]:
    """An archive with `STUDIES`, and the studies that it was asked for; it has lost the instances `without`."""
    files = {path.stem: path for made in STUDIES.values() for path in save_all(folder, made)}
    server = Server("OTHER", host="127.0.0.1", port=0)
    asked: list[str] = []

    @server.on_c_find
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        identifier = request.identifier
        for study, made in STUDIES.items():
            for each in made:
                match = Dataset()
                for element in identifier:
                    if element.keyword in each:
                        match[element.tag] = each[element.tag]
                match.StudyInstanceUID = study
                if "NumberOfStudyRelatedInstances" in identifier:
                    match.NumberOfStudyRelatedInstances = (counts or {}).get(study, len(made))
                if all(_agrees(identifier, match, key) for key in ("StudyInstanceUID", "SeriesInstanceUID")):
                    yield match
                if request.level is QueryRetrieveLevel.STUDY:
                    break

    @server.on_c_get
    async def get(request: QueryRequest) -> AsyncIterator[Path]:
        asked.append(str(request.identifier.StudyInstanceUID))
        wanted = request.identifier.get("SOPInstanceUID", "")
        for each in STUDIES[asked[-1]]:
            if each.SOPInstanceUID not in without and (not wanted or each.SOPInstanceUID in wanted):
                yield files[each.SOPInstanceUID]

    async with server:
        yield Address("OTHER", "127.0.0.1", server.port), asked


def _agrees(identifier: Dataset, match: Dataset, key: str) -> bool:
    return not identifier.get(key) or identifier.get(key) == match.get(key)


async def brought(migration: ArchiveImport) -> list[Migrated]:
    return [each async for each in migration.run()]


async def test_everything_comes(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    async with other(tmp_path / "other") as (address, _):
        migration = ArchiveImport(index, options, address)
        results = await brought(migration)
    assert [(each.study_uid, each.listed, each.stored, each.errors) for each in results] == [
        ("1.2", 4, 4, []),
        ("1.3", 4, 4, []),
    ]
    assert migration.total == 2
    assert set(stored(index, options.data)) == {each.SOPInstanceUID for made in STUDIES.values() for each in made}
    assert left_in_incoming(options.data) == []
    assert not (options.data / "migrating").exists()
    with index.reading() as connection:
        assert connection.scalars(select(source.c.name)).all() == [str(address)]


async def test_what_is_here_is_not_asked_for(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    put_in(index, options, *save_all(tmp_path / "here", STUDIES["1.2"]))
    put_in(index, options, *save_all(tmp_path / "some", STUDIES["1.3"][:3]))
    async with other(tmp_path / "other") as (address, asked):
        results = await brought(ArchiveImport(index, options, address))
    assert [each.is_skipped for each in results] == [True, False]
    assert set(asked) == {"1.3"}
    assert len(stored(index, options.data)) == 8


async def test_without_a_count_everything_is_asked_for(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    put_in(index, options, *save_all(tmp_path / "here", STUDIES["1.2"]))
    async with other(tmp_path / "other", counts={"1.2": None}) as (address, asked):
        results = await brought(ArchiveImport(index, options, address))
    assert [each.stored for each in results] == [4, 4]
    assert set(asked) == {"1.2", "1.3"}


async def test_what_does_not_come_is_told_and_the_rest_comes(
    index: Index, options: NodeOptions, tmp_path: Path
) -> None:
    async with other(tmp_path / "other", without=("1.2.1.2",)) as (address, _):
        first, second = await brought(ArchiveImport(index, options, address, retry=RetryPolicy(retries=1, delay=0)))
    assert (first.listed, first.stored, len(first.errors)) == (4, 3, 1)
    assert "1.2.1.2" in str(first.errors[0])
    assert (second.stored, second.errors) == (4, [])
    assert len(stored(index, options.data)) == 7


async def test_instances_that_the_archive_counts_and_does_not_list_are_told(
    index: Index, options: NodeOptions, tmp_path: Path
) -> None:
    """Some archives repeat their last answer in place of others."""
    async with other(tmp_path / "other", counts={"1.2": 6}) as (address, _):
        first, second = await brought(ArchiveImport(index, options, address))
    assert (first.stored, [str(each) for each in first.errors]) == (4, [f"{address} counts 6 instances and lists 4"])
    assert (second.stored, second.errors) == (4, [])


async def test_one_that_is_interrupted_leaves_no_images_behind(
    index: Index, options: NodeOptions, tmp_path: Path
) -> None:
    async with other(tmp_path / "other") as (address, _):
        results = ArchiveImport(index, options, address).run()
        async with aclosing(results):
            assert (await anext(results)).stored == 4
    assert not (options.data / "migrating").exists()


async def test_no_association(index: Index, options: NodeOptions) -> None:
    with pytest.raises(AssociationError):
        await brought(ArchiveImport(index, options, Address("OTHER", "127.0.0.1", free_port())))
