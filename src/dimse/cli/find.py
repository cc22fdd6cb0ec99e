"""`dimse find`: searches an archive."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any, Final

from dimse import uids
from dimse.address import Address
from dimse.cli import arguments, exit_codes, query_options, requestor, runtime
from dimse.cli.match_output import CsvMatches, JsonMatches, Matches, TableMatches
from dimse.cli.output import counted, print_error, reason
from dimse.network.client import connect
from dimse.options import ClientOptions
from dimse.services.find_scu import CFindSCU, FindResults
from dimse.services.query import Query, QueryRetrieveLevel, QueryRetrieveModel

EXIT_CODES: Final = (
    "0 all matches were shown, even if there are none; 1 the archive refused or failed, with the reason; "
    "2 wrong usage; 3 no association, or it was lost; 130 interrupted."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    arguments.add_address(parser, "Archive to search")
    query_options.add_find_keys(parser)
    query_options.add_level_and_model(parser)
    requestor.add_arguments(parser)
    query_options.add_timeout(parser, "10 for a match")
    arguments.add_json(parser, "Print one match per line in the DICOM JSON Model.")
    parser.add_argument("--csv", action="store_true", help="Print CSV with a header line.")


def find(
    address: Address,
    *,
    keys: Sequence[str],
    table: str | None,
    level: QueryRetrieveLevel | None,
    model: QueryRetrieveModel | None,
    timeout: float | None,
    json: bool,
    csv: bool,
    **association: Any,
) -> int:
    """Search an archive (C-FIND).

    Prints the matches as a table of the given keys. If all of them have values, the table also shows the usual keys of
    the level. Ctrl-C cancels the search (C-CANCEL) and shows the matches received so far.
    """
    with arguments.usage():
        if json and csv:
            raise ValueError("choose either --json or --csv")
        options = requestor.options(timeout=timeout, **association)
        given = query_options.Keys(keys)
        (query,) = given.queries(level, model, table)
        columns = given.columns(query)
        query = query.returning(*columns)
        query.find_identifier()
    matches = (JsonMatches if json else CsvMatches if csv else TableMatches)(columns)
    return runtime.run(_find(query, address, options, matches))


async def _find(query: Query, address: Address, options: ClientOptions, matches: Matches) -> int:
    contexts = [(query.model.find, uids.LITTLE_ENDIAN)]
    async with connect(address, contexts=contexts, options=options) as association:
        results = CFindSCU(association).find(query, raise_failures=False)
        with matches.shown():
            interrupted = await runtime.run_interruptibly(_add_all(results, matches))
    for failure in results.failures:
        print_error(f"dimse: {reason(failure)}")
    if interrupted:
        print_error(f"dimse: cancelled after {counted(matches.count, 'match', 'matches')}")
        return exit_codes.INTERRUPTED
    return exit_codes.FAILED if results.failures else exit_codes.OK


async def _add_all(results: FindResults, matches: Matches) -> None:
    async with results:
        async for match in results:
            matches.add(match)
