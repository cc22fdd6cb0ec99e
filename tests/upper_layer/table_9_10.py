"""PS3.8 Table 9-10 and the actions of Tables 9-6 to 9-9, typed a second time, as the model for tests."""

from __future__ import annotations

from typing import NamedTuple

# PS3.8 Table 9-10, typed a column at a time (src has it a row at a time): event, action, next state.
# For Sta2 Evt6 this is the acceptable request; Sta7 Evt12 is corrected for the acceptor below.
COLUMNS = {
    1: "1 AE-1 4, 5 AE-5 2",
    2: """3 AA-1 13, 4 AA-1 13, 6 AE-6 3, 10 AA-1 13, 12 AA-1 13, 13 AA-1 13, 16 AA-2 1, 17 AA-5 1, 18 AA-2 1,
        19 AA-1 13""",
    3: """3 AA-8 13, 4 AA-8 13, 6 AA-8 13, 7 AE-7 6, 8 AE-8 13, 10 AA-8 13, 12 AA-8 13, 13 AA-8 13, 15 AA-1 13,
        16 AA-3 1, 17 AA-4 1, 19 AA-8 13""",
    4: "2 AE-2 5, 15 AA-2 1, 17 AA-4 1",
    5: """3 AE-3 6, 4 AE-4 1, 6 AA-8 13, 10 AA-8 13, 12 AA-8 13, 13 AA-8 13, 15 AA-1 13, 16 AA-3 1, 17 AA-4 1,
        19 AA-8 13""",
    6: """3 AA-8 13, 4 AA-8 13, 6 AA-8 13, 9 DT-1 6, 10 DT-2 6, 11 AR-1 7, 12 AR-2 8, 13 AA-8 13, 15 AA-1 13,
        16 AA-3 1, 17 AA-4 1, 19 AA-8 13""",
    7: """3 AA-8 13, 4 AA-8 13, 6 AA-8 13, 10 AR-6 7, 12 AR-8 9, 13 AR-3 1, 15 AA-1 13, 16 AA-3 1, 17 AA-4 1,
        19 AA-8 13""",
    8: """3 AA-8 13, 4 AA-8 13, 6 AA-8 13, 9 AR-7 8, 10 AA-8 13, 12 AA-8 13, 13 AA-8 13, 14 AR-4 13, 15 AA-1 13,
        16 AA-3 1, 17 AA-4 1, 19 AA-8 13""",
    9: """3 AA-8 13, 4 AA-8 13, 6 AA-8 13, 10 AA-8 13, 12 AA-8 13, 13 AA-8 13, 14 AR-9 11, 15 AA-1 13, 16 AA-3 1,
        17 AA-4 1, 19 AA-8 13""",
    10: """3 AA-8 13, 4 AA-8 13, 6 AA-8 13, 10 AA-8 13, 12 AA-8 13, 13 AR-10 12, 15 AA-1 13, 16 AA-3 1, 17 AA-4 1,
        19 AA-8 13""",
    11: """3 AA-8 13, 4 AA-8 13, 6 AA-8 13, 10 AA-8 13, 12 AA-8 13, 13 AR-3 1, 15 AA-1 13, 16 AA-3 1, 17 AA-4 1,
        19 AA-8 13""",
    12: """3 AA-8 13, 4 AA-8 13, 6 AA-8 13, 10 AA-8 13, 12 AA-8 13, 13 AA-8 13, 14 AR-4 13, 15 AA-1 13, 16 AA-3 1,
        17 AA-4 1, 19 AA-8 13""",
    13: """3 AA-6 13, 4 AA-6 13, 6 AA-7 13, 10 AA-6 13, 12 AA-6 13, 13 AA-6 13, 16 AA-2 1, 17 AR-5 1, 18 AA-2 1,
        19 AA-7 13""",
}


def cells() -> dict[tuple[int, int], tuple[str, int]]:
    table = {}
    for state, column in COLUMNS.items():
        for cell in column.split(","):
            event, action, next_state = cell.split()
            table[state, int(event)] = (action, int(next_state))
    return table


TABLE = cells()


class Does(NamedTuple):
    """What Tables 9-6 to 9-9 say that an action does. `artim` None: it stays as it is."""

    sends: str = ""
    indicates: str = ""
    closes: bool = False
    artim: str | None = None


ACTIONS = {
    "AE-1": Does(),
    "AE-2": Does(sends="A_ASSOCIATE_RQ"),
    "AE-3": Does(indicates="A_ASSOCIATE_AC"),
    "AE-4": Does(indicates="A_ASSOCIATE_RJ", closes=True),
    "AE-5": Does(artim="start"),
    "AE-6": Does(indicates="A_ASSOCIATE_RQ", artim="stop"),
    "AE-7": Does(sends="A_ASSOCIATE_AC"),
    "AE-8": Does(sends="A_ASSOCIATE_RJ", artim="start"),
    "DT-1": Does(sends="P_DATA_TF"),
    "DT-2": Does(indicates="Fragment"),
    "AR-1": Does(sends="A_RELEASE_RQ"),
    "AR-2": Does(indicates="A_RELEASE_RQ"),
    "AR-3": Does(indicates="A_RELEASE_RP", closes=True),
    "AR-4": Does(sends="A_RELEASE_RP", artim="start"),
    "AR-5": Does(artim="stop"),
    "AR-6": Does(indicates="Fragment"),
    "AR-7": Does(sends="P_DATA_TF"),
    "AR-8": Does(indicates="A_RELEASE_RQ"),
    "AR-9": Does(sends="A_RELEASE_RP"),
    "AR-10": Does(indicates="A_RELEASE_RP"),
    "AA-1": Does(sends="A_ABORT from 0", artim="start"),
    "AA-2": Does(closes=True, artim="stop"),
    "AA-3": Does(indicates="A_ABORT", closes=True),
    "AA-4": Does(indicates="ProviderAbort"),
    "AA-5": Does(artim="stop"),
    "AA-6": Does(),
    "AA-7": Does(sends="A_ABORT from 2"),
    "AA-8": Does(sends="A_ABORT from 2", indicates="ProviderAbort", artim="start"),
}
