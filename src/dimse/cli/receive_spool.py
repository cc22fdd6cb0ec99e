"""Forwarding what `dimse receive` has stored: `--spool PEER`."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dimse.cli import arguments
from dimse.cli.parser import ConfigurationError, UsageError
from dimse.configuration import KnownPeer
from dimse.dataset.file_writer import Stored
from dimse.network.application_entity import ApplicationEntity
from dimse.options import ClientOptions
from dimse.services.forwarding import Forwarder
from dimse.services.forwarding_destination import ForwardDestination, ForwardResult
from dimse.services.store_request import StoreRequest


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    group = parser.add_argument_group("forwarding")
    group.add_argument(
        "--spool",
        metavar="PEER",
        type=arguments.checked(arguments.known_peer),
        action="append",
        default=[],
        help="Forward each stored object to this peer, an address or a name in the configuration. Objects wait on the "
        "disk until the peer has stored them. Repeat the option for several.",
    )
    group.add_argument(
        "--spool-folder",
        metavar="DIR",
        type=Path,
        help="Folder for objects that are not forwarded yet, preferably on the file system of the output folder. "
        "[default: DIR with .spool appended]",
    )


def forwarder_of(
    given: dict[str, Any], into: Path | None, title: str, on_result: Callable[[ForwardResult], object]
) -> Forwarder | None:
    """Take the options from all that was given; None without --spool. Raises `UsageError`."""
    peers, folder = given.pop("spool"), given.pop("spool_folder")
    if not peers:
        return None
    if into is None:
        raise UsageError("--discard writes nothing: leave out --spool")
    try:
        destinations = {peer.name or str(peer.address): destination_of(peer, title) for peer in peers}
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    beside = into.absolute().with_name(into.absolute().name + ".spool")
    return Forwarder(folder or beside, destinations, on_result=on_result)


def destination_of(peer: KnownPeer, calling: str) -> ForwardDestination:
    """A peer as a destination. `calling` is our AE title, unless the configuration has one. Raises `ValueError`."""
    options = peer.options_over(ClientOptions(calling_ae_title=calling))
    return ForwardDestination(
        ApplicationEntity(peer.address, options),
        associations=peer.associations or 1,
        transfer_syntaxes=peer.transfer_syntaxes or None,
    )


async def forward(forwarder: Forwarder, request: StoreRequest, path: Path) -> None:
    """Forward a stored file, unless another one of the same name was kept instead."""
    if request.stored is not Stored.KEPT:
        await forwarder.add(path)
