"""The upper layer state machine: two of them talking in memory, and one fed what devices send."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dimse.errors import LocalProtocolError, RemoteProtocolError
from dimse.upper_layer.items import PresentationContextAC, PresentationContextRQ, UserInformation
from dimse.upper_layer.machine import (
    MAXIMUM_ASSOCIATE_LENGTH,
    MAXIMUM_EMPTY_FRAGMENTS,
    CloseTransport,
    Fragment,
    Machine,
    MachineEvent,
    Oddity,
    ProviderAbort,
)
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
    PDV,
)
from dimse.upper_layer.states import State

INFORMATION = UserInformation(maximum_length=16384, implementation_class_uid="1.2")
RQ = A_ASSOCIATE_RQ("B", "A", INFORMATION, presentation_contexts=(PresentationContextRQ(1, "1.2", ("1.3",)),))
AC = A_ASSOCIATE_AC("B", "A", INFORMATION, presentation_contexts=(PresentationContextAC(1, 0, "1.3"),))
RJ = A_ASSOCIATE_RJ(1, 1, 7)
ABORT = A_ABORT(0, 0)
CLOSE = CloseTransport()


def machine(*, requestor: bool, maximum_length: int = 16384, strict: bool = False) -> Machine:
    return Machine(requestor=requestor, maximum_length=maximum_length, artim=10, strict=strict)


def states(*machines: Machine) -> tuple[State, ...]:
    return tuple(one.state for one in machines)


def feed(receiver: Machine, *chunks: bytes, now: float = 0) -> list[MachineEvent]:
    """All the events that `chunks` cause. An A-ASSOCIATE-RQ is accepted as soon as it is seen."""
    events = []
    for chunk in chunks:
        receiver.receive_data(memoryview(chunk), now)
        while (event := receiver.next_event()) is not None:
            events.append(event)
            if isinstance(event, A_ASSOCIATE_RQ):
                receiver.accept(AC)
    return events


def pass_on(sender: Machine, receiver: Machine) -> list[MachineEvent]:
    return feed(receiver, sender.data_to_send())


def send(sender: Machine, receiver: Machine, data: bytes, *, is_command: bool, is_last: bool) -> list[MachineEvent]:
    header = sender.p_data(1, is_command=is_command, is_last=is_last, length=len(data))
    return feed(receiver, header + data)


def associated(*, maximum_length: int = 16384, strict: bool = False) -> tuple[Machine, Machine]:
    requestor = machine(requestor=True, maximum_length=maximum_length, strict=strict)
    acceptor = machine(requestor=False, maximum_length=maximum_length, strict=strict)
    requestor.associate(RQ)
    acceptor.transport_accepted(0)
    requestor.transport_connected()
    assert pass_on(requestor, acceptor) == [RQ]
    assert pass_on(acceptor, requestor) == [AC]
    assert states(requestor, acceptor) == (State.STA6, State.STA6)
    assert (requestor.deadline, acceptor.deadline) == (None, None)
    return requestor, acceptor


def receiving(*, maximum_length: int = 16384, strict: bool = False) -> Machine:
    return associated(maximum_length=maximum_length, strict=strict)[1]


def p_data_tf(*pdvs: tuple[int, bool, bool, bytes]) -> bytes:
    return P_DATA_TF(tuple(PDV(*pdv) for pdv in pdvs)).encode()


def joined(events: Iterable[MachineEvent]) -> list[MachineEvent]:
    """The same events with neighbouring fragments of one command or data set made one, and without oddities."""
    result: list[MachineEvent] = []
    for event in events:
        if isinstance(event, Oddity):
            continue
        last = result[-1] if result else None
        if isinstance(event, Fragment) and isinstance(last, Fragment) and not last.is_last and last[:2] == event[:2]:
            result[-1] = Fragment(*event[:3], memoryview(bytes(last.data) + bytes(event.data)))
        else:
            result.append(event)
    return result


def aborts_with(receiver: Machine, events: list[MachineEvent], reason: int) -> str:
    """Check that `receiver` has just answered with A-ABORT (2, `reason`) and said so; the error's text."""
    *_, last = events
    assert isinstance(last, ProviderAbort)
    assert last.error is not None
    assert (last.error.source, last.error.reason) == (2, reason)
    assert receiver.data_to_send() == A_ABORT(2, reason).encode()
    assert states(receiver) == (State.STA13,)
    return str(last.error)


# Two machines


