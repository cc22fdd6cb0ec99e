"""Whole C-MOVEs."""

from __future__ import annotations

import pytest
from tests.services.member_archive import ADA, BOB, STUDY, Archive

import dimse
from dimse import Query, RetrieveMethod, RetrieveResult, Server, Status, StatusError, StoreRequest, SubOperations
from dimse.address import Address

OTHER = Query.studies(StudyInstanceUID="1.3")


class Workstation(Server):
    """Receives what the archive sends to WS1, but for one instance."""

    def __init__(self, archive: Archive) -> None:
        super().__init__("WS1", host="127.0.0.1", port=Address.parse(archive.receiver).port)
        self.received: list[str] = []
        self.on_c_store(self.store)

    async def store(self, request: StoreRequest) -> Status:
        if request.sop_instance_uid == ADA[1]:
            return Status.NOT_AUTHORIZED
        self.received.append(request.sop_instance_uid)
        return Status.SUCCESS


async def test_several_queries(moving: Archive) -> None:
    counters: list[SubOperations] = []
    failures: list[RetrieveResult] = []
    async with Workstation(moving) as workstation:
        report = await dimse.move(
            moving.address,
            [OTHER, STUDY],
            "WS1",
            progress=counters.append,
            on_result=failures.append,
            raise_failures=False,
        )
    assert workstation.received == [*BOB, ADA[0], ADA[2]]
    assert report.suboperations == counters[-1]
    assert (report.suboperations.completed, report.suboperations.failed) == (3, 1)
    (failed,) = report.failures
    assert failures == [failed]
    assert (failed.sop_instance_uid, failed.method, failed.refused) == (ADA[1], RetrieveMethod.MOVE, False)


async def test_failures_are_raised_at_the_end(moving: Archive) -> None:
    async with Workstation(moving) as workstation:
        with pytest.raises(ExceptionGroup, match=r"1 failed of the C-MOVE from ARCHIVE@.* to WS1"):
            await dimse.move(moving.address, [STUDY, OTHER], "WS1")
    assert workstation.received == [ADA[0], ADA[2], *BOB]


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (0xA801, ["the archive must know WS1: its host and port"]),
        (0xA702, ["the archive must know WS1: its host and port"]),
        (0xC000, ["does the archive have it, and does it know WS1: its host and port?"]),
        (0xA900, []),
    ],
)
async def test_a_refusal_says_what_to_do(moving: Archive, status: int, advice: list[str]) -> None:
    moving.refusals = [status]
    report = await dimse.move(moving.address, STUDY, "WS1", raise_failures=False)
    (failure,) = report.failures
    assert isinstance(failure.error, StatusError)
    assert (failure.sop_instance_uid, failure.error.status) == ("", status)
    assert getattr(failure.error, "__notes__", []) == advice


async def test_what_cannot_be_asked(moving: Archive) -> None:
    with pytest.raises(ValueError, match="is not an AE title"):
        await dimse.move(moving.address, STUDY, "SEVENTEEN_LETTERS")
    with pytest.raises(ValueError, match="unique keys"):
        await dimse.move(moving.address, STUDY.patient_name("Ada"), "WS1")
    assert moving.asked == []
