"""`dimse move`: from an archive to another application entity."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from dimse import uids
from dimse.ae import Address, ClientOptions, check_ae_title
from dimse.cli import query as typed
from dimse.cli import running
from dimse.cli.retrieval import Tally
from dimse.network.client import connect
from dimse.services.move import CMoveSCU, MoveResults
from dimse.services.query import Query, QueryRetrieveLevel

EXIT_CODES: Final = (
    "0 all that there is was moved; 1 some failed, each named, or there is nothing; 2 wrong usage; "
    "3 no association, or it was lost; 130 interrupted."
)


def move(
    archive: typed.Archive,
    key: typed.UniqueKeys,
    destination: Annotated[
        str, typer.Option(metavar="TITLE", help="The AE title to send to; the archive has to know its address.")
    ],
    level: typed.Level = QueryRetrieveLevel.STUDY,
    model: typed.Root = None,
    calling: typed.Calling = "DIMSE",
    timeout: typed.Timeout = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line, and no progress bar.")] = False,
) -> int:
    """Have an archive send instances to another application entity (C-MOVE).

    Ctrl-C stops it (C-CANCEL); what had been moved stays where it is.
    """
    with running.usage():
        address, options = Address.parse(archive), typed.options(calling, timeout)
        destination = check_ae_title(destination)
        query = typed.parse(level, key, model)
        query.retrieve_identifier()
    tally = Tally(address, f"moved from {address} to {destination}", json)
    return running.run(tally.over(_move(query, address, options, destination, tally)))


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