def test_p_data_both_ways_and_release() -> None:
    requestor, acceptor = associated()
    for sender, receiver in ((requestor, acceptor), (acceptor, requestor)):
        assert send(sender, receiver, b"command!", is_command=True, is_last=True) == [
            Fragment(1, True, True, memoryview(b"command!"))
        ]
        assert send(sender, receiver, b"data", is_command=False, is_last=False) == [
            Fragment(1, False, False, memoryview(b"data"))
        ]
    requestor.release()
    assert pass_on(requestor, acceptor) == [A_RELEASE_RQ()]
    # Data may still arrive after this side asked for release (Sta7, AR-6).
    assert len(send(acceptor, requestor, b"more", is_command=False, is_last=True)) == 1
    acceptor.release_response(now=3)
    assert acceptor.deadline == 13
    assert pass_on(acceptor, requestor) == [A_RELEASE_RP(), CLOSE]
    acceptor.receive_eof(4)
    assert states(requestor, acceptor) == (State.STA1, State.STA1)
    assert not acceptor.deadline
    assert acceptor.next_event() is None


def test_rejection() -> None:
    requestor, acceptor = machine(requestor=True), machine(requestor=False)
    acceptor.transport_accepted(now=1)
    assert acceptor.deadline == 11
    requestor.associate(RQ)
    requestor.transport_connected()
    acceptor.receive_data(memoryview(requestor.data_to_send()), 2)
    assert acceptor.next_event() == RQ
    assert not acceptor.deadline
    acceptor.reject(RJ, now=2)
    assert acceptor.deadline == 12
    assert pass_on(acceptor, requestor) == [RJ, CLOSE]
    assert states(requestor) == (State.STA1,)


def test_release_collision() -> None:
    requestor, acceptor = associated()
    requestor.release()
    acceptor.release()
    to_acceptor, to_requestor = requestor.data_to_send(), acceptor.data_to_send()
    assert feed(requestor, to_requestor) == feed(acceptor, to_acceptor) == [A_RELEASE_RQ()]
    assert states(requestor, acceptor) == (State.STA9, State.STA10)
    with pytest.raises(LocalProtocolError):  # the acceptor waits for the requestor's answer
        acceptor.release_response(0)
    requestor.release_response(0)
    assert pass_on(requestor, acceptor) == [A_RELEASE_RP()]
    acceptor.release_response(0)
    assert pass_on(acceptor, requestor) == [A_RELEASE_RP(), CLOSE]
    assert states(requestor, acceptor) == (State.STA1, State.STA13)


def test_abort_in_the_middle_of_a_message() -> None:
    requestor, acceptor = associated()
    send(requestor, acceptor, b"half", is_command=False, is_last=False)
    requestor.abort(now=5)
    assert requestor.deadline == 15
    assert pass_on(requestor, acceptor) == [ABORT, CLOSE]
    assert acceptor.data_to_send() == b""
    assert states(acceptor) == (State.STA1,)


def test_abort_while_the_connection_is_being_opened() -> None:
    requestor = machine(requestor=True)
    requestor.associate(RQ)
    requestor.abort(0)
    assert requestor.next_event() == CLOSE
    assert requestor.data_to_send() == b""


@pytest.mark.parametrize("state", [State.STA1, State.STA2, State.STA13])
def test_abort_where_there_is_nothing_to_abort(state: State) -> None:
    alone = machine(requestor=False)
    alone.state = state
    alone.abort(0)
    assert (alone.state, alone.data_to_send(), alone.next_event()) == (state, b"", None)


def test_data_after_an_abort_are_ignored() -> None:
    requestor, acceptor = associated()
    whole = acceptor.p_data(1, is_command=False, is_last=True, length=8) + b"somedata"
    assert len(feed(requestor, whole[:15])) == 1
    requestor.abort(0)
    requestor.data_to_send()
    # The rest of the PDU under way, whole PDUs, and one that comes a byte at a time: AA-6.
    assert feed(requestor, whole[15:], whole, whole, *(bytes([byte]) for byte in whole)) == []
    assert requestor.data_to_send() == b""
    assert states(requestor) == (State.STA13,)
    assert feed(requestor, ABORT.encode()) == [CLOSE]


def test_ignored_pdus_are_read_a_part_at_a_time() -> None:
    acceptor = receiving()
    acceptor.abort(0)
    ignored = P_DATA_TF(()).encode()
    acceptor.receive_data(memoryview(ignored * 2500 + ABORT.encode()), 0)
    assert [(acceptor.next_event(), acceptor.has_unread) for _ in range(4)] == [
        (None, True),
        (None, True),
        (CLOSE, False),
        (None, False),
    ]


