"""Bytes between a transport and the upper layer machine.

Received bytes stay in the one buffer they were read into: the machine gives views of it, and while a
receiver holds views (`hold`) the socket is not read. Sent bytes leave the buffer they were assembled in
before it is used again (`writable`). So neither direction has a queue but for a few small messages that leave
together, and TCP's backpressure is the only one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol, cast

from dimse.address import host_and_port
from dimse.errors import ConnectionLost
from dimse.network.timers import unsent_bytes
from dimse.upper_layer.machine import CloseTransport, Machine, MachineEvent

RECEIVE_BUFFER_SIZE: Final = 1024 * 1024


_ROOM: Final = 64 * 1024
"""Bytes of messages that may wait for the socket."""

_TOGETHER: Final = 8
"""Messages that leave in one system call at most: with more, the peer would have nothing to do in the meantime."""

_TOGETHER_BYTES: Final = 16 * 1024
"""... and bytes of them, if they are more than one."""

_QUICKACK: Final[int] = getattr(socket, "TCP_QUICKACK", 0)
"""Linux has this option; elsewhere it is 0 and not set."""


class BufferPool:
    """Receive buffers, shared by the connections of one client or server.

    A connection has one only from the moment bytes come until they are used, so an idle one has none.
    """

    def __init__(self) -> None:
        self._free: list[bytearray] = []

    def take(self) -> bytearray:
        return self._free.pop() if self._free else bytearray(RECEIVE_BUFFER_SIZE)

    def give_back(self, buffer: bytearray) -> None:
        if not self._free:
            self._free.append(buffer)


class ConnectionOwner(Protocol):
    """Is told what happens on a connection. All calls come from the event loop and must not block."""

    def connected(self) -> None:
        """The transport connection is open."""

    def handle_event(self, event: MachineEvent) -> None:
        """The machine has produced `event`."""

    def buffer_used(self) -> None:
        """All events of what was received are told; views of it are valid only while `hold` keeps it."""

    @property
    def awaits_more(self) -> bool:
        """Whether the peer has more to send before it is this side's turn."""

    def disconnected(self, error: Exception | None) -> None:
        """The transport connection is closed, with the operating system's reason if it had one."""


