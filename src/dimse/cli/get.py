"""`dimse get`: from an archive into a folder, on one association."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dimse import uids
from dimse.address import Address
from dimse.cli import arguments, running
from dimse.cli import query as typed
from dimse.cli.output import complain
from dimse.cli.retrieval import Tally
from dimse.errors import PresentationContextError, SubOperationFailed
from dimse.network.client import connect
from dimse.options import ClientOptions, Duplicates, StoreOptions, Strictness
from dimse.services.contexts import RETRIEVED, retrieval_contexts
from dimse.services.get_scu import CancelBehavior, CGetSCU, GetResults
from dimse.services.query import Query, QueryRetrieveLevel, QueryRetrieveModel
from dimse.upper_layer.negotiation import ProposedContext

EXIT_CODES: Final = (
    "0 everything was retrieved; 1 some failed, each named, or nothing matches; 2 wrong usage; "
    "3 no association, or it was lost; 130 interrupted."
)

_NAMED: Final = 5
"""With more SOP classes than this, only their number is given."""

ON_CANCEL: Final = {behavior.value: behavior for behavior in CancelBehavior}


def add_arguments(parser: ArgumentParser) -> None:
    """What the command is told."""
    arguments.add_archive(parser)
    typed.add_unique_keys(parser)
    arguments.add_into(parser)
    arguments.add_duplicates(parser)
    typed.add_level_and_model(parser)
    parser.add_argument(
        "--on-cancel",
        metavar="|".join(ON_CANCEL),
        type=arguments.one_of(ON_CANCEL),
        default="reject",
        help="What happens to an instance that is on its way at Ctrl-C.",
    )
    arguments.add_classes(parser, "Propose only this storage SOP class. Without it, the common ones.")
    arguments.add_syntaxes(parser, "Propose only this transfer syntax.")
    arguments.add_calling(parser, Strictness.LENIENT)
    typed.add_timeout(parser)
    arguments.add_json(parser)


def get(
    archive: Address,
    *,
    keys: Sequence[str],
    into: Path,
    duplicates: Duplicates,
    level: QueryRetrieveLevel,
    model: QueryRetrieveModel | None,
    on_cancel: CancelBehavior,
    classes: list[str],
    syntaxes: list[str],
    calling: str,
    strictness: Strictness,
    timeout: float | None,
    json: bool,
) -> int:
    """Get instances from an archive into a folder (C-GET), as {Study}/{Series}/{Instance}.dcm.

    Ctrl-C stops it (C-CANCEL); what was retrieved stays.
    """
    with running.usage():
        options = arguments.client_options(calling, strictness, timeout)
        query = typed.parse(level, keys, model)
        query.retrieve_identifier()
        contexts = retrieval_contexts(classes or uids.COMMON_STORAGE, syntaxes or RETRIEVED)
    running.make_folder(into)
    tally = Tally(archive, f"retrieved from {archive} into {into}", json)
    return running.run(tally.over(_get(query, archive, options, contexts, into, duplicates, on_cancel, tally)))


async def _get(
    query: Query,
    address: Address,
    options: ClientOptions,
    contexts: Sequence[ProposedContext],
    into: Path,
    duplicates: Duplicates,
    on_cancel: CancelBehavior,
    tally: Tally,
) -> bool:
    async with connect(address, contexts=contexts, options=options) as association:
        try:
            scu = CGetSCU(association, store=StoreOptions(duplicates=duplicates))
            results = scu.get(query, into=into, on_cancel=on_cancel, raise_failures=False)
        except PresentationContextError:
            storage = {context.abstract_syntax for context in contexts if context.as_scp}
            if not any(context.abstract_syntax in storage for context in association.contexts.values()):
                complain(_proposed(contexts))
            raise
        try:
            return await running.interrupted(_take(results, tally))
        finally:
            for instance in results.completed_in_flight:
                tally.came(instance.sop_instance_uid, instance.path)
            tally.failures(results.failures, results.suboperations.failed)
            if _may_want_a_context(results):
                complain(_proposed(contexts))


def _may_want_a_context(results: GetResults) -> bool:
    """Whether the archive failed to send instances, and gives no reason other than a presentation context."""
    failed = [each for each in results.failures if isinstance(each, SubOperationFailed)]
    by_archive = [each for each in failed if each.sop_instance_uid not in results.refusals]
    comment = (results.error_comment or "").lower()
    return bool(by_archive) and (not comment or any(word in comment for word in ("context", "syntax", "sop class")))


def _proposed(contexts: Sequence[ProposedContext]) -> str:
    """Which storage classes were proposed in which transfer syntaxes."""
    classes: dict[str, list[str]] = {}
    for context in contexts:
        if context.as_scp:
            for syntax in context.transfer_syntaxes:
                classes.setdefault(syntax, []).append(context.abstract_syntax)
    alike: dict[tuple[str, ...], list[str]] = {}
    for syntax, members in classes.items():
        alike.setdefault(tuple(members), []).append(uids.name_of(syntax))
    parts = [
        f"{', '.join(syntaxes)} for "
        + (", ".join(map(uids.name_of, members)) if len(members) <= _NAMED else f"{len(members)} storage SOP classes")
        for members, syntaxes in alike.items()
    ]
    return f"dimse: proposed were {'; '.join(parts)}; choose others with --class and --syntax"


async def _take(results: GetResults, tally: Tally) -> None:
    async with results:
        async for instance in results:
            tally.came(instance.sop_instance_uid, instance.path, results.suboperations.total)
