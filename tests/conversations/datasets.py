"""Hostile data sets (PS3.5 7): stored, as identifiers of queries, and as matches for our client."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from tests.conversations import seeds, services
from tests.conversations.cases import Case, Service, Then
from tests.conversations.octets import command_pdu, join, p_data, pdv

_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = b"\xfe\xff\x00\xe0"
_ITEM_END: Final = b"\xfe\xff\x0d\xe0\0\0\0\0"
_END: Final = b"\xfe\xff\xdd\xe0\0\0\0\0"
_STORED: Final = "C-STORE-RSP 0x0000"
_REFUSED: Final = "C-STORE-RSP 0xC000 | C-STORE-RSP 0xA900"
_EITHER: Final = f"{_STORED} | {_REFUSED}"
_FOUND: Final = "C-FIND-RSP 0xFF00, data, C-FIND-RSP 0x0000"
_NOT_UNDERSTOOD: Final = "C-FIND-RSP 0xC000"
_ANSWERED: Final = f"{_FOUND} | C-FIND-RSP 0x0000 | {_NOT_UNDERSTOOD} | C-FIND-RSP 0xA900"
MOST_NESTED: Final = 64
"""Sequences within sequences that are followed."""


def _in_pdus(context: int, data: bytes) -> bytes:
    pieces = [data[at : at + 16000] for at in range(0, len(data), 16000)] or [b""]
    last = len(pieces) - 1
    return join(*(p_data(pdv(context, 2 * (at == last), piece)) for at, piece in enumerate(pieces))).data


def stored(name: str, data: bytes, back: str, strict: str | None = None, context: int = 3) -> Case:
    """A C-STORE of a data set."""
    sent = p_data(pdv(context, 3, seeds.store_command())).data + _in_pdus(context, data)
    return Case(
        f"stored: {name}", sent, back, strict, Service.SERVING, Then.GO_ON, "PS3.5 7", is_decided_by_machine=False
    )


def asked(name: str, data: bytes, back: str = _ANSWERED) -> Case:
    """A C-FIND with an identifier."""
    elements = (0x0002, seeds.FIND), (0x0100, 0x20), (0x0110, 1), (0x0700, 0), (0x0800, 1)
    sent = command_pdu(5, *elements).data + _in_pdus(5, data)
    return Case(
        f"identifier: {name}", sent, back, None, Service.SERVING, Then.GO_ON, "PS3.5 7", is_decided_by_machine=False
    )


def found(name: str, data: bytes) -> Case:
    """A match for our client, before the final response."""
    sent = services.response(Service.FINDING, 0xFF00, data=True) + _in_pdus(1, data)
    return Case(f"match: {name}", sent, "", None, Service.FINDING, Then.GO_ON, "PS3.5 7", is_decided_by_machine=False)


def failed(name: str, data: bytes, state: Service) -> Case:
    """The Failed SOP Instance UID List of a final response to our client."""
    sent = services.response(state, 0xB000, data=True) + _in_pdus(1, data)
    return Case(
        f"failed list: {name}",
        sent,
        "A-RELEASE-RQ",
        None,
        state,
        Then.RELEASE,
        "PS3.4 C.4.2",
        is_decided_by_machine=False,
    )


def long(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """A data element with a 32-bit length, in Explicit VR Little Endian."""
    length = len(value) if length is None else length
    return struct.pack("<HH2sxxL", tag >> 16, tag & 0xFFFF, vr.encode("latin-1"), length) + value


def nested(depth: int, *, defined: bool, vr: str = "SQ") -> bytes:
    """Sequences within sequences."""
    if not defined:
        begin = long(0x00400275, vr, _ITEM + b"\xff" * 4, _UNDEFINED)
        return begin * depth + (_ITEM_END + _END) * depth
    parts = []
    inside = 0
    for _ in range(depth):
        parts.append(long(0x00400275, vr, b"", inside + 8) + _ITEM + struct.pack("<L", inside))
        inside += 20
    return b"".join(reversed(parts))


def depths() -> Iterator[Case]:
    """Sequences nested from 32 to 200 000 deep: what is skipped costs nothing, what is followed has a limit."""
    for depth in (32, MOST_NESTED - 1, MOST_NESTED, MOST_NESTED + 1, 100, 1000, 10_000, 200_000):
        for defined in (False, True):
            for vr in ("SQ", "UN"):
                name = f"{depth} sequences, {vr}, {'defined' if defined else 'undefined'} lengths"
                inner = nested(depth, defined=defined, vr=vr)
                is_refused = depth > MOST_NESTED and not defined
                yield stored(name, seeds.DATA_SET + inner, _STORED, "C-STORE-RSP 0xC000" if is_refused else None)
                yield asked(name, services.IDENTIFIER + inner, _ANSWERED if depth <= MOST_NESTED else _NOT_UNDERSTOOD)
                yield found(name, services.IDENTIFIER + inner)
                if depth <= 10_000:
                    yield failed(name, inner, Service.MOVING)
    for depth in (100, 200_000):
        inner = long(0x00400275, "SQ", _ITEM + b"\xff" * 4, _UNDEFINED) * depth
        yield stored(f"{depth} sequences that never end", seeds.DATA_SET + inner, _EITHER, "C-STORE-RSP 0xC000")
        yield asked(f"{depth} sequences that never end", services.IDENTIFIER + inner, _NOT_UNDERSTOOD)


def truncated() -> Iterator[Case]:
    """Cut at every byte: only between two elements that may be the end (PS3.5 7.1)."""
    sequence = long(
        0x00400275, "SQ", _ITEM + b"\xff" * 4 + seeds.explicit(0x00400007, "LO", b"ab") + _ITEM_END + _END, _UNDEFINED
    )
    data = seeds.DATA_SET[:100] + seeds.DATA_SET[100:] + sequence
    ends, position = set(), 0
    for element in _elements(seeds.DATA_SET):
        position += len(element)
        ends.add(position)
    needed = sum(len(element) for element in _elements(seeds.DATA_SET)[:2])
    for end in range(len(data)):
        is_whole = end in ends and end >= needed
        yield stored(f"cut at byte {end}", data[:end], _STORED if is_whole else _REFUSED)
    identifier = services.IDENTIFIER + sequence
    for end in range(0, len(identifier), 3):
        yield asked(f"cut at byte {end}", identifier[:end])
        yield found(f"cut at byte {end}", identifier[:end])


def _elements(data: bytes) -> list[bytes]:
    """The elements of a data set whose lengths all have 16 bits."""
    parts = []
    while data:
        size = 8 + struct.unpack_from("<H", data, 6)[0]
        parts.append(data[:size])
        data = data[size:]
    return parts


def wrong_lengths() -> Iterator[Case]:
    """Each length field of a data set, with twelve wrong values."""
    parts = _elements(seeds.DATA_SET)
    for at, element in enumerate(parts):
        right = len(element) - 8
        for value in (0, 1, right - 1, right + 1, right + 2, right + 8, 255, 256, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF):
            wrong = element[:6] + struct.pack("<H", value & 0xFFFF) + element[8:]
            name = f"length {value} in place of {right} in element {at}"
            yield stored(name, b"".join([*parts[:at], wrong, *parts[at + 1 :]]), _EITHER)
    for value in (0, 1, 7, 9, 12, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFD, 0xFFFFFFFE, _UNDEFINED, 0xFFFF):
        for tag, vr in ((0x00400275, "SQ"), (0x7FE00010, "OW"), (0x00420011, "OB"), (0x00091010, "UN")):
            data = long(tag, vr, bytes(8), value)
            name = f"length {value} of {vr} {tag:08X} with 8 bytes"
            yield stored(name, seeds.DATA_SET + data, _EITHER)
            yield asked(name, services.IDENTIFIER + data)
            yield found(name, services.IDENTIFIER + data)


def wrong_vrs() -> Iterator[Case]:
    """Value representations that there are not, or of another element."""
    parts = _elements(seeds.DATA_SET)
    for vr in (
        b"??",
        b"ZZ",
        b"\0\0",
        b"ui",
        b"U1",
        b"\xff\xff",
        b"  ",
        b"OB",
        b"SQ",
        b"UN",
        b"OW",
        b"US",
        b"AT",
        b"FD",
    ):
        for at in (0, 1, 2, 4):
            wrong = parts[at][:4] + vr + parts[at][6:]
            yield stored(f"VR {vr!r} in element {at}", b"".join([*parts[:at], wrong, *parts[at + 1 :]]), _EITHER)
        yield asked(f"VR {vr!r}", services.IDENTIFIER[:4] + vr + services.IDENTIFIER[6:])
        yield found(f"VR {vr!r}", services.IDENTIFIER[:4] + vr + services.IDENTIFIER[6:])


_ESCAPES: Final = b"\x1b$B;3ED\x1b(B"
CHARACTER_SETS: Final = (
    *((term, b"M\xfcller^\xe9") for term in ("ISO_IR 100", "ISO_IR 192", "GB18030", "GBK", "ISO_IR 13", "ISO_IR 166")),
    *(
        (term, b"A^B")
        for term in ("", "\\", "\\\\\\", "NONSENSE", "ISO_IR", "ISO 2022 IR", "ISO_IR 999999999999", "\xff\xfe")
    ),
    *(
        (term, _ESCAPES)
        for term in ("\\ISO 2022 IR 87", "ISO 2022 IR 6\\ISO 2022 IR 87", "ISO_IR 192", "ISO_IR 100", "")
    ),
    *(
        ("\\ISO 2022 IR 87\\ISO 2022 IR 149", each)
        for each in (b"\x1b", b"\x1b$", b"\x1b$B", b"\x1b$B;", b"\x1b(", b"\x1b\x1b\x1b")
    ),
    *(
        ("ISO 2022 IR 149\\ISO 2022 IR 58", each)
        for each in (b"\x1b$)C\xff", b"\x1b$)A\xa1", b"\x1b$)Z\xa1\xa1", b"\xa1" * 9)
    ),
    *(("ISO_IR 192", each) for each in (b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82")),
    *(("GB18030", each) for each in (b"\x81", b"\x81\x30\x81", b"\xff\xff", b"\x84\x31\xa4\x39")),
    ("ISO_IR 100\\" * 60, b"A"),
    ("ISO 2022 IR 100\\" * 100, b"A"),
)
"""Specific Character Sets (PS3.3 C.12.1.1.2) with texts that are not in them, or barely."""


def character_sets() -> Iterator[Case]:
    """Unknown, malformed and many-valued character sets, and a megabyte of escape sequences."""
    for number, (term, value) in enumerate(CHARACTER_SETS):
        head = (
            services.text(0x00080005, term, "CS") + services.IDENTIFIER[: len(services.text(0x00080052, "STUDY", "CS"))]
        )
        value += b" " * (len(value) % 2)
        data = head + seeds.explicit(0x00100010, "PN", value) + services.text(0x0020000D, "1.2.3")
        name = f"character set {number}"
        yield asked(name, data)
        yield found(name, data)
        yield stored(name, services.text(0x00080005, term, "CS") + seeds.DATA_SET, _STORED)
    for size in (1000, 10_000, 2**20 // len(_ESCAPES)):
        head = services.text(0x00080005, "\\ISO 2022 IR 87", "CS") + services.IDENTIFIER
        text = _ESCAPES * size
        data = head + long(0x00404001, "UC", text + b" " * (len(text) % 2))
        yield asked(f"{len(text)} bytes of escape sequences", data)
        yield found(f"{len(text)} bytes of escape sequences", data)


def _deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def deflated() -> Iterator[Case]:
    """Deflated data sets (PS3.5 A.5): bombs, nested, truncated, with garbage behind them, without end."""
    context = 11
    whole = _deflated(seeds.DATA_SET)
    pixels = long(0x7FE00010, "OW", bytes(2**25))
    yield stored("deflated", whole, _STORED, context=context)
    for end in range(0, len(whole), 2):
        yield stored(f"deflated, cut at byte {end}", whole[:end], _REFUSED, context=context)
    for surplus in (b"\0", bytes(1000), b"\xff" * 1000, whole):
        yield stored(f"deflated, {len(surplus)} bytes behind it", whole + surplus, _STORED, context=context)
    yield stored("32 MiB of zeros as 33 KB", _deflated(seeds.DATA_SET + pixels), _STORED, context=context)
    yield stored("deflated twice", _deflated(whole), _REFUSED, context=context)
    yield stored("a bomb in a bomb", _deflated(_deflated(bytes(2**25))), _REFUSED, context=context)
    yield stored("zeros only", _deflated(bytes(2**25)), _REFUSED, context=context)
    empty_blocks = b"\0\0\0\xff\xff" * 100_000
    yield stored("empty blocks", empty_blocks, _REFUSED, context=context)
    yield stored("empty blocks before a data set", empty_blocks + whole, _STORED, context=context)
    many = seeds.explicit(0x00210010, "LO", b"") * 3_000_000
    yield stored("3 million elements", _deflated(seeds.DATA_SET + many), "C-STORE-RSP 0xC000", context=context)
    for start in (b"\xff", b"\x06", b"\x07", b"\x78\x9c"):
        yield stored(f"not deflated, {start.hex()}", start + whole, _REFUSED, context=context)


def many() -> Iterator[Case]:
    """More elements and items than anything real has."""
    empty = seeds.explicit(0x00210010, "LO", b"")
    items = long(0x00400275, "SQ", (_ITEM + bytes(4)) * 200_000 + _END, _UNDEFINED)
    yield stored("2 million elements", seeds.DATA_SET + empty * 2_000_000, _STORED)
    yield stored("200 000 items", seeds.DATA_SET + items, _STORED)
    yield asked("30 000 elements", services.IDENTIFIER + empty * 30_000, _NOT_UNDERSTOOD)
    yield asked("2 million elements", services.IDENTIFIER + empty * 2_000_000, _NOT_UNDERSTOOD)
    yield asked("more than 16 MiB", services.IDENTIFIER + empty * 2_100_000, "C-FIND-RSP 0xA700")
    yield asked("200 000 items", services.IDENTIFIER + items, _NOT_UNDERSTOOD)
    yield found("30 000 elements", services.IDENTIFIER + empty * 30_000)
    yield found("200 000 items", services.IDENTIFIER + items)
    uids = b"1.2.3\\" * 250_000
    for state in (Service.GETTING, Service.MOVING):
        yield failed("250 000 UIDs", long(0x00080058, "UN", uids), state)
        yield failed("nothing but delimiters", long(0x00080058, "UN", b"\\" * 600_000), state)
        yield failed("nonsense", b"nonsense", state)
