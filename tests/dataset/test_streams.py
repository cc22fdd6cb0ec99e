"""A read that was cancelled goes on in its thread; nobody else reads or closes its stream before it has ended."""

from __future__ import annotations

import asyncio
import threading
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from tests.dataset.test_sources import DATA, META, drain

from dimse.dataset.discover import discover
from dimse.dataset.sources import Reader, StreamReader, StreamSource
from dimse.errors import DatasetError


class Blocking(BytesIO):
    """A stream whose next read of the data set can be made to wait until it may continue."""

    def __init__(self, data: bytes = META + DATA) -> None:
        super().__init__(data)
        self.blocks = False
        self.begun, self.may_go_on = threading.Event(), threading.Event()

    def read(self, size: int | None = -1, /) -> bytes:
        if self.blocks:
            self.blocks = False
            self.begun.set()
            self.may_go_on.wait(20)
        return super().read(size)


async def leave_a_read_behind(reader: Reader, stream: Blocking) -> None:
    stream.blocks = True
    reading = asyncio.ensure_future(reader.read_into(memoryview(bytearray(1000))))
    assert await asyncio.to_thread(stream.begun.wait, 20)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    reader.close()


async def test_the_next_pass_waits_for_the_read_that_was_left_behind() -> None:
    stream = Blocking()
    source = StreamSource(stream)
    await leave_a_read_behind(source.open(), stream)
    reading = asyncio.ensure_future(drain(source.open()))
    for _ in range(10):
        await asyncio.sleep(0.001)
    stream.may_go_on.set()
    assert await reading == DATA


async def test_a_read_that_was_left_behind_before_its_turn_reads_nothing() -> None:
    stream = Blocking()
    source = StreamSource(stream)
    first, late = source.open(), source.open()
    stream.blocks = True
    reading = asyncio.ensure_future(first.read_into(memoryview(bytearray(1000))))
    assert await asyncio.to_thread(stream.begun.wait, 20)
    waiting = asyncio.ensure_future(late.read_into(memoryview(bytearray(1000))))
    await asyncio.sleep(0.01)
    waiting.cancel()
    late.close()
    stream.may_go_on.set()
    assert await reading == 1000
    assert stream.tell() == len(META) + 1000
    first.close()


async def test_the_wait_for_it_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dimse.dataset.sources._LEFT_BEHIND", 0.05)
    stream = Blocking()
    source = StreamSource(stream, "a name")
    await leave_a_read_behind(source.open(), stream)
    with pytest.raises(DatasetError, match=r"a name: an earlier read of the stream has not ended in 0\.05 s"):
        await drain(source.open())
    stream.may_go_on.set()


async def test_passes_that_overlap_do_not_mix() -> None:
    source = StreamSource(BytesIO(META + DATA))
    assert await asyncio.gather(*(drain(source.open(), 100) for _ in range(3))) == [DATA] * 3


async def test_what_is_read_is_closed_afterwards() -> None:
    closed = threading.Event()
    stream = Blocking(DATA)
    reader = StreamReader(stream, b"", len(DATA), "a name", "1.2.840.10008.1.2.1", closed.set)
    await leave_a_read_behind(reader, stream)
    assert not closed.is_set()
    stream.may_go_on.set()
    assert await asyncio.to_thread(closed.wait, 20)


async def test_a_member_of_a_zip_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", META + DATA * 100)
    (source,) = discover([tmp_path / "a.zip"])
    assert not hasattr(source, "error")
    for _ in range(20):
        reader = source.open()
        reading = asyncio.ensure_future(reader.read_into(memoryview(bytearray(2_000_000))))
        await asyncio.sleep(0)
        reading.cancel()
        reader.close()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert await drain(source.open(), 100_000) == DATA * 100
