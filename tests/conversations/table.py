"""Cases of PS3.8 Table 9-10: every PDU type in every state that a peer can lead us to, whole and damaged."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import Final

from tests.conversations import oracle, seeds
from tests.conversations.cases import Case, State, Then
from tests.conversations.octets import p_data, pdu, pdv
from tests.upper_layer.table_9_10 import TABLE

CLAUSE: Final = "PS3.8 Table 9-10"

WHOLE: Final = {
    0x01: seeds.ASSOCIATE_RQ.data,
    0x02: seeds.ASSOCIATE_AC.data,
    0x03: seeds.ASSOCIATE_RJ.data,
    0x04: p_data(pdv(1, 0x03, seeds.echo_rq().data[12:])).data,
    0x05: seeds.RELEASE_RQ.data,
    0x06: seeds.RELEASE_RP.data,
    0x07: seeds.ABORT_USER.data,
}

_CONTENT: Final = {
    (State.CONNECTED, 0x01): oracle.Expected("A-ASSOCIATE-AC 1=0 3=0", Then.GO_ON),
    (State.ASSOCIATED, 0x04): oracle.Expected("C-ECHO-RSP 0x0000", Then.GO_ON),
    (State.STORING, 0x04): oracle.Expected("A-ABORT 2 5", Then.READ),
    (State.REQUESTED, 0x02): oracle.Expected("", Then.GO_ON),
    (State.ECHOING, 0x04): oracle.Expected("A-ABORT 2 5", Then.READ),
    (State.RELEASING, 0x04): oracle.Expected("A-ABORT 2 5", Then.READ),
}
"""What comes back where the table leaves it to the content of the PDU."""


def expected(state: State, number: int) -> oracle.Expected:
    """The reaction to a whole PDU of this type."""
    found = oracle.reaction(state, number)
    return _CONTENT[state, number] if found is None else found


def case(name: str, data: bytes, state: State, what: oracle.Expected, clause: str = CLAUSE) -> Case:
    """A case with what the oracle says."""
    return Case(name, data, what.back, what.strict, state, what.then, clause)


def types() -> Iterator[Case]:
    """PDU types 0 to 255 in Sta2, Sta3, Sta5, Sta6 and Sta13, in both roles."""
    states = (
        State.CONNECTED,
        State.DECIDING,
        State.ASSOCIATED,
        State.ABORTED,
        State.REQUESTED,
        State.ECHOING,
        State.GIVEN_UP,
    )
    for state in states:
        for number in range(256):
            data = WHOLE.get(number, pdu(number, bytes(4)).data)
            yield case(f"type {number:02X}H", data, state, expected(state, number))


def _damaged(number: int) -> Iterator[tuple[str, bytes, str]]:
    """Bodies that no PDU of a type has, each with the reason of its A-ABORT."""
    chance = random.Random(number)
    yield "empty", pdu(number).data, "6"
    garbage = chance.randbytes(200)
    if number == 0x04:
        yield "with garbage", pdu(number, b"\xff\xff\xff\xff" + garbage).data, "6"
        yield "that ends in a PDV header", pdu(number, b"\0\0\0").data, "6"
        yield "with a PDV of length 1", pdu(number, struct.pack(">IBB", 1, 1, 3)).data, "6"
        yield "of 2 GiB", struct.pack(">BxI", number, 2**31 - 1), "6"
        yield "over twice the maximum", struct.pack(">BxI", number, 2 * oracle.MAXIMUM_LENGTH + 2), "6"
        return
    yield "with garbage", pdu(number, garbage).data, "6"
    for length in (1, 3, 5, 67):
        yield f"of {length} bytes", pdu(number, garbage[:length]).data, "6"
    for length in (oracle.LONGEST_ASSOCIATE + 1, 2**31 - 1, 2**32 - 1):
        yield f"of {length} bytes, as it says", struct.pack(">BxI", number, length) + garbage, "6"


STATES: Final = tuple(State)


def cells() -> Iterator[Case]:
    """Every cell that a peer can drive, whole and damaged."""
    for state in STATES:
        for number in WHOLE:
            yield case(f"whole {number:02X}H", WHOLE[number], state, expected(state, number))
            for name, data, reason in _damaged(number):
                yield case(f"{number:02X}H {name}", data, state, _for_damaged(state, number, name, reason))


def _for_damaged(state: State, number: int, name: str, reason: str) -> oracle.Expected:
    action, _ = TABLE[oracle.NUMBERS[state], oracle.EVENTS[number]]
    if number == 0x04 and action not in ("DT-2", "AR-6"):
        return expected(state, number)  # it is unexpected, whatever is in it
    if number == 0x04 and name == "empty":  # without a PDV: malformed, which the lenient mode reads over
        return oracle.Expected("", Then.CLOSE, "A-ABORT 2 6")
    return oracle.invalid(state, reason)


def over_the_maximum() -> Iterator[Case]:
    """P-DATA-TF longer than the maximum that we announced: one warning up to twice as much (protocol of lenience)."""
    for state in (State.ASSOCIATED, State.STORING):
        for over in (2, 4, 100, oracle.MAXIMUM_LENGTH):
            length = oracle.MAXIMUM_LENGTH + over
            fragment = bytes(length - 6)
            data = p_data(pdv(3, 0x00, fragment)).data
            back = "" if state is State.STORING else "A-ABORT 2 5"
            then = Then.CLOSE if state is State.STORING else Then.READ
            yield Case(f"P-DATA-TF of {length}", data, back, "A-ABORT 2 6", state, then, "PS3.8 D.1")
        for length in (oracle.MAXIMUM_LENGTH - 2, oracle.MAXIMUM_LENGTH):
            data = p_data(pdv(3, 0x00, bytes(length - 6))).data
            back = "" if state is State.STORING else "A-ABORT 2 5"
            then = Then.CLOSE if state is State.STORING else Then.READ
            yield Case(f"P-DATA-TF of {length}", data, back, None, state, then, "PS3.8 D.1")


def stalls() -> Iterator[Case]:
    """A peer that does nothing more, in every state: each ends at its own deadline."""
    for state in State:
        if state is not State.ANSWERING:  # where it is our turn
            back = "A-ABORT 0 0" if oracle.NUMBERS[state] not in (2, 13) else ""
            back = "A-ASSOCIATE-RJ 2 3 1" if state is State.DECIDING else back  # `Timeouts.admission`
            yield Case("silence", b"", back, state=state, then=Then.STALL, clause="PS3.8 9.1.5")


def ends() -> Iterator[Case]:
    """A peer that closes or resets in every state (Evt17)."""
    for state in State:
        for then in (Then.CLOSE, Then.RESET):
            yield Case(then.value, b"", "", state=state, then=then, clause="PS3.8 9.2.3, AA-4, AA-5, AR-5")


GROUPS = (types, cells, over_the_maximum, stalls, ends)
