"""Progress never goes back, its rate is of the transfer, and its callback cannot hold the transfer up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.sample_objects import CT, EXPLICIT, IMPLICIT, dataset_bytes, instance, save

import dimse
from dimse import CStoreSCU, RetryPolicy, Server, StoreRequest, TransferProgress, connect
from dimse.services.transfer_progress import ObjectProgress, ProgressReporter
from dimse.testing import ScriptedPeer, listening, response

QUICK = RetryPolicy(delay=0.01, factor=1)


class Archive(Server):
    """Answers with these statuses, and then with Success."""

    def __init__(self, *statuses: int) -> None:
        super().__init__("ARCHIVE", port=0)
        self.statuses = list(statuses)
        self.on_c_store(self.answer)

    async def answer(self, _: StoreRequest) -> int:
        return self.statuses.pop(0) if self.statuses else 0

    @property
    def address(self) -> str:
        return f"ARCHIVE@127.0.0.1:{self.port}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save(instance(pixels=3_000_000), tmp_path / "a.dcm")


def check(reports: list[TransferProgress], end: int) -> None:
    transferred = [one.bytes_transferred for one in reports]
    assert transferred == sorted(transferred)
    assert transferred[-1] == end
    assert all(one.bytes_per_second > 0 for one in reports[1:])


async def test_an_object_that_is_sent_again(path: Path) -> None:
    reports: list[TransferProgress] = []
    async with Archive(0xA700, 0xA700) as archive, connect(archive.address, contexts=[(CT, [EXPLICIT])]) as association:
        await CStoreSCU(association, retry=QUICK).send(path, reports.append)
    check(reports, len(dataset_bytes(path)))


@pytest.mark.parametrize("associations", [1, 2])
@pytest.mark.parametrize("statuses", [(0xC000,), (0xA700, 0xC000, 0, 0xA700)])
async def test_a_job_that_fails_or_tries_again(path: Path, statuses: tuple[int, ...], associations: int) -> None:
    reports: list[TransferProgress] = []
    async with Archive(*statuses) as archive:
        paths = [path] * 3
        await dimse.send(
            archive.address,
            paths,
            associations=associations,
            retry=QUICK,
            progress=reports.append,
            raise_failures=False,
        )
    check(reports, 3 * len(dataset_bytes(path)))


async def test_a_job_over_an_association_that_breaks(path: Path) -> None:
    async def breaks(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.receive()
        await peer.receive()
        peer.reset()

    async def takes_it(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.send(response(await peer.receive_message()))
        await peer.answer_release()

    reports: list[TransferProgress] = []
    async with listening(breaks, takes_it) as address:
        await dimse.send(address, path, retry=QUICK, progress=reports.append)
    check(reports, len(dataset_bytes(path)))


async def test_the_total_is_of_what_is_sent(tmp_path: Path) -> None:
    """Not of what was given, where the peer takes it in another transfer syntax only."""
    sizes: list[int] = []

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept(syntaxes=[IMPLICIT])
        for _ in range(2):
            received = await peer.receive_message()
            sizes.append(len(received.data or b""))
            await peer.send(response(received))
        await peer.answer_release()

    paths = [save(instance(f"1.2.{i}", pixels=100_000), tmp_path / f"{i}.dcm") for i in (1, 2)]
    reports: list[TransferProgress] = []
    async with listening(script) as address:
        await dimse.send(address, paths, progress=reports.append)
    assert sum(sizes) != 2 * len(dataset_bytes(paths[0]))
    assert reports[-1].bytes_transferred == reports[-1].total_bytes == sum(sizes)


# With a clock that is set


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def reporter(clock: Clock, callback: Callable[[TransferProgress], object], total: int = 1000) -> ProgressReporter:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "time", clock)
        return ProgressReporter(callback, total)


async def test_the_rate_is_without_pauses_and_with_what_was_sent_again(clock: Clock) -> None:
    reports: list[TransferProgress] = []
    report = reporter(clock, reports.append)
    first, second = ObjectProgress(report, 500), ObjectProgress(report, 500)
    with first:
        clock.now += 2
        first(400)
    clock.now += 50  # a pause, after which it is sent again
    with first:
        with second:
            clock.now += 1
            second(100)
        clock.now += 1
        first(300)
    report.final()
    assert [(one.bytes_transferred, one.bytes_per_second) for one in reports] == [
        (400, 200),
        (500, 500 / 3),
        (500, 200),
    ]


async def test_a_slow_callback_is_called_seldom(clock: Clock) -> None:
    reports: list[TransferProgress] = []

    def slow(progress: TransferProgress) -> None:
        reports.append(progress)
        clock.now += 1

    one = ObjectProgress(reporter(clock, slow, total=1000), 1000)
    with one:
        for count in range(1, 1001):
            clock.now += 0.02
            one(count)
    assert clock.now == pytest.approx(100 + 1000 * 0.02 + len(reports))
    assert len(reports) == 2


# What may be a callback
