"""`dimse retrieve`: retrieves all matches from an archive into a folder, by C-GET or C-MOVE."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import dimse
from dimse.address import Address
from dimse.cli import arguments, query_options, requestor, runtime
from dimse.cli.retrieve_report import RetrievingReport
from dimse.services.query_models import QueryRetrieveLevel, QueryRetrieveModel
from dimse.services.retrieving import Existing, RetrieveReport

EXIT_CODES: Final = (
    "0 all matches were retrieved; 1 at least one failure, each reported, or nothing matches; 2 wrong usage; "
    "3 no association; 130 interrupted."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    arguments.add_address(parser, "Archive to retrieve from")
    query_options.add_find_keys(parser)
    arguments.add_into(parser)
    parser.add_argument(
        "--overwrite",
        dest="existing",
        action="store_const",
        const=Existing.OVERWRITE,
        default=Existing.SKIP,
        help="Retrieve instances even if DIR already has them, and replace their files. [default: they are skipped]",
    )
    query_options.add_level_and_model(parser)
    arguments.add_features(parser)
    parser.add_argument(
        "--receiver",
        metavar="TITLE@HOST:PORT",
        type=arguments.checked(Address.parse),
        help="Our address for C-MOVE sub-operations, which the archive must know; HOST :: means every interface. "
        "[default: the --calling title, the address by which the archive is reached, port 11112]",
    )
    arguments.add_preference(parser, "Propose these transfer syntaxes first; without it, the uncompressed ones.")
    requestor.add_arguments(parser)
    arguments.add_maximum_rate(parser, "Receive")
    query_options.add_timeout(parser, "10 for a match, 120 for an instance")
    arguments.add_json(parser)


def retrieve(
    address: Address,
    *,
    keys: Sequence[str],
    into: Path,
    existing: Existing,
    table: str | None,
    level: QueryRetrieveLevel | None,
    model: QueryRetrieveModel | None,
    relational: bool,
    features: list[str],
    receiver: Address | None,
    prefer: list[str],
    timeout: float | None,
    json: bool,
    **association: Any,
) -> int:
    """Search an archive, and retrieve all matches into a folder.

    Uses C-GET, or C-MOVE to a receiver of its own if the archive has no C-GET. Missing instances are requested again,
    one by one. Ctrl-C cancels; files retrieved so far stay, and the same command resumes the
    retrieval.
    """
    with arguments.usage():
        options = requestor.options(timeout=timeout, **association)
        negotiated = query_options.features(features, relational=relational)
        queries = [each.negotiating(**negotiated) for each in query_options.queries(level, model, keys, table)]
    arguments.make_folder(into)
    report = RetrievingReport(address, f"retrieved from {address} into {into}", json=json)
    job = partial(
        dimse.retrieve,
        address,
        queries,
        into=into,
        existing=existing,
        prefer=prefer,
        options=options,
        receiver=receiver,
        raise_failures=False,
    )
    return runtime.run(report.follow(runtime.run_interruptibly(_retrieve(job, report))))


async def _retrieve(job: Callable[..., Coroutine[Any, Any, RetrieveReport]], report: RetrievingReport) -> None:
    with runtime.cancelled_by_closed_pipe(report.add_result) as on_result:
        await job(progress=report.expect, on_result=on_result)
