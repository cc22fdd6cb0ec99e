"""Receivers of the data set of a message: dropped, joined, or read by a task at its own pace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

from dimse.errors import DimseError, LocalProtocolError, RemoteProtocolError
from dimse.network.connection import Connection
from dimse.upper_layer.deviations import out_of_step

MAXIMUM_IDENTIFIER_LENGTH: Final = 16 * 1024 * 1024
"""Bytes of the identifier or attributes of a message: this is enough for 250 000 UIDs."""

IDENTIFIER_GRACE: Final = 2.0
"""Seconds for a data set to begin that a final response or a DIMSE-N request announces: it is in the next PDU, or never
sent."""


class Receiver(Protocol):
    """Receives the data set of one message. Called from the event loop; must not block."""

    def receive(self, data: memoryview, is_last: bool) -> None:
        """The next part. `data` is valid until `buffer_used` returns, or longer while the connection is held."""

    def buffer_used(self) -> None:
        """All fragments in the receive buffer were received."""

    def failed(self, error: Exception) -> None:
        """The rest will not be received."""


class Discard:
    """A receiver that reads a data set to its end and keeps nothing."""

    def receive(self, data: memoryview, is_last: bool) -> None: ...

    def buffer_used(self) -> None: ...

    def failed(self, error: Exception) -> None: ...


class Collect:
    """Joins a data set of at most `maximum` bytes and calls `done` with it; with None if it fails."""

    def __init__(self, maximum: int, done: Callable[[bytes | None], None]) -> None:
        self._maximum = maximum
        self._done: Callable[[bytes | None], None] | None = done
        self._data: bytearray | None = None
        """The data received so far; None before the first fragment."""

    def receive(self, data: memoryview, is_last: bool) -> None:
        if self._done is None:
            return
        if self._data is None:
            self._data = bytearray()
        if len(self._data) + len(data) > self._maximum:
            raise RemoteProtocolError(f"an identifier of more than {self._maximum} bytes", reason=0)
        self._data += data
        if is_last:
            self._end(bytes(self._data))

    def buffer_used(self) -> None: ...

    def failed(self, error: Exception) -> None:  # noqa: ARG002 - as `Receiver` has it
        self._end(None)

    def give_up_unless_begun(self) -> None:
        """End with None if nothing was received yet; later data are dropped."""
        if self._data is None:
            self._end(None)

    def _end(self, data: bytes | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(data)


def collect_final(done: Callable[[bytes | None], None]) -> Collect:
    """A receiver of the data set that a final response announces, which may never come."""
    receiver = Collect(MAXIMUM_IDENTIFIER_LENGTH, done)
    asyncio.get_running_loop().call_later(IDENTIFIER_GRACE, receiver.give_up_unless_begun)
    return receiver


class IncomingData:
    """A data set that a task pulls, at its own pace.

    Received data stay in the receive buffer, uncopied, and the connection is held until they were pulled and used. So
    a slow reader slows the peer, and nothing queues up. The rules of the views:

    1. `receive` adds views of the buffer; `buffer_used` holds the connection, so that the buffer is kept.
    2. `pull` returns all views at once. They are valid until the next `pull`, `drain` or `release`, which lets the
       connection go on: the buffer is then read into again, under the same views.
    3. A thread that uses views must be awaited through `use`. While it runs, `drain` and `release` wait for it, even
       if the task that awaited it is gone.
    4. Views that were not pulled die with the association: `failed` drops them, as the buffer is returned. Views
       that were pulled stay valid until the reader comes for more, and then it gets the reason.
    5. A service that does not want the rest calls `drain`: it is read to its end and dropped, since the next message
       begins after it. From then on a task that still reads gets the reason given there, and no views of others' data.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._views: list[memoryview] = []
        self._pulled = False
        self._complete = False
        self._unwanted: DimseError | None = None
        """Why the rest is dropped, if it is."""
        self.error: Exception | None = None
        """Why the rest will not be received."""
        self.length = 0
        """Bytes that were received so far."""
        self._wake: asyncio.Future[None] | None = None
        self._used: asyncio.Future[None] | None = None
        """Done when `use` is, while there is one."""

    # As `Receiver`

    def receive(self, data: memoryview, is_last: bool) -> None:
        if self._complete:
            raise out_of_step("a data set after its request was served without it")
        self.length += len(data)
        if data and self._unwanted is None:
            self._views.append(data)
        self._complete = is_last
        if is_last:
            self.buffer_used()

    def buffer_used(self) -> None:
        if self._views or self._complete:
            self._wake_up()
        if self._views:
            self._connection.hold(self)

    def failed(self, error: Exception) -> None:
        self.error = error
        if not self._pulled:
            self._views.clear()  # the buffer that they are views of is not held
        self._wake_up()

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def may_be_absent(self, absent: Callable[[], None]) -> None:
        """End without any data, and call `absent`, if it does not begin within `IDENTIFIER_GRACE` seconds."""
        asyncio.get_running_loop().call_later(IDENTIFIER_GRACE, self._give_up, absent)

    def _give_up(self, absent: Callable[[], None]) -> None:
        if self._has_begun or self.error is not None:
            return
        if self._connection.is_held or self._connection.machine.in_pdu:
            self.may_be_absent(absent)  # it may have begun, and is not read yet
            return
        self.end_unless_begun()
        absent()

    def end_unless_begun(self) -> None:
        """End without any data if nothing was received yet; later data are out of step."""
        if not self._has_begun:
            self._complete = True
            self._wake_up()

    @property
    def _has_begun(self) -> bool:
        return self._complete or self.length > 0

    # Reading

    @property
    def waiting(self) -> bool:
        """Whether a reader waits for the peer to send more."""
        return self._wake is not None

    @property
    def exhausted(self) -> bool:
        """Whether the peer has sent everything and all of it was pulled."""
        return self._complete and self._unwanted is None and (self._pulled or not self._views)

    @property
    def is_used_up(self) -> bool:
        """Whether all of it was pulled and used, so that the connection was resumed."""
        return self._complete and self._pulled and not self._views

    def pull(self) -> Coroutine[Any, Any, list[memoryview]]:
        """Await it: what has arrived since the last call, as views that are valid until the next; empty at the end.

        Raises what ended the association if it ended before the data set did, and what `drain` was given if the rest
        is no longer needed, since the reader has not read the data set to its end.
        """
        self.check_wanted()
        return self._pull()

    def check_wanted(self) -> None:
        """Raise why the rest is not wanted, if it is not: its views may show the data of others by now."""
        if self._unwanted is not None:
            raise self._unwanted

    async def _pull(self) -> list[memoryview]:
        if self._wake is not None:
            raise LocalProtocolError("the data set is being read already")
        if self._pulled:
            self._pulled = False
            self._views.clear()
            self._connection.resume(self)
        while not self._views and not self._complete:
            if self.error is not None:
                raise self.error
            wake = self._wake = asyncio.get_running_loop().create_future()
            try:
                await wake
            finally:
                if self._wake is wake:  # else `drain` waits in its place
                    self._wake = None
        self._pulled = True
        return self._views

    async def use(self, work: Awaitable[None]) -> None:
        """Await `work`, which uses the views that were pulled last; the receive buffer is kept until then."""
        used = self._used = asyncio.get_running_loop().create_future()
        try:
            await work
        finally:
            self._used = None
            used.set_result(None)

    async def drain(self, why: DimseError | None = None) -> None:
        """Read the rest to its end and drop it (so that the next message is found); a task that reads it gets `why`."""
        if self._unwanted is None:
            self._unwanted = why or LocalProtocolError("the rest of the data set is no longer needed")
        if self._wake is not None and not self._wake.done():
            # A task that the handler left behind would wait forever.
            self._wake.set_exception(self._unwanted)
            self._wake = None
        while self._used is not None:  # by a write of such a task
            await asyncio.shield(self._used)
        self._views.clear()
        self._pulled = True
        while await self._pull():
            pass

    def release(self) -> None:
        """Let the connection go on once `use` is done: nothing of the data set is needed any more."""
        if self._used is not None:
            self._used.add_done_callback(lambda _: self.release())
            return
        self._views.clear()
        self._connection.resume(self)
