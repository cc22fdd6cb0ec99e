"""`dimse move`: from an archive to another application entity."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Final

from dimse import uids
from dimse.address import Address, check_ae_title
from dimse.cli import arguments, running
from dimse.cli import query as typed
from dimse.cli.retrieval import Tally
from dimse.network.client import connect
from dimse.options import ClientOptions, Strictness
from dimse.services.move_scu import CMoveSCU, MoveResults
from dimse.services.query import Query, QueryRetrieveLevel, QueryRetrieveModel

EXIT_CODES: Final = (
    "0 everything was moved; 1 some failed, each named, or nothing matches; 2 wrong usage; "
    "3 no association, or it was lost; 130 interrupted."
)


def add_arguments(parser: ArgumentParser) -> None:
    """What the command is told."""
    arguments.add_archive(parser)
    typed.add_unique_keys(parser)
    parser.add_argument(
        "--destination",
        metavar="TITLE",
        type=arguments.checked(check_ae_title),
        required=True,
        help="The AE title to send to; the archive has to know its address.",
    )
    typed.add_level_and_model(parser)
    arguments.add_calling(parser)
    typed.add_timeout(parser)
    arguments.add_json(parser)


def move(
    archive: Address,
    *,
    keys: Sequence[str],
    destination: str,
    level: QueryRetrieveLevel,
    model: QueryRetrieveModel | None,
    calling: str,
    strictness: Strictness,
    timeout: float | None,
    json: bool,
) -> int:
    """Have an archive send instances to another application entity (C-MOVE).

    Ctrl-C stops it (C-CANCEL); what had been moved stays where it is.
    """
    with running.usage():
        options = arguments.client_options(calling, strictness, timeout)
        query = typed.parse(level, keys, model)
        query.retrieve_identifier()
    tally = Tally(archive, f"moved from {archive} to {destination}", json)
    return running.run(tally.over(_move(query, archive, options, destination, tally)))


async def _move(query: Query, address: Address, options: ClientOptions, destination: str, tally: Tally) -> bool:
    contexts = [(query.model.move, uids.LITTLE_ENDIAN)]
    async with connect(address, contexts=contexts, options=options) as association:
        results = CMoveSCU(association).move(query, destination, raise_failures=False)
        try:
            return await running.interrupted(_follow(results, tally))
        finally:
            tally.failures(results.failures, results.suboperations.failed)


async def _follow(results: MoveResults, tally: Tally) -> None:
    async with results:
        async for suboperations in results:
            tally.count(suboperations)
