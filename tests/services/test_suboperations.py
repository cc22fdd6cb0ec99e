"""The counters of the sub-operations, and the instances that failed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.sample_objects import EXPLICIT, IMPLICIT
from tests.services.test_move_scu import CONTEXTS, PENDING, STUDY, asked, counters, failed_list, moved, says

from dimse import (
    ClientOptions,
    CMoveSCU,
    DatasetError,
    NothingRetrieved,
    Status,
    StatusError,
    Strictness,
    SubOperationFailed,
    SubOperations,
    connect,
)
from dimse.dataset.codec import decode, encode
from dimse.dataset.threads import beside_the_loop
from dimse.messages.message import C_MOVE_RQ
from dimse.services import suboperations
from dimse.testing import ScriptedPeer, listening, response
from dimse.uids import STUDY_ROOT_MOVE


async def test_the_counters_come_as_the_peer_sends_them() -> None:
    taken = asyncio.Event()

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        message = received.message
        assert isinstance(message, C_MOVE_RQ)
        assert (message.affected_sop_class_uid, message.move_destination) == (STUDY_ROOT_MOVE, "WS1")
        identifier = decode(received.data or b"", EXPLICIT)
        values = {element.keyword: element.value for element in identifier}
        assert values == {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2.3.1"}
        await peer.send(response(received, PENDING, **counters(3, 0, 0, 0)))
        await taken.wait()
        await peer.send(response(received, PENDING, **counters(1, 1, 0, 1)), response(received, PENDING))
        await peer.send(response(received, 0, **counters(None, 2, 0, 1)))
        await peer.answer_release()

    given = []
    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        results = CMoveSCU(association).move(STUDY, " WS1 ")
        assert results.suboperations == SubOperations()
        async for each in results:
            given.append(each)
            assert results.suboperations == each
            taken.set()
    final = SubOperations(None, 2, 0, 1)
    assert given == [SubOperations(3, 0, 0, 0), SubOperations(1, 1, 0, 1), SubOperations(), final]
    assert (results.suboperations, results.status) == (final, Status.SUCCESS)


async def test_the_instances_that_failed_are_named() -> None:
    script = says((PENDING, None, counters(3, 0, 0, 0)), (0xB000, failed_list("1.2", "1.3"), counters(None, 1, 2, 0)))
    given, error, _ = await moved(script)
    assert given == [SubOperations(3, 0, 0, 0), SubOperations(None, 1, 2, 0)]
    assert isinstance(error, ExceptionGroup)
    assert [failure.sop_instance_uid for failure in named(error)] == ["1.2", "1.3"]
    assert "C-MOVE" in str(error)


@pytest.mark.parametrize(("count", "beside"), [(2, 0), (3000, 2)])
async def test_a_long_list_does_not_keep_the_loop(count: int, beside: int, monkeypatch: pytest.MonkeyPatch) -> None:
    works = []

    async def noting(work: Callable[[], Any]) -> Any:
        works.append(work)
        return await beside_the_loop(work)

    monkeypatch.setattr(suboperations, "beside_the_loop", noting)
    uids = [f"1.2.{number}" for number in range(count)]
    _, error, _ = await moved(says((0xB000, failed_list(*uids), counters(None, 0, count, 0))))
    assert [failure.sop_instance_uid for failure in named(error)] == uids
    assert len(works) == beside


def named(error: BaseException | None) -> list[SubOperationFailed]:
    assert isinstance(error, ExceptionGroup)
    assert all(isinstance(failure, SubOperationFailed) for failure in error.exceptions)
    return cast("list[SubOperationFailed]", list(error.exceptions))


async def test_the_list_goes_with_a_failure_and_a_cancellation_too() -> None:
    for status in (0xA702, 0xFE00):
        _, error, _ = await moved(says((status, failed_list("1.2"), counters(None, 0, 1, 0))))
        assert isinstance(error, ExceptionGroup)
        assert [type(failure) for failure in error.exceptions] == [SubOperationFailed, StatusError]


@pytest.mark.parametrize(
    ("listed", "count", "expected"),
    [
        (("1.2",), 1, ["1.2"]),
        (("1.2",), None, ["1.2"]),
        (("1.2",), 3, ["1.2", "2 failed that the peer does not name"]),
        (None, 65535, ["65535 failed that the peer does not name"]),
        ((), 2, ["2 failed that the peer does not name"]),
        (("1.2", "1.3"), 1, ["1.2", "1.3"]),
    ],
)
async def test_those_that_are_not_named_are_counted(
    listed: tuple[str, ...] | None, count: int | None, expected: list[str]
) -> None:
    data = None if listed is None else failed_list(*listed)
    _, error, _ = await moved(says((0xB000, data, counters(None, 1, count, 0))))
    found = [failure.sop_instance_uid or str(failure).removeprefix("an instance: ") for failure in named(error)]
    assert found == expected


async def test_a_warning_without_failures_raises_nothing() -> None:
    given, error, results = await moved(says((0xB000, None, counters(None, 2, 0, 1))))
    assert (given, error, results.status) == ([SubOperations(None, 2, 0, 1)], None, 0xB000)


@pytest.mark.parametrize("completed", [0, 1, None])
async def test_success_with_nothing_is_told_where_the_counters_say_so(completed: int | None) -> None:
    _, error, results = await moved(says((0, None, counters(None, completed))))
    assert error is None
    assert [type(failure) for failure in results.failures] == ([NothingRetrieved] if completed == 0 else [])


@pytest.mark.parametrize(
    "unreadable",
    [
        b"\x08\0\x58\0UI\x40\x001.2.",
        b"\x08\0\x58\0US\2\0\1\0",
        b"\x08\0\x58\0US\3\0\1\1\1\x08\0\x60\0CS\1\0C",
    ],
    ids=["cut short", "a number", "an odd number"],
)
async def test_a_list_that_cannot_be_read(unreadable: bytes) -> None:
    _, error, _ = await moved(says((0xB000, unreadable, counters(None, 1, 2, 0))))
    assert isinstance(error, ExceptionGroup)
    assert [type(failure) for failure in error.exceptions] == [DatasetError, SubOperationFailed]


@pytest.mark.parametrize("strictness", Strictness)
async def test_a_list_in_the_other_vr_form(strictness: Strictness) -> None:
    implicit = encode(decode(failed_list("1.2"), EXPLICIT), IMPLICIT)
    script, options = says((0xB000, implicit, counters(None, 1, 1, 0))), ClientOptions(strictness=strictness)
    async with listening(script) as address, connect(address, contexts=CONTEXTS, options=options) as association:
        results = CMoveSCU(association).move(STUDY, "WS1", raise_failures=False)
        async for _ in results:
            pass
    uids = [getattr(failure, "sop_instance_uid", "no list") for failure in results.failures]
    assert uids == (["1.2"] if strictness is Strictness.LENIENT else ["no list", None])


@pytest.mark.parametrize("follows", ["a release", "the end of the association"])
async def test_a_list_that_is_announced_and_does_not_come(follows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if follows == "a release":
        monkeypatch.setattr("dimse.network.incoming_data.IDENTIFIER_GRACE", 0.1)

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(response(received, 0xB000, dataset_follows=True, **counters(None, 1, 1, 0)))
        if follows == "a release":
            await peer.answer_release()

    _, error, results = await moved(script)
    assert isinstance(error, ExceptionGroup)
    assert [str(failure) for failure in error.exceptions] == ["an instance: 1 failed that the peer does not name"]
    assert results.status == 0xB000
