"""`dimse retrieve`: from an archive into a folder, whichever way it offers."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dimse.address import Address
from dimse.cli import arguments, running
from dimse.cli import query as typed
from dimse.cli.retrieval import Tally
from dimse.options import ClientOptions, Strictness
from dimse.services.query import Query, QueryRetrieveLevel, QueryRetrieveModel
from dimse.services.retrieving import RetrieveResult
from dimse.services.retrieving import retrieve as retrieve_all

EXIT_CODES: Final = (
    "0 all matches were retrieved; 1 some failed, each named, or nothing matches; 2 wrong usage; "
    "3 no association; 130 interrupted."
)


def add_arguments(parser: ArgumentParser) -> None:
    """What the command is told."""
    arguments.add_archive(parser)
    typed.add_find_keys(parser, required=True)
    arguments.add_into(parser)
    typed.add_level_and_model(parser)
    parser.add_argument(
        "--receiver",
        metavar="TITLE@HOST:PORT",
        type=arguments.checked(Address.parse),
        help="Where we listen for a C-MOVE; the archive has to know it. Without it, --calling on port 11112.",
    )
    arguments.add_calling(parser)
    typed.add_timeout(parser)
    arguments.add_json(parser)


def retrieve(
    archive: Address,
    *,
    keys: Sequence[str],
    into: Path,
    level: QueryRetrieveLevel,
    model: QueryRetrieveModel | None,
    receiver: Address | None,
    calling: str,
    strictness: Strictness,
    timeout: float | None,
    json: bool,
) -> int:
    """Find matches in an archive and retrieve all of them into a folder, by C-GET or else by C-MOVE to ourselves.

    Instances that are missing afterwards are asked for again, one by one. Ctrl-C stops it; what was retrieved stays.
    """
    with running.usage():
        options = arguments.client_options(calling, strictness, timeout)
        query = typed.parse(level, keys, model)
        query.find_identifier()
    running.make_folder(into)
    tally = Tally(archive, f"retrieved from {archive} into {into}", json)
    return running.run(tally.over(_retrieve(query, archive, options, into, receiver, tally)))


async def _retrieve(
    query: Query, address: Address, options: ClientOptions, into: Path, receiver: Address | None, tally: Tally
) -> bool:
    def known(result: RetrieveResult) -> None:
        if result.error is None:
            tally.came(result.sop_instance_uid, result.path)
        else:
            tally.failures([result.error])

    async def work() -> None:
        with running.telling(known) as tell_of:
            await retrieve_all(
                address,
                query,
                into=into,
                options=options,
                receiver=receiver,
                on_result=tell_of,
                raise_failures=False,
            )

    return await running.interrupted(work())
