"""Hostile conversations as data: what a peer sends to the side under test, and what must come back.

A case is one `Case`::

    Case("PDU type 08H", sends=bytes.fromhex("08 00 00000000"), back="A-ABORT 2 1", clause="PS3.8 Table 9-26")

The peer first leads the side under test to `state`, then sends `sends`, and then does what `then` says. All that the
side under test sends after that is written as a transcript, which must match `back`: tokens joined by ", ", with the
wildcards of `fnmatch` and " | " between alternatives. The tokens are

    A-ASSOCIATE-AC 1=0 3=4      the result of each presentation context
    A-ASSOCIATE-RJ 1 1 7        result, source, reason
    A-ABORT 2 6                 source, reason
    A-ASSOCIATE-RQ, A-RELEASE-RQ, A-RELEASE-RP
    C-ECHO-RSP 0x0000           a response with its status; likewise all other DIMSE-C services
    C-ECHO-RQ                   a request of our client
    data                        the end of a data set

An empty transcript says that nothing came back. `strict` is the transcript in strict mode, where that differs.

`machine_driver` runs cases through the pure state machine, `socket_driver` over sockets against our server and our
client, `command_driver` against the commands. All return a list of failures, so that one test runs many cases.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from typing import Final

from tests.conversations import seeds


class Then(Enum):
    """What the peer does after it has sent its bytes."""

    READ = "reads until the side under test ends the association, or asks for its release"
    GO_ON = "goes on as if nothing had happened: the association must still work to its release"
    RELEASE = "answers the release that our client requests next"
    CLOSE = "closes the connection"
    STALL = "sends nothing more, and neither closes"
    RESET = "resets the connection"


class State(Enum):
    """Where the side under test is when the bytes arrive, by the states of PS3.8 9.2.1."""

    # as acceptor
    CONNECTED = "Sta2: the connection is open"
    DECIDING = "Sta3: the handler of associations decides"
    ASSOCIATED = "Sta6: the association is established"
    STORING = "Sta6, in a message: a C-STORE-RQ was received whose data set is to follow"
    ANSWERING = "Sta8: the peer has requested the release while a request is being served"
    ABORTED = "Sta13: this side has sent A-ABORT"
    RELEASED = "Sta13: this side has sent A-RELEASE-RP"
    REJECTED = "Sta13: this side has sent A-ASSOCIATE-RJ"
    # as requestor
    REQUESTED = "Sta5: A-ASSOCIATE-RQ was sent"
    ECHOING = "Sta6: C-ECHO-RQ was sent"
    RELEASING = "Sta7: A-RELEASE-RQ was sent"
    COLLIDED = "Sta11: both have sent A-RELEASE-RQ, this side its A-RELEASE-RP too"
    GIVEN_UP = "Sta13: this side has sent A-ABORT, as requestor"

    @property
    def is_requestor(self) -> bool:
        """Whether the side under test is the requestor."""
        return self in _REQUESTOR


_REQUESTOR: Final = (State.REQUESTED, State.ECHOING, State.RELEASING, State.COLLIDED, State.GIVEN_UP)


class Service(Enum):
    """Where the side under test is, for cases that need a service; the machine alone does not get there."""

    SERVING = "as acceptor: associated, with contexts for queries too"
    # as requestor, whose request was sent
    FINDING = "C-FIND"
    GETTING = "C-GET"
    MOVING = "C-MOVE"
    SENDING = "C-STORE"

    @property
    def is_requestor(self) -> bool:
        """Whether the side under test is the requestor."""
        return self is not Service.SERVING


@dataclass(frozen=True)
class Case:
    """One hostile conversation; the module says what the fields mean."""

    name: str
    sends: bytes = field(repr=False)
    back: str
    strict: str | None = None
    state: State | Service = State.ASSOCIATED
    then: Then = Then.READ
    clause: str = ""
    cut: int | None = None
    """Over sockets the bytes are sent in pieces of this many, each in a turn of its own; None sends them whole."""
    is_decided_by_machine: bool = True
    """Whether the machine and the message reader decide what comes back, or else services, which need a server."""

    def expected(self, *, strict: bool) -> str:
        """The transcript to expect, to the release if the peer goes on."""
        back = self.strict if strict and self.strict is not None else self.back
        if self.then is not Then.GO_ON:
            return back
        return " | ".join(", ".join(filter(None, (each.strip(), GOES_ON[self.state]))) for each in back.split(" | "))

    def judge(self, transcript: Iterable[str], *, strict: bool, driver: str) -> list[str]:
        """The failure of this case, if there is one."""
        seen, expected = ", ".join(transcript), self.expected(strict=strict)
        if any(fnmatchcase(seen, each.strip()) for each in expected.split(" | ")):
            return []
        mode = "strict" if strict else "lenient"
        where = f"{self.state.name}, {self.then.name}, {mode}, {driver}"
        return [f"{self.name} [{where}]: {seen!r}, not {expected!r} ({self.clause or 'no clause'})"]


ASK_FOREVER: Final = 0x7777
"""The Message ID of a C-ECHO that the server under test does not answer before the case has ended."""

ECHO_TO_GO_ON: Final = 0x4545
"""The Message ID of the C-ECHO that shows that an association still works."""

WAITS: Final = "WAITS"
"""The calling AE title about which the server under test does not decide before the case has ended."""

_WAIT: Final = seeds.ASSOCIATE_RQ.data.replace(b"PEER".ljust(16), WAITS.encode().ljust(16))
_ASSOCIATE: Final[list[bytes | str]] = [seeds.ASSOCIATE_RQ.data, "A-ASSOCIATE-AC 1=0 3=0"]
_ACCEPT: Final[list[bytes | str]] = ["A-ASSOCIATE-RQ", seeds.ASSOCIATE_AC.data, "C-ECHO-RQ"]
_WRONG_APPLICATION: Final = seeds.ASSOCIATE_RQ.data.replace(b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.2")

LEAD: Final[dict[State | Service, list[bytes | str]]] = {
    State.CONNECTED: [],
    State.DECIDING: [_WAIT],
    State.ASSOCIATED: [*_ASSOCIATE],
    State.STORING: [*_ASSOCIATE, seeds.STORE_RQ.data],
    State.ANSWERING: [*_ASSOCIATE, seeds.echo_rq(ASK_FOREVER).data + seeds.RELEASE_RQ.data],
    State.ABORTED: [*_ASSOCIATE, seeds.RELEASE_RP.data, "A-ABORT 2 2"],
    State.RELEASED: [*_ASSOCIATE, seeds.RELEASE_RQ.data, "A-RELEASE-RP"],
    State.REJECTED: [_WRONG_APPLICATION, "A-ASSOCIATE-RJ 1 1 2"],
    State.REQUESTED: ["A-ASSOCIATE-RQ"],
    State.ECHOING: [*_ACCEPT],
    State.RELEASING: [*_ACCEPT, seeds.ECHO_RSP.data, "A-RELEASE-RQ"],
    State.COLLIDED: [*_ACCEPT, seeds.ECHO_RSP.data, "A-RELEASE-RQ", seeds.RELEASE_RQ.data, "A-RELEASE-RP"],
    State.GIVEN_UP: [*_ACCEPT, seeds.ASSOCIATE_AC.data, "A-ABORT 2 2"],
    Service.SERVING: [seeds.ASSOCIATE_RQ_SERVICES.data, "A-ASSOCIATE-AC 1=0 3=0 5=0 7=0 9=0 11=0"],
    Service.FINDING: ["A-ASSOCIATE-RQ", seeds.ASSOCIATE_AC.data, "C-FIND-RQ", "data"],
    Service.GETTING: ["A-ASSOCIATE-RQ", seeds.ASSOCIATE_AC_GET.data, "C-GET-RQ", "data"],
    Service.MOVING: ["A-ASSOCIATE-RQ", seeds.ASSOCIATE_AC.data, "C-MOVE-RQ", "data"],
    Service.SENDING: ["A-ASSOCIATE-RQ", seeds.ASSOCIATE_AC.data, "C-STORE-RQ", "data"],
}
"""How to get there: bytes that the peer sends, and tokens that it waits for."""

GOES_ON: Final[dict[State | Service, str]] = {
    State.CONNECTED: "C-ECHO-RSP 0x0000, A-RELEASE-RP",
    State.ASSOCIATED: "C-ECHO-RSP 0x0000, A-RELEASE-RP",
    State.STORING: "C-ECHO-RSP 0x0000, A-RELEASE-RP",
    State.REQUESTED: "C-ECHO-RQ, A-RELEASE-RQ",
    State.ECHOING: "A-RELEASE-RQ",
    State.RELEASING: "",
    Service.SERVING: "C-ECHO-RSP 0x0000, A-RELEASE-RP",
    **dict.fromkeys((Service.FINDING, Service.GETTING, Service.MOVING, Service.SENDING), "A-RELEASE-RQ"),
}
"""The transcript of an association that goes on to its release, by the state in which the case began."""

ENDS: Final = ("A-ABORT", "A-ASSOCIATE-RJ", "A-RELEASE-RP")
"""Tokens after which the side under test waits for the peer to close."""


_COMMANDS: Final = {
    0x01: "C-STORE",
    0x10: "C-GET",
    0x20: "C-FIND",
    0x21: "C-MOVE",
    0x30: "C-ECHO",
    0xFFF: "C-CANCEL",
    0x100: "N-EVENT-REPORT",
    0x110: "N-GET",
    0x120: "N-SET",
    0x130: "N-ACTION",
    0x140: "N-CREATE",
    0x150: "N-DELETE",
}


class Transcript:
    """What the side under test has sent, as tokens. Reads the bytes by the standard's tables, not by our decoders."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self._data = bytearray()
        self._command = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Ones that a peer could not read raise `AssertionError`."""
        self._data += data
        while len(self._data) >= 6:
            number, length = struct.unpack_from(">BxI", self._data)
            assert 1 <= number <= 7, f"sent a PDU of type {number:02X}H"
            if len(self._data) < 6 + length:
                return
            body = bytes(self._data[6 : 6 + length])
            del self._data[: 6 + length]
            self._pdu(number, body)

    def _pdu(self, number: int, body: bytes) -> None:
        if number == 0x01:
            self.tokens.append("A-ASSOCIATE-RQ")
        elif number == 0x02:
            results = [f" {context}={result}" for context, result in _results(body)]
            self.tokens.append("A-ASSOCIATE-AC" + "".join(results))
        elif number == 0x03:
            self.tokens.append("A-ASSOCIATE-RJ {} {} {}".format(*body[1:]))
        elif number == 0x04:
            self._p_data(body)
        elif number == 0x07:
            self.tokens.append("A-ABORT {} {}".format(*body[2:]))
        else:
            self.tokens.append({0x05: "A-RELEASE-RQ", 0x06: "A-RELEASE-RP"}[number])

    def _p_data(self, body: bytes) -> None:
        while body:
            length, _, control = struct.unpack_from(">IBB", body)
            assert not length % 2, "sent a fragment of an odd length"
            fragment, body = body[6 : 4 + length], body[4 + length :]
            self._command += fragment if control & 1 else b""
            if control == 3:
                self.tokens.append(_in_words(self._command))
                self._command = b""
            elif control == 2:
                self.tokens.append("data")


def _results(body: bytes) -> list[tuple[int, int]]:
    found, position = [], 68
    while position < len(body):
        number, length = struct.unpack_from(">BxH", body, position)
        if number == 0x21:
            found.append((body[position + 4], body[position + 6]))
        position += 4 + length
    return found


def _in_words(command: bytes) -> str:
    elements, position = {}, 0
    while position < len(command):
        group, number, length = struct.unpack_from("<HHI", command, position)
        assert group == 0
        elements[number] = command[position + 8 : position + 8 + length]
        position += 8 + length
    code = int.from_bytes(elements[0x0100], "little")
    name = _COMMANDS[code & 0x7FFF]
    if code & 0x8000:
        return f"{name}-RSP 0x{int.from_bytes(elements[0x0900], 'little'):04X}"
    return f"{name}-RQ"