@pytest.mark.parametrize("at", range(6, 18))
def test_the_rest_of_a_pdu_is_not_answered_again_after_an_abort(at: int) -> None:
    requestor, _ = associated()
    broken = P_DATA_TF((PDV(1, False, False, b"ab"), PDV(1, False, False, b""))).encode()[:-6] + b"\xff" * 6
    feed(requestor, broken[:at])
    requestor.abort(0)
    assert requestor.data_to_send() == ABORT.encode()
    assert feed(requestor, broken[at:]) == []
    assert requestor.data_to_send() == b""
    assert feed(requestor, ABORT.encode()) == [CLOSE]


def test_a_fragment_is_an_event_when_its_first_byte_has_arrived() -> None:
    whole = p_data_tf((1, False, True, b"ab"))
    for cut in range(1, 12):
        assert feed(receiving(), whole[:cut], whole[cut:12]) == []
    acceptor = receiving()
    assert feed(acceptor, whole[:12]) == []
    assert feed(acceptor, whole[12:]) == [Fragment(1, False, True, memoryview(b"ab"))]


def test_connection_lost_in_the_middle_of_a_pdu() -> None:
    acceptor = receiving()
    feed(acceptor, p_data_tf((1, False, False, b"data"))[:14])
    acceptor.receive_eof(0)
    assert acceptor.next_event() == ProviderAbort(None)
    assert acceptor.next_event() is None
    assert states(acceptor) == (State.STA1,)
    assert feed(acceptor, b"late") == []


# ARTIM


def test_artim() -> None:
    acceptor = machine(requestor=False)
    assert not acceptor.deadline
    acceptor.transport_accepted(now=100)
    assert acceptor.deadline == 110
    assert feed(acceptor, RQ.encode()[:-1], now=109) == []
    assert acceptor.deadline == 110  # the whole A-ASSOCIATE-RQ has to come in time
    acceptor.timeout(now=110)
    assert acceptor.next_event() == CLOSE
    assert not acceptor.deadline
    assert feed(acceptor, RQ.encode()[-1:], now=111) == []


def test_artim_never() -> None:
    acceptor = Machine(requestor=False, maximum_length=0, artim=None, strict=False)
    acceptor.transport_accepted(now=100)
    assert not acceptor.deadline


def test_artim_after_an_abort() -> None:
    requestor, _ = associated()
    requestor.abort(now=7)
    assert requestor.deadline == 17
    feed(requestor, p_data_tf((1, False, False, b"data")), now=12)
    assert requestor.deadline == 17
    requestor.timeout(17)
    assert requestor.next_event() == CLOSE


# Framing


MESSAGE = p_data_tf((1, True, True, b"command!"), (1, False, False, b"first!"), (1, False, False, b""))
CONVERSATION = (
    RQ.encode()
    + MESSAGE
    + p_data_tf((1, False, False, bytes(300)))
    + p_data_tf((1, False, True, b""))
    + p_data_tf((255, False, True, b"x"))
    + A_RELEASE_RQ().encode()
)
HEARD = [
    RQ,
    Fragment(1, True, True, memoryview(b"command!")),
    Fragment(1, False, True, memoryview(b"first!" + bytes(300))),
    Fragment(255, False, True, memoryview(b"x")),
    A_RELEASE_RQ(),
]


def listening() -> Machine:
    acceptor = machine(requestor=False)
    acceptor.transport_accepted(0)
    return acceptor


def test_whole_and_byte_by_byte() -> None:
    assert joined(feed(listening(), CONVERSATION)) == HEARD
    assert joined(feed(listening(), *(bytes([byte]) for byte in CONVERSATION))) == HEARD


