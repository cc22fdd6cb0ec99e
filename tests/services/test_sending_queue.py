"""What is sent again when an association ends early: the table of `sending_queue`, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from dimse import AssociationAborted, AssociationTimeout, RetryPolicy, SendResult
from dimse.dataset.sources import MemorySource
from dimse.errors import AssociationError
from dimse.services.sending_queue import Item, Outcomes, SendQueue, Suspicion
from dimse.services.transfer_progress import ObjectProgress, ProgressReporter

NONE, SHARED, ALONE = Suspicion
ABORTED = AssociationAborted(0, 0)
SILENT = AssociationTimeout("store", 1, "C-STORE")


def item(number: int, retry: RetryPolicy) -> Item:
    source = MemorySource(
        [b"1234"],
        sop_class_uid="1.2",
        sop_instance_uid=f"1.2.{number}",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )
    return Item(number, source, ObjectProgress(ProgressReporter(None, None), 4), retry)


class Job:
    """A queue, whose objects are sent until an association ends."""

    def __init__(self, count: int, retries: int = 3) -> None:
        self.results: list[SendResult] = []
        self.items = [item(number, RetryPolicy(retries=retries)) for number in range(count)]
        self.queue = SendQueue(self.items, Outcomes(self.results.append))

    def end(self, begun: Sequence[bool], error: AssociationError, *, window_is_to_blame: bool = False) -> bool:
        """An association ends, after some of the objects on it have sent something."""
        cut_off = [self.queue.pop() for _ in begun]
        for each, has_begun in zip(cut_off, begun, strict=True):
            each.attempts.begin()
            each.progress.restart()
            if has_begun:
                each.progress(1)
        # They notice it in any order.
        noticed = [(each, error) for each in reversed(cut_off)]
        return self.queue.take_back(noticed, window_is_to_blame=window_is_to_blame)

    def left(self) -> Iterator[int]:
        while self.queue:
            yield self.queue.pop().number


@pytest.fixture(autouse=True)
async def _loop() -> None:
    """A progress reporter reads the clock of the event loop."""


@pytest.mark.parametrize(
    ("begun", "suspicions", "made", "has_settled"),
    [
        ([False, False], [NONE, NONE], [0, 0], False),
        ([True, True], [SHARED, SHARED], [1, 1], True),
        ([True, False], [ALONE, NONE], [1, 0], False),
        ([True, True, False], [SHARED, SHARED, NONE], [1, 1, 0], True),
    ],
)
async def test_the_table(
    begun: list[bool],
    suspicions: list[Suspicion],
    made: list[int],
    has_settled: bool,
) -> None:
    job = Job(len(begun) + 1)
    assert job.end(begun, ABORTED) is has_settled
    assert [each.suspicion for each in job.items] == [*suspicions, NONE]
    assert [each.attempts.made for each in job.items] == [*made, 0]
    assert job.queue.begins_with_suspect is (suspicions[0] is not NONE)
    assert list(job.left()) == list(range(len(begun) + 1))  # in their order, before the others
    assert job.results == []


async def test_an_excused_attempt_uses_up_no_retry() -> None:
    job = Job(2, retries=0)
    job.end([True, True], ABORTED)
    assert len(job.queue) == 2
    assert job.end([True], ABORTED)  # alone: this one counts
    assert [result.sop_instance_uid for result in job.results] == ["1.2.0"]
    assert job.results[0].error is ABORTED
    assert list(job.left()) == [1]


async def test_an_attempt_in_which_nothing_was_sent_is_none() -> None:
    job = Job(1, retries=0)
    for _ in range(5):
        assert not job.end([False], ABORTED)
    assert len(job.queue) == 1
    assert job.results == []


async def test_a_suspect_that_silences_the_peer_has_failed() -> None:
    job = Job(1)
    assert not job.end([True], SILENT)
    assert len(job.queue) == 1  # it was no suspect before
    assert not job.end([True], SILENT)
    assert [result.error for result in job.results] == [SILENT]


async def test_several_that_are_silent_have_not_settled_anything() -> None:
    job = Job(2)
    assert not job.end([True, True], SILENT)
    assert [each.suspicion for each in job.items] == [SHARED, SHARED]


async def test_a_window_to_blame_excuses_all() -> None:
    job = Job(2, retries=0)
    assert job.end([True, False], ABORTED, window_is_to_blame=True)
    assert [each.suspicion for each in job.items] == [NONE, NONE]
    assert list(job.left()) == [0, 1]


async def test_a_source_that_was_read_once_is_not_sent_again() -> None:
    job = Job(2)
    for each in job.items:
        each.source.repeatable = False
    assert not job.end([False], ABORTED)
    assert job.end([True], ABORTED)
    assert [result.sop_instance_uid for result in job.results] == ["1.2.0"]
    assert "not retried: its source can be read only once" in ABORTED.__notes__


async def test_giving_up_tells_what_was_never_tried() -> None:
    job = Job(2)
    job.end([True], ABORTED)
    job.queue.give_up(ABORTED)
    assert not job.queue
    assert job.results[0].error is ABORTED
    assert str(job.results[1].error).startswith("1.2.1: not attempted: ")
