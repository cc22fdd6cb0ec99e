"""The state transition table of PS3.8 9.2.3, laid out as Table 9-10 prints it.

A blank cell is a combination that cannot happen: the peer cannot cause it, and a local caller that does gets a
`LocalProtocolError`.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Final


class State(IntEnum):
    """The states of PS3.8 9.2.1."""

    STA1 = 1
    STA2 = 2
    STA3 = 3
    STA4 = 4
    STA5 = 5
    STA6 = 6
    STA7 = 7
    STA8 = 8
    STA9 = 9
    STA10 = 10
    STA11 = 11
    STA12 = 12
    STA13 = 13


STATE_MEANINGS: Final = {
    State.STA1: "idle",
    State.STA2: "transport connection open, awaiting A-ASSOCIATE-RQ",
    State.STA3: "awaiting local A-ASSOCIATE response",
    State.STA4: "awaiting transport connection opening to complete",
    State.STA5: "awaiting A-ASSOCIATE-AC or A-ASSOCIATE-RJ",
    State.STA6: "association established",
    State.STA7: "awaiting A-RELEASE-RP",
    State.STA8: "awaiting local A-RELEASE response",
    State.STA9: "release collision, requestor side, awaiting local A-RELEASE response",
    State.STA10: "release collision, acceptor side, awaiting A-RELEASE-RP",
    State.STA11: "release collision, requestor side, awaiting A-RELEASE-RP",
    State.STA12: "release collision, acceptor side, awaiting local A-RELEASE response",
    State.STA13: "awaiting transport connection close indication",
}


class Event(IntEnum):
    """The rows of Table 9-10, in its order."""

    EVT1 = 1
    EVT2 = 2
    EVT3 = 3
    EVT4 = 4
    EVT5 = 5
    EVT6 = 6
    EVT7 = 7
    EVT8 = 8
    EVT9 = 9
    EVT10 = 10
    EVT11 = 11
    EVT12 = 12
    EVT13 = 13
    EVT14 = 14
    EVT15 = 15
    EVT16 = 16
    EVT17 = 17
    EVT18 = 18
    EVT19 = 19


EVENT_MEANINGS: Final = {
    Event.EVT1: "A-ASSOCIATE request",
    Event.EVT2: "transport connect confirmation",
    Event.EVT3: "received A-ASSOCIATE-AC",
    Event.EVT4: "received A-ASSOCIATE-RJ",
    Event.EVT5: "transport connect indication",
    Event.EVT6: "received A-ASSOCIATE-RQ",
    Event.EVT7: "A-ASSOCIATE response (accept)",
    Event.EVT8: "A-ASSOCIATE response (reject)",
    Event.EVT9: "P-DATA request",
    Event.EVT10: "received P-DATA-TF",
    Event.EVT11: "A-RELEASE request",
    Event.EVT12: "received A-RELEASE-RQ",
    Event.EVT13: "received A-RELEASE-RP",
    Event.EVT14: "A-RELEASE response",
    Event.EVT15: "A-ABORT request",
    Event.EVT16: "received A-ABORT",
    Event.EVT17: "transport connection closed",
    Event.EVT18: "ARTIM timer expired",
    Event.EVT19: "unrecognized or invalid PDU",
}


class Action(Enum):
    """The actions of PS3.8 9.2.2, Tables 9-6 to 9-9."""

    AE_1 = "issue transport connect"
    AE_2 = "send A-ASSOCIATE-RQ"
    AE_3 = "issue A-ASSOCIATE confirmation (accept)"
    AE_4 = "issue A-ASSOCIATE confirmation (reject), close transport"
    AE_5 = "issue transport response, start ARTIM"
    AE_6 = "stop ARTIM, issue A-ASSOCIATE indication or send A-ASSOCIATE-RJ"
    AE_7 = "send A-ASSOCIATE-AC"
    AE_8 = "send A-ASSOCIATE-RJ, start ARTIM"
    DT_1 = "send P-DATA-TF"
    DT_2 = "issue P-DATA indication"
    AR_1 = "send A-RELEASE-RQ"
    AR_2 = "issue A-RELEASE indication"
    AR_3 = "issue A-RELEASE confirmation, close transport"
    AR_4 = "send A-RELEASE-RP, start ARTIM"
    AR_5 = "stop ARTIM"
    AR_6 = "issue P-DATA indication (after A-RELEASE-RQ)"
    AR_7 = "send P-DATA-TF (before A-RELEASE-RP)"
    AR_8 = "issue A-RELEASE indication (collision)"
    AR_9 = "send A-RELEASE-RP (collision)"
    AR_10 = "issue A-RELEASE confirmation (collision)"
    AA_1 = "send A-ABORT (service user), start ARTIM"
    AA_2 = "stop ARTIM, close transport"
    AA_3 = "issue A-ABORT or A-P-ABORT indication, close transport"
    AA_4 = "issue A-P-ABORT indication"
    AA_5 = "stop ARTIM (connection closed)"
    AA_6 = "ignore PDU"
    AA_7 = "send A-ABORT"
    AA_8 = "send A-ABORT (service provider), issue A-P-ABORT indication, start ARTIM"


# One row per event, one column per state. NEXT_STATE below has the state that an action leads to, or for AE-6 and AR-8
# two, of which the action itself chooses one.
_TABLE: Final = """
       Sta1  Sta2  Sta3  Sta4  Sta5  Sta6  Sta7  Sta8  Sta9  Sta10 Sta11 Sta12 Sta13
