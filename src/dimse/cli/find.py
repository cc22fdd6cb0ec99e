"""`dimse find`: searches an archive."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any, Final

from dimse.address import Address
from dimse.cli import arguments, exit_codes, query_options, requestor, runtime
from dimse.cli.match_output import (
    Column,
    CsvMatches,
    FlatJsonMatches,
    FormattedMatches,
    JsonMatches,
    Matches,
    TableMatches,
)
from dimse.cli.output import counted, print_error, print_failure, reason
from dimse.errors import DatasetError, IncompleteAnswer, StatusError
from dimse.services.finding import Finding
from dimse.services.finding import find as find_all
from dimse.services.query_models import QueryRetrieveLevel, QueryRetrieveModel

EXIT_CODES: Final = (
    "0 all matches were shown, even if there are none; 1 the archive refused, failed or cut its answer, with the "
    "reason; 2 wrong usage; 3 no association, or it was lost; 130 interrupted."
)

_OUTPUTS: Final[dict[str, type[Matches]]] = {"json": JsonMatches, "json_flat": FlatJsonMatches, "csv": CsvMatches}


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    arguments.add_address(parser, "Archive to search")
    query_options.add_find_keys(parser)
    query_options.add_level_and_model(parser, "find")
    arguments.add_features(parser)
    parser.add_argument(
        "--complete",
        action="store_true",
        help="If the archive limits its answers, query it in parts, by dates and by prefixes, until all matches have "
        "arrived.",
    )
    requestor.add_arguments(parser)
    query_options.add_timeout(parser, "10 for a match")
    add_output(parser, "the keys and the usual columns of the level")


def add_output(parser: ArgumentParser, usual_columns: str) -> None:
    """Define the arguments of what is shown, and how."""
    parser.add_argument("--limit", metavar="N", type=arguments.integer_from(1), help="Stop after N matches.")
    parser.add_argument(
        "--columns",
        metavar="KEY,...",
        type=_columns,
        help=f"Columns to show, in this order, instead of {usual_columns}.",
    )
    output = parser.add_mutually_exclusive_group()
    arguments.add_json(output, "Print one match per line in the DICOM JSON Model.")
    output.add_argument(
        "--json-flat",
        action="store_true",
        help='Print one match per line as JSON with keywords and plain values: {"StudyDate": "2024-01-31"}.',
    )
    output.add_argument("--csv", action="store_true", help="Print CSV with a header line.")
    output.add_argument(
        "--format",
        metavar="TEXT",
        help="Print one match per line in this form, e.g. '{PatientID} {StudyInstanceUID}'; \\t is a tab.",
    )


def _columns(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def find(
    address: Address,
    *,
    keys: Sequence[str],
    table: str | None,
    level: QueryRetrieveLevel | None,
    model: QueryRetrieveModel | None,
    relational: bool,
    features: list[str],
    complete: bool,
    limit: int | None,
    timeout: float | None,
    columns: list[str] | None,
    format: str | None,  # noqa: A002 - the option's name
    **more: Any,
) -> int:
    """Search an archive (C-FIND).

    Prints the matches as a table of the given keys. If all of them have values, the table also shows the usual keys of
    the level. Below the highest level, the archive is searched level by level, so no UIDs need be given. Ctrl-C
    cancels the search (C-CANCEL) and shows the matches received so far.
    """
    output = take_output(more)
    with arguments.usage():
        options = requestor.options(timeout=timeout, **more)
        given = query_options.Keys(keys)
        negotiated = query_options.features(features, relational=relational)
        queries = [query.negotiating(**negotiated) for query in given.queries(level, model, table)]
        if format is not None:
            matches: Matches = FormattedMatches(format)
        else:
            matches = output(list(map(Column, columns or given.columns(queries[0]))))
            if columns:
                matches.chosen = frozenset(column.tag for column in matches.columns)
        queries = [query.returning(*(column.key for column in matches.columns)) for query in queries]
        found = find_all(
            address,
            queries,
            complete=complete,
            limit=limit,
            options=options,
            raise_failures=False,
        )
    return runtime.run(show(found, matches, complete=complete))


def take_output(given: dict[str, Any]) -> type[Matches]:
    """Take the choice of an output from the arguments of a command."""
    outputs = [output for name, output in _OUTPUTS.items() if given.pop(name)]
    return outputs[0] if outputs else TableMatches


async def show(found: Finding, matches: Matches, *, complete: bool = False) -> int:
    """Print the matches as they arrive, and how the search ended. Returns the exit code."""
    with matches.shown():
        interrupted = await runtime.run_interruptibly(_add_all(found, matches))
        for failure in found.failures:
            if not isinstance(failure, StatusError | DatasetError | IncompleteAnswer):
                raise failure
    json = isinstance(matches, JsonMatches | FlatJsonMatches)
    _say_how_it_ended(found, complete=complete, json=json)
    if complete and not interrupted and not found.is_limited and not found.failures:
        parts = f"; queried in parts by {', '.join(sorted(found.divided_by))}" if found.divided_by else ""
        print_error(f"dimse: complete, as far as the answers tell{parts}")
    if interrupted:
        why = f"cancelled after {counted(matches.count, 'match', 'matches')}"
        print_failure(why, exit_codes.INTERRUPTED, json=json)
        return exit_codes.INTERRUPTED
    return exit_codes.FAILED if found.failures else exit_codes.OK


def _say_how_it_ended(found: Finding, *, complete: bool, json: bool) -> None:
    for failure in found.failures:
        is_cut = isinstance(failure, IncompleteAnswer) and not complete
        why = f"{reason(failure)}{'; --complete finds the others' if is_cut else ''}"
        print_failure(why, exit_codes.FAILED, failure, json=json)
    if found.is_limited:
        print_error(f"dimse: ended by --limit {found.count}; there may be more matches")


async def _add_all(found: Finding, matches: Matches) -> None:
    async with found:
        async for match in found:
            matches.add(match)
