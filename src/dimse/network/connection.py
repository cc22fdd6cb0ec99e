"""One transport connection: asyncio's calls on one side, the upper layer machine and its owner on the other.

`receive_buffer` has the rules of receiving. Sending copies nothing either: `write` passes the caller's own
buffer to the transport, and `writable` shows when it may be reused. So neither direction has a queue, except for a few
small messages that leave together, and TCP's flow control is the only one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol, cast

from dimse.address import host_and_port
from dimse.errors import ConnectionLost
from dimse.network.certificate_names import names_of
from dimse.network.receive_buffer import Action, BufferPool, ReceiveBuffer
from dimse.network.throttle import Throttle
from dimse.network.timers import MINIMUM_RATE, unsent_bytes
from dimse.upper_layer.machine import CloseTransport, Machine, MachineEvent

_MAXIMUM_UNSENT: Final = 64 * 1024
"""Bytes that may wait for the socket before senders of whole messages wait too."""

_MAXIMUM_BATCH: Final = 8
"""Messages that leave in one system call: with more, the peer would have nothing to do in the meantime."""

_MAXIMUM_BATCH_BYTES: Final = 16 * 1024
"""Bytes of a batch of more than one message."""

_EVENTS_AT_ONCE: Final = 256
"""Events that are delivered before other connections have their turn."""

_QUICKACK: Final[int] = getattr(socket, "TCP_QUICKACK", 0)
"""The socket option of Linux; 0 elsewhere, where it is not set."""


# Names, because attributes of an enumeration are slow to look up.
_NOTHING: Final = Action.NOTHING
_DELIVER: Final = Action.DELIVER
_WATCH: Final = Action.WATCH


class ConnectionOwner(Protocol):
    """Receives the events of a connection. All calls come from the event loop and must not block."""

    def connected(self) -> None:
        """The transport connection is open."""

    def handle_event(self, event: MachineEvent) -> None:
        """The machine has produced `event`."""

    def buffer_used(self) -> None:
        """All events of the received bytes have been delivered; views of them stay valid only during a `hold`."""

    @property
    def awaits_more(self) -> bool:
        """Whether the peer has more to send before it is this side's turn."""

    def disconnected(self, error: Exception | None) -> None:
        """The transport connection is closed, with the operating system's reason if there is one."""


