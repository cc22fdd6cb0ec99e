"""The names in a certificate of a peer."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, Final

_KINDS: Final = frozenset({"DNS", "IP Address", "URI", "email"})
"""The kinds of Subject Alternative Name that name a peer, as `ssl` calls them."""


def names_of(certificate: dict[str, Any] | None) -> tuple[str, ...]:
    """The names in `certificate`, as `SSLSocket.getpeercert` returns it; () if there is none or it was not verified.

    They are the common names of the subject, then its alternative names: DNS names, IP addresses, URIs and mail
    addresses (RFC 5280 4.2.1.6), each once. An IPv6 address is in its short form (RFC 5952), as a user writes it.
    """
    if not certificate:
        return ()
    subject = (attribute for attributes in certificate.get("subject", ()) for attribute in attributes)
    common = [value for kind, value in subject if kind == "commonName"]
    alternative = [
        _address(value) if kind == "IP Address" else value
        for kind, value in certificate.get("subjectAltName", ())
        if kind in _KINDS
    ]
    return tuple(dict.fromkeys([*common, *alternative]))


def _address(text: str) -> str:
    try:
        return str(ip_address(text.strip()))
    except ValueError:  # OpenSSL shows one of another length as "<invalid>"
        return text
