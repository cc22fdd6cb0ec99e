"""`dimse echo`: is anyone there?"""

from __future__ import annotations

from argparse import ArgumentParser
from time import perf_counter
from typing import Any, Final

from dimse import uids
from dimse.address import Address
from dimse.cli import arguments, running
from dimse.cli.output import emit, tell
from dimse.errors import StatusError
from dimse.network.association import Association
from dimse.network.client import connect
from dimse.options import ClientOptions, Strictness
from dimse.services.verification import CEchoSCU

EXIT_CODES: Final = (
    "0 the peer answered; 1 it accepted the association but not the C-ECHO; 2 wrong usage; "
    "3 no association; 130 interrupted."
)


def add_arguments(parser: ArgumentParser) -> None:
    """What the command is told."""
    arguments.add_archive(parser)
    arguments.add_calling(parser)
    arguments.add_timeout(parser, "How long to wait for each answer.", default=10)
    arguments.add_json(parser, "Print one JSON object.")


def echo(archive: Address, *, calling: str, strictness: Strictness, timeout: float, json: bool) -> int:
    """Ask an application entity whether it is there (C-ECHO), and show what was negotiated."""
    with running.usage():
        options = arguments.client_options(calling, strictness, timeout)
    answer = running.run(_echo(archive, options), fast=False)
    if json:
        emit(**answer)
    else:
        _show(answer)
    return running.OK


async def _echo(address: Address, options: ClientOptions) -> dict[str, Any]:
    start = perf_counter()
    refusal = None
    async with connect(address, contexts=[(uids.VERIFICATION, uids.LITTLE_ENDIAN)], options=options) as association:
        associated = perf_counter()
        try:
            await CEchoSCU(association).echo()
        except StatusError as error:
            refusal = error  # for which the association is not aborted
        answered = perf_counter()
    if refusal is not None:
        raise refusal
    return {
        "address": str(address),
        "round_trip_ms": round((answered - associated) * 1000, 3),
        "association_ms": round((associated - start) * 1000, 3),
        **_negotiated(association),
    }


def _negotiated(association: Association) -> dict[str, Any]:
    assert association.answer is not None  # noqa: S101 - it is established
    peer = association.answer.user_information
    return {
        "maximum_length": peer.maximum_length,
        "implementation_class_uid": peer.implementation_class_uid,
        "implementation_version_name": peer.implementation_version_name,
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


def _show(answer: dict[str, Any]) -> None:
    limit = answer["maximum_length"]
    maximum = {None: "not given", 0: "no limit"}.get(limit, f"{limit} bytes")
    version, class_uid = answer["implementation_version_name"], answer["implementation_class_uid"]
    tell(f"{answer['address']} answered in {answer['round_trip_ms']:.1f} ms")
    tell(f"  association     {answer['association_ms']:.1f} ms")
    tell(f"  maximum length  {maximum}")
    tell(f"  implementation  {version or 'no version name'} ({class_uid or 'no class UID'})")
    for context in answer["contexts"]:
        tell(f"  context         {context['abstract_syntax_name']}, {context['transfer_syntax_name']}")