class Connection(asyncio.BufferedProtocol):
    """One transport connection and its machine.

    `on_open` is called when the transport is open, and may set `owner`: before that, a TLS handshake may still fail,
    which is not reported.
    """

    def __init__(self, machine: Machine, pool: BufferPool, on_open: Callable[[Connection], None] | None = None) -> None:
        self.machine = machine
        self.owner: ConnectionOwner | None = None
        self.throttle: Throttle | None = None
        """Makes the peer wait, if there is a limit on bytes per second."""
        self._over_limit = 0
        """How many reads wait for it."""
        self.bytes_received = 0
        self.bytes_sent = 0
        self.writable: asyncio.Future[None] | None = None
        """Await it repeatedly until it is None: then everything written has been sent."""
        self.peer_name = ""
        self.peer_host = ""
        """Those of the transport, unless they are set before it is open, as for a peer behind a proxy."""
        self.opened = 0.0
        """When the peer connected, by the clock of the event loop; it is set likewise."""
        self.tls: tuple[str, str] | None = None
        """The version and the cipher suite of TLS; None without it."""
        self.certificate_names: tuple[str, ...] = ()
        """The names in the peer's certificate that TLS has verified; empty without one (see `certificate_names`)."""
        self.lost_by: Exception | None = None
        """What the operating system or TLS says about the end of the connection."""
        self._loop = asyncio.get_running_loop()
        self._on_open = on_open
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._received = ReceiveBuffer(pool)
        self._owes_ack = False
        """Whether nothing was sent since the last read, which would have carried its acknowledgment."""
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._batch: list[bytes] = []
        """Messages that leave with the next `write`, or at the next iteration of the event loop."""
        self._batch_size = 0
        self._artim: asyncio.TimerHandle | None = None

    @property
    def own_host(self) -> str:
        """The address of this side, as an IP address; empty if there is none."""
        name = None if self._transport is None else self._transport.get_extra_info("sockname")
        return name[0] if isinstance(name, tuple) else ""

    # asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # The transport has sent everything when it resumes writing (see `writable`).
        # asyncio's TLS pauses *at* the limit, so that 0 would pause it for good.
        self._transport.set_write_buffer_limits(high=1 if transport.get_extra_info("sslcontext") else 0, low=0)
        self._socket = transport.get_extra_info("socket")
        if self._socket is not None and self._socket.family in (socket.AF_INET, socket.AF_INET6):
            # With Nagle's algorithm against delayed ACK, each message would cost 40 ms.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._owes_ack = True
            self._acknowledge()
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple) and not self.peer_host:
            self.peer_host, self.peer_name = peer[0], host_and_port(peer[0], peer[1])
        cipher = transport.get_extra_info("cipher")
        if cipher is not None:
            self.tls = (str(cipher[1]), str(cipher[0]))
            self.certificate_names = names_of(transport.get_extra_info("peercert"))
        if not self.opened:
            self.opened = self._loop.time()
        if self._on_open is not None:
            self._on_open(self)
        if self.owner is not None:
            self.owner.connected()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        space = self._received.space()
        return space if self.throttle is None else space[: self.throttle.part]

    def buffer_updated(self, nbytes: int) -> None:
        self.bytes_received += nbytes
        self._owes_ack = True
        action = self._received.read(nbytes)
        if action is not _DELIVER:
            self._do(action)
            if self.throttle is not None:
                self._wait_for_turn(nbytes)
            return
        self.machine.receive_data(self._received.data, self._loop.time())
        self._deliver()
        self._write_batch()
        self._acknowledge_if_more_comes()
        if self.throttle is not None:
            self._wait_for_turn(nbytes)

    def _wait_for_turn(self, nbytes: int) -> None:
        """Read no more until what was read has had its time."""
        throttle = self.throttle
        assert throttle is not None  # noqa: S101 - as the callers have checked
        self._over_limit += 1
        throttle.take(nbytes, self._within_limit)
        if self._over_limit:
            self.hold(throttle)

    def _within_limit(self) -> None:
        self._over_limit -= 1
        if not self._over_limit and self.throttle is not None:
            self.resume(self.throttle)

    def end_throttle(self) -> None:
        """Let nothing wait for a limit any more: the association has ended."""
        throttle, self.throttle = self.throttle, None
        if throttle is not None:
            throttle.end()
            self.resume(throttle)

    def eof_received(self) -> bool:
        # A half-closed connection counts as closed, once everything received before has been delivered.
        self._do(self._received.end())
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.lost_by = exc
        self._do(self._received.end())
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

    def hold(self, holder: object) -> None:
        """Deliver no further event and leave the receive buffer as it is, until each holder has called `resume`."""
        action = self._received.hold(holder)
        if action is not _NOTHING:
            self._do(action)

    def resume(self, holder: object) -> None:
        """End the hold of `holder`, if it has one; the last one to do so lets delivery go on."""
        action = self._received.release(holder)
        if action is not _NOTHING:
            self._do(action)
            self._acknowledge_if_more_comes()

    def is_held_by(self, holder: object) -> bool:
        """Whether `holder` holds the connection."""
        return holder in self._received.holders

    @property
    def is_held(self) -> bool:
        """Whether received data are still in use, or not delivered yet."""
        return bool(self._received.holders)

    def _do(self, action: Action) -> None:
        """Take the step that the receive buffer has returned."""
        if action is _DELIVER:
            self._deliver()
        elif action is _WATCH:
            self._loop.call_soon(self._turn)
        elif action is Action.END:
            self.machine.receive_eof(self._loop.time())
            self._deliver()
        elif self._transport is None or self._transport.is_closing():
            return
        elif action is Action.PAUSE:
            self._transport.pause_reading()
        elif action is Action.RESUME:
            self._transport.resume_reading()

    def _turn(self) -> None:
        self._do(self._received.turn())

    def _deliver(self) -> None:
        """Deliver events to the owner until the buffer is held or used up."""
        try:
            self._deliver_events()
        except BaseException:
            self.kill()  # the socket may be paused, and nothing would resume it
            raise
        self.flush()
        action = self._received.delivered()
        if action is not _NOTHING:
            self._do(action)

    def _deliver_events(self) -> None:
        assert self.owner is not None  # noqa: S101 - set before the transport is
        received, machine, owner = self._received, self.machine, self.owner
        for _ in range(_EVENTS_AT_ONCE):
            if received.holders:
                return
            event = machine.next_event()
            if event is not None:
                owner.handle_event(event)
                if isinstance(event, CloseTransport):
                    self.close()
                continue
            if machine.has_unread:
                break
            owner.buffer_used()
            if received.holders or not received.next():
                return
            machine.receive_data(received.data, self._loop.time())
        self._let_others_run()

    def _let_others_run(self) -> None:
        """Go on with the next event at the next iteration of the event loop; readers use what they have until then."""
        assert self.owner is not None  # noqa: S101 - as above
        self.owner.buffer_used()
        self._received.hold(self)
        self._loop.call_soon(self.resume, self)

    def _acknowledge_if_more_comes(self) -> None:
        """If the peer has more to send, acknowledge: with Nagle's algorithm on, it sends nothing until then.

        The kernel would acknowledge with our next message, or after 40 ms.
        """
        if not self._owes_ack or self._received.holders or self.owner is None:
            return
        if self.machine.in_pdu or self.owner.awaits_more:
            self._acknowledge()

    def _acknowledge(self) -> None:
        """Have the kernel acknowledge the received bytes at once. It resets the option by itself (tcp(7))."""
        self._owes_ack = False
        if _QUICKACK and self._socket is not None and self._transport is not None:
            with suppress(OSError):  # the connection is lost, as the transport will report
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    # Sending

    def flush(self) -> None:
        """Send the machine's pending output, and set its ARTIM timer."""
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
        if self._batch:
            self._write_batch()
        if self._transport is None:
            raise ConnectionLost("the connection is closed")
        self.bytes_sent += len(data)
        self._owes_ack = False
        self._transport.write(data)

    def write_soon(self, data: bytes) -> None:
        """`write` together with other messages, at the next iteration of the event loop at the latest."""
        if self._batch_size + len(data) > _MAXIMUM_BATCH_BYTES:
            self._write_batch()
        if not self._batch:
            self._loop.call_soon(self._write_batch)
        self._batch.append(data)
        self._batch_size += len(data)
        if len(self._batch) >= _MAXIMUM_BATCH:
            self._write_batch()

    def _write_batch(self) -> None:
        if self._batch:
            data = b"".join(self._batch)
            self._batch.clear()
            self._batch_size = 0
            if self._transport is not None:
                self.write(data)

    def fail_writing(self, error: Exception) -> None:
        """Raise `error` in the task that waits for `writable`."""
        if self.writable is not None and not self.writable.done():
            self.writable.set_exception(error)
            self.writable.exception()  # retrieved, as perhaps no task waits

    @property
    def has_room(self) -> bool:
        """Whether little is left to send."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        return transport.get_write_buffer_size() <= _MAXIMUM_UNSENT

    @property
    def is_closing(self) -> bool:
        """Whether the transport is about to report that it is closed. Until then, writes fail silently."""
        return self._transport is not None and self._transport.is_closing()

    @property
    def is_blocked(self) -> bool:
        """Whether written data could not be sent yet."""
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    def close(self) -> None:
        """Close the transport connection when everything written has been sent."""
        self._write_batch()
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
        """Bytes received, and those sent that the peer has acknowledged (on Linux; elsewhere: the system has taken).

        The time that a limit of ours takes counts as if the peer had moved just enough in it.
        """
        in_transport = self._transport.get_write_buffer_size() if self._transport is not None else 0
        in_kernel = unsent_bytes(self._socket) if self._socket is not None else 0
        moved = self.bytes_received + self.bytes_sent - in_transport - in_kernel
        return moved if self.throttle is None else moved + int(self.throttle.seconds_waited * MINIMUM_RATE)
