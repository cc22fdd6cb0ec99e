"""Who may associate with an acceptor, and what each peer may do there. Frozen, keyword-only, checked when made.

1. The first rule that fits a peer decides. A peer that no rule fits is rejected, always with the same answer.
2. What a peer may not do looks like what the acceptor does not support. Only the log of the acceptor says more.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeVar

from dimse.address import check_ae_title
from dimse.records import record
from dimse.upper_layer.items import MAXIMUM_IDENTITY, UserIdentityRQ
from dimse.upper_layer.negotiation import ProposedContext

T = TypeVar("T")

_MAPPED: Final = IPv6Network("::ffff:0:0/96")
"""IPv4 addresses as IPv6 writes them (RFC 4291 2.5.5.2)."""


class Operation(Enum):
    """An operation that a peer may request (PS3.7 9.1)."""

    ECHO = "C-ECHO"
    STORE = "C-STORE"
    FIND = "C-FIND"
    GET = "C-GET"
    """It includes the C-STORE sub-operations, which the acceptor requests."""
    MOVE = "C-MOVE"
    NORMALIZED = "DIMSE-N"
    """N-CREATE, N-SET, N-GET, N-ACTION, N-DELETE and N-EVENT-REPORT (PS3.7 10.1)."""


_MISMATCHES: Final = ("calling AE title", "network", "certificate")
"""The parts of a peer that may not fit a rule, in the order in which they are checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A rule: which peers it fits, and what those may do. A field that is None restricts nothing.

    `Peer.parse` reads the usual ones, and so does `Access`: "CT1", "CT1@10.0.0.0/8", "CT1=ct1.hospital.example".

    :param calling_ae_titles: The calling AE titles that it fits.
    :param networks: The networks that it fits, such as "10.0.0.0/8" or "fd00::/8", or single addresses. An IPv4
        address that a socket of IPv6 reports (::ffff:10.0.0.1) is the IPv4 address.
    :param certificate_names: The names of which the peer's TLS certificate must have one, as common name or Subject
        Alternative Name. Only a certificate that TLS has verified counts. The case of ASCII letters does not matter.
    :param operations: What the peer may request. Presentation contexts for nothing else are accepted.
    :param move_destinations: The AE titles to which a C-MOVE of the peer may send; None permits all that the server
        knows.
    :param maximum_associations: Maximum number of associations by this rule, in place of the server's limits per host
        and per title.
    """

    calling_ae_titles: Collection[str] | None = None
    networks: Collection[str | IPv4Network | IPv6Network] | None = None
    certificate_names: Collection[str] | None = None
    operations: Collection[Operation] = frozenset(Operation)
    move_destinations: Collection[str] | None = None
    maximum_associations: int | None = None
    _networks: tuple[IPv4Network | IPv6Network, ...] = field(default=(), init=False, repr=False, compare=False)
    _certificate_names: frozenset[str] = field(default=frozenset(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("calling_ae_titles", "move_destinations"):
            object.__setattr__(self, name, _titles(name, getattr(self, name)))
        networks = checked_networks("networks", self.networks)
        object.__setattr__(self, "networks", networks)
        object.__setattr__(self, "_networks", tuple(map(parse_network, networks or ())))
        names = _members("certificate_names", self.certificate_names)
        if not all(isinstance(name, str) for name in names or ()):
            raise TypeError("certificate_names must be a collection of str")
        object.__setattr__(self, "certificate_names", names)
        object.__setattr__(self, "_certificate_names", frozenset(map(_folded, names or ())))
        operations = _members("operations", self.operations)
        if operations is None or not all(isinstance(each, Operation) for each in operations):
            raise TypeError("operations must be a collection of Operation members")
        object.__setattr__(self, "operations", operations)
        if self.maximum_associations is not None:
            self._check_maximum(self.maximum_associations)

    def _check_maximum(self, maximum: object) -> None:
        if not hasattr(maximum, "__index__"):
            raise TypeError(f"maximum_associations must be an int or None, not {maximum!r}")
        number = operator.index(maximum)
        if number < 1:
            raise ValueError(f"maximum_associations must be at least 1, not {number}")
        object.__setattr__(self, "maximum_associations", number)

    @classmethod
    def parse(cls, text: str | Peer) -> Peer:
        """Parse `[TITLE][@NETWORK][=NAME]`: a calling AE title, its network, and a name of its certificate.

        An AE title may contain an `@` if a network follows; one that contains an `=` or is an IP address needs the
        constructor.

        >>> str(Peer.parse("CT1@10.1.0.0/16=ct1.hospital.example"))
        'CT1@10.1.0.0/16=ct1.hospital.example'
        >>> Peer.parse("@10.1.0.0/16").calling_ae_titles is None
        True
        """
        if isinstance(text, Peer):
            return text
        if not isinstance(text, str):
            raise TypeError(f"a peer must be a str or a Peer, not {type(text).__name__}")
        who, names, name = text.partition("=")
        title, at, network = who.rpartition("@") if "@" in who else (who, "", "")
        _check_is_no_network(who)
        if not text or (at and not network) or (names and not name):
            raise ValueError(f"{text!r} is not a peer; write it TITLE, TITLE@NETWORK, @NETWORK or TITLE=CERTIFICATE")
        return cls(
            calling_ae_titles=(title,) if title else None,
            networks=(network,) if network else None,
            certificate_names=(name,) if name else None,
        )

    def __str__(self) -> str:
        titles, networks, names = (
            None if each is None else ",".join(sorted(map(str, each)))
            for each in (self.calling_ae_titles, self.networks, self.certificate_names)
        )
        at = "" if networks is None else f"@{networks}"
        return f"{'' if titles is None else titles}{at}{'' if names is None else f'={names}'}" or "(any)"

    def mismatch(self, calling_ae_title: str, host: str, certificate_names: Iterable[str]) -> str | None:
        """What of a peer does not fit this rule, in words; None if everything does."""
        if self.calling_ae_titles is not None and calling_ae_title not in self.calling_ae_titles:
            return _MISMATCHES[0]
        if self.networks is not None and not self._is_in_network(host):
            return _MISMATCHES[1]
        if self.certificate_names is not None and self._certificate_names.isdisjoint(map(_folded, certificate_names)):
            return _MISMATCHES[2]
        return None

    def _is_in_network(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


@record(kw_only=True)
class Access:
    """Who may associate. The default admits every peer, to everything that the server has handlers for.

    :param peers: The rules, in order: the first that fits a peer decides what it may do. None admits every peer. A
        str is read by `Peer.parse`. A peer that no rule fits is rejected, as one whose calling AE title is not known.
    :param called_ae_titles: The only called AE titles to accept; None accepts any.

    >>> access = Access(peers=["CT1", "WS1@10.1.0.0/16", Peer(networks=["10.2.0.0/16"], operations={Operation.ECHO})])
    """

    peers: Collection[Peer | str] | None = None
    called_ae_titles: Collection[str] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "called_ae_titles", _titles("called_ae_titles", self.called_ae_titles))
        if isinstance(self.peers, str | Peer):
            raise TypeError(f"peers must be a collection of rules, not one {type(self.peers).__name__}")
        if self.peers is not None:
            object.__setattr__(self, "peers", tuple(map(Peer.parse, self.peers)))

    @property
    def admits_everyone(self) -> bool:
        """Whether there are no rules, neither for callers nor for called AE titles."""
        return self.peers is None and self.called_ae_titles is None

    def rule_for(self, calling_ae_title: str, host: str, certificate_names: Iterable[str] = ()) -> Peer | str:
        """The rule that decides about a peer, or, for the log, the reason why no rule fits."""
        if self.peers is None:
            return ANYONE
        nearest = (_MISMATCHES[0], ANYONE)
        for peer in self.peers:
            assert isinstance(peer, Peer)  # noqa: S101 - as made by `__post_init__`
            mismatch = peer.mismatch(calling_ae_title, host, certificate_names)
            if mismatch is None:
                return peer
            nearest = max(nearest, (mismatch, peer), key=lambda each: _MISMATCHES.index(each[0]))
        if nearest[0] == _MISMATCHES[0]:
            return "no rule has its calling AE title"
        return f"rule {nearest[1]} does not have its {nearest[0]}"


@record(kw_only=True)
class AssociationRequest:
    """A request for an association, as a handler of associations sees it (see `Server.on_association`)."""

    called_ae_title: str
    calling_ae_title: str
    host: str
    """The IP address of the peer."""
    certificate_names: tuple[str, ...]
    """The names in the peer's certificate that TLS has verified; empty without one."""
    user_identity: UserIdentityRQ | None
    """The user that the peer named, with its secrets, which no `repr` shows. It is not verified."""
    contexts: tuple[ProposedContext, ...]
    """The proposed presentation contexts."""


