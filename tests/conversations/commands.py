"""Hostile Command Sets (PS3.7 6.3.1, 9.3, Annex E): each attribute missing, doubled, of the wrong length or content."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tests.conversations import seeds, services
from tests.conversations.cases import ASK_FOREVER, Case, Service, State, Then
from tests.conversations.octets import command, command_pdu, element, join, p_data, pdv

_ABORT_UNEXPECTED: Final = "A-ABORT 2 5"
_ABORT_INVALID: Final = "A-ABORT 2 6"

Elements = dict[int, bytes | str | int]


def _served(
    name: str,
    sends: bytes,
    back: str,
    strict: str | None = None,
    state: State | Service = Service.SERVING,
    then: Then = Then.READ,
) -> Case:
    """A case that services decide, and not the machine."""
    return Case(name, sends, back, strict, state, then, "PS3.7 6.3.1, 9.3", is_decided_by_machine=False)


@dataclass(frozen=True)
class Kind:
    """A valid message."""

    name: str
    state: State | Service
    context: int
    elements: Elements
    data: bytes | None
    back: str
    """The transcript in answer to it."""

    @property
    def response(self) -> str:
        """The token of its response, without the status."""
        return self.name.replace("-RQ", "-RSP 0x")

    @property
    def is_request(self) -> bool:
        return self.state is Service.SERVING


_UID: Final = {
    "C-ECHO": seeds.VERIFICATION,
    "C-STORE": seeds.CT,
    "C-FIND": seeds.FIND,
    "C-GET": seeds.GET,
    "C-MOVE": seeds.MOVE,
}


def _request(name: str, context: int, field: int, back: str, data: bytes | None, **more: bytes | str | int) -> Kind:
    elements: Elements = {0x0002: _UID[name], 0x0100: field, 0x0110: 1}
    if data is not None:
        elements[0x0700] = 0
    elements[0x0800] = 0x0101 if data is None else 1
    elements |= {int(number, 16): value for number, value in more.items()}
    return Kind(f"{name}-RQ", Service.SERVING, context, dict(sorted(elements.items())), data, back)


def _response(state: State | Service, name: str, field: int, **more: bytes | str | int) -> Kind:
    elements: Elements = {0x0002: _UID[name], 0x0100: field, 0x0120: 1, 0x0800: 0x0101, 0x0900: 0}
    elements |= {int(number, 16): value for number, value in more.items()}
    return Kind(f"{name}-RSP", state, 1, dict(sorted(elements.items())), None, "")


_COUNTERS: Final[dict[str, bytes | str | int]] = {"1021": 0, "1022": 0, "1023": 0}
_DETAILS: Final[dict[str, bytes | str | int]] = {"0901": b"\x10\x00\x10\x00", "0902": "comment "}

_DESTINATION: Final[dict[str, bytes | str | int]] = {"0600": services.DESTINATION}
_INSTANCE: Final[dict[str, bytes | str | int]] = {"1000": "1.2.3.4", "1030": "WS", "1031": 7}

KINDS: Final = (
    _request("C-ECHO", 1, 0x0030, "C-ECHO-RSP 0x0000", None),
    _request("C-STORE", 3, 0x0001, "C-STORE-RSP 0x0000", seeds.DATA_SET, **_INSTANCE),
    _request("C-FIND", 5, 0x0020, "C-FIND-RSP 0xFF00, data, C-FIND-RSP 0x0000", services.IDENTIFIER),
    _request("C-GET", 7, 0x0010, "C-GET-RSP 0x0000", services.IDENTIFIER),
    _request("C-MOVE", 9, 0x0021, "C-MOVE-RSP 0xFF00, C-MOVE-RSP 0x0000", services.IDENTIFIER, **_DESTINATION),
    Kind("C-CANCEL-RQ", Service.SERVING, 5, {0x0100: 0x0FFF, 0x0120: 1, 0x0800: 0x0101}, None, ""),
    _response(State.ECHOING, "C-ECHO", 0x8030),
    _response(Service.SENDING, "C-STORE", 0x8001, **{"1000": b"1.2.3.4\0"}, **_DETAILS),
    _response(Service.FINDING, "C-FIND", 0x8020, **_DETAILS),
    _response(Service.GETTING, "C-GET", 0x8010, **_COUNTERS, **_DETAILS),
    _response(Service.MOVING, "C-MOVE", 0x8021, **_COUNTERS, **_DETAILS),
)

_WARNINGS: Final = (0xB000, 0x0001)
_FAILURES: Final = (0x0105, 0x0111, 0x0122, 0xA700, 0xA900, 0xC000, 0xFE00, 0xFFFF, 0x7FFF)

_IDENTIFYING: Final = {
    "C-CANCEL-RQ": {0x0120},
    "C-MOVE-RQ": {0x0002, 0x0110, 0x0600},
    "request": {0x0002, 0x0110},
    "response": {0x0120, 0x0900},
}
"""Without these a message cannot be answered, or not be matched to its request."""


def _case(kind: Kind, damage: str, sent: bytes, back: str | None = None, strict: str | None = None) -> Case:
    """A case of a damaged Command Set. None is the answer to an undamaged one."""
    pdvs = [pdv(kind.context, 3, sent)] + ([pdv(kind.context, 2, kind.data)] if kind.data is not None else [])
    back = kind.back if back is None else back
    octets = join(*(p_data(each) for each in pdvs)).data
    then = Then.READ if "A-ABORT" in back else Then.GO_ON
    if not kind.is_request and then is Then.GO_ON:
        back, then = "A-RELEASE-RQ", Then.RELEASE
    return Case(
        f"{kind.name} with {damage}", octets, back, strict, kind.state, then, "PS3.7 6.3.1", is_decided_by_machine=False
    )


def _without(kind: Kind, number: int) -> tuple[str | None, str | None]:
    """What comes back if an element is missing, in both modes."""
    identifying = _IDENTIFYING.get(kind.name) or _IDENTIFYING["request" if kind.is_request else "response"]
    if number == 0x0100:
        return _ABORT_UNEXPECTED, None
    if number in identifying:
        return _ABORT_INVALID, None
    if number == 0x0800:
        return None, _FLAWED
    if (kind.name, number) == ("C-STORE-RQ", 0x1000):
        return "C-STORE-RSP 0x0117", None
    return None, None


_FLAWED: Final = "flawed"
"""In place of a strict transcript: a request is refused with 0x0110."""


def _flawed(kind: Kind) -> str | None:
    """The strict answer to a flaw of form that does not keep a message from being read."""
    if kind.name == "C-CANCEL-RQ" or not kind.is_request:
        return None
    return f"{kind.response}0110"


def good() -> Iterator[Case]:
    """Each message undamaged, however its bytes come."""
    for kind in KINDS:
        for cut in (None, 1, 2, 3, 7, 64, 1000):
            case = _case(kind, f"nothing wrong, in pieces of {cut} bytes", command(*kind.elements.items()))
            yield replace(case, cut=cut)


def attributes() -> Iterator[Case]:
    """Each attribute of each message."""
    for kind in KINDS:
        for number, value in kind.elements.items():
            yield from _damaged(kind, number, value)


def _damaged(kind: Kind, number: int, value: bytes | str | int) -> Iterator[Case]:
    items = list(kind.elements.items())
    tag = f"(0000,{number:04X})"
    missing, strict = _without(kind, number)
    if strict is _FLAWED:
        strict = _flawed(kind) if kind.is_request else _ABORT_INVALID
        strict = None if kind.name == "C-CANCEL-RQ" else strict

    def changed(*parts: bytes) -> bytes:
        body = b"".join(element(n, v) if n != number else b"".join(parts) for n, v in items)
        return element(0, struct.pack("<I", len(body))) + body

    whole = element(number, value)
    yield _case(kind, f"{tag} missing", changed(), missing, strict)
    yield _case(kind, f"{tag} empty", changed(element(number, b"")), missing, strict)
    yield _case(kind, f"{tag} doubled", changed(whole, whole), None, _flawed(kind))
    if isinstance(value, int):
        yield _case(kind, f"{tag} of one byte", changed(element(number, b"\1")), missing, strict)
        yield _case(kind, f"{tag} of four bytes", changed(element(number, struct.pack("<I", value))))
        yield _case(kind, f"{tag} of six bytes", changed(element(number, struct.pack("<HI", value, 0))))
    over = struct.pack("<HHI", 0, number, 0x10000) + whole[8:]
    yield _case(kind, f"{tag} longer than its set", changed(over), _ABORT_INVALID)
    endless = struct.pack("<HHI", 0, number, 0xFFFFFFFF) + whole[8:]
    yield _case(kind, f"{tag} of undefined length", changed(endless), _ABORT_INVALID)


def forms() -> Iterator[Case]:
    """The form of the Command Set as a whole."""
    for kind in KINDS:
        body = b"".join(element(number, value) for number, value in kind.elements.items())
        length = len(body)
        for name, group in (
            ("no group length", b""),
            ("a group length of 0", element(0, bytes(4))),
            ("a group length one short", element(0, struct.pack("<I", length - 1))),
            ("a group length one long", element(0, struct.pack("<I", length + 1))),
            ("a group length of everything", element(0, b"\xff\xff\xff\xff")),
            ("an empty group length", element(0, b"")),
            ("a group length of two bytes", element(0, struct.pack("<H", length))),
            ("two group lengths", element(0, struct.pack("<I", length)) * 2),
        ):
            yield _case(kind, name, group + body, None, _flawed(kind))
        backwards = b"".join(element(number, value) for number, value in reversed(kind.elements.items()))
        group = element(0, struct.pack("<I", length))
        yield _case(kind, "elements backwards", group + backwards, None, _flawed(kind))
        yield _case(kind, "the group length last", body + group, None, _flawed(kind))
        for number in (0x0001, 0x0003, 0x0850, 0x4000, 0x5010, 0xFFFF):
            elements = sorted([*kind.elements.items(), (number, b"unknown!")])
            yield _case(kind, f"the unknown (0000,{number:04X})", command(*elements))
        for count in range(1, 8):
            surplus = element(0, struct.pack("<I", length + count)) + body + bytes(count)
            yield _case(kind, f"{count} bytes behind it", surplus, _ABORT_INVALID)
        other = struct.pack("<HHI", 8, 0x52, 6) + b"STUDY "
        yield _case(kind, "an element of group 0008", group + body + other, None, _flawed(kind))
        full = 65536 - 12 - length - 8
        for name, size, back in (("64 KiB", full, None), ("more than 64 KiB", full + 2, _ABORT_UNEXPECTED)):
            elements = [*kind.elements.items(), (0x5110, b" " * size)]
            yield from _long(kind, name, command(*elements), back)


def _long(kind: Kind, name: str, sent: bytes, back: str | None) -> Iterator[Case]:
    case = _case(kind, name, b"", back)
    cut = [p_data(pdv(kind.context, 1, sent[at : at + 16000])) for at in range(0, len(sent), 16000)]
    last = p_data(pdv(kind.context, 3, b""))
    data = [p_data(pdv(kind.context, 2, kind.data))] if kind.data is not None else []
    yield Case(
        case.name, join(*cut, last, *data).data, case.back, None, case.state, case.then, "", is_decided_by_machine=False
    )


def _having(kind: Kind, number: int, value: bytes | str | int, back: str | None, what: str) -> Case:
    elements = sorted((kind.elements | {number: value}).items())
    return _case(kind, f"{what} as (0000,{number:04X})", command(*elements), back)


_UIDS: Final = ("1.2.840.10008.9.9", "1." * 32 + "11", "nonsense", "1.2.840.10008.1.1.", "\xe9\xff", "../../etc")
_NO_REQUESTS: Final = (0x0800, 0x0000, 0x0002, 0x0022, 0x0031, 0x0160, 0x0FFE, 0x1000, 0x7FFF)
_NO_RESPONSES: Final = (0x8000, 0x0000, 0xFFFF, 0x8FFF, 0x8002)


def values() -> Iterator[Case]:
    """The values of attributes at their edges, and wrong content."""
    for kind in KINDS:
        yield from _numbers(kind)
        yield from _values_of_request(kind) if kind.is_request else _values_of_response(kind)
    yield from _texts()


def _numbers(kind: Kind) -> Iterator[Case]:
    for number in {0x0110, 0x0120} & kind.elements.keys():
        for value in (0, 2, 255, 256, 0x7FFF, 0x8000, 0xFFFF):
            yield _having(kind, number, value, None if kind.is_request else _ABORT_UNEXPECTED, str(value))
    if 0x0700 in kind.elements:
        for value in (1, 2, 3, 0xFFFF):
            yield _having(kind, 0x0700, value, None, str(value))
    if kind.data is not None:
        for value in (0, 0x0102, 0x0100, 0xFFFF):
            yield _having(kind, 0x0800, value, None, f"{value:04X}H")


def _values_of_request(kind: Kind) -> Iterator[Case]:
    if kind.name == "C-CANCEL-RQ":
        return
    for uid in _UIDS:
        yield _having(kind, 0x0002, uid, f"{kind.response}0122", repr(uid))
    for value in _NO_REQUESTS:
        yield _having(kind, 0x0100, value, _ABORT_UNEXPECTED, f"{value:04X}H")


def _values_of_response(kind: Kind) -> Iterator[Case]:
    is_echo = kind.state is State.ECHOING  # whose client must succeed where the peer answers its release
    for value in _WARNINGS if is_echo else (*_WARNINGS, *_FAILURES):
        yield _having(kind, 0x0900, value, None, f"{value:04X}H")
    for value in _NO_RESPONSES:
        yield _having(kind, 0x0100, value, _ABORT_UNEXPECTED, f"{value:04X}H")
    if is_echo:
        return
    for comment in ("\x1b[2J\x07", "\xff" * 64, "x" * 1024, "\r\nFAKE LOG LINE"):
        yield _having(kind, 0x0902, comment, None, repr(comment)[:20])
    for tags, back in ((b"\1\2", _ABORT_INVALID), (b"\x10\x00\x10\x00" * 100, None), (b"\1\2" * 3, _ABORT_INVALID)):
        yield _having(kind, 0x0901, tags, back, f"{len(tags)} bytes")


def _texts() -> Iterator[Case]:
    by_name = {kind.name: kind for kind in KINDS}
    store, move = by_name["C-STORE-RQ"], by_name["C-MOVE-RQ"]
    for uid, back in (("1.2.3.5", "A900"), ("1" * 65, "0117"), ("1/2", "0117"), ("..", "0117"), ("\xe9.1", "0117")):
        yield _having(store, 0x1000, uid, f"C-STORE-RSP 0x{back}", repr(uid))
    for title in ("OTHER", "\xe9\xff", "A" * 64, "A\\B", "\x1b[2J"):
        yield _having(move, 0x0600, title, "C-MOVE-RSP 0xA801", repr(title))
        yield _having(store, 0x1030, title, None, repr(title))


def cancels() -> Iterator[Case]:
    """C-CANCEL before, after and for nothing; it has no response of its own (PS3.7 9.3.2.3)."""

    def cancel(message_id: int, context: int = 5) -> bytes:
        return command_pdu(context, (0x0100, 0x0FFF), (0x0120, message_id), (0x0800, 0x0101)).data

    def find(message_id: int) -> bytes:
        elements = (0x0002, seeds.FIND), (0x0100, 0x20), (0x0110, message_id), (0x0700, 0), (0x0800, 1)
        return command_pdu(5, *elements).data + p_data(pdv(5, 2, services.IDENTIFIER)).data

    announcing = cancel(1).replace(b"\1\1", b"\1\0")
    match, done, cancelled = "C-FIND-RSP 0xFF00, data", "C-FIND-RSP 0x0000", "C-FIND-RSP 0xFE00"
    either = f"{match}, {done} | {match}, {cancelled} | {cancelled}"
    ended = f"{match}, {cancelled} | {cancelled}"
    for name, sent, back in (
        ("for nothing", cancel(1), ""),
        ("for nothing, a hundred times", cancel(1) * 100, ""),
        ("before its request", cancel(1) + find(1), f"{match}, {done}"),
        ("behind its request", find(1) + cancel(1), either),
        ("of another Message ID", find(1) + cancel(2), f"{match}, {done}"),
        ("of a long query", find(ASK_FOREVER) + cancel(ASK_FOREVER), ended),
        ("of a long query, twice", find(ASK_FOREVER) + cancel(ASK_FOREVER) * 2, ended),
        ("of a long query, for another and for it", find(ASK_FOREVER) + cancel(1) + cancel(ASK_FOREVER), ended),
        ("of a long query, on another context", find(ASK_FOREVER) + cancel(ASK_FOREVER, 7), ended),
        ("of an echo", seeds.echo_rq(1).data + cancel(1, 1), "C-ECHO-RSP 0x0000"),
        ("of a store", seeds.STORE.data + cancel(1, 3), "C-STORE-RSP 0x0000"),
        ("that announces a data set", announcing, ""),
        (
            "that announces a data set, which follows",
            announcing + p_data(pdv(5, 2, b"abcd")).data,
            "",
        ),
    ):
        yield _served(f"C-CANCEL {name}", sent, back, state=Service.SERVING, then=Then.GO_ON)
    for sent, back in ((cancel(1, 13), _ABORT_UNEXPECTED), (seeds.STORE_RQ.data + cancel(1, 3), _ABORT_UNEXPECTED)):
        yield _served("C-CANCEL out of place", sent, back, state=Service.SERVING)


def responses() -> Iterator[Case]:
    """Responses that no one asked for, of the wrong type, doubled, and behind the final one."""
    states: Sequence[State | Service] = (
        State.ECHOING,
        Service.FINDING,
        Service.GETTING,
        Service.MOVING,
        Service.SENDING,
    )
    for state in states:
        final, pending = services.response(state), services.response(state, 0xFF00)
        wrong = services.response(Service.MOVING if state is not Service.MOVING else Service.FINDING)
        for name, sent, back in (
            ("with another Message ID", services.response(state, message_id=2), _ABORT_UNEXPECTED),
            ("of another type", wrong, _ABORT_UNEXPECTED),
            ("doubled", final + final, _ABORT_UNEXPECTED),
            ("with a Pending one behind it", final + pending, _ABORT_UNEXPECTED),
            ("tenfold", final * 10, _ABORT_UNEXPECTED),
        ):
            if state is not State.ECHOING or final not in sent:  # whose client has succeeded before the rest comes
                yield _served(f"response {name}", sent, back, state=state)
        name, request = "a request in place of a response", seeds.echo_rq(1).data
        if state is Service.GETTING:  # where the peer may send requests
            back = "C-ECHO-RSP 0x0211"
            yield _served(name, request, back, state=state, then=Then.GO_ON)
        else:
            yield _served(name, request, _ABORT_UNEXPECTED, state=state)
    for status in (0x0000, 0xFF00, 0xFE00, 0xA700):
        sent = services.response(State.ECHOING, status)
        back = _ABORT_UNEXPECTED
        yield Case(
            f"response {status:04X}H to a server", sent, back, state=Service.SERVING, is_decided_by_machine=False
        )
    for state in (Service.FINDING, Service.GETTING, Service.MOVING):
        for count in (1, 100):
            sent = services.response(state, 0xFF00) * count
            yield Case(
                f"{count} bare Pending responses", sent, "", state=state, then=Then.GO_ON, is_decided_by_machine=False
            )
