"""Hostile sub-operations of C-GET: the C-STORE requests of an acceptor to our client (PS3.4 C.4.3.3, PS3.7 9.1.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from tests.conversations import datasets, seeds, services
from tests.conversations.cases import Case, Service, Then
from tests.conversations.octets import command, command_pdu, join, p_data, pdv

_UNEXPECTED: Final = "A-ABORT 2 5"
_STORED: Final = "C-STORE-RSP 0x0000"
_NO_CLASS: Final = "C-STORE-RSP 0x0122"
_BAD: Final = "C-STORE-RSP 0xC000"
_MISMATCH: Final = "C-STORE-RSP 0xA900"
_PENDING: Final = services.response(Service.GETTING, 0xFF00)
_FINAL: Final = services.response(Service.GETTING)
MR: Final = "1.2.840.10008.5.1.4.1.1.4"


def _instance(number: int, sop_class: str = seeds.CT) -> bytes:
    """A data set of its own."""
    head = seeds.explicit(0x00080016, "UI", sop_class.encode() + b"\0" * (len(sop_class) % 2))
    uid = f"1.2.3.{number}".encode()
    head += seeds.explicit(0x00080018, "UI", uid + b"\0" * (len(uid) % 2))
    return head + seeds.explicit(0x00100010, "PN", b"CANARY^PATIENT") + services.text(0x0020000D, "1.2.3")


def _request(
    instance: str = "1.2.3.4", *, context: int = 3, sop_class: str = seeds.CT, message_id: int = 1, announces: int = 1
) -> bytes:
    """A C-STORE-RQ."""
    elements = (0x0002, sop_class), (0x0100, 1), (0x0110, message_id), (0x0700, 0), (0x0800, announces)
    return command_pdu(context, *elements, (0x1000, instance)).data


def _data(data: bytes, context: int = 3) -> bytes:
    pieces = [data[at : at + 16000] for at in range(0, len(data), 16000)] or [b""]
    last = len(pieces) - 1
    return join(*(p_data(pdv(context, 2 * (at == last), piece)) for at, piece in enumerate(pieces))).data


def _store(
    number: int = 4, data: bytes | None = None, *, context: int = 3, sop_class: str = seeds.CT, message_id: int = 1
) -> bytes:
    """A C-STORE-RQ with its data set, that of its command if `data` is None."""
    sent = _request(f"1.2.3.{number}", context=context, sop_class=sop_class, message_id=message_id)
    return sent + _data(_instance(number, sop_class) if data is None else data, context)


def _case(name: str, sends: bytes, back: str, strict: str | None = None, then: Then = Then.GO_ON) -> Case:
    clause = "PS3.4 C.4.3.3, PS3.7 9.1.3"
    return Case(f"sub-operation: {name}", sends, back, strict, Service.GETTING, then, clause, None, False)


def places() -> Iterator[Case]:
    """On which context they come, when, and how many."""
    yield _case("as it should be", _store(), _STORED)
    yield _case("three of them", _store(1) + _store(2) + _store(3), ", ".join([_STORED] * 3))
    yield _case("between Pending responses", _PENDING + _store(1) + _PENDING * 2 + _store(2), f"{_STORED}, {_STORED}")
    for context in (0, 2, 5, 7, 127, 255):
        yield _case(f"on context {context}", _store(context=context), _UNEXPECTED, then=Then.READ)
    yield _case("on the context of the C-GET", _store(context=1), _STORED, _NO_CLASS)
    yield _case("its data set on another context", _request() + _data(_instance(4), 1), _UNEXPECTED, then=Then.READ)
    yield _case("of a class that was not proposed", _store(sop_class=MR), _NO_CLASS)
    yield _case("of the class of the C-GET", _store(sop_class=seeds.GET), _NO_CLASS)
    yield _case("of a class without one", _store(sop_class=""), "A-ABORT 2 6", then=Then.READ)
    yield _case("of a refused class, then a good one", _store(sop_class=MR) + _store(), f"{_NO_CLASS}, {_STORED}")
    for message_id in (0, 1, 0xFFFF):
        twice = _store(1, message_id=message_id) + _store(2, message_id=message_id)
        yield _case(f"two with Message ID {message_id}", twice, f"{_STORED}, {_STORED}")
    once = f"{_STORED}, {_STORED}, A-RELEASE-RQ"  # in one file
    yield _case("the same instance twice", _store() * 2 + _FINAL, once, then=Then.RELEASE)
    other = _store(4, _instance(4) + seeds.explicit(0x00204000, "LT", b"other "))
    yield _case("the same instance, changed", _store() + other, f"{_STORED}, C-STORE-RSP 0xB000")
    yield _case("a hundred of them", b"".join(_store(number) for number in range(100)), ", ".join([_STORED] * 100))
    behind = f"{_UNEXPECTED} | A-RELEASE-RQ, {_UNEXPECTED}"
    for count in (1, 1000):
        yield _case(f"{count} behind the final response", _FINAL + _store() * count, behind, then=Then.READ)
    yield _case("half of one behind the final response", _FINAL + _request(), behind, then=Then.READ)


def commands() -> Iterator[Case]:
    """Other requests, and damaged ones; and what else comes within them."""
    yield _case("a response to it", _store() + services.response(Service.SENDING), f"*{_UNEXPECTED}", then=Then.CLOSE)
    cancel = command_pdu(3, (0x0100, 0x0FFF), (0x0120, 1), (0x0800, 0x0101)).data
    yield _case("a C-CANCEL", cancel, "")
    elements = (0x0002, seeds.FIND), (0x0100, 0x20), (0x0110, 1), (0x0700, 0), (0x0800, 1)
    find = command_pdu(1, *elements).data + _data(services.IDENTIFIER, 1)
    yield _case("a C-FIND", find, "C-FIND-RSP 0x0211")
    for uid, status in (("", "0117"), ("1" * 65, "0117"), ("../../etc", "0117"), ("1.2.3.5", "A900")):
        yield _case(f"of instance {uid[:10]!r}", _request(uid) + _data(seeds.DATA_SET), f"C-STORE-RSP 0x{status}")
    unnumbered = command((0x0002, seeds.CT), (0x0100, 1), (0x0700, 0), (0x0800, 1), (0x1000, "1.2.3.4"))
    yield _case("without a Message ID", p_data(pdv(3, 3, unnumbered)).data, "A-ABORT 2 6", then=Then.READ)
    yield _case("without its data set", _request(announces=0x0101), _BAD)
    yield _case("another in place of its data set", _request() + _store(), _UNEXPECTED, then=Then.READ)
    yield _case("cut in its last PDU", _store()[:-20], "", then=Then.CLOSE)
    begun = _request() + p_data(pdv(3, 0, _instance(4))).data
    yield _case("begun, closed", begun, "", then=Then.CLOSE)
    yield _case("begun, reset", begun, "", then=Then.RESET)
    yield _case("begun, silent", begun, "A-ABORT *", then=Then.STALL)
    yield _case("begun, a Pending response", begun + _PENDING, _UNEXPECTED, then=Then.READ)
    yield _case("begun, a final response", begun + _FINAL, _UNEXPECTED, then=Then.READ)
    yield _case("begun, another", begun + _store(), _UNEXPECTED, then=Then.READ)
    yield _case("begun, a release", begun + seeds.RELEASE_RQ.data, "A-RELEASE-RP", then=Then.READ)
    yield _case("begun, an A-ABORT", begun + seeds.ABORT_USER.data, "", then=Then.READ)


def data_sets() -> Iterator[Case]:
    """Their data sets: truncated, deep, many elements, of another instance, empty."""
    whole = _instance(4)
    yield _case("of an empty data set", _store(data=b""), f"{_BAD} | {_MISMATCH}")
    yield _case("of another instance", _store(4, _instance(5)), _MISMATCH)
    yield _case("of another class", _store(4, _instance(4, MR)), _MISMATCH)
    for end in (1, 7, 8, 20, 40, len(whole) - 1):
        yield _case(f"cut at byte {end}", _store(data=whole[:end]), f"{_BAD} | {_MISMATCH}")
        yield _case(
            f"cut at byte {end}, then one",
            _store(data=whole[:end]) + _store(),
            f"{_BAD}, {_STORED} | {_MISMATCH}, {_STORED}",
        )
    pixels = struct.pack("<HH2sxxL", 0x7FE0, 0x10, b"OW", 50_000)
    yield _case("cut in its pixel data", _store(data=whole + pixels + bytes(40_000)), _BAD)
    for depth in (64, 65, 20_000):
        deep = datasets.nested(depth, defined=False)
        refused = _BAD if depth > datasets.MOST_NESTED else None
        yield _case(f"{depth} deep", _store(data=whole + deep), _STORED, refused)
    yield _case("200 000 elements", _store(data=whole + seeds.explicit(0x00210010, "LO", b"") * 200_000), _STORED)


def all_of_them() -> Iterator[Case]:
    """All groups."""
    yield from places()
    yield from commands()
    yield from data_sets()
