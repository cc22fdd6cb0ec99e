"""Writing to file objects: of any kind, whole, and never on the event loop if it could block there."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import threading
from io import FileIO
from tempfile import SpooledTemporaryFile

import pytest

from dimse.dataset.file_objects import writer_to

DATA = bytes(range(256)) * 1000


async def test_a_plain_write_runs_beside_the_event_loop() -> None:
    places = set[threading.Thread]()

    class File(io.BytesIO):
        def write(self, data: object, /) -> int:
            places.add(threading.current_thread())
            return super().write(data)  # type: ignore[arg-type]

    file = File()
    write = writer_to(file)
    await write(DATA)
    await write(DATA)
    assert file.getvalue() == DATA * 2
    assert threading.current_thread() not in places


async def test_temporary_files() -> None:
    with SpooledTemporaryFile(max_size=1000) as file:
        await writer_to(file)(DATA)
        file.seek(0)
        assert file.read() == DATA


async def test_an_async_write_is_awaited() -> None:
    class File:
        def __init__(self) -> None:
            self.parts: list[bytes] = []

        async def write(self, data: bytes) -> int:
            assert asyncio.current_task()
            await asyncio.sleep(0)
            self.parts.append(data)
            return len(data)

    file = File()
    await writer_to(file)(DATA)
    assert file.parts == [DATA]


async def test_a_plain_write_that_returns_an_awaitable() -> None:
    class File:
        def __init__(self) -> None:
            self.parts: list[bytes] = []

        def write(self, data: bytes) -> object:
            return self._write(data)

        async def _write(self, data: bytes) -> None:
            self.parts.append(data)

    file = File()
    await writer_to(file)(DATA)
    assert file.parts == [DATA]


async def test_a_stream_writer_of_asyncio_is_drained() -> None:
    """What is not read stays with its writer: 10 MB do not fit into a socket."""
    received = bytearray()
    done = asyncio.Event()

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            received.extend(piece)
        writer.close()
        done.set()

    async with await asyncio.start_server(read, "127.0.0.1", 0) as server:
        _, stream = await asyncio.open_connection(*server.sockets[0].getsockname())
        write = writer_to(stream)
        for _ in range(40):
            await write(DATA)
            assert stream.transport.get_write_buffer_size() <= stream.transport.get_write_buffer_limits()[1]
        stream.close()
        await done.wait()
    assert received == DATA * 40


async def test_a_raw_file_that_takes_a_part() -> None:
    class File(io.BytesIO):
        def write(self, data: object, /) -> int:
            return super().write(bytes(data)[:100_000])  # type: ignore[call-overload]

    file = File()
    await writer_to(file)(DATA)
    assert file.getvalue() == DATA


async def test_a_file_that_takes_nothing_more() -> None:
    class File(io.BytesIO):
        def write(self, _: object, /) -> int:
            return 0

    with pytest.raises(OSError, match="takes no more"):
        await writer_to(File())(DATA)


@pytest.mark.parametrize("file", [io.StringIO(), object(), 42, None])
async def test_what_is_no_binary_file_object(file: object) -> None:
    with pytest.raises(TypeError, match=r"save\(\) needs a path, or an object whose write\(\) takes bytes"):
        writer_to(file)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of Windows block until Python 3.12")
async def test_a_full_pipe_that_does_not_block_is_an_error() -> None:
    out, into = os.pipe()
    os.set_blocking(into, False)
    with FileIO(out), FileIO(into, "wb") as file, pytest.raises(OSError, match="takes no bytes now"):
        await writer_to(file)(DATA * 10)