@given(st.lists(st.integers(0, len(CONVERSATION)), max_size=20).map(sorted))
def test_any_split(cuts: list[int]) -> None:
    chunks = [CONVERSATION[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
    assert joined(feed(listening(), *chunks)) == HEARD


pdvs = st.tuples(st.sampled_from([1, 3]), st.booleans(), st.booleans(), st.binary(max_size=20))


@given(st.lists(st.lists(pdvs, min_size=1, max_size=4), max_size=6), st.randoms())
def test_any_fragments_in_any_split(pdus: list[list[tuple[int, bool, bool, bytes]]], cut: random.Random) -> None:
    data = b"".join(p_data_tf(*pdu) for pdu in pdus)
    chunks, rest = [], data
    while rest:
        size = cut.randint(1, 12)
        chunks.append(rest[:size])
        rest = rest[size:]
    expected = [Fragment(*pdv[:3], memoryview(pdv[3])) for pdu in pdus for pdv in pdu]
    assert joined(feed(receiving(), *chunks)) == joined(feed(receiving(), data)) == joined(expected)


def test_fragments_are_views_of_the_buffer() -> None:
    buffer = bytearray(MESSAGE)
    acceptor = receiving()
    acceptor.receive_data(memoryview(buffer), 0)
    while (event := acceptor.next_event()) is not None:
        assert isinstance(event, Fragment)
        assert event.data.obj is buffer or not event.data


def test_the_last_part_of_a_fragment_is_the_last() -> None:
    pdu = p_data_tf((1, False, True, b"abcdef"))
    assert feed(receiving(), pdu[:14], pdu[14:17], pdu[17:]) == [
        Fragment(1, False, False, memoryview(b"ab")),
        Fragment(1, False, False, memoryview(b"cde")),
        Fragment(1, False, True, memoryview(b"f")),
    ]


def test_two_pdus_in_one_buffer_are_taken_one_at_a_time() -> None:
    acceptor = listening()
    acceptor.receive_data(memoryview(RQ.encode() + MESSAGE), 0)
    assert acceptor.next_event() == RQ
    acceptor.accept(AC)  # before the next PDU is looked at, or it would be unexpected
    assert isinstance(acceptor.next_event(), Fragment)


# What devices get wrong


def test_pdu_over_our_maximum() -> None:
    over = p_data_tf((1, False, False, bytes(96)))  # a PDU-length of 102
    assert feed(receiving(maximum_length=102, strict=True), over) == [Fragment(1, False, False, memoryview(bytes(96)))]

    strict = receiving(maximum_length=101, strict=True)
    assert "102 bytes exceeds our maximum length of 101" in aborts_with(strict, feed(strict, over[:6]), 6)

    lenient = receiving(maximum_length=51)
    events = feed(lenient, over, over)
    assert [type(event) for event in events] == [Oddity, Fragment, Fragment]  # one warning for an association

    too_much = receiving(maximum_length=50)
    aborts_with(too_much, feed(too_much, over[:6]), 6)

    unlimited = receiving(maximum_length=0, strict=True)
    assert feed(unlimited, PDU_HEADER.pack(4, 0xFFFFFFFE)) == []
    assert states(unlimited) == (State.STA6,)


def test_odd_fragments() -> None:
    odd, fragment = p_data_tf((1, False, False, b"odd")), Fragment(1, False, False, memoryview(b"odd"))
    for acceptor in (receiving(), receiving(strict=True)):
        assert feed(acceptor, odd, odd) == [Oddity("fragments of an odd length", is_harmless=True), fragment, fragment]


@pytest.mark.parametrize("strict", [True, False])
def test_empty_fragments(strict: bool) -> None:
    empty, full = p_data_tf((1, False, False, b"")), p_data_tf((1, False, False, b"ab"))
    acceptor = receiving(strict=strict)
    for _ in range(3):
        events = feed(acceptor, empty * MAXIMUM_EMPTY_FRAGMENTS + full)
        assert len(events) == MAXIMUM_EMPTY_FRAGMENTS + 1
    assert "1000 empty fragments" in aborts_with(acceptor, feed(acceptor, empty * (MAXIMUM_EMPTY_FRAGMENTS + 1)), 6)


def test_a_p_data_tf_without_a_pdv() -> None:
    nothing = P_DATA_TF(()).encode()
    strict, lenient = receiving(strict=True), receiving()
    aborts_with(strict, feed(strict, nothing), 6)
    assert feed(lenient, nothing * MAXIMUM_EMPTY_FRAGMENTS) == []
    aborts_with(lenient, feed(lenient, nothing), 6)


@pytest.mark.parametrize(
    "pdu",
    [
        pytest.param("04 00 00000005 00000001 01", id="ends in a PDV header"),
        pytest.param("04 00 00000006 00000001 01 03", id="PDV length 1"),
        pytest.param("04 00 00000006 00000000 01 03", id="PDV length 0"),
        pytest.param("04 00 00000008 00000005 01 03 AABB", id="PDV leaves its PDU"),
        pytest.param("04 00 00000008 FFFFFFFF 01 03 AABB", id="PDV of 4 GiB"),
        pytest.param("04 00 00000009 00000003 01 03 AA 00 00", id="stray bytes"),
        pytest.param("05 00 00000005 0000000000", id="A-RELEASE-RQ of 5 bytes"),
        pytest.param("07 00 00000000", id="empty A-ABORT"),
        pytest.param("01 00 00000004 00010000", id="A-ASSOCIATE-RQ without its fixed fields"),
    ],
)
def test_wrong_lengths(pdu: str) -> None:
    for chunks in ([bytes.fromhex(pdu)], [bytes([byte]) for byte in bytes.fromhex(pdu)]):
        acceptor = receiving()
        events = feed(acceptor, *chunks)
        aborts_with(acceptor, events, 6)


def test_unknown_pdu_type() -> None:
    acceptor = receiving()
    assert "08H" in aborts_with(acceptor, feed(acceptor, bytes.fromhex("08 00 00000000")), 1)


def test_after_a_framing_error_nothing_more_is_read() -> None:
    acceptor = receiving()
    events = feed(acceptor, b"\x08" + bytes(5) + MESSAGE, MESSAGE, b"\x08" + bytes(5), ABORT.encode())
    aborts_with(acceptor, events, 1)
    assert len(events) == 1
    acceptor.receive_eof(0)  # AR-5
    assert states(acceptor) == (State.STA1,)
    assert acceptor.next_event() is None


@pytest.mark.parametrize("kind", [1, 2])
def test_an_associate_pdu_over_the_limit_is_refused_by_its_header(kind: int) -> None:
    acceptor = receiving()
    aborts_with(acceptor, feed(acceptor, PDU_HEADER.pack(kind, MAXIMUM_ASSOCIATE_LENGTH + 1)), 6)


def test_memory_is_taken_as_bytes_arrive_and_not_as_they_are_announced() -> None:
    acceptor = listening()
    tracemalloc.start()
    try:
        assert feed(acceptor, PDU_HEADER.pack(1, MAXIMUM_ASSOCIATE_LENGTH), b"x") == []
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()


def test_an_http_request_is_no_pdu() -> None:
    acceptor = listening()
    events = feed(acceptor, b"GET / HTTP/1.1\r\n\r\n")
    assert [type(event) for event in events] == [ProviderAbort]
    assert acceptor.data_to_send() == ABORT.encode()  # AA-1


# Telling of PDUs


def test_each_pdu_is_told_of_without_its_content() -> None:
    told: list[tuple[str, bool, str, int, int | None]] = []
    request = A_ASSOCIATE_RQ("B", "A", UserInformation())
    acceptor, requestor = listening(), machine(requestor=True)
    requestor.on_pdu = lambda *pdu: told.append(("requestor", *pdu))
    acceptor.on_pdu = lambda *pdu: told.append(("acceptor", *pdu))
    requestor.associate(request)
    requestor.transport_connected()
    pass_on(requestor, acceptor)
    pass_on(acceptor, requestor)
    send(requestor, acceptor, bytes(14), is_command=False, is_last=True)
    requestor.abort(0)
    pass_on(requestor, acceptor)
    asked, answered = len(request.encode()) - 6, len(AC.encode()) - 6
    assert told == [
        ("requestor", True, "A-ASSOCIATE-RQ", asked, None),
        ("acceptor", False, "A-ASSOCIATE-RQ", asked, None),
        ("acceptor", True, "A-ASSOCIATE-AC", answered, None),
        ("requestor", False, "A-ASSOCIATE-AC", answered, None),
        ("requestor", True, "P-DATA-TF", 20, 1),
        ("acceptor", False, "P-DATA-TF", 20, None),
        ("requestor", True, "A-ABORT", 4, None),
        ("acceptor", False, "A-ABORT", 4, None),
    ]


# Fuzzing


PDUS: tuple[PDU, ...] = (RQ, AC, RJ, A_RELEASE_RQ(), A_RELEASE_RP(), ABORT)
pieces = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(PDUS).map(lambda pdu: pdu.encode()),
    st.builds(lambda pdu: p_data_tf(*pdu), st.lists(pdvs, max_size=3)),
    st.builds(PDU_HEADER.pack, st.integers(0, 9), st.integers(0, 200)),
)


@settings(max_examples=300)
@given(st.sampled_from(State), st.booleans(), st.booleans(), st.lists(pieces, max_size=8), st.data())
def test_fuzz(state: State, requestor: bool, strict: bool, chunks: list[bytes], data: st.DataObject) -> None:
    """Whatever a peer sends, in whatever state and however it is cut: no exception comes out, the events are
    the same, and once this side has sent A-ABORT or closed there is no more data for the user.
    """
    stream = b"".join(chunks)
    cut = data.draw(st.integers(0, len(stream)))
    heard = []
    for parts in ([stream], [stream[:cut], stream[cut:]]):
        receiver = machine(requestor=requestor, strict=strict, maximum_length=60)
        receiver.state = state
        events = feed(receiver, *parts)
        kinds = [type(event) for event in events]
        assert receiver.state is not State.STA1 or state is State.STA1 or kinds[-1] is CloseTransport
        over = next((at for at, kind in enumerate(kinds) if kind in (ProviderAbort, CloseTransport)), len(kinds))
        assert set(kinds[over + 1 :]) <= {CloseTransport}
        heard.append([repr(event) if isinstance(event, ProviderAbort) else event for event in joined(events)])
    assert heard[0] == heard[1]


class Conversation(RuleBasedStateMachine):
    """Two machines whose users ask only for what is allowed never find a fault in each other, lose no fragment
    and change none, however their bytes are cut and their requests interleaved.
    """

    def __init__(self) -> None:
        super().__init__()
        self.machines = (machine(requestor=True, strict=True), machine(requestor=False, strict=True))
        self.on_the_way = (bytearray(), bytearray())  # what each has yet to receive
        self.closed = [False, False]
        self.sent: tuple[list[bytes], list[bytes]] = ([], [])
        self.heard: tuple[list[bytes], list[bytes]] = ([], [])
        self.part = (bytearray(), bytearray())
        self.machines[0].associate(RQ)
        self.machines[1].transport_accepted(0)
        self.machines[0].transport_connected()
        self.flush()

    def flush(self) -> None:
        for side in (0, 1):
            self.on_the_way[1 - side].extend(self.machines[side].data_to_send())

    @rule(side=st.integers(0, 1), action=st.sampled_from(["release", "answer", "abort"]))
    def ask(self, side: int, action: str) -> None:
        asks: dict[str, Callable[[Machine], None]] = {
            "release": lambda one: one.release(),
            "answer": lambda one: one.release_response(0),
            "abort": lambda one: one.abort(0),
        }
        before = self.machines[side].state
        try:
            asks[action](self.machines[side])
        except LocalProtocolError:
            assert self.machines[side].state is before
        self.flush()
        self.take_events(side)

    @rule(side=st.integers(0, 1), data=st.binary(max_size=10).map(lambda data: data + b"!" * (len(data) % 2)))
    def data(self, side: int, data: bytes) -> None:
        try:
            header = self.machines[side].p_data(1, is_command=False, is_last=True, length=len(data))
        except LocalProtocolError:
            return
        self.sent[side].append(data)
        self.on_the_way[1 - side].extend(header + data)

    @rule(side=st.integers(0, 1), size=st.integers(1, 200))
    def deliver(self, side: int, size: int) -> None:
        chunk = bytes(self.on_the_way[side][:size])
        del self.on_the_way[side][:size]
        self.machines[side].receive_data(memoryview(chunk), 0)
        self.take_events(side)
        self.flush()

    @precondition(lambda self: self.closed[0] or self.closed[1])
    @rule()
    def hang_up(self) -> None:
        for side in (0, 1):
            if self.closed[1 - side] and not self.on_the_way[side]:
                self.machines[side].receive_eof(0)

    def take_events(self, side: int) -> None:
        while (event := self.machines[side].next_event()) is not None:
            if isinstance(event, Fragment):
                self.part[side].extend(event.data)
                if event.is_last:
                    self.heard[side].append(bytes(self.part[side]))
                    self.part[side].clear()
            elif isinstance(event, A_ASSOCIATE_RQ):
                self.machines[side].accept(AC)
            elif isinstance(event, CloseTransport):
                self.closed[side] = True
                self.on_the_way[side].clear()
            assert not isinstance(event, Oddity)
            assert not isinstance(event, ProviderAbort) or event.error is None

    @invariant()
    def nothing_is_lost_or_changed(self) -> None:
        for side in (0, 1):
            heard, sent = self.heard[side], self.sent[1 - side]
            assert heard == sent[: len(heard)]
            if self.machines[side].state is State.STA6 and not self.on_the_way[side]:
                assert heard == sent


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=150, stateful_step_count=40)


def test_local_errors_say_what_and_where() -> None:
    with pytest.raises(LocalProtocolError, match=r"^A-RELEASE request is not allowed in Sta1 \(idle\)$"):
        machine(requestor=True).release()
    assert not issubclass(LocalProtocolError, RemoteProtocolError)
