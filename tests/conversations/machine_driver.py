"""Runs cases through the pure machine and message reader: whole, byte for byte, and at random cuts."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from tests.conversations import seeds
from tests.conversations.cases import ASK_FOREVER, ECHO_TO_GO_ON, LEAD, WAITS, Case, Service, State, Then, Transcript

from dimse.errors import RemoteProtocolError
from dimse.messages.fragments import CommandReceived, DataReceived, MessageReader
from dimse.messages.message import C_ECHO_RQ, C_ECHO_RSP, C_STORE_RQ, C_STORE_RSP, Message, Response
from dimse.status import Status
from dimse.testing import associate_request, echo_request, message_pdvs, wire
from dimse.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
from dimse.upper_layer.items import UserInformation
from dimse.upper_layer.machine import (
    CloseTransport,
    Fragment,
    Machine,
    MachineEvent,
    Oddity,
    ProviderAbort,
)
from dimse.upper_layer.negotiation import (
    accept_contexts,
    acceptance_refusal,
    acceptance_violations,
    accepted_contexts,
    normalize,
    refusal,
    violations,
)
from dimse.upper_layer.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, A_RELEASE_RP, A_RELEASE_RQ
from dimse.upper_layer.states import State as MachineState

_SUPPORTED = {VERIFICATION: None, seeds.CT: None}
_SYNTAXES = [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN]
_ENDED = (MachineState.STA1, MachineState.STA13)
_NEVER_ALLOWED = (A_ASSOCIATE_RQ, A_ASSOCIATE_AC, Fragment, A_RELEASE_RQ)


class Side:
    """The side under test: a machine, a message reader, and the simplest user that does what the standard allows."""

    def __init__(self, *, requestor: bool, strict: bool) -> None:
        self.machine = Machine(requestor=requestor, maximum_length=MAXIMUM_LENGTH, artim=10, strict=strict)
        self.events: list[str] = []
        """What its user heard, with the bytes of each command and data set joined."""
        self.transcript = Transcript()
        self._strict = strict
        self._reader = MessageReader()
        self._request: A_ASSOCIATE_RQ | None = None
        self._contexts: set[int] = set()
        self._awaits_data: tuple[int, C_STORE_RQ] | None = None
        self._data = bytearray()
        self._is_over = self._is_answering = False
        if requestor:
            self._request = associate_request((VERIFICATION, _SYNTAXES))
            self.machine.associate(self._request)
            self.machine.transport_connected()
            self._flush()
        else:
            self.machine.transport_accepted(0)

    def feed(self, data: bytes) -> None:
        """Bytes from the peer."""
        self.machine.receive_data(memoryview(data), 0)
        while (event := self.machine.next_event()) is not None:
            self._take(event)
        self._flush()

    def end(self, then: Then) -> None:
        """The peer does nothing more, or closes."""
        if then is Then.STALL and self.machine.state is MachineState.STA3:
            self.machine.reject(A_ASSOCIATE_RJ(2, 3, 1), 0)
        elif then is Then.STALL and self.machine.deadline is None:
            self.machine.abort(0)  # the timers of an association are its user's
        self._flush()
        if then is Then.STALL and self.machine.deadline is not None:
            self.machine.timeout(self.machine.deadline)
        elif then is not Then.STALL:
            self.machine.receive_eof(0)
        while (event := self.machine.next_event()) is not None:
            self._take(event)
        self._flush()
        assert self.machine.state in _ENDED

    def _flush(self) -> None:
        self.transcript.feed(self.machine.data_to_send())

    def _take(self, event: MachineEvent) -> None:
        if isinstance(event, ProviderAbort | CloseTransport):
            self.events.append(repr(event))
            self._is_over = True
        elif not isinstance(event, Oddity):
            assert not (self._is_over and isinstance(event, _NEVER_ALLOWED)), f"{event} after the end"
            if not isinstance(event, Fragment):
                self.events.append(repr(event))
            try:
                self._act(event)
            except RemoteProtocolError as error:
                self.events.append(f"abort: {error}")
                self.machine.abort(0, source=error.source, reason=error.reason)
                self._is_over = True

    def _act(self, event: MachineEvent) -> None:
        match event:
            case A_ASSOCIATE_RQ():
                self._requested(event)
            case A_ASSOCIATE_AC():
                self._accepted(event)
            case Fragment():
                self._received(event)
            case A_RELEASE_RQ():
                if self.machine.state is not MachineState.STA10 and not self._is_answering:
                    self.machine.release_response(0)
            case A_RELEASE_RP() if self.machine.state is MachineState.STA12:
                self.machine.release_response(0)

    def _requested(self, as_sent: A_ASSOCIATE_RQ) -> None:
        request = normalize(as_sent)
        objection = refusal(request) or (next(violations(as_sent), None) if self._strict else None)
        if isinstance(objection, RemoteProtocolError):
            raise objection
        if isinstance(objection, A_ASSOCIATE_RJ):
            self.machine.reject(objection, 0)
            return
        if request.calling_ae_title == WAITS:
            return
        contexts = accept_contexts(request, _SUPPORTED)
        answer = A_ASSOCIATE_AC("", "", UserInformation(maximum_length=16384), presentation_contexts=contexts)
        self._contexts = set(accepted_contexts(request, answer))
        self.machine.accept(answer)

    def _accepted(self, answer: A_ASSOCIATE_AC) -> None:
        assert self._request is not None
        objection = acceptance_refusal(answer)
        if objection is None and self._strict:
            objection = next(acceptance_violations(answer, self._request), None)
        if objection is not None:
            raise objection
        self._contexts = set(accepted_contexts(self._request, answer))
        if self._contexts:
            self._send(echo_request(1), min(self._contexts))
        else:
            self.machine.abort(0)  # as our client does when an operation fails

    def _received(self, fragment: Fragment) -> None:
        received = self._reader.receive(fragment)
        if isinstance(received, CommandReceived):
            self.events.append(repr(received.message))
            if received.presentation_context_id not in self._contexts:
                raise RemoteProtocolError("a context that was not accepted", source=2, reason=5)
            self._command(received.presentation_context_id, received.message)
        elif isinstance(received, DataReceived):
            self._data += received.data
            if received.is_last:
                self._data_set()

    def _command(self, context_id: int, message: Message) -> None:
        if isinstance(message, Response):
            if self._request is None or message.message_id_being_responded_to != 1:
                raise RemoteProtocolError("a response to no request", source=2, reason=5)
            self.machine.release()
        elif self._request is not None:
            raise RemoteProtocolError("a request to a requestor", source=2, reason=5)
        elif isinstance(message, C_STORE_RQ) and message.dataset_follows:
            self._awaits_data = context_id, message
        elif isinstance(message, C_ECHO_RQ) and message.message_id == ASK_FOREVER:
            self._is_answering = True
        elif isinstance(message, C_ECHO_RQ):
            answer = C_ECHO_RSP(message_id_being_responded_to=message.message_id, status=Status.SUCCESS)
            self._send(answer, context_id)

    def _data_set(self) -> None:
        self.events.append(f"data {self._data.hex()}")
        self._data.clear()
        if self._awaits_data is not None:
            context_id, message = self._awaits_data
            self._awaits_data = None
            status = Status.SUCCESS
            self._send(C_STORE_RSP(message_id_being_responded_to=message.message_id, status=status), context_id)

    def _send(self, message: Message, context_id: int) -> None:
        for pdv in message_pdvs(message, context=context_id):
            self.machine.p_data(context_id, is_command=True, is_last=pdv.is_last, length=len(pdv.fragment))
            self._flush()
            self.transcript.feed(wire([pdv]))


MAXIMUM_LENGTH = 16384
"""What the side under test announces."""


def run(case: Case, pieces: Iterable[bytes], *, strict: bool) -> tuple[list[str], list[str]]:
    """The transcript of a case whose bytes arrive in these pieces, and what its user heard."""
    side = Side(requestor=case.state.is_requestor, strict=strict)
    for step in LEAD[case.state]:
        if isinstance(step, bytes):
            side.feed(step)
        else:
            assert step in side.transcript.tokens, f"{case.name}: the state {case.state.name} was not reached"
    begun, heard = len(side.transcript.tokens), len(side.events)
    for piece in pieces:
        side.feed(piece)
    if case.then is Then.GO_ON:
        for step in _going_on(case.state):
            side.feed(step)
    elif case.then is not Then.READ:
        side.end(case.then)
    elif case.is_decided_by_machine:
        ended = (*_ENDED, MachineState.STA7)
        assert side.machine.state in ended, f"{case.name} [{case.state.name}]: the association does not end"
    return side.transcript.tokens[begun:], side.events[heard:]


def _going_on(state: State | Service) -> Iterator[bytes]:
    if not state.is_requestor:
        yield seeds.echo_rq(ECHO_TO_GO_ON).data + seeds.RELEASE_RQ.data
        return
    if state is not State.RELEASING:
        yield seeds.ECHO_RSP.data
    yield seeds.RELEASE_RP.data


def _cut(data: bytes, seed: str) -> list[bytes]:
    """The bytes cut at random, the same way each time."""
    chance = random.Random(seed)
    places = sorted(chance.randrange(len(data) + 1) for _ in range(min(len(data), 5)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


LONGEST_BYTE_BY_BYTE = 8192
"""A longer case is only cut at random."""


def check(case: Case, *, thorough: bool = True) -> list[str]:
    """The failures of a case in both modes, whole in one and cut at random in the other.

    If `thorough`, in each mode whole, cut, and byte for byte.
    """
    whole, cut = [case.sends], _cut(case.sends, case.name)
    if not thorough and case.is_decided_by_machine:
        return _judged(case, [whole], strict=False) + _judged(case, [cut], strict=True)
    ways = [whole, cut]
    if len(case.sends) <= LONGEST_BYTE_BY_BYTE:
        ways.append([case.sends[at : at + 1] for at in range(len(case.sends))])
    return _judged(case, ways, strict=False) + _judged(case, ways, strict=True)


def _judged(case: Case, ways: list[list[bytes]], *, strict: bool) -> list[str]:
    results = [run(case, pieces, strict=strict) for pieces in ways]
    failures = []
    if any(result != results[0] for result in results[1:]):
        failures.append(f"{case.name} [strict={strict}]: it matters how the bytes arrive: {results}")
    if case.is_decided_by_machine:
        failures += case.judge(results[0][0], strict=strict, driver="machine")
    return failures


def check_all(cases: Iterable[Case], *, thorough: bool = True) -> list[str]:
    """The failures of all cases that do not need a service."""
    failures = []
    for case in cases:
        if isinstance(case.state, Service):
            continue
        try:
            failures += check(case, thorough=thorough)
        except AssertionError as error:
            failures.append(str(error))
    return failures
