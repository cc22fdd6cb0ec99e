"""Outgoing messages: commands and data sets, cut into PDUs that the peer accepts (PS3.8 Annex E)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, TypeVar

from dimse.dataset.sources import DatasetSource, Reader
from dimse.errors import DatasetError
from dimse.messages.fragments import encode_p_data
from dimse.messages.message import Message, Request, Response
from dimse.network.connection import Connection
from dimse.network.telling import Telling
from dimse.network.throttle import Throttle
from dimse.status import StatusCategory
from dimse.upper_layer.negotiation import AcceptedContext
from dimse.upper_layer.pdu import P_DATA_HEADER

logger = logging.getLogger("dimse.network")

_COMMAND_SPACE: Final = 8 * 1024
"""Room before the first fragment for the command: four UIDs and an AE title are less than 400 bytes, and a
peer's smallest maximum length spreads those over some 60 PDUs."""


_SMALL: Final = 64 * 1024
"""A data set up to this size is read whole before its request gets a slot: one at a time is read ahead."""

_LEFT_BEHIND: Final = 2.0
"""Seconds that a read has to end after its association ended or its caller was cancelled."""

T = TypeVar("T")


def _ignore(count: int) -> None:
    """A progress callback that does nothing."""


class SendLock:
    """Held while one message leaves, PDU by PDU, and until the socket has accepted it. First come, first served.

    Unlike an `asyncio.Lock` it can say, without waiting, that no task holds it or waits for it.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._users = 0

    @property
    def is_free(self) -> bool:
        """Whether no message is being sent, and none waits to be."""
        return self._users == 0

    async def __aenter__(self) -> None:
        self._users += 1
        try:
            await self._lock.acquire()
        except BaseException:
            self._users -= 1
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()
        self._users -= 1


class Sender:
    """Sends the messages of one association, each whole before the next."""

    def __init__(
        self,
        connection: Connection,
        over: asyncio.Future[None],
        check_open: Callable[[], None],
        more_follows: Callable[[], bool],
        telling: Telling,
    ) -> None:
        self.fragment_size = 0
        """The longest fragment that the peer accepts; set when the association is established."""
        self.throttle: Throttle | None = None
        """Makes messages wait, if there is a limit on bytes per second."""
        self.half_sent: int | None = None
        """The Message ID of the request whose data set is being sent: a Success for it would be premature."""
        self._connection = connection
        self._over = over
        """Done when the association has ended."""
        self._check_open = check_open
        """Raises the reason if no message may be sent."""
        self._more_follows = more_follows
        self._telling = telling
        """Whether other messages are likely to follow at once, so that this one may wait to leave with them."""
        self._lock = SendLock()
        self._buffer = bytearray()

    async def prepare(self, source: DatasetSource) -> DatasetSource | bytes:
        """Read a small data set whole, so that its message can leave in one piece as soon as it has a slot."""
        length = source.length
        if length is None or length > _SMALL:
            return source
        data = bytearray(length)
        reader = source.open()
        try:
            count = await self._read(source, reader, memoryview(data))
            await self._is_the_last(source, reader, count, is_full=count == length)
        finally:
            reader.close()
        if count % 2:
            raise DatasetError("the data set has an odd length, which cannot be sent (PS3.5 7.1.1)")
        return bytes(data)

    async def send(
        self,
        context: AcceptedContext,
        message: Message,
        data: DatasetSource | bytes | None = None,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """Send a whole message. `sent` is called with the bytes of the data set that were sent, after each PDU.

        A data set that is in memory goes into the socket with its command at once, so that cancelling this
        never leaves it half sent.
        """
        async with self._lock:
            self._check_open()
            await self._send(context, message, data, sent or _ignore)

    async def _send(
        self,
        context: AcceptedContext,
        message: Message,
        data: DatasetSource | bytes | None,
        sent: Callable[[int], None],
    ) -> None:
        if not isinstance(data, DatasetSource):
            if self.throttle is not None:
                await self._wait(len(data or b""))
            self._write(context, message, data)
            sent(len(data or b""))
            if not self._connection.has_room:
                await self._drained()
            return
        reader = data.open()
        try:
            await self._stream(context, message, data, reader, sent)
        finally:
            reader.close()

    def send_now(self, context: AcceptedContext, message: Message, data: bytes | None) -> bool:
        """Send a whole message that is in memory. Returns False if it must wait for another, or for the socket."""
        if not self._lock.is_free or self._connection.is_blocked or self.throttle is not None:
            return False
        self._check_open()
        self._write(context, message, data)
        return True

    def _write(self, context: AcceptedContext, message: Message, data: bytes | None) -> None:
        pdus = self._pdus(context, message.encode(), data)
        self._tell(message)
        is_pending = isinstance(message, Response) and message.status.category is StatusCategory.PENDING
        if is_pending or self._more_follows():
            self._connection.write_soon(pdus)
        else:
            self._connection.write(pdus)

    def _tell(self, message: Message) -> None:
        if self._telling.wants_commands:
            self._telling.command(message, is_sent=True)

    def _pdus(self, context: AcceptedContext, command: bytes, data: bytes | None) -> bytes:
        return encode_p_data(
            self._connection.machine, context.presentation_context_id, command, data, self.fragment_size
        )

    async def _wait(self, size: int) -> None:
        """Wait until the limits on bytes per second let `size` bytes pass. Raises why the association has ended."""
        assert self.throttle is not None  # noqa: S101 - as the callers have checked
        await self.throttle.wait(size)
        self._check_open()

    async def _drained(self) -> None:
        """Wait until the socket has accepted everything. The caller has a timer for it."""
        while (writable := self._connection.writable) is not None:
            await writable
        if self._connection.is_closing:
            await asyncio.sleep(0)  # a write failed; `connection_lost` reports it at the next turn

    async def _stream(
        self,
        context: AcceptedContext,
        message: Message,
        source: DatasetSource,
        reader: Reader,
        sent: Callable[[int], None],
    ) -> None:
        """Send a data set fragment by fragment, read into the buffer it is sent from; the first with the command."""
        size, length = self.fragment_size, source.length
        space = _COMMAND_SPACE + P_DATA_HEADER.size + (size if length is None else min(size, length + 1))
        if len(self._buffer) < space:
            self._buffer = bytearray(space)
        buffer = memoryview(self._buffer)
        data_start = _COMMAND_SPACE + P_DATA_HEADER.size
        place = buffer[data_start : data_start + size]
        total, is_last, prefix = 0, False, None
        while not is_last:
            count = await self._read(source, reader, place)
            total += count
            is_last = await self._is_the_last(source, reader, total, is_full=count == len(place))
            if self.throttle is not None:
                await self._wait(count)
            self._check_open()  # it may have ended while this waited or read
            if count % 2:
                raise DatasetError("the data set has an odd length, which cannot be sent (PS3.5 7.1.1)")
            if prefix is None:
                prefix = self._pdus(context, message.encode(), None)
                self._tell(message)
            header = self._connection.machine.p_data(
                context.presentation_context_id, is_command=False, is_last=is_last, length=count
            )
            self.half_sent = None if is_last else message.message_id if isinstance(message, Request) else None
            start = data_start - len(header) - len(prefix)
            buffer[start:data_start] = prefix + header
            self._connection.write(buffer[start : data_start + count])
            sent(total)
            await self._drained()
            prefix = b""

    async def _is_the_last(self, source: DatasetSource, reader: Reader, total: int, *, is_full: bool) -> bool:
        """Whether `source` has ended after `total` bytes. Raises `DatasetError` if its length differs."""
        if source.length is None:
            return not is_full
        if total == source.length and (not is_full or await self._read(source, reader, memoryview(bytearray(1))) == 0):
            return True
        if total >= source.length or not is_full:
            comparison = "fewer" if total < source.length else "more"
            raise DatasetError(f"{source.name}: {comparison} than the {source.length} bytes of its length")
        return False

    async def _read(self, source: DatasetSource, reader: Reader, place: memoryview) -> int:
        if not reader.may_wait:
            return await reader.read_into(place)
        may_end = source.repeatable and not reader.stops_at_once
        return await self.while_open(reader.read_into(place), source.name, may_end=may_end)

    async def while_open(self, work: Coroutine[Any, Any, T], name: str, *, may_end: bool = False) -> T:
        """Await `work`, which reads from a source, and cancel it when the association ends: a pipe may never deliver.

        With `may_end`, `work` has a little time to end by itself before it is cancelled: a thread left behind would
        read from the source at the same time as the next attempt.
        """
        reading = asyncio.ensure_future(work)
        first: set[asyncio.Future[Any]] = {reading, self._over}
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            self._check_open()
            return reading.result()
        finally:
            if not reading.done():
                self._buffer = bytearray()  # a read left behind may still write into the old one
                if may_end:
                    await asyncio.wait({reading}, timeout=_LEFT_BEHIND)
                reading.cancel()
                await asyncio.wait({reading}, timeout=_LEFT_BEHIND)
            if not reading.done():
                text = "%s: a read does not end when it is cancelled; it is left running"
                logger.warning(text, name, extra=self._telling.fields)
            elif not reading.cancelled():
                reading.exception()  # retrieved, so that asyncio does not log it
