"""`dimse move`: has an archive send instances to another application entity."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any, Final

import dimse
from dimse.address import Address, check_ae_title
from dimse.cli import arguments, query_options, requestor, runtime
from dimse.cli.retrieve_report import RetrievingReport
from dimse.options import ClientOptions
from dimse.services.query import Query
from dimse.services.query_models import QueryRetrieveLevel, QueryRetrieveModel

EXIT_CODES: Final = (
    "0 everything was moved; 1 at least one failure, each reported, or nothing matches; 2 wrong usage; "
    "3 no association, or it was lost; 130 interrupted."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    arguments.add_address(parser, "Archive to move from")
    query_options.add_unique_keys(parser)
    parser.add_argument(
        "--destination",
        metavar="TITLE",
        type=arguments.checked(check_ae_title),
        required=True,
        help="AE title to send to; the archive must know its address.",
    )
    query_options.add_level_and_model(parser, "move")
    requestor.add_arguments(parser)
    query_options.add_timeout(parser, "120 for an instance")
    arguments.add_json(parser)


def move(
    address: Address,
    *,
    keys: Sequence[str],
    destination: str,
    table: str | None,
    level: QueryRetrieveLevel | None,
    model: QueryRetrieveModel | None,
    timeout: float | None,
    json: bool,
    **association: Any,
) -> int:
    """Have an archive send instances to another application entity (C-MOVE).

    Ctrl-C cancels the operation (C-CANCEL); instances moved so far stay at the destination.
    """
    with arguments.usage():
        options = requestor.options(timeout=timeout, **association)
        queries = query_options.to_retrieve(query_options.queries(level, model, keys, table))
    report = RetrievingReport(address, f"moved from {address} to {destination}", "Moving", json=json)
    work = _move(queries, address, options, destination, report)
    return runtime.run(report.follow(runtime.run_interruptibly(work)))


async def _move(
    queries: Sequence[Query], address: Address, options: ClientOptions, destination: str, report: RetrievingReport
) -> None:
    with (
        runtime.cancelled_by_closed_pipe(report.update) as progress,
        runtime.cancelled_by_closed_pipe(report.add_result) as on_result,
    ):
        await dimse.move(
            address,
            queries,
            destination,
            options=options,
            progress=progress,
            on_result=on_result,
            raise_failures=False,
        )
