"""The options of associations that a command accepts, and of the port that it listens on."""

from __future__ import annotations

from argparse import ArgumentParser
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from dimse.access import Access, Peer, parse_network
from dimse.address import DEFAULT_PORT, check_ae_title
from dimse.cli import arguments, tls_options
from dimse.cli.parser import UsageError
from dimse.options import ServerOptions, Strictness


def add_arguments(parser: ArgumentParser) -> None:
    """Define them. A command takes --host, --port and --title itself, and passes the others on to `options`."""
    parser.add_argument(
        "--port",
        metavar="PORT",
        type=arguments.integer_from(0, 65535),
        default=DEFAULT_PORT,
        help="Port to listen on; 0 picks a free one.",
    )
    parser.add_argument(
        "--host", metavar="HOST", default="localhost", help="Address to listen on; :: means every interface."
    )
    parser.add_argument(
        "--title",
        metavar="TITLE",
        type=arguments.checked(check_ae_title),
        help="Our AE title. If given, associations that call another title are rejected.",
    )
    arguments.add_accepted_syntaxes(parser)
    arguments.add_preference(parser, "Prefer these transfer syntaxes if a peer proposes several.")
    arguments.add_maximum_pdu(parser, "Largest PDU to accept, in bytes; 0 means no limit.")
    arguments.add_strictness(parser, Strictness.LENIENT)
    arguments.add_audit(parser)
    _add_access(parser)
    tls_options.add_arguments(parser, "each peer, which then must have one", "peers need no certificate")


def _add_access(parser: ArgumentParser) -> None:
    """Who may associate, and how many."""
    group = parser.add_argument_group("access and limits")
    group.add_argument(
        "--allow",
        metavar="PEER",
        type=arguments.checked(Peer.parse),
        action="append",
        help="Admit this peer, and reject all others. CT1 is a calling AE title, CT1@10.1.0.0/16 a title in a network, "
        "@10.1.0.0/16 a network, and CT1=ct1.example a title with a name in its TLS certificate. Repeat the option for "
        "several. [default: every peer is admitted]",
    )
    arguments.add_maximum_associations(group, "Maximum number of associations at once.", default=100)
    for what, text, default in (("host", "host", 20), ("title", "calling AE title", 10)):
        group.add_argument(
            f"--max-per-{what}",
            metavar="N",
            type=arguments.integer_from(0),
            default=default,
            help=f"Maximum number of associations at once from one {text}; 0 means no limit.",
        )
    arguments.add_maximum_rate(group, "Receive")
    group.add_argument(
        "--max-connection-rate",
        type=arguments.integer_from(0),
        default=50,
        metavar="N",
        help="Maximum number of new connections per second from one host; 0 means no limit.",
    )
    group.add_argument(
        "--proxy-from",
        action="append",
        type=arguments.checked(parse_network),
        default=[],
        metavar="NETWORK",
        help="Network or address of a trusted proxy, whose connections begin with a header of the PROXY protocol that "
        "names the peer. Repeat the option for several.",
    )


def options(
    *,
    title: str | None,
    allow: list[Peer] | None,
    accept: list[str],
    max_pdu: int,
    max_associations: int,
    max_per_host: int,
    max_per_title: int,
    max_connection_rate: int,
    proxy_from: list[IPv4Network | IPv6Network],
    strictness: Strictness,
    **more: Any,
) -> ServerOptions:
    """What they say. Raises `UsageError` or `ValueError`."""
    tls = tls_options.take(more)
    if tls is not None and tls.certificate is None:
        raise UsageError("--tls needs --tls-cert and --tls-key: each acceptor has a certificate")
    return ServerOptions(
        access=Access(peers=allow, called_ae_titles=None if title is None else [title]),
        transfer_syntaxes=accept or None,
        maximum_associations=max_associations,
        maximum_associations_per_host=max_per_host or None,
        maximum_associations_per_title=max_per_title or None,
        proxy_networks=proxy_from,
        maximum_connections_per_second=max_connection_rate or None,
        maximum_length=max_pdu,
        strictness=strictness,
        tls=tls,
        **more,
    )
