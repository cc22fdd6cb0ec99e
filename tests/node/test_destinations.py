"""Where C-MOVE goes: addresses that are known, and the hosts that peers call from."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dimse import Address, AssociationInfo, AssociationOpened, MoveDestination
from dimse.node.destinations import Destinations


def called(title: str, peer: str, *, is_requestor: bool = False) -> AssociationOpened:
    info = AssociationInfo(id=1, peer=peer, calling_ae_title=title, called_ae_title="DIMSE", is_requestor=is_requestor)
    return AssociationOpened(
        association=info,
        time=datetime.now(UTC),
        seconds=0,
        contexts=(),
        operations_window=1,
        maximum_length=0,
        implementation="",
        tls=None,
        user=None,
    )


def address(destinations: Destinations, title: str) -> str | None:
    found = destinations(title)
    return None if found is None else str(found.address)


def test_a_known_address_and_an_unknown_title() -> None:
    destinations = Destinations({"WS1": "WS1@10.0.0.1:104", "WS2": MoveDestination(Address("OTHER", "ws2"))})
    assert address(destinations, "WS1") == "WS1@10.0.0.1:104"
    assert address(destinations, "WS2") == "OTHER@ws2:11112"
    assert address(destinations, "WS3") is None


@pytest.mark.parametrize(("peer", "found"), [("10.0.0.7:4711", "10.0.0.7"), ("[fd00::7]:4711", "fd00::7")])
def test_the_host_that_a_peer_called_from_last(peer: str, found: str) -> None:
    destinations = Destinations({"WS1": "WS1@from-association:104"})
    assert destinations("WS1") is None
    destinations.note(called("WS1", "10.0.0.1:99"))
    destinations.note(called("WS1", peer))
    destinations.note(called("WS2", "10.0.0.2:99"))
    destinations.note(called("WS1", "10.0.0.3:99", is_requestor=True))
    assert address(destinations, "WS1") == str(Address("WS1", found, 104))


def test_others_replace_them_and_the_host_is_kept() -> None:
    destinations = Destinations({"WS1": "WS1@from-association:104", "WS2": "WS2@ws2:104"})
    destinations.note(called("WS1", "10.0.0.1:99"))
    destinations.replace({"WS1": "WS1@from-association:105"})
    assert address(destinations, "WS1") == "WS1@10.0.0.1:105"
    assert destinations("WS2") is None
    destinations.replace({"WS1": "WS1@ws1:104"})
    destinations.replace({"WS1": "WS1@from-association:105"})
    assert destinations("WS1") is None
