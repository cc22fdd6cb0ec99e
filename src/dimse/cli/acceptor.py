"""The options of associations that a command accepts, and of the port that it listens on."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from dimse.access import Access
from dimse.address import DEFAULT_PORT, check_ae_title
from dimse.cli import arguments, tls_options
from dimse.options import ServerOptions, Strictness


def add_arguments(parser: ArgumentParser) -> None:
    """Define them. A command takes --host, --port and --title itself, and passes the others on to `options`."""
    parser.add_argument(
        "--port",
        type=arguments.integer_from(0, 65535),
        default=DEFAULT_PORT,
        help="Port to listen on; 0 picks a free one.",
    )
    parser.add_argument("--host", default="localhost", help="Address to listen on; :: means every interface.")
    parser.add_argument(
        "--title",
        type=arguments.checked(check_ae_title),
        help="Our AE title. If given, associations that call another title are rejected.",
    )
    arguments.add_maximum_pdu(parser, "Largest PDU to accept, in bytes; 0 means no limit.")
    arguments.add_maximum_associations(parser, "Maximum number of simultaneous associations.", default=100)
    tls_options.add_arguments(parser, "each peer, which then must have one", "none is asked for")
    parser.add_argument(
        "--max-connection-rate",
        type=arguments.integer_from(0),
        default=50,
        metavar="N",
        help="Maximum number of new connections per second from one host; 0 means no limit.",
    )
    parser.add_argument(
        "--proxy-from",
        action="append",
        default=[],
        metavar="NETWORK",
        help="Network or address of a trusted proxy, whose connections begin with a PROXY header; may be repeated.",
    )
    arguments.add_strictness(parser, Strictness.LENIENT)


def options(
    *,
    title: str | None,
    max_pdu: int,
    max_associations: int,
    max_connection_rate: int,
    proxy_from: list[str],
    strictness: Strictness,
    **more: Any,
) -> ServerOptions:
    """What they say. Raises `ValueError`."""
    tls = tls_options.take(more)
    return ServerOptions(
        access=Access(called_ae_titles=None if title is None else [title]),
        maximum_associations=max_associations,
        maximum_associations_per_host=None,  # one peer may use all of them
        maximum_associations_per_title=None,
        proxy_networks=proxy_from,
        maximum_connections_per_second=max_connection_rate or None,
        maximum_length=max_pdu,
        strictness=strictness,
        tls=tls,
        **more,
    )
