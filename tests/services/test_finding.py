"""Whole searching jobs: several archives and queries, limits, cancelling, who failed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from pydicom.dataset import Dataset
from tests.ports import free_port
from tests.services.limited_archive import OPTIONS, LimitedArchive, study

import dimse
from dimse import ConnectionLost, Finding, Query, QueryRequest, Server, StatusError
from dimse.network.association import exchange_of

STUDIES = Query.studies(PatientID="*")


async def collect(finding: Finding, found: list[str]) -> None:
    async for match in finding:
        found.append(match.StudyInstanceUID)  # noqa: PERF401 - it may end with an error


async def test_a_match_of_several_queries_is_returned_once() -> None:
    async with LimitedArchive([study(1), study(2)]) as archive:
        queries = [Query.studies(PatientID="ID001"), Query.studies(PatientID="ID00*")]
        assert [match.StudyInstanceUID async for match in dimse.find(archive.address, queries)] == ["1.1", "1.2"]


async def test_several_archives_are_one_search() -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(LimitedArchive([study(1), study(2)], title="ONE"))
        two = await stack.enter_async_context(LimitedArchive([study(2), study(3)], title="TWO"))
        finding = dimse.find([one.address, two.address], STUDIES)
        found = [(match.StudyInstanceUID, str(finding.archive)) async for match in finding]
    assert sorted(uid for uid, _ in found) == ["1.1", "1.2", "1.3"]
    assert ("1.1", one.address) in found
    assert ("1.3", two.address) in found
    assert finding.count == 3


async def test_an_archive_that_fails_does_not_end_the_others() -> None:
    nobody = f"NOBODY@127.0.0.1:{free_port()}"
    async with LimitedArchive([study(1)]) as archive:
        finding = dimse.find([nobody, archive.address], STUDIES)
        found: list[str] = []
        with pytest.raises(ExceptionGroup, match=r"1 failed of the search at NOBODY@") as caught:
            await collect(finding, found)
    assert found == ["1.1"]
    (error,) = caught.value.exceptions
    assert isinstance(error, ConnectionLost)
    assert error.address == nobody
    assert finding.failures == [error]


async def test_the_only_failure_of_the_only_archive_is_raised_as_it_is() -> None:
    with pytest.raises(ConnectionLost):
        await collect(dimse.find(f"NOBODY@127.0.0.1:{free_port()}", STUDIES), [])


async def test_failures_are_kept_if_they_are_not_raised() -> None:
    archive = LimitedArchive([study(1), study(2)], limit=1, status=0xC001)
    async with archive:
        finding = dimse.find(archive.address, STUDIES, raise_failures=False)
        assert len([match async for match in finding]) == 1
    assert isinstance(finding.failures[0], StatusError)


class Endless(Server):
    """Finds without end; says when the handler was closed."""

    def __init__(self) -> None:
        super().__init__("ENDLESS", port=0, options=OPTIONS)
        self.closed, self.requests = asyncio.Event(), list[QueryRequest]()
        self.on_c_find(self._find)

    @property
    def address(self) -> str:
        return f"ENDLESS@127.0.0.1:{self.port}"

    async def _find(self, request: QueryRequest) -> AsyncIterator[Dataset]:
        self.requests.append(request)
        number = 0
        try:
            while True:
                number += 1
                match = Dataset()
                match.StudyInstanceUID = f"1.{number}"
                yield match
        finally:
            self.closed.set()

    async def released(self) -> bool:
        """Whether the association was released, after it has ended."""
        association = self.requests[0].association
        await exchange_of(association).closed()
        return association.error is None


async def test_a_limit_cancels_and_releases() -> None:
    async with Endless() as archive:
        finding = dimse.find(archive.address, STUDIES, limit=3)
        assert len([match async for match in finding]) == 3
        assert finding.is_limited
        assert archive.closed.is_set()
        assert await archive.released()


async def test_no_more_matches_than_the_limit() -> None:
    async with LimitedArchive([study(1)]) as archive:
        finding = dimse.find(archive.address, STUDIES, limit=3)
        assert len([match async for match in finding]) == 1
    assert not finding.is_limited


async def test_leaving_the_block_cancels_and_releases() -> None:
    async with Endless() as archive:
        async with dimse.find(archive.address, STUDIES) as finding:
            async for _ in finding:
                break
        assert await archive.released()


async def test_leaving_the_loop_cancels_and_releases_in_the_background() -> None:
    async with Endless() as archive:
        async for _ in dimse.find(archive.address, STUDIES):
            break
        gc.collect()
        await archive.closed.wait()
        assert await archive.released()


async def test_cancelling_the_task_cancels_and_releases() -> None:
    async with Endless() as archive:
        taken = asyncio.Event()

        async def search() -> None:
            async with dimse.find(archive.address, STUDIES) as finding:
                async for _ in finding:
                    taken.set()
                    await asyncio.Event().wait()

        task = asyncio.create_task(search())
        await taken.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await archive.released()


async def test_tasks_that_share_the_matches_all_come_to_the_end() -> None:
    async with LimitedArchive([study(1), study(2), study(3)]) as archive:
        finding, found = dimse.find(archive.address, STUDIES), list[str]()
        async with asyncio.timeout(10):
            await asyncio.gather(*(collect(finding, found) for _ in range(3)))
    assert sorted(found) == ["1.1", "1.2", "1.3"]


async def test_another_task_may_close_it() -> None:
    never = asyncio.Event()
    server = Server("SLOW", port=0, options=OPTIONS)

    @server.on_c_find
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        asked.set()
        await never.wait()
        yield Dataset()

    asked = asyncio.Event()
    async with server:
        finding = dimse.find(f"SLOW@127.0.0.1:{server.port}", STUDIES)

        async def search() -> int:
            return len([match async for match in finding])

        task = asyncio.create_task(search())
        await asked.wait()
        await finding.aclose()
        assert await task == 0


def test_what_cannot_be_found() -> None:
    with pytest.raises(ValueError, match="one level and model"):
        dimse.find("A@b", [Query.studies(), Query.series()])
    with pytest.raises(ValueError, match="one level and model"):
        dimse.find("A@b", [])
    with pytest.raises(ValueError, match="one or more archives"):
        dimse.find([], STUDIES)
    with pytest.raises(ValueError, match="limit must be at least 1"):
        dimse.find("A@b", STUDIES, limit=0)
