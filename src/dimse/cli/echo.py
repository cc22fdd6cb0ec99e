"""`dimse echo`: tests the connection to an application entity."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, Final

import dimse
from dimse import uids
from dimse.address import Address
from dimse.cli import arguments, exit_codes, requestor, runtime
from dimse.cli.output import print_json, print_line
from dimse.cli.parser import UsageError
from dimse.network.application_entity import ApplicationEntity
from dimse.network.association import Association, exchange_of
from dimse.options import ClientOptions

EXIT_CODES: Final = (
    "0 the peer responded with Success; 1 it accepted the association, but a C-ECHO failed; "
    "2 wrong usage; 3 no association; 130 interrupted; Ctrl-C ends --repeat normally."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.usage = "dimse echo [options] TITLE@HOST:PORT|--all"
    arguments.add_address(parser, "Peer to contact", required=False)
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--all",
        dest="all_peers",
        action="store_true",
        help="Test all peers of the configuration at once, and print a line for each.",
    )
    requestor.add_arguments(parser)
    arguments.add_timeout(parser, "Abort after this many seconds without a response.", default=10)
    group.add_argument(
        "--repeat",
        metavar="N",
        type=arguments.integer_from(0),
        help="Send N C-ECHOs, print a line for each, and statistics at the end; 0 continues until Ctrl-C.",
    )
    parser.add_argument(
        "--interval",
        metavar="SECONDS",
        type=arguments.seconds_from_zero,
        default=1,
        help="Pause between the C-ECHOs of --repeat.",
    )
    group.add_argument(
        "--contexts",
        metavar="all|NAME",
        type=arguments.checked(_classes),
        help="Show which SOP classes the peer accepts, in which transfer syntaxes: all common ones, or those named, "
        "such as CT,MR or UIDs. Nothing is sent on the associations that this takes.",
    )
    arguments.add_json(parser, "Print one JSON object; with --all and --repeat, one per line.")


def _classes(text: str) -> list[str]:
    """The SOP classes; none stands for all."""
    return [] if text == "all" else arguments.classes(text)


def echo(
    address: Address | None,
    *,
    all_peers: bool,
    timeout: float | None,
    repeat: int | None,
    interval: float,
    contexts: list[str] | None,
    json: bool,
    **association: Any,
) -> int:
    """Test the connection to an application entity (C-ECHO).

    Shows the response time and the negotiated parameters. If it fails, dimse explain says why.
    """
    if (address is None) is not all_peers:
        raise UsageError("echo needs one peer: dimse echo TITLE@HOST:PORT, or all of the configuration: --all")
    if address is None:
        from dimse.cli.echo_all import echo_all

        return runtime.run(echo_all({**association, "timeout": timeout}, json=json), fast=False)
    with arguments.usage():
        options = requestor.options(timeout=timeout, **association)
    entity = ApplicationEntity(address, options)
    if repeat is not None:
        from dimse.cli.echo_repeated import RepeatedEcho

        return runtime.run(RepeatedEcho(entity, repeat, interval, json=json).run(), fast=False)
    if contexts is not None:
        from dimse.cli.echo_contexts import show_contexts

        return runtime.run(show_contexts(entity, contexts, json=json))
    response = runtime.run(_echo(address, options), fast=False)
    if json:
        print_json(**response)
    else:
        _print(response)
    return exit_codes.OK


async def _echo(address: Address, options: ClientOptions) -> dict[str, Any]:
    report = await dimse.echo(address, options=options)
    return {
        "address": str(address),
        "round_trip_ms": round(report.seconds * 1000, 3),
        "association_ms": round(report.association_seconds * 1000, 3),
        **_negotiated(report.association),
    }


def _negotiated(association: Association) -> dict[str, Any]:
    peer = exchange_of(association).agreement.acceptance.user_information
    connection = exchange_of(association).connection
    tls = None
    if connection.tls is not None:
        version, cipher = connection.tls
        tls = {"version": version, "cipher_suite": cipher, "certificate_names": list(connection.certificate_names)}
    return {
        "tls": tls,
        "maximum_length": peer.maximum_length,
        "implementation_class_uid": peer.implementation_class_uid,
        "implementation_version_name": peer.implementation_version_name,
        "user_identity_confirmed": None
        if association.user_identity is None
        else association.user_identity_response is not None,
        "contexts": [
            {
                "abstract_syntax": context.abstract_syntax,
                "abstract_syntax_name": uids.name_of(context.abstract_syntax),
                "transfer_syntax": context.transfer_syntax,
                "transfer_syntax_name": uids.name_of(context.transfer_syntax),
            }
            for context in association.contexts.values()
        ],
    }


def _print(response: dict[str, Any]) -> None:
    limit = response["maximum_length"]
    maximum = {None: "not given", 0: "no limit"}.get(limit, f"{limit} bytes")
    version, class_uid = response["implementation_version_name"], response["implementation_class_uid"]
    print_line(f"{response['address']} responded in {response['round_trip_ms']:.1f} ms")
    print_line(f"  association         {response['association_ms']:.1f} ms")
    if (tls := response["tls"]) is not None:
        print_line(f"  TLS                 {tls['version']}, {tls['cipher_suite']}")
        print_line(f"  certificate         {', '.join(tls['certificate_names'])}")
    print_line(f"  maximum PDU length  {maximum}")
    print_line(f"  implementation      {version or 'no version name'} ({class_uid or 'no class UID'})")
    if response["user_identity_confirmed"] is not None:
        confirmed = (
            "confirmed" if response["user_identity_confirmed"] else "not confirmed: the peer may have ignored it"
        )
        print_line(f"  user identity       {confirmed}")
    for context in response["contexts"]:
        print_line(f"  context             {context['abstract_syntax_name']}, {context['transfer_syntax_name']}")
