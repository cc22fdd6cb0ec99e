"""`dimse peers`: lists the peers of the configuration."""

from __future__ import annotations

import textwrap
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any, Final

from dimse.cli import arguments, exit_codes, peer_state
from dimse.cli.output import print_error, print_json, print_line, printable
from dimse.cli.parser import width
from dimse.configuration import KnownPeer, configuration_path

EXIT_CODES: Final = (
    "0 all peers can be used; 1 a peer cannot be used, because of its files; 2 wrong usage or configuration; "
    "130 interrupted."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument("--names", action="store_true", help="Print only the names, one per line.")
    arguments.add_json(parser, "Print one JSON object per line.")


def peers(*, names: bool, json: bool) -> int:
    """List the peers of the configuration, with their last state.

    The state is how the last command with the peer ended. dimse echo --all tests all of them now.
    """
    known = arguments.configuration().peers
    if names:
        for name in known:
            print_line(name)
        return exit_codes.OK
    listed = [_entry(peer) for peer in known.values()]
    if json:
        for entry in listed:
            print_json(**entry)
    else:
        _print(listed)
    return exit_codes.FAILED if any(entry["problem"] for entry in listed) else exit_codes.OK


def _entry(peer: KnownPeer) -> dict[str, Any]:
    options, problem = None, None
    try:
        options = peer.options
    except ValueError as error:
        problem = str(error)
    return {
        "name": peer.name,
        "address": str(peer.address),
        "calling": options and options.calling_ae_title,
        "tls": options and options.tls is not None,
        "problem": problem,
        "last": peer_state.last(peer),
    }


def _print(listed: list[dict[str, Any]]) -> None:
    if not listed:
        print_error(f"dimse: no peers in {configuration_path()}; dimse explain TITLE@HOST:PORT --save NAME adds one")
    widths = [max((len(entry[key]) for entry in listed), default=0) for key in ("name", "address")]
    for entry in listed:
        print_peer(entry["name"], entry["address"], widths, *_words(entry))


def print_peer(name: str, address: str, widths: Sequence[int], state: str, reason: str | None) -> None:
    """Print a peer and its state on a line, and the reason below it."""
    left = f"{name:{widths[0]}}  {address:{widths[1]}}"
    if len(left) + 2 + len(state) <= width():
        print_line(f"{left}  {state}")
    else:
        print_line(left.rstrip())
        reason = state if reason is None else f"{state}: {reason}"
    for line in textwrap.wrap(printable(reason or ""), width() - 4, break_on_hyphens=False):
        print_line(f"    {line}")


def _words(entry: dict[str, Any]) -> tuple[str, str | None]:
    """The state of a peer, and the reason for it."""
    last = entry["last"]
    if entry["problem"]:
        return "cannot be used", entry["problem"]
    if last is None:
        return "never tried", None
    return f"{last['state']}, {last['command']} {peer_state.age(last['time'])}", last["reason"]
