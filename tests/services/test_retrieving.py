"""Whole retrieving jobs: what the archive lists is here at the end, or it is said what is not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.acceptances import change_acceptances
from tests.sample_objects import EXPLICIT, VERIFICATION, pixel_bytes, read
from tests.services.member_archive import ADA, AT_ONCE, BOB, STUDY, Archive, files_in, member, retrieve, uids_of, where

import dimse
from dimse import (
    ConnectionLost,
    NativePixels,
    PixelSource,
    PresentationContextError,
    Query,
    QueryRequest,
    QueryRetrieveModel,
    RetrieveMethod,
    RetrieveResult,
    RetryPolicy,
    StatusError,
    SubOperationFailed,
    SubOperations,
)
from dimse.dataset.sources import MemorySource
from dimse.network.association import exchange_of
from dimse.services.given import Source
from dimse.upper_layer.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ


class WithoutRoles(Archive):
    """Accepts C-GET, and not that the requestor is SCP of storage."""

    def __init__(self, *, get: bool = False, move: bool = False) -> None:
        super().__init__(get=get, move=move)
        change_acceptances(self, self._reduced)

    def _reduced(self, _: A_ASSOCIATE_RQ, acceptance: A_ASSOCIATE_AC) -> A_ASSOCIATE_AC:
        return replace(acceptance, user_information=replace(acceptance.user_information, role_selections=()))


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dimse.network.exchange.ABORT_GRACE", 0.2)


# What is asked for


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query.studies(PatientName="Ada*"), ADA),
        (Query.studies(StudyInstanceUID=["1.1", "1.3"]), [*ADA[:3], *BOB]),
        (Query.patients(PatientID="Ada"), ADA),
        (Query.patients(PatientName="*"), [*ADA, *BOB]),
        (Query.studies(PatientID="Ada", model=QueryRetrieveModel.PATIENT_ROOT), ADA),
        (Query.series(StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1"), ADA[:2]),
        (Query.series(StudyInstanceUID="1.1"), ADA[:3]),
        (
            Query.instances(
                StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1", SOPInstanceUID=["1.1.1.2", "1.1.1.1", "1.1.1.9"]
            ),
            ADA[:2],
        ),
    ],
    ids=repr,
)
async def test_all_that_matches_comes(archive: Archive, query: Query, expected: list[str], tmp_path: Path) -> None:
    seen: list[RetrieveResult] = []
    report = await retrieve(archive, query, tmp_path, on_result=seen.append)
    assert files_in(tmp_path) == where(*expected)
    assert sorted(uids_of(report)) == expected
    assert (report.listed, report.failures, report.results) == (len(expected), (), tuple(seen))
    for result in report.retrieved:
        assert result.path is not None
        sent = next(one for one in archive.instances if one.SOPInstanceUID == result.sop_instance_uid)
        assert read(result.path) == sent
    # What matches is asked for as it is, and not instance by instance.
    assert {level for _, level, _ in archive.asked} == {str(query.level)}


async def test_a_template_that_is_none(getting: Archive, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NoSuchKey"):
        await dimse.retrieve(getting.address, STUDY, into=tmp_path, template="{NoSuchKey}", retry=AT_ONCE)
    assert getting.asked == []


async def test_the_template_names_the_files(archive: Archive, tmp_path: Path) -> None:
    template = "{PatientID}-{SOPInstanceUID}"
    await dimse.retrieve(archive.address, STUDY, into=tmp_path, template=template, receiver=archive.receiver)
    assert files_in(tmp_path) == [f"Ada-{uid}" for uid in ADA[:3]]


async def test_an_instance_that_is_brought_twice(archive: Archive, tmp_path: Path) -> None:
    archive.instances.append(member("1.1.1.1"))
    report = await retrieve(archive, STUDY, tmp_path)
    assert uids_of(report) == ADA[:3]


async def test_more_classes_than_an_association_has_contexts_for(getting: Archive, tmp_path: Path) -> None:
    uids = [f"1.4.1.{i}" for i in range(1, 126)]
    getting.instances = [member(uid, pixels=0) for uid in uids]
    for number, dataset in enumerate(getting.instances):
        dataset.SOPClassUID = f"1.2.840.99.{number}"
    report = await retrieve(getting, Query.studies(StudyInstanceUID="1.4"), tmp_path)
    assert sorted(uids_of(report)) == sorted(uids)
    assert getting.asked == [("C-GET", "STUDY", ["1.4"]), ("C-GET", "IMAGE", uids[122:])]


# The way


async def test_c_get_is_preferred(tmp_path: Path) -> None:
    async with Archive(get=True, move=True) as archive:
        report = await retrieve(archive, STUDY, tmp_path)
    assert [name for name, _, _ in archive.asked] == ["C-GET"]
    assert {result.method for result in report.retrieved} == {RetrieveMethod.GET}


async def test_c_move_where_the_scp_role_is_not_accepted(tmp_path: Path) -> None:
    async with WithoutRoles(get=True, move=True) as archive:
        report = await retrieve(archive, STUDY, tmp_path)
    assert [name for name, _, _ in archive.asked] == ["C-MOVE"]
    assert {result.method for result in report.retrieved} == {RetrieveMethod.MOVE}
    assert files_in(tmp_path) == where(*ADA[:3])


@pytest.mark.parametrize("without_roles", [False, True])
async def test_neither_way(tmp_path: Path, without_roles: bool) -> None:
    async with WithoutRoles(get=True) if without_roles else Archive() as archive:
        with pytest.raises(PresentationContextError, match="MOVE"):
            await retrieve(archive, STUDY, tmp_path)


# The receiver of a C-MOVE


async def test_the_receiver_is_by_default_the_calling_title_on_11112(moving: Archive, tmp_path: Path) -> None:
    moving.destinations = {"WS2": "WS2@127.0.0.1:11112"}

    @moving.on_c_move
    async def move(request: QueryRequest) -> AsyncIterator[Source]:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.2", 11112)  # it listens where the archive is reached
        async for each in moving.bring(request):
            yield each

    try:
        report = await dimse.retrieve(moving.address, STUDY, into=tmp_path, calling_ae_title="WS2")
    except OSError:
        pytest.skip("port 11112 is taken on this machine")
    assert uids_of(report) == ADA[:3]


async def test_a_receiver_without_a_title_has_the_calling_one(moving: Archive, tmp_path: Path) -> None:
    receiver = moving.receiver.removeprefix("WS1@")
    await dimse.retrieve(moving.address, STUDY, into=tmp_path, receiver=receiver, calling_ae_title="WS1", retry=AT_ONCE)


async def test_a_taken_port_is_said_so(moving: Archive, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"{port}.*[Aa]ddress already in use.*another receiver"):
            await dimse.retrieve(moving.address, STUDY, into=tmp_path, receiver=f"WS1@127.0.0.1:{port}")
    assert moving.asked == []


async def test_a_receiver_that_the_archive_does_not_know(moving: Archive, tmp_path: Path) -> None:
    receiver = moving.receiver.replace("WS1", "WS2")
    with pytest.raises(ExceptionGroup, match="3 of 3 not retrieved from ARCHIVE") as caught:
        await dimse.retrieve(moving.address, STUDY, into=tmp_path, receiver=receiver, retry=AT_ONCE)
    assert all("0xA801" in str(error) for error in caught.value.exceptions)


# What is missing


async def test_what_is_missing_is_asked_for_again(archive: Archive, tmp_path: Path) -> None:
    archive.keeps_back.update({"1.1.1.2": 1, "1.1.2.1": 2, "1.2.1.1": 2})
    report = await retrieve(archive, Query.studies(PatientName="Ada*"), tmp_path)
    assert sorted(uids_of(report)) == ADA
    way = archive.asked[0][0]
    first = [("STUDY", ["1.1"]), ("STUDY", ["1.2"])]
    second = [("IMAGE", ["1.1.1.2"]), ("IMAGE", ["1.1.2.1"]), ("IMAGE", ["1.2.1.1"])]
    assert archive.asked == [(way, *request) for request in [*first, *second, *second[1:]]]


async def test_what_is_missing_of_a_series_is_one_list(archive: Archive, tmp_path: Path) -> None:
    archive.instances = [member(f"1.4.1.{i}", pixels=0) for i in range(1, 206)]
    archive.keeps_back.update({f"1.4.1.{i}": 1 for i in range(5, 206)})
    report = await retrieve(archive, Query.studies(StudyInstanceUID="1.4"), tmp_path)
    assert len(report.retrieved) == 205
    lists = [keys for _, level, keys in archive.asked if level == "IMAGE"]
    assert lists == [[f"1.4.1.{i}" for i in range(5, 205)], ["1.4.1.205"]]


async def test_what_never_comes_is_named(archive: Archive, tmp_path: Path) -> None:
    archive.keeps_back["1.1.1.2"] = 9
    retry = RetryPolicy(retries=2, delay=0)
    with pytest.raises(ExceptionGroup, match=f"1 of 3 not retrieved from {archive.address}") as caught:
        await retrieve(archive, STUDY, tmp_path, retry=retry)
    (error,) = caught.value.exceptions
    assert isinstance(error, SubOperationFailed)
    assert error.sop_instance_uid == "1.1.1.2"
    assert len(archive.asked) == 3
    assert files_in(tmp_path) == where("1.1.1.1", "1.1.2.1")


async def test_failures_need_not_raise(archive: Archive, tmp_path: Path) -> None:
    archive.keeps_back["1.1.1.2"] = 9
    seen: list[RetrieveResult] = []
    report = await retrieve(archive, STUDY, tmp_path, raise_failures=False, on_result=seen.append)
    assert uids_of(report) == ["1.1.1.1", "1.1.2.1"]
    (failure,) = report.failures
    assert (failure.sop_instance_uid, failure.path, failure.retrieved) == ("1.1.1.2", None, False)
    assert (len(report.results), report.listed) == (3, 3)
    assert tuple(seen) == report.results


async def test_an_instance_that_the_archive_fails_to_send(archive: Archive, tmp_path: Path) -> None:
    archive.sources["1.1.1.2"] = MemorySource(
        [b""], sop_class_uid=VERIFICATION, sop_instance_uid="1.1.1.2", transfer_syntax_uid=EXPLICIT
    )
    report = await retrieve(archive, STUDY, tmp_path, retry=RetryPolicy(retries=0), raise_failures=False)
    (failure,) = report.failures
    assert failure.sop_instance_uid == "1.1.1.2"
    assert f"not retrieved by the {failure.method}; the peer does not say why" in str(failure.error)


async def test_what_fails_on_our_side_is_the_reason(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    report = await retrieve(archive, STUDY, tmp_path / "file", retry=RetryPolicy(retries=0), raise_failures=False)
    for failure in report.failures:
        assert str(failure.error).count(failure.sop_instance_uid) == 1
        assert isinstance(root_of(failure.error), NotADirectoryError)
    assert len(report.failures) == 3


def root_of(error: BaseException | None) -> BaseException | None:
    while error is not None and error.__cause__ is not None:
        error = error.__cause__
    return error


def ends_after_the_first(archive: Archive, how: str) -> Callable[[RetrieveResult], None]:
    """An `on_result` that ends the association, with so many instances that the archive is not done by then."""
    archive.instances = [member(f"1.4.1.{i}", pixels=0) for i in range(1, 51)]

    ended: list[str] = []

    def end(result: RetrieveResult) -> None:
        for association in () if ended else archive.associations:
            if how == "aborted":
                association.abort()
            else:
                exchange_of(association).connection.kill()
        ended.append(result.sop_instance_uid)

    return end


@pytest.mark.parametrize("how", ["aborted", "lost"])
async def test_an_association_that_ends_in_the_middle(archive: Archive, how: str, tmp_path: Path) -> None:
    """Only what has not come by then is asked for on the next."""
    end = ends_after_the_first(archive, how)
    report = await retrieve(archive, Query.studies(StudyInstanceUID="1.4"), tmp_path, on_result=end)
    came = uids_of(report)
    assert came == [f"1.4.1.{i}" for i in range(1, 51)]
    assert files_in(tmp_path) == where(*came)
    (_, level, again) = archive.asked[1]
    assert len(archive.asked) == 2
    assert (level, again) == ("IMAGE", came[-len(again) :])
    assert len(again) < 50


async def test_an_association_that_ended_is_the_reason_of_what_did_not_come(archive: Archive, tmp_path: Path) -> None:
    end, never = ends_after_the_first(archive, "lost"), RetryPolicy(retries=0)
    query = Query.studies(StudyInstanceUID="1.4")
    report = await retrieve(archive, query, tmp_path, retry=never, on_result=end, raise_failures=False)
    causes = {type(failure.error.__cause__) for failure in report.failures if failure.error is not None}
    assert causes == {ConnectionLost}
    assert len(report.results) == 50
    assert files_in(tmp_path) == where(*uids_of(report))


# Refusals


@pytest.mark.parametrize("status", [0xA801, 0xC000])
async def test_a_refusal_that_stays_is_not_tried_again(archive: Archive, status: int, tmp_path: Path) -> None:
    archive.refusals = [status] * 5
    report = await retrieve(archive, STUDY, tmp_path, raise_failures=False)
    assert len(archive.asked) == 1
    assert len(report.failures) == 3
    causes = [failure.error.__cause__ for failure in report.failures if failure.error is not None]
    assert [cause.status for cause in causes if isinstance(cause, StatusError)] == [status] * 3


async def test_a_refusal_for_want_of_resources_is_tried_again(archive: Archive, tmp_path: Path) -> None:
    archive.refusals = [0xA702, 0xA701]
    report = await retrieve(archive, STUDY, tmp_path)
    assert sorted(uids_of(report)) == ADA[:3]
    first, second = ("IMAGE", ADA[:2]), ("IMAGE", ADA[2:3])
    assert [request[1:] for request in archive.asked] == [("STUDY", ["1.1"]), first, second, first]


async def test_nobody_listens(tmp_path: Path) -> None:
    archive = Archive()
    async with archive:
        pass
    with pytest.raises(ConnectionLost, match="cannot connect"):
        await retrieve(archive, STUDY, tmp_path)


# The caller


async def test_a_callback_that_raises_does_no_harm(
    archive: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(result: RetrieveResult) -> None:
        raise ValueError("of the user's")

    report = await retrieve(archive, STUDY, tmp_path, on_result=fail)
    assert uids_of(report) == ADA[:3]
    assert "on_result" in caplog.text


@asynccontextmanager
async def nothing_stays() -> AsyncIterator[None]:
    """No task is left behind."""
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("way", ["C-GET", "C-MOVE"])
async def test_cancelled_in_the_middle_of_an_instance(way: str, tmp_path: Path) -> None:
    size, count = 64 * 1024, 512
    archive = Archive(get=way == "C-GET", move=way == "C-MOVE")
    half_files: list[str] = []

    async def buffers() -> AsyncIterator[bytes]:
        """Cancels as soon as the file of this instance has been begun."""
        for _ in range(count):
            if not half_files and (files := [name for name in files_in(tmp_path) if name not in where("1.1.1.1")]):
                half_files.extend(files)
                task.cancel()
            yield pixel_bytes(size)

    archive.sources["1.1.1.2"] = PixelSource(member("1.1.1.2", pixels=0), NativePixels(buffers(), size * count))
    async with nothing_stays(), archive:
        task = asyncio.create_task(retrieve(archive, STUDY, tmp_path))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert half_files
        assert files_in(tmp_path) == where("1.1.1.1")
        port = int(archive.receiver.rpartition(":")[2])
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_the_preferred_transfer_syntax(getting: Archive, tmp_path: Path) -> None:
    implicit = dimse.uids.IMPLICIT_VR_LITTLE_ENDIAN
    counters: list[SubOperations] = []
    report = await dimse.retrieve(
        getting.address,
        STUDY,
        into=tmp_path,
        prefer=[implicit],
        progress=counters.append,
    )
    assert uids_of(report) == ADA[:3]
    for result in report.retrieved:
        assert result.path is not None
        assert read(result.path).file_meta.TransferSyntaxUID == implicit
    assert counters == [SubOperations(3 - done, done, 0, 0) for done in range(4)]
