"""DICOM files in memory and in asynchronous streams, as sources."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterable, AsyncIterator
from concurrent.futures import Future
from io import RawIOBase
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, cast

from dimse.dataset.encoding import Buffer
from dimse.dataset.sources import Part10Source, PiecesReader, Reader, StreamSource, check_complete, in_order
from dimse.dataset.threads import in_thread

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_STEP: Final = 64 * 1024


class AsyncReadable(Protocol):
    """An asynchronous binary stream, such as `asyncio.StreamReader` or the body of an HTTP message."""

    async def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`; empty at the end."""


class BytesSource(Part10Source):
    """A DICOM file in memory. It is not copied, so it must not change until it is sent."""

    repeatable = True

    def __init__(self, data: Buffer, name: str = "the bytes") -> None:
        self.name = name
        file = _Memory(memoryview(data).cast("B"))
        meta = self._read_file_meta(file)
        self._data = file.view[meta.length :]
        self.length: int = len(self._data)
        check_complete(self, self._data[:_STEP], file, meta.length)

    def open(self) -> Reader:
        """Begin a pass."""
        return PiecesReader(in_order([self._data]))


class _Memory(RawIOBase):
    """A buffer as a file."""

    def __init__(self, view: memoryview) -> None:
        self.view = view
        self._position = 0

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        place = memoryview(buffer).cast("B")
        part = self.view[self._position : self._position + len(place)]
        place[: len(part)] = part
        self._position += len(part)
        return len(part)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: len(self.view)}[whence]
        self._position = max(start + offset, 0)
        return self._position


class AsyncStreamSource(StreamSource):
    """A DICOM file in an asynchronous stream or iterator, which can be read only once.

    Call `from_async` to make one: the constructor reads the File Meta Information and must run in a thread.
    """

    def __init__(self, stream: _Awaited, name: str) -> None:
        super().__init__(cast("BinaryIO", stream), name)
        self._awaited = stream

    def open(self) -> Reader:
        """Begin the only pass."""
        return _AsyncReader(self._awaited, super().open())


async def from_async(stream: AsyncReadable | AsyncIterable[Buffer], name: str) -> AsyncStreamSource:
    """A source for `stream`, which is read on the running event loop. Raises `DatasetError`."""
    awaited = _Awaited(pieces_of(stream))
    try:
        return await in_thread(lambda: AsyncStreamSource(awaited, name))
    except BaseException:
        awaited.stop()
        raise


class _Awaited:
    """An asynchronous iterator as a blocking stream, to be read outside the thread of its event loop."""

    def __init__(self, pieces: AsyncIterator[Buffer]) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces: AsyncIterator[Buffer] | None = pieces
        """None once this is stopped."""
        self._rest = memoryview(b"")
        self._next: Future[Buffer | None] | None = None
        self._lock = threading.Lock()
        """Protects `_pieces` and `_next`, which both threads use."""

    def seekable(self) -> bool:
        return False

    def read(self, size: int, /) -> bytes:
        while not self._rest:
            with self._lock:
                if self._pieces is None:
                    return b""
                self._next = asyncio.run_coroutine_threadsafe(_next_of(self._pieces), self._loop)
            piece = self._next.result()
            if piece is None:
                return b""
            self._rest = memoryview(piece).cast("B")
        part, self._rest = self._rest[:size], self._rest[size:]
        return bytes(part)

    def stop(self) -> None:
        """Cancel a read in progress, and read no more."""
        with self._lock:
            self._pieces = None
            if self._next is not None:
                self._next.cancel()


class _AsyncReader(Reader):
    """Reads in a thread; closing it also ends a read that was left behind."""

    stops_at_once = True

    def __init__(self, stream: _Awaited, reader: Reader) -> None:
        self._stream, self._reader = stream, reader

    async def read_into(self, buffer: memoryview) -> int:
        return await self._reader.read_into(buffer)

    def close(self) -> None:
        self._stream.stop()
        self._reader.close()


async def _next_of(pieces: AsyncIterator[Buffer]) -> Buffer | None:
    return await anext(pieces, None)


async def pieces_of(stream: AsyncReadable | AsyncIterable[Buffer]) -> AsyncIterator[Buffer]:
    """The bytes of an asynchronous stream or iterator, piece by piece."""
    if isinstance(stream, AsyncIterable) and not hasattr(stream, "read"):
        async for piece in stream:
            yield piece
        return
    while piece := await cast("AsyncReadable", stream).read(_STEP):
        yield piece
