"""What must come back, by the standard: Table 9-10 for whole PDUs, and the tables of PS3.8 9.3 for damaged ones.

It is written by the standard, and knows nothing of our decoders.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import Enum
from typing import Final, NamedTuple

from tests.conversations.cases import State, Then
from tests.upper_layer.table_9_10 import TABLE

LONGEST_ASSOCIATE: Final = 1024 * 1024
MAXIMUM_LENGTH: Final = 16384
"""What the side under test announces."""

EVENTS: Final = {0x01: 6, 0x02: 3, 0x03: 4, 0x04: 10, 0x05: 12, 0x06: 13, 0x07: 16}
"""PDU type -> event of Table 9-10."""

NUMBERS: Final = {
    State.CONNECTED: 2,
    State.DECIDING: 3,
    State.ASSOCIATED: 6,
    State.STORING: 6,
    State.ANSWERING: 8,
    State.ABORTED: 13,
    State.RELEASED: 13,
    State.REJECTED: 13,
    State.REQUESTED: 5,
    State.ECHOING: 6,
    State.RELEASING: 7,
    State.COLLIDED: 11,
    State.GIVEN_UP: 13,
}
"""State -> column of Table 9-10."""


class Expected(NamedTuple):
    """What must come back, and what the peer does meanwhile."""

    back: str
    then: Then
    strict: str | None = None


_NOTHING: Final = Expected("", Then.CLOSE)
_ENDS: Final = Expected("", Then.READ)


def invalid(state: State, reason: str = "6") -> Expected:
    """The reaction to an unrecognized or invalid PDU (Evt19); `reason` of Table 9-26 for the service provider."""
    action, _ = TABLE[NUMBERS[state], 19]
    return Expected("A-ABORT 0 0" if action == "AA-1" else f"A-ABORT 2 {reason}", Then.READ)


def reaction(state: State, number: int) -> Expected | None:
    """The reaction to a whole and valid PDU by its type; None if what it contains decides."""
    action, _ = TABLE[NUMBERS[state], EVENTS.get(number, 19)]
    if number not in EVENTS:
        return invalid(state, "1")
    if action in ("AE-6", "AE-3", "DT-2", "AR-6"):
        return None
    if action in ("AA-1", "AA-7", "AA-8"):
        return Expected("A-ABORT 0 0" if action == "AA-1" else "A-ABORT 2 2", Then.READ)
    if action == "AA-6":
        return _NOTHING
    if action == "AR-2":  # the users of both sides answer at once
        return Expected("A-RELEASE-RP", Then.READ)
    if action == "AR-8":
        return Expected("A-RELEASE-RP", Then.CLOSE)
    assert action in ("AA-2", "AA-3", "AE-4", "AR-3", "AR-10"), action
    return _ENDS


# Damaged PDUs


class Shape(Enum):
    """Whether a body can be divided into its items and fields."""

    WHOLE = "all of it"
    EXCESS = "yes, but a field is followed by bytes that are not its"
    BROKEN = "no: an item or field is longer than what it is in"


_SUB_ITEMS: Final = {0x51: "4", 0x52: "*", 0x53: "22", 0x54: "c11", 0x55: "*", 0x56: "c*"}
"""Sub-item -> its fields: `c` counted, a digit that many bytes, `*` the rest, `r` a counted list of counted ones."""


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        number, length = struct.unpack_from(">BxH", data) if len(data) >= 4 else (0, len(data) + 1)
        if length > len(data) - 4:
            raise ValueError("an item exceeds what it is in")
        yield number, data[4 : 4 + length]
        data = data[4 + length :]


def _take(fields: str, data: bytes) -> bytes:
    """What is left of `data` after its fields."""
    for code in fields:
        if code == "*":
            return b""
        size = int(code) if code.isdigit() else 2
        if len(data) < size:
            raise ValueError("a field exceeds its item")
        if not code.isdigit():
            count = int.from_bytes(data[:2], "big")
            if count > len(data) - 2:
                raise ValueError("a counted field exceeds its item")
            inner = data[2 : 2 + count]
            while code == "r" and inner:
                inner = _take("c", inner)
            size += count
        data = data[size:]
    return data


def _sub_items(data: bytes, *, requestor: bool) -> Shape:
    fields = _SUB_ITEMS | ({0x57: "ccr", 0x58: "11cc"} if requestor else {0x59: "c"})
    seen, shape = set[int](), Shape.WHOLE
    for number, value in list(_items(data)):
        if number in seen and number not in (0x54, 0x56, 0x57):
            continue  # of those that must be single the first counts
        seen.add(number)
        left = _take(fields.get(number, "*"), value)
        if left and number == 0x51:
            raise ValueError("a maximum length of other than 4 bytes")
        shape = Shape.EXCESS if left else shape
    return shape


def shape_of_associate(body: bytes, *, requestor: bool) -> Shape:
    """The shape of an A-ASSOCIATE-RQ, or of an -AC (PS3.8 9.3.2, 9.3.3)."""
    if len(body) < 68:
        return Shape.BROKEN
    shape, has_information = Shape.WHOLE, False
    try:
        for number, value in list(_items(body[68:])):
            if number == 0x50 and not has_information:
                has_information = True
                shape = _sub_items(value, requestor=requestor)
            elif number == (0x20 if requestor else 0x21):
                if len(value) < 4:
                    return Shape.BROKEN
                if requestor or value[2] == 0:  # else its transfer syntax shall not be tested
                    list(_items(value[4:]))
    except ValueError:
        return Shape.BROKEN
    return shape


def of_associate(data: bytes, state: State) -> Expected:
    """The reaction to an A-ASSOCIATE-RQ in Sta2, or an A-ASSOCIATE-AC in Sta5, with any length field damaged."""
    length = int.from_bytes(data[2:6], "big")
    if not 0 < length <= LONGEST_ASSOCIATE:
        return invalid(state)
    if length > len(data) - 6:
        return _NOTHING
    body = data[6 : 6 + length]
    if shape_of_associate(body, requestor=state is State.CONNECTED) is Shape.BROKEN:
        return invalid(state)
    # What is left of it may have become anything; the lenient mode guesses no less than the strict one.
    if state is State.REQUESTED:
        return Expected("C-ECHO-RQ* | A-ABORT 0 0 | A-ABORT 2 [1256] | ", Then.CLOSE)
    back = "A-ASSOCIATE-AC* | A-ASSOCIATE-RJ 1 1 [237] | A-ASSOCIATE-AC*, A-ABORT 2 [1256]"
    return Expected(back, Then.CLOSE, f"{back} | A-ABORT 2 6")


def of_p_data(data: bytes, state: State) -> Expected:
    """The reaction to a P-DATA-TF that has any length field damaged, and was a whole message."""
    length = int.from_bytes(data[2:6], "big")
    over = invalid(state)
    if length > 2 * MAXIMUM_LENGTH:
        return over
    damaged = "A-ABORT 2 [56] | C-*-RSP 0x[0-9A-F]*, A-ABORT 2 [56]"
    if length > len(data) - 6:
        waits = " | C-*-RSP 0x[0-9A-F]* | A-RELEASE-RQ*"
        strict = over.back if length > MAXIMUM_LENGTH else None
        return Expected(waits, Then.CLOSE, strict)
    return Expected(f"{damaged} | A-ABORT 2 1 | A-RELEASE-RQ, A-ABORT 2 [156]", Then.READ, f"{damaged} | A-ABORT 2 1*")
