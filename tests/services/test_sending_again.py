"""What a broken association has cut off while it was read is sent again, and is read by one thread only."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

import pytest
from tests.sample_objects import CT, EXPLICIT, dataset_bytes, encoded, instance, save

import dimse
from dimse import ClientOptions, DatasetSource, RetryPolicy
from dimse.dataset.sources import Reader
from dimse.testing import ScriptedPeer, listening, response

QUICK = RetryPolicy(delay=0.01, factor=1)


class Gate:
    """Where a reader waits, in a thread, after `count` reads, until it may go on.

    It goes on when its time has come, or when somebody else has read a little meanwhile, who waits for it then.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.reached, self.may_go_on, self.through = threading.Event(), threading.Event(), threading.Event()

    @contextmanager
    def passing(self) -> Iterator[None]:
        self.count -= 1
        if self.count == -10:
            self.may_go_on.set()
            self.through.wait(20)
        waits = self.count == 0
        if waits:
            self.reached.set()
            self.may_go_on.wait(20)
        yield
        if waits:
            self.through.set()


class Stream(BytesIO):
    def __init__(self, data: bytes, gate: Gate) -> None:
        super().__init__(data)
        self.gate = gate

    def read(self, size: int | None = -1, /) -> bytes:
        with self.gate.passing():
            return super().read(size)


class OfTheUsers(DatasetSource):
    """A source that reads one file, in asyncio's threads and into the buffer that it is given."""

    sop_class_uid, sop_instance_uid, transfer_syntax_uid, name = CT, "1.2.3.4", EXPLICIT, "of the user's"
    repeatable = True

    def __init__(self, data: bytes, gate: Gate) -> None:
        self.length = len(data)
        self.file, self.gate = BytesIO(data), gate

    def open(self) -> Reader:
        self.file.seek(0)
        return ReaderOfTheUsers(self.file, self.gate)


class ReaderOfTheUsers(Reader):
    def __init__(self, file: BytesIO, gate: Gate) -> None:
        self.file, self.gate = file, gate

    async def read_into(self, buffer: memoryview) -> int:
        return await asyncio.to_thread(self.read, buffer)

    def read(self, buffer: memoryview) -> int:
        with self.gate.passing():
            return self.file.readinto(buffer)

    def close(self) -> None:
        """The file stays open."""


def breaks(gate: Gate) -> Callable[[ScriptedPeer], Awaitable[None]]:
    """Vanish while the reader waits."""

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        assert await asyncio.to_thread(gate.reached.wait, 20)
        peer.reset()
        asyncio.get_running_loop().call_later(0.2, gate.may_go_on.set)

    return script


def takes_it(received: list[bytes | None]) -> Callable[[ScriptedPeer], Awaitable[None]]:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        message = await peer.receive_message()
        received.append(message.data)
        await peer.send(response(message))
        await peer.answer_release()

    return script


@pytest.mark.parametrize("kind", ["stream", "of the user's"])
async def test_what_was_read_when_the_association_broke(kind: str, tmp_path: Path) -> None:
    path = save(instance(pixels=1_000_000), tmp_path / "a.dcm")
    gate = Gate(20 if kind == "stream" else 10)
    whole = dataset_bytes(path)
    source = Stream(path.read_bytes(), gate) if kind == "stream" else OfTheUsers(whole, gate)
    received: list[bytes | None] = []
    async with asyncio.timeout(15), listening(breaks(gate), takes_it(received)) as address:
        report = await dimse.send(address, source, retry=QUICK, options=ClientOptions(operations_window=1))
    assert received == [whole]
    assert report.results[0].attempts == 2


class Deaf(ReaderOfTheUsers):
    """A reader that does not end when it is cancelled."""

    async def read_into(self, buffer: memoryview) -> int:
        self.gate.reached.set()
        while not self.gate.may_go_on.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
        return len(buffer)


async def test_a_reader_that_does_not_end_when_it_is_cancelled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dimse.network.sender._LEFT_BEHIND", 0.05)
    monkeypatch.setattr(OfTheUsers, "open", lambda source: Deaf(source.file, source.gate))
    gate = Gate(0)
    source = OfTheUsers(encoded(instance(pixels=100_000)), gate)
    monkeypatch.setattr(gate.may_go_on, "set", lambda: None)  # for the time being
    async with asyncio.timeout(15), listening(breaks(gate)) as address:
        report = await dimse.send(address, source, retry=RetryPolicy(retries=0), raise_failures=False)
    assert len(report.failures) == 1
    assert "does not end when it is cancelled" in caplog.text
    monkeypatch.undo()
    gate.may_go_on.set()
    await asyncio.sleep(0.05)
