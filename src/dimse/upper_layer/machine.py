"""The upper layer state machine (PS3.8 9.2) of one association, without a socket or a clock.

The transport's bytes and end go into `receive_data` and `receive_eof`; `next_event` returns their meaning and
`data_to_send` what to send; call `timeout` at `deadline`. Received bytes are not copied: a `Fragment` is a view of the
bytes given to `receive_data`, so call `next_event` until it returns None before those bytes are overwritten.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from dimse.errors import LocalProtocolError, RemoteProtocolError
from dimse.upper_layer.deviations import invalid
from dimse.upper_layer.pdu import (
    A_ABORT,
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RJ,
    A_ASSOCIATE_RQ,
    A_RELEASE_RP,
    A_RELEASE_RQ,
    COMMAND,
    LAST,
    P_DATA_HEADER,
    P_DATA_TF,
    PDU,
    PDU_HEADER,
    PDU_TYPES,
    PDV_HEADER,
)
from dimse.upper_layer.states import EVENT_MEANINGS, NEXT_STATE, STATE_MEANINGS, TRANSITIONS, Action, Event, State
from dimse.upper_layer.strangers import stranger

MAXIMUM_ASSOCIATE_LENGTH: Final = 1024 * 1024
"""The longest A-ASSOCIATE PDU: 128 contexts with 64-character UIDs and a SAML assertion need a fraction of it."""

MAXIMUM_EMPTY_FRAGMENTS: Final = 1000
"""The most empty fragments in a row: each is legal, but without a bound they could continue forever."""

_STEPS_AT_ONCE: Final = 1000
"""Headers that `next_event` reads in a row without an event, as of PDUs that are ignored."""

_EVENT_OF_PDU: Final[dict[type[PDU], Event]] = {
    A_ASSOCIATE_AC: Event.EVT3,
    A_ASSOCIATE_RJ: Event.EVT4,
    A_ASSOCIATE_RQ: Event.EVT6,
    P_DATA_TF: Event.EVT10,
    A_RELEASE_RQ: Event.EVT12,
    A_RELEASE_RP: Event.EVT13,
    A_ABORT: Event.EVT16,
}


class Fragment(NamedTuple):
    """P-DATA indication: a PDV, or the part of one that has arrived (PS3.8 9.3.5.1).

    `is_last` is set on the part that ends the last PDV of a command or of a data set.
    """

    presentation_context_id: int
    is_command: bool
    is_last: bool
    data: "memoryview"  # noqa: UP037 - mypyc evaluates an unquoted annotation at class creation


@dataclass(frozen=True, slots=True)
class ProviderAbort:
    """A-P-ABORT indication made on this side."""

    error: RemoteProtocolError | None
    """The violation that was answered with A-ABORT; None if the connection just closed."""


@dataclass(frozen=True, slots=True)
class CloseTransport:
    """Close the transport connection now."""


@dataclass(frozen=True, slots=True)
class Oddity:
    """A deviation of the peer that is tolerated: a harmless one, or in lenient mode a malformed one (`deviations`)."""

    message: str
    is_harmless: bool


MachineEvent = (
    A_ASSOCIATE_RQ
    | A_ASSOCIATE_AC
    | A_ASSOCIATE_RJ
    | A_RELEASE_RQ
    | A_RELEASE_RP
    | A_ABORT
    | Fragment
    | ProviderAbort
    | CloseTransport
    | Oddity
)
"""Indications and confirmations are represented by the PDU that caused them."""


class Machine:
    """One side of one association.

    `maximum_length` is the longest P-DATA-TF that this side announced to receive, 0 for no limit; `artim` the ARTIM
    timer in seconds, None for no timer; `strict` whether malformed input ends the association.
    """

    def __init__(self, *, requestor: bool, maximum_length: int, artim: float | None, strict: bool) -> None:
        self.state = State.STA1
        self.deadline: float | None = None
        self.is_requestor = requestor
        self.on_pdu: Callable[[bool, str, int, int | None], object] | None = None
        """Called for each PDU: whether it is sent, its name, its length, the context of a P-DATA-TF that is sent."""
        self._maximum_length = maximum_length
        self._artim = artim
        self._strict = strict
        self._events: deque[MachineEvent] = deque()
        self._out = bytearray()
        self._now = 0.0
        self._request: A_ASSOCIATE_RQ | None = None
        self._data = memoryview(b"")
        self._header = bytearray()
        self._pdu_type: type[PDU] | None = None
        """The PDU that is being received; None if it is skipped."""
        self._body = bytearray()
        self._pdu_left = 0
        self._pdv_left = 0
        self._pdv = (0, False, False)
        self._empty_fragments = 0
        self._reported: set[str] = set()
        """The kinds of oddities that were reported: each is once."""
        self._broken = False

    # Local user

    def associate(self, request: A_ASSOCIATE_RQ) -> None:
        """A-ASSOCIATE request: open the transport connection next."""
        self._transition(Event.EVT1)
        self._request = request

    def transport_connected(self) -> None:
        """Transport connect confirmation, after `associate`."""
        self._transition(Event.EVT2)
        assert self._request is not None  # noqa: S101 - Evt2 has a cell in Sta4 only, where `associate` leads
        self._send(self._request)

    def transport_accepted(self, now: float) -> None:
        """Transport connect indication: a peer has connected."""
        self._now = now
        self._transition(Event.EVT5)
        self._start_artim()

    def accept(self, response: A_ASSOCIATE_AC) -> None:
        """A-ASSOCIATE response (accept)."""
        self._transition(Event.EVT7)
        self._send(response)

    def reject(self, response: A_ASSOCIATE_RJ, now: float) -> None:
        """A-ASSOCIATE response (reject)."""
        self._now = now
        self._transition(Event.EVT8)
        self._send(response)
        self._start_artim()

    def p_data(self, context_id: int, *, is_command: bool, is_last: bool, length: int) -> bytes:
        """P-DATA request: the 12 bytes to send before a fragment of `length` bytes."""
        self._transition(Event.EVT9)
        if self.on_pdu is not None:
            self.on_pdu(True, P_DATA_TF.name, length + 6, context_id)
        control = (COMMAND if is_command else 0) | (LAST if is_last else 0)
        return P_DATA_HEADER.pack(P_DATA_TF.pdu_type, length + 6, length + 2, context_id, control)

    def release(self) -> None:
        """A-RELEASE request."""
        self._transition(Event.EVT11)
        self._send(A_RELEASE_RQ())

    def release_response(self, now: float) -> None:
        """A-RELEASE response."""
        self._now = now
        action = self._transition(Event.EVT14)
        self._send(A_RELEASE_RP())
        if action is Action.AR_4:
            self._start_artim()

    def abort(self, now: float, *, source: int = 0, reason: int = 0) -> None:
        """A-ABORT request; does nothing if there is nothing left to abort."""
        self._now = now
        if (Event.EVT15, self.state) not in TRANSITIONS:
            return
        if self._transition(Event.EVT15) is Action.AA_2:
            self._close()
        else:
            self._send(A_ABORT(source, reason))
            self._start_artim()
            self._skip_p_data()

    # Transport and clock

    def receive_data(self, data: memoryview, now: float) -> None:
        """Bytes from the peer. Earlier ones must have been consumed: `next_event` has returned None."""
        self._data = data
        self._now = now

    def receive_eof(self, now: float) -> None:
        """The transport connection is closed."""
        self._now = now
        self._data = memoryview(b"")
        if (Event.EVT17, self.state) not in TRANSITIONS:
            return
        action = self._transition(Event.EVT17)
        self.deadline = None
        if action is Action.AA_4:
            self._events.append(ProviderAbort(None))

    def timeout(self, now: float) -> None:
        """`deadline` has passed: the ARTIM timer expired."""
        self._now = now
        self.deadline = None
        if (Event.EVT18, self.state) in TRANSITIONS:
            self._transition(Event.EVT18)
            self._close()

    def data_to_send(self) -> bytes:
        """The bytes to send now, before anything else; may be empty."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def next_event(self) -> MachineEvent | None:
        """The next event; None when all received data are consumed, or if `has_unread` for now."""
        steps = 0
        while not self._events:
            if not self._data or steps == _STEPS_AT_ONCE:
                return None
            steps += 1
            if self._broken or self.state in (State.STA1, State.STA4):  # without a connection nothing is read
                self._data = memoryview(b"")
                return None
            try:
                fragment = self._parse()
            except RemoteProtocolError as error:
                self._broken = True
                self._invalid_pdu(error)
                continue
            if fragment is not None:
                return fragment
        return self._events.popleft()

    # Reading PDUs

    @property
    def has_unread(self) -> bool:
        """Whether `next_event` has stopped before the end of the received data: call it again a little later."""
        return bool(self._data)

    @property
    def in_pdu(self) -> bool:
        """Whether the peer is in the middle of sending a PDU."""
        return self._pdu_left > 0 or len(self._header) > 0

    def _parse(self) -> Fragment | None:
        """Consume one header, body or fragment; return the fragment."""
        if self._pdv_left:
            return self._take_fragment()
        if not (self._pdu_left or self._header) and (fragment := self._plain_pdu()) is not None:
            return fragment
        if not self._pdu_left:
            self._begin_pdu()
        elif self._pdu_type is P_DATA_TF:
            return self._begin_pdv()
        elif self._pdu_type is not None:
            self._take_body()
        else:
            taken = min(self._pdu_left, len(self._data))
            self._data = self._data[taken:]
            self._pdu_left -= taken
        return None

    def _plain_pdu(self) -> Fragment | None:
        """Fast path: the fragment of a P-DATA-TF with exactly one well-formed PDV, which most are; else None.

        As on the slow path, a fragment of which nothing has arrived is no event yet.
        """
        data = self._data
        if len(data) <= P_DATA_HEADER.size or self.state is not State.STA6:
            return None
        number, length, pdv_length, context_id, control = P_DATA_HEADER.unpack_from(data)
        is_plain = number == P_DATA_TF.pdu_type and pdv_length == length - 4 and length > 6 and not length % 2
        if not is_plain or 0 < self._maximum_length < length or self.on_pdu is not None:
            return None
        self._empty_fragments = 0
        end = length + 6
        self._data = data[end:]
        data = data[P_DATA_HEADER.size : end]
        is_command, is_last, missing = bool(control & COMMAND), bool(control & LAST), length - 6 - len(data)
        if missing:
            self._pdu_type, self._pdu_left, self._pdv_left = P_DATA_TF, missing, missing
            self._pdv = (context_id, is_command, is_last)
            return Fragment(context_id, is_command, False, data)
        return Fragment(context_id, is_command, is_last, data)

    def _six_bytes(self) -> bytes | memoryview | None:
        """The six bytes of a PDU header or a PDV header, once they have all arrived."""
        if not self._header and len(self._data) >= 6:
            header, self._data = self._data[:6], self._data[6:]
            return header
        missing = 6 - len(self._header)
        self._header += self._data[:missing]
        self._data = self._data[missing:]
        if len(self._header) < 6:
            return None
        whole = bytes(self._header)
        self._header.clear()
        return whole

    def _begin_pdu(self) -> None:
        header = self._six_bytes()
        if header is None:
            return
        number, length = PDU_HEADER.unpack(header)
        kind = PDU_TYPES.get(number)
        if kind is None:
            shown = repr(chr(number)) if 0x20 < number < 0x7F else f"{number:02X}H"
            unknown, other = f"unrecognized PDU type {shown}", stranger(bytes(header))
            raise RemoteProtocolError(f"{other} ({unknown})" if other else unknown, source=2, reason=1)
        self._pdu_type, self._pdu_left = kind, length
        if kind is P_DATA_TF:
            self._begin_p_data(length)
        elif kind in (A_ASSOCIATE_RQ, A_ASSOCIATE_AC):
            if not 0 < length <= MAXIMUM_ASSOCIATE_LENGTH:
                raise invalid(f"{kind.name} must have 1 to {MAXIMUM_ASSOCIATE_LENGTH} bytes, not {length}")
        elif length != 4:
            raise invalid(f"{kind.name} must have 4 bytes, not {length}")

    def _begin_p_data(self, length: int) -> None:
        if self.on_pdu is not None:
            self.on_pdu(False, P_DATA_TF.name, length, None)
        action = self._transition(Event.EVT10)
        if action not in (Action.DT_2, Action.AR_6):
            self._pdu_type = None
            self._unexpected(action, P_DATA_TF.name)
            return
        if not length:
            if self._strict:
                raise invalid("P-DATA-TF has no PDV")
            self._count_empty()
        limit = self._maximum_length
        if limit and length > limit:
            message = f"P-DATA-TF of {length} bytes exceeds our maximum length of {limit}"
            if self._strict or length > 2 * limit:
                raise invalid(message)
            self._report_once("length", message, is_harmless=False)

    def _report_once(self, kind: str, message: str, *, is_harmless: bool) -> None:
        if kind not in self._reported:
            self._reported.add(kind)
            self._events.append(Oddity(message, is_harmless=is_harmless))

    def _count_empty(self) -> None:
        self._empty_fragments += 1
        if self._empty_fragments > MAXIMUM_EMPTY_FRAGMENTS:
            raise invalid(f"more than {MAXIMUM_EMPTY_FRAGMENTS} empty fragments in a row")

    def _begin_pdv(self) -> Fragment | None:
        if self._pdu_left < PDV_HEADER.size:
            raise invalid("P-DATA-TF ends inside a PDV header")
        header = self._six_bytes()
        if header is None:
            return None
        length, context_id, control = PDV_HEADER.unpack(header)
        if length < 2 or length + 4 > self._pdu_left:
            raise invalid(f"PDV of {length} bytes does not fit the {self._pdu_left} left in its P-DATA-TF")
        self._pdu_left -= 6
        self._pdv_left = length - 2
        if length % 2:  # PS3.8 9.3.1 requires even ones; joined, they are the same.
            self._report_once("odd fragments", "fragments of an odd length", is_harmless=True)
        self._pdv = (context_id, bool(control & COMMAND), bool(control & LAST))
        if self._pdv_left:
            self._empty_fragments = 0
            return None
        self._count_empty()
        return Fragment(*self._pdv, memoryview(b""))

    def _take_fragment(self) -> Fragment:
        data = self._data[: self._pdv_left]
        self._data = self._data[len(data) :]
        self._pdv_left -= len(data)
        self._pdu_left -= len(data)
        context_id, is_command, is_last = self._pdv
        return Fragment(context_id, is_command, is_last and not self._pdv_left, data)

    def _skip_p_data(self) -> None:
        """AA-6: ignore the rest of the P-DATA-TF that is being received, so that nothing in it is answered again."""
        if self._pdu_left and self._pdu_type is P_DATA_TF:
            self._pdu_left -= len(self._header)
            self._header.clear()
            self._pdv_left = 0
            self._pdu_type = None

    def _take_body(self) -> None:
        data = self._data[: self._pdu_left]
        self._data = self._data[len(data) :]
        self._body += data
        self._pdu_left -= len(data)
        if self._pdu_left:
            return
        body, kind = bytes(self._body), self._pdu_type
        self._body.clear()
        assert kind is not None and kind is not P_DATA_TF  # noqa: S101, PT018 - as `_parse` has checked
        self._received(kind.decode(body), len(body))

    # Actions

    def _received(self, pdu: PDU, length: int) -> None:
        assert not isinstance(pdu, P_DATA_TF)  # noqa: S101 - it is read as fragments
        if self.on_pdu is not None:
            self.on_pdu(False, pdu.name, length, None)
        action = self._transition(_EVENT_OF_PDU[type(pdu)], pdu)
        if action is Action.AE_6:
            self.deadline = None
            if self.state is State.STA13:
                self._send(A_ASSOCIATE_RJ(result=1, source=2, reason=2))
                self._start_artim()
            else:
                self._events.append(pdu)
        elif action in (Action.AE_4, Action.AR_3, Action.AA_3):
            self._events.append(pdu)
            self._close()
        elif action in (Action.AE_3, Action.AR_2, Action.AR_8, Action.AR_10):
            self._events.append(pdu)
        elif action is Action.AA_2:
            self._close()
        else:
            self._unexpected(action, pdu.name)

    def _invalid_pdu(self, error: RemoteProtocolError) -> None:
        """Evt19: unrecognized or invalid PDU."""
        self._refuse(self._transition(Event.EVT19), error)

    def _unexpected(self, action: Action, name: str) -> None:
        self._refuse(action, RemoteProtocolError(f"unexpected {name}", source=2, reason=2))

    def _refuse(self, action: Action, error: RemoteProtocolError) -> None:
        """AA-1, AA-7 and AA-8 send A-ABORT; AA-6 ignores the PDU."""
        if action is Action.AA_1:
            self._send(A_ABORT(source=0, reason=0))
            self._start_artim()
        elif action is Action.AA_7:
            self._send(A_ABORT(error.source, error.reason))
        elif action is Action.AA_8:
            self._send(A_ABORT(error.source, error.reason))
            self._start_artim()
        if action in (Action.AA_1, Action.AA_8):
            self._events.append(ProviderAbort(error))

    def _transition(self, event: Event, pdu: PDU | None = None) -> Action:
        action = TRANSITIONS.get((event, self.state))
        if action is None:
            where = f"Sta{self.state.value} ({STATE_MEANINGS[self.state]})"
            raise LocalProtocolError(f"{EVENT_MEANINGS[event]} is not allowed in {where}")
        choices = NEXT_STATE[action]
        if action is Action.AE_6:
            acceptable = isinstance(pdu, A_ASSOCIATE_RQ) and pdu.protocol_version & 1
            self.state = choices[0] if acceptable else choices[1]
        elif action is Action.AR_8:
            self.state = choices[0] if self.is_requestor else choices[1]
        else:
            self.state = choices[0]
        return action

    def _send(self, pdu: PDU) -> None:
        encoded = pdu.encode()
        if self.on_pdu is not None:
            self.on_pdu(True, pdu.name, len(encoded) - PDU_HEADER.size, None)
        self._out += encoded

    def _start_artim(self) -> None:
        self.deadline = None if self._artim is None else self._now + self._artim

    def _close(self) -> None:
        self.deadline = None
        self._events.append(CloseTransport())
