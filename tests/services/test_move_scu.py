"""C-MOVE as SCU: the counters, and what becomes of the instances that did not arrive."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.sample_objects import EXPLICIT

from dimse import (
    CMoveSCU,
    PresentationContextError,
    Query,
    Status,
    StatusError,
    SubOperationFailed,
    SubOperations,
    connect,
)
from dimse.dataset.codec import encode
from dimse.testing import Received, Script, ScriptedPeer, listening, response
from dimse.uids import STUDY_ROOT_MOVE

CONTEXTS = [(STUDY_ROOT_MOVE, [EXPLICIT])]
STUDY = Query.studies(StudyInstanceUID="1.2.3.1")
PENDING = Status.PENDING


def counters(
    remaining: int | None = None, completed: int | None = None, failed: int | None = None, warning: int | None = None
) -> dict[str, Any]:
    return {
        "number_of_remaining_suboperations": remaining,
        "number_of_completed_suboperations": completed,
        "number_of_failed_suboperations": failed,
        "number_of_warning_suboperations": warning,
    }


def failed_list(*uids: str, syntax: str = EXPLICIT) -> bytes:
    dataset = Dataset()
    dataset.FailedSOPInstanceUIDList = list(uids)
    return encode(dataset, syntax)


def says(*answers: tuple[int, bytes | None, dict[str, Any]]) -> Script:
    """Answers the request with all of these."""

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        for status, data, fields in answers:
            await peer.send(response(received, status, data, **fields))
        await peer.answer_release()

    return script


async def asked(peer: ScriptedPeer) -> Received:
    await peer.accept()
    return await peer.receive_message()


async def moved(script: Script, **options: Any) -> tuple[list[SubOperations], BaseException | None, Any]:
    """What a C-MOVE gives, what it raises, and its results."""
    given: list[SubOperations] = []
    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        results = CMoveSCU(association).move(STUDY, "WS1", **options)
        try:
            async for each in results:
                given.append(each)  # noqa: PERF401 - it may raise
        except Exception as error:  # noqa: BLE001 - it is what is tested
            return given, error, results
    return given, None, results


# The counters


@pytest.mark.parametrize(
    ("sub_operations", "total", "text"),
    [
        (SubOperations(), None, "0 instances retrieved"),
        (SubOperations(3, 4, 0, 1), 8, "5 of 8 instances retrieved"),
        (SubOperations(3, 4, 2, 1), 10, "5 of 10 instances retrieved, 2 failed"),
        (SubOperations(0, 4), 4, "4 of 4 instances retrieved"),
        (SubOperations(None, 4, 2, 0), None, "4 instances retrieved, 2 failed"),
        (SubOperations(65535, 1, 0, 0), None, "1 instances retrieved"),
        (SubOperations(1, 65535, 0, 0), None, "65535 instances retrieved"),
        (SubOperations(1, 65534, 0, 0), 65535, "65534 of 65535 instances retrieved"),
    ],
)
def test_how_far_it_is(sub_operations: SubOperations, total: int | None, text: str) -> None:
    assert sub_operations.total == total
    assert str(sub_operations) == text


# What cannot be asked


async def test_what_cannot_be_asked() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        scu = CMoveSCU(association)
        for title in ("SEVENTEEN_LETTERS", "", "Ä", "A\\B"):
            with pytest.raises(ValueError, match="is not an AE title"):
                scu.move(STUDY, title)
        with pytest.raises(ValueError, match="needs one StudyInstanceUID"):
            scu.move(Query.studies(), "WS1")
        with pytest.raises(ValueError, match="PatientName: C-MOVE and C-GET allow only unique keys"):
            scu.move(STUDY.patient_name("Smith"), "WS1")
        with pytest.raises(PresentationContextError, match=r"Patient Root.*MOVE.*not proposed"):
            scu.move(Query.patients(PatientID="1"), "WS1")


# What failed


async def test_an_unknown_destination() -> None:
    script = says((0xA801, None, {"error_comment": "no such AE"}))
    _, error, results = await moved(script)
    assert isinstance(error, StatusError)
    assert str(error).endswith(": C-MOVE: 0xA801 Move destination unknown (no such AE)")
    assert (error.address, error.doing) == (str(error).partition(": ")[0], "C-MOVE")
    assert results.status == 0xA801


async def test_failures_may_be_looked_at_instead() -> None:
    script = says((0xB000, failed_list("1.2"), counters(None, 1, 1, 0)))
    _, error, results = await moved(script, raise_failures=False)
    assert error is None
    assert [failure.sop_instance_uid for failure in results.failures] == ["1.2"]


@pytest.mark.parametrize("data", [b"\xff" * 12, b""], ids=["garbage", "empty"])
async def test_a_data_set_that_comes_with_success_is_dropped(data: bytes) -> None:
    given, error, _ = await moved(says((0, data, counters(None, 2, 0, 0))))
    assert error is None
    assert given == [SubOperations(None, 2, 0, 0)]


async def test_a_data_set_of_a_pending_response_is_dropped() -> None:
    given, error, _ = await moved(says((PENDING, failed_list("1.2"), counters(1, 1)), (0, None, counters(None, 2))))
    assert error is None
    assert given == [SubOperations(1, 1), SubOperations(None, 2)]


@pytest.mark.parametrize(("status", "told"), [(0xB000, 0), (0xB100, 1)])
async def test_a_final_status_that_the_service_does_not_have_is_told(
    status: int, told: int, caplog: pytest.LogCaptureFixture
) -> None:
    _, error, results = await moved(says((status, None, counters(None, 1, 0, 1))))
    assert (error, results.status) == (None, status)
    assert caplog.text.count("C-MOVE ended with 0xB100") == told


async def test_left_early_it_knows_how_far_it_came() -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(response(received, PENDING, **counters(3, 0, 0, 0)))
        await peer.expect_cancel(received)
        await peer.send(response(received, PENDING, **counters(2, 1, 0, 0)))
        await peer.send(response(received, Status.CANCEL, failed_list("1.2"), **counters(1, 1, 1, 0)))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        async with CMoveSCU(association).move(STUDY, "WS1") as results:
            await anext(results)
        assert results.status == Status.CANCEL
        assert results.suboperations == SubOperations(1, 1, 1, 0)
        assert [type(failure) for failure in results.failures] == [SubOperationFailed]
