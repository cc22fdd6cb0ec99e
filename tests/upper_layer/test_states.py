"""Every state x every event x both roles, against Table 9-10 typed a second time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.upper_layer.table_9_10 import ACTIONS, TABLE

from dimse.errors import LocalProtocolError
from dimse.upper_layer.items import PresentationContextAC, PresentationContextRQ, UserInformation
from dimse.upper_layer.machine import CloseTransport, Machine, MachineEvent
from dimse.upper_layer.pdu import (
    A_ABORT,
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RJ,
    A_ASSOCIATE_RQ,
    A_RELEASE_RP,
    A_RELEASE_RQ,
    P_DATA_TF,
    PDU,
    PDU_HEADER,
    PDU_TYPES,
    PDV,
)
from dimse.upper_layer.states import TRANSITIONS, State

INFORMATION = UserInformation(maximum_length=16384, implementation_class_uid="1.2")
RQ = A_ASSOCIATE_RQ("B", "A", INFORMATION, presentation_contexts=(PresentationContextRQ(1, "1.2", ("1.3",)),))
AC = A_ASSOCIATE_AC("B", "A", INFORMATION, presentation_contexts=(PresentationContextAC(1, 0, "1.3"),))
P_DATA = P_DATA_TF((PDV(1, True, True, b"data"),))

ARTIM, NOW, RUNNING = 10.0, 100.0, 105.0


def receive(pdu: PDU) -> Callable[[Machine], None]:
    return lambda machine: machine.receive_data(memoryview(pdu.encode()), NOW)


def receive_bytes(data: str) -> Callable[[Machine], None]:
    return lambda machine: machine.receive_data(memoryview(bytes.fromhex(data)), NOW)


def p_data(machine: Machine) -> None:
    machine._out += machine.p_data(1, is_command=True, is_last=True, length=4) + b"data"


CAUSES: dict[int, Callable[[Machine], object]] = {
    1: lambda machine: machine.associate(RQ),
    2: lambda machine: machine.transport_connected(),
    3: receive(AC),
    4: receive(A_ASSOCIATE_RJ(1, 1, 1)),
    5: lambda machine: machine.transport_accepted(NOW),
    6: receive(RQ),
    7: lambda machine: machine.accept(AC),
    8: lambda machine: machine.reject(A_ASSOCIATE_RJ(1, 1, 1), NOW),
    9: p_data,
    10: receive(P_DATA),
    11: lambda machine: machine.release(),
    12: receive(A_RELEASE_RQ()),
    13: receive(A_RELEASE_RP()),
    14: lambda machine: machine.release_response(NOW),
    15: lambda machine: machine.abort(NOW),
    16: receive(A_ABORT(0, 0)),
    17: lambda machine: machine.receive_eof(NOW),
    18: lambda machine: machine.timeout(NOW),
    19: receive_bytes("09 00 00000004 00000000"),
}
LOCAL = {1, 2, 5, 7, 8, 9, 11, 14}
"""Those that a user or the driver calls for; Evt15 is not here, since `abort` may be called anywhere."""


def machine_in(state: int, *, requestor: bool, strict: bool = False) -> Machine:
    machine = Machine(requestor=requestor, maximum_length=16384, artim=ARTIM, strict=strict)
    machine.associate(RQ)
    machine.state = State(state)
    machine.deadline = RUNNING if state in (2, 13) else None
    return machine


def outcome(machine: Machine) -> tuple[list[str], list[MachineEvent]]:
    """The PDUs that went out, and the events that came."""
    events = []
    while (event := machine.next_event()) is not None:
        events.append(event)
    sent, data = [], machine.data_to_send()
    while data:
        number, length = PDU_HEADER.unpack_from(data)
        pdu = PDU_TYPES[number].decode(data[6 : 6 + length])
        sent.append(type(pdu).__name__ + (f" from {pdu.source}" if isinstance(pdu, A_ABORT) else ""))
        data = data[6 + length :]
    return sent, events


def check(machine: Machine, action: str, next_state: int, *, event: int) -> None:
    before = machine.deadline
    CAUSES[event](machine)
    sent, events = outcome(machine)
    does = ACTIONS[action]
    indicated = [type(event).__name__ for event in events if not isinstance(event, CloseTransport)]
    expected = [does.indicates] if does.indicates else []
    if action == "AA-1" and event != 15:
        # More than the standard, which has nobody to tell: whoever drives the machine learns the reason.
        expected = ["ProviderAbort"]
    assert machine.state == next_state
    assert sent == ([does.sends] if does.sends else [])
    assert indicated == expected
    assert (CloseTransport() in events) is does.closes
    if does.closes:
        assert events[-1] == CloseTransport()
    assert machine.deadline == {"start": NOW + ARTIM, "stop": None, None: before}[does.artim]


@pytest.mark.parametrize("requestor", [True, False], ids=["requestor", "acceptor"])
@pytest.mark.parametrize("event", range(1, 20), ids=lambda event: f"Evt{event}")
@pytest.mark.parametrize("state", range(1, 14), ids=lambda state: f"Sta{state}")
def test_table_9_10(state: int, event: int, requestor: bool) -> None:
    machine = machine_in(state, requestor=requestor)
    if (state, event) in TABLE:
        action, next_state = TABLE[state, event]
        if action == "AR-8" and not requestor:
            next_state = 10
        check(machine, action, next_state, event=event)
        return
    before = machine.deadline
    if event in LOCAL:
        with pytest.raises(LocalProtocolError, match=rf"is not allowed in Sta{state} \("):
            CAUSES[event](machine)
    else:
        CAUSES[event](machine)
    assert outcome(machine) == ([], [])
    assert (machine.state, machine.deadline) == (state, before)


def test_the_table_of_src_has_the_same_cells() -> None:
    assert {
        (state.value, event.value): action.name.replace("_", "-") for (event, state), action in TRANSITIONS.items()
    } == {cell: action for cell, (action, _) in TABLE.items()}


@pytest.mark.parametrize("version", [0, 2, 0xFFFE])
def test_ae_6_without_version_1_rejects(version: int) -> None:
    machine = machine_in(2, requestor=False)
    request = A_ASSOCIATE_RQ("B", "A", INFORMATION, protocol_version=version)
    receive(request)(machine)
    assert machine.next_event() is None
    assert machine.data_to_send() == A_ASSOCIATE_RJ(result=1, source=2, reason=2).encode()
    assert (machine.state, machine.deadline) == (13, NOW + ARTIM)


@pytest.mark.parametrize("version", [1, 3, 0xFFFF])
def test_only_bit_0_of_the_protocol_version_is_tested(version: int) -> None:
    machine = machine_in(2, requestor=False)
    request = A_ASSOCIATE_RQ("B", "A", INFORMATION, protocol_version=version)
    receive(request)(machine)
    assert machine.next_event() == request


@pytest.mark.parametrize(
    ("invalid", "reason"),
    [
        pytest.param("09 00 00000004 00000000", 1, id="type 9"),
        pytest.param("00 00 00000000", 1, id="type 0"),
        pytest.param("01 00 00000000", 6, id="empty A-ASSOCIATE-RQ"),
        pytest.param("02 00 00000005 0001 0000 00", 6, id="short A-ASSOCIATE-AC"),
        pytest.param("03 00 00000005 0000000000", 6, id="long A-ASSOCIATE-RJ"),
        pytest.param("05 00 00000000", 6, id="empty A-RELEASE-RQ"),
        pytest.param("06 00 00000008 0000000000000000", 6, id="long A-RELEASE-RP"),
        pytest.param("07 00 00000003 000000", 6, id="short A-ABORT"),
    ],
)
@pytest.mark.parametrize("state", [2, 3, *range(5, 14)], ids=lambda state: f"Sta{state}")
def test_what_evt19_is(state: int, invalid: str, reason: int) -> None:
    machine = machine_in(state, requestor=True)
    receive_bytes(invalid)(machine)
    while machine.next_event() is not None:
        pass
    # AA-1 names the service user, whose reason field is not significant and sent as 0 (Table 9-26).
    assert machine.data_to_send() == (A_ABORT(0, 0) if state == 2 else A_ABORT(2, reason)).encode()


@pytest.mark.parametrize("state", [3, 5, 8, 9, 10, 11, 12])
def test_unexpected_pdu_has_reason_2(state: int) -> None:
    machine = machine_in(state, requestor=True)
    receive(P_DATA)(machine)
    while machine.next_event() is not None:
        pass
    assert machine.data_to_send() == A_ABORT(2, 2).encode()
