"""The machine with Table 9-10 as its model: random walks through the table, in both roles, by users and by peers."""

from __future__ import annotations

import pytest
from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.upper_layer.table_9_10 import ACTIONS, TABLE
from tests.upper_layer.test_states import AC, ARTIM, CAUSES, LOCAL, NOW, P_DATA, RQ, outcome

from dimse.errors import LocalProtocolError
from dimse.upper_layer.machine import CloseTransport, Machine, MachineEvent
from dimse.upper_layer.pdu import A_ABORT, A_ASSOCIATE_RJ, A_RELEASE_RP, A_RELEASE_RQ

RECEIVED = {
    3: AC.encode(),
    4: A_ASSOCIATE_RJ(1, 1, 1).encode(),
    6: RQ.encode(),
    10: P_DATA.encode(),
    12: A_RELEASE_RQ().encode(),
    13: A_RELEASE_RP().encode(),
    16: A_ABORT(0, 0).encode(),
    19: bytes.fromhex("09 00 00000004 00000000"),
}

PROPER = [
    cell for cell, (action, state) in TABLE.items() if not action.startswith("AA") and state != 1 and cell[0] != 1
]
"""The cells by which an association goes on."""


class Model(RuleBasedStateMachine):
    """One association after the other. `state` is the column of the table."""

    state = 1

    @initialize(requestor=st.booleans())
    def begin(self, requestor: bool) -> None:
        self.state, self.requestor = 1, requestor
        self.deadline: float | None = None
        self.is_readable = True
        self.machine = Machine(requestor=requestor, maximum_length=16384, artim=ARTIM, strict=True)
        self.happens(1 if requestor else 5)

    @precondition(lambda self: self.state == 1)
    @rule(requestor=st.booleans())
    def begin_again(self, requestor: bool) -> None:
        self.begin(requestor)

    @precondition(lambda self: self.state != 1)
    @rule(event=st.sampled_from([*sorted(LOCAL - {1, 5}), 15, 17]))
    def user_or_transport(self, event: int) -> None:
        self.happens(event)

    @precondition(lambda self: any(column == self.state for column, _ in PROPER))
    @rule(pick=st.integers(0, 20), at=st.integers(0, 200))
    def proper(self, pick: int, at: int) -> None:
        """What is not answered with an abort, and so leads to all states."""
        events = [event for column, event in PROPER if column == self.state]
        event = events[pick % len(events)]
        if event in RECEIVED:
            self.peer(event, at)
        else:
            self.happens(event)

    @precondition(lambda self: self.state != 1 and self.deadline is not None)
    @rule()
    def artim_expires(self) -> None:
        self.happens(18)

    @precondition(lambda self: self.state not in (1, 4))
    @rule(event=st.sampled_from(sorted(RECEIVED)), at=st.integers(0, 200))
    def peer(self, event: int, at: int) -> None:
        first, rest = RECEIVED[event][:at], RECEIVED[event][at:]
        self.machine.receive_data(memoryview(first), NOW)
        sent, events = outcome(self.machine) if rest else ([], [])
        if rest:
            self.machine.receive_data(memoryview(rest), NOW)
        more_sent, more_events = outcome(self.machine)
        self.compare(event, sent + more_sent, events + more_events)

    def happens(self, event: int) -> None:
        if (self.state, event) not in TABLE and event in LOCAL:
            with pytest.raises(LocalProtocolError):
                CAUSES[event](self.machine)
        else:
            CAUSES[event](self.machine)
        self.compare(event, *outcome(self.machine))

    def compare(self, event: int, sent: list[str], events: list[MachineEvent]) -> None:
        """Compare with the cell; without one, or after bytes that cannot be divided into PDUs, nothing happens."""
        cell = TABLE.get((self.state, event)) if self.is_readable or event not in RECEIVED else None
        if cell is None:
            assert (sent, events) == ([], [])
        else:
            self.follow(*cell, event, sent, events)
        assert (self.machine.state, self.machine.deadline) == (self.state, self.deadline)

    def follow(self, action: str, state: int, event: int, sent: list[str], events: list[MachineEvent]) -> None:
        does = ACTIONS[action]
        self.state = 10 if action == "AR-8" and not self.requestor else state
        self.is_readable = self.is_readable and event != 19
        self.deadline = {"start": NOW + ARTIM, "stop": None, None: self.deadline}[does.artim]
        if does.closes or event == 17:
            self.deadline = None
        assert sent == ([does.sends] if does.sends else [])
        indicated = {type(each).__name__ for each in events if not isinstance(each, CloseTransport)}
        tells_more = {"ProviderAbort"} if action == "AA-1" and event != 15 else set()
        assert indicated == ({does.indicates} if does.indicates else tells_more)
        assert (CloseTransport() in events) is does.closes


TestModel = seed(12)(Model.TestCase)
TestModel.settings = settings(max_examples=150, stateful_step_count=25)
