"""Every state x event of the receive buffer, against its table typed a second time; and what it does to bytes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from dimse.network.receive_buffer import RECEIVE_BUFFER_SIZE, Action, BufferPool, Event, ReceiveBuffer, State

# A column at a time (src has it a row at a time): state, action if there is one, next state.
COLUMNS = {
    Event.READ: "READING deliver DELIVERING, HELD pause PAUSED, PAUSED PAUSED",
    Event.HOLD: "READING watch HELD, DELIVERING DELIVERING, RESUMING RESUMING, FINISHING FINISHING, ENDED ENDED",
    Event.RELEASE: """HELD deliver DELIVERING, PAUSED deliver RESUMING, ENDING deliver FINISHING, ENDED deliver ENDED,
        DELIVERING DELIVERING, RESUMING RESUMING, FINISHING FINISHING""",
    Event.STOP: "DELIVERING watch HELD, RESUMING PAUSED, FINISHING ENDING, ENDED ENDED",
    Event.USED_UP: "DELIVERING READING, RESUMING resume READING, FINISHING end ENDED, ENDED ENDED",
    Event.TURN: """HELD pause PAUSED, READING READING, PAUSED PAUSED, ENDING ENDING, ENDED ENDED,
        DELIVERING DELIVERING, RESUMING RESUMING, FINISHING FINISHING""",
    Event.END: """READING end ENDED, HELD ENDING, PAUSED ENDING, ENDING ENDING, ENDED ENDED,
        DELIVERING end ENDED, RESUMING end ENDED, FINISHING end ENDED""",
}


def cells() -> dict[tuple[State, Event], tuple[Action, State]]:
    table = {}
    for event, column in COLUMNS.items():
        for cell in column.split(","):
            state, *action, next_state = cell.split()
            table[State[state], event] = (Action("".join(action)), State[next_state])
    return table


TABLE = cells()
HOLDER = object()

CAUSES: dict[Event, Callable[[ReceiveBuffer], Action]] = {
    Event.READ: lambda buffer: buffer.read(len(buffer.space()[:10])),
    Event.HOLD: lambda buffer: buffer.hold(HOLDER),
    Event.RELEASE: lambda buffer: buffer.release(HOLDER),
    Event.STOP: lambda buffer: buffer.delivered(),
    Event.USED_UP: lambda buffer: buffer.delivered(),
    Event.TURN: lambda buffer: buffer.turn(),
    Event.END: lambda buffer: buffer.end(),
}


def buffer_before(state: State, event: Event) -> ReceiveBuffer:
    """A buffer in `state`, held where `event` supposes that it is."""
    buffer = ReceiveBuffer(BufferPool())
    buffer.state = state
    if event in (Event.RELEASE, Event.STOP):
        buffer.holders.add(HOLDER)
    return buffer


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State)
def test_every_state_and_event(state: State, event: Event) -> None:
    buffer = buffer_before(state, event)
    if (state, event) in TABLE:
        assert (CAUSES[event](buffer), buffer.state) == TABLE[state, event]
    else:
        with pytest.raises(KeyError, match=state.name):
            CAUSES[event](buffer)
        assert buffer.state is state


def test_only_the_first_holder_holds_and_only_the_last_lets_go() -> None:
    buffer, first, second = ReceiveBuffer(BufferPool()), object(), object()
    assert buffer.hold(first) is Action.WATCH
    assert buffer.hold(first) is buffer.hold(second) is Action.NOTHING
    assert buffer.release(first) is buffer.release(first) is Action.NOTHING
    assert buffer.state is State.HELD
    assert buffer.release(second) is Action.DELIVER


def test_an_idle_connection_has_no_buffer() -> None:
    pool = BufferPool()
    buffer = ReceiveBuffer(pool)
    first = buffer.space().obj
    buffer.read(10)
    buffer.delivered()
    assert pool.take() is first
    buffer.space()
    buffer.read(10)
    buffer.hold(HOLDER)
    buffer.delivered()
    held = buffer.data.obj
    assert buffer.space().obj is not held
    buffer.release(HOLDER)
    assert not buffer.next()
    buffer.delivered()
    assert pool.take() is held


def test_reads_ahead_fill_one_buffer_up_to_its_end() -> None:
    buffer = ReceiveBuffer(BufferPool())
    buffer.hold(HOLDER)
    assert buffer.read(len(buffer.space()[:400_000])) is Action.PAUSE
    buffer.read(len(buffer.space()[:400_000]))
    assert len(buffer.space()) == RECEIVE_BUFFER_SIZE - 800_000
    assert buffer.release(HOLDER) is Action.DELIVER
    assert buffer.next()
    assert len(buffer.data) == 800_000


class Transfer(RuleBasedStateMachine):
    """Whatever is read, held and released in whatever order: all bytes are delivered once, in order, and before the
    end, held ones do not change, and the transport is paused only while it has to be.

    An event is one byte here, and its handler holds if it is byte number `hold_at`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.buffer = ReceiveBuffer(BufferPool())
        self.sent = self.delivered = 0
        self.undelivered = memoryview(b"")
        self.view = memoryview(b"")
        self.hold_at = -1
        self.is_paused = self.is_watched = self.has_ended = self.was_told = False

    @property
    def is_held(self) -> bool:
        return bool(self.buffer.holders)

    def do(self, action: Action) -> None:
        assert action is not Action.RESUME or self.is_paused
        if action is Action.DELIVER:
            self.deliver()
        elif action is Action.END:
            assert not self.was_told
            assert self.delivered == self.sent
            self.was_told = True
            self.do(self.buffer.delivered())
        elif action is Action.WATCH:
            self.is_watched = True
        elif action is not Action.NOTHING:
            self.is_paused = action is Action.PAUSE

    def deliver(self) -> None:
        while not self.is_held:
            if self.undelivered:
                self.view, self.undelivered = self.undelivered[:1], self.undelivered[1:]
                assert self.view[0] == self.delivered % 256
                self.delivered += 1
                if self.delivered == self.hold_at:
                    self.do(self.buffer.hold(HOLDER))
            elif self.buffer.next():
                self.undelivered = self.buffer.data
            else:
                break
        self.do(self.buffer.delivered())

    @precondition(lambda self: not self.has_ended)
    @rule(size=st.integers(1, 9), hold_after=st.integers(1, 12))
    def read(self, size: int, hold_after: int) -> None:
        self.hold_at = self.delivered + hold_after
        self.buffer.space()[:size] = bytes((self.sent + index) % 256 for index in range(size))
        self.sent += size
        action = self.buffer.read(size)
        if action is Action.DELIVER:
            self.undelivered = self.buffer.data
        self.do(action)
        assert self.is_held or self.delivered == self.sent

    @precondition(lambda self: self.is_held)
    @rule(hold_after=st.integers(1, 12))
    def release(self, hold_after: int) -> None:
        assert not self.view or self.view[0] == (self.delivered - 1) % 256
        self.hold_at = self.delivered + hold_after
        self.do(self.buffer.release(HOLDER))
        assert self.is_held or not self.is_paused or self.has_ended

    @precondition(lambda self: self.is_watched)
    @rule()
    def turn(self) -> None:
        self.is_watched = False
        self.do(self.buffer.turn())
        assert self.is_paused or not self.is_held or self.has_ended

    @rule()
    def end(self) -> None:
        self.has_ended = True
        self.do(self.buffer.end())

    def teardown(self) -> None:
        self.hold_at = -1
        while self.is_held:
            self.do(self.buffer.release(HOLDER))
        assert self.delivered == self.sent
        assert self.was_told is self.has_ended


TestTransfer = Transfer.TestCase
TestTransfer.settings = settings(max_examples=100, stateful_step_count=30)
