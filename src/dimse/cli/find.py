"""`dimse find`: what is in an archive."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Final

from dimse import uids
from dimse.address import Address
from dimse.cli import arguments, running
from dimse.cli import query as typed
from dimse.cli.matches import CsvMatches, JsonMatches, Matches, TableMatches
from dimse.cli.output import complain, counted, reason
from dimse.network.client import connect
from dimse.options import ClientOptions, Strictness
from dimse.services.find_scu import CFindSCU, FindResults
from dimse.services.query import Query, QueryRetrieveLevel, QueryRetrieveModel

EXIT_CODES: Final = (
    "0 all matches were shown, even if there were none; 1 the peer refused or failed, with the reason; 2 wrong usage; "
    "3 no association, or it was lost; 130 interrupted."
)


def add_arguments(parser: ArgumentParser) -> None:
    """What the command is told."""
    arguments.add_archive(parser)
    typed.add_find_keys(parser)
    typed.add_level_and_model(parser)
    arguments.add_calling(parser)
    typed.add_timeout(parser)
    arguments.add_json(parser, "Print one match per line, in the DICOM JSON Model.")
    parser.add_argument("--csv", action="store_true", help="Print CSV with a header.")


def find(
    archive: Address,
    *,
    keys: Sequence[str],
    level: QueryRetrieveLevel,
    model: QueryRetrieveModel | None,
    calling: str,
    strictness: Strictness,
    timeout: float | None,
    json: bool,
    csv: bool,
) -> int:
    """Search an archive (C-FIND), and show the matches as a table.

    The table has the keys that were given; if all of them have values, also the usual ones of the level.
    Ctrl-C stops the search (C-CANCEL), and the matches so far are shown.
    """
    with running.usage():
        if json and csv:
            raise ValueError("--json and --csv: choose one")
        options = arguments.client_options(calling, strictness, timeout)
        query = typed.parse(level, keys, model)
        columns = typed.columns(query, keys)
        query = query.returning(*columns)
        query.find_identifier()
    matches = (JsonMatches if json else CsvMatches if csv else TableMatches)(columns)
    return running.run(_find(query, archive, options, matches))


async def _find(query: Query, address: Address, options: ClientOptions, matches: Matches) -> int:
    contexts = [(query.model.find, uids.LITTLE_ENDIAN)]
    async with connect(address, contexts=contexts, options=options) as association:
        results = CFindSCU(association).find(query, raise_failures=False)
        with matches.shown():
            interrupted = await running.interrupted(_take(results, matches))
    for failure in results.failures:
        complain(f"dimse: {reason(failure)}")
    if interrupted:
        complain(f"dimse: cancelled; {counted(matches.count, 'match', 'matches')} had come")
        return running.INTERRUPTED
    return running.FAILED if results.failures else running.OK


async def _take(results: FindResults, matches: Matches) -> None:
    async with results:
        async for match in results:
            matches.take(match)
