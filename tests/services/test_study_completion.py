"""Studies are complete when nothing of them has arrived for a while, by the clock of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID
from tests.sample_objects import instance

import dimse
from dimse import Server, ServerOptions, Status, StoreRequest, StudyComplete
from dimse.services import study_completion

QUIET = 30.0


class Clock:
    """The clock of the event loop, which stands still until it is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time()
        self._timers: list[tuple[float, Callable[[], object], asyncio.Handle]] = []
        monkeypatch.setattr(self._loop, "time", lambda: self._now)
        monkeypatch.setattr(self._loop, "call_at", self._call_at)

    def _call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        handle = asyncio.Handle(callback, args, self._loop, context)
        self._timers.append((when, partial(callback, *args), handle))
        return handle

    async def advance(self, seconds: float) -> None:
        """Let time pass, and the timers that are due run, with the tasks that they start."""
        self._now += seconds
        due = [timer for timer in self._timers if timer[0] <= self._now]
        self._timers = [timer for timer in self._timers if timer[0] > self._now]
        for _, callback, handle in due:
            if not handle.cancelled():
                callback()
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Archive:
    """A server with a handler of complete studies, which may have to wait."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.complete: list[StudyComplete] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.answers: list[int] = []
        self.server = Server("STORE", port=0, options=ServerOptions(maximum_connections_per_second=None))

        @self.server.on_c_store
        async def store(request: StoreRequest) -> int:
            await request.save_under(self.folder)
            return self.answers.pop() if self.answers else Status.SUCCESS

        @self.server.on_study_complete(quiet=QUIET)
        async def complete(study: StudyComplete) -> None:
            self.complete.append(study)
            await self.go_on.wait()

    async def receive(self, *instances: Dataset, calling: str = "CT1") -> None:
        """Send them to it, on an association of their own."""
        options = dimse.RetryPolicy(retries=0)
        address = f"STORE@127.0.0.1:{self.server.port}"
        await dimse.send(address, instances, calling_ae_title=calling, retry=options)


@asynccontextmanager
async def archive_in(folder: Path) -> AsyncIterator[Archive]:
    archive = Archive(folder)
    async with archive.server:
        yield archive


def study_of(study: str, *uids: str) -> Sequence[Dataset]:
    instances = [instance(uid) for uid in uids]
    for each in instances:
        each.StudyInstanceUID = UID(study)
    return instances


async def test_a_study_is_complete_once_after_all_its_associations(clock: Clock, tmp_path: Path) -> None:
    async with archive_in(tmp_path) as archive:
        await archive.receive(*study_of("1.1", "1.1.1", "1.1.2"), *study_of("1.2", "1.2.1"))
        await clock.advance(QUIET - 1)
        await archive.receive(*study_of("1.1", "1.1.3"), calling="CT2")
        assert archive.complete == []
        await clock.advance(1)
        assert [study.study_instance_uid for study in archive.complete] == ["1.2"]
        await clock.advance(QUIET - 2)
        assert len(archive.complete) == 1
        await clock.advance(1)
        await clock.advance(10 * QUIET)
        _, study = archive.complete
    assert (study.study_instance_uid, study.instances) == ("1.1", 3)
    assert study.calling_ae_titles == ("CT1", "CT2")
    assert [path.name for path in study.paths] == ["1.1.1.dcm", "1.1.2.dcm", "1.1.3.dcm"]
    assert all(path.is_file() for path in study.paths)
    assert study.first_arrival < study.last_arrival
    assert study.first_arrival.utcoffset() is not None


async def test_what_arrives_later_is_a_new_round_after_the_handler_has_returned(clock: Clock, tmp_path: Path) -> None:
    async with archive_in(tmp_path) as archive:
        archive.go_on.clear()
        await archive.receive(*study_of("1.1", "1.1.1"))
        await clock.advance(QUIET)
        await archive.receive(*study_of("1.1", "1.1.2"), *study_of("1.2", "1.2.1"))
        await clock.advance(QUIET)
        assert [study.study_instance_uid for study in archive.complete] == ["1.1", "1.2"]
        archive.go_on.set()
        await clock.advance(0)
    assert [study.study_instance_uid for study in archive.complete] == ["1.1", "1.2", "1.1"]
    assert [study.instances for study in archive.complete] == [1, 1, 1]
    assert archive.complete[2].paths[0].name == "1.1.2.dcm"


async def test_what_was_stored_already_prolongs_a_round_and_opens_none(clock: Clock, tmp_path: Path) -> None:
    async with archive_in(tmp_path) as archive:
        again = study_of("1.1", "1.1.1")
        await archive.receive(*again)
        await clock.advance(QUIET - 1)
        await archive.receive(*again)
        await clock.advance(QUIET - 1)
        assert archive.complete == []
        await clock.advance(1)
        await archive.receive(*again)
    (study,) = archive.complete
    assert study.instances == 1


async def test_a_refused_instance_and_one_without_a_study_do_not_count(clock: Clock, tmp_path: Path) -> None:
    async with archive_in(tmp_path) as archive:
        (without,) = study_of("1.1", "1.1.1")
        del without.StudyInstanceUID
        await archive.receive(without)
        archive.answers = [Status.OUT_OF_RESOURCES]
        with pytest.raises(ExceptionGroup):
            await archive.receive(*study_of("1.1", "1.1.2"))
        await clock.advance(QUIET)
    assert archive.complete == []


async def test_open_studies_are_complete_when_the_server_stops(tmp_path: Path) -> None:
    async with archive_in(tmp_path) as archive:
        await archive.receive(*study_of("1.1", "1.1.1"), *study_of("1.2", "1.2.1"))
    assert [study.study_instance_uid for study in archive.complete] == ["1.1", "1.2"]


async def test_a_handler_that_hangs_is_cancelled_when_the_server_stops(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive = Archive(tmp_path)
    archive.server.options = replace(archive.server.options, stop_timeout=0)
    archive.go_on.clear()
    async with archive.server:
        await archive.receive(*study_of("1.1", "1.1.1"))
    assert "has not ended for study 1.1; cancelled" in caplog.text
    async with archive.server:  # as if it had not been there
        archive.server.options = replace(archive.server.options, stop_timeout=30)
        archive.go_on.set()
        await archive.receive(*study_of("1.1", "1.1.2"))
    assert archive.complete[-1].paths[0].name == "1.1.2.dcm"


async def test_a_handler_that_fails_is_logged_and_called_again(
    clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with archive_in(tmp_path) as archive:

        @archive.server.on_study_complete(quiet=QUIET)
        async def fail(study: StudyComplete) -> None:
            archive.complete.append(study)
            raise asyncio.CancelledError if len(archive.complete) == 1 else ValueError

        for uid in ("1.1.1", "1.1.2", "1.1.3"):
            await archive.receive(*study_of("1.1", uid))
            await clock.advance(QUIET)
    assert len(archive.complete) == 3
    assert caplog.text.count("the handler of complete studies failed for study 1.1") == 3


async def test_what_waits_has_a_limit(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_completion, "MAXIMUM_INSTANCES", 2)
    async with archive_in(tmp_path) as archive:
        await archive.receive(*study_of("1.1", "1.1.1"))
        await clock.advance(1)
        await archive.receive(*study_of("1.2", "1.2.1", "1.2.2"))
        assert [study.study_instance_uid for study in archive.complete] == ["1.1"]  # early: it was quiet longest
        archive.go_on.clear()
        sending = asyncio.create_task(archive.receive(*study_of("1.3", "1.3.1")))
        while len(archive.complete) < 2:  # noqa: ASYNC110 - the handler of another study says nothing to the sender
            await asyncio.sleep(0)
        await clock.advance(0)
        assert not sending.done()
        archive.go_on.set()
        await sending
    assert [study.instances for study in archive.complete] == [1, 2, 1]


@pytest.mark.parametrize("quiet", [0, -1, float("nan")])
def test_a_time_that_is_none(quiet: float) -> None:
    with pytest.raises(ValueError, match="quiet must be a positive number of seconds, not"):
        Server().on_study_complete(quiet=quiet)


def test_a_handler_that_cannot_be_awaited() -> None:
    handler: Callable[[StudyComplete], object] = print
    with pytest.raises(TypeError, match="must be an async def"):
        Server().on_study_complete()(handler)  # type: ignore[arg-type] # the mistake of this test
