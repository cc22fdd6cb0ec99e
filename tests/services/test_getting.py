"""Whole C-GETs."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from pydicom import dcmread
from tests.services.member_archive import ADA, BOB, STUDY, Archive, files_in, where

import dimse
from dimse import (
    AssociationError,
    Query,
    RetrieveMethod,
    RetrieveResult,
    Status,
    StatusError,
    StoreRequest,
    SubOperationFailed,
    SubOperations,
)
from dimse.network.association import exchange_of

OTHER = Query.studies(StudyInstanceUID="1.3")
NOTHING = Query.studies(StudyInstanceUID="1.9")


async def test_into_a_folder(getting: Archive, tmp_path: Path) -> None:
    seen: list[RetrieveResult] = []
    counters: list[SubOperations] = []
    report = await dimse.get(getting.address, STUDY, into=tmp_path, on_result=seen.append, progress=counters.append)
    assert files_in(tmp_path) == where(*ADA[:3])
    assert tuple(seen) == report.results == report.retrieved
    assert [(each.sop_instance_uid, each.method, each.refused) for each in seen] == [
        (uid, RetrieveMethod.GET, False) for uid in ADA[:3]
    ]
    assert all(result.path is not None and dcmread(result.path).SOPInstanceUID for result in seen)
    assert counters[-1] == report.suboperations
    assert report.suboperations.completed == 3


async def test_several_queries_on_one_association(getting: Archive, tmp_path: Path) -> None:
    counters: list[SubOperations] = []
    queries = [STUDY, NOTHING, OTHER]
    report = await dimse.get(
        getting.address, queries, into=tmp_path, template="{SOPInstanceUID}", progress=counters.append
    )
    assert files_in(tmp_path) == sorted([*ADA[:3], *BOB])
    assert [keys for _, _, keys in getting.asked] == [["1.1"], ["1.9"], ["1.3"]]
    assert report.failures == ()
    assert report.suboperations.completed == 4
    totals = [each.total for each in counters]
    assert set(totals[:3]) == {None}, "before the last query the total is unknown"
    assert 4 in totals
    assert [each.completed for each in counters] == sorted(each.completed or 0 for each in counters)


async def test_through_a_handler(getting: Archive) -> None:
    async def handle(request: StoreRequest) -> Status:
        if request.sop_instance_uid == ADA[1]:
            return Status.OUT_OF_RESOURCES
        assert request.dataset.PatientID == "Ada"
        return Status.SUCCESS

    report = await dimse.get(getting.address, STUDY, handler=handle, raise_failures=False)
    assert [(each.sop_instance_uid, each.path) for each in report.retrieved] == [(ADA[0], None), (ADA[2], None)]
    (failed,) = report.failures
    assert (failed.sop_instance_uid, failed.refused) == (ADA[1], True)
    assert report.suboperations.failed == 1


async def test_failures_of_all_queries_are_raised_at_the_end(getting: Archive, tmp_path: Path) -> None:
    getting.refusals = [0xC001]
    with pytest.raises(ExceptionGroup, match=r"1 failed of the C-GET from ARCHIVE@127.0.0.1") as raised:
        await dimse.get(getting.address, [OTHER, STUDY], into=tmp_path)
    (error,) = raised.value.exceptions
    assert isinstance(error, StatusError)
    assert error.__notes__ == ["does the archive have it?"]
    assert files_in(tmp_path) == where(*ADA[:3])


async def test_that_nothing_matches_is_no_error(getting: Archive, tmp_path: Path) -> None:
    report = await dimse.get(getting.address, NOTHING, into=tmp_path)
    assert report.results == ()


async def test_what_the_archive_failed_to_send_was_not_refused_here(getting: Archive, tmp_path: Path) -> None:
    contexts = ["1.2.840.10008.5.1.4.1.1.4"]
    report = await dimse.get(getting.address, STUDY, into=tmp_path, sop_classes=contexts, raise_failures=False)
    assert [type(failure.error) for failure in report.failures[:3]] == [SubOperationFailed] * 3
    assert not any(failure.refused for failure in report.failures)


async def test_the_preferred_syntax_is_used(getting: Archive, tmp_path: Path) -> None:
    implicit = dimse.uids.IMPLICIT_VR_LITTLE_ENDIAN
    report = await dimse.get(getting.address, OTHER, into=tmp_path, prefer=[implicit])
    (result,) = report.retrieved
    assert result.path is not None
    assert dcmread(result.path).file_meta.TransferSyntaxUID == implicit


async def test_what_cannot_be_asked(getting: Archive, tmp_path: Path) -> None:
    for arguments in ({}, {"into": tmp_path, "handler": print}):
        with pytest.raises(ValueError, match="pass `into` or `handler`"):
            await dimse.get(getting.address, STUDY, **arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="PatientName: C-MOVE and C-GET allow only unique keys"):
        await dimse.get(getting.address, [STUDY, STUDY.patient_name("Ada")], into=tmp_path)
    with pytest.raises(ValueError, match="one or more queries"):
        await dimse.get(getting.address, [], into=tmp_path)
    assert getting.asked == []


async def test_a_lost_association_is_raised_at_once(getting: Archive, tmp_path: Path) -> None:
    seen: list[RetrieveResult] = []

    def drop(result: RetrieveResult) -> None:
        seen.append(result)
        for association in getting.associations:
            association.abort()

    with pytest.raises(AssociationError):
        await dimse.get(getting.address, STUDY, into=tmp_path, on_result=drop)
    assert seen


async def test_a_cancelled_job_releases_the_association(getting: Archive, tmp_path: Path) -> None:
    associations: list[dimse.Association] = []

    def stop(_: RetrieveResult) -> None:
        associations.extend(getting.associations)
        job.cancel()

    job = asyncio.ensure_future(dimse.get(getting.address, STUDY, into=tmp_path, on_result=stop))
    with pytest.raises(asyncio.CancelledError):
        await job
    (association,) = set(associations)
    await exchange_of(association).closed()
    assert association.error is None, "it was released"


async def test_without_the_unique_keys_above(getting: Archive, caplog: pytest.LogCaptureFixture) -> None:
    """The archive does not negotiate, and is asked all the same, as by users of DCMTK."""
    query = Query.instances(SOPInstanceUID=ADA[0]).negotiating(relational=True)
    with caplog.at_level(logging.WARNING, "dimse"):
        report = await dimse.get(getting.address, query, handler=_taken)
    assert [each.sop_instance_uid for each in report.retrieved] == [ADA[0]]
    assert "it did not agree to these features of C-GET: relational" in caplog.text


async def _taken(request: StoreRequest) -> int:
    return Status.SUCCESS
