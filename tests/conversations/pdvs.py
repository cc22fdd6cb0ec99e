"""Hostile PDVs (PS3.8 9.3.5.1, Annex E): every context ID and control header, empty, interleaved, out of place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.conversations import seeds
from tests.conversations.cases import Case, State, Then
from tests.conversations.octets import command, join, p_data, pdv

MOST_EMPTY: Final = 1000
"""Empty fragments in a row that are accepted."""

_ECHO: Final = command((0x0002, seeds.VERIFICATION), (0x0100, 0x0030), (0x0110, 1), (0x0800, 0x0101))
_STORE: Final = seeds.store_command()
_ECHOED: Final = "C-ECHO-RSP 0x0000"
_STORED: Final = "C-STORE-RSP 0x0000"
_OUT_OF_STEP: Final = "A-ABORT 2 5"
_INVALID: Final = "A-ABORT 2 6"


def context_ids() -> Iterator[Case]:
    """Each Presentation Context ID: a message on one that was not accepted has no safe reading."""
    for number in range(256):
        echo = p_data(pdv(number, 3, _ECHO)).data
        if number == 3:  # of another SOP class than its context
            back, strict = _ECHOED, "C-ECHO-RSP 0x0122"
            yield Case(
                "echo on the context of another", echo, back, strict, then=Then.GO_ON, is_decided_by_machine=False
            )
        elif number == 1:
            yield Case("echo on its context", echo, _ECHOED, then=Then.GO_ON)
        else:
            yield Case(f"command on context {number}", echo, _OUT_OF_STEP, clause="PS3.8 9.3.5.1")
            data = p_data(pdv(number, 2, seeds.DATA_SET)).data
            name = f"data set on context {number}, behind a command on 3"
            yield Case(name, data, _OUT_OF_STEP, state=State.STORING, clause="PS3.8 Annex E.1")


def control_bytes() -> Iterator[Case]:
    """Each message control header: bits 2 to 7 are not significant when received (PS3.8 E.2)."""
    for control in range(256):
        is_command, is_last = bool(control & 1), bool(control & 2)
        echo, data = p_data(pdv(1, control, _ECHO)).data, p_data(pdv(3, control, seeds.DATA_SET)).data
        if is_command and is_last:
            yield Case(f"command with control {control:02X}H", echo, _ECHOED, then=Then.GO_ON, clause="PS3.8 E.2")
        elif is_command:
            yield Case(f"half a command with control {control:02X}H", echo, "", then=Then.CLOSE, clause="PS3.8 E.2")
        else:
            yield Case(f"data set without a command, control {control:02X}H", echo, _OUT_OF_STEP)
        if is_command:
            name = f"command within a data set, control {control:02X}H"
            begun = p_data(pdv(3, 0, seeds.DATA_SET[:20])).data
            yield Case(name, begun + data, _OUT_OF_STEP, state=State.STORING, clause="PS3.8 Annex E.1")
        elif is_last:
            yield Case(f"data set with control {control:02X}H", data, _STORED, state=State.STORING, then=Then.GO_ON)
        else:
            yield Case(f"half a data set, control {control:02X}H", data, "", state=State.STORING, then=Then.CLOSE)


def _empty(count: int, control: int, *, context: int = 3, together: bool = False) -> bytes:
    """Empty fragments, each in a PDU of its own or all in as few as there may be."""
    if not together:
        return p_data(pdv(context, control, b"")).data * count
    full, rest = divmod(count, 1000)
    pdus = [p_data(*[pdv(context, control, b"")] * size) for size in [1000] * full + [rest] * bool(rest)]
    return join(*pdus).data


def empty_fragments() -> Iterator[Case]:
    """Empty fragments are accepted, as the standard does not forbid them, but not without an end."""
    for together in (False, True):
        how = "in one PDU" if together else "each in a PDU"
        for count in (1, 2, 999, MOST_EMPTY, MOST_EMPTY + 1, 10_000):
            before_echo = _empty(count, 1, context=1, together=together) + p_data(pdv(1, 3, _ECHO)).data
            behind = p_data(pdv(3, 2, seeds.DATA_SET)).data
            before_data = _empty(count, 0, together=together) + behind
            between = p_data(pdv(3, 0, seeds.DATA_SET[:31])).data + _empty(count, 0, together=together)
            between += p_data(pdv(3, 2, seeds.DATA_SET[31:])).data
            last = p_data(pdv(3, 0, seeds.DATA_SET)).data + _empty(count - 1, 0, together=together)
            last += p_data(pdv(3, 2, b"")).data
            accepted = count <= MOST_EMPTY
            for name, sent, state, back in (
                ("before a command", before_echo, State.ASSOCIATED, _ECHOED),
                ("before a data set", before_data, State.STORING, _STORED),
                ("in a data set", between, State.STORING, _STORED),
                ("behind a data set", last, State.STORING, _STORED),
            ):
                name = f"{count} empty fragments {name}, {how}"
                if accepted:
                    yield Case(name, sent, back, state=state, then=Then.GO_ON)
                else:
                    yield Case(name, sent, _INVALID, state=state)
    for count in (MOST_EMPTY + 1, 10_000):
        yield Case(f"{count} empty fragments, and silence", _empty(count, 0), _INVALID, state=State.STORING)
    yield Case(
        "1000 empty fragments, and silence", _empty(1000, 0), "A-ABORT 0 0", state=State.STORING, then=Then.STALL
    )
    yield Case("an empty command", p_data(pdv(1, 3, b"")).data, _OUT_OF_STEP)
    for context in (1, 3):
        yield Case(f"an empty last data set on {context}", p_data(pdv(context, 2, b"")).data, _OUT_OF_STEP)
    sent = p_data(pdv(3, 2, b"")).data
    back = "C-STORE-RSP 0xA900"
    yield Case("an empty data set", sent, back, state=State.STORING, then=Then.GO_ON, is_decided_by_machine=False)


def interleaved() -> Iterator[Case]:
    """Messages do not interleave on an association, on whatever contexts (PS3.8 Annex E.1)."""
    echo, store, data = _ECHO, _STORE, seeds.DATA_SET
    half_echo, half_store, half_data = pdv(1, 1, echo[:20]), pdv(3, 1, store[:20]), pdv(3, 0, data[:40])
    rest_of_echo, rest_of_store, rest_of_data = pdv(1, 3, echo[20:]), pdv(3, 3, store[20:]), pdv(3, 2, data[40:])
    whole_echo, whole_store, whole_data = pdv(1, 3, echo), pdv(3, 3, store), pdv(3, 2, data)
    for name, pdvs in (
        ("two commands in halves", (half_echo, half_store, rest_of_echo, rest_of_store)),
        ("a command inside another", (half_store, whole_echo, rest_of_store, whole_data)),
        ("a data set inside a command", (half_store, whole_data, rest_of_store)),
        ("half a data set inside a command", (half_store, half_data, rest_of_store, rest_of_data)),
        ("a command inside a data set", (whole_store, half_data, whole_echo, rest_of_data)),
        ("half a command inside a data set", (whole_store, half_data, half_echo, rest_of_data, rest_of_echo)),
        ("a second store inside a data set", (whole_store, half_data, whole_store, rest_of_data, whole_data)),
        ("a store in place of a data set", (whole_store, whole_store, whole_data)),
        ("an echo in place of a data set", (whole_store, whole_echo, whole_data)),
        ("half a command in place of a data set", (whole_store, half_echo)),
        ("a data set before its command", (whole_data, whole_store)),
        ("a data set twice", (whole_echo, whole_data)),
        ("a data set behind an echo", (whole_echo, pdv(1, 2, data))),
        ("a command that changes its context", (half_store, pdv(1, 3, store[20:]))),
        ("an echo that changes its context", (half_echo, pdv(3, 3, echo[20:]))),
        ("a data set that changes its context", (whole_store, half_data, pdv(1, 2, data[40:]))),
        ("a data set on another context", (whole_store, pdv(1, 2, data))),
        ("an empty end on another context", (whole_store, pdv(3, 0, data), pdv(1, 2, b""))),
        ("an empty command fragment on another context", (half_store, pdv(1, 1, b""), rest_of_store, whole_data)),
    ):
        for how, sent in (("in one PDU", p_data(*pdvs)), ("in PDUs", join(*(p_data(each) for each in pdvs)))):
            ends = "C-ECHO-RSP 0x0000, A-ABORT 2 5 | A-ABORT 2 5" if pdvs[0] is whole_echo else _OUT_OF_STEP
            yield Case(f"{name}, {how}", sent.data, ends, clause="PS3.8 Annex E.1")
    for end in range(0, len(data), 5):
        sent = join(p_data(pdv(3, 3, store), pdv(3, 0, data[:end])), p_data(pdv(3, 2, data[end:])))
        yield Case(f"a store in two PDUs, cut at byte {end}", sent.data, _STORED, then=Then.GO_ON)
    for end in range(0, len(store), 5):
        sent = join(p_data(pdv(3, 1, store[:end])), p_data(pdv(3, 3, store[end:]), pdv(3, 2, data)))
        yield Case(f"a command in two PDUs, cut at byte {end}", sent.data, _STORED, then=Then.GO_ON)
    odd = [p_data(pdv(3, 0, data[at : at + 3])) for at in range(0, len(data) - 2, 3)]
    sent = join(p_data(pdv(3, 3, store)), *odd, p_data(pdv(3, 2, data[len(odd) * 3 :])))
    yield Case("fragments of odd lengths", sent.data, _STORED, then=Then.GO_ON, clause="PS3.8 9.3.5.1")
