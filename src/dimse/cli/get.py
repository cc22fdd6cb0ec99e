"""`dimse get`: from an archive into a folder, on one association."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dimse.ae import Address, ClientOptions, Malformed
from dimse.cli import arguments, running
from dimse.cli import query as typed
from dimse.cli.retrieval import Tally
from dimse.network.client import connect
from dimse.services.contexts import retrieval_contexts
from dimse.services.get import CancelBehavior, CGetSCU, GetResults
from dimse.services.query import Query, QueryRetrieveLevel, QueryRetrieveModel

EXIT_CODES: Final = (
    "0 all that there is has come; 1 some failed, each named, or there is nothing; 2 wrong usage; "
    "3 no association, or it was lost; 130 interrupted."
)

ON_CANCEL: Final = {behavior.value: behavior for behavior in CancelBehavior}


def add_arguments(parser: ArgumentParser) -> None:
    """What the command is told."""
    arguments.add_archive(parser)
    typed.add_unique_keys(parser)
    arguments.add_into(parser)
    typed.add_level_and_model(parser)
    parser.add_argument(
        "--on-cancel",
        metavar="|".join(ON_CANCEL),
        type=arguments.one_of(ON_CANCEL),
        default="reject",
        help="What becomes of an instance that is on its way at Ctrl-C.",
    )
    arguments.add_calling(parser, Malformed.LENIENT)
    typed.add_timeout(parser)
    arguments.add_json(parser)


def get(
    archive: Address,
    *,
    keys: Sequence[str],
    into: Path,
    level: QueryRetrieveLevel,
    model: QueryRetrieveModel | None,
    on_cancel: CancelBehavior,
    calling: str,
    malformed: Malformed,
    timeout: float | None,
    json: bool,
) -> int:
    """Get instances from an archive into a folder (C-GET), as {Study}/{Series}/{Instance}.dcm.

    Ctrl-C stops it (C-CANCEL); what had come stays.
    """
    with running.usage():
        options = arguments.client_options(calling, malformed, timeout)
        query = typed.parse(level, keys, model)
        query.retrieve_identifier()
    running.make_folder(into)
    tally = Tally(archive, f"retrieved from {archive} into {into}", json)
    return running.run(tally.over(_get(query, archive, options, into, on_cancel, tally)))


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