@dataclass(frozen=True, slots=True)
class VerifiedUser:
    """The user that a handler of associations has verified. Subclass it to carry more, such as groups."""

    name: str
    server_response: bytes = field(default=b"", repr=False)
    """What the peer gets if it requested a positive response (PS3.7 D.3.3.7.2): the Kerberos server ticket, the SAML
    response or the JSON Web Token. It is empty for usernames.
    """

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not isinstance(self.server_response, bytes):
            raise TypeError("name must be a str, and server_response must be bytes")
        if len(self.server_response) > MAXIMUM_IDENTITY:
            length = len(self.server_response)
            raise ValueError(f"server_response must have at most {MAXIMUM_IDENTITY} bytes, not {length}")


def _members(name: str, values: Collection[T] | None) -> frozenset[T] | None:
    """The members of a collection, once each. Raises `TypeError` for a str, which is one of them."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable | None):
        raise TypeError(f"{name} must be a collection, not one {type(values).__name__}")
    return None if values is None else frozenset(values)


def _instead(text: str) -> str:
    """What to write in place of `text`, which is not a network."""
    try:
        return f": it has host bits set; write {ip_network(text, strict=False)} or {text.partition('/')[0]}"
    except ValueError:
        return ", such as 10.0.0.0/8, nor an address"


def checked_networks(
    name: str, networks: Collection[str | IPv4Network | IPv6Network] | None
) -> frozenset[str | IPv4Network | IPv6Network] | None:
    """The members of an option. Raises `TypeError` or `ValueError` for what `parse_network` does not take."""
    members = _members(name, networks)
    for member in members or ():
        parse_network(member)
    return members


def _titles(name: str, titles: Collection[str] | None) -> frozenset[str] | None:
    """AE titles without insignificant spaces. Raises `TypeError` or `ValueError`."""
    members = _members(name, titles)
    return None if members is None else frozenset(map(check_ae_title, members))


def parse_network(network: str | IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Parse a network; one of IPv4-mapped addresses becomes one of IPv4. Raises `TypeError` or `ValueError`."""
    if not isinstance(network, str | IPv4Network | IPv6Network):
        raise TypeError(f"a network must be a str such as '10.0.0.0/8', not {type(network).__name__}")
    try:
        parsed = ip_network(network)
    except ValueError:
        raise ValueError(f"{str(network)!r} is not a network{_instead(str(network))}") from None
    if isinstance(parsed, IPv6Network) and parsed.subnet_of(_MAPPED):
        return IPv4Network((int(parsed.network_address) & 0xFFFFFFFF, parsed.prefixlen - 96))
    return parsed


def _check_is_no_network(who: str) -> None:
    """Raise `ValueError` for an AE title that is meant as a network: as a title, it would fit no peer."""
    try:
        ip_address(who.partition("/")[0])
    except ValueError:
        return
    raise ValueError(f"{who!r} is not an AE title; write a network as @{who}")


def _folded(name: str) -> str:
    """The name of a certificate for comparing. Other letters than those of ASCII might fold to them."""
    return name.lower() if name.isascii() else name


ANYONE: Final = Peer()
"""The rule that fits every peer and permits everything."""
