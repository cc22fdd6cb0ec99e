"""Cases of single values: each field of A-ASSOCIATE, A-ASSOCIATE-RJ and A-ABORT at its edges, and unknown items."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.conversations import seeds
from tests.conversations.cases import Case, State, Then
from tests.conversations.octets import Octets, associate, context_ac, context_rq, field, item, pdu, spare
from tests.conversations.seeds import APPLICATION, CONTEXTS, CT, EXPLICIT, IMPLICIT, INFORMATION, MAXIMUM, VERIFICATION

BOTH = "A-ASSOCIATE-AC 1=0 3=0"
CLASS_UID = item(0x52, b"1.2.3")
NO_UIDS = ("1.2.", ".1.2", "1..2", "1.02.3", "01.2", "1.2.a", "1.2/3", "1 .2", "\xe9", "\n", "1.2\n", "\x1b[2J", "%s")
EDGES_8 = (0, 1, 2, 127, 128, 254, 255)
EDGES_16 = (0, 1, 2, 255, 256, 0x7FFF, 0x8000, 0xFFFF)


def request(
    *contexts: Octets | bytes,
    application: Octets | bytes = APPLICATION,
    information: Octets | bytes = INFORMATION,
    **head: bytes,
) -> bytes:
    """An A-ASSOCIATE-RQ, with the usual contexts if none are given."""
    return associate(0x01, application, *(contexts or CONTEXTS), information, **head).data  # type: ignore[arg-type]


def with_item(*sub_items: Octets | bytes) -> bytes:
    """An A-ASSOCIATE-RQ with these user items after the usual ones."""
    return request(information=item(0x50, MAXIMUM, CLASS_UID, *sub_items))


def acceptance(*contexts: Octets | bytes, information: Octets | bytes = INFORMATION) -> bytes:
    """An A-ASSOCIATE-AC, with the usual context if none is given."""
    return associate(0x02, APPLICATION, *(contexts or (context_ac(1, 0, EXPLICIT),)), information).data


def acceptance_with(*sub_items: Octets | bytes) -> bytes:
    """An A-ASSOCIATE-AC with these user items after the usual ones."""
    return acceptance(information=item(0x50, MAXIMUM, CLASS_UID, *sub_items))


def accepted(name: str, data: bytes, clause: str, back: str = BOTH, strict: str | None = None) -> Case:
    """An A-ASSOCIATE-RQ that is accepted as if nothing were odd, at least in lenient mode."""
    if strict is None:
        return Case(name, data, back, state=State.CONNECTED, then=Then.GO_ON, clause=clause)
    return Case(name, data, back, strict, State.CONNECTED, Then.CLOSE, clause)


def refused(name: str, data: bytes, clause: str, back: str) -> Case:
    """An A-ASSOCIATE-RQ that neither mode accepts."""
    return Case(name, data, back, state=State.CONNECTED, clause=clause)


def usable(name: str, data: bytes, clause: str) -> Case:
    """An A-ASSOCIATE-AC that our client uses as if nothing were odd."""
    return Case(name, data, "", state=State.REQUESTED, then=Then.GO_ON, clause=clause)


def useless(name: str, data: bytes, clause: str, strict: str | None = None) -> Case:
    """An A-ASSOCIATE-AC without a usable context: our client cannot send its C-ECHO, and gives up."""
    return Case(name, data, "A-ABORT 0 0", strict, State.REQUESTED, clause=clause)


# Presentation contexts


def context_ids() -> Iterator[Case]:
    """Every Presentation Context ID, proposed and answered (PS3.8 9.3.2.2)."""
    for number in range(256):
        odd = number % 2 == 1
        data = request(context_rq(number, VERIFICATION, IMPLICIT))
        strict = None if odd else "A-ABORT 2 6"
        back = f"A-ASSOCIATE-AC {number}={'0' if odd else '[1-4]'}"
        yield Case(f"context {number}", data, back, strict, State.CONNECTED, Then.CLOSE, "PS3.8 9.3.2.2")
    for number in (*range(1), *range(2, 256)):
        data = acceptance(context_ac(number, 0, EXPLICIT))
        yield useless(f"context {number} answered", data, "PS3.8 9.3.3.2", "A-ABORT 2 6")


def numbers_of_contexts() -> Iterator[Case]:
    """None, many, too many, and the same one twice."""
    clause = "PS3.8 9.3.2.2"
    for count in (1, 2, 127, 128):
        contexts = [context_rq(2 * index + 1, VERIFICATION, IMPLICIT) for index in range(count)]
        back = "A-ASSOCIATE-AC" + "".join(f" {2 * index + 1}=0" for index in range(count))
        yield accepted(f"{count} contexts", request(*contexts), clause, back)
    for count in (129, 200, 256, 1000):
        contexts = [context_rq(index % 256, VERIFICATION, IMPLICIT) for index in range(count)]
        yield refused(f"{count} contexts", request(*contexts), clause, "A-ABORT 2 6")
    none = associate(0x01, APPLICATION, INFORMATION).data
    yield accepted("no context", none, "PS3.8 9.3.2", "A-ASSOCIATE-AC", "A-ABORT 2 6")
    twice = request(context_rq(1, VERIFICATION, IMPLICIT), context_rq(1, CT, EXPLICIT))
    yield accepted("one ID twice", twice, clause, "A-ASSOCIATE-AC 1=0", "A-ABORT 2 6")
    two = acceptance(context_ac(1, 0, EXPLICIT), context_ac(1, 4, EXPLICIT))
    yield Case("two results", two, "C-ECHO-RQ", "A-ABORT 2 6", State.REQUESTED, Then.RESET, "PS3.8 9.3.3.2")
    nothing = associate(0x02, APPLICATION, INFORMATION).data
    yield useless("no result", nothing, "PS3.8 9.3.3")  # contexts without an answer count as rejected


def results() -> Iterator[Case]:
    """Every result of a presentation context (PS3.8 Table 9-18); all but 0 are rejections."""
    for result in range(1, 256):
        yield useless(f"result {result}", acceptance(context_ac(1, result, EXPLICIT)), "PS3.8 Table 9-18")
        # The transfer syntax of a rejected context shall not be tested.
        for name, syntaxes in (("no syntax", ()), ("two syntaxes", (EXPLICIT, "1.2.3")), ("no UID", ("\xff" * 70,))):
            if result in EDGES_8 or result < 5:
                data = acceptance(context_ac(1, result, *syntaxes))
                yield useless(f"result {result}, {name}", data, "PS3.8 9.3.3.2")
    for name, syntaxes in (("none", ()), ("two", (EXPLICIT, IMPLICIT)), ("other", ("1.2.3",)), ("empty", ("",))):
        data = acceptance(context_ac(1, 0, *syntaxes))
        yield useless(f"accepted, syntax: {name}", data, "PS3.8 9.3.3.2", "A-ABORT 2 6")
    for name, syntax in (("NUL", EXPLICIT + "\0"), ("space", EXPLICIT + " ")):
        yield usable(f"accepted, syntax padded with {name}", acceptance(context_ac(1, 0, syntax)), "PS3.5 9.1")


def uids() -> Iterator[Case]:
    """UIDs of every length, and what is none: that context is refused, the other lives."""
    clause = "PS3.5 9.1"
    # A private SOP class of any length is well formed, but nobody supports it.
    for length in range(101):
        uid = ("1.2." + "3" * 100)[:length]
        is_one = 0 < length <= 64 and not uid.endswith(".")
        for name, context in (
            ("abstract", context_rq(3, uid, EXPLICIT)),
            ("transfer", context_rq(3, VERIFICATION, uid)),
        ):
            result = "[034]" if is_one else "[1-4]"
            strict = None if is_one else "A-ABORT 2 6"
            data = request(CONTEXTS[0], context)
            back = f"A-ASSOCIATE-AC 1=0 3={result}"
            yield accepted(f"{name} syntax of {length}", data, clause, back, strict)
    for text in (
        "1.2.",
        ".1.2",
        "1..2",
        "1.02.3",
        "01.2",
        "1.2.a",
        "1.2/3",
        "1 .2",
        "\xe9",
        "\n",
        "1.2\n",
        "\x1b[2J",
        "%s",
    ):
        for name, context in (
            ("abstract", context_rq(3, text, EXPLICIT)),
            ("transfer", context_rq(3, VERIFICATION, text)),
        ):
            data = request(CONTEXTS[0], context)
            yield accepted(f"{name} syntax {text!a}", data, clause, "A-ASSOCIATE-AC 1=0 3=[1-4]", "A-ABORT 2 6")
    for name, padding in (("NUL", "\0"), ("NULs", "\0\0\0"), ("space", " "), ("spaces", "   ")):
        data = request(context_rq(1, VERIFICATION + padding, IMPLICIT + padding), CONTEXTS[1])
        yield accepted(f"UIDs padded with {name}", data, clause)
    syntaxes = [f"1.2.3.{index}" for index in range(1000)]
    yield accepted(
        "1000 syntaxes", request(context_rq(1, VERIFICATION, *syntaxes, IMPLICIT), CONTEXTS[1]), "PS3.8 9.3.2.2"
    )
    twice = request(context_rq(1, VERIFICATION, IMPLICIT, IMPLICIT), CONTEXTS[1])
    yield accepted("a syntax twice", twice, "PS3.8 9.3.2.2")
    none = request(CONTEXTS[0], context_rq(3, CT))
    yield accepted("no syntax", none, "PS3.8 9.3.2.2", "A-ASSOCIATE-AC 1=0 3=[1-4]", "A-ABORT 2 6")


# Titles, names, versions


def titles() -> Iterator[Case]:
    """Every byte in an AE title, and its padding (PS3.8 Table 9-11)."""
    clause = "PS3.8 Table 9-11"
    for which, reason in (("called", 7), ("calling", 3)):
        rejected = f"A-ASSOCIATE-RJ 1 1 {reason}"
        for byte in range(256):
            data = request(**{which: b"A" + bytes([byte]) + b"B"})
            is_fine = 0x20 <= byte < 0x7F
            yield accepted(f"{which} title with {byte:02X}H", data, clause, strict=None if is_fine else rejected)
        for name, title in (("spaces", b" " * 16), ("NULs", bytes(16)), ("both", b" \0" * 8)):
            yield refused(f"{which} title of {name}", request(**{which: title}), clause, rejected)
        for name, title in (("leading space", b"  ARCHIVE"), ("NUL after it", b"ARCHIVE".ljust(16, b"\0"))):
            yield accepted(f"{which} title, {name}", request(**{which: title}), clause, strict=rejected)
        yield accepted(f"{which} title of 16", request(**{which: b"ABCDEFGHIJKLMNOP"}), clause)


def names() -> Iterator[Case]:
    """Application context, implementation class and version, in every odd form."""
    clause = "PS3.8 9.3.2.1"
    right = seeds.APPLICATION_CONTEXT.encode()
    rejected = "A-ASSOCIATE-RJ 1 1 2"
    for at in range(len(right)):
        wrong = item(0x10, right[:at] + b"7" + right[at + 1 :]) if right[at : at + 1] != b"7" else b""
        yield refused(f"application context wrong at {at}", request(application=wrong), clause, rejected)
        yield refused(f"application context of {at}", request(application=item(0x10, right[:at])), clause, rejected)
    yield refused("application context missing", request(application=b""), clause, rejected)
    for name, padding in (("NUL", b"\0"), ("space", b" ")):
        data = request(application=item(0x10, right + padding))
        yield accepted(f"application context padded with {name}", data, clause)
    twice = associate(0x01, APPLICATION, APPLICATION, *CONTEXTS, INFORMATION).data
    yield accepted("application context twice", twice, clause, strict="A-ABORT 2 6")
    for length in (*range(35), 64, 65, 255, 1000, 0xFF00):
        version = item(0x55, b"V" * length)
        data = request(information=item(0x50, MAXIMUM, CLASS_UID, version))
        yield accepted(f"version name of {length}", data, "PS3.7 D.3.3.2")
        yield usable(f"version name of {length} answered", acceptance_with(version), "PS3.7 D.3.3.2")
    for uid in (b"", b"1", b"1.2.", b"abc", b"\xff" * 64, b"1" * 65, b"1.2\0", b"\x1b[2J", b"1.2.3 "):
        data = request(information=item(0x50, MAXIMUM, item(0x52, uid)))
        yield accepted(f"class UID {uid!r}", data, "PS3.7 D.3.3.2")
    yield accepted("class UID missing", request(information=item(0x50, MAXIMUM)), "PS3.7 D.3.3.2")


def versions() -> Iterator[Case]:
    """Protocol versions: bit 0 is the only one that counts (PS3.8 9.3.2)."""
    for version in (*range(256), *(1 << bit for bit in range(16)), *((1 << bit) + 1 for bit in range(1, 16)), 0xFFFF):
        data = associate(0x01, APPLICATION, *CONTEXTS, INFORMATION, version=version).data
        if version % 2:
            yield accepted(f"version {version:04X}H", data, "PS3.8 9.3.2")
        else:
            yield refused(f"version {version:04X}H", data, "PS3.8 Table 9-21", "A-ASSOCIATE-RJ 1 2 2")


# User items


def maximum_lengths() -> Iterator[Case]:
    """The maximum length, and lengths of its sub-item (PS3.8 D.1)."""
    clause = "PS3.8 D.1"
    for length in (*range(40), *(2**power + more for power in range(6, 32) for more in (-1, 0, 1)), 2**32 - 1):
        information = item(0x50, item(0x51, struct.pack(">I", length)), CLASS_UID)
        data, answer = request(information=information), acceptance(information=information)
        if 0 < length < 8:
            yield refused(f"maximum length {length}", data, clause, "A-ABORT 2 6")
            yield Case(f"maximum length {length} answered", answer, "A-ABORT 2 6", state=State.REQUESTED, clause=clause)
        else:
            yield accepted(f"maximum length {length}", data, clause)
            yield usable(f"maximum length {length} answered", answer, clause)
    for size in (0, 1, 2, 3, 5, 6, 7, 8, 100):
        information = item(0x50, item(0x51, b"\0" * (size - 1) + b"\x40" * min(size, 1)), CLASS_UID)
        yield refused(f"maximum length in {size} bytes", request(information=information), clause, "A-ABORT 0 0")
        answer = acceptance(information=information)
        yield Case(
            f"maximum length in {size} bytes answered", answer, "A-ABORT 2 6", state=State.REQUESTED, clause=clause
        )
    yield accepted("no maximum length", request(information=item(0x50, CLASS_UID)), clause)
    yield usable("no maximum length answered", acceptance(information=item(0x50, CLASS_UID)), clause)
    bare = associate(0x01, APPLICATION, *CONTEXTS).data
    yield accepted("no user information", bare, "PS3.8 9.3.2", strict="A-ABORT 2 6")
    yield accepted("empty user information", request(information=item(0x50)), "PS3.8 D.1")
    twice = associate(0x01, APPLICATION, *CONTEXTS, INFORMATION, INFORMATION).data
    yield accepted("user information twice", twice, "PS3.8 9.3.2", strict="A-ABORT 2 6")


def windows() -> Iterator[Case]:
    """The asynchronous operations window (PS3.7 D.3.3.3)."""
    for invoked in EDGES_16:
        for performed in EDGES_16:
            window = item(0x53, struct.pack(">HH", invoked, performed))
            yield accepted(f"window {invoked}, {performed}", with_item(window), "PS3.7 D.3.3.3")
            yield usable(f"window {invoked}, {performed} answered", acceptance_with(window), "PS3.7 D.3.3.3")


def roles() -> Iterator[Case]:
    """Role selections (PS3.7 D.3.3.4): every byte in a role, and odd SOP classes."""
    clause = "PS3.7 D.3.3.4"
    for value in range(256):
        for name, both in (("SCU", bytes([value, 0])), ("SCP", bytes([1, value]))):
            role = item(0x54, field("UID", CT.encode()), both)
            yield accepted(f"{name} role {value}", with_item(role), clause)
            if value in EDGES_8:
                yield usable(f"{name} role {value} answered", acceptance_with(role), clause)
    for uid in (b"", b"1", b"1.2.3", CT.encode() + b"\0", CT.encode() + b" ", b"1" * 65, b"\xff" * 200, b"\x1b[2J"):
        role = item(0x54, field("UID", uid), b"\1\1")
        yield accepted(f"role of {uid[:20]!r}", with_item(role), clause)
        yield usable(f"role of {uid[:20]!r} answered", acceptance_with(role), clause)
    many = [item(0x54, field("UID", b"1.2.%d" % index), b"\1\1") for index in range(1000)]
    yield accepted("1000 roles", with_item(*many), clause)
    yield accepted("a role twice", with_item(*2 * [item(0x54, field("UID", CT.encode()), b"\1\0")]), clause)


def identities() -> Iterator[Case]:
    """User identities (PS3.7 D.3.3.7): a server that verifies none accepts any."""
    clause = "PS3.7 D.3.3.7"
    for value in range(256):
        for name, head in (("type", bytes([value, 0])), ("response requested", bytes([1, value]))):
            identity = item(0x58, head, field("primary", b"user"), field("secondary", b""))
            yield accepted(f"identity, {name} {value}", with_item(identity), clause)
    for length in (0, 1, 64, 1000, 30000, 60000):
        for first, second in ((length, 0), (0, length)):
            identity = item(0x58, b"\2\1", field("primary", b"u" * first), field("secondary", b"s" * second))
            yield accepted(f"identity of {first} and {second}", with_item(identity), clause)
    for length in (0, 1, 1000, 60000):
        answer = item(0x59, field("server response", b"r" * length))
        yield usable(f"identity answered with {length}", acceptance_with(answer), clause)


# Unknown items

_KNOWN = {"PDU": {0x10, 0x20, 0x21, 0x50}, "context": {0x30, 0x40}, "user information": set(range(0x51, 0x5A))}


def unknown_items() -> Iterator[Case]:
    """Each unknown item at each level is skipped (PS3.8 9.3.1)."""
    for number in range(256):
        unknown = item(number, b"\xff" * 5 if number % 2 else b"")
        name = f"item {number:02X}H in the"
        if number not in _KNOWN["PDU"]:
            asked = associate(0x01, unknown, APPLICATION, unknown, *CONTEXTS, unknown, INFORMATION, unknown).data
            answer = associate(0x02, APPLICATION, unknown, context_ac(1, 0, EXPLICIT), INFORMATION, unknown).data
            yield accepted(f"{name} request", asked, "PS3.8 9.3.1")
            yield usable(f"{name} acceptance", answer, "PS3.8 9.3.1")
        if number not in _KNOWN["context"]:
            yield accepted(f"{name} proposed context", request(*_with_unknown(unknown)), "PS3.8 9.3.1")
            context = item(0x21, b"\1\0\0\0", unknown, item(0x40, EXPLICIT.encode()), unknown)
            yield usable(f"{name} context result", acceptance(context), "PS3.8 9.3.1")
        if number not in _KNOWN["user information"]:
            information = item(0x50, unknown, MAXIMUM, unknown, CLASS_UID, unknown)
            yield accepted(f"{name} user information", request(information=information), "PS3.8 9.3.1")
            yield usable(f"{name} user information answered", acceptance(information=information), "PS3.8 9.3.1")
    yield usable("identity request in an acceptance", acceptance_with(item(0x58, b"\xff")), "PS3.7 D.3.3.7.2")
    yield usable("common extended negotiation in an acceptance", acceptance_with(item(0x57, b"\xff")), "PS3.7 D.3.3.6")
    yield accepted("identity response in a request", with_item(item(0x59, b"\xff")), "PS3.7 D.3.3.7.1")


def longest_requests() -> Iterator[Case]:
    """An A-ASSOCIATE-RQ of 1 MiB, filled with unknown items, and one that is longer by a byte."""
    space = 1024 * 1024 - len(request()) + 6
    filling = [item(0x60, bytes(0xFFFF))] * (space // 0x10003) + [item(0x60, bytes(space % 0x10003 - 4))]
    for name, more in (("of 1 MiB", []), ("of 1 MiB + 1", [b"\0"])):
        data = associate(0x01, APPLICATION, *CONTEXTS, INFORMATION, *filling, *more).data
        if more:
            yield refused(f"A-ASSOCIATE-RQ {name}", data, "PS3.8 9.3.2", "A-ABORT 0 0")
        else:
            yield accepted(f"A-ASSOCIATE-RQ {name}", data, "PS3.8 9.3.2")


def _with_unknown(unknown: Octets) -> tuple[Octets, Octets]:
    syntaxes = item(0x30, VERIFICATION.encode()), unknown, item(0x40, IMPLICIT.encode()), unknown
    return item(0x20, bytes([1]), spare(3), unknown, *syntaxes), CONTEXTS[1]


# A-ASSOCIATE-RJ, A-ABORT


def rejections() -> Iterator[Case]:
    """Every result, source and reason of an A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""
    for at, name in enumerate(("result", "source", "reason")):
        for value in range(256):
            fields = bytearray((1, 1, 1))
            fields[at] = value
            data = pdu(0x03, spare(1), bytes(fields)).data
            yield Case(f"A-ASSOCIATE-RJ, {name} {value}", data, "", state=State.REQUESTED, clause="PS3.8 Table 9-21")


def aborts() -> Iterator[Case]:
    """Every source and reason of an A-ABORT (PS3.8 Table 9-26), to both sides."""
    for value in range(256):
        for state in (State.ASSOCIATED, State.STORING, State.REQUESTED, State.ECHOING, State.RELEASING):
            for name, fields in (("source", bytes([value, 0])), ("reason", bytes([2, value]))):
                if state in (State.ASSOCIATED, State.ECHOING) or value in EDGES_8:
                    data = pdu(0x07, spare(2), fields).data
                    yield Case(f"A-ABORT, {name} {value}", data, "", state=state, clause="PS3.8 Table 9-26")


GROUPS = (
    context_ids,
    numbers_of_contexts,
    results,
    uids,
    titles,
    names,
    versions,
    maximum_lengths,
    windows,
    roles,
    identities,
    unknown_items,
    longest_requests,
    rejections,
    aborts,
)


def values() -> Iterator[Case]:
    """All of them."""
    for group in GROUPS:
        yield from group()
