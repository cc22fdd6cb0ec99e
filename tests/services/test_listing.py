"""What an archive lists: every match with its unique keys, once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from tests.ports import free_port
from tests.sample_objects import EXPLICIT
from tests.services.limited_archive import LimitedArchive, study
from tests.services.member_archive import ADA, STUDY, Archive, retrieve, uids_of

import dimse
from dimse import (
    ClientOptions,
    Query,
    QueryFeatures,
    QueryRequest,
    Source,
    Status,
    StatusError,
    Timeouts,
)
from dimse.dataset.codec import encode
from dimse.network.application_entity import ApplicationEntity
from dimse.services.listing import list_instances
from dimse.testing import ScriptedPeer, listening, response
from dimse.upper_layer.pdu import A_ASSOCIATE_RJ, A_ASSOCIATE_RQ


async def test_nothing_matches(archive: Archive, tmp_path: Path) -> None:
    report = await retrieve(archive, Query.studies(PatientName="Nobody"), tmp_path / "out")
    assert (report.results, report.listed) == ((), 0)
    assert archive.asked == []
    assert not (tmp_path / "out").exists()


async def test_a_match_without_its_unique_key_is_left_out(
    getting: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @getting.on_c_find
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        async for match in Archive.find(getting, request):
            if match.get("SOPInstanceUID") == "1.1.1.1":
                del match.SOPInstanceUID
            yield match

    report = await retrieve(getting, Query.series(StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1"), tmp_path)
    assert report.listed == 1
    assert "a match has no SOPInstanceUID" in caplog.text


@pytest.mark.parametrize("make", [Query.series, Query.instances])
async def test_a_match_without_the_keys_above_it(getting: Archive, make: Callable[..., Query], tmp_path: Path) -> None:
    """They are in the query anyway (PS3.4 C.4.1.2.1)."""

    @getting.on_c_find
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        async for match in Archive.find(getting, request):
            del match.StudyInstanceUID
            yield match

    report = await retrieve(getting, make(StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1"), tmp_path)
    assert uids_of(report) == ADA[:2]


async def test_a_study_that_is_listed_twice(getting: Archive, tmp_path: Path) -> None:
    @getting.on_c_find
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        async for match in Archive.find(getting, request):
            yield match
            yield match

    report = await retrieve(getting, STUDY, tmp_path)
    assert getting.asked == [("C-GET", "STUDY", ["1.1"])]
    assert uids_of(report) == ADA[:3]


async def test_keys_of_higher_levels_are_matched_at_theirs(getting: Archive, tmp_path: Path) -> None:
    report = await retrieve(getting, Query.series(PatientID="Ada", SeriesInstanceUID="1.1.2\\1.3.1"), tmp_path)
    assert getting.asked == [("C-GET", "SERIES", ["1.1.2"])]
    assert uids_of(report) == ["1.1.2.1"]


async def test_a_query_that_is_refused(archive: Archive, tmp_path: Path) -> None:
    @archive.on_c_find
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        for nothing in list[Dataset]():
            yield nothing
        raise StatusError(Status(0xA900), "test")

    with pytest.raises(StatusError, match="0xA900"):
        await retrieve(archive, STUDY, tmp_path)


async def test_a_listing_is_not_lost_where_the_release_is_not_answered(tmp_path: Path) -> None:
    match = Dataset()
    match.SOPInstanceUID = "1.1.1.1"

    async def lists(peer: ScriptedPeer) -> None:
        await peer.accept(syntaxes=[EXPLICIT])
        asked = await peer.receive_message()
        await peer.send(response(asked, 0xFF00, encode(match, EXPLICIT)), response(asked))
        await peer.closed()

    async def rejects(peer: ScriptedPeer) -> None:
        await peer.expect(A_ASSOCIATE_RQ)
        await peer.send(A_ASSOCIATE_RJ(1, 1, 1))

    query = Query.instances(StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1")
    options = ClientOptions(timeouts=Timeouts(association=0.2))
    async with listening(lists, rejects) as address:
        report = await dimse.retrieve(
            address,
            query,
            into=tmp_path,
            receiver=f"WS1@127.0.0.1:{free_port()}",
            options=options,
            retry=dimse.RetryPolicy(delay=0.01),
            raise_failures=False,
        )
    assert report.listed == 1
    assert [result.sop_instance_uid for result in report.failures] == ["1.1.1.1"]


async def test_a_relational_query_is_listed_at_once() -> None:
    archive = LimitedArchive([study(1, series=2), study(2)], features=QueryFeatures(relational=True))
    query = Query.series(PatientID="ID001", Modality="CT").negotiating(relational=True)
    archive.on_c_get(nothing)
    async with archive:
        listing = await list_instances(ApplicationEntity(archive.address), [query])
    assert list(listing.instances) == ["1.1.1.1"]
    assert archive.levels == ["SERIES", "IMAGE"]


async def nothing(_: QueryRequest) -> AsyncIterator[Source]:
    for each in list[Source]():
        yield each
