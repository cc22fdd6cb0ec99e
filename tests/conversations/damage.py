"""Cases made from the seeds: cut at every byte, each length field wrong, each reserved byte set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from tests.conversations import oracle, seeds
from tests.conversations.cases import Case, State, Then
from tests.conversations.octets import Octets


class Seed(NamedTuple):
    """A valid PDU, where it is sent, and what comes back."""

    name: str
    octets: Octets
    state: State
    back: str
    then: Then = Then.READ
    is_store: bool = False


SEEDS: Final = (
    Seed("A-ASSOCIATE-RQ", seeds.ASSOCIATE_RQ, State.CONNECTED, "A-ASSOCIATE-AC 1=0 3=0", Then.GO_ON),
    Seed("A-ASSOCIATE-RQ, all", seeds.ASSOCIATE_RQ_FULL, State.CONNECTED, "A-ASSOCIATE-AC 1=0 3=0", Then.GO_ON),
    Seed("A-ASSOCIATE-AC", seeds.ASSOCIATE_AC, State.REQUESTED, "", Then.GO_ON),
    Seed("A-ASSOCIATE-AC, all", seeds.ASSOCIATE_AC_FULL, State.REQUESTED, "", Then.GO_ON),
    Seed("A-ASSOCIATE-RJ", seeds.ASSOCIATE_RJ, State.REQUESTED, ""),
    Seed("P-DATA-TF, request", seeds.ECHO_RQ, State.ASSOCIATED, "C-ECHO-RSP 0x0000", Then.GO_ON),
    Seed("P-DATA-TF, response", seeds.ECHO_RSP, State.ECHOING, "A-RELEASE-RQ"),
    Seed("P-DATA-TF, data", seeds.DATA, State.STORING, "C-STORE-RSP 0x0000", Then.GO_ON, is_store=True),
    Seed("P-DATA-TF, 4 PDVs", seeds.STORE_IN_ONE, State.ASSOCIATED, "C-STORE-RSP 0x0000", Then.GO_ON, is_store=True),
    Seed("A-RELEASE-RQ", seeds.RELEASE_RQ, State.ASSOCIATED, "A-RELEASE-RP"),
    Seed("A-RELEASE-RP", seeds.RELEASE_RP, State.RELEASING, ""),
    Seed("A-ABORT of the user", seeds.ABORT_USER, State.ASSOCIATED, ""),
    Seed("A-ABORT of the provider", seeds.ABORT_PROVIDER, State.ECHOING, ""),
)
"""The eleven kinds of PDU, and the acceptance and the request with all user items."""


def cut(then: Then) -> Iterator[Case]:
    """Each seed cut at every byte; then the peer closes, stalls or resets."""
    for seed in SEEDS:
        for at in range(len(seed.octets.data)):
            back = "A-ABORT 0 0" if then is Then.STALL and seed.state is not State.CONNECTED else ""
            name = f"{seed.name} cut at {at}"
            yield Case(name, seed.octets.data[:at], back, state=seed.state, then=then, clause="PS3.8 9.2, Evt17, Evt18")


WRONG: Final[dict[str, Callable[[int], int]]] = {
    "0": lambda _: 0,
    "1": lambda _: 1,
    "one less": lambda right: right - 1,
    "one more": lambda right: right + 1,
    "two less": lambda right: right - 2,
    "two more": lambda right: right + 2,
    "half": lambda right: right // 2,
    "double": lambda right: right * 2,
    "7FFFH": lambda _: 0x7FFF,
    "FFFFH": lambda _: 0xFFFF,
    "7FFFFFFFH": lambda _: 0x7FFFFFFF,
    "FFFFFFFFH": lambda _: 0xFFFFFFFF,
}


def wrong_lengths() -> Iterator[Case]:
    """Each length field of each seed, with each wrong value that fits it."""
    for seed in SEEDS:
        for field in seed.octets.lengths:
            right = seed.octets.length(field)
            for wrong, change in WRONG.items():
                value = change(right)
                if value != right and 0 <= value < 256**field.size:
                    name = f"{seed.name}: length of {field.name} at {field.position}: {wrong}"
                    yield _with_wrong_length(seed, name, seed.octets.with_length(field, value))


def _with_wrong_length(seed: Seed, name: str, data: bytes) -> Case:
    if data[0] in (0x01, 0x02):
        expected = oracle.of_associate(data, seed.state)
    elif data[0] == 0x04:
        expected = oracle.of_p_data(data, seed.state)
    else:
        expected = oracle.invalid(seed.state)
    return Case(
        name,
        data,
        expected.back,
        expected.strict,
        seed.state,
        expected.then,
        "PS3.8 9.3",
        is_decided_by_machine=not seed.is_store,
    )


def reserved_bytes() -> Iterator[Case]:
    """Each reserved byte set, and all of them at once: they are not tested (PS3.8 9.3.1)."""
    for seed in SEEDS:
        places = [(at,) for at in seed.octets.reserved] + [seed.octets.reserved]
        if seed.octets.data[0] == 0x02:  # its AE titles are reserved too (PS3.8 Table 9-17)
            places.append(tuple(range(10, 42)))
        for place in places:
            data = bytearray(seed.octets.data)
            for at in place:
                data[at] = 0xFF
            name = f"{seed.name}: reserved at {', '.join(map(str, place[:3]))}{' ...' if len(place) > 3 else ''}"
            yield Case(name, bytes(data), seed.back, state=seed.state, then=seed.then, clause="PS3.8 9.3.1")
