"""Received bytes until they are consumed: the receive buffer, its holders and the read-ahead."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Final

RECEIVE_BUFFER_SIZE: Final = 1024 * 1024

# Holding and reading ahead, in rules
# -----------------------------------
# 1. Received bytes are never copied. The transport reads into one buffer, the machine's events are views of
#    it, and the buffer is read into again only when all of them are consumed.
# 2. A holder is an object that needs a pause: no further events, and the buffer unchanged. Readers hold while they use
#    views, operations until the consumer has taken the last response, sessions while they serve as many requests as
#    were negotiated. The reason makes no difference: the buffer is held while it has at least one holder.
# 3. A hold that begins during delivery stops it after the event that is being handled. The other events stay in the
#    machine until the last holder lets go.
# 4. The socket is paused late, at the next iteration of the event loop (TURN): the task that was woken by an event
#    has usually let go by then, which saves two system calls for each message. (Pausing in asyncio's `get_buffer`
#    would also crash uvloop.)
# 5. So the event loop may read once more into a held connection. These bytes go to a second buffer, the read-ahead,
#    and the socket is paused at once. The read-ahead is delivered after the first buffer.
# 6. While events are delivered with the socket paused (RESUMING), a new hold leaves it paused: a slow reader does
#    not cause two system calls per message either.
# 7. The end of the connection is delivered last, after everything that was received before it.
# 8. Buffers are borrowed from a pool with the first byte and returned when all is consumed, so an idle connection
#    has none.


class State(IntEnum):
    """The user of the buffer, and whether the transport reads."""

    READING = 0  # the transport reads into the buffer
    DELIVERING = 1  # the events of the buffer are being delivered
    HELD = 2  # the buffer is held; the transport may still read ahead, once
    PAUSED = 3  # the buffer is held; the transport is paused
    RESUMING = 4  # as DELIVERING, with the transport still paused
    ENDING = 5  # the buffer is held; the connection has ended
    FINISHING = 6  # as DELIVERING, and the connection has ended
    ENDED = 7  # the end has been delivered


class Event(IntEnum):
    """The columns of the table."""

    READ = 0  # the transport has read bytes
    HOLD = 1  # the first holder holds
    RELEASE = 2  # the last holder lets go
    STOP = 3  # an event was delivered, and the buffer is held
    USED_UP = 4  # all events were delivered, nothing is held or read ahead
    TURN = 5  # the next iteration of the event loop after WATCH
    END = 6  # the transport reports the end, or its loss


class Action(Enum):
    """The next step of the connection."""

    NOTHING = ""
    DELIVER = "deliver"  # deliver the machine's events
    WATCH = "watch"  # report TURN at the next iteration of the event loop
    PAUSE = "pause"  # pause the transport
    RESUME = "resume"  # resume the transport
    END = "end"  # report the end of the connection to the machine, and deliver its events


# One row per state, one column per event; a cell is the action, if any, and the next state. A dot is a combination
# that cannot happen: a KeyError. TURN and END find DELIVERING, RESUMING or FINISHING only if a handler of events has
# raised an exception, at which the connection closes.
_TABLE: Final = """
            READ                HOLD        RELEASE             STOP        USED_UP         TURN          END