Evt1   AE-1  .     .     .     .     .     .     .     .     .     .     .     .
Evt2   .     .     .     AE-2  .     .     .     .     .     .     .     .     .
Evt3   .     AA-1  AA-8  .     AE-3  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt4   .     AA-1  AA-8  .     AE-4  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt5   AE-5  .     .     .     .     .     .     .     .     .     .     .     .
Evt6   .     AE-6  AA-8  .     AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-7
Evt7   .     .     AE-7  .     .     .     .     .     .     .     .     .     .
Evt8   .     .     AE-8  .     .     .     .     .     .     .     .     .     .
Evt9   .     .     .     .     .     DT-1  .     AR-7  .     .     .     .     .
Evt10  .     AA-1  AA-8  .     AA-8  DT-2  AR-6  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt11  .     .     .     .     .     AR-1  .     .     .     .     .     .     .
Evt12  .     AA-1  AA-8  .     AA-8  AR-2  AR-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt13  .     AA-1  AA-8  .     AA-8  AA-8  AR-3  AA-8  AA-8  AR-10 AR-3  AA-8  AA-6
Evt14  .     .     .     .     .     .     .     AR-4  AR-9  .     .     AR-4  .
Evt15  .     .     AA-1  AA-2  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  .
Evt16  .     AA-2  AA-3  .     AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-2
Evt17  .     AA-5  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AR-5
Evt18  .     AA-2  .     .     .     .     .     .     .     .     .     .     AA-2
Evt19  .     AA-1  AA-8  .     AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-7
"""

NEXT_STATE: Final[dict[Action, tuple[State, ...]]] = {
    Action.AE_1: (State.STA4,),
    Action.AE_2: (State.STA5,),
    Action.AE_3: (State.STA6,),
    Action.AE_4: (State.STA1,),
    Action.AE_5: (State.STA2,),
    Action.AE_6: (State.STA3, State.STA13),
    Action.AE_7: (State.STA6,),
    Action.AE_8: (State.STA13,),
    Action.DT_1: (State.STA6,),
    Action.DT_2: (State.STA6,),
    Action.AR_1: (State.STA7,),
    Action.AR_2: (State.STA8,),
    Action.AR_3: (State.STA1,),
    Action.AR_4: (State.STA13,),
    Action.AR_5: (State.STA1,),
    Action.AR_6: (State.STA7,),
    Action.AR_7: (State.STA8,),
    Action.AR_8: (State.STA9, State.STA10),
    Action.AR_9: (State.STA11,),
    Action.AR_10: (State.STA12,),
    Action.AA_1: (State.STA13,),
    Action.AA_2: (State.STA1,),
    Action.AA_3: (State.STA1,),
    Action.AA_4: (State.STA1,),
    Action.AA_5: (State.STA1,),
    Action.AA_6: (State.STA13,),
    Action.AA_7: (State.STA13,),
    Action.AA_8: (State.STA13,),
}
"""AE-6 leads to Sta13 if the service provider cannot accept; AR-8 leads to Sta9 on the requestor's side."""


def _read_table() -> dict[tuple[Event, State], Action]:
    _, *rows = _TABLE.strip().splitlines()
    table = {}
    for event, row in zip(Event, rows, strict=True):
        for state, cell in zip(State, row.split()[1:], strict=True):
            if cell != ".":
                table[event, state] = Action[cell.replace("-", "_")]
    return table


TRANSITIONS: Final = _read_table()
"""(event, state) -> action."""
