"""`dimse get`: from an archive into a folder, on one association."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from dimse.ae import Address, ClientOptions
from dimse.cli import query as typed
from dimse.cli import running
from dimse.cli.retrieval import Tally
from dimse.network.client import connect
from dimse.services.get import CancelBehavior, CGetSCU, GetResults, retrieval_contexts
from dimse.services.query import Query, QueryRetrieveLevel

EXIT_CODES: Final = (
    "0 all that there is has come; 1 some failed, each named, or there is nothing; 2 wrong usage; "
    "3 no association, or it was lost; 130 interrupted."
)


def get(
    archive: typed.Archive,
    key: typed.UniqueKeys,
    into: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write to; made if it is not there.")],
    level: typed.Level = QueryRetrieveLevel.STUDY,
    model: typed.Root = None,
    on_cancel: Annotated[
        CancelBehavior, typer.Option(help="What becomes of an instance that is on its way at Ctrl-C.")
    ] = CancelBehavior.REJECT_IN_FLIGHT,
    calling: typed.Calling = "DIMSE",
    timeout: typed.Timeout = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line, and no progress bar.")] = False,
) -> int:
    """Get instances from an archive into a folder (C-GET), as {Study}/{Series}/{Instance}.dcm.

    Ctrl-C stops it (C-CANCEL); what had come stays.
    """
    with running.usage():
        address, options = Address.parse(archive), typed.options(calling, timeout)
        query = typed.parse(level, key, model)
        query.retrieve_identifier()
    running.make_folder(into)
    tally = Tally(address, f"retrieved from {address} into {into}", json)
    return running.run(tally.over(_get(query, address, options, into, on_cancel, tally)))


async def _get(
    query: Query, address: Address, options: ClientOptions, into: Path, on_cancel: CancelBehavior, tally: Tally
) -> bool:
    async with connect(address, contexts=retrieval_contexts(), options=options) as association:
        results = CGetSCU(association).get(query, into=into, on_cancel=on_cancel, raise_failures=False)
        try:
            return await running.interrupted(_take(results, tally))
        finally:
            for instance in results.completed_in_flight:
                tally.came(instance.sop_instance_uid, instance.path)
            tally.failures(results.failures, results.suboperations.failed)


async def _take(results: GetResults, tally: Tally) -> None:
    async with results:
        async for instance in results:
            tally.came(instance.sop_instance_uid, instance.path, results.suboperations.total)
