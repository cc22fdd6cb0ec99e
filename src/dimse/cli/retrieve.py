"""`dimse retrieve`: from an archive into a folder, whichever way it offers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from dimse.ae import Address, ClientOptions
from dimse.cli import query as typed
from dimse.cli import running
from dimse.cli.retrieval import Tally
from dimse.services.query import Query, QueryRetrieveLevel
from dimse.services.retrieving import RetrieveResult
from dimse.services.retrieving import retrieve as retrieve_all

EXIT_CODES: Final = (
    "0 all that matches has come; 1 some failed, each named, or nothing matches; 2 wrong usage; "
    "3 no association; 130 interrupted."
)


def retrieve(
    archive: typed.Archive,
    key: typed.FindKeys,
    into: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write to; made if it is not there.")],
    level: typed.Level = QueryRetrieveLevel.STUDY,
    model: typed.Root = None,
    receiver: Annotated[
        Address | None,
        typer.Option(
            metavar="TITLE@HOST:PORT",
            parser=Address.parse,
            show_default=False,
            help="Where we listen for a C-MOVE; the archive has to know it. Without: as --calling, on port 11112.",
        ),
    ] = None,
    calling: typed.Calling = "DIMSE",
    timeout: typed.Timeout = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line, and no progress bar.")] = False,
) -> int:
    """Find what matches in an archive, and bring all of it into a folder, by C-GET or else by C-MOVE to ourselves.

    What is missing afterwards is asked for again, instance by instance. Ctrl-C stops it; what had come stays.
    """
    with running.usage():
        address, options = Address.parse(archive), typed.options(calling, timeout)
        query = typed.parse(level, key or [], model)
        query.find_identifier()
    running.make_folder(into)
    tally = Tally(address, f"retrieved from {address} into {into}", json)
    return running.run(tally.over(_retrieve(query, address, options, into, receiver, tally)))


async def _retrieve(
    query: Query, address: Address, options: ClientOptions, into: Path, receiver: Address | None, tally: Tally
) -> bool:
    def known(result: RetrieveResult) -> None:
        if result.error is None:
            tally.came(result.sop_instance_uid, result.path)
        else:
            tally.failures([result.error])

    async def work() -> None:
        await retrieve_all(
            address,
            query,
            into=into,
            options=options,
            receiver=receiver,
            on_result=known,
            raise_failures=False,
        )

    return await running.interrupted(work())
