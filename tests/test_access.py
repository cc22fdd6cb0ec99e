"""The rules of access: which peers a rule fits, and how it is written."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from dimse import Access, Operation, Peer


def test_which_peers_a_rule_fits() -> None:
    """Each rule with the peers (title, host, names of the certificate) that it fits, and those that it does not."""
    table: list[tuple[Peer, list[tuple[Any, ...]], list[tuple[Any, ...]]]] = [
        (Peer(), [("ANY", "10.0.0.1"), ("", "")], []),
        (Peer(calling_ae_titles=[" CT1 ", "CT2"]), [("CT1", "x"), ("CT2", "x")], [("CT3", "x"), ("ct1", "x")]),
        (Peer(networks=["10.1.0.0/16"]), [("A", "10.1.2.3"), ("A", "::ffff:10.1.2.3")], [("A", "10.2.0.1"), ("A", "")]),
        (Peer(networks=["10.1.2.3"]), [("A", "10.1.2.3")], [("A", "10.1.2.4"), ("A", "::10.1.2.3")]),
        (Peer(networks=["::ffff:10.1.0.0/112"]), [("A", "10.1.2.3"), ("A", "::ffff:10.1.0.1")], [("A", "10.2.0.1")]),
        (Peer(networks=["fd00::/8"]), [("A", "fd12::1"), ("A", "fd12::1%eth0")], [("A", "fe80::1"), ("A", "10.0.0.1")]),
        (Peer(networks=["::/0"]), [("A", "fd12::1")], [("A", "10.0.0.1"), ("A", "::ffff:10.0.0.1")]),
        (Peer(networks=[ip_network("0.0.0.0/0")]), [("A", "1.2.3.4")], [("A", "fd00::1"), ("A", "nowhere")]),
        (
            Peer(calling_ae_titles=["CT1"], certificate_names=["ct1.Example"]),
            [("CT1", "x", ["CN", "CT1.example"])],
            [("CT1", "x"), ("CT1", "x", ["ct2.example", "CT1"]), ("CT2", "x", ["ct1.example"])],
        ),
        # KELVIN SIGN is a "k" in lower case, and another name.
        (Peer(certificate_names=["k"]), [("A", "x", ["K"])], [("A", "x", ["\u212a"])]),
        (Peer(calling_ae_titles=[]), [], [("A", "x")]),
    ]
    wrong = [
        (str(peer), who)
        for peer, fitting, others in table
        for who, fits in [*((each, True) for each in fitting), *((each, False) for each in others)]
        if (peer.mismatch(who[0], who[1], *who[2:] or [()]) is None) != fits
    ]
    assert not wrong


def test_the_first_rule_that_fits_decides() -> None:
    echo, all_else = Peer(networks=["10.2.0.0/16"], operations=[Operation.ECHO]), Peer.parse("@10.0.0.0/8")
    access = Access(peers=["CT1@10.1.0.0/16=ct1", echo, all_else])
    assert access.rule_for("CT1", "10.2.0.1") is echo
    assert access.rule_for("CT1", "10.1.0.1", ["ct1"]) == Peer.parse("CT1@10.1.0.0/16=ct1")
    assert access.rule_for("CT1", "10.1.0.1") is all_else


def test_why_no_rule_fits() -> None:
    """The log names the rule that came nearest."""
    access = Access(peers=["CT1@10.1.0.0/16=ct1", "WS1@10.1.0.0/16"])
    assert access.rule_for("CT2", "10.1.0.1") == "no rule has its calling AE title"
    assert access.rule_for("WS1", "10.2.0.1") == "rule WS1@10.1.0.0/16 does not have its network"
    assert access.rule_for("CT1", "10.1.0.1", ["x"]) == ("rule CT1@10.1.0.0/16=ct1 does not have its certificate")
    assert access.rule_for("CT1", "10.2.0.1") == "rule CT1@10.1.0.0/16=ct1 does not have its network"
    assert Access(peers=[]).rule_for("CT1", "10.1.0.1") == "no rule has its calling AE title"


def test_a_rule_as_text() -> None:
    texts = ("CT1", "CT1@10.0.0.0/8", "@fd00::/8", "CT1=CN", "=a@b", "A@10.0.0.0/8=urn:x", "C 1@::1/128", "A@B@::/0")
    for text in texts:
        assert str(Peer.parse(text)) == text
    assert str(Peer(calling_ae_titles=["B", "A"], networks=["10.0.0.0/8", "::1"])) == "A,B@10.0.0.0/8,::1"
    assert str(Peer()) == "(any)"
    for text in ("", "@", "=", "CT1@", "CT1=", "CT1@10.0.0.1/8", "CT1@hospital", "SEVENTEEN_LETTERS", "A\\B"):
        with pytest.raises(ValueError, match=r"is not a peer|is not a network|is not an AE title"):
            Peer.parse(text)


def test_rules_are_checked_when_they_are_made() -> None:
    failures = []
    for kind, options, error, text in (
        (Access, {"peers": "CT1"}, TypeError, "peers must be a collection of rules, not one str"),
        (Access, {"peers": Peer()}, TypeError, "peers must be a collection of rules, not one Peer"),
        (Access, {"peers": [1]}, TypeError, "a peer must be a str or a Peer, not int"),
        (Access, {"called_ae_titles": "A"}, TypeError, "called_ae_titles must be a collection, not one str"),
        (Access, {"called_ae_titles": ["A\\B"]}, ValueError, "is not an AE title"),
        (Peer, {"calling_ae_titles": "A"}, TypeError, "calling_ae_titles must be a collection, not one str"),
        (Peer, {"calling_ae_titles": 1}, TypeError, "calling_ae_titles must be a collection, not one int"),
        (Peer, {"networks": "10.0.0.0/8"}, TypeError, "networks must be a collection, not one str"),
        (Access, {"peers": ["10.1.0.0/16"]}, ValueError, "is not an AE title; write a network as @10.1.0.0/16"),
        (Access, {"peers": ["fd00::1=ct"]}, ValueError, "write a network as @fd00::1"),
        (Peer, {"networks": [10]}, TypeError, "a network must be a str"),
        (Peer, {"networks": ["10.0.0.1/8"]}, ValueError, "has host bits set; write 10.0.0.0/8 or 10.0.0.1$"),
        (Peer, {"certificate_names": [b"x"]}, TypeError, "certificate_names must be"),
        (Peer, {"operations": {"C-ECHO"}}, TypeError, "operations must be a collection of Operation members"),
        (Peer, {"operations": None}, TypeError, "operations must be a collection of Operation members"),
        (Peer, {"move_destinations": [""]}, ValueError, "is not an AE title"),
        (Peer, {"maximum_associations": "3"}, TypeError, "maximum_associations must be an int or None, not '3'"),
        (Peer, {"maximum_associations": 0}, ValueError, "maximum_associations must be at least 1, not 0"),
    ):
        try:
            with pytest.raises(error, match=text):
                kind(**options)
        except BaseException as failure:  # noqa: BLE001 - all failures are told together
            failures.append((kind.__name__, options, failure))
    assert not failures


def test_rules_are_values() -> None:
    assert Peer(calling_ae_titles=["A", "B"]) == Peer(calling_ae_titles=frozenset({"B", " A "}))
    assert len({Access(peers=["A"]), Access(peers=[Peer(calling_ae_titles=["A"])])}) == 1
    assert Access().admits_everyone
    assert not Access(peers=[Peer()]).admits_everyone
    assert not Access(called_ae_titles=["A"]).admits_everyone