class Connection(asyncio.BufferedProtocol):
    """One transport connection and the machine that it feeds.

    `on_open` is called when it is open, and may set `owner`: before, a TLS handshake may still fail, of which
    nobody is told.
    """

    def __init__(self, machine: Machine, pool: BufferPool, on_open: Callable[[Connection], None] | None = None) -> None:
        self.machine = machine
        self.owner: ConnectionOwner | None = None
        self.bytes_received = 0
        self.bytes_sent = 0
        self.writable: asyncio.Future[None] | None = None
        """What to await, again and again, until it is None: then nothing of what was written is left to send."""
        self.peer_name = ""
        self.peer_host = ""
        self._loop = asyncio.get_running_loop()
        self._pool = pool
        self._on_open = on_open
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._buffer: bytearray | None = None
        self._processing = False
        self._ahead: bytearray | None = None
        """What was read while the buffer was held: once, as a rule, as reading is then paused."""
        self._ahead_size = 0
        self._paused = False
        self._holders: set[object] = set()
        self._eof = False
        self._owes_ack = False
        """Whether nothing was sent since the last read, which would have carried its acknowledgment."""
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._together: list[bytes] = []
        """Messages that leave with the next, or when the event loop has come round."""
        self._together_size = 0
        self._artim: asyncio.TimerHandle | None = None

    # asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # Nothing is left in the transport when it says that it can take more (see `writable`).
        # asyncio's TLS pauses *at* the limit, so that 0 would pause it for good.
        self._transport.set_write_buffer_limits(high=1 if transport.get_extra_info("sslcontext") else 0, low=0)
        self._socket = transport.get_extra_info("socket")
        if self._socket is not None and self._socket.family in (socket.AF_INET, socket.AF_INET6):
            # With Nagle's algorithm against delayed ACK, each message would cost 40 ms.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._owes_ack = True
            self._acknowledge()
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer_host, self.peer_name = peer[0], host_and_port(peer[0], peer[1])
        if self._on_open is not None:
            self._on_open(self)
        if self.owner is not None:
            self.owner.connected()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        if self._holders:
            # The event loop reads again before `_pause_if_held` had its turn. (To pause it here would crash uvloop.)
            if self._ahead is None:
                self._ahead, self._ahead_size = self._pool.take(), 0
            return memoryview(self._ahead)[self._ahead_size :]
        if self._buffer is None:
            self._buffer = self._pool.take()
        return memoryview(self._buffer)  # asyncio's TLS slices it, and a slice of a bytearray is a copy

    def buffer_updated(self, nbytes: int) -> None:
        self.bytes_received += nbytes
        self._owes_ack = True
        if self._ahead is not None:
            self._ahead_size += nbytes
            self._pause()
            return
        self._receive(nbytes)
        self._process()
        self._write_together()
        self._acknowledge_if_more_comes()

    def eof_received(self) -> bool:
        # A half-closed connection is a closed one; what came before is still used first.
        self._eof = True
        if not self._holders:
            self._end_of_data()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._eof = True
        if not self._holders:
            self._end_of_data()
        if self._artim is not None:
            self._artim.cancel()
        self.fail_writing(ConnectionLost("the connection was lost while sending"))
        if not self._closed.done():
            self._closed.set_result(None)
        if self.owner is not None:
            self.owner.disconnected(exc)

    def pause_writing(self) -> None:
        if self.writable is None or self.writable.done():
            self.writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self.writable is not None and not self.writable.done():
            self.writable.set_result(None)
        self.writable = None

    # Receiving

    def _process(self) -> None:
        """Tell the owner all events, until it holds the connection or they are used up."""
        assert self.owner is not None  # noqa: S101 - set before the transport is
        if self._processing:
            return
        self._processing = True
        try:
            while not self._holders:
                event = self.machine.next_event()
                if event is not None:
                    self.owner.handle_event(event)
                    if isinstance(event, CloseTransport):
                        self.close()
                    continue
                self.owner.buffer_used()
                if self._holders or self._ahead is None:
                    break
                self._give_back()
                self._buffer, self._ahead = self._ahead, None
                self._receive(self._ahead_size)
        finally:
            self._processing = False
        self.flush()
        if not self._holders:
            self._give_back()

    def _receive(self, size: int) -> None:
        assert self._buffer is not None  # noqa: S101 - asyncio calls `get_buffer` first
        self.machine.receive_data(memoryview(self._buffer)[:size], self._loop.time())

    def _give_back(self) -> None:
        if self._buffer is not None:
            self._pool.give_back(self._buffer)
            self._buffer = None

    def _acknowledge_if_more_comes(self) -> None:
        """If the peer has more to send, acknowledge: with Nagle's algorithm on, it sends nothing until then.

        The kernel would acknowledge with our next message, or after 40 ms.
        """
        if not self._owes_ack or self._holders or self.owner is None:
            return
        if self.machine.in_pdu or self.owner.awaits_more:
            self._acknowledge()

    def _acknowledge(self) -> None:
        """Have the kernel acknowledge what was read at once; it resets the option by itself (tcp(7))."""
        self._owes_ack = False
        if _QUICKACK and self._socket is not None and self._transport is not None:
            with suppress(OSError):  # the connection is lost, as the transport will report
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def _end_of_data(self) -> None:
        self.machine.receive_eof(self._loop.time())
        self._process()

    def hold(self, holder: object) -> None:
        """Stop reading, and leave the receive buffer as it is, until each holder called `resume`."""
        if not self._holders and not self._paused:
            # Who is woken for what has come is mostly done with it before the socket is looked at again.
            self._loop.call_soon(self._pause_if_held)
        self._holders.add(holder)

    def _pause_if_held(self) -> None:
        if self._holders:
            self._pause()

    def _pause(self) -> None:
        if self._paused or self._transport is None or self._transport.is_closing():
            return
        self._paused = True
        self._transport.pause_reading()

    def is_held_by(self, holder: object) -> bool:
        """Whether `holder` has stopped it."""
        return holder in self._holders

    def resume(self, holder: object) -> None:
        """Go on from where `hold` stopped, unless someone else still holds."""
        if holder not in self._holders:
            return
        self._holders.remove(holder)
        if self._holders:
            return
        self._process()
        if self._holders:
            return
        if self._eof:
            self._end_of_data()
        elif self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()
        self._acknowledge_if_more_comes()

    # Sending

    def flush(self) -> None:
        """Send what the machine has to say by itself, and keep its ARTIM timer."""
        data = self.machine.data_to_send()
        if data and self._transport is not None:
            self.write(data)
        if self._artim is not None:
            self._artim.cancel()
            self._artim = None
        if self.machine.deadline is not None:
            self._artim = self._loop.call_at(self.machine.deadline, self._artim_expired)

    def _artim_expired(self) -> None:
        self.machine.timeout(self._loop.time())
        self.kill()

    def write(self, data: bytes | memoryview) -> None:
        """Give `data` to the transport; await `writable` before its memory is used again."""
        if self._together:
            self._write_together()
        if self._transport is None:
            raise ConnectionLost("the connection is closed")
        self.bytes_sent += len(data)
        self._owes_ack = False
        self._transport.write(data)

    def write_soon(self, data: bytes) -> None:
        """`write` what may wait until the event loop has come round, to leave together with what else is written."""
        if self._together_size + len(data) > _TOGETHER_BYTES:
            self._write_together()
        if not self._together:
            self._loop.call_soon(self._write_together)
        self._together.append(data)
        self._together_size += len(data)
        if len(self._together) >= _TOGETHER:
            self._write_together()

    def _write_together(self) -> None:
        if self._together:
            data = b"".join(self._together)
            self._together.clear()
            self._together_size = 0
            if self._transport is not None:
                self.write(data)

    def fail_writing(self, error: Exception) -> None:
        """Raise `error` in the task that waits for `writable`."""
        if self.writable is not None and not self.writable.done():
            self.writable.set_exception(error)
            self.writable.exception()  # perhaps no task waits

    @property
    def has_room(self) -> bool:
        """Whether there is little left to send."""
        transport = self._transport
        return transport is not None and not transport.is_closing() and transport.get_write_buffer_size() <= _ROOM

    @property
    def is_closing(self) -> bool:
        """Whether the transport is about to report that it is closed. Until then writes fail silently."""
        return self._transport is not None and self._transport.is_closing()

    @property
    def is_held(self) -> bool:
        """Whether received data are still in use or unused."""
        return bool(self._holders)

    @property
    def is_blocked(self) -> bool:
        """Whether written data could not be sent yet."""
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    def close(self) -> None:
        """Close the transport connection when what was written is sent."""
        self._write_together()
        if self._transport is not None:
            self._transport.close()

    def kill(self) -> None:
        """Close the transport connection now."""
        if self._transport is not None:
            self._transport.abort()

    def wait_closed(self) -> asyncio.Future[None]:
        """Await it until the transport connection is closed."""
        return asyncio.shield(self._closed)

    @property
    def bytes_moved(self) -> int:
        """Bytes that have been received, and those sent that the peer has acknowledged (on Linux; else: taken)."""
        in_transport = self._transport.get_write_buffer_size() if self._transport is not None else 0
        in_kernel = unsent_bytes(self._socket) if self._socket is not None else 0
        return self.bytes_received + self.bytes_sent - in_transport - in_kernel