READING     deliver:DELIVERING  watch:HELD  .                   .           .               READING       end:ENDED
DELIVERING  .                   DELIVERING  DELIVERING          watch:HELD  READING         DELIVERING    end:ENDED
HELD        pause:PAUSED        .           deliver:DELIVERING  .           .               pause:PAUSED  ENDING
PAUSED      PAUSED              .           deliver:RESUMING    .           .               PAUSED        ENDING
RESUMING    .                   RESUMING    RESUMING            PAUSED      resume:READING  RESUMING      end:ENDED
ENDING      .                   .           deliver:FINISHING   .           .               ENDING        ENDING
FINISHING   .                   FINISHING   FINISHING           ENDING      end:ENDED       FINISHING     end:ENDED
ENDED       .                   ENDED       deliver:ENDED       ENDED       ENDED           ENDED         ENDED
"""


def _read_table() -> dict[Event, dict[State, tuple[Action, State]]]:
    columns: dict[Event, dict[State, tuple[Action, State]]] = {event: {} for event in Event}
    _, *rows = _TABLE.strip("\n").splitlines()
    for row in rows:
        state, *cells = row.split()
        for event, cell in zip(Event, cells, strict=True):
            if cell != ".":
                action, _, next_state = cell.rpartition(":")
                columns[event][State[state]] = (Action(action), State[next_state])
    return columns


_COLUMNS: Final = _read_table()

# Event -> state -> (action, next state). Names, because attributes of an enumeration are slow to look up.
_READ: Final = _COLUMNS[Event.READ]
_HOLD: Final = _COLUMNS[Event.HOLD]
_RELEASE: Final = _COLUMNS[Event.RELEASE]
_STOP: Final = _COLUMNS[Event.STOP]
_USED_UP: Final = _COLUMNS[Event.USED_UP]
_TURN: Final = _COLUMNS[Event.TURN]
_END: Final = _COLUMNS[Event.END]
_NOTHING: Final = Action.NOTHING


class BufferPool:
    """Receive buffers, shared by the connections of one client or server."""

    def __init__(self) -> None:
        self._free: list[bytearray] = []

    def take(self) -> bytearray:
        return self._free.pop() if self._free else bytearray(RECEIVE_BUFFER_SIZE)

    def give_back(self, buffer: bytearray) -> None:
        if not self._free:
            self._free.append(buffer)


class ReceiveBuffer:
    """The received bytes of one connection. Its methods return the next step, which is up to the connection."""

    def __init__(self, pool: BufferPool) -> None:
        self.state = State.READING
        self.holders: set[object] = set()
        self._pool = pool
        self._buffer: bytearray | None = None
        self._size = 0
        self._ahead: bytearray | None = None
        self._ahead_size = 0

    @property
    def data(self) -> memoryview:
        """The bytes to deliver: those of the last READ, or the read-ahead that `next` has brought forward."""
        assert self._buffer is not None  # noqa: S101 - transports call `space` before they read
        return memoryview(self._buffer)[: self._size]

    def space(self) -> memoryview:
        """Where the transport reads next."""
        # asyncio's TLS slices it, and a slice of a bytearray would be a copy.
        if not self.holders:
            if self._buffer is None:
                self._buffer = self._pool.take()
            return memoryview(self._buffer)
        if self._ahead is None:
            self._ahead = self._pool.take()
        return memoryview(self._ahead)[self._ahead_size :]

    def read(self, size: int) -> Action:
        """The transport has read `size` bytes into `space`."""
        if self.holders:
            self._ahead_size += size
        else:
            self._size = size
        action, self.state = _READ[self.state]
        return action

    def next(self) -> bool:
        """Bring the read-ahead forward, when everything before it is consumed. Returns whether there was one."""
        if not self._ahead_size:
            return False
        self._give_back()
        self._buffer, self._size = self._ahead, self._ahead_size
        self._ahead, self._ahead_size = None, 0
        return True

    def hold(self, holder: object) -> Action:
        """Stop delivery and keep the buffer until each holder has called `release`."""
        action = _NOTHING
        if not self.holders:
            action, self.state = _HOLD[self.state]
        self.holders.add(holder)
        return action

    def release(self, holder: object) -> Action:
        """`holder` lets go; nothing happens if it did not hold."""
        action = _NOTHING
        if holder in self.holders:
            self.holders.remove(holder)
            if not self.holders:
                action, self.state = _RELEASE[self.state]
        return action

    def delivered(self) -> Action:
        """Delivery has stopped: the buffer is held, or all is consumed."""
        if self.holders:
            action, self.state = _STOP[self.state]
            return action
        self._give_back()
        if self._ahead is not None:  # nothing was read into it
            self._pool.give_back(self._ahead)
            self._ahead = None
        action, self.state = _USED_UP[self.state]
        return action

    def turn(self) -> Action:
        """Note the next iteration of the event loop."""
        action, self.state = _TURN[self.state]
        return action

    def end(self) -> Action:
        """The connection has ended."""
        action, self.state = _END[self.state]
        return action

    def _give_back(self) -> None:
        if self._buffer is not None:
            self._pool.give_back(self._buffer)
            self._buffer = None
