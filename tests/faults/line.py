"""A line between two programs that delays, slows, splits, cuts, resets or stops what goes over it."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Self

_READ = 65536


class End(Enum):
    """How a line ends."""

    CUT = "cut"
    """Both connections are closed, as if the program at the other end had exited."""
    RESET = "reset"
    """Both connections are reset."""
    STOP = "stop"
    """Nothing goes over the line in this direction any more, and both connections stay open."""


@dataclass(frozen=True)
class Way:
    """What happens to the bytes that go one way."""

    piece: int = _READ
    """The most bytes that arrive at once."""
    delay: float = 0
    """Seconds before each piece."""
    after: int | None = None
    """The number of bytes after which the line ends; None for a line that does not."""
    end: End = End.CUT


class Line:
    """Listens on `port` inside an `async with`, and connects each connection to the server at `target`.

    `there` is the way to the server, `back` the way from it.
    """

    def __init__(self, target: int, *, there: Way | None = None, back: Way | None = None) -> None:
        self.there, self.back = there or Way(), back or Way()
        self.port = 0
        self.carried = (0, 0)
        """The bytes that went there and back on the last connection that ended."""
        self._target = target
        self._server: asyncio.Server | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._called, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for call in self._calls:
            call.cancel()
        await self.quiet()

    async def quiet(self) -> None:
        """Wait for the end of all connections."""
        if self._calls:
            await asyncio.wait(self._calls)

    def _called(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.ensure_future(self._carry(reader, writer))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward, back = await asyncio.open_connection("127.0.0.1", self._target)
        except BaseException:  # a caller that gave up meanwhile
            writer.transport.abort()
            raise
        ways = [_Carrier(self.there, reader, back), _Carrier(self.back, onward, writer)]
        tasks = [asyncio.ensure_future(way.run()) for way in ways]
        ended = None
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            ended = next(way.ended for way, task in zip(ways, tasks, strict=True) if task.done())
        finally:
            self.carried = (ways[0].carried, ways[1].carried)
            for task in tasks:
                task.cancel()
            for each in (back, writer):
                close(each, ended)


class _Carrier:
    """Carries bytes one way."""

    def __init__(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.carried = 0
        self.ended = End.CUT
        self._way, self._reader, self._writer = way, reader, writer

    async def run(self) -> None:
        """Return when the line ends, or the program that sends."""
        way = self._way
        with suppress(ConnectionError):
            while way.after is None or self.carried < way.after:
                room = way.piece if way.after is None else min(way.piece, way.after - self.carried)
                data = await self._reader.read(room)
                if not data:
                    return
                await asyncio.sleep(way.delay)
                self._writer.write(data)
                await self._writer.drain()
                self.carried += len(data)
            self.ended = way.end
            if way.end is End.STOP:
                await asyncio.Future()


def close(writer: asyncio.StreamWriter, end: End | None) -> None:
    """Close a connection after what was written; reset it for `RESET`, drop what was written for None."""
    if end is End.RESET:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if end is End.CUT:
        writer.close()
    else:
        writer.transport.abort()
